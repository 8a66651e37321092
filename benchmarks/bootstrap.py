"""The cluster bootstrap: time, extra memory and ratio to scipy, 10,000 resamples, clusters of 10.

python benchmarks/bootstrap.py [rounds]      (3 by default, about a minute; scipy gets the cluster sums)
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.stats import cluster_bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RESAMPLES, SIZE = 10_000, 10
ITEMS = (10_000, 100_000)


def values(n: int, kind: str) -> NDArray[np.float64]:
    """Return right/wrong or graded scores of n items in clusters of 10, intra-cluster correlation about .2."""
    rng = np.random.default_rng(n)
    n_columns = 16 if kind.startswith("16") else 1
    rates = rng.beta(3, 1, (n // SIZE, 1, n_columns))
    if kind.endswith("right/wrong"):
        return (rng.random((n // SIZE, SIZE, n_columns)) < rates).astype(float).reshape(n, n_columns)
    return (rates + rng.normal(0, 0.3, (n // SIZE, SIZE, n_columns))).reshape(n, n_columns)


def ours(x: NDArray[np.float64], method: str) -> float:
    return (
        cluster_bootstrap(x, np.repeat(np.arange(len(x) // SIZE), SIZE), RESAMPLES, seed=1, method=method)
        .intervals[0]
        .low
    )


def theirs(x: NDArray[np.float64], method: str) -> float:
    from scipy.stats import bootstrap

    sums = x.reshape(len(x) // SIZE, SIZE, -1).sum(axis=1)
    named = {"bca": "BCa", "percentile": "percentile"}[method]
    settings = {"n_resamples": RESAMPLES, "batch": 100, "method": named, "rng": np.random.default_rng(1)}
    return min(float(bootstrap((column,), np.mean, **settings).confidence_interval.low) / SIZE for column in sums.T)


def seconds(work: Callable[[NDArray[np.float64], str], float], x: NDArray[np.float64], method: str) -> float:
    began = time.perf_counter()
    work(x, method)
    return time.perf_counter() - began


def extra_memory(n: int, kind: str, method: str) -> float:
    """Return by how many MB the highest RSS grew during one call, in a process of its own."""
    code = f"import benchmarks.bootstrap as b; print(b.grown({n}, {kind!r}, {method!r}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(found.stdout)


def grown(n: int, kind: str, method: str) -> float:
    x = values(n, kind)
    ours(x[:1000], method)  # imports
    Path("/proc/self/clear_refs").write_text("5")  # the highest RSS starts again from here (Linux)
    before = highest_rss()
    ours(x, method)
    return highest_rss() - before


def highest_rss() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main(rounds: int) -> None:
    print(f"{RESAMPLES:,} resamples, clusters of {SIZE}, median of {rounds} alternating rounds")
    print("| scores | method | items | safetycatch | extra memory | scipy, batch=100, cluster sums | ratio |")
    print("|---|---|---|---|---|---|---|")
    for kind in ("right/wrong", "graded", "16 columns, right/wrong"):
        for method in ("percentile", "bca"):
            for n in ITEMS:
                x = values(n, kind)
                ours(x[:1000], method), theirs(x[:1000], method)
                pairs = [(seconds(ours, x, method), seconds(theirs, x, method)) for _ in range(rounds)]
                own, other = (median(side) for side in zip(*pairs, strict=True))
                memory, ratio = extra_memory(n, kind, method), other / own
                figures = f"{own:.3f} s | {memory:.0f} MB | {other:.2f} s | {ratio:.1f}x"
                print(f"| {kind} | {method} | {n:,} | {figures} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
