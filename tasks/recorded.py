"""Stage `recorded`: replies that somebody recorded earlier, as `rows`; no call is made."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import task

from safetycatch.data.reading import KINDS, read_columns
from safetycatch.errors import DataError
from safetycatch.experiment import Candidate
from tasks.calling import scorers_of
from tasks.evaluate import SCHEMA
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, transient

if TYPE_CHECKING:
    from pathlib import Path

STAGE, VERSION = "recorded", "3"
ID, OUTPUT = "example_id", "output"
OPTIONAL = ("candidate", "replicate", "latency_s", "cost_usd")


@task(
    name=STAGE,
    task_run_name="recorded {settings[candidate][id]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=2,
    retry_condition_fn=transient,
)
def recorded(place: Place, settings: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """Return the reference of the `rows` of a candidate with `outputs:`.

    The file has `example_id` (or the data's own id column, `settings[id]`) and `output`; `candidate`, `replicate`,
    `latency_s` and `cost_usd` are read when there.
    Raises: DataError when an item has two outputs; items without one count as missing.
    """

    def produce() -> Produced:
        candidate = Candidate.model_validate(settings["candidate"])
        parse = scorers_of(place, settings)[0].parse
        found = read_recorded(place, candidate, settings["sha256"], settings["id"])
        rows = [
            _row(candidate.id, example_id, replicate, found.get((example_id, replicate)), parse)
            for example_id in settings["ids"]
            for replicate in range(settings["replicates"])
        ]
        return Produced(pa.Table.from_pylist(rows, schema=SCHEMA))

    return run_stage(STAGE, VERSION, place, settings, parents_of({"examples": examples}), produce)


def read_recorded(
    place: Place, candidate: Candidate, sha256: str, own_id: str | None
) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the recorded cells of a candidate by item and replicate; `own_id` is what the data calls its ids.

    Raises: DataError for a file that is not what `sha256` says, or that cannot be read as one output an item.
    """
    path = candidate.outputs or ""
    return _by_row(_columns(place.folder / path, path, sha256, own_id), candidate.id, path)


def _columns(path: Path, shown: str, sha256: str, own_id: str | None) -> dict[str, list[Any]]:
    data, kind = path.read_bytes(), path.suffix.lower()
    if kind not in KINDS:
        raise DataError(f"{kind or 'no'} extension", where=shown, expected=", ".join(KINDS))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError("the file changed while the run was starting", where=shown, fix="run it again")
    ids = [ID, *([own_id] if own_id and own_id not in {OUTPUT, *OPTIONAL} else [])]
    found = read_columns(data, kind, [OUTPUT], shown, optional=[*ids, *OPTIONAL])
    known = next((name for name in ids if name in found.cells), None)
    if known is None:
        raise DataError(
            f"no column {' or '.join(map(repr, ids))}",
            where=shown,
            expected=f"the ids of the items; there: {', '.join(found.names[:30])}",
            fix=f"call the column of ids {ids[-1]!r}",
        )
    return {
        ID if name == known else name: [None if cell is None else str(cell) for cell in column]
        for name, column in found.cells.items()
        if name == known or name not in ids
    }


def _by_row(columns: dict[str, list[str | None]], candidate: str, path: str) -> dict[tuple[str, int], dict[str, Any]]:
    names = columns.get("candidate")
    mine = [row for row in range(len(columns["example_id"])) if names is None or names[row] == candidate]
    if not mine:
        raise DataError(f"no row of candidate {candidate!r}", where=path, expected="a column 'candidate' that names it")
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in mine:
        values = {name: column[row] for name, column in columns.items()}
        where = f"{path}, row {row + 1}"
        replicate = _number(values.get("replicate"), where, "replicate") or 0
        key = (str(values["example_id"]), int(replicate))
        if key in found:
            raise DataError(f"two outputs of {key[0]!r}", where=where, expected="one an item")
        numbers = {name: _number(values.get(name), where, name) for name in ("latency_s", "cost_usd")}
        found[key] = {**values, **numbers}
    return found


def _number(cell: str | None, where: str, column: str) -> float | None:
    if cell is None or not cell.strip():
        return None
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0 or (column == "replicate" and not number.is_integer()):
        raise DataError(
            f"found {cell[:40]!r}", where=f"{where}, column {column}", expected="a number from 0 up, or nothing"
        )
    return number


def _row(candidate: str, example_id: str, replicate: int, values: dict[str, Any] | None, parse: Any) -> dict[str, Any]:
    output = None if values is None else values["output"]
    cost, latency = (
        None if values is None or not values.get(name) else float(values[name]) for name in ("cost_usd", "latency_s")
    )
    return {
        "candidate": candidate,
        "example_id": example_id,
        "replicate": replicate,
        "status": "error" if output is None else "answer",
        "output": output,
        "parsed": None if output is None else parse(output),
        "model_requested": None,
        "model_returned": None,
        "n_tokens_in": None,
        "n_tokens_cached": None,
        "n_tokens_out": None,
        "cost_usd": cost,
        "latency_s": latency,
        "call_key": None,
        "error_class": "not_recorded" if output is None else None,
    }
