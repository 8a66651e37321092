"""How many items show an effect, and how small an effect a number of items can show."""

from __future__ import annotations

import math
from dataclasses import dataclass

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import MIN_CLUSTERS, quantile
from safetycatch.stats.paired import EXACT_BELOW_PAIRS

BISECTIONS = 100


def _z(power: float, alpha: float, df: float = math.inf, test_df: float = math.inf) -> tuple[float, float]:
    """Return the quantile of the test, and what the power adds to it: more where a pilot's spread has `df` only.

    With `test_df` degrees of freedom in the test itself, the noncentral t gives their sum; the first is then the normal
    quantile whose test would have the same power.
    """
    if not (0 < alpha < 1 and 0 < power < 1):
        raise StatisticsError(f"power {power} and alpha {alpha}: both must be fractions, such as 0.8 and 0.05")
    z_alpha, z_power = quantile(1 - alpha / 2, test_df), quantile(power, math.inf)
    if math.isfinite(test_df):
        from scipy.special import nctdtrinc

        z_alpha = float(nctdtrinc(test_df, 1 - power, z_alpha)) - z_power
    if math.isinf(df):
        return z_alpha, z_power
    from scipy.special import nctdtrit

    return z_alpha, float(nctdtrit(df, z_alpha, power)) - z_alpha


def _checked_spread(
    sd_difference: float | None,
    sd_df: float,
    discordance: float | None,
    design_effect: float,
    cluster_size: float | None,
) -> None:
    if not sd_df >= 1 or (math.isfinite(sd_df) and sd_difference is None):
        raise StatisticsError(f"sd_df is {sd_df}, expected the degrees of freedom, from 1 up, of sd_difference")
    if (sd_difference is None) == (discordance is None):
        raise StatisticsError("give either sd_difference (any score) or discordance (share of pairs that disagree)")
    if sd_difference is not None and not (math.isfinite(sd_difference) and sd_difference > 0):
        raise StatisticsError(f"sd_difference is {sd_difference}, expected a positive number of score units")
    if discordance is not None and not 0 < discordance <= 1:
        raise StatisticsError(f"discordance is {discordance}, expected a share of pairs in (0, 1]")
    if cluster_size is not None and not (math.isfinite(cluster_size) and cluster_size >= 1):
        raise StatisticsError(f"cluster_size is {cluster_size}, expected the items of a cluster, from 1 up")
    if not (math.isfinite(design_effect) and design_effect > 0):
        raise StatisticsError(f"design_effect is {design_effect}, expected a positive number (1: independent items)")


@dataclass(frozen=True)
class _Test:
    """The test that a run takes, and how many items an effect asks of it."""

    power: float
    alpha: float
    sd_difference: float | None
    sd_df: float
    discordance: float | None
    design_effect: float
    cluster_size: float | None
    exact: bool

    @property
    def fewest(self) -> int:
        """The items below which there is no interval."""
        return 2 if self.cluster_size is None else math.ceil(MIN_CLUSTERS * self.cluster_size * (1 - 1e-12))

    def is_exact(self, n: float) -> bool:
        return self.exact and n < EXACT_BELOW_PAIRS

    def root(self, effect: float, n: float) -> float:
        """Return sqrt(n) x effect where `effect` is just shown, by the quantiles of a test of `n` items."""
        test_df = math.inf if self.cluster_size is None else n / self.cluster_size - 1
        z_alpha, z_power = _z(self.power, self.alpha, self.sd_df, test_df)
        if self.discordance is None:
            return (z_alpha + z_power) * (self.sd_difference or math.nan)
        # Connor 1987
        return z_alpha * math.sqrt(self.discordance) + z_power * math.sqrt(self.discordance - effect**2)

    def needed(self, effect: float, n: float) -> float:
        """Return the items that show `effect` by the test of a run of `n` items."""
        root = self.root(effect, n)
        if not self.is_exact(n):
            return (root / effect) ** 2 * self.design_effect
        # The exact test asks for about one discordant pair more: n x effect - 1 = root x sqrt(n).
        return ((root + math.sqrt(root**2 + 4 * effect)) / (2 * effect)) ** 2 * self.design_effect

    def shows(self, effect: float, n: float) -> bool:
        return self.needed(effect, n) * (1 - 1e-12) <= n


