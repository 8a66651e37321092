"""A run of 100,000 calls through the whole chain: does memory grow while it calls?

    python -m benchmarks long_run [--calls 100000] [--flow]

33,334 rows of about 200 characters x 3 candidates on an echo server of its own. Shown is the process's RSS each time
another tenth is answered. Bar: flat, i.e. no tenth above 1.10 times the first.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.memory import EXPERIMENT, LIBRARIES, PROMPT, SERVER, status, write_data

BAR = 1.10
N_CANDIDATES = 3


def measure(path: Path, n_calls: int, *, as_flow: bool) -> dict[str, Any]:
    """Run an experiment in this process; return its RSS in MB at every tenth of the calls."""
    for name in LIBRARIES:
        importlib.import_module(name)
    from flows.chain import as_function
    from flows.evaluate import evaluate, run_experiment
    from tasks.session import WATCHER, Watcher

    seen: list[float] = []
    done: dict[str, int] = {}
    ended = 0

    def progress(label: str, snapshot: Any) -> None:
        nonlocal ended
        if snapshot.done < done.get(label, 0):
            ended += done[label]
        done[label] = snapshot.done
        while ended + sum(done.values()) >= (len(seen) + 1) * n_calls / 10:
            seen.append(status("VmRSS"))

    WATCHER.set(Watcher(progress=progress))
    began = time.monotonic()
    if as_flow:
        result = evaluate(str(path), unattended=False)
    else:
        result = run_experiment(path, call=as_function, unattended=False)
    return {
        "rss": seen,
        "peak": status("VmHWM"),
        "sent": result["calls"]["sent"],
        "errors": result["calls"]["errors"],
        "wall_s": time.monotonic() - began,
        "cpu_s": time.process_time(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--flow", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.calls, as_flow=options.flow)))
        return
    n = -(-options.calls // N_CANDIDATES)
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        with tempfile.TemporaryDirectory(prefix="long-run-") as name:
            folder = Path(name)
            pool = 200
            write_data(folder / "rows.parquet", n + pool, pool)
            (folder / "ask.md").write_text(PROMPT)
            (folder / "x.yaml").write_text(EXPERIMENT.replace("SPLIT", "split: {column: split}"))
            environment = {**os.environ, "SAFETYCATCH_ENDPOINT_ECHO": url, "SAFETYCATCH_STORE": str(folder / "store")}
            environment |= {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_LOGGING_LEVEL": "ERROR"}
            words = [sys.executable, "-m", "benchmarks.long_run", "--measure", str(folder / "x.yaml")]
            words += ["--calls", str(N_CANDIDATES * n), *(["--flow"] if options.flow else [])]
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        found = json.loads(done.stdout.strip().splitlines()[-1])
    finally:
        server.terminate()
        server.wait()
    print(f"{found['sent']:,} calls, {found['errors']} errors, {found['wall_s']:.0f} s, {found['cpu_s']:.0f} s CPU")
    print("| answered | " + " | ".join(f"{10 * (tenth + 1)} %" for tenth in range(len(found["rss"]))) + " | peak |")
    print("|---" * (len(found["rss"]) + 2) + "|")
    print("| RSS, MB | " + " | ".join(f"{rss:.0f}" for rss in found["rss"]) + f" | {found['peak']:.0f} |")
    worst = max(found["rss"]) / found["rss"][0]
    print(f"highest tenth / first: {worst:.2f} (bar {BAR:.2f}) {'ok' if worst <= BAR else 'MISSED'}")


if __name__ == "__main__":
    main()
