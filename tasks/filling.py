"""What a finished run shows: the result object, the promised JSON, and the report's content."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from safetycatch.catches.cost import budget_text
from safetycatch.report import content as shown
from safetycatch.report import numbers
from safetycatch.results.matrix import SLICE, hash_of
from safetycatch.store import Ref
from safetycatch.store.looks import looks_text
from safetycatch.tables import with_ids
from tasks.calling import read_table
from tasks.session import ceiling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.calls import PerhapsPaid
    from safetycatch.calls.budget import Spent
    from safetycatch.catches import Finding
    from safetycatch.store import Store
    from safetycatch.store.looks import Look
    from tasks.prepared import Climbed, Prepared

MAX_FLIPS, MAX_LEAKS = 200, 50
UNITS = {"points": "proportion"}


@dataclass(frozen=True, slots=True)
class Result:
    """A run that was scored: references, summary facts, findings, calls and times.

    `spent` is what the whole run did, `spent_before` what it had before it was resumed; `calls` are those since.
    """

    run_id: str
    prepared: Prepared
    comparisons: dict[str, Any]
    summary: dict[str, Any]
    scored: dict[str, dict[str, Any]]
    findings: tuple[Finding, ...]
    calls: dict[str, Any]
    spent: Spent
    spent_before: Spent
    saved_usd: float | None
    started_at: str
    wall_s: float
    command: str
    environment: dict[str, Any]
    notes: tuple[str, ...]
    perhaps: tuple[PerhapsPaid, ...] = ()
    climbed: Climbed | None = None
    ensemble: dict[str, Any] | None = None
    looks: tuple[Look, ...] = ()
    bench: dict[str, Any] | None = None
    reference: bool = False

    @property
    def _unpriced_now(self) -> int:
        return self.spent.unpriced - self.spent_before.unpriced

    @property
    def mode(self) -> str:
        """`claiming` or `exploring`."""
        return self.prepared.place.mode

    @property
    def verdict(self) -> dict[str, Any] | None:
        """The headline verdict; None while exploring or where none could be given."""
        return self.summary["verdicts"].get(self.summary["headline"])

    @property
    def kind(self) -> str:
        """The headline word."""
        if self.mode == "exploring":
            return "EXPLORING"
        if self.reference:
            return "REFERENCE"
        return self.verdict["kind"] if self.verdict else "INCONCLUSIVE"

    def banner(self) -> shown.Banner:
        """Return the headline as people read it."""
        if self.bench is not None:
            seen = f"{self.bench['n_dev']:,} dev rows; test was not opened"
            return shown.Banner("EXPLORING", self.bench["sentence"], f"{seen}; rule: {self.bench['rule']}")
        if self.mode == "exploring":
            metric = self.summary["metric"]["name"]
            return shown.Banner(
                "EXPLORING",
                self._exploring_sentence(),
                f"{len(self.prepared.ids)} of {self.prepared.n_available} dev rows; test was not opened",
                f"to claim a winner, add: claim: {{metric: {metric}, smallest_effect: 3 points}} and budget: $5",
            )
        if self.reference:
            return shown.Banner("REFERENCE", self._exploring_sentence(), "recorded for --against last; claims nothing")
        verdict = self.verdict
        if verdict is None:
            reason = self.summary["undecided"] or "there is nothing to compare with yet"
            return shown.Banner("INCONCLUSIVE", f"No verdict: {reason}.", "", f"keep {self.summary['baseline']}")
        chosen = " (selected: the best of those compared)" if self.summary["selected"] else ""
        if self.climbed and not (self.prepared.experiment.claim and self.prepared.experiment.claim.candidate):
            chosen = " (chosen on dev)"
        return shown.Banner(verdict["kind"], verdict["sentence"] + chosen, verdict["check"], verdict["default_action"])

    def _exploring_sentence(self) -> str:
        metric = self.summary["metric"]["name"]
        ranked = sorted(
            (
                found
                for found in self.summary["estimates"]
                if found["metric"] == metric and found["estimate"] is not None
            ),
            key=lambda found: found["estimate"],
            reverse=self.summary["metric"]["higher_is_better"],
        )
        texts = [f"{found['candidate']} {self._figures(found)}" for found in ranked[:5]]
        return f"{metric}: " + (", ".join(texts) or "no candidate has a score")

    def _figures(self, found: dict[str, Any]) -> str:
        """Return an estimate of the main metric with its interval."""
        score, low, high = (found[key] for key in ("estimate", "low", "high"))
        if self.summary["metric"]["unit"] != "points":
            return numbers.shown(score, low, high, _unit(self.summary, self.summary["metric"]["name"])).text
        return f"{100 * score:.1f} %" + ("" if low is None else f" [{100 * low:.1f}, {100 * high:.1f}]")

    def items_table(self) -> pa.Table:
        """Return the scored items with cluster, content hash and slices, for later paired comparisons."""
        place, prepared = self.prepared.place, self.prepared
        table = with_ids(read_table(place, prepared.examples), list(prepared.ids))
        splits = read_table(place, prepared.splits)
        clusters = dict(zip(splits["example_id"].to_pylist(), splits["cluster_id"].to_pylist(), strict=True))
        ids = table["example_id"].to_pylist()
        pairs = zip(table["input"].to_pylist(), table["target"].to_pylist(), strict=True)
        return pa.table(
            {
                "example_id": pa.array(ids, pa.string()),
                "cluster_id": pa.array([clusters[example_id] for example_id in ids], pa.string()),
                "content": pa.array([hash_of(text, target) for text, target in pairs], pa.string()),
                # A slice may be called as one of these columns is.
                **{f"{SLICE}{name}": table[name] for name in prepared.experiment.data.slices},
            }
        )

    def as_json(self, report: str, artifacts: dict[str, str]) -> dict[str, Any]:
        """Return the JSON that `run --json` promises."""
        banner = self.banner()
        return {
            "run_id": self.run_id,
            "mode": self.mode,
            "verdict": self.verdict["kind"] if self.verdict else self.kind,
            "banner": {
                "kind": banner.kind,
                "sentence": banner.sentence,
                "check": banner.check,
                "action": banner.action,
            },
            "candidates": [_candidate_json(row) for row in candidate_rows(self)],
            "comparisons": read_table(self.prepared.place, self.comparisons).to_pylist(),
            "findings": [finding.row() for finding in self.findings],
            "calls": {
                **self.calls,
                "spent_usd": None if self._unpriced_now else self.calls["spent_usd"],
                "unpriced": self._unpriced_now,
                "sent_before": self.spent_before.calls,
            },
            "spent_usd": None if self.spent.unpriced else self.spent.usd,
            "spent_at_least_usd": self.spent.usd,
            "wall_s": round(self.wall_s, 3),
            "report": report,
            "artifacts": artifacts,
            "notes": list(self.notes),
            **({"bench": self.bench} if self.bench is not None else {}),
            **({"ensemble": self.ensemble} if self.ensemble is not None else {}),
        }


def _candidate_json(row: shown.CandidateRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "split": row.split,
        "n": row.n,
        "n_missing": row.n_missing,
        "n_unparsable": row.n_unparsable,
        "estimate": row.estimate,
        "low": row.low,
        "high": row.high,
        "cost_usd": row.cost_usd_total,
        "status": row.status,
    }


def candidate_rows(result: Result) -> tuple[shown.CandidateRow, ...]:
    """Return every candidate with its estimates, costs and latencies."""
    prepared, summary = result.prepared, result.summary
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for found in summary["estimates"]:
        by_name.setdefault(found["candidate"], {})[found["metric"]] = found
    described = {candidate.id: candidate.description for candidate in prepared.experiment.candidates}
    made = prepared.ensemble
    described |= {made.settings.id: made.settings.description} if made else {}
    main = summary["metric"]["name"]
    rows: list[shown.CandidateRow] = []
    for name, metrics in by_name.items():
        own, facts = metrics[main], result.scored.get(name)
        cost = facts["cost_usd"] if facts else None
        n_rows = facts["n"] if facts else 0
        others = tuple(
            shown.OtherMetric(other, found["estimate"], found["low"], found["high"], _unit(summary, other))
            for other, found in metrics.items()
            if other != main
        )
        rows.append(
            shown.CandidateRow(
                id=name,
                split=prepared.scored_split,
                status="stored" if facts is None else "scored",
                n=own["n"],
                estimate=own["estimate"],
                low=own["low"],
                high=own["high"],
                description=described.get(name, "stored run"),
                method=own["method"],
                n_missing=own["n_missing"],
                n_unparsable=facts["statuses"].get("unparsable", 0) if facts else 0,
                n_clusters=own["n_clusters"],
                cost_usd_total=cost,
                cost_usd_per_1000=1000 * cost / n_rows if cost is not None and n_rows else None,
                latency_p50_s=metrics.get("latency_p50", {}).get("estimate"),
                latency_p95_s=metrics.get("latency_p95", {}).get("estimate"),
                tokens_in=facts["tokens"].get("n_tokens_in") if facts else None,
                tokens_cached=facts["tokens"].get("n_tokens_cached") if facts else None,
                tokens_out=facts["tokens"].get("n_tokens_out") if facts else None,
                other_metrics=others,
                baseline=name == summary["baseline"],
            )
        )
    return (*rows, *_left_behind(result, described))


def _left_behind(result: Result, described: dict[str, str]) -> Iterator[shown.CandidateRow]:
    """Yield the candidates that the race left behind, without intervals: the race chose when to stop."""
    planned = read_table(result.prepared.place, result.prepared.plan).to_pylist()
    unpriced = {row["candidate"] for row in planned if not row["price_known"]}
    for row in result.climbed.standing if result.climbed else ():
        if not row["on"]:
            yield shown.CandidateRow(
                id=row["candidate"],
                split="dev",
                status=row["status"],
                n=row["n"],
                estimate=row["estimate"],
                n_missing=row["n_missing"],
                # A race sums what is known.
                cost_usd_total=row["cost_usd"] or (None if row["candidate"] in unpriced else 0.0),
                description=described[row["candidate"]],
                method=f"no interval: {row['status']} in a race, which stops where the score is far off",
            )


def fill(result: Result, parts: dict[str, list[dict[str, Any]]]) -> shown.ReportContent:
    """Return the report's content."""
    prepared, summary = result.prepared, result.summary
    metric = summary["metric"]
    claim = prepared.experiment.claim
    effect = claim.smallest_effect.value if claim and claim.smallest_effect else None
    compared = [
        shown.ComparisonRow(**row)
        for row in read_table(prepared.place, result.comparisons).to_pylist()
        if row["metric"] == metric["name"] or row["slice"] != "all"
    ]
    flips = _flips(result, parts)
    health = summary["health"]
    return shown.ReportContent(
        name=prepared.experiment.name,
        run_id=result.run_id,
        mode="claiming" if result.mode == "claiming" else "exploring",
        created_at=result.started_at,
        banner=result.banner(),
        metric=metric["name"],
        candidates=candidate_rows(result),
        unit=_unit(summary, metric["name"]),
        higher_is_better=metric["higher_is_better"],
        smallest_effect=effect,
        comparisons=tuple(row for row in compared if row.baseline == summary["baseline"]),
        pairs=tuple(row for row in compared if row.baseline != summary["baseline"]),
        n_unpaired=summary["n_unpaired"],
        guardrails=_guardrails(result),
        findings=tuple(_finding(found) for found in result.findings),
        flips=flips,
        flip_counts=tuple(
            shown.FlipCount(found["candidate"], found["baseline"], found["n_fixed"], found["n_broken"])
            for found in summary["flips"]
        ),
        slices=tuple(
            shown.SliceRow(
                found["slice"], found["candidate"], found["n"], found["estimate"], found["low"], found["high"]
            )
            for found in summary["slices"]
        ),
        confusions=tuple(
            shown.Confusion(name, *confused)
            for name, facts in result.scored.items()
            for confused in facts["confusions"]
        ),
        item_health=None
        if health is None
        else shown.ItemHealth(
            health["n"],
            health["solved_by_all"],
            health["solved_by_none"],
            health["discordant"],
            None if health["luck"] is None else 100 * health["luck"],
            health["k"],
        ),
        leakage=_leakage(result),
        ladder=_ladder(result),
        money=_money(result),
        provenance=_provenance(result),
        command=result.command,
        notes=result.notes,
        headline_candidate=summary["headline"] or "",
        replicates=prepared.experiment.runs.replicates,
        bench=result.bench,
        ensemble=result.ensemble,
        unmeasured={}
        if health
        else {"items": "the metric is not right or wrong", "flips": "the metric is not right or wrong"},
    )


