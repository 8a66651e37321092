"""Candidate against baseline on the same items: paired difference, non-inferiority, equivalence.

Everywhere the first argument is the candidate and the second the baseline; differences are candidate minus baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import (
    FEW_CLUSTERS,
    Floats,
    Values,
    checked_level,
    mean_variance,
    quantile,
    read_sample,
    steady_design_effect,
    upper_tail,
)
from safetycatch.stats.discordance import coin_tails, paired_columns, score_limits, score_statistic
from safetycatch.stats.intervals import Interval

EXACT_BELOW_PAIRS = 200  # independent 0/1 pairs: below, the p-value is McNemar's exact one
FEW_INFORMATIVE = 10  # clusters (pairs) whose sum is not 0: with fewer, their design effect is not taken below 1

Status = Literal["passed", "violated", "undecided"]
PMethod = Literal["exact McNemar", "score", "t", "corrected"]


@dataclass(frozen=True)
class PairedDifference(Interval):
    """The interval of mean(candidate) - mean(baseline), in the unit of the scores; `n` counts complete pairs.

    `p_value` is two-sided for "no difference", by `p_method`; `sd_difference` the spread of single differences;
    `lower_bound` and `upper_bound` are one-sided bounds at `level` (together the interval at 2 level - 1).
    """

    p_value: float
    sd_difference: float
    lower_bound: float
    upper_bound: float
    p_method: PMethod


@dataclass(frozen=True)
class NonInferiority:
    """Whether the candidate is worse by more than `margin` (unit of the scores).

    `bound` is the one-sided bound of candidate - baseline on the bad side; `p_value` speaks against "worse by more than
    the margin", `p_violated` against "within the margin"; `n_to_settle` (pairs) is given while undecided.
    """

    status: Status
    estimate: float
    bound: float
    margin: float
    p_value: float
    p_violated: float
    n: int
    n_clusters: int
    n_missing: int
    n_to_settle: int | None
    method: str
    alpha: float
    reason: str

    @property
    def passed(self) -> bool:
        """Whether non-inferiority is shown."""
        return self.status == "passed"


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of |candidate - baseline| < `margin`; `low`, `high` are the interval at 1 - 2 alpha."""

    equivalent: bool
    estimate: float
    low: float
    high: float
    margin: float
    p_value: float
    n: int
    n_clusters: int
    n_missing: int
    method: str
    alpha: float
    reason: str


@dataclass(frozen=True)
class _Evidence:
    """What the pairs say about the mean difference; `score` holds n10, n01 and n, each over the design effect."""

    estimate: float
    se: float
    sd: float
    df: float
    n: int
    n_clusters: int
    n_missing: int
    least_p: float
    mcnemar_p: float
    design_effect: float
    method: str
    constant: bool
    binary: bool
    notes: tuple[str, ...]
    score: tuple[float, float, float] | None

    @property
    def degenerate(self) -> bool:
        return self.score is None and math.isnan(self.se)

    def limits(self, level: float) -> tuple[float, float]:
        z = quantile((1 + level) / 2, self.df)
        if self.score is not None:
            return score_limits(*self.score, z)
        return self.estimate - z * self.se, self.estimate + z * self.se

    def p_above(self, difference: float) -> float:
        """Return the one-sided p-value against "the true difference is at most `difference`"."""
        return upper_tail(self._statistic(difference), self.df)

    def p_below(self, difference: float) -> float:
        return upper_tail(-self._statistic(difference), self.df)

    def _statistic(self, difference: float) -> float:
        if self.score is not None:
            return score_statistic(difference, *self.score)
        return (self.estimate - difference) / self.se


