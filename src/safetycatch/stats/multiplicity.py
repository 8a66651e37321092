"""Several p-values at once: Holm, Benjamini and Hochberg; and how good the best of equals looks by luck."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import Floats, Values, as_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray


def holm(p: Values) -> Floats:
    """Return Holm-adjusted p-values in the order given: bounds the chance of any false claim under any dependence.

    NaN (a comparison that could not be made) stays NaN and does not count towards the family.
    Raises: StatisticsError for no p-values or values outside [0, 1]. Source: Holm 1979, Scand. J. Statist. 6:65-70.
    """
    values, seen = _p_values(p)
    observed = values[seen]
    order = np.argsort(observed, kind="stable")
    steps = observed[order] * np.arange(len(observed), 0, -1)
    ranked = np.empty(len(observed))
    ranked[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    values[seen] = ranked
    return values


def benjamini_hochberg(p: Values) -> Floats:
    """Return Benjamini-Hochberg-adjusted p-values in the order given: bounds the share of false ones among those shown.

    For looking around (slices), not for a claim. NaN stays NaN and does not count towards the family. Valid for
    independent and for positively dependent p-values. Raises: StatisticsError for no p-values or values outside [0, 1].
    Source: Benjamini & Hochberg 1995, J. R. Statist. Soc. B 57:289-300.
    """
    values, seen = _p_values(p)
    observed = values[seen]
    order = np.argsort(-observed, kind="stable")
    steps = observed[order] * len(observed) / np.arange(len(observed), 0, -1)
    ranked = np.empty(len(observed))
    ranked[order] = np.minimum(1.0, np.minimum.accumulate(steps))
    values[seen] = ranked
    return values


def _p_values(p: Values) -> tuple[Floats, NDArray[np.bool_]]:
    """Return p-values as numbers and which of them are there."""
    values = as_numbers(p, "p")
    seen = ~np.isnan(values)
    if ((values[seen] < 0) | (values[seen] > 1)).any():
        raise StatisticsError(f"p-values lie between 0 and 1, found {values[seen].min():g} to {values[seen].max():g}")
    return values.copy(), seen


def luck_of_best(k: int, n: int, p: float) -> float:
    """Return the expected best observed rate of `k` equal candidates of true rate `p`, each on `n` items.

    The excess over `p` is what selection alone seems to gain. Assumes independent candidates: those that share items
    gain less, so this is the ceiling of luck. Raises: StatisticsError for k or n below 1, or p outside [0, 1].
    Source: mean of the largest of k independent binomials, the sum over s of 1 - F(s)^k.
    """
    from scipy.special import bdtr

    if k < 1 or n < 1 or not 0 <= p <= 1:
        raise StatisticsError(f"k={k}, n={n}, p={p}: expected at least one candidate, one item and a rate in [0, 1]")
    below = bdtr(np.arange(n, dtype=np.float64), n, p)
    return float((1 - below**k).sum()) / n