def _finding(found: Finding) -> shown.FindingRow:
    return shown.FindingRow(
        found.code,
        found.level,
        found.status,
        found.title,
        found.saw,
        found.matters,
        found.fix,
        found.alternative,
        found.reason,
    )


def _guardrails(result: Result) -> tuple[shown.GuardrailRow, ...]:
    verdict, claim = result.verdict, result.prepared.experiment.claim
    if verdict is None or claim is None:
        return ()
    limits = {rail.metric: rail.worse_by for rail in claim.guardrails}
    measured = {
        row["metric"]: row
        for row in read_table(result.prepared.place, result.comparisons).to_pylist()
        if (row["slice"], row["candidate"], row["baseline"]) == ("all", verdict["candidate"], verdict["baseline"])
    }
    rows: list[shown.GuardrailRow] = []
    for found in verdict["guardrails"]:
        name = found["metric"]
        own, unit, limit = measured.get(name, {}), _unit(result.summary, name), limits[name]
        words = f"{100 * limit.value:g} %" if limit.relative else numbers.effect(limit.value, unit)
        rows.append(
            shown.GuardrailRow(
                name,
                verdict["baseline"],
                verdict["candidate"],
                own.get("estimate"),
                own.get("low"),
                own.get("high"),
                words,
                found["status"],
                unit,
            )
        )
    return tuple(rows)


