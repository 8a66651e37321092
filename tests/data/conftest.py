"""Small tables and the public sets for the tests of `safetycatch.data`."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PUBLIC = Path(__file__).parents[2] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def examples():
    """A function from texts to an `examples` table."""

    def table(texts, *, targets=None, groups=None, times=None, ids=None, kind="text", **slices):
        n_rows = len(texts)
        columns = {
            "example_id": ids or [f"r{row}" for row in range(n_rows)],
            "input": list(texts),
            "input_kind": [kind] * n_rows,
            "target": targets or ["x"] * n_rows,
            "group_id": groups or [None] * n_rows,
            "created_at": times or [None] * n_rows,
            "given_split": [None] * n_rows,
            **slices,
        }
        return pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})

    return table


@pytest.fixture(scope="session")
def public():
    """A function that reads a public set, or skips the test where it is absent."""

    def read(name):
        path = PUBLIC / f"{name}.parquet"
        if not path.exists():
            pytest.skip(f"the public set {name} is not beside this checkout (../shared/data)")
        return pq.read_table(path).to_pydict()

    return read


@pytest.fixture(scope="session")
def public_sets(public, examples):
    """A function from a public set with given splits to its `examples` tables by split."""

    def read(name, text, target, group=None):
        rows = public(name)
        tables = {}
        for which in sorted(set(rows["split"])):
            keep = [row for row, split in enumerate(rows["split"]) if split == which]
            tables[which] = examples(
                [rows[text][row] for row in keep],
                targets=[rows[target][row] for row in keep],
                groups=[rows[group][row] for row in keep] if group else None,
                ids=[rows["item_id"][row] for row in keep],
            )
        return tables

    return read
