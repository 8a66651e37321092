"""Verdicts that somebody recorded earlier (`judge: {verdicts: FILE}`), as rows of `verdicts`; no call is made."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from safetycatch.data.reading import KINDS, read_columns
from safetycatch.errors import DataError
from safetycatch.identity import output_hash
from safetycatch.judging.asking import AS, SWAPPED, output_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safetycatch.judge_settings import JudgeSettings
    from tasks.stage import Place

ID, VERDICT = "example_id", "verdict"
OPTIONAL = ("candidate", "replicate", "judge", "criterion", "order", "critique", "output")
DEFAULT_JUDGE = "judge"
REPLICATE_DIGITS = 9
MISSING, OTHER_OUTPUT = "not_recorded", "other_output"

Cell = dict[str, str | None]
Key = tuple[str, str, int]
Voice = tuple[str, str, str]
Said = dict[Key, dict[Voice, Cell]]


def recorded_verdicts(
    place: Place, judging: dict[str, Any], settings: JudgeSettings, items: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the recorded verdicts on `items`, in their order; an item without one is an `error` row, not_recorded.

    The file (CSV, TSV, JSONL, Parquet) has `example_id` (or the data's own id column) and `verdict`; `candidate`,
    `replicate`, `judge`, `criterion`, `critique` and `output` are read when there, and `order` where both orders of a
    pair are wanted. A verdict on another `output` than the item's counts as missing, and so does that of a judge who is
    silent on an item. An empty `candidate` holds for every candidate.
    Raises: DataError for a verdict outside the scale, two on the same item, or a file that changed.
    """
    path = settings.verdicts or ""
    said, voices = read_verdicts(place, path, judging, settings)
    rows: list[dict[str, Any]] = []
    for item in items:
        digest = output_hash(output_text(item))
        about = (item["candidate"], item["example_id"], item["replicate"])
        found = said.get(about) or said.get(("", *about[1:])) or {}
        for voice in voices:
            cell = found.get(voice, {})
            output = cell.get("output")
            why = MISSING if not cell else OTHER_OUTPUT if output and output_hash(output) != digest else None
            rows.append(
                {
                    **dict(zip(("candidate", "example_id", "replicate"), about, strict=True)),
                    **dict(zip(("judge", "criterion", "order"), voice, strict=True)),
                    "output_hash": digest,
                    "status": "error" if why else "answer",
                    "verdict": None if why else cell[VERDICT],
                    "critique": None if why else cell.get("critique"),
                    **dict.fromkeys(("output", "model_requested", "model_returned", "n_tokens_in", "n_tokens_cached")),
                    **dict.fromkeys(("n_tokens_out", "cost_usd", "latency_s", "call_key")),
                    "error_class": why,
                }
            )
    return rows


def read_verdicts(
    place: Place, path: str, judging: dict[str, Any], settings: JudgeSettings
) -> tuple[Said, list[Voice]]:
    """Return the verdicts by item and voice, and every voice in the file. Raises: as `recorded_verdicts`."""
    full = place.folder / path
    data, kind = full.read_bytes(), full.suffix.lower()
    if kind not in KINDS:
        raise DataError(f"{kind or 'no'} extension", where=path, expected=", ".join(KINDS))
    if hashlib.sha256(data).hexdigest() != judging["recorded_sha256"]:
        raise DataError("the file changed while the run was starting", where=path, fix="run it again")
    own_id = str(judging["own_id"])
    ids = [ID, *([own_id] if own_id not in {"", ID, VERDICT, *OPTIONAL} else [])]
    try:
        columns = read_columns(data, kind, [VERDICT], path, optional=[*ids, *OPTIONAL])
    except DataError:
        if full.is_symlink():
            raise _no_table(path) from None
        raise
    known = next((name for name in ids if name in columns.cells), None)
    if known is None and full.is_symlink():
        raise _no_table(path)
    if known is None:
        raise DataError(
            f"no column {' or '.join(map(repr, ids))}",
            where=path,
            expected=f"the ids of the items; there: {', '.join(columns.names[:30])}",
            fix=f"call the column of ids {ids[-1]!r}",
        )
    found: Said = {}
    for number, example_id in enumerate(columns.cells[known]):
        cell = {name: _text(columns.cells[name][number]) for name in (VERDICT, *OPTIONAL) if name in columns.cells}
        where = f"{path}, row {number + 1}"
        _check(cell, settings, where)
        key = (cell.get("candidate") or "", str(example_id), int(cell.get("replicate") or 0))
        order = (cell.get("order") or AS) if settings.both_orders else AS
        voice = (cell.get("judge") or DEFAULT_JUDGE, cell.get("criterion") or "", order)
        own = found.setdefault(key, {})
        if voice in own:
            raise DataError(f"two verdicts on {key[1]!r}", where=where, expected="one an item, candidate and judge")
        own[voice] = cell if cell[VERDICT] is not None else {}
    if not found:
        raise DataError("no verdicts", where=path, expected="a row an item")
    return found, sorted({voice for own in found.values() for voice in own})


def _no_table(path: str) -> DataError:
    """What is behind a link may be no table at all but a secret: nothing of it is shown."""
    return DataError(
        "a link to a file that is no table of verdicts",
        where=path,
        expected=f"columns {ID} and {VERDICT} behind the link",
        fix="copy the file of verdicts there",
    )


def _text(cell: Any) -> str | None:
    text = "" if cell is None else str(cell)
    return text if text.strip() else None


def _check(cell: Cell, settings: JudgeSettings, where: str) -> None:
    verdict, order, replicate = cell[VERDICT], cell.get("order"), cell.get("replicate")
    if verdict is not None and verdict not in settings.verdict_labels:
        raise DataError(
            f"the verdict {verdict[:80]!r}",
            where=f"{where}, column {VERDICT}",
            expected=f"one of {', '.join(settings.verdict_labels)}, or nothing",
            fix="judge: {scale: …}",
        )
    if order is not None and order not in {AS, SWAPPED}:
        raise DataError(f"found {order[:40]!r}", where=f"{where}, column order", expected=f"{AS} or {SWAPPED}")
    if replicate is not None and not (replicate.isdecimal() and len(replicate) <= REPLICATE_DIGITS):
        raise DataError(
            f"found {replicate[:40]!r}",
            where=f"{where}, column replicate",
            expected=f"a whole number from 0 up, of at most {REPLICATE_DIGITS} digits",
        )
