"""Builders of small `examples` tables."""

import pyarrow as pa
import pytest


@pytest.fixture(scope="session")
def examples():
    def build(rows, kind="text"):
        """Rows are (example_id, input, target)."""
        ids, inputs, targets = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
        nothing = pa.nulls(len(rows), pa.string())
        return pa.table(
            {
                "example_id": pa.array(ids, pa.string()),
                "input": pa.array(inputs, pa.string()),
                "input_kind": pa.array([kind] * len(rows), pa.string()),
                "target": pa.array(targets, pa.string()),
                "group_id": nothing,
                "created_at": nothing,
                "given_split": nothing,
            }
        )

    return build


@pytest.fixture(scope="session")
def row():
    def build(text, target="a", kind="text", example_id="e1"):
        return {"example_id": example_id, "input": text, "input_kind": kind, "target": target}

    return build
