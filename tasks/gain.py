"""Stage `gain`: what an ensemble is worth beside its best member, and how much its members' errors have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from prefect import task

from safetycatch.ensembles import Correlation, effective_voters, error_correlation
from safetycatch.errors import StatisticsError
from safetycatch.results.comparing import added_usd, compare
from safetycatch.results.corrected import Judging
from safetycatch.results.matrix import build_matrix, items_of
from safetycatch.results.summary import MetricTable, as_json
from safetycatch.store import Ref
from tasks.calling import read_table, scorers_of
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, transient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.results.comparing import Comparison, Metric
    from safetycatch.results.matrix import ScoreMatrix

STAGE, VERSION = "gain", "4"
SCHEMA = pa.schema(
    [
        pa.field("left", pa.string(), nullable=False),
        pa.field("right", pa.string(), nullable=False),
        pa.field("phi", pa.float64()),
    ]
)


@task(
    name=STAGE,
    task_run_name="gain {settings[id]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=2,
    retry_condition_fn=transient,
)
def gain(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    splits: dict[str, Any],
    parts: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the reference of the members' error correlations, pair by pair; gain and cost are its facts.

    `parts` are the scores of the ensemble and of each member, then the members' shards of rows.
    """

    def produce() -> Produced:
        store, members = place.open_store(), settings["members"]
        n_scores = 1 + len(members)
        items = items_of(read_table(place, examples), read_table(place, splits), settings["split"], (), settings["ids"])

        def batches() -> Iterator[pa.RecordBatch]:
            for part in parts[:n_scores]:
                yield from store.batches(Ref.from_dict(part))

        matrix = build_matrix(items, batches(), settings["replicates"]).without(set(settings["exclude"]))
        metric = MetricTable.of(scorers_of(place, settings)).metrics[0]
        judging = Judging.of(settings.get("judging"))
        best = settings["best"] or _best(matrix, members, metric)
        found = compare(matrix, settings["id"], best, metric, judging=judging) if best else None
        low, high, no_interval = interval_of(found)
        sign = 1 if metric.higher_is_better else -1
        shared = _shared(place, settings, examples, parts[n_scores:])
        k = len(members)
        facts = {
            "best": best,
            "chosen_on": settings["chosen_on"] if len(members) > 1 else "",
            "metric": metric.name,
            "unit": metric.unit,
            "gain": None if found is None else _number(sign * found.estimate),
            "low": low if sign > 0 or high is None else -high,
            "high": high if sign > 0 or low is None else -low,
            "n_paired": found.n if found else 0,
            **({"judged": as_json(found.judged.facts())} if found is not None and found.judged is not None else {}),
            "no_interval": no_interval,
            "added_usd_per_1000": _number(1000 * added_usd(matrix, settings["id"], best, metric)) if best else None,
            "rho": _number(shared.mean),
            "no_rho": shared.reason,
            "n_voters": k,
            "effective_voters": _effective(k, shared.mean),
        }
        pairs = [
            {"left": members[left], "right": members[right], "phi": _number(shared.phi[left, right])}
            for left in range(k)
            for right in range(left)
        ]
        return Produced(pa.Table.from_pylist(pairs, schema=SCHEMA), facts={**facts, "pairs": pairs})

    parents = parents_of({"examples": examples, "splits": splits, "parts": parts})
    return run_stage(STAGE, VERSION, place, settings, parents, produce)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def interval_of(found: Comparison | None) -> tuple[float | None, float | None, str]:
    """Return the interval of a comparison; None ends with the reason why there are none."""
    if found is None:
        return None, None, "no member has an answer"
    if found.difference is None:
        return None, None, found.reason
    low, high = _number(found.difference.low), _number(found.difference.high)
    if low is None or high is None:
        return None, None, next(reversed(found.difference.warnings), "no interval: the differences have no spread")
    return low, high, ""


def _effective(k: int, rho: float) -> float | None:
    try:
        return _number(effective_voters(k, rho))
    except StatisticsError:
        return None  # pairs of few items can correlate by less than k voters could share


def _best(matrix: ScoreMatrix, members: list[str], metric: Metric) -> str | None:
    """Return the member with the best score, of equal ones the first by name."""
    means = {name: np.nanmean(matrix.means(name, metric.name)) for name in members if _scored(matrix, name, metric)}
    sign = -1 if metric.higher_is_better else 1
    return min(means, key=lambda name: (sign * means[name], name), default=None)


def _scored(matrix: ScoreMatrix, name: str, metric: Metric) -> bool:
    return matrix.has(name, metric.name) and not np.isnan(matrix.means(name, metric.name)).all()


def _shared(
    place: Place, settings: dict[str, Any], examples: dict[str, Any], parts: list[dict[str, Any]]
) -> Correlation:
    members, store = settings["members"], place.open_store()
    if settings["samples"] or len(members) < 2:
        return Correlation(np.full((1, 1), np.nan), math.nan, 0, "the votes are samples of one member")
    table = read_table(place, examples)
    targets = dict(zip(table["example_id"].to_pylist(), table["target"].to_pylist(), strict=True))
    judge = scorers_of(place, {**settings, "scorers": [settings["right_by"]]})[0] if settings["right_by"] else None
    order = [(one, replicate) for one in settings["ids"] for replicate in range(settings["replicates"])]
    place_of = {key: at for at, key in enumerate(order)}
    wrong, at = np.full((len(order), len(members)), np.nan), 0
    for column, n_shards in enumerate(settings["shards"]):
        for part in parts[at : at + n_shards]:
            for row in store.read(Ref.from_dict(part)).to_pylist():
                if row["status"] in {"error", "invalid"} or row["example_id"] in settings["exclude"]:
                    continue
                said, target = row["parsed"], targets[row["example_id"]]
                right = said is not None and (said == target if judge is None else judge.score(said, target, row) >= 1)
                wrong[place_of[row["example_id"], row["replicate"]], column] = float(not right)
        at += n_shards
    return error_correlation(wrong)
