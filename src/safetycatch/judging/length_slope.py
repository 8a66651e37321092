"""How a judge's verdict moves with the length of an answer that people judge alike: a logistic regression."""

from __future__ import annotations

import math

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import Floats, Values, as_numbers, quantile

STEPS, CLOSE, FARTHEST = 50, 1e-10, 30.0
FEWEST = 30


def length_slope(words: Values, passed: Values, human: Values, level: float = 0.95) -> dict[str, float]:
    """Return how the log odds of the judge's pass rise with each doubling of length, given the human label.

    Logistic regression of `passed` (0, 1) on log2 of `words` (>= 1) and `human` (0, 1), NaN missing, by Newton's steps;
    keys slope, slope_low, slope_high, slope_p (Wald), slope_n. All but slope_n are NaN below 30 items, or where the
    lengths or labels separate the verdicts. Observational: longer answers may be better in ways that the label does not
    tell. Raises: StatisticsError for columns of different lengths. Source: McCullagh & Nelder 1989, chapter 4.
    """
    columns = [as_numbers(words, "words"), as_numbers(passed, "passed"), as_numbers(human, "human")]
    if len({len(column) for column in columns}) > 1:
        raise StatisticsError(f"columns of {', '.join(str(len(column)) for column in columns)} values")
    seen = ~np.isnan(np.column_stack(columns)).any(axis=1) & (columns[0] >= 1)
    length, verdict, label = (column[seen] for column in columns)
    undefined = dict.fromkeys(("slope", "slope_low", "slope_high", "slope_p"), math.nan)
    n = {"slope_n": float(seen.sum())}
    if n["slope_n"] < FEWEST:
        return {**undefined, **n}
    doublings = np.log2(length)
    varying = [column for column in (doublings, label) if np.ptp(column) > 0]
    if np.ptp(doublings) == 0 or np.ptp(verdict) == 0:
        return {**undefined, **n}
    fitted = _fitted(np.column_stack([*varying, np.ones_like(verdict)]), verdict)
    if fitted is None:
        return {**undefined, **n}
    slope, se = fitted
    half = quantile((1 + level) / 2, math.inf) * se
    p = math.erfc(abs(slope) / se / math.sqrt(2))
    return {"slope": slope, "slope_low": slope - half, "slope_high": slope + half, "slope_p": p, **n}


def _fitted(design: Floats, verdict: Floats) -> tuple[float, float] | None:
    """Return the first coefficient and its standard error; None where no finite one fits best."""
    weights = np.zeros(design.shape[1])
    for _ in range(STEPS):
        share = 1 / (1 + np.exp(-np.clip(design @ weights, -FARTHEST, FARTHEST)))
        information = design.T @ (design * (share * (1 - share))[:, None])
        try:
            step = np.linalg.solve(information, design.T @ (verdict - share))
        except np.linalg.LinAlgError:
            return None
        weights = weights + step
        # Perfect separation: the coefficients run away, and no standard error means anything.
        if np.abs(design @ weights).max() > FARTHEST:
            return None
        if np.abs(step).max() < CLOSE:
            return float(weights[0]), math.sqrt(float(np.linalg.inv(information)[0, 0]))
    return None
