"""Confidence intervals of one rate or one mean, for independent and for clustered values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import (
    Floats,
    Values,
    as_numbers,
    checked_level,
    mean_variance,
    quantile,
    read_sample,
    steady_design_effect,
)

COCHRAN = 25  # values needed for a usable normal interval of a mean: this times the squared skewness


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of its values.

    `n` counts observed values, `n_missing` the others; `df` is infinite where the normal quantile was used;
    `design_effect` is the factor by which clusters raise the variance; NaN fields have their reason in `warnings`.
    """

    estimate: float
    low: float
    high: float
    se: float
    df: float
    n: int
    n_clusters: int
    n_missing: int
    method: str
    level: float
    warnings: tuple[str, ...]
    design_effect: float


def rate_interval(x: Values, cluster: Values | None = None, level: float = 0.95) -> Interval:
    """Return the interval of a rate from values in [0, 1] (NaN = missing), by Wilson's score on the effective n.

    Independent 0/1 values get Wilson's interval itself. Otherwise n is divided by the design effect (CR2 variance over
    p(1-p)/n) and the normal quantile replaced by Student's t with Bell-McCaffrey degrees of freedom. Several runs of an
    item are a cluster: pass its id. For 0/1 values the design effect is at least 1, for fractions it may be below; with
    few errors it leans to the worst case (`clusters.steady_design_effect`), so a perfect score never has zero width.
    Assumes independent clusters. Raises: StatisticsError for values outside [0, 1], nothing observed, under 5 clusters.
    Source: Wilson 1927; effective n after Korn & Graubard 1998, Survey Methodology 24(2), with CR2 for their variance.
    """
    values = as_numbers(x, "x")
    outside = (values < 0) | (values > 1)
    if outside.any():
        place = int(np.flatnonzero(outside)[0])
        raise StatisticsError(
            f"x[{place}] is {values[place]:g}: a rate needs values between 0 and 1; see mean_interval"
        )
    sample = read_sample(values, cluster, least=1, name="x")
    quantile_level = (1 + checked_level(level)) / 2
    n, rate, binary = sample.n, float(sample.values.mean()), sample.binary
    if not binary and n < 2:
        raise StatisticsError("one fraction says nothing about its own spread: at least 2 values are needed")
    warnings = list(sample.notes("values"))
    events = min(rate, 1 - rate) * n
    se = math.nan
    if events:
        spread = mean_variance(sample)
        se = math.sqrt(spread.variance) or math.nan
    else:
        warnings.append(f"all values are {rate:g}: no standard error can be estimated; the interval does not need it")
    if binary and sample.singletons:
        design_effect, df, method = 1.0, math.inf, "wilson"
    else:
        spread = mean_variance(sample)
        observed = n * spread.variance / (rate * (1 - rate)) if events else math.nan
        doubt, least = (1 / (1 + events**2), 1.0) if binary else (1 / (1 + events), 0.0)
        design_effect = steady_design_effect(observed, doubt, sample, least=least)
        df, method = spread.df, "wilson_deff"
    low, high = wilson_limits(rate, n / design_effect, quantile(quantile_level, df))
    return Interval(
        rate, low, high, se, df, n, sample.n_clusters, sample.n_missing, method, level, tuple(warnings), design_effect
    )


def wilson_limits(rate: float, n: float, z: float) -> tuple[float, float]:
    """Return Wilson's score limits of a rate observed among n (a fraction where n is effective), z quantiles away."""
    shrink = 1 + z * z / n
    middle = (rate + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # Exactly, the limits hold the rate and stay in [0, 1]; rounding would leave 1e-17 where the limit is 0.
    return (0.0 if rate == 0 else min(rate, max(0.0, middle - half))), (
        1.0 if rate == 1 else max(rate, min(1.0, middle + half))
    )


def mean_interval(x: Values, cluster: Values | None = None, level: float = 0.95) -> Interval:
    """Return the interval of a mean (values in any unit, NaN = missing): Student's t on the CR2 standard error.

    Without clusters this is the textbook t interval; with them the degrees of freedom are Bell and McCaffrey's.
    Equal values leave no spread to measure: `se`, `low` and `high` are NaN, with the reason in `warnings`.
    Assumes independent clusters and a mean that is nearly normal: below 25 times the squared skewness a warning says
    so (Cochran 1977, section 2.15). For 0/1 values use `rate_interval`.
    Raises: StatisticsError for fewer than 2 observed values, or fewer than 5 clusters when `cluster` is given.
    Source: Bell & McCaffrey 2002; Miller 2024, "Adding Error Bars to Evals" (there CR0 and normal).
    """
    sample = read_sample(as_numbers(x, "x"), cluster, least=2, name="x")
    quantile_level = (1 + checked_level(level)) / 2
    mean, spread = float(sample.values.mean()), mean_variance(sample)
    warnings = list(sample.notes("values"))
    se, design_effect = math.sqrt(spread.variance), spread.design_effect
    if sample.constant or se == 0:
        warnings.append(f"no interval: all values, or all cluster means, are equal (mean {mean:g})")
        se = design_effect = math.nan
    else:
        needed = math.ceil(COCHRAN * _skewness(sample.values) ** 2)
        if needed > sample.n_clusters:
            warnings.append(
                f"long-tailed values: about {needed} independent ones are needed, there are {sample.n_clusters}; the "
                "interval may be too narrow"
            )
    half = quantile(quantile_level, spread.df) * se
    return Interval(
        mean,
        mean - half,
        mean + half,
        se,
        spread.df,
        sample.n,
        sample.n_clusters,
        sample.n_missing,
        "cr2_t",
        level,
        tuple(warnings),
        design_effect,
    )


def _skewness(values: Floats) -> float:
    standard = (values - values.mean()) / values.std()
    return float((standard**3).mean())
