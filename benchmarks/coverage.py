"""Coverage of the default intervals: how often a 95 % interval holds the truth, over simulated evaluations.

python -m benchmarks coverage [--simulations 2000]      (two minutes)

Rates of .9 and the paired differences must lie within 93-97 % in every cell (97.5 % for 50 independent values, whose
exact coverage by Wilson's interval is .9703), in 5 to 8 large clusters within 93-98 %; the other rows show where the
limits are. Exit code 1 when one does not.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri

from safetycatch.stats import mean_interval, paired_difference, rate_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from safetycatch.stats import Interval

    Sizes = NDArray[np.intp]
    Draw = Callable[[np.random.Generator, Sizes], tuple[NDArray[np.float64], ...]]

RUNS = "4 runs an item"
UNEQUAL = (1, 1, 2, 3, 5, 8, 10)


LARGE = 50  # values in each of a few clusters


def unequal_sizes(n: int) -> Sizes:
    """Return cluster sizes 1, 1, 2, 3, 5, 8, 10, 1, 1, ... that add up to n."""
    sizes = np.resize(UNEQUAL, n)
    ends = np.cumsum(sizes)
    kept = int(np.searchsorted(ends, n)) + 1
    sizes = sizes[:kept].copy()
    sizes[-1] -= ends[kept - 1] - n
    return sizes


SIZES: dict[str, Callable[[int], Sizes]] = {
    "iid": lambda n: np.ones(n, dtype=np.intp),
    "clusters of 5": lambda n: np.full(n // 5, 5),
    "unequal clusters": unequal_sizes,
    RUNS: lambda n: np.full(n, 4),
}
FEW = (5, 6, 8)  # clusters


def binary(rng: np.random.Generator, sizes: Sizes, rate: float, icc: float) -> NDArray[np.float64]:
    """Return right/wrong values: each cluster's own rate is beta distributed with intra-class correlation icc."""
    weight = 1 / icc - 1
    own = rng.beta(rate * weight, (1 - rate) * weight, len(sizes)) if (sizes > 1).any() else np.full(len(sizes), rate)
    return (rng.random(sizes.sum()) < np.repeat(own, sizes)).astype(float)


def answers(
    rng: np.random.Generator, sizes: Sizes, rates: tuple[float, float], item: float, own: float
) -> tuple[NDArray[np.float64], ...]:
    """Return right/wrong values of two candidates: latent normals that share item, cluster and own cluster parts."""
    spread = (sizes > 1).any()
    cluster, own = (item / 2, own) if spread else (0.0, 0.0)
    shared = np.repeat(rng.normal(size=len(sizes)), sizes) * np.sqrt(cluster)
    shared += rng.normal(size=sizes.sum()) * np.sqrt(item - cluster)
    columns = []
    for rate in rates:
        latent = shared + np.repeat(rng.normal(size=len(sizes)), sizes) * np.sqrt(own)
        latent += rng.normal(size=sizes.sum()) * np.sqrt(1 - item - own)
        columns.append((latent < ndtri(rate)).astype(float))
    return tuple(columns)


class Plain(NamedTuple):
    """The ends of a method that is not ours."""

    low: float
    high: float


def normal_interval(values: NDArray[np.float64], cluster: Sizes | None) -> Plain:
    """Return the mean +- 1.96 uncorrected cluster-robust standard errors, as in Miller 2024, section 2."""
    codes = np.arange(len(values)) if cluster is None else cluster
    sums = np.bincount(codes, weights=values - values.mean())
    half = float(ndtri(0.975) * np.sqrt(np.square(sums).sum()) / len(values))
    return Plain(float(values.mean()) - half, float(values.mean()) + half)


