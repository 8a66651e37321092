"""How many items a probe needs: to find a bias of ten points 49 times in 50, to clear a good judge 97 times in 100.

A bias is found by a sign test of changed verdicts. Beside the biased changes there are `noise` (3 %) of unrelated ones
in either direction. A rate is cleared when its one-sided 95 % upper bound stays below its limit although the judge errs
a little (`GOOD`); a rate above the limit then never passes more often than 1 in 20, whatever the number of items.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from safetycatch.judging.probes import ALPHA, BIAS, LEVEL, LIMITS, Kind
from safetycatch.judging.rates import exact_lower
from safetycatch.stats.clusters import quantile

if TYPE_CHECKING:
    from safetycatch.judge_settings import JudgeSettings

POWER, CLEARING = 0.98, 0.97
NOISE = 0.03
ERROR = 0.05  # of a judge's verdicts on labelled answers
N_TESTS = 3  # probes with a p-value in one calibration: length, format and self-preference, or swap for a pair
# What a judge worth having may do: share of inconsistent orders, of flips between repeats, of replies without verdict.
GOOD: dict[Kind, float] = {"swap": 0.06, "retest": 0.01, "parse": 0.002, "injection": 0.0}
# The figures of `items_to_find` and `items_to_clear`; tests/judging/test_probes.py works them out again.
DEFAULT_ITEMS: dict[Kind, int] = {
    "swap": 142,
    "length": 269,
    "format": 299,
    "retest": 208,
    "parse": 313,
    "injection": 60,
}
REPEATS = 3
START = 0.5  # of the items that a normal approximation would ask for, with no regard to power: the search goes up
STEP = 0.01


class Planned(NamedTuple):
    """What a probe will ask: items, further calls at most, and what so many items can find, in words."""

    kind: Kind
    n_items: int
    n_calls: int
    finds: str


def items_to_find(
    bias: float = BIAS, *, both_ways: bool, noise: float = NOISE, alpha: float = ALPHA / N_TESTS, power: float = POWER
) -> int:
    """Return the items with which a sign test at `alpha` finds that `bias` more verdicts change one way than the other.

    Exact: changed verdicts are binomial, and so are those that go upwards. The smallest n from which on the power stays
    at `power`. Assumes independent items. Raises: ValueError for a bias of 0 or less.
    """
    if not 0 < bias <= 1 - 2 * noise:
        raise ValueError(f"a bias of {bias}: above 0, at most {1 - 2 * noise:g}")
    n = max(1, math.ceil(START * (bias + 2 * noise - bias**2) * (quantile(1 - alpha, math.inf) / bias) ** 2))
    while any(_power(n + more, bias, noise, alpha, both_ways=both_ways) < power for more in range(5)):
        n += 1
    return n


def answers_a_side(bias: float = BIAS, *, error: float = ERROR, power: float = POWER) -> int:
    """Return the labelled answers of the judge's own family, and of others, with which its `bias` to the own is found.

    Normal approximation of Welch's test at Holm's first step. `error` is the share of answers that the judge gets wrong
    anyway, as often upwards as downwards. Raises: ValueError for a bias of 0 or less.
    """
    if not 0 < bias < 1:
        raise ValueError(f"a bias of {bias}: above 0, below 1")
    z = quantile(1 - ALPHA / N_TESTS, math.inf) + quantile(power, math.inf)
    return math.ceil(z**2 * (2 * error + bias - bias**2) / bias**2)


def _power(n: int, bias: float, noise: float, alpha: float, *, both_ways: bool) -> float:
    import numpy as np
    from scipy.special import bdtr, bdtrik
    from scipy.stats import binom

    changed = np.arange(n + 1)
    tail = alpha / 2 if both_ways else alpha
    # The most downward changes among so many that still reject: P(Bin(changed, 1/2) <= most) <= tail.
    most = np.floor(bdtrik(tail, changed, 0.5))
    most = np.where(bdtr(np.maximum(most, 0), changed, 0.5) <= tail, most, most - 1)
    share = bias + 2 * noise
    reject = np.where(most >= 0, binom.cdf(most, changed, noise / share), 0.0)
    return float((binom.pmf(changed, n, share) * reject).sum())


def items_to_clear(kind: Kind, *, power: float = CLEARING) -> int:
    """Return the items with which a good judge's upper bound stays below the probe's limit with this power."""
    from scipy.stats import binom

    limit, good = LIMITS[kind], GOOD[kind]
    n = 1
    while True:
        events = _most_events(n, limit)
        if events >= 0 and float(binom.cdf(events, n, good)) >= power:
            return n
        n += 1


def _most_events(n: int, limit: float) -> int:
    events = -1
    while events < n and 1 - exact_lower(n - events - 1, events + 1, LEVEL) <= limit:
        events += 1
    return events


def found_by(n: int, *, both_ways: bool) -> float:
    """Return the smallest bias, in whole points, that `n` items find as often as `POWER` says; NaN when none is."""
    for points in range(1, round((1 - 2 * NOISE) / STEP)):
        if _power(n, points * STEP, NOISE, ALPHA / N_TESTS, both_ways=both_ways) >= POWER:
            return points * STEP
    return math.nan


def planned(
    kind: Kind, n_available: int, settings: JudgeSettings, *, n_jurors: int = 1, n_items: int | None = None
) -> Planned:
    """Return what a probe of `n_available` items will ask beyond the verdicts that are there, at most.

    `n_items` takes another number of items than the default.
    """
    if kind in {"self_preference", "parse"}:
        return Planned(kind, n_available, 0, "from the verdicts that are there")
    # Every attack is made: `DEFAULT_ITEMS` is what clears a judge that none of them moves.
    default = n_available if kind == "injection" else DEFAULT_ITEMS[kind]
    n = min(n_available, default if n_items is None else n_items)
    each = max(1, len(settings.criteria)) * n_jurors * (2 if settings.both_orders else 1)
    if kind == "swap":
        each = 0 if settings.both_orders else each
    # Each attack has its control.
    calls = n * each * {"retest": REPEATS - 1, "injection": 2}.get(kind, 1)
    if kind in {"length", "format", "swap"}:
        # Both orders of a pair move: ten points of the chance to win are twenty between them.
        smallest = found_by(n, both_ways=kind != "length") / (2 if kind == "swap" else 1)
        finds = "too few to find anything" if math.isnan(smallest) else f"a bias of {100 * smallest:.0f} points or more"
    else:
        finds = f"rates above {100 * LIMITS[kind]:.0f} %" if n >= 59 else "too few to clear any judge"
    return Planned(kind, n, calls, finds)
