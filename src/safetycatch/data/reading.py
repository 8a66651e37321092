"""Columns of a CSV, TSV, JSONL or Parquet file exactly as written: nothing is guessed, rounded or taken for missing.

CSV and TSV cells are text (`007`, `None` and an empty cell stay what they are). JSON numbers keep the digits of the
file. Parquet numbers become their exact decimal text, times ISO 8601.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from safetycatch.errors import DataError
from safetycatch.identity import canonical_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

MAX_COLUMNS = 2_000
MAX_CELL_BYTES = 1_000_000
MAX_INTEGER_DIGITS = 4_000
CSV_BLOCK_BYTES = 1 << 26
KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


class Number(float):
    """A JSON number with a fraction or exponent, and the text it was written as."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """Return the number written as `text`."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    @property
    def exact(self) -> bool:
        """Whether a 64-bit float prints as this number."""
        return math.isfinite(self) and Decimal(float.__repr__(self)) == Decimal(self.text)


@dataclass(frozen=True, slots=True)
class Columns:
    """The cells of the wanted columns by name (None: missing), all column names of the file, number of rows."""

    cells: dict[str, list[Any]]
    names: tuple[str, ...]
    n_rows: int


class NoColumnError(DataError):
    """A column that is asked for is not among the `names` of a file."""

    def __init__(self, column: str, names: tuple[str, ...], where: str, expected: str, fix: str) -> None:
        self.column, self.names = column, names
        super().__init__(f"no column {column!r}", where=where, expected=expected, fix=fix)


def cell_text(cell: Any) -> str:
    """Return a cell as text: text as it is, numbers as written, lists and objects as canonical JSON."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Number):
        return cell.text
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell) if isinstance(cell, int) else canonical_json(cell).decode()


def file_bytes(path: Path, shown: str, max_file_mb: int, *, fix: str = "") -> bytes:
    """Return the bytes of a data file of `max_file_mb` megabytes at most; `shown` is its name in messages.

    Raises: DataError when it is larger (`fix` says how to allow it), not there, or not readable.
    """
    try:
        size = path.stat().st_size
        if size > max_file_mb * 1_000_000:
            raise DataError(f"{size / 1e6:,.0f} MB", where=shown, expected=f"{max_file_mb:,} MB at most", fix=fix)
        return path.read_bytes()
    except FileNotFoundError:
        there = (
            sorted(entry.name for entry in path.parent.iterdir() if entry.suffix.lower() in KINDS)
            if path.parent.is_dir()
            else []
        )
        raise DataError(
            "no such file", where=shown, expected=f"{path}; there: {', '.join(there[:20]) or 'no data file'}"
        ) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=shown) from None


def read_columns(data: bytes, kind: str, wanted: Sequence[str], place: str, *, optional: Sequence[str] = ()) -> Columns:
    """Return the `wanted` columns of a file's bytes, and those of `optional` that are there.

    `kind` is the file's extension, `place` its name in messages.

    Raises: DataError with row (counted from 1, without header) and column.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError("the file is UTF-16", where=place, expected="UTF-8", fix="save it as UTF-8")
    if kind == ".parquet":
        return _parquet(data, wanted, place, optional)
    plain = data.removeprefix(b"\xef\xbb\xbf")
    if kind in {".csv", ".tsv"}:
        return _csv(plain, "," if kind == ".csv" else "\t", wanted, place, optional)
    return _jsonl(plain, wanted, place, optional)


def _chosen(names: Sequence[str], wanted: Sequence[str], place: str, optional: Sequence[str]) -> list[str]:
    if len(names) > MAX_COLUMNS:
        raise DataError(f"{len(names)} columns", where=place, expected=f"{MAX_COLUMNS} at most")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"column {twice[0]!r} appears twice", where=place, expected="one column a name")
    for name in wanted:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, 1, 0.6)
            other = len(names) == 1 and next((mark for mark in ";\t,|" if mark in names[0]), None)
            shown = ", ".join(names[:30]) + (" …" if len(names) > 30 else "")
            fix = f"did you mean {nearest[0]!r}?" if nearest else ""
            if other:
                fix = f"the cells seem to be separated by {other!r}: save it with commas, or tabs as .tsv"
            raise NoColumnError(name, tuple(names), place, f"one of: {shown}", fix)
    return list(dict.fromkeys([*wanted, *(name for name in optional if name in names)]))