@dataclass(frozen=True)
class Cell:
    """One scenario: `design` names the cluster sizes, `statistic` the maker, `rates` one or two true rates."""

    statistic: str
    design: str
    n: int
    rates: tuple[float, ...] = (0.9,)

    @property
    def truth(self) -> float:
        if self.statistic == "paired":
            return self.rates[0] - self.rates[1]
        return np.exp(0.5) if self.statistic == "mean" else self.rates[0]

    def draw(self, rng: np.random.Generator, sizes: Sizes) -> tuple[NDArray[np.float64], ...]:
        if self.statistic == "paired":
            return answers(rng, sizes, (self.rates[0], self.rates[1]), 0.5, 0.1)
        if self.statistic == "mean":
            cluster = np.repeat(rng.normal(size=len(sizes)), sizes) * np.sqrt(0.2)
            return (np.exp(0.8 * (cluster + rng.normal(size=sizes.sum()) * np.sqrt(0.8))) * np.exp(0.5 - 0.32),)
        return (binary(rng, sizes, self.rates[0], 0.4 if self.design == RUNS else 0.2),)

    def interval(self, columns: tuple[NDArray[np.float64], ...], cluster: Sizes | None) -> Interval | Plain:
        if self.design == RUNS:  # averaged item by item before anything else, as in a run
            columns, cluster = tuple(column.reshape(self.n, -1).mean(axis=1) for column in columns), None
            if self.statistic == "paired":
                return paired_difference(columns[0], columns[1], binary=True)
        if self.statistic == "paired":
            return paired_difference(columns[0], columns[1], cluster)
        if self.statistic == "rate, clusters ignored":
            return rate_interval(columns[0])
        if self.statistic == "rate, normal on CR0":
            return normal_interval(columns[0], cluster)
        return (mean_interval if self.statistic == "mean" else rate_interval)(columns[0], cluster)

    def simulate(self, simulations: int, seed: int) -> tuple[float, float]:
        """Return the share of intervals that hold the truth, and their mean width."""
        rng = np.random.default_rng([seed, self.n])
        sizes = np.full(self.n, LARGE) if self.design == "few large clusters" else SIZES[self.design](self.n)
        cluster = None if self.design == "iid" else np.repeat(np.arange(len(sizes)), sizes)
        hits, width = 0, 0.0
        for _ in range(simulations):
            found = self.interval(self.draw(rng, sizes), cluster)
            hits += found.low <= self.truth <= found.high
            width += found.high - found.low
        return hits / simulations, width / simulations


BARRED = [
    *(("rate", design, (0.9,)) for design in SIZES),
    *(("paired", design, rates) for design in SIZES for rates in ((0.9, 0.9), (0.9, 0.85))),
]
SHOWN = [
    *(("rate", design, (0.97,)) for design in SIZES),
    *(("mean", design, ()) for design in ("iid", "clusters of 5", "unequal clusters")),
    *((plain, "clusters of 5", (0.9,)) for plain in ("rate, clusters ignored", "rate, normal on CR0")),
]


def within(cell: Cell, share: float) -> bool:
    """Whether a cell's coverage is what its bar asks for."""
    exact = cell.statistic == "rate" and cell.design == "iid" and cell.n == 50
    return 0.93 <= share <= (0.975 if exact else 0.97)


def main(simulations: int) -> bool:
    print(f"{simulations} simulations a cell, nominal .95, Monte Carlo SE {np.sqrt(0.95 * 0.05 / simulations):.4f}")
    print("| statistic | design | true rates | n=50 | n=200 | n=1000 | 93-97 % |\n|---|---|---|---|---|---|---|")
    held = True
    for statistic, design, rates in [*BARRED, *SHOWN]:
        cells = [Cell(statistic, design, n, rates) for n in (50, 200, 1000)]
        figures = [cell.simulate(simulations, seed=1) for cell in cells]
        shown = " | ".join(f"{share:.3f} (width {width:.3f})" for share, width in figures)
        good = all(within(cell, share) for cell, (share, _) in zip(cells, figures, strict=True))
        bar = ("held" if good else "missed") if (statistic, design, rates) in BARRED else "no bar"
        held &= bar != "missed"
        names = " ".join(f"{r:g}" for r in rates) or "log-normal"
        print(f"| {statistic} | {design} | {names} | {shown} | {bar} |", flush=True)
    print("\n| paired difference, clusters of 50 | 5 | 6 | 8 | 93-98 % |\n|---|---|---|---|---|")
    for rates in ((0.5, 0.5), (0.9, 0.85)):
        few = [Cell("paired", "few large clusters", n, rates).simulate(simulations, seed=1)[0] for n in FEW]
        good = all(0.93 <= share <= 0.98 for share in few)
        held &= good
        shown = " | ".join(f"{share:.3f}" for share in few)
        print(f"| {rates[0]:g} {rates[1]:g} | {shown} | {'held' if good else 'missed'} |", flush=True)
    return held


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    sys.exit(0 if main(parser.parse_args().simulations) else 1)
