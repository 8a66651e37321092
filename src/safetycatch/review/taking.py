"""Where answers to be labelled come from: a finished run, or a plain file of inputs and outputs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safetycatch.data.label_files import content_id
from safetycatch.data.reading import KINDS, NoColumnError, cell_text, file_bytes, read_columns
from safetycatch.errors import DataError, UsageError
from safetycatch.experiment import Experiment
from safetycatch.identity import canonical_json, output_hash
from safetycatch.judge_settings import FIRST, PAIRWISE, SECOND
from safetycatch.review.sampling import Answer, AnswerKey, Interest, interests
from safetycatch.store import Ref
from safetycatch.store.label_sets import SetSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safetycatch.judge_settings import JudgeSettings
    from safetycatch.store import Store, StoredRun

MAX_FILE_MB = 512
# What the columns are called, the likeliest first.
OUTPUTS = (
    "output",
    "answer",
    "response",
    "completion",
    "reply",
    "prediction",
    "generated",
    "generation",
    "model_output",
)
INPUTS = ("input", "question", "prompt", "query", "text", "message", "ticket", "request", "instruction", "user")
REFERENCES = ("reference", "target", "expected", "gold", "label", "correct")
IDS, CANDIDATES = ("example_id", "id"), ("candidate", "model", "system")
SLICE = "slice:"


@dataclass(frozen=True, slots=True)
class Taken:
    """Answers that may be labelled, how they are judged, and which of them may teach most; `notes` for the user."""

    answers: list[Answer]
    settings: SetSettings
    interest: dict[AnswerKey, Interest] = field(default_factory=dict[AnswerKey, Interest])
    notes: tuple[str, ...] = ()


def from_run(store: Store, run: StoredRun, *, candidate: str | None = None) -> Taken:
    """Return the answers of a finished run, of all candidates or of one, judged as the experiment's judge judges.

    Refusals and cut answers fail without a judge, and are left out; so are repeats after the first. Of pairs, `first`
    is the candidate's and `second` the baseline's.
    Raises: UsageError for a run without answers, or an unknown candidate; StoreError when the run is damaged.
    """
    if run.status != "done":
        raise UsageError(
            f"run {run.run_id} is {run.status}: it has no answers yet", fix=f"safetycatch show {run.run_id}"
        )
    experiment = Experiment.model_validate(run.manifest["config"])
    texts = _texts(store, run)
    rows = [
        row
        for row in run.table("rows", ["candidate", "example_id", "replicate", "status", "output"]).to_pylist()
        if row["status"] == "answer" and row["replicate"] == 0 and row["output"] is not None
    ]
    held = list(dict.fromkeys(row["candidate"] for row in rows))
    if candidate is not None and candidate not in held:
        raise UsageError(f"no answers of {candidate[:80]!r}", where=f"run {run.run_id}", expected=", ".join(held))
    judge, baseline = experiment.judge, str(run.summary["summary"].get("baseline") or (held or [""])[0])
    answers = _pairs(rows, texts, baseline) if judge is not None and judge.scale == PAIRWISE else _single(rows, texts)
    if candidate is not None:
        answers = [answer for answer in answers if answer["candidate"] == candidate]
    if not answers:
        raise UsageError("no answer to label", where=f"run {run.run_id}", fix="safetycatch ls")
    source = {"run": run.run_id, "experiment": run.name, **({"candidate": candidate} if candidate else {})}
    settings = _settings(judge, run, source)
    told = run.table("verdicts").to_pylist() if "verdicts" in run.table_names else []
    passes = judge.passes if judge is not None and isinstance(judge.passes, int) else None
    interest = interests(told, _scores(run), baseline=baseline, passes=passes)
    return Taken(answers, settings, interest)


def _settings(judge: JudgeSettings | None, run: StoredRun, source: dict[str, Any]) -> SetSettings:
    if judge is None:
        return SetSettings(source=source)
    scale = judge.scale if isinstance(judge.scale, str) else tuple(judge.scale)
    there = judge.prompt is not None and judge.prompt in run.manifest["inputs"]
    rubric = run.input(judge.prompt or "").decode("utf-8-sig") if there else ""
    return SetSettings(scale, dict(judge.criteria), rubric, source=source)


def _texts(store: Store, run: StoredRun) -> dict[str, dict[str, Any]]:
    """Return input, target and slices of every example of a run."""
    made = (run.summary.get("made_of") or {}).get("examples")
    if made is None:
        raise UsageError(f"run {run.run_id} kept no examples", fix="run the experiment again: safetycatch run FILE")
    table = store.read(Ref.from_dict(made))
    slices = [name.removeprefix(SLICE) for name in run.table("items").column_names if name.startswith(SLICE)]
    wanted = ["example_id", "input", "target", *(name for name in slices if name in table.column_names)]
    return {row["example_id"]: row for row in table.select(list(dict.fromkeys(wanted))).to_pylist()}


def _item(row: dict[str, Any], texts: dict[str, dict[str, Any]], output: str) -> Answer:
    example = texts[row["example_id"]]
    slices = {name: value for name, value in example.items() if name not in {"example_id", "input", "target"}}
    return {
        "example_id": row["example_id"],
        "candidate": row["candidate"],
        "output_hash": output_hash(output),
        "input": example["input"],
        "output": output,
        "reference": example["target"] or None,
        **slices,
    }


def _single(rows: Sequence[dict[str, Any]], texts: dict[str, dict[str, Any]]) -> list[Answer]:
    return [_item(row, texts, row["output"]) for row in rows]


def _pairs(rows: Sequence[dict[str, Any]], texts: dict[str, dict[str, Any]], baseline: str) -> list[Answer]:
    theirs = {row["example_id"]: row["output"] for row in rows if row["candidate"] == baseline}
    return [
        _item(row, texts, canonical_json({FIRST: row["output"], SECOND: theirs[row["example_id"]]}).decode())
        for row in rows
        if row["candidate"] != baseline and row["example_id"] in theirs
    ]


def _scores(run: StoredRun) -> list[dict[str, Any]]:
    """Return the scores of the run's metric, turned so that more is better."""
    import pyarrow.compute as pc

    metric = run.summary["summary"]["metric"]
    table = run.table("scores").filter((pc.field("metric") == metric["name"]) & (pc.field("replicate") == 0))
    sign = 1 if metric.get("higher_is_better", True) else -1
    return [
        {**row, "value": None if row["value"] is None else sign * row["value"]}
        for row in table.select(["example_id", "candidate", "value"]).to_pylist()
    ]


