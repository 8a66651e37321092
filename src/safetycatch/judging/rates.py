"""A rate among labels that may have been drawn with unequal probabilities, with its limits; and sums of two rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from safetycatch.judging.clustering import INDEPENDENT, Clustering
from safetycatch.stats.clusters import Floats, quantile
from safetycatch.stats.intervals import wilson_limits


@dataclass(frozen=True)
class Estimate:
    """A rate or coefficient with its two-sided interval, and `lower`, the one-sided lower bound, both at `level`.

    `n` counts the labels it rests on. Where it is undefined all numbers are NaN and `reason` says why.
    """

    estimate: float
    low: float
    high: float
    lower: float
    se: float
    n: int
    method: str
    level: float
    reason: str = ""


def undefined(n: int, level: float, method: str, reason: str) -> Estimate:
    """Return an estimate of NaN with its reason."""
    nan = math.nan
    return Estimate(nan, nan, nan, nan, nan, n, method, level, reason)


def weight_of_one(weights: Floats, others: Floats) -> float:
    """Return the weight of one effective label of these (of `others` where there are none of these)."""
    there = weights if len(weights) else others
    return float(np.square(there).sum() / there.sum())


def weighted_rate(
    hits: Floats, misses: Floats, typical: tuple[float, float], level: float, clusters: Clustering = INDEPENDENT
) -> Estimate:
    """Return the rate of hits from the weights of hits and of misses; `typical` are the weights of unseen ones.

    Weights that depend on the verdict only scale the odds: hits / misses among the labels, times the ratio of the
    weights. So limits are taken for the labels' own odds and scaled, which is exact where each verdict has one weight;
    weights that vary within a verdict lower its effective number of labels.
    """
    counts, scales = [0.0, 0.0], list(typical)
    for side, weights in enumerate((hits, misses)):
        if len(weights):
            counts[side] = float(weights.sum() ** 2 / np.square(weights).sum()) / clusters.design_effect
            scales[side] = weight_of_one(weights, weights)
    ratio, n = scales[0] / scales[1], counts[0] + counts[1]
    share = counts[0] / n
    low, high = (_scaled(limit, ratio) for limit in wilson_limits(share, n, quantile((1 + level) / 2, clusters.df)))
    estimate = _scaled(share, ratio)
    se = estimate * (1 - estimate) * math.sqrt(n / (counts[0] * counts[1])) if min(counts) else math.nan
    lower = _scaled(exact_lower(counts[0], counts[1], level), ratio)
    return Estimate(estimate, low, high, lower, se, len(hits) + len(misses), "wilson", level)


def exact_lower(hits: float, misses: float, level: float) -> float:
    """Return Clopper and Pearson's one-sided lower bound of a rate (counts may be fractions: effective labels)."""
    from scipy.special import betaincinv

    return float(betaincinv(hits, misses + 1, 1 - level)) if hits else 0.0


def _scaled(share: float, ratio: float) -> float:
    return share * ratio / (share * ratio + 1 - share)


def youden(tpr: Estimate, tnr: Estimate, level: float) -> Estimate:
    """Return J = TPR + TNR - 1 of two classes' independent labels."""
    method = "square and add"
    reason = tpr.reason or tnr.reason
    if reason:
        return undefined(tpr.n + tnr.n, level, method, reason)
    j, low, high = sum_limits((tpr.estimate, tpr.low, tpr.high), (tnr.estimate, tnr.low, tnr.high))
    _, lower, _ = sum_limits((tpr.estimate, tpr.lower, tpr.high), (tnr.estimate, tnr.lower, tnr.high))
    return Estimate(j - 1, low - 1, high - 1, lower - 1, math.hypot(tpr.se, tnr.se), tpr.n + tnr.n, method, level)


def sum_limits(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return first + second with limits, from (estimate, low, high) of two independent ones: distances in quadrature.

    Source: Newcombe 1998, Statistics in Medicine 17:873, method 10; Zou & Donner 2008 ("MOVER").
    """
    middle = first[0] + second[0]
    return (
        middle,
        middle - math.hypot(first[0] - first[1], second[0] - second[1]),
        middle + math.hypot(first[2] - first[0], second[2] - second[0]),
    )
