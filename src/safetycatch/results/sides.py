"""Systems measured apart, side by side: one matrix over the items they share, and what is said about them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.results.comparing import Comparison, Estimate, compare, compare_slices, estimate
from safetycatch.results.health import Flips, Health, flips, item_health
from safetycatch.results.matrix import Items, ScoreMatrix, common_slices
from safetycatch.results.pairs import MOST_PAIRED, all_pairs, best
from safetycatch.stats import VarianceComponents, Verdict, decide, holm, variance_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.results.comparing import Metric
    from safetycatch.results.corrected import Judging
    from safetycatch.results.matrix import Floats

UNEVEN = 0.02  # share of the items by which the sides' missing scores may differ unmentioned: SC207's limit


@dataclass(frozen=True, slots=True)
class Side:
    """One system's scores on one metric: `values` has a row an item and a column a run, NaN is missing.

    `clusters` (the unit of independence), `slices` and `contents` (hashes by kind) are by item, empty where unknown.
    """

    name: str
    ids: tuple[str, ...]
    values: Floats
    clusters: Mapping[str, str] = field(default_factory=dict[str, str])
    slices: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    contents: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What two sides do not share; `checked` says which contents both know, none: paired by id alone."""

    only_left: tuple[str, ...]
    only_right: tuple[str, ...]
    changed: tuple[str, ...]
    checked: tuple[str, ...]
    n_shared: int


def mismatch(left: Side, right: Side) -> Mismatch:
    """Return the items that only one side holds, and those whose content differs in a kind that both know."""
    ours, theirs = set(left.ids), set(right.ids)
    shared = ours & theirs
    kinds = tuple(kind for kind in left.contents if kind in right.contents)
    changed = {
        name
        for kind in kinds
        for name in shared
        if name in left.contents[kind]
        and name in right.contents[kind]
        and left.contents[kind][name] != right.contents[kind][name]
    }
    return Mismatch(
        tuple(sorted(ours - theirs)), tuple(sorted(theirs - ours)), tuple(sorted(changed)), kinds, len(shared)
    )


def joined(sides: Sequence[Side], metric: str) -> tuple[ScoreMatrix, tuple[str, ...]]:
    """Return one matrix over the items that all sides hold, in the first side's order, and notes on how.

    Clusters and each slice column are those of the first side that has them.
    """
    shared = set(sides[0].ids).intersection(*(side.ids for side in sides[1:]))
    ids = tuple(name for name in sides[0].ids if name in shared)
    clusters, notes = _clusters(sides, ids)
    slices: dict[str, np.ndarray] = {}
    for side in sides:
        for column, texts in side.slices.items():
            if column not in slices:
                slices[column] = common_slices([texts.get(name) or "(none)" for name in ids])
    nothing = np.full(len(ids), None, dtype=object)
    values: dict[tuple[str, str], Floats] = {}
    for side in sides:
        place = {name: row for row, name in enumerate(side.ids)}
        values[side.name, metric] = side.values[[place[name] for name in ids]]
    matrix = ScoreMatrix(
        Items(ids, clusters, slices, nothing, nothing), tuple(side.name for side in sides), (metric,), values
    )
    return matrix, notes