def _unit(summary: dict[str, Any], name: str) -> str:
    """Return a metric's unit as reports call it."""
    unit = summary["units"][name]
    return UNITS.get(unit) or str(unit)


def _flips(result: Result, parts: dict[str, list[dict[str, Any]]]) -> tuple[shown.Flip, ...]:
    store, headline = result.prepared.place.open_store(), result.summary["headline"]
    found = next((item for item in result.summary["flips"] if item["candidate"] == headline), None)
    if found is None:
        return ()
    half = MAX_FLIPS // 2
    ids = [(example_id, "fixed") for example_id in found["fixed"][:half]]
    ids += [(example_id, "broken") for example_id in found["broken"][:half]]
    wanted = {example_id for example_id, _ in ids}
    ours = outputs_of(store, parts.get(found["candidate"], []), wanted)
    theirs = outputs_of(store, parts.get(found["baseline"], []), wanted)
    table = read_table(result.prepared.place, result.prepared.examples)
    rows = {row["example_id"]: row for row in with_ids(table, sorted(wanted)).to_pylist()}
    return tuple(
        shown.Flip(
            found["candidate"],
            found["baseline"],
            example_id,
            rows[example_id]["input"],
            rows[example_id]["target"],
            theirs.get(example_id),
            ours.get(example_id),
            "fixed" if kind == "fixed" else "broken",
        )
        for example_id, kind in ids
    )


