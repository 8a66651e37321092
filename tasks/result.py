"""The outcome of a run: the result object, its candidates, and the promised JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from safetycatch.report import content as shown
from safetycatch.report import judged, numbers, selection
from safetycatch.results.matrix import SLICE, hash_of
from safetycatch.store import Ref
from safetycatch.tables import with_ids
from tasks.calling import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.calls import PerhapsPaid
    from safetycatch.calls.budget import Spent
    from safetycatch.catches import Finding
    from safetycatch.store.looks import Look
    from tasks.prepared import Climbed, Prepared

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
    verdicts: tuple[dict[str, Any], ...] = ()
    judging: dict[str, Any] | None = None

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
        sentence = verdict["sentence"] + self._beside_verdict(verdict) + chosen
        return shown.Banner(verdict["kind"], sentence, verdict["check"], verdict["default_action"])

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
        texts = [
            selection.beside(f"{found['candidate']} {self._figures(found)}", self.beside(found["candidate"], metric))
            for found in ranked[:5]
        ]
        return f"{metric}: " + (", ".join(texts) or "no candidate has a score")

    def _figures(self, found: dict[str, Any]) -> str:
        """Return an estimate of the main metric with its interval."""
        score, low, high = (found[key] for key in ("estimate", "low", "high"))
        if self.summary["metric"]["unit"] != "points":
            return numbers.shown(score, low, high, unit_of(self.summary, self.summary["metric"]["name"])).text
        return f"{100 * score:.1f} %" + ("" if low is None else f" [{100 * low:.1f}, {100 * high:.1f}]")

    def beside(self, candidate: str, metric: str, where: str = "all") -> str:
        """Return what stands beside a judged figure; empty beside any other."""
        facts = self.summary.get("judged")
        row = judged.rate_of(facts, candidate, metric, where) if facts else None
        return judged.mark(facts, row) if facts and row else ""

    def beside_difference(self, baseline: str, candidate: str, metric: str, where: str = "all") -> str:
        """Return what stands beside a judged difference; empty beside any other."""
        facts = self.summary.get("judged")
        row = judged.difference_of(facts, baseline, candidate, metric, where) if facts else None
        return judged.mark(facts, row, difference=True) if facts and row else ""

    def _beside_verdict(self, verdict: dict[str, Any]) -> str:
        told = self.beside_difference(verdict["baseline"], verdict["candidate"], verdict["metric"])
        if not told:
            return ""
        return f" Corrected for the judge's errors, {told}." if told.startswith("raw") else f" The judge's own: {told}."

    def judged_facts(self) -> dict[str, Any] | None:
        """Return what the judge's scores are worth, the words for it and its canaries; None where nothing is judged."""
        facts = self.summary.get("judged")
        if facts is None:
            return None
        store = self.prepared.place.open_store()
        seen = (store.facts(Ref.from_dict(reference)).get("canaries") for reference in self.verdicts)
        told = judged.told(facts, self.prepared.inputs.shown)
        return {**facts, "told": told, "canaries": next((found for found in seen if found), None)}

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
            **({"judged": facts} if (facts := self.judged_facts()) is not None else {}),
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
        **({"beside": row.beside} if row.beside else {}),
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
            shown.OtherMetric(
                other,
                found["estimate"],
                found["low"],
                found["high"],
                unit_of(summary, other),
                result.beside(name, other),
            )
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
                beside=result.beside(name, main),
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


def unit_of(summary: dict[str, Any], name: str) -> str:
    """Return a metric's unit as reports call it."""
    unit = summary["units"][name]
    return UNITS.get(unit) or str(unit)
