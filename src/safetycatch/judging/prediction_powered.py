"""A mean from a judge's scores of all rows and people's scores of some: prediction-powered inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safetycatch.stats.clusters import Floats  # noqa: TC001 - a dataclass field


@dataclass(frozen=True)
class PredictionPowered:
    """A prediction-powered mean: `tuning` says how much of the judge is used (0: labels only, 1: all of it).

    `rows` and `labels` are influences, in the order of the judged rows and of the labels; `variance` is NaN where the
    judge's errors on the labels have no spread to measure.
    """

    estimate: float
    variance: float
    variance_labels_only: float
    tuning: float
    df: float
    rows: Floats
    labels: Floats


def prediction_powered(
    judged: Floats,
    labelled_judge: Floats,
    labelled_human: Floats,
    weights: Floats,
    *,
    labelled_among_judged: bool,
    tuning: float | None = None,
) -> PredictionPowered:
    """Return the PPI++ mean of columns without gaps: `judged` of all rows, the others of three or more labelled ones.

    The judge's mean is moved by the mean error on the labels; `tuning` (None: the one of least variance, within 0 to 1)
    says how far the judge is used. Labels that are among the judged rows and labels beside them lead to the same
    estimate. Variances have n - 2 degrees of freedom: with the normal quantile 50 labels covered 91 % instead of 95.
    `weights` are inverse sampling probabilities. Assumes labels drawn at random, with those, from the judged rows.
    Source: Angelopoulos, Duchi & Zrnic 2023, "PPI++", with weights as in a regression estimator (Cochran 1977, ch. 7).
    """
    n = float(weights.sum() ** 2 / np.square(weights).sum())
    share, n_rows = weights / weights.sum(), len(judged)
    human, judge = float(share @ labelled_human), float(share @ labelled_judge)
    spread_human = float(share @ np.square(labelled_human - human))
    spread_judge = float((judged if labelled_among_judged else np.concatenate([judged, labelled_judge])).var())
    common = float(share @ ((labelled_human - human) * (labelled_judge - judge)))
    if tuning is None:
        slope = min(1.0, max(0.0, common / spread_judge)) if spread_judge > 0 else 0.0
        tuning = slope if labelled_among_judged else slope / (1 + n / n_rows)
    rectified = labelled_human - tuning * labelled_judge
    error = float(share @ rectified)
    middle = tuning * float(judged.mean())
    residual = float(share @ np.square(rectified - error)) * n / max(n - 2, 1)
    if labelled_among_judged:
        of_rows = max(0.0, 2 * tuning * common - tuning**2 * spread_judge) / n_rows
    else:
        of_rows = tuning**2 * float(judged.var()) / n_rows
    return PredictionPowered(
        estimate=middle + error,
        variance=residual / n + of_rows if residual > 0 else np.nan,
        variance_labels_only=spread_human / (n - 1),
        tuning=tuning,
        df=max(n - 2, 1.0),
        rows=tuning * (judged - judged.mean()) / n_rows,
        labels=share * (rectified - error),
    )
