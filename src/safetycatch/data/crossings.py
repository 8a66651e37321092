"""Groups on both sides of a boundary, and training rows that are newer than scored ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from safetycatch.data.leakage import SCORED_FIRST, boundaries, leak_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa


def group_keys(examples: pa.Table) -> list[tuple[str, ...]]:
    """Return the group keys of each row; empty for a row of no group.

    With several group columns `group_id` is the JSON list `[[column, value], …]` and a row has one key for each.
    """
    if "group_id" not in examples.column_names:
        return [()] * examples.num_rows
    return [_keys(value) for value in examples["group_id"].to_pylist()]


def _keys(value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    if value.startswith('[["'):
        try:
            pairs = json.loads(value)
        except ValueError:
            return (value,)
        if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            return tuple(f"{column}={key}" for column, key in pairs)
    return (value,)


def group_crossings(sets: Mapping[str, pa.Table]) -> pa.Table:
    """Return the scored rows whose group is also in another set, one row of that set each, as kind `group`.

    `sets` are `examples` tables by split name.
    """
    keys = {name: group_keys(table) for name, table in sets.items()}
    ids = {name: table["example_id"].to_pylist() for name, table in sets.items()}
    found: list[tuple[str, str, str, str, str, float | None]] = []
    for left, right in boundaries(list(sets)):
        first = {key: row for row in range(len(keys[right]) - 1, -1, -1) for key in keys[right][row]}
        for row, mine in enumerate(keys[left]):
            other = next((first[key] for key in mine if key in first), None)
            if other is not None:
                found.append((ids[left][row], ids[right][other], left, right, "group", None))
    return leak_table(found)


def time_crossings(sets: Mapping[str, pa.Table]) -> pa.Table:
    """Return the scored rows older than the newest row a model learns from, each with that row, as kind `time`.

    `sets` are `examples` tables by split name; rows without a time are left out.
    """
    found: list[tuple[str, str, str, str, str, float | None]] = []
    for left, right in boundaries(list(sets)):
        if right in SCORED_FIRST:
            continue
        times = [(time, row) for row, time in enumerate(_times(sets[right])) if time is not None]
        if not times:
            continue
        newest, at = max(times)
        right_id = sets[right]["example_id"][at].as_py()
        ids = sets[left]["example_id"].to_pylist()
        found += [
            (ids[row], right_id, left, right, "time", None)
            for row, time in enumerate(_times(sets[left]))
            if time is not None and time < newest
        ]
    return leak_table(found)


def _times(examples: pa.Table) -> list[str | None]:
    if "created_at" not in examples.column_names:
        return [None] * examples.num_rows
    return examples["created_at"].to_pylist()
