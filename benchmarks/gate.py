"""How often a gate passes when it must not, and when it should: python benchmarks/gate.py [--repetitions 1000].

Scores are rights and wrongs of the same items, which candidates find equally hard, alone or in groups of 5. `worse`: a
candidate is worse by exactly the margin, so at most 5 % may pass; of several such, the best on these items is tested.
`equal`: there is no difference, and at most 5 % may fail. `few`: 5 to 8 groups of 50 that differ in what they make
hard for one side. `breaks`: the candidate never fixes an item and breaks as many as the margin allows; alone, in groups
of 5 that break together, or in averages over 3 runs.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from coverage import answers

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
        found.append(ends(best, theirs, MARGIN, clusters, k))
    return {status: found.count(status) / repetitions for status in ("passed", "failed")}


def few_groups(n_groups: int, repetitions: int) -> list[float]:
    """Return the shares of passes when worse by the margin, and of failures when equal, in groups of 50."""
    draw, sizes = np.random.default_rng([SEED, n_groups]), np.full(n_groups, 50)
    clusters, shares = np.repeat(np.arange(n_groups), 50), []
    for loss, ending in ((MARGIN, "passed"), (0.0, "failed")):
        found = 0
        for _ in range(repetitions):
            ours, theirs = answers(draw, sizes, (0.5 - loss, 0.5), 0.4, 0.1)
            found += ends(ours, theirs, MARGIN, clusters) == ending
        shares.append(found / repetitions)
    return shares


def only_breaks(n: int, margin: float, kind: str, k: int, repetitions: int) -> float:
    """Return how often a candidate passes that breaks a share `margin` of the items and fixes none."""
    draw, found = np.random.default_rng([SEED, n, k]), 0
    groups = np.arange(n) // 5
    for _ in range(repetitions):
        if kind == "groups of 5":
            broken = (draw.random(n) < draw.beta(4 * margin, 4 * (1 - margin), n // 5)[groups]).astype(float)
        elif kind == "3 runs":
            broken = draw.binomial(3, draw.beta(1.5 * margin, 1.5 * (1 - margin), n)) / 3
        else:
            broken = (draw.random(n) < margin).astype(float)
        found += ends(1 - broken, np.ones(n), margin, groups if kind == "groups of 5" else None, k) == "passed"
    return found / repetitions


def ends(ours: Any, theirs: Any, margin: float, clusters: np.ndarray | None, picked: int = 1) -> str:
    """Return how a gate ends."""
    metric = Metric("accuracy")
    return decide_gate(
        ours, theirs, metric, margin, candidate="b", against="a", clusters=clusters, picked=picked
    ).status


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
    print("\n| groups of 50, rate 50 % | worse: passed | equal: failed |\n|---:|---:|---:|")
    for n_groups in (5, 6, 8):
        passed, failed = few_groups(n_groups, repetitions)
        print(f"| {n_groups} | {100 * passed:.1f} % | {100 * failed:.1f} % |")
    print(
        "\n| only breaks | margin, points | items | passed, of 5 % | best of 4: passed, of 1.25 % |\n|---|"
        + "---:|" * 4
    )
    for kind in ("alone", "groups of 5", "3 runs"):
        for margin, n in ((0.05, 200), (0.05, 400), (0.05, 1000), (0.02, 400), (0.02, 1000)):
            shares = [only_breaks(n, margin, kind, k, repetitions) for k in (1, 4)]
            print(
                f"| {kind} | {100 * margin:g} | {n} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |"
            )


if __name__ == "__main__":
    main()
