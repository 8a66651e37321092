"""Reads the small tables a sandbox may be started with: CSV, JSON lines or Parquet, every cell as text."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

from safetycatch.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

LARGEST_FILE_BYTES = 256 * 1024 * 1024


def read_records(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the named columns of every row, as text and in that order.

    Raises: DataError naming file, row and column for anything missing or unreadable.
    """
    if not path.is_file():
        raise DataError("no such file", where=str(path))
    if path.stat().st_size > LARGEST_FILE_BYTES:
        raise DataError(f"{path.stat().st_size:,} bytes", where=str(path), expected=f"at most {LARGEST_FILE_BYTES:,}")
    readers: dict[str, Callable[[Path], Iterator[Mapping[str, object]]]] = {
        ".csv": _csv_rows,
        ".jsonl": _json_rows,
        ".parquet": _parquet_rows,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"a file ending in {path.suffix!r}", where=str(path), expected=" or ".join(readers))
    records: list[tuple[str, ...]] = []
    try:
        for number, row in enumerate(reader(path), start=1):
            missing = [name for name in columns if row.get(name) is None]
            if missing:
                raise DataError(
                    f"no {missing[0]!r}", where=f"{path} row {number}", expected="columns " + ", ".join(columns)
                )
            records.append(tuple(str(row[name]) for name in columns))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(str(error), where=str(path), expected="UTF-8 text") from None
    if not records:
        raise DataError("no rows", where=str(path))
    return records


def _csv_rows(path: Path) -> Iterator[Mapping[str, object]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        yield from csv.DictReader(stream)


def _json_rows(path: Path) -> Iterator[Mapping[str, object]]:
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise DataError("not a JSON object", where=f"{path} line {number}")
            yield row


def _parquet_rows(path: Path) -> Iterator[Mapping[str, object]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(str(error).splitlines()[0], where=str(path), expected="a Parquet file") from None
