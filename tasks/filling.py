"""What a finished run's report shows."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from safetycatch.catches.cost import budget_text
from safetycatch.report import content as shown
from safetycatch.report import numbers
from safetycatch.store import Ref
from safetycatch.store.looks import looks_text
from safetycatch.tables import with_ids
from tasks.calling import read_table
from tasks.result import candidate_rows, unit_of
from tasks.session import ceiling

if TYPE_CHECKING:
    from safetycatch.catches import Finding
    from safetycatch.store import Store
    from tasks.result import Result

MAX_FLIPS, MAX_LEAKS = 200, 50


def fill(result: Result, parts: dict[str, list[dict[str, Any]]]) -> shown.ReportContent:
    """Return the report's content."""
    prepared, summary = result.prepared, result.summary
    metric = summary["metric"]
    claim = prepared.experiment.claim
    effect = claim.smallest_effect.value if claim and claim.smallest_effect else None
    compared = [
        shown.ComparisonRow(
            **row,
            beside=result.beside_difference(row["baseline"], row["candidate"], row["metric"], row["slice"]),
        )
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
        unit=unit_of(summary, metric["name"]),
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
                found["slice"],
                found["candidate"],
                found["n"],
                found["estimate"],
                found["low"],
                found["high"],
                result.beside(found["candidate"], found["metric"], found["slice"]),
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
        judged=result.judged_facts(),
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
        own, unit, limit = measured.get(name, {}), unit_of(result.summary, name), limits[name]
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
                result.beside_difference(verdict["baseline"], verdict["candidate"], name),
            )
        )
    return tuple(rows)


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
