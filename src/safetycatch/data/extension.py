"""A data file with further rows and columns: what was there stays to the letter, in the format of the file."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from safetycatch.data.reading import KINDS, read_columns
from safetycatch.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, str]


def extended(
    data: bytes,
    kind: str,
    rows: Sequence[Row],
    added: Mapping[str, Sequence[str]],
    *,
    place: str,
    left_out: frozenset[int] = frozenset(),
) -> bytes:
    """Return a CSV, TSV, JSONL or Parquet file with `rows` at its end, and `added` columns, a value for each old row.

    Rows whose number (from 0) is in `left_out` are not taken over. `rows` hold texts; what they lack stays empty.
    Raises: DataError for another format, a column that is there already, a text that a Parquet column cannot hold.
    """
    names = read_columns(data, kind, [], place).names
    if taken := [name for name in added if name in names]:
        raise DataError(f"there is a column {taken[0]!r} already", where=place, expected="another name")
    if kind in {".csv", ".tsv"}:
        made = _csv(data, kind, [*names, *added], rows, added, place, left_out)
    elif kind in {".jsonl", ".ndjson"}:
        made = _jsonl(data, rows, added, left_out)
    elif kind == ".parquet":
        made = _parquet(data, rows, added, place, left_out)
    else:
        raise DataError(f"{kind or 'no'} extension", where=place, expected=", ".join(KINDS))
    _check(data, made, kind, names, place, left_out)
    return made


def _check(data: bytes, made: bytes, kind: str, names: Sequence[str], place: str, left_out: frozenset[int]) -> None:
    """Raise unless every old cell reads as before: a test set that changed by itself would be no test set."""
    columns = [name for name in names if name]
    before, after = (read_columns(one, kind, columns, place) for one in (data, made))
    for name in columns:
        old = [cell for row, cell in enumerate(before.cells[name]) if row not in left_out]
        if after.cells[name][: len(old)] != old:
            raise DataError(f"column {name!r} would not read as before", where=place, fix="save the file as Parquet")


def _csv(
    data: bytes,
    kind: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    added: Mapping[str, Sequence[str]],
    place: str,
    left_out: frozenset[int],
) -> bytes:
    old = read_columns(data, kind, [name for name in columns if name not in added], place)
    head = data.partition(b"\n")[0]
    end = "\r\n" if head.endswith(b"\r") else "\n"
    cells = {**old.cells, **added}
    lines = [list(columns)]
    lines += [[cells[name][row] for name in columns] for row in range(old.n_rows) if row not in left_out]
    lines += [[row.get(name, "") for name in columns] for row in rows]
    return "".join(_line(line, "," if kind == ".csv" else "\t") + end for line in lines).encode()


def _line(cells: Sequence[str], delimiter: str) -> str:
    r"""Return a line without its end; with \r\n as its end the writer quotes cells that hold either."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return text.getvalue()[:-2]


def _jsonl(data: bytes, rows: Sequence[Row], added: Mapping[str, Sequence[str]], left_out: frozenset[int]) -> bytes:
    lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").decode().split("\n") if line.strip()]
    made: list[str] = []
    for number, line in enumerate(lines):
        if number in left_out:
            continue
        # Written into the line as it is: a number keeps the digits that the file gave it.
        more = ", ".join(f"{json.dumps(name)}: {json.dumps(values[number])}" for name, values in added.items())
        body = line.strip()[:-1].rstrip()
        made.append(f"{body}{', ' if more and not body.endswith('{') else ''}{more}}}")
    made += [json.dumps(row, ensure_ascii=False) for row in rows]
    return ("\n".join(made) + "\n").encode()


def _parquet(
    data: bytes, rows: Sequence[Row], added: Mapping[str, Sequence[str]], place: str, left_out: frozenset[int]
) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    old = pq.read_table(pa.BufferReader(data), use_threads=False)
    for name, values in added.items():
        old = old.append_column(name, pa.array(list(values), pa.string()))
    kept = old.take([number for number in range(old.num_rows) if number not in left_out]) if left_out else old
    columns: dict[str, pa.Array] = {}
    for field in old.schema:
        texts = pa.array([row.get(field.name) for row in rows], pa.string())
        try:
            columns[field.name] = texts.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(
                f"column {field.name!r} holds {field.type}, the new rows texts",
                where=place,
                expected="a column of texts, or texts that can be read as that",
            ) from None
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables([kept, pa.table(columns, schema=old.schema)]), sink)
    return sink.getvalue().to_pybytes()
