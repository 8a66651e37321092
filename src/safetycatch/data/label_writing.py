"""Items and their labels as a file: CSV that no spreadsheet runs, JSON lines, Parquet, Label Studio's JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from safetycatch.data.label_files import LABEL_COLUMNS, flat_rows
from safetycatch.data.label_studio import tasks_json
from safetycatch.data.spreadsheet import defused
from safetycatch.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.data.label_files import Labelled

WRITTEN_KINDS = (".csv", ".jsonl", ".parquet", ".json")


class LabelFile(NamedTuple):
    """The bytes of a label file, its number of rows, and of cells before which a `'` was put."""

    content: bytes
    n_rows: int
    n_defused: int = 0


def label_file(labelled: Labelled, kind: str) -> LabelFile:
    """Return a label file of the extension `kind`; `read_labels` reads it back to the same items and labels.

    Raises: DataError for another extension.
    """
    columns, rows = flat_rows(labelled)
    if kind == ".csv":
        return _csv(columns, rows)
    if kind == ".jsonl":
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        return LabelFile("".join(lines).encode(), len(rows))
    if kind == ".parquet":
        return LabelFile(_parquet(columns, rows), len(rows))
    if kind == ".json":
        return LabelFile(tasks_json(columns, rows, LABEL_COLUMNS), len(rows))
    raise DataError(f"{kind or 'no'} extension", expected=", ".join(WRITTEN_KINDS))


def _csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> LabelFile:
    text, n_defused = io.StringIO(newline=""), 0
    # The line end \r\n makes the writer quote a cell that holds either.
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        cells = ["" if row[name] is None else str(row[name]) for name in columns]
        shielded = [defused(cell) for cell in cells]
        n_defused += sum(cell != before for cell, before in zip(shielded, cells, strict=True))
        writer.writerow(shielded)
    return LabelFile(text.getvalue().encode(), len(rows), n_defused)


def _parquet(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: pa.float64() if name == "sampling_probability" else pa.string() for name in columns}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(kinds.items())), sink)  # type: ignore[arg-type]
    return sink.getvalue().to_pybytes()
