"""Scores that something else measured: a table with an item and a score in every row, or promptfoo's results.

Nothing is guessed silently: which columns were read is told in `notes`. A score is a number, true or false; an empty
one is missing and never 0. Several rows of an item are its runs.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safetycatch.data.reading import KINDS, Columns, Number, file_bytes, read_columns
from safetycatch.errors import DataError
from safetycatch.identity import canonical_json, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MAX_FILE_MB = 1_024
MAX_SIDES = 64  # systems in one file
MAX_METRICS = 64
FOREIGN_KINDS = (*KINDS, ".json")

ITEM = ("example_id", "question_id", "item_id", "item", "id")
SCORE = ("score", "correct", "is_correct", "accuracy", "value", "success", "passed")
SYSTEM = ("candidate", "system", "provider", "model")
METRIC = ("metric",)
RUN = ("replicate", "epoch", "trial", "run")
CLUSTER = ("cluster_id", "cluster", "group_id", "group")
OUTPUT = ("output", "response", "prediction", "completion")
# What two files must agree on where both hold it; a prompt is no such thing, for it may be what is compared.
CONTENT = {"content": ("content",), "input": ("input", "question"), "target": ("target", "expected", "reference")}

_YES = frozenset({"true", "yes", "pass", "passed", "correct"})
_NO = frozenset({"false", "no", "fail", "failed", "incorrect", "wrong"})
_MISSING = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The columns that the user named, the first that a file has counts; empty: the common names are tried."""

    item: tuple[str, ...] = ()
    score: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForeignSide:
    """One system's scores: `scores` by metric and item, a value a run (NaN: missing), all metrics over all items.

    `clusters`, `slices`, `contents` (hash by kind) and `texts` (input, target, output) hold what the file has, by item.
    """

    name: str
    scores: dict[str, dict[str, list[float]]]
    clusters: dict[str, str] = field(default_factory=dict[str, str])
    slices: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    contents: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    texts: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    description: str = ""

    @property
    def items(self) -> tuple[str, ...]:
        """The items' ids, in the order of the file."""
        return tuple(next(iter(self.scores.values()), {}))


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A file's sides in order, what it is (`format`), its SHA-256, and `notes` on how it was read."""

    path: Path
    format: str
    sha256: str
    n_rows: int
    sides: tuple[ForeignSide, ...]
    notes: tuple[str, ...]


def read_foreign(path: Path, wanted: Wanted | None = None) -> ForeignFile:
    """Return the scores in a CSV, TSV, JSONL or Parquet file, or in promptfoo's JSON or JSONL results.

    Raises: DataError naming row (from 1) and column of: a missing column, item or unreadable score; a percentage; two
    scores of one run; an item with two clusters, slices or contents; a file above 1 GB.
    """
    from safetycatch.data import promptfoo

    kind, wanted = path.suffix.lower(), wanted or Wanted()
    if kind not in FOREIGN_KINDS:
        raise DataError(f"{kind or 'no'} extension", where=str(path), expected=", ".join(FOREIGN_KINDS))
    data = file_bytes(path, str(path), MAX_FILE_MB)
    digest = hashlib.sha256(data).hexdigest()
    if kind == ".json":
        found = promptfoo.read_json(data, str(path), wanted)
        return ForeignFile(path, found.format, digest, found.n_rows, found.sides, found.notes)
    columns = read_columns(data, kind, [], str(path), optional=[*_known(wanted), *promptfoo.COLUMNS])
    if not columns.n_rows:
        raise DataError("no rows", where=str(path), expected="at least one row below the header")
    if promptfoo.is_rows(columns):
        found = promptfoo.read_rows(columns, str(path), wanted)
        return ForeignFile(path, found.format, digest, found.n_rows, found.sides, found.notes)
    sides, notes = _Table(columns, str(path), wanted).sides()
    return ForeignFile(path, f"{kind[1:].upper()}, {columns.n_rows:,} rows", digest, columns.n_rows, sides, notes)


def _known(wanted: Wanted) -> list[str]:
    names = [*wanted.item, *wanted.score, *wanted.cluster, *wanted.slices]
    common = [*ITEM, *SCORE, *SYSTEM, *METRIC, *RUN, *CLUSTER, *OUTPUT, *(n for kind in CONTENT.values() for n in kind)]
    return [*names, *(form for name in common for form in _forms(name))]


def _forms(name: str) -> tuple[str, str, str]:
    return name, name.capitalize(), name.upper()


