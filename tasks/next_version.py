"""A new version of an experiment's test set with reviewed rows: which may join it, and what the file says then."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from safetycatch.data.crossings import group_crossings
from safetycatch.data.extension import extended
from safetycatch.data.leakage import DUPLICATE_KINDS, find_leaks, leak_matrix
from safetycatch.data.loading import load_examples
from safetycatch.data.reading import file_bytes, read_columns
from safetycatch.errors import UsageError
from safetycatch.judging.people import consensus, criteria_of
from safetycatch.settings import LeakSettings
from safetycatch.store import Store
from safetycatch.store.frozen import read_frozen
from safetycatch.tables import with_ids
from tasks.split import split_key
from tasks.start import read_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safetycatch.data.label_files import Labelled
    from safetycatch.settings import DataSettings
    from tasks.start import Inputs

SPLIT_COLUMN, FROM_COLUMN = "split", "promoted_from"
CORRECTED = "corrected"
LEARNED = ("train", "dev", "pool")


@dataclass(slots=True)
class Reviewed:
    """One example that people settled: `by` said `label`; `row` is what the data file gets."""

    example_id: str
    label: str
    by: list[str]
    failure_modes: list[str]
    outputs: list[dict[str, str]]
    picked: bool
    row: dict[str, str] = field(default_factory=dict[str, str])
    target_from: str = ""


@dataclass(frozen=True, slots=True)
class NextVersion:
    """The file's content, what joined, what did not and why, and what the experiment has to say now."""

    content: bytes
    old: Path
    n_old: int
    added: tuple[Reviewed, ...]
    refused: tuple[tuple[str, str], ...]
    left_out: int
    split_column: str | None
    data_name: str


def next_version(
    experiment: Path, found: Labelled, name: str, *, only: str | None = None, rule: str = "majority"
) -> NextVersion:
    """Return the experiment's data file with the examples that people reviewed as further test rows.

    `only`: those with this label. An example without a consensus or an expected answer, one that is a row already, and
    one whose text or group models learn from, is refused. The expected answer is the item's column `corrected`, else
    its reference.
    Raises: UsageError where the split is by hash and was never made; DataError.
    """
    inputs = read_inputs(experiment.absolute(), alone=True)
    data, path = inputs.experiment.data, inputs.files[inputs.experiment.data.path]
    settings = data.model_copy(update={"split_column": inputs.experiment.split.column})
    examples = load_examples(settings, root=inputs.path.parent).table
    splits = _splits(inputs, examples)
    reviewed, refused = _settled(found, only, rule)
    ready: list[Reviewed] = []
    for one, item in reviewed:
        if one.example_id in splits:
            refused.append((one.example_id, f"it is a {splits[one.example_id]} row already"))
            continue
        why = _fill(one, item, data, inputs.experiment.split.column)
        if why:
            refused.append((one.example_id, why))
        else:
            ready.append(one)
    content = file_bytes(path, data.path, data.max_file_mb)
    ids = examples["example_id"].to_pylist()
    own_split = inputs.experiment.split.column is None and not _all_test(inputs)
    names = read_columns(content, path.suffix.lower(), [], data.path).names
    added: dict[str, list[str]] = {} if FROM_COLUMN in names else {FROM_COLUMN: [""] * len(ids)}
    if own_split:
        added[SPLIT_COLUMN] = [splits[example_id] for example_id in ids]
    aside = frozenset(row for row, example_id in enumerate(ids) if splits[example_id] == "quarantine")
    for one in ready:
        one.row |= {FROM_COLUMN: name, **({SPLIT_COLUMN: "test"} if own_split else {})}

    def made(rows: list[Reviewed]) -> bytes:
        return extended(content, path.suffix.lower(), [one.row for one in rows], added, place=data.path, left_out=aside)

    leaking = _leaking(inputs, settings, examples, splits, made(ready), path.suffix, ready) if ready else {}
    refused += leaking.items()
    joined = [one for one in ready if one.example_id not in leaking]
    return NextVersion(
        made(joined),
        path,
        len(ids) - len(aside),
        tuple(joined),
        tuple(refused),
        len(aside),
        SPLIT_COLUMN if own_split else None,
        data.path,
    )


def _all_test(inputs: Inputs) -> bool:
    return inputs.experiment.split.shares == {"train": 0.0, "dev": 0.0, "test": 1.0}


def _splits(inputs: Inputs, examples: pa.Table) -> dict[str, str]:
    """Return the split of every row: as the file says, or as it was frozen."""
    split, ids = inputs.experiment.split, examples["example_id"].to_pylist()
    if split.column is not None:
        return dict(zip(ids, examples["given_split"].to_pylist(), strict=True))
    if _all_test(inputs):
        return dict.fromkeys(ids, "test")
    root = inputs.project.store_root
    store = Store.open(root) if root.is_dir() else None
    frozen = read_frozen(store, split_key(inputs)) if store is not None else None
    table = store.read(frozen.table) if store is not None and frozen is not None else None
    known = dict(zip(table["example_id"].to_pylist(), table["split"].to_pylist(), strict=True)) if table else {}
    if not set(ids) <= known.keys():
        raise UsageError(
            "the split of its rows is not known yet",
            where=str(inputs.path),
            expected="an experiment that was planned or run, or split: {column: …}",
            fix=f"safetycatch plan {inputs.shown}",
        )
    return {example_id: known[example_id] for example_id in ids}


