"""Stage `score`: one candidate's replies as numbers, shard by shard."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from prefect import task

from safetycatch.judge_settings import PAIRWISE, JudgeSettings
from safetycatch.judging.jury import combined
from safetycatch.scoring import row_values
from safetycatch.scoring.judged import JUDGED, OWN_OF_A_PAIR, is_judged, unjudged_values, values_of
from safetycatch.store import Ref
from safetycatch.tables import schema
from tasks.calling import read_table, scorers_of, shard_rows
from tasks.judging import answers_in
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, transient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.scoring import Scorer
    from safetycatch.store import Store

STAGE, VERSION = "score", "3"
MAX_SHOWN = 120
COLUMNS = [name for name in schema("scores").names if name != "run_id"]
SCHEMA = pa.schema([schema("scores").field(name) for name in COLUMNS])


@task(
    name=STAGE,
    task_run_name="score {settings[candidate]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=2,
    retry_condition_fn=transient,
)
def score(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    parts: list[dict[str, Any]],
    verdicts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the reference of the `scores` of one candidate; `parts` are its shards of `rows`, in order.

    With `verdicts` on its answers, `settings[judge]` says by which scale; behind its own `settings[n_own]` shards
    `parts` then holds the baseline's, where pairs are judged.
    """

    def produce() -> Produced:
        scoring = _Scoring(scorers_of(place, settings), settings["candidate"], set(settings["exclude"]))
        store, own = place.open_store(), parts
        if verdicts is not None:
            scoring.judged = judged_values(place, settings, parts, verdicts)
            own = parts[: settings["n_own"]]
        batches = scoring.batches(place, store, examples, own)
        return Produced(pa.Table.from_batches(list(batches), schema=SCHEMA), facts=scoring.facts())

    parents = parents_of({"examples": examples, "parts": parts, "verdicts": verdicts})
    return run_stage(STAGE, VERSION, place, settings, parents, produce)


def judged_values(
    place: Place, settings: dict[str, Any], parts: list[dict[str, Any]], verdicts: dict[str, Any]
) -> dict[tuple[str, int], dict[str, float]]:
    """Return the judged metrics of every row in `parts`; a row without a ruling has none."""
    judge = JudgeSettings.model_validate(settings["judge"])
    rulings = combined(place.open_store().read(Ref.from_dict(verdicts)).to_pylist(), judge)
    n_own, name = settings["n_own"], settings["candidate"]
    others = {(row["example_id"], row["replicate"]): row["status"] for row in answers_in(place, parts[n_own:])}
    found: dict[tuple[str, int], dict[str, float]] = {}
    for row in answers_in(place, parts[:n_own]):
        key = (row["example_id"], row["replicate"])
        if settings["is_baseline"] and judge.scale == PAIRWISE:
            found[key] = OWN_OF_A_PAIR
            continue
        plain = unjudged_values(row["status"], judge, others.get(key))
        ruling = rulings.get((name, *key))
        if plain is not None:
            found[key] = plain
        elif ruling is not None:
            found[key] = values_of(ruling.label, ruling.by_criterion, judge)
    return found