def _evidence(a: Values, b: Values, cluster: Values | None, binary: bool | None) -> _Evidence:
    first, second = paired_columns(a, b)
    sample = read_sample(first - second, cluster, least=2, name="a - b")
    spread, notes = mean_variance(sample), list(sample.notes("pairs"))
    sd, se = float(sample.values.std(ddof=1)), math.sqrt(spread.variance)
    score, mcnemar_p, df, design_effect, method = None, math.nan, spread.df, spread.design_effect, "cr2_t"
    constant, single = _constant(sample.values, first, second), _rights(first, second)
    binary = single if binary is None else _checked_rates(first, second, binary=binary)
    informative = int(np.count_nonzero(sample.cluster_sums(sample.values)))
    # Where most differences are 0, or all are +-1, a sign-flip test of k clusters cannot give less than 2^(1-k).
    least_p = min(1.0, 2.0 ** (1 - informative)) if single or informative < sample.n_clusters / 2 else 0.0
    n10, n01 = float(sample.values[sample.values > 0].sum()), float(-sample.values[sample.values < 0].sum())
    if binary and single and sample.singletons:
        design_effect, method, df, score = 1.0, "tango", math.inf, (n10, n01, float(sample.n))
        if sample.n < EXACT_BELOW_PAIRS or informative < FEW_INFORMATIVE:
            mcnemar_p = coin_tails(round(n10), round(n01))[0]
    elif binary:
        doubt = 1.0 if constant else 1 / (1 + int(np.count_nonzero(sample.values)) ** 2)
        least = 1.0 if informative < FEW_INFORMATIVE else 0.0
        design_effect, method = steady_design_effect(spread.design_effect, doubt, sample, least=least), "tango_deff"
        if informative < FEW_INFORMATIVE <= sample.n_clusters:
            df = math.inf  # the floor of the design effect is doubt enough: with Student's quantile 99 % were covered
        per = design_effect * _shrunk(sample.values, n10, n01, doubt)
        score = (n10 / per, n01 / per, sample.n / per)
    if score is None and constant:
        notes.append(
            f"no interval: the difference is {sample.values.mean():g} on every item, so its spread cannot be estimated"
        )
    elif score is None and se == 0:
        notes.append("no interval: the differences of every cluster add up to the same, so no spread can be estimated")
    elif score is not None and not n10 + n01:
        notes.append("both agree on every item: no standard error can be estimated; the interval does not need it")
        if not sample.singletons:
            notes.append(
                f"nor can it be measured how alike the items of a cluster are: the interval counts {sample.n_clusters} "
                "clusters as if theirs were all alike, and is wider than with a few differences"
            )
    se = math.nan if constant or se == 0 else se
    return _Evidence(
        float(sample.values.mean()), se, sd, df, sample.n, sample.n_clusters, sample.n_missing, least_p,
        mcnemar_p, design_effect, method, constant, binary, tuple(notes), score,
    )  # fmt: skip


def _rights(first: Floats, second: Floats) -> bool:
    """Whether both columns hold nothing but 0 and 1."""
    both = np.concatenate([first, second])
    return bool(np.isin(both[~np.isnan(both)], (0.0, 1.0)).all())


def _checked_rates(first: Floats, second: Floats, *, binary: bool) -> bool:
    """Return `binary`. Raises: StatisticsError where rights and wrongs are said and a value lies outside 0 to 1."""
    for name, column in (("a", first), ("b", second)) if binary else ():
        odd = column[(column < 0) | (column > 1)]
        if len(odd):
            raise StatisticsError(f"{name} holds {odd[0]:g}: rights and wrongs, also averaged ones, lie from 0 to 1")
    return binary


def _shrunk(differences: Floats, n10: float, n01: float, doubt: float) -> float:
    """Return how much smaller averaged runs make the spread of single differences than that of single answers is."""
    n = len(differences)
    mean = (n10 - n01) / n
    answers = (n10 + n01) / n - mean**2
    if answers <= 0:
        return 1.0
    return (1 - doubt) * float(np.square(differences - mean).mean()) / answers + doubt


def _constant(differences: Floats, first: Floats, second: Floats) -> bool:
    """Whether all differences are equal, up to the rounding of the scores they come from."""
    scale = max(float(np.nanmax(np.abs(first))), float(np.nanmax(np.abs(second))))
    return bool(np.ptp(differences) <= 1e-12 * scale)


def paired_difference(
    a: Values, b: Values, cluster: Values | None = None, level: float = 0.95, *, binary: bool | None = None
) -> PairedDifference:
    """Return mean(a) - mean(b) with its interval: `a` is the CANDIDATE, `b` the BASELINE, row by row the same items.

    A row with NaN on either side is a missing pair. `binary`: the scores are rights and wrongs, or their averages over
    runs (costs are not, whatever their values; None: where nothing but 0 and 1 is there). Method: Student's t on the
    CR2 standard error of the differences, Bell-McCaffrey degrees of freedom. Rights and wrongs have Tango's score
    interval instead; with clusters or averages on the effective n and, but for many clusters of which
    under 10 differ, with Student's quantile; so equal answers give a
    bound, not zero width. The p-value is of the statistic of the interval, for under 200 independent pairs of rights
    and wrongs or under 10 different ones McNemar's exact one; for 0/1 scores, or where most differences are 0, it is at
    least 2^(1-k), the least a sign-flip test can give with k clusters that differ. Equal differences of other scores
    have no interval: NaN, with the reason in `warnings`.
    Assumes independent clusters. Raises: StatisticsError below 2 pairs, or 5 clusters when `cluster` is given,
    and for `binary` with values outside 0 to 1.
    Source: Miller 2024, "Adding Error Bars to Evals"; Bell & McCaffrey 2002; Tango 1998.
    """
    found = _evidence(a, b, cluster, binary)
    low, high = found.limits(checked_level(level))
    # Below level .5 there is no two-sided interval whose ends are one-sided bounds; both then equal the estimate.
    lower, upper = found.limits(max(0.0, 2 * level - 1))
    p_value, p_method = found.mcnemar_p, "exact McNemar"
    if math.isnan(p_value):
        p_method = "t" if found.score is None else "score"
        if not found.degenerate:
            p_value = max(found.least_p, min(1.0, 2 * min(found.p_above(0.0), found.p_below(0.0))))
    return PairedDifference(
        estimate=found.estimate, low=low, high=high, se=found.se, df=found.df, n=found.n, n_clusters=found.n_clusters,
        n_missing=found.n_missing, method=found.method, level=level, warnings=found.notes,
        design_effect=found.design_effect, p_value=p_value, sd_difference=found.sd, lower_bound=lower,
        upper_bound=upper, p_method=p_method,
    )  # fmt: skip


