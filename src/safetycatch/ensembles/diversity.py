"""How much the members of an ensemble differ: the correlation of their errors, and how many voters that is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.errors import StatisticsError

if TYPE_CHECKING:
    from safetycatch.ensembles.voting import Floats


@dataclass(frozen=True)
class Correlation:
    """Phi of the errors of each pair (NaN: one of them never errs, or always), and their mean over `n_pairs` pairs.

    `mean` is NaN with its `reason` where no pair has a phi.
    """

    phi: Floats
    mean: float
    n_pairs: int
    reason: str = ""


def error_correlation(wrong: Floats) -> Correlation:
    """Return the phi coefficients of members' errors, each over the items that both answered.

    `wrong` has a row an item and a column a member: 1 wrong, 0 right, NaN no answer.
    Raises: StatisticsError unless the values are 0, 1 or NaN in two columns at least.
    """
    if wrong.ndim != 2 or wrong.shape[1] < 2:
        raise StatisticsError(f"errors of shape {wrong.shape}, not items x two members or more")
    if not np.isin(wrong[~np.isnan(wrong)], (0.0, 1.0)).all():
        raise StatisticsError("errors are 1 (wrong), 0 (right) or NaN (no answer)")
    n_members = wrong.shape[1]
    phi = np.full((n_members, n_members), np.nan)
    for left in range(n_members):
        for right in range(left):
            phi[left, right] = phi[right, left] = _phi(wrong[:, left], wrong[:, right])
    pairs = phi[np.tril_indices(n_members, -1)]
    known = pairs[~np.isnan(pairs)]
    if not known.size:
        return Correlation(phi, math.nan, 0, "no two members both have right and wrong answers")
    return Correlation(phi, float(known.mean()), int(known.size))


def _phi(left: Floats, right: Floats) -> float:
    both = ~(np.isnan(left) | np.isnan(right))
    a, b = left[both], right[both]
    if not a.size or a.min() == a.max() or b.min() == b.max():
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def effective_voters(k: int, rho: float) -> float:
    """Return k / (1 + (k - 1) rho): how many independent voters are worth k whose errors correlate by `rho`.

    From the variance of a mean of equally correlated votes (Kish 1965, Survey Sampling). NaN stays NaN.
    Raises: StatisticsError for no voter, and for a `rho` that k voters cannot share.
    """
    if k < 1 or rho > 1 or 1 + (k - 1) * rho <= 0:
        raise StatisticsError(f"{k} voters cannot share an error correlation of {rho:g}: -1 / (k - 1) < rho <= 1")
    return k / (1 + (k - 1) * rho)