def _csv(data: bytes, delimiter: str, wanted: Sequence[str], place: str, optional: Sequence[str]) -> Columns:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    csv.field_size_limit(max(csv.field_size_limit(), len(data) + 1))
    head = io.StringIO(data[:CSV_BLOCK_BYTES].decode(errors="surrogateescape"), newline="")
    try:
        names = next((row for row in csv.reader(head, delimiter=delimiter, strict=True) if row), [])
    except csv.Error as error:
        raise DataError(f"the header cannot be read: {error}", where=place) from None
    if not names:
        raise DataError("the file is empty", where=place, expected="a header and rows")
    chosen = _chosen(names, wanted, place, optional)
    try:
        data.decode()
        sound = b"\0" not in data
    except UnicodeDecodeError:
        sound = False
    if sound:
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(data),
                read_options=arrow_csv.ReadOptions(block_size=min(len(data) + 1, CSV_BLOCK_BYTES)),
                parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(chosen, pa.string()), include_columns=chosen, strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            _csv_fault(data, delimiter, names, place)
            raise DataError(f"the file cannot be read: {error}", where=place) from None
        if data.count(b'"') % 2:  # Arrow lets a quote that never closes swallow the rest of the file
            _csv_fault(data, delimiter, names, place)
        cells = {name: table[name].to_pylist() for name in chosen}
    else:
        _csv_fault(data, delimiter, names, place)
        raise DataError("invalid UTF-8 or a NUL byte", where=place, expected="UTF-8 text")
    return Columns(_sound_cells(cells, place), tuple(names), table.num_rows)


def _csv_fault(data: bytes, delimiter: str, names: list[str], place: str) -> None:
    """Raise DataError for the first broken row, found by reading the file row by row."""
    reader = csv.reader(
        io.StringIO(data.decode(errors="surrogateescape"), newline=""), delimiter=delimiter, strict=True
    )
    number = -1
    try:
        for cells in reader:
            if not cells:
                continue
            number += 1
            if number and len(cells) != len(names):
                raise DataError(
                    f"{len(cells)} cells",
                    where=f"{place}, row {number}",
                    expected=f"{len(names)}, as in the header",
                    fix="put cells with separators, quotes or line breaks between double quotes",
                )
            for name, cell in zip(names, cells, strict=False):
                _sound(cell, f"{place}, row {number}, column {name}")
    except csv.Error as error:
        raise DataError(f"{error}", where=f"{place}, row {number + 1}", expected="quotes that close") from None


def _sound(cell: str, where: str) -> None:
    if "\0" in cell:
        raise DataError(f"a NUL character at character {cell.index(chr(0)) + 1}", where=where, expected="text")
    if not cell.isascii() and (bad := re.search("[\ud800-\udfff]", cell)):
        invalid = "\udc80" <= bad[0] <= "\udcff"
        raise DataError(
            f"{'invalid UTF-8' if invalid else 'an unpaired surrogate'} at character {bad.start() + 1}",
            where=where,
            expected="UTF-8 text",
            fix="save the file as UTF-8" if invalid else "",
        )
    if len(cell) > MAX_CELL_BYTES or (len(cell) > MAX_CELL_BYTES // 4 and len(cell.encode()) > MAX_CELL_BYTES):
        raise DataError(
            f"a cell of {len(cell):,} characters", where=where, expected=f"{MAX_CELL_BYTES:,} bytes at most"
        )


def _sound_cells(cells: dict[str, list[Any]], place: str) -> dict[str, list[Any]]:
    for name, column in cells.items():
        for row, cell in enumerate(column, 1):
            _sound_value(cell, f"{place}, row {row}, column {name}")
    return cells


def _sound_value(value: Any, where: str) -> None:
    if isinstance(value, str):
        _sound(value, where)
    elif isinstance(value, dict):
        for key, item in value.items():
            _sound(key, where)
            _sound_value(item, where)
    elif isinstance(value, list):
        for item in value:
            _sound_value(item, where)
    elif isinstance(value, Number) and not math.isfinite(value):
        raise DataError(f"the number {value.text[:40]} is beyond a 64-bit float", where=where, fix="write it as text")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} appears twice in an object")
    return result


def _integer(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=Number, parse_int=_integer, parse_constant=_constant)


