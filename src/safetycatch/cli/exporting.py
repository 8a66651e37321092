"""`calls export`: answered calls as Parquet, JSON lines, or CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.cli.journal import Json, OfRun, open_journal, run_id_of
from safetycatch.data.spreadsheet import SHIELD, TRIGGERS
from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import pyarrow as pa

    from safetycatch.store.disk import Temporary

BATCH_ROWS = 1024
TIMES = ("sent_at", "answered_at")
NUMBERS = ("cost_usd", "max_cost_usd", "cache_saved_usd", "latency_s")
COUNTS = ("replicate", "n_tokens_in", "n_tokens_cached", "n_tokens_out", "attempts")
TEXTS_FIRST = ("call_key", "run_id", "endpoint", "model", "candidate", "example_id")
COLUMNS = (
    *(*TEXTS_FIRST, "replicate", *TIMES, "state", "text", "model_returned", "n_tokens_in", "n_tokens_cached"),
    *(
        "n_tokens_out",
        "cost_usd",
        "max_cost_usd",
        "cache_saved_usd",
        "latency_s",
        "attempts",
        "error_class",
        "error_text",
    ),
)


@dataclass(frozen=True, slots=True)
class Exported:
    """Rows written, and cells that were defused because a spreadsheet would have run them."""

    rows: int
    defused: int = 0


def export(
    file: Annotated[Path, typer.Argument(help="Where: .parquet, .jsonl or .csv; no file is overwritten.")],
    run: OfRun = None,
    raw: Annotated[bool, typer.Option("--raw", help="Also the reply as it came, keys redacted.")] = False,
    json: Json = False,
) -> None:
    """Write one row an answered call to a file that only you can read."""
    from safetycatch.calls import history
    from safetycatch.cli.output import Output

    output = Output(json=json)
    with open_journal() as journal:
        done = write(history.answers(journal, run_id_of(journal, run), raw=raw), file, raw=raw)
    output.document({"file": str(file.absolute()), "rows": done.rows, "defused_cells": done.defused})
    output.line(f"{done.rows:,} answered calls")
    output.field("file", str(file))
    if done.defused:
        output.field("note", f"{done.defused:,} cells began like a formula: a ' stands before them now")


def write(rows: Iterator[dict[str, Any]], path: Path, *, raw: bool) -> Exported:
    """Write rows of `calls.history.answers` to `path` (0600), whole or not at all; its ending names the format.

    Raises: UsageError for an unknown ending, a missing folder, an existing file; StoreError when it cannot be written.
    """
    ways: dict[str, Callable[[Iterator[dict[str, Any]], Temporary, bool], Exported]] = {
        ".parquet": _parquet,
        ".jsonl": _json_lines,
        ".csv": _csv,
    }
    way = ways.get(path.suffix.lower())
    if way is None:
        raise UsageError(f"the file ends with {path.suffix!r}", where=str(path), expected=", ".join(ways))
    with new_file(path) as file:
        return way(rows, file, raw)


@contextlib.contextmanager
def new_file(path: Path) -> Generator[Temporary]:
    """Write a file of the user's (0600), whole at the end of the block or not at all, and over nothing.

    Raises: UsageError for a missing folder or an existing file; StoreError when it cannot be written.
    """
    from safetycatch.store.disk import Tree

    target = path.absolute()
    if not target.parent.is_dir():
        raise UsageError("there is no such folder", where=str(target.parent), fix=f"mkdir -p {path.parent}")
    if target.exists() or target.is_symlink():
        raise UsageError("a file of that name is there", where=str(path), expected="a new name")
    with Tree(target.parent).temporary(target.name) as file:
        yield file
        file.publish(target.name)


def _schema(*, raw: bool) -> pa.Schema:
    import pyarrow as pa

    kinds: dict[str, pa.DataType] = {
        **dict.fromkeys(COLUMNS, pa.string()),
        **dict.fromkeys(TIMES, pa.timestamp("us", tz="UTC")),
        **dict.fromkeys(NUMBERS, pa.float64()),
        **dict.fromkeys(COUNTS, pa.int64()),
    }
    return pa.schema([*kinds.items(), *([("raw", pa.binary())] if raw else [])])


def _parquet(rows: Iterator[dict[str, Any]], file: Temporary, raw: bool) -> Exported:
    import pyarrow as pa

    from safetycatch.store.parquet import write_parquet

    schema = _schema(raw=raw)

    def batches() -> Iterator[pa.RecordBatch]:
        while part := list(islice(rows, BATCH_ROWS)):
            timed = [{**row, **{name: _moment(row[name]) for name in TIMES}} for row in part]
            yield pa.RecordBatch.from_pylist(timed, schema=schema)

    return Exported(write_parquet(file, batches(), schema)[0])


def _json_lines(rows: Iterator[dict[str, Any]], file: Temporary, raw: bool) -> Exported:  # noqa: ARG001 - all rows alike
    n = 0
    for n, row in enumerate(rows, 1):  # noqa: B007 - counted
        file.write((json.dumps(_as_text(row), ensure_ascii=True, allow_nan=False) + "\n").encode())
    return Exported(n)


def _csv(rows: Iterator[dict[str, Any]], file: Temporary, raw: bool) -> Exported:
    columns = [*COLUMNS, *(["raw"] if raw else [])]
    n = n_defused = 0
    line = io.StringIO(newline="")
    # With both, a cell that holds either is quoted.
    writer = csv.writer(line, lineterminator="\r\n")
    writer.writerow(columns)
    for n, row in enumerate(rows, 1):  # noqa: B007 - counted
        cells = _as_text(row)
        for name, cell in cells.items():
            if isinstance(cell, str) and cell.startswith(TRIGGERS):
                cells[name] = SHIELD + cell
                n_defused += 1
        writer.writerow([cells[name] for name in columns])
        file.write(line.getvalue().encode())
        line.seek(0)
        line.truncate()
    file.write(line.getvalue().encode())
    return Exported(n, n_defused)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with times as ISO 8601 and the raw reply as text."""
    told: dict[str, Any] = {**row, **{name: _moment(row[name]).isoformat(timespec="milliseconds") for name in TIMES}}
    if told.get("raw") is not None:
        told["raw"] = told["raw"].decode(errors="replace")
    return told
