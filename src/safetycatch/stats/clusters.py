"""Reading plain arrays, and the cluster-robust variance of a mean that every interval here rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from safetycatch.errors import StatisticsError

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats: TypeAlias = NDArray[np.float64]
Values: TypeAlias = "Sequence[Any] | NDArray[Any] | Any"  # Any: a pandas Series is welcome, pandas is not imported here

MIN_CLUSTERS = 5  # no interval below: with 4 clusters the variance itself has 3 degrees of freedom
FEW_CLUSTERS = 30  # a warning below
LARGEST_VALUE = 1e100  # squares of larger values overflow
WORST_CASE_N = 50  # the worst-case design effect does not reduce n below this
SAME_VALUE = 1e-12  # relative spread below which values count as equal: rounding, not data


@dataclass(frozen=True)
class Sample:
    """Observed values with the cluster of each: `codes` run from 0 to len(sizes) - 1."""

    values: Floats
    codes: NDArray[np.intp]
    sizes: Floats
    n_missing: int
    clustered: bool

    @property
    def n(self) -> int:
        """Observed values."""
        return len(self.values)

    @property
    def n_clusters(self) -> int:
        """Clusters with at least one observed value; without clusters, n."""
        return len(self.sizes)

    @property
    def singletons(self) -> bool:
        """Whether every cluster holds one value, so that values count as independent."""
        return self.n == self.n_clusters

    @property
    def size_effect(self) -> float:
        """The design effect if all values of a cluster were equal: sum of squared sizes over n."""
        return float(np.square(self.sizes).sum()) / self.n

    @property
    def binary(self) -> bool:
        """Whether every value is 0 or 1."""
        return bool(np.isin(self.values, (0.0, 1.0)).all())

    @property
    def constant(self) -> bool:
        """Whether all values are equal, up to rounding."""
        return bool(np.ptp(self.values) <= SAME_VALUE * np.abs(self.values).max())

    def cluster_sums(self, values: Floats) -> Floats:
        """Return the sum of `values` (length n) in each cluster."""
        return np.bincount(self.codes, weights=values, minlength=self.n_clusters).astype(np.float64)

    def notes(self, unit: str) -> tuple[str, ...]:
        """Return the warnings that hold for every interval on this sample."""
        found: list[str] = []
        if self.n_missing:
            share = f"{self.n_missing} of {self.n + self.n_missing} {unit}"
            found.append(f"{share} are missing: the interval speaks for the {self.n} observed ones only")
        if self.n_clusters < FEW_CLUSTERS:
            what = "clusters" if self.clustered else unit
            found.append(f"only {self.n_clusters} {what}: below {FEW_CLUSTERS} an interval is rough")
        return tuple(found)


@dataclass(frozen=True)
class MeanVariance:
    """CR2 variance of a mean, its Bell-McCaffrey degrees of freedom, and its ratio to the variance without clusters."""

    variance: float
    df: float
    design_effect: float


def as_numbers(values: Values, name: str) -> Floats:
    """Return `values` as a one-dimensional float array in which NaN, None and NA are NaN.

    Raises: StatisticsError for text, infinities, values beyond 1e100, several dimensions, and nothing at all.
    """
    try:
        raw: NDArray[Any] = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise StatisticsError(f"{name} is not one column of numbers: {error}") from None
    if raw.ndim != 1:
        raise StatisticsError(f"{name} has {raw.ndim} dimensions, expected one column of numbers")
    if not raw.size:
        raise StatisticsError(f"{name} is empty: a statistic needs at least one value")
    if raw.dtype.kind == "O":
        raw = np.array([_number(value, name, place) for place, value in enumerate(raw)])
    elif raw.dtype.kind not in "biuf":
        raise StatisticsError(f"{name} holds {raw.dtype} values such as {raw[0]!r}, expected numbers")
    numbers = raw.astype(np.float64)
    bad = np.isinf(numbers) | (np.abs(numbers) > LARGEST_VALUE)
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        raise StatisticsError(f"{name}[{place}] is {numbers[place]}, expected a number within +-{LARGEST_VALUE:g}")
    return numbers


def as_columns(table: Values, name: str) -> list[Floats]:
    """Return the columns of a table (rows x columns), or one column as it is, each as `as_numbers` reads it.

    Raises: StatisticsError as `as_numbers`, naming the column.
    """
    try:
        raw: NDArray[Any] = np.asarray(table)
    except (ValueError, TypeError) as error:
        raise StatisticsError(f"{name} is neither one column of numbers nor a table of them: {error}") from None
    if raw.ndim != 2:
        return [as_numbers(raw, name)]
    if not raw.size:
        raise StatisticsError(f"{name} has shape {raw.shape}: a statistic needs at least one value")
    return [as_numbers(raw[:, place], f"{name}[:, {place}]") for place in range(raw.shape[1])]


def _is_missing(value: Any) -> bool:
    return (
        value is None
        or type(value).__name__ in {"NAType", "NaTType"}
        or (isinstance(value, (float, np.floating)) and math.isnan(value))
    )


def _number(value: Any, name: str, place: int) -> float:
    if _is_missing(value):
        return math.nan
    if isinstance(value, (bool, int, float, np.bool_, np.number)) and not isinstance(value, np.complexfloating):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    raise StatisticsError(f"{name}[{place}] is {value!r}, expected a number (missing: NaN or None)")


def cluster_codes(cluster: Values, n: int) -> NDArray[np.intp]:
    """Return an integer for each row: equal for equal cluster names."""
    # A list goes through object: numpy would turn ["a", nan] into two texts.
    names: NDArray[Any] = cluster if isinstance(cluster, np.ndarray) else np.asarray(cluster, dtype=object)
    if names.shape != (n,):
        raise StatisticsError(f"cluster has shape {names.shape}, expected one cluster name for each of the {n} values")
    if names.dtype.kind not in "biuUS":
        seen: dict[Any, int] = {}
        for place, name in enumerate(names):
            if _is_missing(name):
                raise StatisticsError(f"cluster[{place}] is missing: give every row a cluster, if need be its own id")
        try:
            return np.array([seen.setdefault(name, len(seen)) for name in names], dtype=np.intp)
        except TypeError as error:
            raise StatisticsError(f"cluster holds a value that cannot name a cluster: {error}") from None
    return np.unique(names, return_inverse=True)[1].astype(np.intp)


def sums_by_cluster(columns: Sequence[Floats], codes: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return sums of observed values (clusters x columns) and their numbers: the same, or one column without gaps."""
    seen = [~np.isnan(column) for column in columns]
    filled = [np.where(there, column, 0.0) for there, column in zip(seen, columns, strict=True)]
    counted = seen if any(not there.all() for there in seen) else seen[:1]
    sums, sizes = (
        np.column_stack([np.bincount(codes, weights=column).astype(np.float64) for column in group])
        for group in (filled, counted)
    )
    return sums, sizes