def least_clusters(alpha: float) -> int:
    """Return the clusters without which right/wrong scores have no p-value of `alpha` or less: 2^(1 - k) <= alpha.

    Source: the least p-value of a two-sided sign-flip test, as in `paired_difference`.
    """
    return max(MIN_CLUSTERS, math.ceil(1 - math.log2(alpha) - 1e-9))


def required_n(
    effect: float,
    *,
    sd_difference: float | None = None,
    sd_df: float = math.inf,
    discordance: float | None = None,
    design_effect: float = 1.0,
    cluster_size: float | None = None,
    exact: bool = False,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """Return the items needed to show a paired difference of `effect` (score units; 0.03 = 3 points), two-sided.

    Give `sd_difference` (standard deviation of item differences; with several runs an item, of differences of item
    means) or, for right/wrong answers, `discordance` (share of items on which the two disagree, at least the effect).
    `design_effect` multiplies n when items come in clusters. Where a pilot measured the spread, its `sd_df` degrees of
    freedom make n so much larger that the power holds on average over such pilots. Quantiles are normal; with
    `cluster_size` (items a cluster) those of a t test with n / cluster_size - 1 degrees of freedom. `exact` is for
    independent right/wrong pairs: below 200 of them McNemar's exact test decides, which asks for a little more.
    Raises: StatisticsError for an effect of 0, an effect above the discordance, or arguments out of range.
    Source: Miller 2024, "Adding Error Bars to Evals"; Connor 1987, Biometrics 43:207-211; Julious & Owen 2006,
    Pharmaceutical Statistics 5:29-37 (pilots).
    """
    _checked_spread(sd_difference, sd_df, discordance, design_effect, cluster_size)
    test = _Test(power, alpha, sd_difference, sd_df, discordance, design_effect, cluster_size, exact)
    size = abs(effect)
    if not (math.isfinite(size) and size > 0):
        raise StatisticsError(f"the effect is {effect}: no number of items shows an effect of that size")
    if discordance is not None and size > discordance:
        raise StatisticsError(f"an effect of {size:g} needs at least that discordance, got {discordance:g}")
    enough = test.fewest
    while not test.shows(size, enough):
        enough *= 2
    short = test.fewest - 1
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if test.shows(size, middle) else (middle, enough)
    return enough


def detectable_effect(
    n: float,
    *,
    sd_difference: float | None = None,
    sd_df: float = math.inf,
    discordance: float | None = None,
    design_effect: float = 1.0,
    cluster_size: float | None = None,
    exact: bool = False,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """Return the smallest paired difference (score units) that `n` items show with this power: inverts `required_n`.

    Raises: StatisticsError as `required_n`, with fewer than 5 clusters of `cluster_size`, and when even the largest
    effect a discordance allows stays undetected.
    """
    _checked_spread(sd_difference, sd_df, discordance, design_effect, cluster_size)
    test = _Test(power, alpha, sd_difference, sd_df, discordance, design_effect, cluster_size, exact)
    if not (math.isfinite(n) and n >= 2):
        raise StatisticsError(f"n is {n}: a difference needs at least 2 items")
    if n < test.fewest * (1 - 1e-9):
        raise StatisticsError(f"{n:g} items, clusters of {cluster_size:g}: no interval below {MIN_CLUSTERS} clusters")
    if discordance is None:
        independent = n / design_effect
        return test.root(math.nan, n) / math.sqrt(independent) + test.is_exact(n) / independent
    if not test.shows(discordance, n):
        least = math.ceil(test.needed(discordance, n))
        raise StatisticsError(
            f"{n:g} items cannot show any effect when {discordance:.1%} of the answers disagree: {least} or more are "
            "needed"
        )
    low, high = 0.0, discordance
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if middle and test.shows(middle, n):
            high = middle
        else:
            low = middle
    return high