def _settled(
    found: Labelled, only: str | None, rule: str
) -> tuple[list[tuple[Reviewed, dict[str, Any]]], list[tuple[str, str]]]:
    """Return the examples that people settled, each with its item, and those that they did not."""
    criteria = [name for name in criteria_of(found.labels) if name]
    whole = consensus(found.labels, rule=rule, criteria=criteria)
    said: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in found.labels.to_pylist():
        said.setdefault((row["example_id"], row["candidate"], row["output_hash"]), []).append(row)
    kept: dict[str, tuple[Reviewed, dict[str, Any]]] = {}
    disputed: dict[str, str] = {}
    for item in found.items.to_pylist():
        key = (item["example_id"], item["candidate"], item["output_hash"])
        if key not in whole:
            continue
        label = whole[key]  # type: ignore[index] - a key of the same three texts
        if label is None:
            disputed[item["example_id"]] = "people do not agree on it: labels adjudicate"
            continue
        if only is not None and label != only:
            continue
        rows = said[key]
        modes = [mode for row in rows for mode in (row["failure_mode"] or "").split("; ") if mode]
        output = {"candidate": item["candidate"], "output_hash": item["output_hash"], "label": label}
        if item["example_id"] in kept:
            one, _ = kept[item["example_id"]]
            one.outputs.append(output)
            one.by = sorted({*one.by, *(row["annotator"] for row in rows)})
            one.failure_modes = sorted({*one.failure_modes, *modes})
            continue
        by = sorted({row["annotator"] for row in rows})
        picked = item["sampling_probability"] is None
        kept[item["example_id"]] = Reviewed(item["example_id"], label, by, sorted(set(modes)), [output], picked), item
    return list(kept.values()), [(name, why) for name, why in disputed.items() if name not in kept]


def _fill(one: Reviewed, item: Mapping[str, Any], data: DataSettings, split_column: str | None) -> str:
    """Put the cells of a row together; return why it cannot be one."""
    columns = data.input_columns
    if len(columns) == 1 and list(columns) == list(columns.values()):
        one.row[next(iter(columns))] = item["input"]
    else:
        cells = _object(item["input"])
        if cells is None or not columns.keys() <= cells.keys():
            return f"its input is no object with {', '.join(columns)}"
        one.row |= {column: cells[name] for name, column in columns.items()}
    corrected = item.get(CORRECTED)
    target = corrected or item["reference"]
    if data.target_columns:
        if not target:
            return "it has no expected answer: neither a reference nor a column 'corrected'"
        one.target_from = CORRECTED if corrected else "reference"
        if len(data.target_columns) == 1:
            one.row[data.target_columns[0]] = target
        else:
            cells = _object(target)
            if cells is None or not set(data.target_columns) <= cells.keys():
                return f"its expected answer is no object with {', '.join(data.target_columns)}"
            one.row |= {name: cells[name] for name in data.target_columns}
    if not item["input"].strip():
        return "it has no input"
    others = [*data.slices, *data.group_columns, *([data.time] if data.time else [])]
    one.row |= {name: text for name in others if name not in one.row and (text := item.get(name))}
    if data.id is not None:
        one.row[data.id] = one.example_id
    if split_column is not None:
        one.row[split_column] = "test"
    return ""


def _object(text: str) -> dict[str, str] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return {name: str(cell) for name, cell in found.items()} if isinstance(found, dict) else None


def _leaking(
    inputs: Inputs,
    settings: DataSettings,
    examples: pa.Table,
    splits: Mapping[str, str],
    content: bytes,
    kind: str,
    ready: list[Reviewed],
) -> dict[str, str]:
    """Return the new rows that models learn from in some spelling, or that the test set holds, each with the row."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"data{kind}").write_bytes(content)
        loaded = load_examples(settings.model_copy(update={"path": f"data{kind}"}), root=Path(folder)).table
    new = loaded.slice(loaded.num_rows - len(ready))
    of = dict(zip(new["example_id"].to_pylist(), (one.example_id for one in ready), strict=True))
    sets = {name: with_ids(examples, [key for key, own in splits.items() if own == name]) for name in ("train", "dev")}
    if inputs.experiment.data.pool:
        pool = settings.model_copy(update={"path": inputs.experiment.data.pool, "split_column": None})
        sets["pool"] = load_examples(pool, root=inputs.path.parent).table
    learned = {"test": new, **{name: table for name, table in sets.items() if table.num_rows}}
    leaks = [leak_matrix(learned, LeakSettings())]
    if settings.group:
        leaks.append(group_crossings(learned))
    tested = with_ids(examples, [key for key, own in splits.items() if own == "test"])
    found: dict[str, str] = {}
    for row in pa.concat_tables(leaks).filter(pc.field("left_split") == "test").to_pylist():
        if row["right_split"] in LEARNED and row["kind"] in {*DUPLICATE_KINDS, "group"}:
            found.setdefault(of[row["left_id"]], f"{row['kind']} of {row['right_split']} row {row['right_id']}")
    for row in find_leaks(new, tested).to_pylist() if tested.num_rows else []:
        if row["kind"] in {"exact", "normalised"}:
            found.setdefault(of[row["left_id"]], f"the test set holds it as {row['right_id']}")
    return found