def outputs_of(store: Store, references: list[dict[str, Any]], ids: set[str]) -> dict[str, str | None]:
    """Return the output of these items, first replicate, reading shard by shard."""
    found: dict[str, str | None] = {}
    for reference in references:
        table = store.read(Ref.from_dict(reference), ["example_id", "replicate", "output"])
        picked = with_ids(table.filter(pc.field("replicate") == 0), sorted(ids))
        found.update(zip(picked["example_id"].to_pylist(), picked["output"].to_pylist(), strict=True))
    return found


def _leakage(result: Result) -> shown.Leakage:
    prepared, store = result.prepared, result.prepared.place.open_store()
    leaks = read_table(prepared.place, prepared.leaks)
    facts = store.facts(Ref.from_dict(prepared.leaks))
    given = store.facts(Ref.from_dict(prepared.splits))["variant"] == "given"
    # Ours are not cut by time unless asked for.
    reported = {"similar", "template", *(() if given else ("time",))}
    order = {
        "exact": 0,
        "normalised": 1,
        "bag": 2,
        "near": 3,
        "prompt": 4,
        "group": 5,
        "time": 6,
        "template": 7,
        "similar": 8,
    }
    pairs = sorted(
        leaks.to_pylist(), key=lambda row: (order.get(row["kind"], 9), -(row["similarity"] or 0), row["left_id"])
    )
    pairs = pairs[:MAX_LEAKS]
    ids = {pair[side] for pair in pairs for side in ("left_id", "right_id")}
    table = read_table(prepared.place, prepared.examples)
    texts = dict.fromkeys(ids, "")
    for source in [table, *([read_table(prepared.place, prepared.pool)] if prepared.pool else [])]:
        picked = with_ids(source, sorted(ids))
        texts.update(zip(picked["example_id"].to_pylist(), picked["input"].to_pylist(), strict=True))
    return shown.Leakage(
        pairs=tuple(
            shown.LeakPair(
                pair["left_id"],
                pair["right_id"],
                pair["left_split"],
                pair["right_split"],
                pair["kind"],
                pair["similarity"],
                texts[pair["left_id"]],
                texts[pair["right_id"]],
            )
            for pair in pairs
        ),
        totals=tuple(
            shown.LeakTotal(kind, count, facts["rows"].get(kind), kind in reported)
            for kind, count in sorted(facts["pairs"].items())
        ),
        scores=tuple(_leak_score(found) for found in result.summary["leaks"] if found["kind"] == "leaked"),
        looked_at=f"{facts['n_scored']} scored rows against train, dev, test, pool and prompts",
    )


