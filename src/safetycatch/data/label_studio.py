"""Label Studio's JSON: a list of tasks with data and annotations (https://labelstud.io/guide/task_format).

Verdicts are `choices` results, critiques `textarea` results. Label Studio keeps a result as it was given, but makes
whoever imports a task its annotator: who labelled, and when, is therefore kept in the `meta` of our results.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safetycatch.data.reading import cell_text, read_json
from safetycatch.errors import DataError, InputError
from safetycatch.identity import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LABEL, CRITIQUE, MODES = "label", "critique", "failure_mode"
ANSWER = "output"  # the object tag that results point to
META = "safetycatch"
META_COLUMNS = ("annotator", "rubric_hash", "labelled_at")
JOINT = "; "

Row = dict[str, str | None]


@dataclass(slots=True)
class Tasks:
    """The rows of a label file that tasks hold, and what to tell the user."""

    rows: list[Row] = field(default_factory=list[Row])
    notes: list[str] = field(default_factory=list[str])


def tasks_json(columns: Sequence[str], rows: Iterable[dict[str, Any]], label_columns: Sequence[str]) -> bytes:
    """Return the rows of a label file as Label Studio's JSON: one task an item, one annotation an annotator."""
    of_item = [name for name in columns if name not in label_columns]
    tasks: dict[tuple[str, str, str], dict[str, Any]] = {}
    by_annotator: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["example_id"], row["candidate"], row["output_hash"])
        data = {name: row[name] for name in of_item if row[name] is not None}
        task = tasks.setdefault(key, {"data": data, "annotations": []})
        if row["label"] is None:
            continue
        whose = (*key, row["annotator"])
        if whose not in by_annotator:
            by_annotator[whose] = []
            task["annotations"].append({"result": by_annotator[whose], "was_cancelled": False})
        by_annotator[whose] += _results(row)
    return (json.dumps(list(tasks.values()), ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _results(row: dict[str, Any]) -> list[dict[str, Any]]:
    meta = {META: {name: row[name] for name in META_COLUMNS if row[name] is not None}}

    def result(name: str, kind: str, value: dict[str, list[str]]) -> dict[str, Any]:
        control = f"{name}.{row['criterion']}" if row["criterion"] else name
        own = fingerprint(row["example_id"], row["candidate"], row["output_hash"], row["annotator"], control)[:10]
        return {"id": own, "from_name": control, "to_name": ANSWER, "type": kind, "value": value, "meta": meta}

    made = [result(LABEL, "choices", {"choices": [row["label"]]})]
    if row["critique"]:
        made.append(result(CRITIQUE, "textarea", {"text": [row["critique"]]}))
    if row["failure_mode"]:
        made.append(result(MODES, "choices", {"choices": row["failure_mode"].split(JOINT)}))
    return made


def read_tasks(content: bytes, place: str) -> Tasks:
    """Return the rows of Label Studio's JSON export; predictions, drafts and cancelled annotations are no labels.

    A control called label (or the only one with choices) is the verdict on the whole answer, `label.NAME` or any
    other name a criterion.
    Raises: DataError naming the task.
    """
    tasks = read_json(content, place)
    if not isinstance(tasks, list):
        raise DataError(f"a JSON {type(tasks).__name__}", where=place, expected="a list of tasks, as Label Studio has")
    found = Tasks()
    n_cancelled = n_predictions = 0
    for number, task in enumerate(tasks, 1):
        where = f"{place}, task {number}"
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict) or "output" not in data:
            raise DataError("no data.output", where=where, expected='{"data": {"input": …, "output": …}}')
        item = {str(name): _text(cell, f"{where}, data.{name}") for name, cell in data.items()}
        annotations = [one for one in _list(task, "annotations", where) if not one.get("was_cancelled")]
        n_cancelled += len(task.get("annotations") or []) - len(annotations)
        n_predictions += len(task.get("predictions") or [])
        rows = [row for one in annotations for row in _labels(one, where)]
        found.rows += [{**item, **row} for row in rows] or [item]
    if n_cancelled:
        found.notes.append(f"{n_cancelled:,} cancelled annotations are left out")
    if n_predictions:
        found.notes.append(f"{n_predictions:,} predictions are a model's, and left out")
    return found


def _list(holder: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    found = holder.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise DataError(f"{name} is no list of objects", where=where, expected="Label Studio's JSON export")
    return found


def _labels(annotation: dict[str, Any], where: str) -> list[Row]:
    """Return the labels of one annotation, one a criterion."""
    results = _list(annotation, "result", where)
    verdicts = [one for one in results if one.get("type") == "choices" and _control(one)[0] != MODES]
    alone = len({one.get("from_name") for one in verdicts}) == 1
    rows: dict[str, Row] = {}
    for one in verdicts:
        name, criterion = _control(one)
        criterion = "" if alone and name != LABEL else criterion if name == LABEL else str(one.get("from_name"))
        choices = _values(one, "choices", where)
        if len(choices) != 1 or criterion in rows:
            raise DataError(
                f"{len(choices) if criterion not in rows else 2} verdicts of {str(one.get('from_name'))[:60]!r}",
                where=where,
                expected="one choice a control",
            )
        rows[criterion] = {"criterion": criterion, "label": choices[0], **_who(one, annotation)}
    for one in results:
        name, criterion = _control(one)
        owner = rows.get(criterion) or (rows.get("") if name not in {CRITIQUE, MODES} else None)
        if owner is None:
            continue
        if one.get("type") == "textarea":
            said = [*filter(None, [owner.get(CRITIQUE)]), *_values(one, "text", where)]
            owner[CRITIQUE] = "\n".join(said)
        elif name == MODES:
            owner[MODES] = JOINT.join(_values(one, "choices", where))
    return list(rows.values())


def _control(result: dict[str, Any]) -> tuple[str, str]:
    name, _, criterion = str(result.get("from_name") or "").partition(".")
    return name, criterion


def _values(result: dict[str, Any], kind: str, where: str) -> list[str]:
    value = result.get("value")
    found = value.get(kind) if isinstance(value, dict) else None
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise DataError(f"no value.{kind} in {str(result.get('from_name'))[:60]!r}", where=where, expected="texts")
    return found


def _who(result: dict[str, Any], annotation: dict[str, Any]) -> Row:
    meta = result.get("meta")
    kept = meta.get(META) if isinstance(meta, dict) else None
    if isinstance(kept, dict):
        return {name: str(kept[name]) for name in META_COLUMNS if kept.get(name) is not None}
    by = annotation.get("completed_by")
    name = (by.get("email") or by.get("id")) if isinstance(by, dict) else by
    when = annotation.get("created_at")
    return {
        "annotator": None if name is None else str(name) if not isinstance(name, int) else f"user-{name}",
        "labelled_at": when if isinstance(when, str) else None,
    }


def _text(cell: Any, where: str) -> str | None:
    try:
        return None if cell is None else cell_text(cell)
    except InputError as error:
        raise DataError(error.found, where=where) from None