def read_sample(values: Floats, cluster: Values | None, *, least: int, name: str) -> Sample:
    """Return the observed part of `values` (NaN = missing) with clusters; without `cluster` each value is its own.

    Raises: StatisticsError below `least` observed values, or below 5 observed clusters when `cluster` is given.
    """
    observed = ~np.isnan(values)
    kept = values[observed]
    if len(kept) < least:
        raise StatisticsError(
            f"{len(kept)} observed values of {name} ({len(values) - len(kept)} missing): at least {least} are needed"
        )
    if cluster is None:
        codes = np.arange(len(kept), dtype=np.intp)
    else:
        _, codes = np.unique(cluster_codes(cluster, len(values))[observed], return_inverse=True)
    sizes = np.bincount(codes).astype(np.float64)
    if cluster is not None and len(sizes) < MIN_CLUSTERS:
        raise StatisticsError(
            f"{len(sizes)} clusters of {name}: no interval below {MIN_CLUSTERS}, for the spread between clusters "
            "cannot be estimated; collect more clusters"
        )
    return Sample(kept, codes, sizes, len(values) - len(kept), cluster is not None)


def mean_variance(sample: Sample) -> MeanVariance:
    """Return the CR2 variance of the sample's mean and its degrees of freedom (needs two clusters).

    For a mean the CR2 adjustment has a closed form: each squared cluster sum of residuals is divided by 1 - n_g/n.
    The degrees of freedom are Satterthwaite's under independence, here without matrices; with equal clusters they are
    G - 1. With one value a cluster this is the usual s2/n. Clusters are assumed independent of each other.
    Source: Bell & McCaffrey 2002, Survey Methodology 28(2); Imbens & Kolesar 2016, Rev. Econ. Stat. 98(4).
    """
    n, sizes = sample.n, sample.sizes
    residuals = sample.values - sample.values.mean()
    variance = float((np.square(sample.cluster_sums(residuals)) / (1 - sizes / n)).sum()) / n**2
    independent = float(np.square(residuals).sum()) / (n * (n - 1))
    return MeanVariance(variance, degrees_of_freedom(sizes), variance / independent if independent > 0 else math.nan)


def degrees_of_freedom(sizes: Floats) -> float:
    """Return Bell and McCaffrey's degrees of freedom of a mean over clusters of these sizes (two or more of them)."""
    n = sizes.sum()
    cross = np.square(sizes) / (n - sizes)
    return float(n**2 / (np.square(sizes).sum() + cross.sum() ** 2 - np.square(cross).sum()))


def steady_design_effect(observed: float, doubt: float, sample: Sample, *, least: float) -> float:
    """Return the design effect to use when few events (the rarer outcome) carry the information about it.

    The observed one, at least `least`, is averaged with the worst case (all values of a cluster equal) by the weight
    `doubt` in [0, 1]. The worst case never takes n below 50: in samples that small it made intervals cover 98 %
    (benchmarks/coverage.py), while without it near-perfect scores of clustered values were covered only 89 %.
    """
    worst = min(sample.size_effect, max(1.0, sample.n / WORST_CASE_N))
    return worst if doubt == 1 else (1 - doubt) * max(observed, least) + doubt * worst


def checked_level(level: float) -> float:
    """Return `level` when it lies strictly between 0 and 1.

    Raises: StatisticsError otherwise (95 is not .95).
    """
    if not 0 < level < 1:
        raise StatisticsError(f"the level is {level}, expected a fraction between 0 and 1, such as 0.95")
    return level


def quantile(probability: float, df: float) -> float:
    """Return the `probability` quantile of Student's t with `df` degrees of freedom (normal when infinite)."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(probability) if math.isinf(df) else stdtrit(df, probability))


def upper_tail(statistic: float, df: float) -> float:
    """Return P(T > statistic) for Student's t with `df` degrees of freedom (normal when infinite)."""
    from scipy.special import ndtr, stdtr

    return float(ndtr(-statistic) if math.isinf(df) else stdtr(df, -statistic))