def _leak_score(found: dict[str, Any]) -> shown.LeakScore:
    n = found["n_near"] + found["n_far"]
    whole = (found["near"] * found["n_near"] + found["far"] * found["n_far"]) / n
    return shown.LeakScore(found["candidate"], whole, n, found["far"], found["n_far"])


def _ladder(result: Result) -> shown.Ladder | None:
    climbed, ladder = result.climbed, result.prepared.ladder
    if climbed is None or ladder is None:
        return None
    keys = ("candidate", "status", "n", "estimate", "on", "rung", "e_value", "against", "n_missing", "n_calls")
    baseline = result.prepared.experiment.baseline
    return shown.Ladder(
        metric=climbed.metric,
        rungs=tuple(sum(len(block) for block in rung) for rung in ladder.blocks[: len(climbed.rungs)]),
        rows=tuple(
            shown.LadderRow(**{key: row[key] for key in keys}, baseline=row["candidate"] == baseline)
            for row in climbed.standing
        ),
        n_asked=climbed.n_asked,
        n_full=climbed.n_full,
        scored_again=result.prepared.scored_split == "dev",
    )


def _money(result: Result) -> shown.Money:
    calls = result.calls
    store = result.prepared.place.open_store()
    priced = not store.facts(Ref.from_dict(result.prepared.plan))["unknown_prices"]
    sends = any(candidate.kind != "outputs" for candidate in result.prepared.experiment.candidates)
    tokens = Counter(result.climbed.tokens if result.climbed else {})
    for name, facts in result.scored.items():
        if name in result.prepared.ensemble_ids:
            continue  # its tokens are its members'
        tokens.update({name: facts["tokens"].get(name, 0) for name in ("n_tokens_in", "n_tokens_cached")})
    return shown.Money(
        spent_usd=None if result.spent.unpriced else result.spent.usd,
        spent_at_least_usd=result.spent.usd,
        sent_before=result.spent_before.calls,
        sent=calls["sent"],
        answered=calls["answered"],
        from_journal=calls["from_journal"],
        errors=calls["errors"],
        retried=calls["retried"],
        perhaps_paid=calls["perhaps_paid"],
        perhaps_paid_usd=result.spent.perhaps_usd,
        saved_usd=result.saved_usd,
        saved_by_prompt_cache_usd=calls["saved_by_prompt_cache_usd"] if sends and priced else None,
        n_tokens_in=tokens["n_tokens_in"] if sends else None,
        n_tokens_cached=tokens["n_tokens_cached"] if sends else None,
        saved_by_race_usd=result.climbed.saved_usd if result.climbed and priced else None,
        perhaps=tuple(
            shown.PerhapsRow(
                call.candidate,
                call.example_id,
                call.model,
                datetime.fromtimestamp(call.sent_at, UTC).isoformat(timespec="seconds"),
                call.max_cost_usd,
            )
            for call in result.perhaps
        ),
        budget=budget_text(ceiling(result.prepared.experiment)) if sends else "",
        by_error_class=tuple(sorted(calls["by_error_class"].items())),
    )


def _provenance(result: Result) -> tuple[tuple[str, str], ...]:
    prepared, environment = result.prepared, result.environment
    git = environment["git"]
    packages = environment["packages"]
    versions = ", ".join(
        f"{name} {packages[name]}" for name in ("safetycatch", "prefect", "litellm", "pyarrow") if name in packages
    )
    return (
        ("run", result.run_id),
        ("split", f"{prepared.scored_split}, {len(prepared.ids)} of {prepared.n_available} rows"),
        *((f"data {name}", digest) for name, digest in prepared.inputs.sha256.items()),
        *((f"prompt {name}", prompt.sha256) for name, prompt in prepared.inputs.prompts.items()),
        ("splits", prepared.splits["sha256"]),
        *([("looks at this test set", looks_text(result.looks, prepared.experiment.name))] if result.looks else []),
        ("commit", (git["commit"] or "none") + (" with uncommitted changes" if git["dirty"] else "")),
        ("python", f"{environment['python']} on {environment['platform']}"),
        ("versions", versions),
    )
