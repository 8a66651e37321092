"""How many labels show that a judge is good enough: planned from nothing, or added to those there are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.judging.rates import exact_lower
from safetycatch.stats.clusters import quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 100_000  # labels beyond which nobody labels
BLOCK = 2_000  # sizes tried at once


def labels_for_rate(floor: float, truth: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return how many labels of a class show a rate above `floor` with this power if it is `truth` (shares).

    The number from which on the exact one-sided binomial test, which is Clopper and Pearson's lower bound at 1 - alpha,
    has the power; 94 for above .80 if .90. Raises: StatisticsError unless 0 < floor < truth < 1, or where
    100,000 labels do not.
    """
    if not 0 < floor < truth < 1:
        raise StatisticsError(f"floor {floor}, truth {truth}: expected 0 < floor < truth < 1")
    found = _more(0, 0, floor, truth, power, alpha)
    if found is None:
        raise StatisticsError(f"more than {MOST:,} labels are needed to tell {truth:g} from {floor:g}")
    return found


def labels_for_kappa(kappa: float, half_width: float, *, level: float = 0.95) -> int:
    """Return how many labels give kappa an interval of this half width, two classes being equally common.

    Then kappa's variance is (1 - kappa²)/n; with a rare class more are needed. Raises: StatisticsError for a kappa
    outside (-1, 1) or a half width that is not positive. Source: Fleiss, Cohen & Everitt 1969.
    """
    if not (-1 < kappa < 1 and half_width > 0):
        raise StatisticsError(f"kappa {kappa}, half width {half_width}: expected within (-1, 1), and above 0")
    z = quantile((1 + level) / 2, math.inf)
    return math.ceil(z**2 * (1 - kappa**2) / half_width**2)


class ClassRate(NamedTuple):
    """A rate of a class of labels (share), its one-sided 95 % lower bound, and the labels it rests on."""

    rate: float
    lower: float
    n: int


def more_labels_for_rate(found: ClassRate, floor: float, *, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """Return how many more labels of a class would lift its lower bound to `floor`, should the rate stay as it is.

    From the returned number on, the bound gets there with this power. 0 where it is there. None where the rate itself
    is not above the floor, or 100,000 more would not do. More labels are taken to be drawn as those there are: where
    weights or clusters made their bound lower, each tells as little more.
    Raises: StatisticsError without labels or for what is no rate.
    """
    own = _independent(found, alpha)
    if found.lower >= floor:
        return 0
    if found.rate <= floor:
        return None
    hits = round(found.rate * own)
    further = _more(hits, round(own) - hits, floor, found.rate, power, alpha)
    return None if further is None else math.ceil(further * max(1.0, found.n / own))


def more_labels_for_j(
    good: ClassRate, bad: ClassRate, floor: float, *, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return how many more labels of each class would lift the lower bound of J = TPR + TNR - 1 to `floor`.

    `good` is the TPR, `bad` the TNR. Should both stay as they are, the bound gets there with about this power. 0, None
    and errors as in `more_labels_for_rate`; the power is that of a normal estimate.
    """
    sides = [(one.rate, _independent(one, alpha), one.n) for one in (good, bad)]
    z = quantile(power, math.inf)

    def room(further: int) -> float:
        """Return how far the bound is above the floor, an unlucky draw of more labels allowed for."""
        j, distance, variance = -1.0, 0.0, 0.0
        for rate, own, n in sides:
            labels = own * (1 + further / n)
            j += rate
            distance += (rate - exact_lower(labels * rate, labels * (1 - rate), 1 - alpha)) ** 2
            variance += rate * (1 - rate) / labels
        luck = z * math.sqrt(variance) if further else 0.0
        return j - math.sqrt(distance) - luck - floor

    if room(0) >= 0:
        return 0
    if room(MOST) < 0:
        return None
    low, high = 0, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if room(middle) >= 0 else (middle, high)
    return high


def _independent(found: ClassRate, alpha: float) -> float:
    """Return how many independent labels would give this bound; fewer than there are with weights or clusters."""
    if not (found.n > 0 and 0 <= found.lower <= found.rate <= 1):
        raise StatisticsError(f"rate {found.rate}, bound {found.lower}, {found.n} labels: expected labels of the class")
    low, high = 1e-3, float(found.n)
    if found.lower == 0 or exact_lower(found.rate * high, (1 - found.rate) * high, 1 - alpha) <= found.lower:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        reached = exact_lower(found.rate * middle, (1 - found.rate) * middle, 1 - alpha) >= found.lower
        low, high = (low, middle) if reached else (middle, high)
    return high


def _more(hits: int, misses: int, floor: float, rate: float, power: float, alpha: float) -> int | None:
    """Return the number of labels from which on the power is never below `power`: it goes up in a saw-tooth."""
    from scipy.stats import binom

    last = 0
    for start in range(1, MOST, BLOCK):
        further: NDArray[np.intp] = np.arange(start, start + BLOCK)
        needed = binom.ppf(1 - alpha, hits + misses + further, floor) + 1
        short = further[binom.sf(needed - hits - 1, further, rate) < power]
        if not len(short):
            return last + 1
        last = int(short[-1])
    return None
