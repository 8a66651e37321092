"""How much other seeds and other orders of the same number of examples move a score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Spread:
    """How other seeds or orders of the same examples score; `means` are their scores, the strategy's own one first.

    `sd` is the standard deviation between them with the noise of the items taken out (0 when that is all there is),
    `sd_low` and `sd_high` its 95 % interval, which so few of them leave wide; `changed` the share of items whose score
    differs anywhere.
    """

    candidate: str
    what: Literal["seed", "order"]
    means: tuple[float, ...]
    sd: float
    sd_low: float
    sd_high: float
    n: int
    changed: float
    reason: str = ""


def spread(
    candidate: str, what: Literal["seed", "order"], scores: Floats, clusters: np.ndarray | None = None
) -> Spread:
    """Return the spread between the rows of `scores` (variants x items); items without all scores are left out.

    A variant's mean varies by the draw of examples and by the items it happens to be asked; the second part is
    estimated from the interaction of variants and items (cluster sums of residuals) and subtracted. The interval is
    chi-square on the variance of the means, less that part.
    Assumes normal draws and independent clusters. Source: Burdick and Graybill 1992, chapter 3; Miller 2024.
    """
    from scipy.stats import chi2

    kept = ~np.isnan(scores).any(axis=0)
    values, names = scores[:, kept], None if clusters is None else clusters[kept]
    n_variants, n = values.shape
    means = values.mean(axis=1) if n else np.full(n_variants, math.nan)
    shown = tuple(float(mean) for mean in means)
    codes = np.arange(n) if names is None else np.unique(names, return_inverse=True)[1]
    n_clusters = int(codes.max()) + 1 if n else 0
    if n_variants < 2 or n_clusters < 2:
        few = "one variant" if n_variants < 2 else f"{n_clusters} independent items with all scores"
        return Spread(candidate, what, shown, math.nan, math.nan, math.nan, n, math.nan, f"no spread: {few}")
    changed = float((np.ptp(values, axis=0) > 0).mean())
    if not changed:  # equal rows have no spread, whatever rounding makes of their means
        return Spread(candidate, what, shown, 0.0, 0.0, 0.0, n, 0.0)
    left = values - means[:, None] - values.mean(axis=0) + values.mean()
    sums = np.stack([np.bincount(codes, weights=row, minlength=n_clusters) for row in left])
    noise = float((sums**2).sum()) / n**2 / (n_variants - 1) * n_clusters / (n_clusters - 1)
    between, df = float(means.var(ddof=1)), n_variants - 1
    low, high = (max(0.0, df * between / float(chi2.ppf(tail, df)) - noise) for tail in (0.975, 0.025))
    return Spread(
        candidate, what, shown, math.sqrt(max(0.0, between - noise)), math.sqrt(low), math.sqrt(high), n, changed
    )
