"""What people said of outputs, as a file: CSV, TSV, JSONL, Parquet, or Label Studio's JSON.

A row is one label; a row without a label is an item that nobody has labelled yet. Nothing is guessed silently: how
labels and ids were read is told in `notes`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from safetycatch import tables
from safetycatch.configuration import nearest
from safetycatch.data import label_studio
from safetycatch.data.label_spelling import as_verdicts
from safetycatch.data.loading import ID_DIGITS
from safetycatch.data.reading import KINDS, NoColumnError, cell_text, file_bytes, read_columns
from safetycatch.data.spreadsheet import restored
from safetycatch.errors import DataError
from safetycatch.identity import fingerprint, output_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pyarrow as pa

    from safetycatch.judge_settings import JudgeSettings

MAX_FILE_MB = 512
SHOWN_CONFLICTS = 20
UNNAMED = "unnamed"
LABEL_KINDS = (*KINDS, ".json")

ITEM_COLUMNS = ("example_id", "candidate", "output_hash", "input", "output", "reference", "sampling_probability")
LABEL_COLUMNS = ("annotator", "criterion", "label", "critique", "failure_mode", "rubric_hash", "labelled_at")
INSTEAD = {"example_id": "id", "reference": "target"}  # what a column is called too, where it has not its own name

Row = dict[str, str | None]
ItemKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Labelled:
    """`items` (contract `label_items`, further columns are slices), the `labels` of them, and `notes` for the user."""

    items: pa.Table
    labels: pa.Table
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Read:
    """Rows on their way to tables: `number[i]` is where row i stands in the file, from 1."""

    place: str
    rows: list[Row]
    slices: tuple[str, ...]
    where: str = "row"
    notes: list[str] = field(default_factory=list[str])

    def at(self, number: int, column: str = "") -> str:
        return f"{self.place}, {self.where} {number + 1}" + (f", column {column}" if column else "")


def read_labels(
    path: Path, settings: JudgeSettings | None = None, *, verdicts: Sequence[str] | None = None
) -> Labelled:
    """Return the items and labels of a file with the columns `output` and `label`, or of Label Studio's JSON.

    Optional columns: input, reference (or target), annotator, criterion, critique, failure_mode, example_id (or id),
    candidate, output_hash, sampling_probability, rubric_hash, labelled_at; any other one is a slice. With `settings`,
    or the `verdicts` of a scale, labels are those. Ids that are not given come from the content.

    Raises: DataError naming row and column of: an unknown label, an output that its hash contradicts, an item with
    two inputs, one annotator's two labels of one item and criterion.
    """
    if not path.exists():
        near = nearest(path.name, [item.name for item in path.parent.glob("*")])
        fix = f"{path.parent / near}, if that was meant" if near else "safetycatch review makes a label set"
        raise DataError("no label set or file", where=str(path), fix=fix)
    read = _studio(path) if path.suffix.lower() == ".json" else _flat(path)
    if not read.rows:
        raise DataError("no rows", where=read.place, expected="at least one output")
    items = _items(read)
    scale = settings.verdict_labels if settings is not None else verdicts
    labels = _labels(read, scale, items)
    return Labelled(*_tables(items, labels, read.slices), tuple(dict.fromkeys(read.notes)))


def content_id(input_text: str, reference: str | None, output: str) -> str:
    """Return the id of an example without one: the id that `load_examples` gives a row of this input and target."""
    parts = (input_text, reference or "", 1) if input_text else ("", reference or "", output)
    return fingerprint(*parts)[:ID_DIGITS]


def flat_rows(labelled: Labelled) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the columns and rows of a label file: one row a label, and one an item that nobody has labelled."""
    by_item: dict[ItemKey, list[dict[str, Any]]] = {}
    for label in labelled.labels.to_pylist():
        by_item.setdefault(item_key(label), []).append({name: label[name] for name in LABEL_COLUMNS})
    nothing: dict[str, Any] = dict.fromkeys(LABEL_COLUMNS)
    rows = [
        {**item, **label} for item in labelled.items.to_pylist() for label in by_item.get(item_key(item), [nothing])
    ]
    slices = [name for name in labelled.items.column_names if name not in ITEM_COLUMNS]
    return [*ITEM_COLUMNS, *slices, *LABEL_COLUMNS], rows