def read_json(data: bytes, place: str) -> Any:
    """Return a JSON document whose numbers keep the digits of the file; `place` is its name in messages.

    Raises: DataError for what is no JSON or not UTF-8, a key that appears twice, a NUL, a text above 1 MB.
    """
    try:
        value = _DECODER.decode(data.removeprefix(b"\xef\xbb\xbf").decode().strip())
    except (ValueError, RecursionError) as error:
        told = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(told, where=place, expected="a JSON document in UTF-8") from None
    _sound_value(value, place)
    return value


def _jsonl(data: bytes, wanted: Sequence[str], place: str, optional: Sequence[str]) -> Columns:
    names: dict[str, None] = {}
    rows: list[dict[str, Any]] = []
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        where = f"{place}, row {len(rows) + 1}"
        text = line.decode(errors="surrogateescape").strip()
        try:
            row = _DECODER.decode(text)
        except (ValueError, RecursionError) as error:
            told = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            if any("\udc80" <= character <= "\udcff" for character in text):
                told = "invalid UTF-8"
            raise DataError(told, where=where, expected="one JSON object a line, in UTF-8") from None
        if not isinstance(row, dict):
            raise DataError(
                f"a JSON {type(row).__name__}",
                where=where,
                expected="one JSON object a line",
                fix="jq -c '.[]' FILE.json > FILE.jsonl" if isinstance(row, list) else "",
            )
        names.update(dict.fromkeys(row))
        if len(names) > MAX_COLUMNS:
            raise DataError(f"more than {MAX_COLUMNS} keys", where=where, expected=f"{MAX_COLUMNS} columns at most")
        rows.append(row)
    if not rows:
        raise DataError("the file is empty", where=place, expected="one JSON object a line")
    chosen = _chosen(list(names), wanted, place, optional)
    cells = {name: [row.get(name) for row in rows] for name in chosen}
    return Columns(_sound_cells(cells, place), tuple(names), len(rows))


def _parquet(data: bytes, wanted: Sequence[str], place: str, optional: Sequence[str]) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without threads: one of Arrow's may free `data` while Python ends, and abort the process.
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
        schema = file.schema_arrow
        chosen = _chosen(schema.names, wanted, place, optional)
        table = file.read(columns=chosen, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"not a whole Parquet file: {str(error)[:200]}", where=place) from None
    cells = {name: _parquet_cells(table[name], f"{place}, column {name}", place, name) for name in chosen}
    return Columns(_sound_cells(cells, place), tuple(schema.names), table.num_rows)


def _parquet_cells(column: pa.ChunkedArray, where: str, place: str, name: str) -> list[Any]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.types as pt

    kind = column.type
    if pt.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        raise DataError("bytes", where=where, expected="text, numbers, times, lists or structs")
    if pt.is_timestamp(kind):
        return [
            _moment(text, zoned=kind.tz is not None)
            for text in column.cast(pa.timestamp(kind.unit)).cast(pa.string()).to_pylist()
        ]
    if pt.is_float32(kind) or pt.is_float16(kind):
        # 0.1 stored in 32 bits was written as 0.1, not as 0.10000000149011612.
        narrow = np.float32 if pt.is_float32(kind) else np.float16
        numbers: list[Any] = [None if cell is None else Number(str(narrow(cell))) for cell in column.to_pylist()]
    else:
        try:
            numbers = [_plain(cell) for cell in column.to_pylist()]
        except UnicodeDecodeError:
            row = next(row for row, cell in enumerate(column, 1) if _broken(cell))
            raise DataError(
                "invalid UTF-8", where=f"{place}, row {row}, column {name}", expected="UTF-8 text"
            ) from None
    for row, cell in enumerate(numbers, 1):
        if isinstance(cell, Number) and not math.isfinite(cell):
            raise DataError(
                f"the number {cell.text}",
                where=f"{place}, row {row}, column {name}",
                expected="a finite number, or null",
            )
    return numbers


def _broken(cell: pa.Scalar) -> bool:
    try:
        cell.as_py()
    except UnicodeDecodeError:
        return True
    return False


def _moment(text: str | None, *, zoned: bool) -> str | None:
    if text is None:
        return None
    whole, _, fraction = text.replace(" ", "T").partition(".")
    fraction = fraction.rstrip("0")
    return whole + (f".{fraction}" if fraction else "") + ("Z" if zoned else "")


def _plain(value: Any) -> Any:
    """Return a Parquet value as JSON would hold it."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return Number(repr(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
