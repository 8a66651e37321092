"""Guardrails of a claim: metrics that may not get worse by more than a stated amount."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.discordance import paired_columns
from safetycatch.stats.paired import Status, noninferiority

if TYPE_CHECKING:
    from safetycatch.stats.clusters import Values


@dataclass(frozen=True)
class Guardrail:
    """One guardrail's outcome.

    `worse_by`, `estimate` (candidate against baseline) and `bound` (its one-sided bound on the bad side) are fractions
    of the baseline when `relative`, else in the metric's unit; a quantile has no bound, its `reason` says why.
    """

    metric: str
    status: Status
    worse_by: float
    relative: bool
    candidate_value: float
    baseline_value: float
    estimate: float
    bound: float
    p_value: float
    p_violated: float
    n: int
    n_clusters: int
    n_missing: int
    n_to_settle: int | None
    alpha: float
    reason: str


def check_guardrail(
    a: Values,
    b: Values,
    *,
    metric: str,
    worse_by: float,
    relative: bool = False,
    higher_is_better: bool = False,
    quantile: float | None = None,
    cluster: Values | None = None,
    alpha: float = 0.05,
    binary: bool | None = None,
    by_value: bool = True,
    unit: str = "",
) -> Guardrail:
    """Test, item by item, that candidate `a` is not worse than baseline `b` by more than `worse_by` (>= 0) on a metric.

    By default lower is better (cost, latency). `relative`: worse_by is a fraction of the baseline's mean, and the test
    is on a - (1 + worse_by) b, so that the baseline's own noise counts. `quantile` (.95 for p95; lower is better):
    compares the share of candidate values above the limit with the share of baseline values above their own quantile;
    this is valid where both have tails of the same shape, up to scale. `alpha` is one-sided; passing all of several
    guardrails needs no correction, and `verdict.decide` corrects for violations. `binary` (costs: False) and `by_value`
    as in `noninferiority`; `unit` ("points", "usd", "s", "tokens") is how the reason writes values.
    Raises: StatisticsError as `paired_difference`, for a negative worse_by, and for a relative one without a positive
    baseline. Source: Wellek 2010, chapter 1 (margins); Hauschke et al. 1999, Statistics in Medicine 18:93-105 (ratios).
    """
    if not (math.isfinite(worse_by) and worse_by >= 0):
        raise StatisticsError(f"{metric}: worse_by is {worse_by}, expected a number from 0 up")
    first, second = paired_columns(a, b)
    seen = ~np.isnan(first)
    if not seen.any():
        raise StatisticsError(f"{metric}: no complete pair, all {len(seen)} have a missing side")
    if quantile is None:
        ours, theirs = float(first[seen].mean()), float(second[seen].mean())
    else:
        if higher_is_better or not 0 < quantile < 1:
            raise StatisticsError(f"{metric}: a quantile must lie in (0, 1) and have lower values better")
        ours, theirs = (float(np.quantile(column[seen], quantile)) for column in (first, second))
    if relative and theirs <= 0:
        raise StatisticsError(f"{metric}: {worse_by:.0%} of a baseline of {theirs:g} is no limit; give an absolute one")
    sign = -1.0 if higher_is_better else 1.0
    factor, margin = (1 + sign * worse_by, 0.0) if relative else (1.0, worse_by)
    if quantile is None:
        test = noninferiority(
            first, factor * second, margin, cluster, alpha, higher_is_better=higher_is_better,
            binary=False if relative else binary, by_value=by_value,
        )  # fmt: skip
        bound = sign * worse_by + test.bound / theirs if relative else test.bound
        change = f", {ours / theirs - 1:+.1%}" if theirs > 0 else ""
        if unit == "points" and not relative:
            change = f", {100 * (ours - theirs):+.1f} points"
        allowed = f"{sign * worse_by:+.0%}" if relative else _change(sign * worse_by, unit)
        reason = f"{_value(ours, unit)} against {_value(theirs, unit)}{change}, allowed {allowed}"
        if test.status == "undecided":
            reason += f": not shown, {test.reason}"
    else:
        limit = factor * theirs + margin
        over = np.where(seen, first > limit, math.nan), np.where(seen, second > theirs, math.nan)
        # No value above either limit: equal, and no matter of rights and wrongs.
        test = noninferiority(*over, 0.0, cluster, alpha, higher_is_better=False, binary=bool(np.nansum(over)))
        bound = math.nan
        reason = (
            f"{np.nanmean(over[0]):.1%} of the candidate's values lie above the limit of {_value(limit, unit)}, "
            f"against {np.nanmean(over[1]):.1%} of the baseline's above its own {quantile:.0%} quantile"
        )
    estimate = ours / theirs - 1 if relative else ours - theirs
    return Guardrail(
        metric, test.status, worse_by, relative, ours, theirs, estimate, bound, test.p_value, test.p_violated, test.n,
        test.n_clusters, test.n_missing, test.n_to_settle, alpha, reason,
    )  # fmt: skip


def _value(value: float, unit: str) -> str:
    if unit == "points":
        return f"{100 * value:.4g} %"
    text = f"{value:.4g}"
    return f"${text}" if unit == "usd" else text if unit in {"", "score"} else f"{text} {unit}"


def _change(value: float, unit: str) -> str:
    if unit == "points":
        return f"{100 * value:+g} points"
    text = f"{value:+g}"
    return f"{text[0]}${text[1:]}" if unit == "usd" else text if unit in {"", "score"} else f"{text} {unit}"
