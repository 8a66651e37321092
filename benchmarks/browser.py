"""The row browser over a large stored run: does every page come within a second, cold and warm?

    python -m benchmarks browser [--items 33334 100000] [--candidates 3]

Writes a run through the store's own interface (inputs of about 200 characters, outputs of about 400, verdicts with
critiques of about 100, eight metrics, slices, leaked pairs), then asks a fresh process for pages over loopback HTTP.
Each page is asked for twice: cold is the first time, when the texts that it needs are not decoded yet. The start of the
process (imports, opening and hashing the tables) ends when its link is printed. Bar: 1 s a page, at 100,000 rows, on an
otherwise quiet machine; processor time says what it was on a busy one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from safetycatch.store import Ref, Store

BAR_S = 1.0
METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "cost_usd", "latency_s", "latency_p50", "latency_p95")
LABELS = ("delivery", "refund", "login", "invoice", "cancel", "other")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def sentences(n: int, seed: int) -> list[str]:
    """Return `n` made-up sentences of about 100 characters."""
    import numpy as np

    rng = np.random.default_rng(seed)
    syllables = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "r", "st")]
    words = ["".join(rng.choice(syllables, size=rng.integers(1, 4))) for _ in range(4000)]
    return [" ".join(rng.choice(words, size=15)).capitalize() + ". " for _ in range(n)]


def texts(n: int, parts: int, seed: int) -> pa.Array:
    """Return `n` texts of `parts` sentences each."""
    import numpy as np
    import pyarrow as pa

    pool = sentences(5000, seed)
    picked = np.random.default_rng(seed).integers(len(pool), size=(n, parts)).tolist()
    return pa.array(["".join(pool[one] for one in row) for row in picked], pa.string())


def write_run(folder: Path, n: int, n_candidates: int) -> str:
    """Write the run; return its id."""
    import numpy as np
    import pyarrow as pa

    from safetycatch.store import Runs, Store
    from safetycatch.tables import CONTRACTS, schema

    rng = np.random.default_rng(1)
    store = Store.open(folder)
    ids = [f"ticket-{number:06}" for number in range(n)]
    id_array = pa.array(ids, pa.string())
    language = pa.array(rng.choice(["de", "en", "fr", "es"], size=n).tolist(), pa.string())
    target = pa.array(rng.choice(LABELS, size=n).tolist(), pa.string())
    nothing = pa.nulls(n, pa.string())
    examples = store.write(
        "load",
        "1" * 40,
        pa.table(
            {
                "example_id": id_array,
                "input": texts(n, 2, 2),
                "input_kind": pa.array(["text"] * n, pa.string()),
                "target": target,
                "group_id": nothing,
                "created_at": nothing,
                "given_split": nothing,
                "language": language,
            }
        ),
        settings={},
        parents=[],
        version="1",
    )
    leaks = _leaks(store, ids, examples)
    names = [f"candidate{number}" for number in range(n_candidates)]
    with Runs(store).begin("browsed", "2" * 40, config={}, now=NOW) as run:
        parts, score_parts, verdicts = [], [], []
        for number, name in enumerate(names):
            right = rng.random(n) < 0.6 + 0.1 * number
            odd = rng.random(n)
            status = np.where(odd < 0.01, "error", np.where(odd < 0.02, "refusal", "answer"))
            output = texts(n, 4, 10 + number)
            column: dict[str, Any] = {
                "run_id": pa.array([run.run_id] * n),
                "candidate": pa.array([name] * n),
                "example_id": id_array,
                "replicate": pa.array(np.zeros(n, dtype=np.int64)),
                "status": pa.array(status.tolist()),
                "output": output,
                "parsed": pa.array(np.where(right, target.to_numpy(zero_copy_only=False), "unlike").tolist()),
                "n_tokens_in": pa.array(rng.integers(50, 90, size=n)),
                "n_tokens_out": pa.array(rng.integers(50, 150, size=n)),
                "cost_usd": pa.array(rng.random(n) / 1000),
                "latency_s": pa.array(rng.random(n) * 3),
            }
            arrays = [column.get(field.name, pa.nulls(n, field.type)) for field in schema("rows")]
            parts.append(pa.Table.from_arrays(arrays, schema=schema("rows")))
            value = pa.array(right.astype(float), mask=status == "error")
            score_parts += [
                pa.Table.from_arrays(
                    [column["run_id"], column["candidate"], id_array, column["replicate"], pa.array([m] * n), value],
                    schema=schema("scores"),
                )
                for m in METRICS
            ]
            judged = {
                **column,
                "judge": pa.array(["judge"] * n),
                "criterion": pa.array([""] * n),
                "order": pa.array(["as"] * n),
                "output_hash": pa.array(["0" * 16] * n),
                "status": pa.array(["answer"] * n),
                "verdict": pa.array(np.where(rng.random(n) < 0.7, "pass", "fail").tolist()),
                "critique": texts(n, 1, 20 + number),
            }
            judged["output"] = judged["critique"]
            fields = [judged.get(field.name, pa.nulls(n, field.type)) for field in schema("verdicts")]
            verdicts.append(pa.Table.from_arrays(fields, schema=schema("verdicts")))
            judgement = pa.array(np.where(np.array(judged["verdict"].to_pylist()) == "pass", 1.0, 0.0))
            score_parts.append(
                pa.Table.from_arrays(
                    [
                        *(column["run_id"], column["candidate"], id_array, column["replicate"]),
                        *(pa.array(["judge"] * n), judgement),
                    ],
                    schema=schema("scores"),
                )
            )
        run.write_table("rows", (b for part in parts for b in part.to_batches()), schema=schema("rows"))
        run.write_table("scores", (b for part in score_parts for b in part.to_batches()), schema=schema("scores"))
        run.write_table("verdicts", (b for part in verdicts for b in part.to_batches()), schema=schema("verdicts"))
        run.write_table("findings", schema("findings").empty_table())
        items = {
            "example_id": id_array,
            "cluster_id": pa.array([f"c{number // 3}" for number in range(n)]),
            "content": pa.array([f"{number:016x}" for number in range(n)]),
            "slice:language": language,
        }
        run.write_table("items", pa.table(items))
        metric = {"name": "accuracy", "unit": "points", "higher_is_better": True, "rate": True, "corpus": False}
        units = dict.fromkeys(("accuracy", "macro_f1", "balanced_accuracy", "judge"), "points")
        units |= {"cost_usd": "usd", **dict.fromkeys(("latency_s", "latency_p50", "latency_p95"), "s")}
        run.finish(
            "done",
            {
                "summary": {"baseline": names[0], "headline": names[-1], "metric": metric, "units": units},
                "result": {"candidates": [{"id": name, "status": "scored"} for name in names]},
                "made_of": {"examples": examples.as_dict(), "leaks": leaks.as_dict()},
            },
            now=NOW,
        )
        assert CONTRACTS["rows"].names == tuple(parts[0].column_names)
        return run.run_id


def _leaks(store: Store, ids: list[str], examples: Ref) -> Ref:
    import pyarrow as pa

    from safetycatch.tables import schema

    leaked = ids[:500]
    pair = {"left_split": "test", "right_split": "train", "kind": "near", "similarity": 0.9}
    rows = [{**pair, "left_id": one, "right_id": ids[-1 - number]} for number, one in enumerate(leaked)]
    facts = {"leaked_ids": leaked, "crossed_ids": [], "similar_ids": leaked}
    table = pa.Table.from_pylist(rows, schema=schema("leaks"))
    return store.write("leakage", "3" * 40, table, settings={}, parents=[examples], version="1", facts=facts)


PAGES = (
    ("one candidate, wrong", "candidate=candidate1&score=wrong"),
    ("its page 100", "candidate=candidate1&score=wrong&page=100"),
    ("flips: broken", "flip=broken"),
    ("slice and judge", "slice%3Alanguage=de&verdict=fail"),
    ("leaked", "catch=leaked"),
    ("one word, all texts", "q=gundist"),
    ("two words, wrong, in outputs", "q=kon+dar&in=output&score=wrong"),
    ("a word that is nowhere", "q=xyzzy"),
    ("slowest first", "sort=-latency"),
    ("another metric, lowest first", "metric=macro_f1&sort=score"),
)


def serve(folder: Path) -> None:
    """Serve the newest run; print the link and the cookie once the socket listens."""
    from safetycatch.review.app import Review, create_app
    from safetycatch.review.serving import bound, keys_of
    from safetycatch.review.serving import serve as served
    from safetycatch.store import Runs, Store

    store = Store.open(folder)
    listener = bound(0)
    keys = keys_of(listener)
    app = create_app(Review(store=store, run=Runs(store).load("last")), keys)
    print(json.dumps({"port": keys.port, "cookie": f"{keys.cookie}={keys.session}"}), flush=True)
    served(app, listener)


class Asked(NamedTuple):
    """What a page took: seconds the first time, of processor then, and seconds the second time."""

    what: str
    cold_s: float
    cpu_s: float
    warm_s: float


class Pages:
    """A server process of its own, asked for pages."""

    def __init__(self, folder: Path) -> None:
        self.began = time.perf_counter()
        words = [sys.executable, __file__, "--serve", str(folder)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.keys = json.loads(self.process.stdout.readline())

    def cpu(self) -> float:
        """Return the processor time that the server took so far, seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def both(self, what: str, path: str) -> Asked:
        """Ask for a page twice."""
        before = self.cpu()
        cold = self.seconds(path)
        between = self.cpu()
        return Asked(what, cold, between - before, self.seconds(path))

    def seconds(self, path: str) -> float:
        began = time.perf_counter()
        headers = {"Cookie": self.keys["cookie"]}
        request = urllib.request.Request(f"http://127.0.0.1:{self.keys['port']}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
            reply.read()
        return time.perf_counter() - began

    def memory(self) -> tuple[float, float]:
        """Return resident and highest resident memory, MB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Vm")}
        return found["VmRSS"], found["VmHWM"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def measure(folder: Path) -> list[Asked]:
    """Return what each page took, the pages of two fresh servers."""
    pages = Pages(folder)
    try:
        found = [Asked("start of the process, to its link", time.perf_counter() - pages.began, pages.cpu(), math.nan)]
        found.append(pages.both("first page", "/run"))
        found += [pages.both(what, f"/run?{asked}") for what, asked in PAGES]
        found.append(pages.both("one row, side by side", "/run/row?item=ticket-000003&candidate=candidate1"))
        resident, highest = pages.memory()
    finally:
        pages.close()
    pages = Pages(folder)
    try:
        found.append(pages.both("a search as the very first page", "/run?q=gundist"))
    finally:
        pages.close()
    print(f"memory: {resident:.0f} MB resident after all pages, {highest:.0f} MB at the highest")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[33_334, 100_000])
    parser.add_argument("--candidates", type=int, default=3)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    for n in options.items:
        with tempfile.TemporaryDirectory(prefix="browser-") as name:
            write_run(Path(name), n, options.candidates)
            rows = n * options.candidates
            print(f"\n{rows:,} rows: {n:,} items x {options.candidates} candidates, load {os.getloadavg()[0]:.1f}")
            found = measure(Path(name))
        print("| page | cold, s | of which processor | warm, s |\n|---|---|---|---|")
        for one in found:
            warm = "—" if math.isnan(one.warm_s) else f"{one.warm_s:.2f}"
            print(f"| {one.what} | {one.cold_s:.2f} | {one.cpu_s:.2f} | {warm} |")
        worst = max(max(one.cold_s, one.warm_s) for one in found[1:])
        verdict = "ok" if worst <= BAR_S else "MISSED"
        load = os.getloadavg()[0]
        print(f"slowest page {worst:.2f} s (bar {BAR_S:.0f} s at 100,000 rows), load {load:.1f}: {verdict}")


if __name__ == "__main__":
    main()
