"""Several candidates at once: Holm's correction, and how good the best of equals looks by luck."""

from __future__ import annotations

import math

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import Floats, Values, as_numbers


def holm(p: Values) -> Floats:
    """Return Holm-adjusted p-values in the order given: bounds the chance of any false claim under any dependence.

    NaN (a comparison that could not be made) stays NaN and does not count towards the family.
    Raises: StatisticsError for no p-values or values outside [0, 1]. Source: Holm 1979, Scand. J. Statist. 6:65-70.
    """
    values = as_numbers(p, "p")
    seen = ~np.isnan(values)
    observed = values[seen]
    if ((observed < 0) | (observed > 1)).any():
        raise StatisticsError(f"p-values lie between 0 and 1, found {observed.min():g} to {observed.max():g}")
    order = np.argsort(observed, kind="stable")
    steps = observed[order] * np.arange(len(observed), 0, -1)
    adjusted = np.full(len(values), math.nan)
    ranked = np.empty(len(observed))
    ranked[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    adjusted[seen] = ranked
    return adjusted


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
