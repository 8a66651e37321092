"""Peak memory of one run: rows x 3 candidates (zero, static8, knn8) through the evaluate chain, on an echo model.

    python benchmarks/memory.py [--rows 10000 20000 40000] [--flow]

Each size runs in a process of its own, the echo server in another. Shown is the process's highest RSS (VmHWM) less its
RSS once everything is imported. Bar: at most 150 MB at 10,000 rows of about 200 characters, and flat from there on.
`default` is our own split (a pool of 200 rows), `given` a split column with a pool of 2,000 rows. With --flow the
stages are Prefect tasks (the Prefect server is a process of its own and is not counted).
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

BAR_MB = 150
# Lazily imported by a run; imported before the first look, so that the figure is data, not code.
LIBRARIES = (
    *(
        "flows.evaluate",
        "aiohttp",
        "jinja2",
        "numpy",
        "openai",
        "pandas",
        "pyarrow.compute",
        "pyarrow.csv",
        "pyarrow.dataset",
    ),
    *("pyarrow.parquet", "scipy.sparse.csgraph", "scipy.special", "scipy.stats", "sqlite3", "yaml"),
    *("sklearn.feature_extraction.text", "safetycatch.calls.transports.direct"),
)
SERVER = "from safetycatch.sandbox import SandboxSettings, serve; serve(SandboxSettings())"
EXPERIMENT = """
data: {path: rows.parquet, id: id, input: text, target: label}
task: classify
SPLIT
defaults: {prompt: ask.md, model: {endpoint: echo, model: echo}, params: {temperature: 0, max_tokens: 20}}
candidates:
  - {id: zero}
  - {id: static8, shots: {select: static, k: 8}}
  - {id: knn8, shots: {select: knn, k: 8}}
claim: {metric: accuracy, smallest_effect: 3 points}
budget: {usd: 5, calls: 1000000}
prices: {echo/echo: {input_per_m: 0, output_per_m: 0}}
"""
PROMPT = "Answer with one of these labels and nothing else:\n{% for label in labels %}\n- {{ label }}\n{% endfor %}\n"


def write_data(path: Path, n: int, pool: int) -> None:
    """Write `n` texts of about 200 characters, each four Banking77 messages; the first `pool` of them are train."""
    import numpy as np
    import pandas as pd

    source = Path(__file__).parents[2] / "shared" / "data" / "banking77" / "banking77.parquet"
    messages = pd.read_parquet(source)
    rng = np.random.default_rng(1)
    picked = rng.integers(len(messages), size=(n, 4))
    texts, labels = messages.text.to_numpy(str), messages.label.to_numpy(str)
    frame = pd.DataFrame(
        {
            "id": [f"r{row:06}" for row in range(n)],
            "text": [" ".join(texts[row]) for row in picked],
            "label": labels[picked[:, 0]],
            "split": ["train"] * pool + ["test"] * (n - pool),
        }
    )
    frame.to_parquet(path, index=False)


def status(field: str) -> float:
    """Return a field of this process's memory in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(field)


def measure(path: Path, *, as_flow: bool) -> dict[str, Any]:
    """Run an experiment in this process; return its memory in MB, and how long it took."""
    for name in LIBRARIES:
        importlib.import_module(name)
    from flows.chain import as_function
    from flows.evaluate import evaluate, run_experiment

    if as_flow:
        _empty_flow()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from here
    began = time.monotonic()
    if as_flow:
        result = evaluate(str(path), unattended=False)
    else:
        result = run_experiment(path, call=as_function, unattended=False)
    return {
        "before": before,
        "peak": status("VmHWM"),
        "after": status("VmRSS"),
        "calls": result["calls"]["sent"],
        "wall_s": time.monotonic() - began,
        "cpu_s": time.process_time(),
    }


def _empty_flow() -> None:
    """Run a flow without work: starts the server and imports what Prefect imports late."""
    from prefect import flow, task

    flow(task(lambda: 0, name="nothing"), name="empty")()


def child(folder: Path, url: str, *, as_flow: bool) -> dict[str, Any]:
    environment = {**os.environ, "SAFETYCATCH_ENDPOINT_ECHO": url, "SAFETYCATCH_STORE": str(folder / "store")}
    environment |= {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_LOGGING_LEVEL": "ERROR"}
    words = [sys.executable, __file__, "--measure", str(folder / "x.yaml"), *(["--flow"] if as_flow else [])]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 20_000, 40_000])
    parser.add_argument("--flow", action="store_true")
    parser.add_argument("--split", choices=["default", "given"], nargs="+", default=["default", "given"])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, as_flow=options.flow)))
        return
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        print("| split | rows | calls | imported, MB | highest, MB | run, MB | MB a 1,000 rows | wall, s | load |")
        print("|---|---|---|---|---|---|---|---|---|")
        for split, pool in (("default", 0), ("given", 2000)):
            last = None
            for n in options.rows if split in options.split else []:
                with tempfile.TemporaryDirectory(prefix="memory-") as name:
                    folder = Path(name)
                    write_data(folder / "rows.parquet", n, pool)
                    (folder / "ask.md").write_text(PROMPT)
                    given = "split: {column: split}" if pool else ""
                    (folder / "x.yaml").write_text(EXPERIMENT.replace("SPLIT", given))
                    found = child(folder, url, as_flow=options.flow)
                own = found["peak"] - found["before"]
                slope = "—" if last is None else f"{1000 * (own - last[1]) / (n - last[0]):.1f}"
                last = (n, own)
                cells = [f"{found['before']:.0f}", f"{found['peak']:.0f}", f"**{own:.0f}**", slope]
                cells += [f"{found['wall_s']:.0f}", f"{os.getloadavg()[0]:.1f}"]
                print(f"| {split} | {n:,} | {found['calls']:,} | " + " | ".join(cells) + " |", flush=True)
    finally:
        server.terminate()
        server.wait()
    print(f"bar: {BAR_MB} MB at 10,000 rows, and flat from there on")


if __name__ == "__main__":
    main()