def item_key(row: dict[str, Any]) -> ItemKey:
    """Return what identifies the labelled item of a row: example, candidate and hash of the output."""
    return row["example_id"], row["candidate"], row["output_hash"]


# -- the rows of a file ----------------------------------------------------------------------------------------------


def _flat(path: Path) -> _Read:
    kind, place = path.suffix.lower(), str(path)
    if kind not in KINDS:
        raise DataError(f"{kind or 'no'} extension", where=place, expected=", ".join(LABEL_KINDS))
    data = file_bytes(path, place, MAX_FILE_MB)
    try:
        names = read_columns(data, kind, ["output", "label"], place).names
    except NoColumnError as error:
        fix = error.fix or f"call the column of {'answers' if error.column == 'output' else 'verdicts'} {error.column}"
        raise DataError(error.found, where=place, expected=error.expected, fix=fix) from None
    taken = _taken(names)
    columns = read_columns(data, kind, [name for name in names if name], place)
    # Only a file of ours has hashes, and only ours has a ' before what looks like a formula.
    ours = kind in {".csv", ".tsv"} and "output_hash" in names
    cells = {ours_name: columns.cells[name] for name, ours_name in taken.items()}
    rows = [
        {name: _text(column[row], shielded=ours) for name, column in cells.items()} for row in range(columns.n_rows)
    ]
    return _Read(place, rows, _slices(taken.values()))


def _taken(names: Iterable[str]) -> dict[str, str]:
    """Return what each column of a file is to us: one of our own names, or a slice under its own."""
    there = [name for name in names if name]
    other = {theirs: ours for ours, theirs in INSTEAD.items() if ours not in there and theirs in there}
    return {name: other.get(name, name) for name in there}


def _slices(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in {*ITEM_COLUMNS, *LABEL_COLUMNS})


def _text(cell: Any, *, shielded: bool) -> str | None:
    if cell is None:
        return None
    return restored(cell) if shielded and isinstance(cell, str) else cell_text(cell)


def _studio(path: Path) -> _Read:
    found = label_studio.read_tasks(file_bytes(path, str(path), MAX_FILE_MB), str(path))
    taken = _taken(dict.fromkeys(name for row in found.rows for name in row))
    rows: list[Row] = [{taken[name]: cell for name, cell in row.items()} for row in found.rows]
    return _Read(str(path), rows, _slices(taken.values()), "label", list(found.notes))


# -- items -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Items:
    """The items of a file in order, and which one each row is about."""

    found: dict[ItemKey, dict[str, Any]]
    of_row: list[ItemKey]


def _items(read: _Read) -> _Items:
    items = _Items({}, [])
    first: dict[ItemKey, int] = {}
    varying: set[str] = set()
    n_own_ids = 0
    for number, row in enumerate(read.rows):
        item = _item(read, number, row)
        n_own_ids += not row.get("example_id")
        key = item_key(item)
        items.of_row.append(key)
        if first.setdefault(key, number) == number:
            items.found[key] = item
            continue
        earlier = items.found[key]
        for name in ("input", "reference", "sampling_probability"):
            if earlier[name] != item[name]:
                raise DataError(
                    f"another {name} than in {read.where} {first[key] + 1}, and the same item {key[0][:60]!r}",
                    where=read.at(number, name),
                    expected="one input, reference and probability an item",
                    fix="give each item an id of its own in the column example_id",
                )
        varying |= {name for name in read.slices if earlier[name] != item[name]}
    if n_own_ids:
        read.notes.append(f"{n_own_ids:,} rows without an id: ids come from their content")
    if varying:
        read.notes.append(f"no slices, for they differ within an item: {', '.join(sorted(varying))}")
        read.slices = tuple(name for name in read.slices if name not in varying)
    return items


def _item(read: _Read, number: int, row: Row) -> dict[str, Any]:
    output = row.get("output")
    if output is None:
        raise DataError("no output", where=read.at(number, "output"), expected="the answer that is labelled")
    digest, told = output_hash(output), row.get("output_hash")
    if told and told != digest:
        raise DataError(
            f"the output is not the one that was exported: its hash is {digest}, the row says {told[:40]}",
            where=read.at(number, "output"),
            expected="outputs unchanged; only labels are filled in",
            fix="export again; some editors change line breaks or long texts",
        )
    asked, reference = row.get("input") or "", row.get("reference") or None
    return {
        "example_id": row.get("example_id") or content_id(asked, reference, output),
        "candidate": row.get("candidate") or "",
        "output_hash": digest,
        "input": asked,
        "output": output,
        "reference": reference,
        "sampling_probability": _probability(read, number, row.get("sampling_probability")),
        **{name: row.get(name) for name in read.slices},
    }


