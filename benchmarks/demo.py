"""The demo as `make demo` runs it: wall time of a first and a second run, and what `--help` and the import cost.

    python benchmarks/demo.py [--rounds 3]

Every round has a fresh store and a fresh Prefect home, so the first run includes the start of a new Prefect server.
Bars: first run at most 60 s; second run, which sends nothing, at most 20 s; `safetycatch --help` and
`import safetycatch` at most 0.3 s of CPU each. Best of the rounds, since other work on the machine only adds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def timed(words: list[str], environment: dict[str, str] | None = None) -> tuple[float, float, str]:
    """Return wall and CPU seconds of a command, its children included, and what it printed on stdout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def demo(environment: dict[str, str]) -> tuple[float, float, int, str]:
    """Return wall and CPU seconds, requests sent, and the verdict of the demo's command."""
    words = [str(BIN / "safetycatch"), "run", "experiments/demo.yaml", "--json"]
    wall, cpu, printed = timed(words, environment)
    result = json.loads(printed)
    return wall, cpu, result["calls"]["sent"], result["verdict"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    first: list[tuple[float, float, int, str]] = []
    second: list[tuple[float, float, int, str]] = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="demo-") as folder:
            fresh = {"SAFETYCATCH_STORE": f"{folder}/store", "PREFECT_HOME": f"{folder}/prefect"}
            first.append(demo(fresh))
            second.append(demo(fresh))
    python = str(BIN / "python")
    small = {
        "safetycatch --help": min(timed([str(BIN / "safetycatch"), "--help"])[1] for _ in range(7)),
        "import safetycatch": min(timed([python, "-c", "import safetycatch"])[1] for _ in range(7)),
        "python -c pass": min(timed([python, "-c", "pass"])[1] for _ in range(7)),
    }
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; best of {options.rounds} rounds\n")
    print("| | wall, s | bar | CPU, s | requests | all rounds: wall, s |\n|---|---|---|---|---|---|")
    for name, bar, rounds in (("first run", 60, first), ("second run", 20, second)):
        wall, cpu, sent, _ = min(rounds)
        listed = " ".join(f"{found[0]:.1f}" for found in rounds)
        print(f"| {name} | {wall:.1f} | {bar} | {cpu:.1f} | {sent} | {listed} |")
    for name, cpu in small.items():
        print(f"| {name} | | 0.3 of CPU | {cpu:.2f} | | |")
    ok = min(first)[0] <= 60 and min(second)[0] <= 20 and all(found[2] == 0 for found in second)
    ok &= small["safetycatch --help"] <= 0.3 and small["import safetycatch"] <= 0.3
    print(f"\nverdict {first[0][3]}; the bars are {'held' if ok else 'MISSED'}")


if __name__ == "__main__":
    main()
