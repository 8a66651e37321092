"""Answers whose rating is known without the judge, beside those it judged: its errors are corrected on its own only.

A refused, cut or filtered answer fails for certain, and what people say of an answer shown to the judge is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.judging.difference import ASSUMPTIONS, CorrectedDifference
from safetycatch.stats import paired_difference
from safetycatch.stats.clusters import Floats, Values, quantile, upper_tail
from safetycatch.stats.intervals import mean_interval, rate_interval

if TYPE_CHECKING:
    from safetycatch.judging.corrected import Corrected


@dataclass(frozen=True, slots=True)
class Scored:
    """One candidate's rows: the judge's `verdicts`, the share it `judged`, and what is `known` without it.

    Row by row, means over an item's answers: verdicts and known add up to the raw score; NaN where there is none.
    """

    verdicts: Floats
    judged: Floats
    known: Floats


def rate_with_known(found: Corrected, known: Values, judged: Values, cluster: Values | None = None) -> Corrected:
    """Return a rate (or mean) over judged and known answers from the corrected one `found` of the judged alone.

    `known` is each answer's known value (NaN: none), `judged` the judge's (NaN: none); the rate is (share judged) *
    corrected + what is known. Limits of both parts are joined in quadrature, with clusters, in which the two may move
    together, they add up. Assumes as the correction. Raises: StatisticsError as `stats.rate_interval`.
    Source: Donner & Zou 2012, Stat. Methods Med. Res. 21:347 (limits of a sum).
    """
    certain, asked = np.asarray(known, dtype=np.float64), np.asarray(judged, dtype=np.float64)
    there = ~np.isnan(certain)
    seen = there | ~np.isnan(asked)
    share = float((~there[seen]).mean())
    rest = float(np.where(there, certain, 0.0)[seen].mean())
    if math.isnan(found.estimate):
        return replace(found, low=share * found.low + rest, high=share * found.high + rest)
    filled = np.where(there, certain, found.estimate)
    filled[~seen] = math.nan
    inside = bool(((filled[seen] >= 0) & (filled[seen] <= 1)).all())
    mix = (rate_interval if inside else mean_interval)(filled, cluster, found.level)
    join = math.hypot if cluster is None else _added
    least, most = (0.0, 1.0) if inside else (-math.inf, math.inf)
    return replace(
        found,
        estimate=mix.estimate,
        low=max(least, mix.estimate - join(share * (found.estimate - found.low), mix.estimate - mix.low)),
        high=min(most, mix.estimate + join(share * (found.high - found.estimate), mix.high - mix.estimate)),
        se=join(share * found.se, mix.se),
        df=min(found.df, mix.df),
    )


def _added(one: float, other: float) -> float:
    return one + other


def difference_with_known(
    a: Scored, b: Scored, counts: tuple[float, float, float, float], cluster: Values | None = None, level: float = 0.95
) -> CorrectedDifference:
    """Return the paired difference under one error of the judge where some answers were known without it.

    An answer counts (verdict + TNR - 1) / J where it was judged, and what is known where it was not; `counts` are the
    judge's TP, FN, FP, TN elsewhere. The interval keeps the differences R that numerator - R J does not speak against,
    with the spread of rows, of TNR and of J (Fieller's), and the p-value is that of R = 0: the raw difference's does
    not hold, for the judge's false passes are missing where it was not asked.
    Assumes one error for both candidates, independent clusters. Raises: StatisticsError where people pass all or none
    of the labelled answers, where the rows do not spread, and as `stats.paired_difference`.
    Source: Rogan & Gladen 1978; Fieller 1954, J. R. Stat. Soc. B 16:175.
    """
    tp, fn, fp, tn = counts
    good, bad = tp + fn, fp + tn
    if not good or not bad:
        raise StatisticsError(
            f"{good:g} labelled answers that people pass and {bad:g} that they fail: both are needed to know the judge"
        )
    raw = paired_difference(a.verdicts + a.known, b.verdicts + b.known, cluster, level)
    tpr, tnr = tp / good, tn / bad
    j = tpr + tnr - 1
    # One hit and one miss more for each rate, so that a judge without an error on few labels is not certain.
    of_tpr, of_tnr = (
        rate * (1 - rate) / (n + 2) for rate, n in (((tp + 1) / (good + 2), good), ((tn + 1) / (bad + 2), bad))
    )
    fixed = a.known - b.known
    rows = a.verdicts - b.verdicts + (tnr - 1) * (a.judged - b.judged) + j * fixed
    mean = mean_interval(rows, cluster, level)
    if not mean.se > 0:
        raise StatisticsError("the differences of the rows have no spread")
    seen = ~np.isnan(rows)
    more, offset = float((a.judged - b.judged)[seen].mean()), float(fixed[seen].mean())
    top, both = mean.estimate - j * offset, of_tpr + of_tnr

    def spread(ratio: float) -> float:
        """Return the variance of numerator - ratio J."""
        return mean.se**2 + more**2 * of_tnr - 2 * ratio * more * of_tnr + ratio**2 * both

    t = quantile((1 + level) / 2, mean.df)
    square, half, rest = j**2 - t**2 * both, top * j - t**2 * more * of_tnr, top**2 - t**2 * spread(0.0)
    low, high, estimate, se, warnings = -1.0, 1.0, math.nan, math.nan, raw.warnings
    if j > 0:
        estimate = min(1.0, max(-1.0, top / j + offset))
        se = math.sqrt(spread(top / j)) / j
    if square > 0 and j > 0:
        root = math.sqrt(max(0.0, half**2 - square * rest))
        low, high = (min(1.0, max(-1.0, (half + side * root) / square + offset)) for side in (-1, 1))
    else:
        warnings = (*warnings, f"J is {j:.2f}, and its interval holds 0: a coin may judge as well")
    return CorrectedDifference(
        estimate=estimate,
        low=low,
        high=high,
        se=se,
        df=mean.df,
        p_value=min(1.0, 2 * upper_tail(abs(mean.estimate) / math.sqrt(spread(-offset)), mean.df)),
        method="common_error",
        assumption=ASSUMPTIONS["common_error"],
        raw=raw,
        effective_gain=math.nan,
        n_labels=round(good + bad),
        n_judged=raw.n,
        n_missing=raw.n_missing,
        level=level,
        warnings=warnings,
    )
