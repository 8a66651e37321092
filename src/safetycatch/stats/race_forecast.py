"""What a race is expected to take before it is run: a seeded simulation under a stated assumption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.stats.racing import MeanERace

if TYPE_CHECKING:
    from collections.abc import Sequence

LOWEST, HIGHEST = 0.6, 0.8
CORRELATION = 0.6
REPETITIONS = 8


@dataclass(frozen=True, slots=True)
class RaceForecast:
    """Expected items asked of the baseline and of each challenger, and the share of challengers that go on."""

    baseline_items: float
    challenger_items: float
    share_on: float
    assumption: str


def forecast(
    n_candidates: int,
    looks: Sequence[Sequence[Sequence[int]]],
    keeps: Sequence[int | None],
    *,
    seed: int,
    ahead_below: float = 0.0,
) -> RaceForecast:
    """Return what a race of `n_candidates` (the first is the baseline) would take; `looks` hold cluster sizes, by rung.

    `keeps`: how many challengers go on after each rung (None: no cap). A look of fewer than `ahead_below` calls is sent
    before the last one is decided. Assumes true rates spread
    evenly over 20 points, in an unknown order, and items that are hard for one candidate to be hard for the others
    (latent correlation .6).
    """
    from scipy.stats import norm

    rng = np.random.default_rng(seed)
    names = [str(number) for number in range(n_candidates)]
    sizes = [size for rung in looks for look in rung for size in look]
    n_items, names_of_clusters = sum(sizes), np.repeat(np.arange(len(sizes)), sizes)
    cuts = norm.ppf(np.linspace(LOWEST, HIGHEST, n_candidates))
    baseline = challengers = on = 0.0
    for _ in range(REPETITIONS):
        common = np.sqrt(CORRELATION) * rng.standard_normal((1, n_items))
        own = np.sqrt(1 - CORRELATION) * rng.standard_normal((n_candidates, n_items))
        right = (common + own < rng.permutation(cuts)[:, None]).astype(float)
        race, at = MeanERace(names, names[0], largest_cluster=max(sizes)), 0
        for rung, keep in zip(looks, keeps, strict=True):
            before = race.survivors
            for look in rung:
                alive, part = race.survivors, slice(at, at + sum(look))
                asked = before if len(before) * sum(look) < ahead_below else alive
                if len(asked) > 2:
                    baseline += sum(look)
                    challengers += sum(look) * (len(asked) - 1)
                if len(alive) <= 2:
                    break
                race.look({name: right[int(name), part] for name in alive}, names_of_clusters[part])
                before, at = alive, part.stop
            if keep is not None and len(race.survivors) > 2:
                race.prune(keep)
        on += max(1, len(race.survivors) - 1)
    n_challengers = max(1, n_candidates - 1)
    return RaceForecast(
        baseline / REPETITIONS,
        challengers / REPETITIONS / n_challengers,
        on / REPETITIONS / n_challengers,
        f"if the true rates lay evenly between {100 * LOWEST:.0f} and {100 * HIGHEST:.0f} %",
    )
