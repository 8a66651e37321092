"""Designs before the money is spent: replicates against items for a number of calls, and power by simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.paired import paired_difference
from safetycatch.stats.verdict import decide

if TYPE_CHECKING:
    from collections.abc import Callable

    from safetycatch.stats.clusters import Values
    from safetycatch.stats.variance import DifferenceNoise

    Draw = Callable[[np.random.Generator, int], "tuple[Values, Values, Values | None]"]

MOST_RUNS = 1000  # more runs of one item are not searched
SIDES = 2  # candidate and baseline
LEAST_ITEMS = 30  # as many clusters an interval asks for before it warns; items beyond are not given up for more runs


@dataclass(frozen=True)
class Allocation:
    """How calls are spent best: `runs` of `n_items` items for candidate and baseline, `calls` in all.

    `se` is the standard error of the mean difference (score units) that this gives; `best_runs` the optimum without
    whole numbers and without a limit of items (infinity where items have no spread of their own).
    """

    runs: int
    n_items: int
    calls: int
    se: float
    best_runs: float


def replicates_or_items(
    noise: DifferenceNoise, calls: float, *, item_calls: float = 0.0, most_items: int | None = None
) -> Allocation:
    """Return the replicates and items that make the standard error of a paired difference smallest for `calls`.

    A run of an item costs two calls, candidate and baseline; a new item besides `item_calls` (its labelling, in calls).
    `most_items` is how many there are. Where new items cost nothing one run each is always best: the variance is
    2 (between runs + noise) / calls. Else the optimum is sqrt(noise / between * item_calls / 2) runs; whole numbers
    are searched, fewest runs first; never fewer than 30 items, or all that can be paid: a spread between items that
    came out as 0 is no reason to ask two of them only. Assumes runs of an item independent. Raises: StatisticsError
    where the noise between runs is not known, or calls do not pay two items.
    Source: Cochran 1977, "Sampling Techniques", chapter 10.
    """
    if not noise.runs_measured:
        raise StatisticsError("the noise between runs is not known: measure it with two runs an item, or assume it")
    if not (item_calls >= 0 and math.isfinite(item_calls) and math.isfinite(calls)):
        raise StatisticsError(f"calls={calls} and item_calls={item_calls}: expected finite numbers from 0 up")
    if most_items is not None and most_items < 2:
        raise StatisticsError(f"most_items is {most_items}: a difference needs at least 2 items")
    limit = math.inf if most_items is None else most_items
    found: Allocation | None = None
    best_runs, fewest = _best_runs(noise, item_calls), 2
    for runs in range(1, MOST_RUNS + 1):
        cost = item_calls + SIDES * runs
        n_items = int(min(limit, calls / cost * (1 + 1e-12)))
        if n_items < (2 if found is None else fewest):
            break
        fewest = min(n_items, LEAST_ITEMS) if found is None else fewest
        se = noise.sd(runs) / math.sqrt(n_items)
        if found is None or se < found.se * (1 - 1e-12):
            found = Allocation(runs, n_items, SIDES * runs * n_items, se, best_runs)
    if found is None:
        least = math.ceil(2 * (item_calls + SIDES))
        raise StatisticsError(f"{calls:g} calls do not pay two items on both sides: {least} or more are needed")
    return found


def _best_runs(noise: DifferenceNoise, item_calls: float) -> float:
    of_runs = noise.candidate + noise.baseline
    if not of_runs or not item_calls:
        return 1.0
    if not noise.between:
        return math.inf
    return max(1.0, math.sqrt(of_runs / noise.between * item_calls / SIDES))


@dataclass(frozen=True)
class SimulatedPower:
    """Shares of the verdicts over simulated data sets (0-1), each with Monte Carlo error `se(share)`.

    `width` is the mean width of the interval, `sd` the standard deviation of the estimates, in score units.
    """

    better: float
    worse: float
    equivalent: float
    inconclusive: float
    width: float
    sd: float
    repetitions: int

    def se(self, share: float) -> float:
        """Return the Monte Carlo standard error of one of the shares."""
        return math.sqrt(share * (1 - share) / self.repetitions)


def simulated_power(
    draw: Draw, n: int, *, smallest_effect: float, repetitions: int = 1000, seed: int = 0, level: float = 0.95
) -> SimulatedPower:
    """Return how often `n` items end BETTER and the rest, by simulating data sets and deciding each as a run would.

    `draw(rng, n)` returns scores of candidate and baseline, and the items' clusters or None; it states what the truth
    is thought to be. For designs that no formula covers: rates near 1, unequal clusters, scores with many zeros.
    Raises: StatisticsError for fewer than 2 repetitions, and what the drawn data do not allow.
    """
    if repetitions < 2:
        raise StatisticsError(
            f"{repetitions} repetitions, expected at least 2 (1,000 give a Monte Carlo error of .013)"
        )
    rng = np.random.default_rng(seed)
    kinds = {"BETTER": 0, "WORSE": 0, "EQUIVALENT": 0, "INCONCLUSIVE": 0}
    widths, estimates = np.empty(repetitions), np.empty(repetitions)
    for number in range(repetitions):
        found = paired_difference(*draw(rng, n), level=level)
        kinds[decide(found, smallest_effect).kind] += 1
        widths[number], estimates[number] = found.high - found.low, found.estimate
    better, worse, equivalent, inconclusive = (count / repetitions for count in kinds.values())
    width, sd = float(widths.mean()), float(estimates.std(ddof=1))
    return SimulatedPower(better, worse, equivalent, inconclusive, width, sd, repetitions)