def _clusters(sides: Sequence[Side], ids: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    alone = np.asarray(ids, dtype=object)
    found: list[tuple[str, np.ndarray]] = []
    for side in sides:
        # An item without a cluster is its own: the blank keeps it apart from clusters that are called like an item.
        own = np.asarray([side.clusters.get(name) or f"{name} " for name in ids], dtype=object)
        if len(set(own.tolist())) < len(ids):
            found.append((side.name, own))
    if not found:
        return alone, ()
    first, chosen = found[0]
    others = [name for name, own in found[1:] if not _same_partition(chosen, own)]
    notes = (f"clusters are those of {first}; {others[0]} divides the items otherwise",) if others else ()
    return chosen, notes


def _same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    together = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(together) == len(set(one.tolist())) == len(set(other.tolist()))


@dataclass(frozen=True, slots=True)
class Noise:
    """A side's variance between runs and between items; None with the `reason` where it cannot be told."""

    side: str
    n_runs: int
    components: VarianceComponents | None
    reason: str = ""


def on_shared_scores(matrix: ScoreMatrix, metric: str) -> tuple[ScoreMatrix, dict[str, int]]:
    """Return the matrix without the scores of items that some side has no score of, and each side's own scored items.

    Means over each side's own items rank by which items a side answered, against the paired differences; on the items
    that all have, order and differences are one arithmetic. A side without any score holds nobody back.
    """
    seen = {name: ~np.isnan(matrix.means(name, metric)) for name in matrix.candidates}
    holding = [rows for rows in seen.values() if rows.any()]
    shared = np.logical_and.reduce(holding) if holding else np.zeros(len(matrix.items.ids), dtype=bool)
    values = {
        key: np.where(shared[:, None], array, np.nan) if key[1] == metric else array
        for key, array in matrix.values.items()
    }
    return replace(matrix, values=values), {name: int(rows.sum()) for name, rows in seen.items()}


@dataclass(frozen=True, slots=True)
class Uneven:
    """A pair of which one side lacks clearly more scores; `counted_wrong` is candidate - baseline where missing is 0.

    `counted_wrong` is NaN where scores are no rights and wrongs.
    """

    baseline: str
    candidate: str
    baseline_missing: int
    candidate_missing: int
    n_items: int
    counted_wrong: float


def uneven(matrix: ScoreMatrix, metric: Metric, versus: Sequence[tuple[str, str]]) -> tuple[Uneven, ...]:
    """Return the pairs (baseline, candidate) whose shares of missing scores differ by `UNEVEN` or more."""
    found: list[Uneven] = []
    n_items = len(matrix.items.ids)
    for base, name in versus:
        theirs, ours = matrix.means(base, metric.name), matrix.means(name, metric.name)
        missing = int(np.isnan(theirs).sum()), int(np.isnan(ours).sum())
        if abs(missing[0] - missing[1]) >= max(1.0, UNEVEN * n_items):
            gain = np.nan_to_num(ours) - np.nan_to_num(theirs)
            wrong = float(gain.mean()) if metric.rate and metric.higher_is_better else math.nan
            found.append(Uneven(base, name, *missing, n_items, wrong))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SideBySide:
    """What is said about the sides, on the items that all have a score of; `verdicts` only with a smallest effect.

    An estimate's `n_missing` counts what the side itself lacks, `own` the items that it has; `uneven` names the pairs
    of which one side lacks clearly more.
    `differences` are those asked for (candidate - its baseline, p-values Holm-adjusted over them; `headline` the one
    with the largest gain), `pairs` every pair of the best few (Holm over the pairs), `slices` the differences by slice
    (Benjamini-Hochberg over all of them), where there is one baseline.
    """

    estimates: tuple[Estimate, ...]
    differences: tuple[Comparison, ...]
    verdicts: Mapping[str, Verdict]
    pairs: tuple[Comparison, ...]
    n_unpaired: int
    slices: tuple[Comparison, ...]
    flips: tuple[Flips, ...]
    health: Health | None
    noise: tuple[Noise, ...]
    headline: Comparison | None
    own: Mapping[str, int]
    uneven: tuple[Uneven, ...]


def side_by_side(
    matrix: ScoreMatrix,
    metric: Metric,
    versus: Sequence[tuple[str, str]],
    *,
    smallest_effect: float | None = None,
    pairs: bool = True,
    judging: Judging | None = None,
) -> SideBySide:
    """Return estimates and differences of the matrix's candidates; `versus` lists (baseline, candidate) to subtract.

    `smallest_effect` is in the metric's unit and gives verdicts. Items are paired; runs of an item are averaged first.
    Judged scores are corrected as `judging` says.
    """
    gaps = uneven(matrix, metric, versus)
    matrix, own = on_shared_scores(matrix, metric.name)
    names, n_items = matrix.candidates, len(matrix.items.ids)
    differences, verdicts = _differences(matrix, metric, versus, smallest_effect, judging)
    paired = [name for name in names if name in set(best(matrix, names, metric))] if pairs else []
    rates = metric.rate and bool(matrix.items.ids)
    better = metric.higher_is_better
    baselines = list(dict.fromkeys(base for base, _ in versus))
    alone = len(baselines) == 1 and not metric.corpus  # a part of the contributions to F1 is no F1 of a slice
    measured = [row for row in differences if not math.isnan(row.estimate)]
    return SideBySide(
        estimates=tuple(
            replace(estimate(matrix, name, metric, judging=judging), n_missing=n_items - own[name]) for name in names
        ),
        differences=differences,
        verdicts=verdicts,
        pairs=_pairs(matrix, paired, metric, smallest_effect, judging) if len(paired) > 2 else (),
        n_unpaired=max(0, len(names) - MOST_PAIRED) if pairs else 0,
        slices=compare_slices(matrix, baselines[0], [name for _, name in versus], metric, judging) if alone else (),
        flips=tuple(flips(matrix, name, base, metric.name, higher_is_better=better) for base, name in versus)
        if rates
        else (),
        health=item_health(matrix, names, metric.name, len(names), higher_is_better=better) if rates else None,
        noise=tuple(_noise(matrix, name, metric.name) for name in names),
        headline=max(measured, key=lambda row: row.estimate if better else -row.estimate, default=None),
        own=own,
        uneven=gaps,
    )


def _differences(
    matrix: ScoreMatrix,
    metric: Metric,
    versus: Sequence[tuple[str, str]],
    smallest_effect: float | None,
    judging: Judging | None,
) -> tuple[tuple[Comparison, ...], dict[str, Verdict]]:
    raw = [compare(matrix, name, base, metric, judging=judging) for base, name in versus]
    adjusted = holm([row.p_adjusted for row in raw]).tolist() if raw else []
    verdicts: dict[str, Verdict] = {}
    rows: list[Comparison] = []
    for row, p_value in zip(raw, adjusted, strict=True):
        verdict = None
        if row.difference is not None and smallest_effect is not None:
            verdict = verdicts[row.candidate] = decide(
                row.difference,
                smallest_effect,
                candidate=row.candidate,
                baseline=row.baseline,
                metric=metric.name,
                p_adjusted=p_value,
                n_compared=len(raw),
                higher_is_better=metric.higher_is_better,
                unit=metric.unit,
            )
        word = verdict.kind if verdict else "INCONCLUSIVE" if smallest_effect is not None else None
        rows.append(replace(row, p_adjusted=p_value, verdict=word, correction="holm"))
    return tuple(rows), verdicts


def _pairs(
    matrix: ScoreMatrix,
    names: Sequence[str],
    metric: Metric,
    smallest_effect: float | None,
    judging: Judging | None,
) -> tuple[Comparison, ...]:
    found = all_pairs(matrix, names, metric, smallest_effect=smallest_effect, judging=judging)
    return found if smallest_effect is not None else tuple(replace(pair, verdict=None) for pair in found)


def _noise(matrix: ScoreMatrix, name: str, metric: str) -> Noise:
    values = matrix.rows(name, metric)
    n_runs = int((~np.isnan(values)).sum(axis=1).max(initial=0))
    if n_runs < 2:
        return Noise(name, n_runs, None, "one run an item: noise between runs was not measured")
    try:
        return Noise(name, n_runs, variance_components(values, matrix.paired_clusters()))
    except StatisticsError as error:
        return Noise(name, n_runs, None, str(error))
