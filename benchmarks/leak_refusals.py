"""False alarms of SC501, SC502 and SC511 on our own splits: group-respecting subsamples of real sets.

`python benchmarks/leak_refusals.py [--data DIR] [--samples 240] [--seed 1]` prints a line per set and the totals: how
many subsamples have an exact, normalised, bag-equal or near pair (J >= .8) between train, dev and test, a crossing
group, a newer training row under a time cut, or a field that decides the target; and how often no split was possible.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from safetycatch.data import find_shortcuts, leak_matrix, split
from safetycatch.data.crossings import group_crossings, time_crossings
from safetycatch.data.leakage import DUPLICATE_KINDS
from safetycatch.errors import DataError
from safetycatch.settings import SplitSettings

SETS = {  # file, id, input, target, group, time, slice
    "banking77": ("banking77/banking77", "item_id", "text", "label", None, None, None),
    "snips": ("snips/snips", "item_id", "text", "label", None, None, None),
    "gsm8k": ("gsm8k/items", "item_id", "question", "final_answer", None, None, None),
    "bbh": ("bbh_direct_vs_cot/items", "item_id", "input", "target", None, None, "task"),
    "irc by conversation": (
        "irc_threads/messages",
        "message_id",
        "text",
        "user",
        "conversation_id",
        "timestamp",
        "kind",
    ),
    "irc by user": ("irc_threads/messages", "message_id", "text", "kind", "user", "timestamp", None),
}
SETTINGS = (
    SplitSettings(),
    SplitSettings(train=0.6, dev=0.2, test=0.2),
    SplitSettings(train=0.6, dev=0.2, test=0.2, by="time"),
)


def examples(data: Path, name: str) -> pa.Table:
    file, row_id, text, target, group, moment, piece = SETS[name]
    rows = pq.read_table(data / f"{file}.parquet").to_pydict()
    n_rows = len(rows[row_id])
    columns = {
        "example_id": rows[row_id],
        "input": rows[text],
        "input_kind": ["text"] * n_rows,
        "target": rows[target],
        "group_id": rows[group] if group else [None] * n_rows,
        "created_at": [value.isoformat() for value in rows[moment]] if moment else [None] * n_rows,
        "given_split": [None] * n_rows,
    }  # fmt: skip
    if piece:
        columns[piece] = rows[piece]
    return pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})


def subsample(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Return whole groups (rows, where there are none) in random order, 100 to 3,000 rows."""
    wanted = int(10 ** rng.uniform(2, np.log10(3000)))
    groups = table["group_id"].to_pylist()
    keys = np.array([key if key is not None else f"\0{row}" for row, key in enumerate(groups)])
    names, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    chosen = np.zeros(len(names), bool)
    chosen[order[: int(np.searchsorted(np.cumsum(counts[order]), wanted)) + 1]] = True
    return table.filter(pa.array(chosen[inverse]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--samples", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    head = ("set", "samples", "rows", "SC501", "SC502", "SC511", "no split", "aside %", "wall s")
    print(f"{head[0]:22}" + "".join(f"{name:>10}" for name in head[1:]))
    total = dict.fromkeys(head[1:], 0.0)
    for place, name in enumerate(SETS):
        table, rng = examples(arguments.data, name), np.random.default_rng([arguments.seed, place])
        n_samples = arguments.samples // len(SETS)
        count, start, aside = dict.fromkeys(head[1:], 0.0), time.perf_counter(), 0
        for number in range(n_samples):
            rows = subsample(table, rng)
            settings = SETTINGS[number % (3 if SETS[name][5] else 2)]
            count["samples"] += 1
            count["rows"] += rows.num_rows
            try:
                result = split(rows, settings, seed=int(rng.integers(2**31)))
            except DataError:
                count["no split"] += 1
                continue
            aside += len(result.quarantined)
            places = np.array(result.table["split"].to_pylist())
            sets = {which: rows.filter(pa.array(places == which)) for which in ("train", "dev", "test")}
            leaks = leak_matrix(sets)["kind"].to_pylist()
            crossing = group_crossings(sets).num_rows
            if settings.by == "time":
                crossing += time_crossings(sets).num_rows
            count["SC501"] += any(kind in DUPLICATE_KINDS for kind in leaks)
            count["SC502"] += crossing > 0
            found = find_shortcuts(rows, cluster_ids=result.table["cluster_id"].to_pylist())
            count["SC511"] += bool(found.deciding)
        count["aside %"] = 100 * aside / count["rows"]
        count["wall s"] = time.perf_counter() - start
        print(
            f"{name:22}"
            + "".join(f"{count[key]:10,.0f}" if key != "aside %" else f"{count[key]:10.2f}" for key in head[1:])
        )
        for key in head[1:]:
            total[key] += count[key]
    for code in ("SC501", "SC502", "SC511"):
        print(f"{code}: {total[code]:.0f} of {total['samples']:.0f} = {total[code] / total['samples']:.2%}")
    print(f"no split possible: {total['no split']:.0f} of {total['samples']:.0f}")


if __name__ == "__main__":
    main()
