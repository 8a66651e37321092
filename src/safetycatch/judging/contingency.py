"""Two raters' verdicts in a square table of shares, and the standard error of whatever is computed from it.

Each statistic takes tables of shares (..., classes, classes), first rater in rows, that add up to 1, and the number of
items they come from; it is a smooth function of the shares, so that one delta method serves all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from safetycatch.stats.clusters import Floats

Shares: TypeAlias = NDArray[Any]
STEP = 1e-30  # of the complex step: its square vanishes beside 1, so that the derivative is exact


class Statistic(Protocol):
    """A number computed from tables of shares."""

    def __call__(self, shares: Shares, n: float) -> Shares:
        """Return the statistic of each table."""
        ...


def _margins(shares: Shares) -> tuple[Shares, Shares]:
    return shares.sum(axis=-1), shares.sum(axis=-2)


def _agreed(shares: Shares) -> Shares:
    return np.trace(shares, axis1=-2, axis2=-1)


def accuracy(shares: Shares, n: float) -> Shares:
    """Return the share of items on which both say the same."""
    del n
    return _agreed(shares)


def kappa(shares: Shares, n: float) -> Shares:
    """Return Cohen's kappa: agreement beyond what two raters with these margins reach by chance. Source: Cohen 1960."""
    del n
    rows, columns = _margins(shares)
    chance = (rows * columns).sum(axis=-1)
    return (_agreed(shares) - chance) / (1 - chance)


def ac1(shares: Shares, n: float) -> Shares:
    """Return Gwet's AC1, which stays high where one class is rare. Source: Gwet 2008, BJMSP 61:29-48, equation 6."""
    del n
    rows, columns = _margins(shares)
    mean = (rows + columns) / 2
    chance = (mean * (1 - mean)).sum(axis=-1) / (shares.shape[-1] - 1)
    return (_agreed(shares) - chance) / (1 - chance)


def matthews(shares: Shares, n: float) -> Shares:
    """Return the correlation of two raters; for more than two classes Gorodkin's R_K. Source: Gorodkin 2004."""
    del n
    rows, columns = _margins(shares)
    covariance = _agreed(shares) - (rows * columns).sum(axis=-1)
    spread = (1 - np.square(rows).sum(axis=-1)) * (1 - np.square(columns).sum(axis=-1))
    return covariance / np.sqrt(spread)


def _weighted(shares: Shares, distance: Floats) -> Shares:
    rows, columns = _margins(shares)
    chance = ((rows[..., :, None] * columns[..., None, :]) * distance).sum(axis=(-2, -1))
    return 1 - (shares * distance).sum(axis=(-2, -1)) / chance


def _ranks(classes: int) -> Floats:
    return np.subtract.outer(np.arange(classes), np.arange(classes)).astype(np.float64)


def linear_kappa(shares: Shares, n: float) -> Shares:
    """Return kappa with disagreement growing as the distance of the grades. Source: Cohen 1968."""
    del n
    return _weighted(shares, np.abs(_ranks(shares.shape[-1])))


def quadratic_kappa(shares: Shares, n: float) -> Shares:
    """Return kappa with disagreement growing as the squared distance of the grades. Source: Cohen 1968."""
    del n
    return _weighted(shares, np.square(_ranks(shares.shape[-1])))


def nominal_alpha(shares: Shares, n: float) -> Shares:
    """Return Krippendorff's alpha of two raters who both judged all n items, any two classes equally far apart."""
    rows, columns = _margins(shares)
    chance = (1 - np.square((rows + columns) / 2).sum(axis=-1)) * 2 * n / (2 * n - 1)
    return 1 - (1 - _agreed(shares)) / chance


def ordinal_alpha(shares: Shares, n: float) -> Shares:
    """Return Krippendorff's alpha of two raters who both graded all n items, with his ordinal distance.

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": the distance of two grades is the number of
    labels between them, half of the end grades' own included, squared.
    """
    rows, columns = _margins(shares)
    mean = (rows + columns) / 2
    middle = np.cumsum(mean, axis=-1) - mean / 2
    distance = np.square(middle[..., :, None] - middle[..., None, :])
    observed = (shares * distance).sum(axis=(-2, -1))
    chance = (mean[..., :, None] * mean[..., None, :] * distance).sum(axis=(-2, -1)) * 2 * n / (2 * n - 1)
    return 1 - observed / chance


def spearman(shares: Shares, n: float) -> Shares:
    """Return Spearman's rank correlation, ties at their middle rank."""
    del n
    rows, columns = (margin[..., :] for margin in _margins(shares))
    first, second = (np.cumsum(margin, axis=-1) - margin / 2 - 0.5 for margin in (rows, columns))
    covariance = (shares * first[..., :, None] * second[..., None, :]).sum(axis=(-2, -1))
    spread = (rows * np.square(first)).sum(axis=-1) * (columns * np.square(second)).sum(axis=-1)
    return covariance / np.sqrt(spread)


def tau_b(shares: Shares, n: float) -> Shares:
    """Return Kendall's tau-b: pairs of items in the same order less those in opposite order, corrected for ties."""
    del n
    rows, columns = _margins(shares)
    # What lies below and to the right of each cell, and below and to the left.
    below = np.cumsum(shares[..., ::-1, :], axis=-2)[..., ::-1, :] - shares
    right = np.cumsum(below[..., ::-1], axis=-1)[..., ::-1] - below
    left = np.cumsum(below, axis=-1) - below
    excess = 2 * (shares * (right - left)).sum(axis=(-2, -1))
    spread = (1 - np.square(rows).sum(axis=-1)) * (1 - np.square(columns).sum(axis=-1))
    return excess / np.sqrt(spread)


def influence(statistic: Statistic, counts: Floats, n: float) -> tuple[float, Floats]:
    """Return the statistic of one table (counts, or summed weights) and how much one more item of each cell moves it.

    NaN throughout where the statistic is undefined (0/0).
    """
    total = counts.sum()
    shares = counts / total
    cells = np.eye(counts.size).reshape(counts.size, *counts.shape)
    with np.errstate(all="ignore"):
        gradient = np.imag(statistic(shares + 1j * STEP * cells, n)) / STEP
        value = float(statistic(shares, n))
    if not math.isfinite(value):
        return math.nan, np.full(counts.shape, math.nan)
    centred = gradient.reshape(counts.shape) - (gradient.reshape(counts.shape) * shares).sum()
    return value, centred / total


def standard_error(statistic: Statistic, counts: Floats, squares: Floats, n: float) -> tuple[float, float]:
    """Return a statistic of a table and its standard error by the delta method over independent items.

    `counts` are summed weights by cell, `squares` summed squared weights (both the counts where all weigh 1).
    Source: Fleiss, Cohen & Everitt 1969 for kappa; Agresti 2013, section 16.1, for all.
    """
    value, moved = influence(statistic, counts, n)
    return value, math.sqrt(float((squares * np.square(moved)).sum()))