def score_of(cell: Any, where: str) -> float:
    """Return a score as a number, yes as 1 and no as 0, NaN for an empty one.

    Raises: DataError for a percentage, an infinity or any other text.
    """
    if cell is None:
        return math.nan
    if isinstance(cell, (bool, int, float)):
        # A JSON number beyond a float was refused when the file was read; Parquet may still hold a huge integer.
        number = float(cell) if abs(cell) < 1e300 else math.inf
    elif isinstance(cell, str):
        text = cell.strip()
        if text.lower() in _MISSING:
            return math.nan
        if text.lower() in _YES | _NO:
            return 1.0 if text.lower() in _YES else 0.0
        if not _NUMBER.fullmatch(text):
            raise _unreadable(text, where)
        number = float(text)
    else:
        raise DataError(f"a {type(cell).__name__} as score", where=where, expected="a number, true or false")
    if not math.isfinite(number):
        raise DataError(f"the score {str(cell)[:40]}", where=where, expected="a finite number, or empty when missing")
    return number


def _unreadable(text: str, where: str) -> DataError:
    expected, fix = "a number such as 0.84, true or false, or empty when missing", ""
    if text.endswith("%") and _NUMBER.fullmatch(bare := text[:-1].strip()):
        fix = f"write {float(bare) / 100:g} for {text[:20]}"
    elif re.fullmatch(r"[+-]?\d+,\d+", text):
        fix = f"write {text[:20].replace(',', '.')} for {text[:20]}"
    return DataError(f"the score {text[:40]!r}", where=where, expected=expected, fix=fix)


def content_hash(*parts: Any) -> str:
    """Return 16 hex digits that change with any of `parts`."""
    return fingerprint(*parts)[:16]


