"""How often a whole run says BETTER among equals: split, race on dev, choice, test, verdict, as a user runs it.

    python benchmarks/false_better_runs.py [--runs 400] [--workers 2] [--k 1,4,16]

Each run has a store, rows and candidates of its own: 400 rows in groups of 1 to 10, functions that are right with the
same chance and agree in part, a third of the rows for the race. With one candidate there is nothing to race. A second
column has no ladder: all candidates meet on test.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from coverage import answers, unequal_sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

N_ROWS, RATE = 400, 0.7
WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "lmnrst"]


def written(folder: Path, k: int, seed: int, *, ladder: bool) -> Path:
    """Write rows and the experiment; make the module `equals` that answers for its candidates."""
    rng, sizes = np.random.default_rng([seed, k]), unequal_sizes(N_ROWS)
    columns = answers(rng, sizes, (RATE,) * (k + 1), 0.5, 0.1)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    texts = [" ".join(rng.choice(WORDS, 9)) for _ in range(N_ROWS)]
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label", "group"])
        for row in range(N_ROWS):
            writer.writerow([f"R{row}", texts[row], "yes" if row % 2 else "no", f"g{groups[row]}"])
    module = ModuleType("equals")
    for number, column in enumerate(columns):
        setattr(module, f"c{number}", answering(column))
    sys.modules["equals"] = module
    experiment: dict[str, Any] = {
        "data": {"path": "rows.csv", "id": "id", "input": "text", "target": "label", "group": "group"},
        "task": "classify",
        "split": {"dev": 0.4, "test": 0.6, "seed": seed},
        "candidates": [{"id": f"c{number}", "call": f"equals:c{number}", "max_cost_usd": 0} for number in range(k + 1)],
        "claim": {"metric": "accuracy", "smallest_effect": "3 points"},
        "runs": {"ladder": [60, "all"]} if ladder else {},
        "budget": {"usd": 1, "calls": 100_000},
    }
    (folder / "safetycatch.yaml").write_text("")
    (folder / "equals.json").write_text(json.dumps(experiment))
    return folder / "equals.json"


def answering(column: NDArray[np.float64]) -> Callable[[dict[str, str]], str]:
    def answer(row: dict[str, str]) -> str:
        number = int(row["example_id"][1:])
        return "yes" if bool(number % 2) == bool(column[number]) else "no"

    return answer


def says_better(cell: tuple[int, bool, int]) -> bool:
    """Return whether any verdict of one run is BETTER."""
    from flows.chain import as_function
    from flows.evaluate import run_experiment

    k, ladder, seed = cell
    with tempfile.TemporaryDirectory() as name:
        path = written(Path(name), k, seed, ladder=ladder)
        result = run_experiment(path, call=as_function)
    against = [row for row in result["comparisons"] if row["baseline"] == "c0"]
    return any(row["verdict"] == "BETTER" for row in against)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--k", default="1,4,16")
    options = parser.parse_args()
    error = math.sqrt(0.05 * 0.95 / options.runs)
    print(f"{options.runs} whole runs a cell; bar .05 + Monte Carlo error (SE {error:.4f})")
    print("| equal candidates | race on dev, then test | all on test, Holm |\n|---|---|---|")
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for k in map(int, options.k.split(",")):
            shares = []
            for ladder in (True, False):
                cells = [(k, ladder, seed) for seed in range(options.runs)]
                shares.append("-" if ladder and k == 1 else f"{np.mean(list(pool.map(says_better, cells))):.4f}")
            print(f"| {k} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
