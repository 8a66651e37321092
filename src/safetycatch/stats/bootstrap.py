"""Cluster bootstrap: intervals of one mean, or of many jointly, by drawing whole clusters again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import (
    SAME_VALUE,
    Floats,
    Sample,
    Values,
    as_columns,
    checked_level,
    cluster_codes,
    quantile,
    read_sample,
    sums_by_cluster,
)
from safetycatch.stats.intervals import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

Method = Literal["percentile", "bca"]

LEAST_RESAMPLES = 100
ENOUGH_CLUSTERS_FOR_RATES = 200  # below, the percentiles of a rate near 0 or 1 covered 89-93 % instead of 95
CLUSTERS_A_TYPE = 20  # from here on counting each type at once is faster than drawing the clusters
FEW_COLUMNS = 3  # adding up the drawn rows is faster than counting them up to here
CACHED = 20_000  # drawn clusters held at once while they are added up
BLOCK = 1_000_000  # counts held at once, 8 MB


@dataclass(frozen=True)
class ClusterBootstrap:
    """An interval for each column, all from the same resamples; `df` is NaN, for no such quantile is used."""

    intervals: tuple[Interval, ...]
    n_resamples: int
    seed: int
    level: float
    method: Method

    @property
    def interval(self) -> Interval:
        """The interval of the only column."""
        (one,) = self.intervals
        return one


def cluster_bootstrap(
    x: Values,
    cluster: Values | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
    *,
    level: float = 0.95,
    method: Method = "percentile",
) -> ClusterBootstrap:
    """Return the bootstrap interval of the mean of each column of `x` (items, or items x metrics; NaN = missing).

    Each resample draws as many clusters as there are, with replacement, and takes the mean over their observed values;
    columns share the resamples. `bca` corrects the percentiles for bias and skewness. Where all resamples agree there
    is no interval: NaN, with the reason in `warnings`; never a width of 0. So it is with a column that has values in
    under 5 clusters, beside others that have more. `cluster=None`: each item is its own.
    Assumes independent clusters, and enough of them: a warning below 30, and for 0/1 values below 200, where
    `rate_interval` covers better. Raises: StatisticsError for under 5 clusters with a value in every column, under 100
    resamples, or an unknown method. Source: Efron & Tibshirani 1993, chapters 8, 13 and 14; Davison & Hinkley 1997,
    section 3.8 (whole clusters).
    """
    if method not in get_args(Method):
        raise StatisticsError(f"the method is {method!r}, expected one of {', '.join(get_args(Method))}")
    if n_resamples < LEAST_RESAMPLES:
        raise StatisticsError(f"{n_resamples} resamples: at least {LEAST_RESAMPLES} are needed, 10,000 are usual")
    checked_level(level)
    columns = as_columns(x, "x")
    n = len(columns[0])
    codes = np.arange(n, dtype=np.intp) if cluster is None else cluster_codes(cluster, n)
    one = len(columns) == 1
    samples = [_sample(column, codes, "x" if one else f"x[:, {place}]") for place, column in enumerate(columns)]
    refused = [sample for sample in samples if isinstance(sample, StatisticsError)]
    if len(refused) == len(samples):
        raise refused[0]
    sums, sizes = sums_by_cluster(columns, codes)
    means = _resampled_means(sums, sizes, n_resamples, np.random.default_rng(seed))
    intervals = tuple(
        _undefined(columns[place], codes, sample, level, method)
        if isinstance(sample, StatisticsError)
        else _interval(sample, means[:, place], sums[:, place], sizes[:, place % sizes.shape[1]], level, method)
        for place, sample in enumerate(samples)
    )
    return ClusterBootstrap(intervals, n_resamples, seed, level, method)


def _sample(column: Floats, codes: NDArray[np.intp], name: str) -> Sample | StatisticsError:
    try:
        return read_sample(column, codes, least=1, name=name)
    except StatisticsError as error:
        return error


def _undefined(
    column: Floats, codes: NDArray[np.intp], reason: StatisticsError, level: float, method: Method
) -> Interval:
    """Return the mean of a column that has too few clusters for an interval, with the reason."""
    seen, nan = ~np.isnan(column), math.nan
    return Interval(
        float(column[seen].mean()) if seen.any() else nan, nan, nan, nan, nan, int(seen.sum()),
        len(np.unique(codes[seen])), int((~seen).sum()), f"cluster_bootstrap_{method}", level,
        (f"no interval: {reason}",), nan,
    )  # fmt: skip


def _resampled_means(sums: Floats, sizes: Floats, n_resamples: int, rng: np.random.Generator) -> Floats:
    """Return the means of each resample (resamples x columns), NaN where a resample holds no value of a column.

    Clusters of equal sums and sizes cannot be told apart: where there are few such types, how often each is drawn is
    one multinomial draw. Else the clusters are drawn and counted, a block of resamples at a time.
    """
    table = np.column_stack([sums, sizes])
    n_clusters, n_columns = len(table), sums.shape[1]
    types, counts = np.unique(table, axis=0, return_counts=True)
    few = len(types) * CLUSTERS_A_TYPE <= n_clusters
    totals = np.empty((n_resamples, table.shape[1]))
    block = max(1, BLOCK // (len(types) if few else n_clusters))
    for start in range(0, n_resamples, block):
        drawn = totals[start : start + block]
        if few:
            drawn[:] = rng.multinomial(n_clusters, counts / n_clusters, size=len(drawn)) @ types
        else:
            _draw(table, drawn, rng)
    with np.errstate(invalid="ignore"):
        return totals[:, :n_columns] / totals[:, n_columns:]


def _draw(table: Floats, totals: Floats, rng: np.random.Generator) -> None:
    """Fill each row of `totals` with the column sums of as many rows of `table` as there are, drawn at random.

    Few resamples at a time, so that they stay in the processor's cache.
    """
    n_clusters = len(table)
    if table.shape[1] <= FEW_COLUMNS:
        columns, step = np.ascontiguousarray(table.T), max(1, CACHED // n_clusters)
        for start in range(0, len(totals), step):
            drawn = totals[start : start + step]
            places = _places((len(drawn), n_clusters), n_clusters, rng)
            drawn[:] = columns.take(places, axis=1).sum(axis=2).T
        return
    counts = np.empty((len(totals), n_clusters))
    for row in counts:
        row[:] = np.bincount(_places((n_clusters,), n_clusters, rng), minlength=n_clusters)
    totals[:] = counts @ table


def _places(shape: tuple[int, ...], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return whole numbers from 0 to n - 1 at random: 32 random bits times n, over 2^32, at twice the usual speed.

    Some numbers are likelier than others by less than n / 2^32, which is 1 in 40,000 for 100,000 clusters.
    """
    size = math.prod(shape)
    bits = rng.bit_generator.random_raw((size + 1) // 2).view(np.uint32)[:size].reshape(shape)
    return (np.multiply(bits, n, dtype=np.uint64) >> np.uint64(32)).view(np.intp)


def _interval(sample: Sample, means: Floats, sums: Floats, sizes: Floats, level: float, method: Method) -> Interval:
    estimate, warnings = float(sample.values.mean()), list(sample.notes("values"))
    if sample.binary and sample.n_clusters < ENOUGH_CLUSTERS_FOR_RATES:
        warnings.append(
            f"0/1 values in {sample.n_clusters} clusters: below {ENOUGH_CLUSTERS_FOR_RATES} a bootstrap interval of a "
            "rate is too narrow; use rate_interval"
        )
    defined = means[~np.isnan(means)]
    if len(defined) < len(means):
        warnings.append(f"{len(means) - len(defined)} resamples hold no observed value and are left out")
    se = float(defined.std(ddof=1))
    low, high = _ends(defined, estimate, sums[sizes > 0], sizes[sizes > 0], level, method)
    if math.isnan(low) or high - low <= SAME_VALUE * np.abs(sample.values).max():
        low = high = se = math.nan
        same = "no resample differs" if np.ptp(defined) <= SAME_VALUE * np.abs(sample.values).max() else "too few do"
        warnings.append(f"no interval: the mean is {estimate:g} and {same}, so the bootstrap sees no spread")
    independent = float(sample.values.var(ddof=1)) / sample.n
    return Interval(
        estimate, low, high, se, math.nan, sample.n, sample.n_clusters, sample.n_missing,
        f"cluster_bootstrap_{method}", level, tuple(warnings), se**2 / independent if independent else math.nan,
    )  # fmt: skip


def _ends(
    means: Floats, estimate: float, sums: Floats, sizes: Floats, level: float, method: Method
) -> tuple[float, float]:
    """Return the two quantiles of the resampled means that are the interval's ends; NaN where BCa is undefined."""
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        from scipy.special import ndtr

        # A tie with the estimate counts half: the resampled means of right/wrong values are discrete.
        below = float((np.sum(means < estimate) + np.sum(means <= estimate)) / (2 * len(means)))
        if not 0 < below < 1:
            return math.nan, math.nan
        bias = quantile(below, math.inf)
        left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
        gaps = left_out.mean() - left_out
        spread = float(np.square(gaps).sum())
        if not spread:
            return math.nan, math.nan
        skew = float((gaps**3).sum()) / (6 * spread**1.5)
        moved = bias + np.array([quantile(float(tail), math.inf) for tail in tails])
        tails = ndtr(bias + moved / (1 - skew * moved))
    low, high = np.quantile(means, tails)
    return float(low), float(high)