class _Table:
    """The cells of a table on their way to sides; every method raises DataError with row and column."""

    def __init__(self, columns: Columns, place: str, wanted: Wanted) -> None:
        self.columns, self.place, self.wanted = columns, place, wanted
        self.notes: list[str] = []

    def _where(self, row: int, column: str) -> str:
        return f"{self.place}, row {row + 1}, column {column}"

    def _common(self, names: Iterable[str]) -> list[str]:
        return [form for name in names for form in _forms(name) if form in self.columns.cells]

    def _named(self, named: Sequence[str], common: Sequence[str], option: str, what: str) -> str:
        """Return the column to read: one that the user named, else the first common name."""
        there = [name for name in named if name in self.columns.cells] if named else self._common(common)
        if not there:
            held = ", ".join(self.columns.names[:30]) + (" …" if len(self.columns.names) > 30 else "")
            asked = f"no column {' or '.join(map(repr, named))}" if named else f"no column with the {what}"
            raise DataError(
                asked,
                where=self.place,
                expected=f"one of {', '.join(common)}" if not named else f"one of: {held}",
                fix=f"{option} COLUMN; the file has {held}" if not named else "",
            )
        if not named and len(there) > 1:
            self.notes.append(f"the {what} is read from {there[0]!r}, not from {there[1]!r} ({option} {there[1]} does)")
        return there[0]

    def _optional(self, names: Sequence[str]) -> str | None:
        return next(iter(self._common(names)), None)

    def _text(self, row: int, column: str) -> str:
        cell = self.columns.cells[column][row]
        if cell is None:
            return ""
        if isinstance(cell, str):
            return cell
        if isinstance(cell, Number):
            return cell.text
        if isinstance(cell, bool):
            return "true" if cell else "false"
        if isinstance(cell, int):
            return str(cell)
        return canonical_json(plain(cell)).decode()

    def sides(self) -> tuple[tuple[ForeignSide, ...], tuple[str, ...]]:
        item = self._named(self.wanted.item, ITEM, "--item", "item")
        score = self._named(self.wanted.score, SCORE, "--score", "score")
        metric, run, system = self._optional(METRIC), self._optional(RUN), self._system()
        per_side: dict[str, list[int]] = {}
        for row in range(self.columns.n_rows):
            per_side.setdefault(self._text(row, system) if system else "", []).append(row)
        if len(per_side) > MAX_SIDES:
            raise DataError(
                f"{len(per_side)} different values of {system!r}",
                where=self.place,
                expected=f"{MAX_SIDES} systems at most",
            )
        return tuple(self._side(name, rows, item, score, metric, run) for name, rows in per_side.items()), tuple(
            dict.fromkeys(self.notes)
        )

    def _system(self) -> str | None:
        """Return the column that names the system, where it names several: their rows are no runs of one another."""
        for name in self._common(SYSTEM):
            values = {self._text(row, name) for row in range(self.columns.n_rows)}
            if len(values) > 1:
                self.notes.append(f"{len(values)} systems are read from the column {name!r}")
                return name
        return None

    def _side(
        self, name: str, rows: list[int], item: str, score: str, metric: str | None, run: str | None
    ) -> ForeignSide:
        seen: dict[tuple[str, str, str], tuple[float, int]] = {}
        scores: dict[str, dict[str, list[float]]] = {}
        ids: dict[str, int] = {}
        repeated = 0
        for row in rows:
            example_id = self._text(row, item)
            if not example_id.strip():
                raise DataError("no item", where=self._where(row, item), expected="an id in every row")
            what = (self._text(row, metric) if metric else score) or score
            value = score_of(self.columns.cells[score][row], self._where(row, score))
            ids.setdefault(example_id, row)
            if run is not None:
                key = (what, example_id, self._text(row, run))
                first = seen.setdefault(key, (value, row))
                if first[1] != row:
                    if not _same(first[0], value):
                        raise DataError(
                            f"item {example_id[:80]!r} has the score {first[0]:g} in row {first[1] + 1} and {value:g} "
                            f"here, both {run} {key[2][:40]!r}",
                            where=self._where(row, score),
                            expected="one score an item and run",
                            fix=f"number the runs in the column {run!r}",
                        )
                    repeated += 1
                    continue
            scores.setdefault(what, {}).setdefault(example_id, []).append(value)
        if len(scores) > MAX_METRICS:
            raise DataError(f"{len(scores)} metrics", where=self.place, expected=f"{MAX_METRICS} at most")
        if repeated:
            self.notes.append(f"{repeated:,} rows repeat an earlier one and count once")
        several = sum(len(values) > 1 for values in next(iter(scores.values())).values())
        if several and run is None:
            self.notes.append(f"{several:,} items have several rows: taken as runs of the same item")
        whole = {
            what: {example_id: found.get(example_id, [math.nan]) for example_id in ids}
            for what, found in scores.items()
        }
        return ForeignSide(name, whole, **self._about(rows, item))

    def _about(self, rows: list[int], item: str) -> dict[str, Any]:
        named = [name for name in self.wanted.cluster if name in self.columns.cells]
        cluster = next(iter(named), None) if self.wanted.cluster else self._optional(CLUSTER)
        held = {name: found for name, names in CONTENT.items() if (found := self._optional(names)) and found != item}
        slices = [name for name in self.wanted.slices if name in self.columns.cells]
        output = self._optional(OUTPUT)
        inputs = {name: self._steady(rows, item, column) for name, column in held.items()}
        texts = {name: found for name, found in inputs.items() if name != "content"}
        if output:
            texts["output"] = self._first(rows, item, output)
        return {
            "clusters": {k: v for k, v in self._steady(rows, item, cluster).items() if v} if cluster else {},
            "slices": {name: self._steady(rows, item, name) for name in slices},
            "contents": {
                name: {example_id: content_hash(text) for example_id, text in found.items()}
                for name, found in inputs.items()
            },
            "texts": texts,
        }

    def _first(self, rows: list[int], item: str, column: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for row in rows:
            found.setdefault(self._text(row, item), self._text(row, column))
        return found

    def _steady(self, rows: list[int], item: str, column: str) -> dict[str, str]:
        """Return a column that says the same in every row of an item."""
        found: dict[str, tuple[str, int]] = {}
        for row in rows:
            example_id, text = self._text(row, item), self._text(row, column)
            first = found.setdefault(example_id, (text, row))
            if first[0] != text:
                raise DataError(
                    f"{text[:40]!r} for item {example_id[:80]!r}, and {first[0][:40]!r} in row {first[1] + 1}",
                    where=self._where(row, column),
                    expected="the same in every row of an item",
                    fix="give each item an id of its own, or name the right column with --item",
                )
        return {example_id: text for example_id, (text, _) in found.items()}


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def plain(cell: Any) -> Any:
    """Return a nested cell whose numbers are texts as the file writes them, for hashing and showing."""
    if isinstance(cell, Number):
        return cell.text
    if isinstance(cell, dict):
        return {str(key): plain(value) for key, value in cell.items()}
    return [plain(value) for value in cell] if isinstance(cell, list) else cell
