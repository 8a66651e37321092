"""What the answers of a few-shot bench say: scores by item, the table, the advice, and all of it as facts."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from safetycatch.results.advice import advise, rule, sentence
from safetycatch.results.bench import Tried, bench_rows
from safetycatch.results.summary import MetricTable, as_json
from safetycatch.scoring import row_values
from safetycatch.store import Ref as StoreRef
from safetycatch.tables import with_ids
from tasks.bench import SIMPLEST
from tasks.calling import read_table, shard_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safetycatch.results.advice import Advice
    from safetycatch.results.bench import BenchRow
    from safetycatch.results.spread import Spread
    from safetycatch.scoring import Scorer
    from tasks.prepared import Climbed, Prepared, Ref


class Benched:
    """The strategies of a bench on its dev rows; `band` is the difference too small to matter, in the metric's unit."""

    def __init__(
        self, prepared: Prepared, climbed: Climbed | None, scorer: Scorer, replies: Iterable[Ref], band: float
    ) -> None:
        self.prepared, self.scorer, self.band = prepared, scorer, band
        (self.metric,) = MetricTable.of([scorer]).metrics
        left_out = set(prepared.exclude)
        self.ids = tuple(example_id for example_id in prepared.ids if example_id not in left_out)
        splits = with_ids(read_table(prepared.place, prepared.splits), list(self.ids))
        self.cluster_of = dict(zip(splits["example_id"].to_pylist(), splits["cluster_id"].to_pylist(), strict=True))
        clusters = np.array([self.cluster_of[example_id] for example_id in self.ids], dtype=object)
        self.clusters = clusters if len(set(clusters.tolist())) < len(self.ids) else None
        rows = read_replies(prepared, replies)
        self.n_calls = sum(len(own) for own in rows.values())
        self.tried = tried_of(prepared, scorer, self.ids, rows, climbed)

    @cached_property
    def rows(self) -> tuple[BenchRow, ...]:
        """The table, the best first."""
        return bench_rows(self.tried, SIMPLEST, self.metric, self.clusters)

    @cached_property
    def advice(self) -> Advice | None:
        """The strategy to take; None when none has a score."""
        n_labels = len(self.prepared.labels) or None
        return advise(self.tried, self.rows, SIMPLEST, self.band, self.metric, self.clusters, n_labels=n_labels)

    def row(self, candidate: str) -> BenchRow:
        """Return a strategy's row."""
        return next(row for row in self.rows if row.candidate == candidate)

    def one(self, candidate: str) -> Tried:
        """Return a strategy's answers."""
        return next(one for one in self.tried if one.candidate == candidate)

    def facts(self, spreads: Sequence[Spread], unspread: str, n_spread: int, *, band_stated: bool) -> dict[str, Any]:
        """Return the bench as JSON: what `bench-shots --json` prints and the report shows."""
        n_full = len(self.tried) * len(self.ids) * self.prepared.experiment.runs.replicates
        shown = [
            {**asdict(row), "moving_parts": len(row.moving), "complete": row.complete, "dynamic": row.dynamic}
            for row in self.rows
        ]
        unit = self.metric.unit
        return as_json(
            {
                "metric": self.metric.name,
                "unit": unit,
                "higher_is_better": self.metric.higher_is_better,
                "simplest": SIMPLEST,
                "n_dev": len(self.ids),
                "sentence": sentence(self.advice, self.rows, SIMPLEST, unit),
                "rule": rule(self.band, unit, stated=band_stated),
                "advice": asdict(self.advice) if self.advice else None,
                "strategies": shown,
                "spreads": [asdict(one) for one in spreads],
                "unspread": unspread,
                "calls": {"asked": self.n_calls, "without_race": n_full, "spreads": n_spread},
                "next": self._next(band_stated=band_stated),
            }
        )

    def _next(self, *, band_stated: bool) -> list[str]:
        """Return the lines that give the advice its look at test, the best one beside it; none where nothing is gained.

        The claim is about the recommended strategy, or about the best one where no examples are recommended.
        """
        advice = self.advice
        if advice is None or advice.best == SIMPLEST:
            return []
        claimed = advice.best if advice.candidate == SIMPLEST else advice.candidate
        candidates = {one.id: one for one in self.prepared.experiment.candidates}
        wanted = [candidates[name] for name in dict.fromkeys((SIMPLEST, advice.candidate, advice.best))]
        keys = {"id", "prompt", "model", "params", "shots"}
        written = [one.model_dump(mode="json", include=keys, exclude_defaults=True) for one in wanted]
        points = f"{100 * self.band:g} points" if self.metric.unit == "points" else f"{self.band:g}"
        comment = "" if band_stated else "   # the smallest gain that would matter to you"
        claim = f"{{metric: {self.metric.name}, smallest_effect: {points}, candidate: {claimed}}}"
        return ["candidates:", *(f"  - {_line(one)}" for one in written), f"claim: {claim}{comment}"]


