"""How a judge compares with people: its kappa with each of them against theirs with each other, on shared items."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from safetycatch.stats.clusters import MIN_CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

MARGIN = 0.10
FEWEST_ITEMS = 20
N_RESAMPLES = 999
SEED = 11
LEVEL = 0.95
MISSING = -1


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Mean kappa of people with each other and of the judge with each of them, on `n` items that two people labelled.

    `low` and `high` are one-sided 95 % bounds of how much the judge's is lower. `verdict`: worse (shown to be lower by
    more than `margin`), no_worse (shown not to be), open, or not_checked with the `reason`.
    """

    verdict: Literal["worse", "no_worse", "open", "not_checked"]
    n: int
    people: float | None = None
    judge: float | None = None
    shortfall: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float = MARGIN
    reason: str = ""


def human_ceiling(
    said: Mapping[str, Mapping[str, str]],
    judge: Mapping[str, str | None],
    *,
    cluster: Mapping[str, int] | None = None,
    margin: float = MARGIN,
    seed: int = SEED,
) -> Ceiling:
    """Return how the judge's kappa with people compares with people's own; `said` has labels by item and annotator.

    One-sided bounds of the difference by bootstrap (percentile) over items, or over the items of each `cluster`
    together. Items count that two people labelled and that the judge has a verdict on. Assumes independent clusters.
    """
    shared = [item for item, by in said.items() if len(by) > 1 and judge.get(item) is not None]
    if len(shared) < FEWEST_ITEMS:
        told = f"{len(shared)} items were labelled by two people and asked of the judge, {FEWEST_ITEMS} are needed"
        return Ceiling("not_checked", len(shared), reason=told)
    names = sorted({name for item in shared for name in said[item]})
    classes = sorted({label for item in shared for label in (*said[item].values(), judge[item] or "")})
    place = {label: number for number, label in enumerate(classes)}
    table = np.array(
        [[place[said[item][name]] if name in said[item] else MISSING for name in names] for item in shared]
    )
    verdicts = np.array([place[judge[item] or ""] for item in shared])
    rng = np.random.default_rng(seed)
    n = len(shared)
    own_cluster = list(range(n)) if cluster is None else [cluster[item] for item in shared]
    of = np.unique(own_cluster, return_inverse=True)[1]
    n_clusters = int(of.max()) + 1
    if n_clusters < MIN_CLUSTERS:
        told = f"the {n} items that two people labelled answer {n_clusters} questions, {MIN_CLUSTERS} are needed"
        return Ceiling("not_checked", n, reason=told)
    drawn_clusters = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), N_RESAMPLES)
    times: NDArray[np.float64] = np.vstack([np.ones(n), drawn_clusters[:, of]]).astype(np.float64)
    people = _mean_kappa([(table[:, a], table[:, b]) for a, b in combinations(range(len(names)), 2)], times, classes)
    own = _mean_kappa([(table[:, a], verdicts) for a in range(len(names))], times, classes)
    drawn = (people - own)[1:]
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(people[0] - own[0]) or len(drawn) < N_RESAMPLES // 2:
        return Ceiling("not_checked", n, reason="people or judge gave one verdict only: kappa is undefined")
    low, high = (float(value) for value in np.quantile(drawn, [1 - LEVEL, LEVEL]))
    verdict = "worse" if low > margin else "no_worse" if high < margin else "open"
    gap = float(people[0] - own[0])
    return Ceiling(verdict, n, float(people[0]), float(own[0]), gap, low, high, margin)


def _mean_kappa(
    pairs: Sequence[tuple[Ints, Ints]], times: NDArray[np.float64], classes: Sequence[str]
) -> NDArray[np.float64]:
    """Return the mean of Cohen's kappa over pairs of raters, for every row of how often each item counts."""
    size = len(classes)
    found: list[NDArray[np.float64]] = []
    for first, second in pairs:
        cells = np.where((first == MISSING) | (second == MISSING), size * size, first * size + second)
        one_hot = np.eye(size * size + 1)[:, cells]
        counts = (times @ one_hot.T)[:, :-1].reshape(len(times), size, size)
        total = counts.sum(axis=(1, 2))
        if not total[0]:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            agreed = np.trace(counts, axis1=1, axis2=2) / total
            chance = (counts.sum(axis=2) * counts.sum(axis=1)).sum(axis=1) / total**2
            found.append((agreed - chance) / (1 - chance))
    return np.mean(found, axis=0) if found else np.full(len(times), np.nan)
