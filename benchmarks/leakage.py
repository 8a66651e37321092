"""Wall time, rows per second and peak memory of the exact near-duplicate joins, one process a case (Linux).

`python benchmarks/leakage.py [--data DIR]` prints a table. Banking77 and the IRC and GSM8K texts are read from DIR; the
10k and 100k corpora are 36-word windows of these texts, 3 % of them copies with up to five characters changed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from safetycatch.data.similarity import near_pairs, near_pairs_between

CASES = {
    "banking77 test x train": (None, 0.8),
    "banking77 test x train ": (None, 0.6),
    "self-join 10k": (10_000, 0.8),
    "self-join 10k ": (10_000, 0.6),
    "self-join 100k": (100_000, 0.8),
}


def windows(data: Path, n_rows: int) -> list[str]:
    rng = np.random.default_rng(0)
    messages = pq.read_table(data / "irc_threads/messages.parquet", columns=["text"])["text"].to_pylist()
    items = pq.read_table(data / "gsm8k/items.parquet", columns=["question", "answer"]).to_pydict()
    words = " ".join([*messages, *items["question"], *items["answer"]]).split()
    texts = [" ".join(words[place : place + 36]) for place in range(0, len(words) - 36, 36)]
    while len(texts) < n_rows:
        a, b = rng.integers(0, len(words) - 20, 2)
        texts.append(" ".join(words[a : a + 18] + words[b : b + 18]))
    texts = [texts[place] for place in rng.permutation(len(texts))[: int(0.97 * n_rows)]]
    while len(texts) < n_rows:
        copy = list(texts[rng.integers(len(texts))])
        for place in rng.integers(0, len(copy), rng.integers(0, 6)):
            copy[place] = "x"
        texts.append("".join(copy))
    return texts


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(case: str, data: Path) -> dict[str, float]:
    n_rows, threshold = CASES[case]
    if n_rows is None:
        rows = pq.read_table(data / "banking77/banking77.parquet").to_pydict()
        sides = {
            which: [text for text, split in zip(rows["text"], rows["split"], strict=True) if split == which]
            for which in ("test", "train")
        }
    else:
        sides = {"rows": windows(data, n_rows)}
    near_pairs(["a", "b"], 0.8)  # imports are not the join
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of making the texts
    before, start = peak_mib(), time.perf_counter()
    found = near_pairs(sides["rows"], threshold) if n_rows else near_pairs_between(*sides.values(), threshold)
    wall = time.perf_counter() - start
    total = sum(map(len, sides.values()))
    return {"threshold": threshold, "rows": total, "pairs": len(found.left), "wall_s": wall, "rows_per_s": total / wall,
            "peak_mib": peak_mib(), "extra_mib": peak_mib() - before}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--case", choices=CASES)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case, arguments.data)))
        return
    print(f"{'case':28}{'J':>5}{'rows':>9}{'pairs':>8}{'wall s':>9}{'rows/s':>10}{'peak MiB':>10}{'extra MiB':>11}")
    for case in CASES:
        command = [sys.executable, __file__, "--data", str(arguments.data), "--case", case]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"{case:28}{found['threshold']:5.1f}{found['rows']:9,}{found['pairs']:8,}{found['wall_s']:9.2f}"
            f"{found['rows_per_s']:10,.0f}{found['peak_mib']:10,.0f}{found['extra_mib']:11,.0f}"
        )


if __name__ == "__main__":
    main()
