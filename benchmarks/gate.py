"""How often a gate passes when it must not, and when it should: python benchmarks/gate.py [--repetitions 1000].

Scores are rights and wrongs of the same items, which candidates find equally hard, alone or in groups of 5. `worse`: a
candidate is worse by exactly the margin, so at most 5 % may pass; of several such, the best on these items is tested.
`equal`: there is no difference, and at most 5 % may fail.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from safetycatch.results.comparing import Metric
from safetycatch.results.gate import decide_gate

MARGIN, RATE, SEED = 0.05, 0.8, 1


def right(draw: np.random.Generator, groups: np.ndarray, rates: list[float]) -> list[Any]:
    """Return rights and wrongs of candidates that are right at these rates."""
    from scipy.stats import norm

    alone = len(set(groups.tolist())) == len(groups)
    shared = np.sqrt(0.4) * draw.normal(size=len(groups))
    shared += np.sqrt(0.0 if alone else 0.2) * draw.normal(size=groups.max() + 1)[groups]
    own = np.sqrt(0.6 if alone else 0.4)
    return [(shared + own * draw.normal(size=len(groups)) < norm.ppf(rate)).astype(float) for rate in rates]


def endings(n: int, size: int, loss: float, k: int, repetitions: int) -> dict[str, float]:
    """Return how often gates over `n` items in groups of `size` end how, for the best of `k` that lose `loss`."""
    draw, groups = np.random.default_rng(SEED), np.repeat(np.arange(-(-n // size)), size)[:n]
    found: list[str] = []
    for _ in range(repetitions):
        theirs, *candidates = right(draw, groups, [RATE, *[RATE - loss] * k])
        best = max(candidates, key=np.mean)
        clusters = groups if size > 1 else None
        gate = decide_gate(
            best, theirs, Metric("accuracy"), MARGIN, candidate="b", against="a", clusters=clusters, picked=k
        )
        found.append(gate.status)
    return {status: found.count(status) / repetitions for status in ("passed", "failed")}


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--repetitions", type=int, default=1000)
    repetitions = arguments.parse_args().repetitions
    print(f"margin {100 * MARGIN:g} points, baseline {100 * RATE:g} %, {repetitions:,} gates a cell\n")
    print("| items | in groups of | best of | worse: passed | failed | equal: passed | failed |")
    print("|---:" * 7 + "|")
    for n in (50, 200, 1000):
        for size in (1, 5):
            for k in (1, 4, 16):
                worse, equal = (endings(n, size, loss, k, repetitions) for loss in (MARGIN, 0.0))
                shown = [worse["passed"], worse["failed"], equal["passed"], equal["failed"]]
                print(f"| {n} | {size} | {k} | " + " | ".join(f"{100 * share:.1f} %" for share in shown) + " |")


if __name__ == "__main__":
    main()