def _probability(read: _Read, number: int, text: str | None) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise DataError(
            f"{text[:40]!r}",
            where=read.at(number, "sampling_probability"),
            expected="the chance with which the item was drawn, above 0 and at most 1; empty when it was picked",
        )
    return value


# -- labels ----------------------------------------------------------------------------------------------------------


def _labels(read: _Read, scale: Sequence[str] | None, items: _Items) -> list[dict[str, Any]]:
    numbers = [number for number, row in enumerate(read.rows) if (row.get("label") or "").strip()]
    texts = [str(read.rows[number]["label"]) for number in numbers]
    criteria = [(read.rows[number].get("criterion") or "").strip() for number in numbers]
    verdicts, told = as_verdicts(texts, criteria, scale, [read.at(number, "label") for number in numbers])
    read.notes += told
    kept: dict[tuple[str, ...], tuple[int, dict[str, Any]]] = {}
    conflicts: list[str] = []
    n_unnamed = n_repeated = 0
    for number, verdict, criterion in zip(numbers, verdicts, criteria, strict=True):
        row, key = read.rows[number], items.of_row[number]
        annotator = (row.get("annotator") or "").strip()
        n_unnamed += not annotator
        label: dict[str, Any] = {
            **dict(zip(("example_id", "candidate", "output_hash"), key, strict=True)),
            "annotator": annotator or UNNAMED,
            "criterion": criterion,
            "label": verdict,
            **{name: row.get(name) or None for name in ("critique", "failure_mode", "rubric_hash")},
            "labelled_at": _time(read, number, row.get("labelled_at")),
            "sampling_probability": items.found[key]["sampling_probability"],
        }
        unique = (*key, label["annotator"], criterion)
        earlier, said = kept.setdefault(unique, (number, label))
        if earlier != number:
            n_repeated += 1
            if said["label"] != verdict:
                conflicts.append(
                    f"{label['annotator'][:40]} on {key[0][:40]}{f' ({criterion})' if criterion else ''}: "
                    f"{said['label']} in {read.where} {earlier + 1}, {verdict} in {number + 1}"
                )
    if conflicts:
        raise _contradicting(read, conflicts, unnamed=bool(n_unnamed))
    if n_unnamed:
        read.notes.append(f"{n_unnamed:,} labels without an annotator are taken as those of one person, {UNNAMED!r}")
    if n_repeated:
        read.notes.append(f"{n_repeated:,} rows repeat an earlier label and count once")
    return [label for _, label in kept.values()]


def _contradicting(read: _Read, conflicts: Sequence[str], *, unnamed: bool) -> DataError:
    more = len(conflicts) - SHOWN_CONFLICTS
    shown = "; ".join(conflicts[:SHOWN_CONFLICTS]) + (f"; and {more:,} more" if more > 0 else "")
    return DataError(
        f"{len(conflicts):,} labels contradict an earlier one of the same annotator: {shown}",
        where=read.place,
        expected="one label an annotator, item and criterion",
        fix="name who said what in a column annotator" if unnamed else "keep the label that is meant",
    )


def _time(read: _Read, number: int, text: str | None) -> str | None:
    if not text:
        return None
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise DataError(
            f"the time {text[:60]!r} cannot be read",
            where=read.at(number, "labelled_at"),
            expected="2026-01-31T12:00:00Z",
        ) from None
    return text


def _tables(items: _Items, labels: list[dict[str, Any]], slices: Sequence[str]) -> tuple[pa.Table, pa.Table]:
    import pyarrow as pa

    rows = list(items.found.values())
    schema = tables.schema("label_items")
    for name in slices:
        schema = schema.append(pa.field(name, pa.string()))
    found = pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema=schema)
    said = pa.Table.from_pylist(labels, schema=tables.schema("labels"))
    return tables.checked(found, "label_items"), tables.checked(said, "labels")
