"""How often a verdict says BETTER where nothing is: equal candidates, and a gain too small for the items.

python benchmarks/false_better.py [simulations]      (1,000 a cell by default, about four minutes)
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmarks.coverage import answers, unequal_sizes
from safetycatch.results.comparing import Metric, compare_all
from safetycatch.results.matrix import Items, ScoreMatrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_ITEMS = 300  # in 70 clusters of 1 to 10
SMALL_N = 150
LARGE = np.full(7, 100)  # clusters
METRIC = Metric("accuracy")


def matrix_of(columns: tuple[NDArray[np.float64], ...], clusters: NDArray[np.intp]) -> ScoreMatrix:
    """Return the first column as the baseline `base`, the others as `c0`, `c1`, …"""
    names = ("base", *(f"c{number}" for number in range(len(columns) - 1)))
    ids = tuple(f"e{number}" for number in range(len(clusters)))
    nothing = np.full(len(ids), None, dtype=object)
    items = Items(ids, clusters.astype(object), {}, nothing, nothing)
    values = {(name, METRIC.name): column[:, None] for name, column in zip(names, columns, strict=True)}
    return ScoreMatrix(items, names, (METRIC.name,), values)


def any_better(matrix: ScoreMatrix, correction: Literal["holm", "max_t"], seed: int) -> bool:
    found = compare_all(
        matrix, "base", matrix.candidates[1:], [METRIC], smallest_effect=0.01, correction=correction, seed=seed
    )
    return any(verdict.kind == "BETTER" for verdict in found.verdicts.values())


def equals(k: int, rate: float, simulations: int) -> list[float]:
    """Return the share of simulations with any BETTER among k candidates as good as the baseline: Holm, max-T."""
    sizes, rng = unequal_sizes(N_ITEMS), np.random.default_rng([k, round(10 * rate)])
    clusters, hits = np.repeat(np.arange(len(sizes)), sizes), np.zeros(2)
    for seed in range(simulations):
        matrix = matrix_of(answers(rng, sizes, (rate,) * (k + 1), 0.5, 0.1), clusters)
        hits += [any_better(matrix, "holm", seed), any_better(matrix, "max_t", seed)]
    return (hits / simulations).tolist()


def few_large(simulations: int) -> float:
    """Return the share of BETTER of one candidate as good as the baseline over 7 clusters of 100 items, rate .7."""
    rng, clusters, hits = np.random.default_rng(7), np.repeat(np.arange(len(LARGE)), LARGE), 0
    for seed in range(simulations):
        hits += any_better(matrix_of(answers(rng, LARGE, (0.7, 0.7), 0.4, 0.2), clusters), "holm", seed)
    return hits / simulations


def small_gain(rate: float, simulations: int) -> dict[str, float]:
    """Return the share of each verdict on a candidate that is truly 0.8 points better, over 150 items."""
    rng, sizes = np.random.default_rng([150, round(10 * rate)]), np.ones(SMALL_N, dtype=np.intp)
    counts: dict[str, float] = {}
    for _ in range(simulations):
        matrix = matrix_of(answers(rng, sizes, (rate, rate + 0.008), 0.5, 0.1), np.arange(SMALL_N))
        kind = compare_all(matrix, "base", ["c0"], [METRIC], smallest_effect=0.03).verdicts["c0"].kind
        counts[kind] = counts.get(kind, 0) + 1
    return {kind: count / simulations for kind, count in sorted(counts.items())}


def main(simulations: int) -> None:
    error = np.sqrt(0.05 * 0.95 / simulations)
    print(
        f"{simulations:,} simulations a cell, {N_ITEMS} items in unequal clusters, Monte Carlo SE of .05: {error:.4f}"
    )
    print("| equal candidates | rate | any BETTER, Holm | any BETTER, max-T |\n|---|---|---|---|")
    for k in (1, 4, 16):
        for rate in (0.5, 0.9):
            holm, sharp = equals(k, rate, simulations)
            print(f"| {k} | {rate:g} | {holm:.4f} | {sharp:.4f} |", flush=True)
    print(f"1 equal candidate over {len(LARGE)} clusters of {LARGE[0]}, rate 0.7: {few_large(simulations):.4f}")
    print(f"\na true gain of 0.8 points over {SMALL_N} items, smallest effect 3 points")
    for rate in (0.5, 0.7, 0.9):
        shares = ", ".join(f"{kind} {share:.4f}" for kind, share in small_gain(rate, simulations).items())
        print(f"rate {rate:g}: {shares}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