class _Scoring:
    """Scores shards one after the other; what metrics over the whole set need is only readings and targets."""

    def __init__(self, scorers: list[Scorer], candidate: str, exclude: set[str]) -> None:
        # Metrics over the whole set are taken without excluded rows, or their values would not average to the metric.
        self.candidate, self.exclude = candidate, exclude
        self.single = [scorer for scorer in scorers if scorer.whole is None]
        self.whole = [scorer for scorer in scorers if scorer.whole is not None]
        # Cost and time look at no reply, and a judge takes every one, so none is unreadable to them.
        self.reads = any(scorer.kind != "resource" and not is_judged(scorer.name) for scorer in scorers)
        self.judged: dict[tuple[str, int], dict[str, float]] = {}
        self.keys: list[tuple[str, int]] = []
        self.parsed: dict[str, list[str | None]] = {scorer.name: [] for scorer in self.whole}
        self.values: dict[str, list[float]] = {scorer.name: [] for scorer in self.whole}
        self.targets: list[str] = []
        self.statuses: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.returned: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.cost_usd, self.n_priced = 0.0, 0
        self.unreadable = ""
        self.confused: Counter[tuple[str, str]] = Counter()

    def batches(
        self, place: Place, store: Store, examples: dict[str, Any], parts: list[dict[str, Any]]
    ) -> Iterator[pa.RecordBatch]:
        known = read_table(place, examples)
        for part in parts:
            rows = store.read(Ref.from_dict(part)).to_pylist()
            items = shard_rows(known, [row["example_id"] for row in rows])
            merged = [{**item, **row} for item, row in zip(items, rows, strict=True)]
            for row in merged if self.judged else ():
                row[JUDGED] = self.judged.get((row["example_id"], row["replicate"]), {})
            targets = [item["target"] for item in items]
            self.targets.extend(targets)
            self.keys.extend((row["example_id"], row["replicate"]) for row in rows)
            self._count(rows, targets)
            for scorer in self.single:
                values = row_values(scorer, merged, targets).value
                yield self._batch(scorer.name, values, self.keys[-len(rows) :])
            for scorer in self.whole:
                self._keep(scorer, merged, targets)
        for scorer in self.whole:
            values = np.asarray(self.values[scorer.name], dtype=float)
            there = np.flatnonzero(~np.isnan(values))
            if there.size and scorer.whole is not None:
                read = [self.parsed[scorer.name][at] for at in there]
                values[there] = scorer.whole(read, [self.targets[at] for at in there], values[there])
            yield self._batch(scorer.name, values, self.keys)

    def _keep(self, scorer: Scorer, merged: list[dict[str, Any]], targets: list[str]) -> None:
        for row, target in zip(merged, targets, strict=True):
            output = row["output"] if row["status"] == "answer" and scorer.kind != "resource" else None
            read = None if output is None else scorer.parse(output)
            missing = row["status"] in {"error", "invalid"} or row["example_id"] in self.exclude
            self.parsed[scorer.name].append(read)
            self.values[scorer.name].append(math.nan if missing else scorer.score(read, target, row))

    def _count(self, rows: list[dict[str, Any]], targets: list[str]) -> None:
        for row, target in zip(rows, targets, strict=True):
            self.statuses[row["status"]] += 1
            if self.reads and row["status"] == "answer" and row["parsed"] is None:
                self.statuses["unparsable"] += 1
                self.unreadable = self.unreadable or row["output"][:MAX_SHOWN]
            if row["error_class"]:
                self.errors[row["error_class"]] += 1
            if row["status"] == "invalid" and row["model_returned"]:
                self.returned[row["model_returned"]] += 1
            for name in ("n_tokens_in", "n_tokens_cached", "n_tokens_out"):
                self.tokens[name] += row[name] or 0
            if row["cost_usd"] is not None:
                self.cost_usd += row["cost_usd"]
                self.n_priced += 1
            if self.reads and row["status"] == "answer" and row["parsed"] != target and len(target) <= 80:
                self.confused[target, row["parsed"] or "(unparsable)"] += 1

    def _batch(self, metric: str, values: np.ndarray, keys: list[tuple[str, int]]) -> pa.RecordBatch:
        columns = {
            "candidate": pa.array([self.candidate] * len(keys), pa.string()),
            "example_id": pa.array([example_id for example_id, _ in keys], pa.string()),
            "replicate": pa.array([replicate for _, replicate in keys], pa.int64()),
            "metric": pa.array([metric] * len(keys), pa.string()),
            "value": pa.array(values, pa.float64(), mask=np.isnan(values)),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in COLUMNS], schema=SCHEMA)

    def facts(self) -> dict[str, Any]:
        return {
            "n": len(self.keys),
            "statuses": dict(self.statuses),
            "errors": dict(self.errors),
            "returned": dict(self.returned),
            "tokens": dict(self.tokens),
            "cost_usd": self.cost_usd if self.n_priced else None,
            "n_priced": self.n_priced,
            "unreadable": self.unreadable,
            "confusions": [[*pair, count] for pair, count in self.confused.most_common(10)],
        }
