"""From a data file to the `examples` table: what each row asks, what is expected, and which rows belong together."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from safetycatch import tables
from safetycatch.data.naming import INPUT, TARGET, data_line
from safetycatch.data.reading import KINDS, Columns, NoColumnError, Number, cell_text, file_bytes, read_columns
from safetycatch.errors import DataError, InputError
from safetycatch.identity import canonical_json, fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from safetycatch.settings import DataSettings

SPLIT_NAMES = {"train": "train", "dev": "dev", "val": "dev", "validation": "dev", "test": "test"}
ROLES = ("system", "developer", "user", "assistant", "tool")
ID_DIGITS = 16


@dataclass(frozen=True, slots=True)
class LoadedExamples:
    """`table`: `examples` and the slice columns as text; `source_sha256` of the file read; `notes` to tell the user."""

    table: pa.Table
    source_sha256: str
    path: Path
    n_rows: int
    notes: tuple[str, ...]


def load_examples(settings: DataSettings, *, root: Path) -> LoadedExamples:
    """Return the rows of a CSV, TSV, JSONL or Parquet file as an `examples` table; relative paths start at `root`.

    Nothing is guessed: `007`, `None` and `NA` are texts. Ids without an id column are a hash of input, target and
    the occurrence number of equal rows.

    Raises: DataError naming row (from 1) and column of: a missing column or value, an empty input, a repeated id,
    invalid UTF-8, a NUL, a cell above 1 MB, a time or split that cannot be read.
    """
    path = root / settings.path
    kind = path.suffix.lower()
    if kind not in KINDS:
        fix = "jq -c '.[]' FILE.json > FILE.jsonl" if kind == ".json" else ""
        raise DataError(f"{kind or 'no'} extension", where=settings.path, expected=", ".join(KINDS), fix=fix)
    data = file_bytes(path, settings.path, settings.max_file_mb, fix="data: {max_file_mb: …}")
    try:
        columns = read_columns(data, kind, _wanted(settings), settings.path)
    except NoColumnError as error:
        raise _named(error, settings) from None
    rows = _Rows(settings, columns)
    if not rows.columns.n_rows:
        raise DataError("no rows", where=settings.path, expected="at least one row below the header")
    return LoadedExamples(
        rows.table(), hashlib.sha256(data).hexdigest(), path, rows.columns.n_rows, tuple(dict.fromkeys(rows.notes))
    )


def _named(error: NoColumnError, settings: DataSettings) -> DataError:
    """Return the error with a line that names the columns, where the file names none and has others than the usual."""
    bare = type(settings)(path=settings.path, split_column=settings.split_column, max_file_mb=settings.max_file_mb)
    if settings != bare or error.column not in {INPUT, TARGET}:
        return error
    line = data_line(settings.path, error.names)
    if len(error.names) < 2 or not line:
        return error
    fix = f"{line}  # or as the columns are meant"
    return DataError(error.found, where=error.where, expected=error.expected, fix=fix)


def _wanted(settings: DataSettings) -> list[str]:
    single = (settings.id, settings.time, settings.split_column)
    return [
        *settings.input_columns.values(),
        *settings.target_columns,
        *settings.group_columns,
        *settings.slices,
        *(name for name in single if name is not None),
    ]


class _Rows:
    """The cells of a file on their way to the table; every method raises DataError with row and column."""

    def __init__(self, settings: DataSettings, columns: Columns) -> None:
        self.settings, self.columns = settings, columns
        self.notes: list[str] = []

    def _where(self, row: int, column: str) -> str:
        return f"{self.settings.path}, row {row + 1}, column {column}"

    def _text(self, row: int, column: str) -> str | None:
        cell = self.columns.cells[column][row]
        if cell is None:
            return None
        try:
            return cell_text(self._exact(cell))
        except InputError as error:
            raise DataError(
                error.found, where=self._where(row, column), expected=error.expected, fix=error.fix
            ) from None

    def _exact(self, cell: Any) -> Any:
        """Return a cell whose nested numbers are floats; refuse digits that a float would drop."""
        if isinstance(cell, dict):
            return {key: self._nested(item) for key, item in cell.items()}
        return [self._nested(item) for item in cell] if isinstance(cell, list) else cell

    def _nested(self, cell: Any) -> Any:
        if isinstance(cell, Number):
            if not cell.exact:
                raise InputError(
                    f"the number {cell.text[:60]} has more digits than a 64-bit float", fix="write it as text"
                )
            return float(cell)
        return self._exact(cell)

    def _required(self, row: int, column: str, what: str) -> str:
        text = self._text(row, column)
        if text is None or not text.strip():
            raise DataError(f"no {what}", where=self._where(row, column), expected="a value in every row")
        return text

    def table(self) -> pa.Table:
        import pyarrow as pa

        settings, numbers = self.settings, range(self.columns.n_rows)
        inputs = [self._input(row) for row in numbers]
        targets = [self._target(row) for row in numbers]
        values: dict[str, list[str | None]] = {
            "example_id": list(self._ids([text for text, _ in inputs], targets)),
            "input": [text for text, _ in inputs],
            "input_kind": [kind for _, kind in inputs],
            "target": list(targets),
            "group_id": [self._group(row) for row in numbers],
            "created_at": [self._time(row) for row in numbers],
            "given_split": [self._split(row) for row in numbers],
        }
        for name in settings.slices:
            if name not in values:
                values[name] = [self._text(row, name) for row in numbers]
            elif (name,) != settings.target_columns and [name] != list(settings.input_columns.values()):
                raise DataError(
                    f"the slice {name!r} has the name of a column of ours",
                    where=settings.path,
                    expected=f"another name than {', '.join(tables.CONTRACTS['examples'].names)}",
                    fix="rename the column",
                )
        columns = {name: pa.array(column, pa.string()) for name, column in values.items()}
        return tables.checked(pa.table(columns), "examples", settings.path)

    def _input(self, row: int) -> tuple[str, str]:
        mapping = self.settings.input_columns
        (first, column), *others = mapping.items()
        cell = self.columns.cells[column][row]
        if not others and first == column:
            if isinstance(cell, list) and _is_chat(cell):
                self._check_chat(cell, row, column)
                return self._required(row, column, "input"), "messages"
            if isinstance(cell, (dict, list)):
                if not cell:
                    raise DataError("no input", where=self._where(row, column), expected="a value in every row")
                return self._required(row, column, "input"), "json"
            return self._required(row, column, "input"), "text"
        texts = {name: self._text(row, column) for name, column in mapping.items()}
        if not any(text is not None and text.strip() for text in texts.values()):
            raise DataError("no input", where=self._where(row, column), expected="a value in at least one input column")
        cells = {name: self._json_value(row, column) for name, column in mapping.items()}
        try:
            return canonical_json(cells).decode(), "json"
        except InputError as error:
            raise DataError(error.found, where=self._where(row, column)) from None

    def _json_value(self, row: int, column: str) -> Any:
        cell = self.columns.cells[column][row]
        try:
            return self._nested(cell)
        except InputError as error:
            raise DataError(error.found, where=self._where(row, column), fix=error.fix) from None

    def _check_chat(self, messages: list[dict[str, Any]], row: int, column: str) -> None:
        for number, message in enumerate(messages, 1):
            if message["role"] not in ROLES:
                raise DataError(
                    f"message {number} has the role {message['role']!r}",
                    where=self._where(row, column),
                    expected=", ".join(ROLES),
                )
        if not any(message["role"] == "user" and message["content"] for message in messages):
            raise DataError("no message of a user", where=self._where(row, column), expected="at least one")

    def _target(self, row: int) -> str:
        names = self.settings.target_columns
        if not names:
            return ""
        texts = {name: self._required(row, name, "target") for name in names}
        if len(names) == 1:
            return texts[names[0]]
        return canonical_json({name: self._json_value(row, name) for name in names}).decode()

    def _ids(self, inputs: Sequence[str], targets: Sequence[str]) -> Sequence[str]:
        column = self.settings.id
        if column is None:
            seen: Counter[tuple[str, str]] = Counter()
            ids: list[str] = []
            for pair in zip(inputs, targets, strict=True):
                seen[pair] += 1
                ids.append(fingerprint(*pair, seen[pair])[:ID_DIGITS])
            repeated = len(inputs) - len(seen)
            if repeated:
                self.notes.append(f"{repeated} rows repeat the input and target of an earlier row")
            return ids
        first: dict[str, int] = {}
        for row in range(len(inputs)):
            name = self._required(row, column, "id")
            if first.setdefault(name, row) != row:
                raise DataError(
                    f"the id {name[:80]!r} is that of row {first[name] + 1} too",
                    where=self._where(row, column),
                    expected="one row an id",
                )
        return list(first)

    def _group(self, row: int) -> str | None:
        names = self.settings.group_columns
        keys = [(name, text) for name in names if (text := self._text(row, name))]
        if len(names) < 2:
            return keys[0][1] if keys else None
        return canonical_json([list(pair) for pair in keys]).decode() if keys else None

    def _time(self, row: int) -> str | None:
        column = self.settings.time
        text = self._text(row, column) if column else None
        if not column or not text:
            return None
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            raise DataError(
                f"the time {text[:60]!r} cannot be read",
                where=self._where(row, column),
                expected="2026-01-31T12:00:00Z",
            ) from None
        if moment.tzinfo is None:
            self.notes.append(f"times in {column} without a zone are taken as UTC")
            moment = moment.replace(tzinfo=UTC)
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:
            raise DataError(f"the time {text[:60]!r} is out of range", where=self._where(row, column)) from None
        # A fixed width, so that text order is time order.
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def _split(self, row: int) -> str | None:
        column = self.settings.split_column
        if column is None:
            return None
        text = self._required(row, column, "split").strip().lower()
        if text not in SPLIT_NAMES:
            raise DataError(
                f"the split {text[:40]!r}",
                where=self._where(row, column),
                expected="train, dev (val, validation) or test",
            )
        return SPLIT_NAMES[text]


def _is_chat(cell: list[Any]) -> bool:
    return bool(cell) and all(isinstance(message, dict) and {"role", "content"} <= message.keys() for message in cell)
