"""A rate corrected by how often the judge errs on labelled answers of elsewhere, such as a certificate's."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.judging.corrected import ASSUMPTIONS, Corrected
from safetycatch.judging.rates import sum_limits
from safetycatch.stats.clusters import Values, as_numbers, checked_level, quantile
from safetycatch.stats.intervals import rate_interval, wilson_limits

if TYPE_CHECKING:
    from safetycatch.stats.intervals import Interval


def rogan_gladen_from_counts(
    judged: Values,
    tp: float,
    fn: float,
    fp: float,
    tn: float,
    *,
    cluster: Values | None = None,
    level: float = 0.95,
    n_resamples: int = 0,
    seed: int = 0,
) -> Corrected:
    """Return the rate corrected by a judge's errors on labelled answers of elsewhere, such as a certificate's.

    `judged`: the judge's verdicts (1, 0; NaN: none). TP, FN: answers that people pass and the judge passes, fails; FP,
    TN: that people fail (fractions where labels are weighted). The interval adds counts and shifts its middle as Lang
    and Reiczigel propose; with `n_resamples` it is the bootstrap of verdicts and labels. A judge who may be no better
    than a coin (J's interval holds 0) leaves the whole of [0, 1].
    Assumes that the judge errs here as often as there. Raises: StatisticsError for negative counts, no label of a
    class, verdicts that are not 0 or 1.
    Source: Rogan & Gladen 1978; Lang & Reiczigel 2014, Prev. Vet. Med. 113:13; Lee et al. 2025, "How to Correctly
    Report LLM-as-a-Judge Evaluations".
    """
    rows = as_numbers(judged, "judged")
    if not np.isin(rows[~np.isnan(rows)], (0.0, 1.0)).all():
        raise StatisticsError("judged holds other values than 0 and 1: this correction is for a rate")
    raw = rate_interval(rows, cluster, checked_level(level))
    found = rogan_gladen(raw, tp, fn, fp, tn, level, n_labels=round(tp + fn + fp + tn))
    if not n_resamples or math.isnan(found.se):
        return found
    low, high = _bootstrap(raw, (tp, fn, fp, tn), level, n_resamples, np.random.default_rng(seed))
    return replace(found, low=low, high=high)


def rogan_gladen(
    raw: Interval, tp: float, fn: float, fp: float, tn: float, level: float, *, n_labels: int
) -> Corrected:
    """Return the corrected rate as `rogan_gladen_from_counts` does, from the judge's own rate `raw`."""
    if min(tp, fn, fp, tn) < 0 or not all(math.isfinite(count) for count in (tp, fn, fp, tn)):
        raise StatisticsError(f"counts {tp:g}, {fn:g}, {fp:g}, {tn:g}: expected numbers of labels from 0 up")
    good, bad = tp + fn, fp + tn
    if not good or not bad:
        raise StatisticsError(
            f"{good:g} labelled answers that people pass and {bad:g} that they fail: both are needed to know the judge"
        )
    z = quantile((1 + level) / 2, math.inf)
    tpr, tnr, n = tp / good, tn / bad, raw.n / raw.design_effect
    j = tpr + tnr - 1
    _, least, _ = sum_limits((tpr, *wilson_limits(tpr, good, z)), (tnr, *wilson_limits(tnr, bad, z)))
    estimate = se = gain = math.nan
    low, high, warnings = 0.0, 1.0, ()
    if j > 0:
        estimate = min(1.0, max(0.0, (raw.estimate + tnr - 1) / j))
    if least <= 1:
        warnings = (f"J = TPR + TNR - 1 is {j:.2f}, its interval starts at {least - 1:.2f}: a coin may judge as well",)
    else:
        # Agresti and Coull's counts for the rate, one success and one failure more for each of the judge's rates.
        p, sensitivity, specificity = (
            (n * raw.estimate + z * z / 2) / (n + z * z),
            (tp + 1) / (good + 2),
            (tn + 1) / (bad + 2),
        )
        width = sensitivity + specificity - 1
        theta = (p + specificity - 1) / width
        of_pass = sensitivity * (1 - sensitivity) / (good + 2)
        of_fail = specificity * (1 - specificity) / (bad + 2)
        shift = 2 * z * z * (theta * of_pass - (1 - theta) * of_fail)
        spread = math.sqrt(p * (1 - p) / (n + z * z) + theta**2 * of_pass + (1 - theta) ** 2 * of_fail) / width
        low, high = (min(1.0, max(0.0, theta + shift + side * z * spread)) for side in (-1, 1))
        low, high = min(low, estimate), max(high, estimate)
        variance = (
            raw.estimate * (1 - raw.estimate) / n
            + estimate**2 * tpr * (1 - tpr) / good
            + (1 - estimate) ** 2 * tnr * (1 - tnr) / bad
        ) / j**2
        se = math.sqrt(variance)
        gain = theta * (1 - theta) / (good + bad) / spread**2 if 0 < theta < 1 else math.nan
    return Corrected(
        estimate=estimate,
        low=low,
        high=high,
        se=se,
        df=math.inf,
        method="rogan_gladen",
        assumption=ASSUMPTIONS["rogan_gladen"],
        raw=raw,
        effective_gain=gain,
        n_labels=n_labels,
        n_judged=raw.n,
        n_missing=raw.n_missing,
        design_effect=raw.design_effect,
        level=level,
        warnings=warnings,
    )


def _bootstrap(
    raw: Interval, counts: tuple[float, ...], level: float, n_resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return percentiles over redrawn verdicts and labels; a draw in which J is not above 0 counts at either end."""
    n, labels = max(1, round(raw.n / raw.design_effect)), np.array(counts)
    p = rng.binomial(n, raw.estimate, n_resamples) / n
    drawn = rng.multinomial(max(1, round(labels.sum())), labels / labels.sum(), n_resamples).astype(np.float64)
    with np.errstate(all="ignore"):
        tpr, tnr = drawn[:, 0] / drawn[:, :2].sum(axis=1), drawn[:, 3] / drawn[:, 2:].sum(axis=1)
        theta = np.clip((p + tnr - 1) / (tpr + tnr - 1), 0, 1)
        usable = tpr + tnr > 1
    tail = (1 - level) / 2
    return (
        float(np.quantile(np.where(usable, theta, 0.0), tail)),
        float(np.quantile(np.where(usable, theta, 1.0), 1 - tail)),
    )