def _line(value: dict[str, Any]) -> str:
    short = {key: item["model"] if key == "model" and set(item) == {"model"} else item for key, item in value.items()}
    return yaml.safe_dump(short, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True).strip()


def read_replies(prepared: Prepared, references: Iterable[Ref]) -> dict[str, list[dict[str, Any]]]:
    """Return each candidate's rows, one an item and replicate; a race's answers come again when all rows are asked."""
    store = prepared.place.open_store()
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for reference in references:
        for row in store.read(StoreRef.from_dict(reference)).to_pylist():
            found.setdefault((row["candidate"], row["example_id"], row["replicate"]), row)
    by_candidate: dict[str, list[dict[str, Any]]] = {}
    for (candidate, _, _), row in found.items():
        by_candidate.setdefault(candidate, []).append(row)
    return by_candidate


def tried_of(
    prepared: Prepared,
    scorer: Scorer,
    ids: Sequence[str],
    replies: dict[str, list[dict[str, Any]]],
    climbed: Climbed | None,
) -> list[Tried]:
    """Return every candidate's scores by item of `ids`, in the experiment's order."""
    ended = {row["candidate"]: row for row in climbed.standing} if climbed else {}
    wanted, found = set(ids), list[Tried]()
    for candidate in prepared.experiment.candidates:
        rows = [row for row in replies.get(candidate.id, []) if row["example_id"] in wanted]
        end = ended.get(candidate.id)
        scores, asked = by_item(prepared, scorer, rows, ids)
        # Who leaves when there is nothing left to ask has answered everything.
        gone = end is not None and not asked.all()
        found.append(
            Tried(
                candidate.id,
                candidate.shots,
                scores,
                asked,
                *(_column(rows, name) for name in ("cost_usd", "n_tokens_in", "n_tokens_cached", "latency_s")),
                status=end["status"] if end is not None and gone else "running",
                rung=end["rung"] if end is not None and gone else None,
            )
        )
    return found


def by_item(
    prepared: Prepared, scorer: Scorer, rows: list[dict[str, Any]], ids: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the score of each item of `ids`, the mean over its replicates (NaN: none), and whether it was asked."""
    items = {row["example_id"]: row for row in shard_rows(read_table(prepared.place, prepared.examples), list(ids))}
    place = {example_id: at for at, example_id in enumerate(ids)}
    merged = [{**items[row["example_id"]], **row} for row in rows]
    values = row_values(scorer, merged, [row["target"] for row in merged]).value
    sums, counts, asked = np.zeros(len(ids)), np.zeros(len(ids)), np.zeros(len(ids), dtype=bool)
    for row, value in zip(rows, values, strict=True):
        at = place[row["example_id"]]
        asked[at] = True
        if not math.isnan(value):
            sums[at] += value
            counts[at] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), asked


def _column(rows: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([math.nan if row[name] is None else row[name] for row in rows], dtype=float)
