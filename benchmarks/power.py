"""Power: how often a true gain as large as the stated effect ends BETTER, with as many items as the plan asks for.

python -m benchmarks power [--simulations 1000] [--seed 1]      (a minute)

Right/wrong answers in unequal clusters. n comes from the plan's own function, given the spread in one of three ways:
as it truly is (SC202's discordance and icc), as a pilot run measured it (a new pilot in every simulation), or not at
all (the default assumption, which has no bar). The verdict is the one of a run. The oracle's interval knows the true
variance. A second table: few large clusters, and few independent items; the true gain is what the plan says they can
show, given the true spread. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.coverage import answers, unequal_sizes
from safetycatch.catches.catalogue import CATCHES
from safetycatch.stats import DifferenceNoise, difference_noise, simulated_power
from tasks.design import design_facts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Sizes = NDArray[np.intp]
    DataSet = tuple[Floats, Floats, Sizes]

LEAST_POWER, MOST_WIDTH = 0.78, 1.1
DEFAULTS = CATCHES["SC202"].thresholds
# Latent normals: what both candidates' answers to an item share, and what a cluster adds to one candidate's.
ITEM, OWN = 0.5, 0.1
TRUTH_ITEMS = 600_000
PILOTS = (200, 500)
Z = 1.959964
# Clusters, items a cluster, and what a cluster adds to one candidate's answers.
FEW = ((6, 60, 0.05), (8, 60, 0.05), (12, 40, 0.05), (20, 40, 0.05), (60, 20, 0.05))
FEW_ALONE = (65, 100, 180)
SETTINGS: dict[str, Any] = {
    "is_rate": True, "unit": "points", "n_compared": 1, "power": DEFAULTS["power"], "replicates": 1,
    "smallest_effect": None, "noise": 0.0, "sampled": False, "warm": False, "measured": None,
}  # fmt: skip


@dataclass
class World:
    """Baseline rate and true gain (0-1); the items asked in each simulation are noted in `asked`."""

    rate: float
    gain: float
    asked: list[int] = field(default_factory=list)

    def answers(self, rng: np.random.Generator, n: int) -> DataSet:
        """Return candidate, baseline and clusters of `n` items."""
        sizes = unequal_sizes(n)
        candidate, baseline = answers(rng, sizes, (self.rate + self.gain, self.rate), ITEM, OWN)
        return candidate, baseline, np.repeat(np.arange(len(sizes)), sizes)

    def noise(self, rng: np.random.Generator, n: int) -> tuple[DifferenceNoise, float]:
        """Return the noise of `n` items, and the share of them on which the candidates disagree."""
        candidate, baseline, cluster = self.answers(rng, n)
        return difference_noise(candidate[:, None], baseline[:, None], cluster), float((candidate != baseline).mean())

    def planned(self, discordance: float, icc: float, measured: dict[str, Any] | None = None) -> int:
        """Return the items that the plan says the claim needs."""
        stated = {"smallest_effect": self.gain, "discordance": discordance, "icc": icc, "measured": measured}
        return design_facts(unequal_sizes(1000).tolist(), {**SETTINGS, **stated})["n_needed"]

    def draw(self, rng: np.random.Generator, n: int) -> DataSet:
        """Return one data set of `n` items."""
        self.asked.append(n)
        return self.answers(rng, n)

    def draw_after_pilot(self, rng: np.random.Generator, n_pilot: int) -> DataSet:
        """Return one data set, as large as a pilot of `n_pilot` items makes the plan say."""
        noise, discordance = self.noise(rng, n_pilot)
        record = {"candidate": "b", "baseline": "a", "run_id": "pilot", "of_candidate": None, "of_baseline": None}
        usable = n_pilot * discordance >= 10
        found = {"between": noise.between, "n": n_pilot, "n_different": round(n_pilot * discordance), "df": noise.df}
        measured = {**record, **found} if usable else None
        return self.draw(rng, self.planned(DEFAULTS["discordance"], DEFAULTS["icc"], measured))


def few_power(sizes: Sizes, rate: float, own: float, simulations: int, seed: int) -> tuple[float, float]:
    """Return the gain that the plan says items in clusters of `sizes` can show, and how often it ends BETTER."""
    rng, gain = np.random.default_rng(0), 0.1
    for _ in range(3):  # the spread depends a little on the gain
        size = int(sizes[0])
        many = np.full(TRUTH_ITEMS // size, size)
        candidate, baseline = answers(rng, many, (rate + gain, rate), ITEM, own)
        cluster, discordance = np.repeat(np.arange(len(many)), many), float((candidate != baseline).mean())
        truth = difference_noise(candidate[:, None], baseline[:, None], cluster)
        effect = truth.between / (discordance - float((candidate - baseline).mean()) ** 2)
        icc = (effect - 1) / (size - 1) if size > 1 else 0.0
        found = design_facts(sizes.tolist(), {**SETTINGS, "discordance": discordance, "icc": icc})
        gain = found["detectable"]

    def draw(rng: np.random.Generator, _: int) -> DataSet:
        candidate, baseline = answers(rng, sizes, (rate + gain, rate), ITEM, own)
        return candidate, baseline, np.repeat(np.arange(len(sizes)), sizes)

    found = simulated_power(draw, int(sizes.sum()), smallest_effect=gain, repetitions=simulations, seed=seed)
    return gain, found.better


def few(simulations: int, seed: int) -> bool:
    print("\n| items | baseline's rate | the plan can show, points | BETTER | bar |\n|---|---|---|---|---|")
    cells = [(f"{k} clusters of {m}", np.full(k, m), 0.5, own) for k, m, own in FEW]
    cells += [(f"{n} independent", np.ones(n, dtype=np.intp), rate, 0.0) for n in FEW_ALONE for rate in (0.5, 0.8)]
    held = True
    for name, sizes, rate, own in cells:
        gain, better = few_power(sizes, rate, own, simulations, seed)
        good = better >= LEAST_POWER
        held &= good
        print(f"| {name} | {rate:g} | {100 * gain:.1f} | {better:.3f} | {'held' if good else 'missed'} |", flush=True)
    return held


def main(simulations: int, seed: int) -> bool:
    print(f"{simulations} simulations a row, Monte Carlo SE of .8: {math.sqrt(0.16 / simulations):.3f}")
    print(
        "| rates | gain | spread given to the plan | n | BETTER | EQUIVALENT | WORSE | width | oracle | ratio | bar |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    held = True
    size_effect = float(np.square(unequal_sizes(1000)).sum()) / 1000
    for rate, gain in ((0.5, 0.05), (0.9, 0.03), (0.98, 0.01)):
        world = World(rate, gain)
        truth, discordance = world.noise(np.random.default_rng(0), TRUTH_ITEMS)
        effect = truth.between / (discordance - gain**2)
        icc = (effect - 1) / (size_effect - 1)
        rows = [(f"true: {100 * discordance:.1f} %, icc {icc:.3f}", world.planned(discordance, icc), world.draw)]
        rows += [(f"measured, pilot of {n}", n, world.draw_after_pilot) for n in PILOTS]
        rows += [("default: 20 %, icc 0.05", world.planned(DEFAULTS["discordance"], DEFAULTS["icc"]), world.draw)]
        for name, n, draw in rows:
            world.asked.clear()
            found = simulated_power(draw, n, smallest_effect=gain, repetitions=simulations, seed=seed)
            oracle = float(np.mean([2 * Z * truth.sd() / math.sqrt(asked) for asked in world.asked]))
            ratio = found.width / oracle
            good = found.better >= LEAST_POWER and ratio <= MOST_WIDTH
            held &= good or name.startswith("default")
            low, middle, high = np.percentile(world.asked, (5, 50, 95))
            items = f"{middle:,.0f}" if low == high else f"{middle:,.0f} ({low:,.0f} to {high:,.0f})"
            print(
                f"| {rate:g}, {rate + gain:g} | {100 * gain:g} | {name} | {items} | {found.better:.3f} "
                f"| {found.equivalent:.3f} | {found.worse:.3f} | {100 * found.width:.2f} | {100 * oracle:.2f} "
                f"| {ratio:.3f} | {'held' if good else 'missed'} |",
                flush=True,
            )
    return few(simulations, seed) and held


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.exit(0 if main(options.simulations, options.seed) else 1)
