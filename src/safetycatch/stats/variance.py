"""Where the spread of repeated scores comes from: runs of an item, items, clusters of items."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import (
    FEW_CLUSTERS,
    LARGEST_VALUE,
    Floats,
    Values,
    cluster_codes,
    mean_variance,
    read_sample,
)


@dataclass(frozen=True)
class VarianceComponents:
    """Variances in squared score units: `within` an item (between its runs), `between` items, between clusters.

    `cluster` is NaN without clusters; `between` is then the whole spread of the items, else their spread in a cluster.
    `n_items` counts items with a score, `n_runs` all scores, `n_missing` the empty cells; a component that came out
    negative is 0, and `warnings` say so.
    """

    estimate: float
    within: float
    between: float
    cluster: float
    n_items: int
    n_runs: int
    n_clusters: int
    n_missing: int
    warnings: tuple[str, ...]
    sizes: tuple[int, ...]

    def se(self, runs: float) -> float:
        """Return the standard error of the mean over these items with `runs` runs each (infinity: no noise left).

        Raises: StatisticsError below one run.
        """
        if not runs >= 1:
            raise StatisticsError(f"{runs} runs an item, expected 1 or more (math.inf: no noise between runs)")
        variance = (self.between + self.within / runs) / self.n_items
        if not math.isnan(self.cluster):
            variance += self.cluster * sum(size * size for size in self.sizes) / self.n_items**2
        return math.sqrt(variance)


def variance_components(x: Values | Floats, cluster: Values | None = None) -> VarianceComponents:
    """Return the variance components of `x`, a row an item and a column a run (NaN = missing), by analysis of variance.

    `cluster` names the cluster of each item. Sums of squares are set to their expectations, whatever the numbers of
    runs and items; with equal numbers, and no negative component, the result is that of REML. Assumes runs of an item
    independent and of equal variance on average; runs at temperature 0 are no proof that there is no noise.
    Raises: StatisticsError without two runs of an item, two items, or (with `cluster`) two clusters, one of them of
    two items. Source: Searle, Casella, McCulloch 1992, "Variance Components", chapter 5; Miller 2024.
    """
    table = _table(x)
    seen = ~np.isnan(table)
    runs = seen.sum(axis=1).astype(float)
    there = runs > 0
    n_items, n_scores = int(there.sum()), int(runs.sum())
    if n_items < 2:
        raise StatisticsError(f"{n_items} items have a score: the spread between items needs at least 2")
    if n_scores == n_items:
        raise StatisticsError("no item has two runs: noise between runs cannot be told from the spread between items")
    runs, kept = runs[there], np.where(seen, table, 0.0)[there]
    means = kept.sum(axis=1) / runs
    squares_within = float(((kept - means[:, None]) ** 2)[seen[there]].sum())
    within = squares_within / (n_scores - n_items)
    mean = float(kept.sum() / n_scores)
    sizes: tuple[int, ...] = (1,) * n_items
    notes: list[str] = []
    if cluster is None:
        squares = float((runs * (means - mean) ** 2).sum())
        between = (squares - (n_items - 1) * within) / (n_scores - float((runs**2).sum()) / n_scores)
        of_cluster = math.nan
    else:
        codes = np.unique(cluster_codes(cluster, len(table))[there], return_inverse=True)[1]
        between, of_cluster, counts = _nested(means, runs, codes, mean, within)
        sizes = tuple(int(count) for count in counts)
        if len(sizes) < FEW_CLUSTERS:
            notes.append(f"only {len(sizes)} clusters: below {FEW_CLUSTERS} their variance is rough")
    if between < 0:
        notes.append(f"the variance between items came out as {between:.3g}: taken as 0")
    if of_cluster < 0:
        notes.append(f"the variance between clusters came out as {of_cluster:.3g}: taken as 0")
    of_cluster = of_cluster if math.isnan(of_cluster) else max(0.0, of_cluster)
    return VarianceComponents(
        mean, within, max(0.0, between), of_cluster, n_items, n_scores, len(sizes), int((~seen).sum()),
        tuple(notes), sizes,
    )  # fmt: skip


def _nested(
    means: Floats, runs: Floats, codes: np.ndarray, mean: float, within: float
) -> tuple[float, float, np.ndarray]:
    """Return the variances between items of a cluster and between clusters, and how many items each cluster has."""
    counts = np.bincount(codes)
    n_clusters, n_items, n_scores = len(counts), len(means), float(runs.sum())
    if n_clusters < 2 or n_items == n_clusters:
        what = "one cluster" if n_clusters < 2 else "a single item in every cluster"
        raise StatisticsError(f"{what}: the spread between clusters cannot be told from that between items")
    scores = np.bincount(codes, weights=runs)
    centres = np.bincount(codes, weights=runs * means) / scores
    squares_items = float((runs * (means - centres[codes]) ** 2).sum())
    squares_clusters = float((scores * (centres - mean) ** 2).sum())
    own = float((np.bincount(codes, weights=runs**2) / scores).sum())
    between = (squares_items - (n_items - n_clusters) * within) / (n_scores - own)
    rest = squares_clusters - (n_clusters - 1) * within - between * (own - float((runs**2).sum()) / n_scores)
    return between, rest / (n_scores - float((scores**2).sum()) / n_scores), counts


def _table(x: Values | Floats) -> Floats:
    try:
        table = np.asarray(x, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise StatisticsError(f"x is not a table of numbers (a row an item, a column a run): {error}") from None
    if table.ndim != 2:
        raise StatisticsError(f"x has {table.ndim} dimensions, expected two: a row an item, a column a run")
    if (np.abs(table) > LARGEST_VALUE).any():
        raise StatisticsError(f"x holds a number beyond +-{LARGEST_VALUE:g}")
    return table


@dataclass(frozen=True)
class DifferenceNoise:
    """What a paired difference's standard error is made of, in squared score units an item.

    Var(mean difference) = (between + candidate/runs + baseline/runs) / n. `between` is the spread of the items' true
    differences, times the design effect of their clusters; `candidate` and `baseline` are the noise between runs of
    one item, NaN where it was not measured: `between` then holds that noise too. `df` says how surely the sum of them
    is known, as degrees of freedom.
    """

    between: float
    candidate: float
    baseline: float
    n: int
    df: float = math.inf

    @property
    def runs_measured(self) -> bool:
        """Whether noise between runs is known."""
        return not math.isnan(self.candidate + self.baseline)

    def sd(self, runs: float = 1, baseline_runs: float | None = None) -> float:
        """Return the standard deviation to plan with, score units: `required_n(effect, sd_difference=noise.sd(3))`.

        Where noise between runs is not known, more runs are not counted on. Raises: StatisticsError below one run.
        """
        runs_of_baseline = runs if baseline_runs is None else baseline_runs
        if not min(runs, runs_of_baseline) >= 1:
            raise StatisticsError(f"{min(runs, runs_of_baseline)} runs an item, expected 1 or more")
        noises = ((self.candidate, runs), (self.baseline, runs_of_baseline))
        return math.sqrt(self.between + sum(noise / k for noise, k in noises if not math.isnan(noise)))


def difference_noise(a: Values | Floats, b: Values | Floats, cluster: Values | None = None) -> DifferenceNoise:
    """Return the noise of candidate `a` - baseline `b`: tables of the same items, a row an item, a column a run.

    NaN is missing; an item without a score on either side is left out. A side with one run an item makes the noise
    between runs unknown. `between` may come out negative and is then 0. The degrees of freedom are Satterthwaite's,
    from the spread of the clusters' squared sums: few for rare differences. Assumes as `variance_components`.
    Raises: StatisticsError below 2 items on both sides, or 5 clusters when `cluster` is given.
    Source: Miller 2024, "Adding Error Bars to Evals", sections 3 and 5.
    """
    first, second = _table(a), _table(b)
    if len(first) != len(second):
        raise StatisticsError(f"a has {len(first)} items and b {len(second)}: expected the same items in one order")
    means, noises, shares = zip(*(_runs_of(table) for table in (first, second)), strict=True)
    differences = means[0] - means[1]
    sample = read_sample(differences, cluster, least=2, name="a - b")
    pairs = ~np.isnan(differences)
    # CR2 variance of the mean, back to one item: clusters are in it.
    total = mean_variance(sample).variance * sample.n
    parts = np.square(sample.cluster_sums(sample.values - sample.values.mean())) / (1 - sample.sizes / sample.n)
    spread = float(parts.var(ddof=1)) * len(parts) / float(parts.sum()) ** 2 if total else 0.0
    df = min(len(parts) - 1.0, 2 / spread) if spread else len(parts) - 1.0
    known = [(noise, share) for noise, share in zip(noises, shares, strict=True) if not math.isnan(noise)]
    of_runs = sum(noise * float(share[pairs].mean()) for noise, share in known)
    return DifferenceNoise(max(0.0, total - of_runs), noises[0], noises[1], sample.n, max(1.0, df))


def _runs_of(table: Floats) -> tuple[Floats, float, Floats]:
    """Return the items' means, the variance between runs of an item, and 1/runs an item (NaN where there is none)."""
    seen = ~np.isnan(table)
    runs = np.where(seen.any(axis=1), seen.sum(axis=1), np.nan)
    kept = np.where(seen, table, 0.0)
    means = kept.sum(axis=1) / runs
    spare = float(np.nansum(runs - 1))
    if not spare:
        return means, math.nan, 1 / runs
    within = float((((kept - np.nan_to_num(means)[:, None]) ** 2) * seen).sum()) / spare
    return means, within, 1 / runs
