"""How many items show an effect, and how small an effect a number of items can show."""

from __future__ import annotations

import math

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import quantile

BISECTIONS = 100


def _z(power: float, alpha: float, df: float = math.inf) -> tuple[float, float]:
    """Return the quantile of the test, and what the power adds to it: more where a pilot's spread has `df` only."""
    if not (0 < alpha < 1 and 0 < power < 1):
        raise StatisticsError(f"power {power} and alpha {alpha}: both must be fractions, such as 0.8 and 0.05")
    z_alpha = quantile(1 - alpha / 2, math.inf)
    if math.isinf(df):
        return z_alpha, quantile(power, math.inf)
    from scipy.special import nctdtrit

    return z_alpha, float(nctdtrit(df, z_alpha, power)) - z_alpha


def _checked_spread(sd_difference: float | None, sd_df: float, discordance: float | None, design_effect: float) -> None:
    if not sd_df >= 1 or (math.isfinite(sd_df) and sd_difference is None):
        raise StatisticsError(f"sd_df is {sd_df}, expected the degrees of freedom, from 1 up, of sd_difference")
    if (sd_difference is None) == (discordance is None):
        raise StatisticsError("give either sd_difference (any score) or discordance (share of pairs that disagree)")
    if sd_difference is not None and not (math.isfinite(sd_difference) and sd_difference > 0):
        raise StatisticsError(f"sd_difference is {sd_difference}, expected a positive number of score units")
    if discordance is not None and not 0 < discordance <= 1:
        raise StatisticsError(f"discordance is {discordance}, expected a share of pairs in (0, 1]")
    if not (math.isfinite(design_effect) and design_effect > 0):
        raise StatisticsError(f"design_effect is {design_effect}, expected a positive number (1: independent items)")


def _connor(effect: float, discordance: float, z_alpha: float, z_power: float) -> float:
    """Return the unrounded n of Connor 1987."""
    root = z_alpha * math.sqrt(discordance) + z_power * math.sqrt(discordance - effect**2)
    return (root / effect) ** 2


def required_n(
    effect: float,
    *,
    sd_difference: float | None = None,
    sd_df: float = math.inf,
    discordance: float | None = None,
    design_effect: float = 1.0,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """Return the items needed to show a paired difference of `effect` (score units; 0.03 = 3 points), two-sided.

    Give `sd_difference` (standard deviation of item differences; with several runs an item, of differences of item
    means) or, for right/wrong answers, `discordance` (share of items on which the two disagree, at least the effect).
    `design_effect` multiplies n when items come in clusters. Where a pilot measured the spread, its `sd_df` degrees of
    freedom make n so much larger that the power holds on average over such pilots. Normal approximation: exact tests
    need about 5 % more. Raises: StatisticsError for an effect of 0, an effect above the discordance, or arguments out
    of range. Source: Miller 2024, "Adding Error Bars to Evals"; Connor 1987, Biometrics 43:207-211; Julious & Owen
    2006, Pharmaceutical Statistics 5:29-37 (pilots).
    """
    _checked_spread(sd_difference, sd_df, discordance, design_effect)
    z_alpha, z_power = _z(power, alpha, sd_df)
    size = abs(effect)
    if not (math.isfinite(size) and size > 0):
        raise StatisticsError(f"the effect is {effect}: no number of items shows an effect of that size")
    if discordance is not None:
        if size > discordance:
            raise StatisticsError(f"an effect of {size:g} needs at least that discordance, got {discordance:g}")
        n = _connor(size, discordance, z_alpha, z_power)
    else:
        n = ((z_alpha + z_power) * (sd_difference or math.nan) / size) ** 2
    return max(2, math.ceil(n * design_effect * (1 - 1e-12)))


def detectable_effect(
    n: float,
    *,
    sd_difference: float | None = None,
    sd_df: float = math.inf,
    discordance: float | None = None,
    design_effect: float = 1.0,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """Return the smallest paired difference (score units) that `n` items show with this power: inverts `required_n`.

    Raises: StatisticsError as `required_n`, and when even the largest effect a discordance allows stays undetected.
    """
    _checked_spread(sd_difference, sd_df, discordance, design_effect)
    z_alpha, z_power = _z(power, alpha, sd_df)
    if not (math.isfinite(n) and n >= 2):
        raise StatisticsError(f"n is {n}: a difference needs at least 2 items")
    independent = n / design_effect
    if discordance is None:
        return (z_alpha + z_power) * (sd_difference or math.nan) / math.sqrt(independent)
    if _connor(discordance, discordance, z_alpha, z_power) > independent:
        least = math.ceil(_connor(discordance, discordance, z_alpha, z_power) * design_effect)
        raise StatisticsError(
            f"{n:g} items cannot show any effect when {discordance:.1%} of the answers disagree: {least} or more are "
            "needed"
        )
    low, high = 0.0, discordance
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if middle and _connor(middle, discordance, z_alpha, z_power) <= independent:
            high = middle
        else:
            low = middle
    return high
