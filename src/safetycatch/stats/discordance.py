"""Two 0/1 answers to each item: McNemar's test and Tango's score interval, both from the discordant pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import Floats, Values, as_numbers, checked_level, quantile

BISECTIONS = 60  # halves the interval [-1, 1] down to 2e-18


@dataclass(frozen=True)
class McNemar:
    """McNemar's test: `p_value` exact two-sided, `mid_p` its less conservative form; counts of pairs.

    `n10` pairs where only the first (candidate) is right, `n01` where only the second (baseline) is.
    """

    p_value: float
    mid_p: float
    n10: int
    n01: int
    n: int
    n_missing: int


@dataclass(frozen=True)
class ScoreInterval:
    """Tango's interval for the difference of two paired rates, first minus second."""

    estimate: float
    low: float
    high: float
    n10: int
    n01: int
    n: int
    n_missing: int
    level: float


def paired_columns(a: Values, b: Values) -> tuple[Floats, Floats]:
    """Return both columns as numbers, NaN on both sides of a pair where either is missing.

    Raises: StatisticsError when the lengths differ.
    """
    first, second = as_numbers(a, "a"), as_numbers(b, "b")
    if len(first) != len(second):
        raise StatisticsError(f"a has {len(first)} values and b {len(second)}: pairs need the same items in one order")
    missing = np.isnan(first) | np.isnan(second)
    return np.where(missing, np.nan, first), np.where(missing, np.nan, second)


def _counts(a: Values, b: Values) -> tuple[int, int, int, int]:
    """Return n10, n01, complete pairs, missing pairs."""
    first, second = paired_columns(a, b)
    seen = ~np.isnan(first)
    first, second = first[seen], second[seen]
    for name, column in (("a", first), ("b", second)):
        odd = ~np.isin(column, (0.0, 1.0))
        if odd.any():
            raise StatisticsError(f"{name} holds {column[odd][0]:g}: this statistic needs 0 and 1 only")
    if not len(first):
        raise StatisticsError(f"no complete pair: all {len(seen)} have a missing side")
    return int((first > second).sum()), int((first < second).sum()), len(first), int((~seen).sum())


def mcnemar(a: Values, b: Values) -> McNemar:
    """Return the exact McNemar test of two columns of 0/1 (NaN = missing) on the same items.

    Given the discordant pairs, the side of each is a fair coin under "no difference"; the two-sided p-value doubles the
    smaller binomial tail. Assumes one answer an item and independent items: with clusters or several runs use
    `paired_difference`. No discordant pair: p = 1. Raises: StatisticsError for other values or no complete pair.
    Source: McNemar 1947; mid-p: Fagerland, Lydersen & Laake 2013, BMC Med. Res. Methodol. 13:91.
    """
    n10, n01, n, n_missing = _counts(a, b)
    return McNemar(*coin_tails(n10, n01), n10, n01, n, n_missing)


def coin_tails(n10: int, n01: int) -> tuple[float, float]:
    """Return the exact two-sided p-value of n10 heads and n01 tails of a fair coin, and its mid-p; 1 for no throw."""
    from scipy.special import bdtr

    least, total = min(n10, n01), n10 + n01
    tail = float(bdtr(least, total, 0.5))
    point = tail - (float(bdtr(least - 1, total, 0.5)) if least else 0.0)
    p_value = min(1.0, 2 * tail)
    # With n10 == n01 the doubled tail counts the middle point twice.
    mid_p = 1 - point if n10 == n01 else p_value - point
    return p_value, mid_p if total else 1.0


def score_statistic(difference: float, n10: float, n01: float, n: float) -> float:
    """Return Tango's score z for "rate of a - rate of b = difference" (counts may be fractions: an effective n).

    Source: Tango 1998, Statistics in Medicine 17.
    """
    gap = n10 - n01 - n * difference
    linear = -n10 - n01 + (2 * n - n10 + n01) * difference
    root = math.sqrt(max(0.0, linear**2 + 8 * n * n01 * difference * (1 - difference)))
    restricted = (root - linear) / (4 * n)  # the probability of a 01 pair, given the difference
    variance = n * (2 * restricted + difference * (1 - difference))
    if variance <= 0:
        return math.copysign(math.inf, gap) if gap else 0.0
    return gap / math.sqrt(variance)


def score_limits(n10: float, n01: float, n: float, z: float) -> tuple[float, float]:
    """Return the differences at which Tango's score reaches +z and -z, by bisection (the score falls in between)."""
    estimate = (n10 - n01) / n

    def solve(target: float, start: float, end: float) -> float:
        for _ in range(BISECTIONS):
            middle = (start + end) / 2
            if score_statistic(middle, n10, n01, n) > target:
                start = middle
            else:
                end = middle
        return (start + end) / 2

    return solve(z, -1.0, estimate), solve(-z, estimate, 1.0)


def tango_interval(a: Values, b: Values, level: float = 0.95) -> ScoreInterval:
    """Return Tango's score interval of rate(a) - rate(b) from two columns of 0/1 (NaN = missing) on the same items.

    Never of zero width: equal columns give +-z2/(n + z2). Assumes one answer an item and independent items.
    Raises: StatisticsError for other values or no complete pair. Source: Tango 1998, Statistics in Medicine 17:891-908.
    """
    n10, n01, n, n_missing = _counts(a, b)
    low, high = score_limits(n10, n01, n, quantile((1 + checked_level(level)) / 2, math.inf))
    return ScoreInterval((n10 - n01) / n, low, high, n10, n01, n, n_missing, level)