def from_file(path: Path, *, input_column: str | None = None, output_column: str | None = None) -> Taken:
    """Return the answers in a CSV, TSV, JSONL or Parquet file; only a column of outputs is needed.

    Columns are known by their usual names, which the notes tell; `input_column` and `output_column` name others.
    Raises: DataError for a file that cannot be read, or without a column of outputs.
    """
    kind, place = path.suffix.lower(), str(path)
    if kind not in KINDS:
        raise DataError(f"{kind or 'no'} extension", where=place, expected=", ".join(KINDS))
    data = file_bytes(path, place, MAX_FILE_MB)
    wanted = [name for name in (input_column, output_column) if name]
    names = read_columns(data, kind, wanted, place).names
    roles = {
        "output": output_column or _known(names, OUTPUTS),
        "input": input_column or _known(names, INPUTS),
        "reference": _known(names, REFERENCES),
        "example_id": _known(names, IDS),
        "candidate": _known(names, CANDIDATES),
    }
    if roles["output"] is None:
        fix = f"--output {names[-1] if names else 'COLUMN'}, whichever column holds the answers"
        raise NoColumnError("output", names, place, f"a column of answers; there: {', '.join(names[:30])}", fix)
    columns = read_columns(data, kind, [name for name in roles.values() if name], place)
    cells = {role: columns.cells[name] if name else [None] * columns.n_rows for role, name in roles.items()}
    answers: dict[tuple[str, str, str], Answer] = {}
    for row in zip(*cells.values(), strict=True):
        answer = _from_row(dict(zip(cells, row, strict=True)))
        answers.setdefault((answer["example_id"], answer["candidate"], answer["output_hash"]), answer)
    if not answers:
        raise DataError("no rows", where=place, expected="at least one row below the header")
    read = ", ".join(f"{role}: {name}" for role, name in roles.items() if name)
    n_equal = columns.n_rows - len(answers)
    notes = [
        f"columns read as {read}",
        *([f"{n_equal:,} rows equal another one and are shown once"] if n_equal else []),
    ]
    source = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
    return Taken(list(answers.values()), SetSettings(source=source), notes=tuple(notes))


def _known(names: Sequence[str], usual: Sequence[str]) -> str | None:
    by_lower = {name.strip().lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def _from_row(cells: dict[str, Any]) -> Answer:
    text = {role: "" if cell is None else cell_text(cell) for role, cell in cells.items()}
    own = content_id(text["input"], text["reference"] or None, text["output"])
    return {
        "example_id": text["example_id"] or own,
        "candidate": text["candidate"],
        "output_hash": output_hash(text["output"]),
        "input": text["input"],
        "output": text["output"],
        "reference": text["reference"] or None,
    }