def _checked_margin(margin: float, alpha: float, *, least: float) -> None:
    if not (math.isfinite(margin) and margin >= 0 and (margin > 0 or least == 0)):
        raise StatisticsError(f"the margin is {margin}, expected a number of score units, 0.02 for 2 points")
    if not 0 < alpha < 0.5:
        raise StatisticsError(f"alpha is {alpha}, expected a fraction below one half, such as 0.05")


def noninferiority(
    a: Values,
    b: Values,
    margin: float,
    cluster: Values | None = None,
    alpha: float = 0.05,
    *,
    higher_is_better: bool = True,
    binary: bool | None = None,
    by_value: bool = True,
) -> NonInferiority:
    """Test whether candidate `a` is at most `margin` (>= 0, score units) worse than baseline `b` on the same items.

    Passed: the one-sided 1 - alpha bound of the paired difference lies within the margin; violated: the opposite bound
    lies beyond it; else undecided. "p > .05" of a difference test is never taken as "not worse". `binary` as in
    `paired_difference`. With `by_value` a difference of other scores that is the same on every one of 30 or more items
    is decided by its value: right for prices, wrong for a judge who gives everything 0. Assumes and raises as
    `paired_difference`; StatisticsError too for a bad margin or alpha. Source: Wellek 2010, chapter 1; Tango 1998.
    """
    _checked_margin(margin, alpha, least=0.0)
    found = _evidence(a, b, cluster, binary)
    sign = 1.0 if higher_is_better else -1.0
    room = sign * found.estimate + margin  # above 0: within the margin, as far as the estimate goes
    bound = p_value = p_violated = math.nan
    status: Status = "undecided"
    if found.degenerate:
        reason = found.notes[-1]
        if by_value and found.constant and not found.binary and found.n_clusters >= FEW_CLUSTERS:
            status = "passed" if room >= 0 else "violated"
            reason = f"the difference is {found.estimate:g} on each of {found.n} items: decided by its value"
    else:
        low, high = found.limits(1 - 2 * alpha)
        bound = low if higher_is_better else high
        above, below = found.p_above(-sign * margin), found.p_below(-sign * margin)
        p_value, p_violated = (above, below) if higher_is_better else (below, above)
        status = "passed" if p_value <= alpha else "violated" if p_violated <= alpha else "undecided"
        reason = f"one-sided {100 * (1 - alpha):g} % bound {bound:+.4g}, limit {-sign * margin:+.4g}"
    return NonInferiority(
        status, found.estimate, bound, margin, p_value, p_violated, found.n, found.n_clusters, found.n_missing,
        _pairs_to_settle(found, room, alpha) if status == "undecided" else None, found.method, alpha, reason,
    )  # fmt: skip


def _pairs_to_settle(found: _Evidence, distance: float, alpha: float) -> int | None:
    """Return the pairs with which an effect at this distance from the limit is shown in 4 of 5 repetitions."""
    if math.isnan(found.se) or abs(distance) < 1e-3 * found.se:
        return None
    z = quantile(1 - alpha, math.inf) + quantile(0.8, math.inf)
    return max(found.n + 1, math.ceil(found.n * (z * found.se / distance) ** 2))


def equivalence(
    a: Values,
    b: Values,
    margin: float,
    cluster: Values | None = None,
    alpha: float = 0.05,
    *,
    binary: bool | None = None,
) -> Equivalence:
    """Test whether candidate `a` and baseline `b` differ by less than `margin` (> 0, score units), by TOST.

    Equivalent when the interval at 1 - 2 alpha lies inside +-margin; `p_value` is the larger of the two one-sided ones.
    Assumes and raises as `paired_difference`. Source: Schuirmann 1987, J. Pharmacokin. Biopharm. 15:657-680.
    """
    _checked_margin(margin, alpha, least=1.0)
    found = _evidence(a, b, cluster, binary)
    low, high = found.limits(1 - 2 * alpha)
    p_value, reason = math.nan, found.notes[-1] if found.degenerate else ""
    if not found.degenerate:
        p_value = max(found.p_above(-margin), found.p_below(margin))
        reason = f"{100 * (1 - 2 * alpha):g} % interval [{low:+.4g}, {high:+.4g}] against ±{margin:g}"
    return Equivalence(
        p_value <= alpha, found.estimate, low, high, margin, p_value, found.n, found.n_clusters, found.n_missing,
        found.method, alpha, reason,
    )  # fmt: skip
