"""The bench's advice where the best strategy is truly far ahead, and SC902 where examples truly move the score or not.

python benchmarks/fewshot_advice.py [--repetitions 200]      (a minute)

Advice: right or wrong answers of correlated strategies, `knn8` truly 8 points ahead (four bands of 2) of one or four
simpler ones. SC902: four variants on 300 items, their true rates normal around 70 %. Bar, exit code 1: with 500 rows
or more a simpler one is advised in 2 % at most; SC902 fires in 5 % at most where variants do not differ at all, and
passes in 5 % at most where two standard deviations exceed the gain.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from scipy.special import ndtri

from safetycatch.catches import Policy
from safetycatch.catches.fewshot import Move, shots_are_steady
from safetycatch.results.advice import advise
from safetycatch.results.bench import Tried, bench_rows
from safetycatch.results.comparing import Metric
from safetycatch.results.spread import spread
from safetycatch.settings import ShotSettings

ACCURACY, BAND, AHEAD, RATE = Metric("accuracy"), 0.02, 0.08, 0.75
FIXED = ("static", "random", "diverse")
# True standard deviation between variants, and the gain.
SPREADS = ((0.0, 0.03), (0.01, 0.03), (0.02, 0.03), (0.03, 0.03), (0.05, 0.05), (0.01, 0.1), (0.01, 0.2))


def answers(draw: np.random.Generator, rates: np.ndarray, n: int, shared: float) -> np.ndarray:
    """Return right or wrong answers, a row a rate; `shared` is how much of an item's difficulty all have in common."""
    hard = np.sqrt(shared) * draw.normal(size=n)
    return (hard + np.sqrt(1 - shared) * draw.normal(size=(len(rates), n)) < ndtri(rates)[:, None]).astype(float)


def tried(shots: ShotSettings, scores: np.ndarray) -> Tried:
    per_call = [np.full(len(scores), value) for value in (0.001 + 0.0001 * shots.k, 100.0, 0.0, 0.1)]
    return Tried(shots.name, shots, scores, np.ones(len(scores), bool), *per_call)


def passed_over(draw: np.random.Generator, n: int, n_simpler: int, repetitions: int) -> tuple[float, float]:
    """Return how often a simpler strategy is advised, and how often one whose 95 % interval excludes 'as good'."""
    fixed = [ShotSettings(select=FIXED[at % 3], k=2 + at) for at in range(n_simpler - 1)]
    shots = [ShotSettings(), *fixed, ShotSettings(select="knn", k=8)]
    rates = np.array([RATE - AHEAD] * n_simpler + [RATE])
    taken = worse = 0
    for _ in range(repetitions):
        all_tried = [tried(*one) for one in zip(shots, answers(draw, rates, n, 0.5), strict=True)]
        found = advise(all_tried, bench_rows(all_tried, "zero", ACCURACY), "zero", BAND, ACCURACY)
        if found is not None and found.candidate != "knn8":
            taken += 1
            worse += found.behind is not None and found.behind.high < 0
    return taken / repetitions, worse / repetitions


def seen(draw: np.random.Generator, sd: float, gain: float, repetitions: int) -> dict[str, float]:
    """Return how often SC902 fires, passes and cannot tell."""
    counts = {"fired": 0, "not_checked": 0, "passed": 0}
    for _ in range(repetitions):
        rates = np.clip(0.7 + sd * draw.normal(size=4), 0.001, 0.999)
        move = Move(spread("static8", "seed", answers(draw, rates, 300, 0.7)), gain, "zero")
        counts[shots_are_steady(moves=[move], reason="", unit="points", policy=Policy()).seen] += 1
    return {name: count / repetitions for name, count in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200, help="benches a row; SC902 five times as many")
    repetitions, missed = parser.parse_args().repetitions, list[str]()
    print("| simpler ones | dev rows | one of them advised | and shown to be worse |\n| --- | --- | --- | --- |")
    for n_simpler in (1, 4):
        for n in (200, 300, 500, 1000):
            taken, worse = passed_over(np.random.default_rng([n, n_simpler]), n, n_simpler, repetitions)
            print(f"| {n_simpler} | {n:,} | {taken:.1%} | {worse:.1%} |", flush=True)
            missed += [f"advice at {n} rows {taken:.1%}"] * (n >= 500 and taken > 0.02)
    print("\n| true SD | gain | 2 SD exceed it | fired | cannot tell | passed |\n| --- | --- | --- | --- | --- | --- |")
    for at, (sd, gain) in enumerate(SPREADS):
        found = seen(np.random.default_rng([902, at]), sd, gain, 5 * repetitions)
        exceeds = 2 * sd > gain
        cells = " | ".join(f"{share:.1%}" for share in found.values())
        print(f"| {100 * sd:g} | {100 * gain:g} points | {'yes' if exceeds else 'no'} | {cells} |", flush=True)
        missed += [f"SC902 passes {found['passed']:.1%}"] * (exceeds and found["passed"] > 0.05)
        missed += [f"SC902 fires {found['fired']:.1%}"] * (sd == 0 and found["fired"] > 0.05)
    print(f"bars missed: {', '.join(missed)}" if missed else "bars met")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
