"""Results that promptfoo wrote (`promptfoo eval -o FILE.json` or `.jsonl`): one side for each provider and prompt.

`results.results[]` is read, else `results.table` of older files. An item is a test, its variables hashed; `--item NAME`
takes the variable NAME as id. Equal tests are runs (`--repeat`). A result that is an error (`failureReason` 2) is
missing: promptfoo scores it 0.
Source: the types EvaluateSummaryV2 and V3 of promptfoo's repository, and files that promptfoo 0.121 wrote.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from safetycatch.data import foreign
from safetycatch.errors import DataError, InputError
from safetycatch.identity import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from safetycatch.data.foreign import ForeignSide, Wanted
    from safetycatch.data.reading import Columns

MAX_LABEL = 60
ERROR = 2  # promptfoo's failureReason of a result that is no answer; 0 none, 1 an assertion failed
PASS, SCORE = "pass", "score"
COLUMNS = (
    *("testIdx", "promptIdx", "provider", "prompt", "vars", "testCase", "success", "score", "failureReason"),
    *("error", "gradingResult", "namedScores", "response"),
)
# What decides whether a test is the same one; the rest of an assertion (its id, its metric's name) does not change it.
_ASSERTION = ("type", "value", "threshold", "weight", "transform", "provider", "rubricPrompt")


@dataclass(frozen=True, slots=True)
class Results:
    """The sides of one file, in the order of its columns."""

    format: str
    n_rows: int
    sides: tuple[ForeignSide, ...]
    notes: tuple[str, ...]


def is_rows(columns: Columns) -> bool:
    """Whether a JSONL file's rows are promptfoo's results."""
    return {"testIdx", "promptIdx", "success", "gradingResult"} <= set(columns.names)


def read_rows(columns: Columns, place: str, wanted: Wanted) -> Results:
    """Return the sides of a JSONL file of results.

    Raises: DataError as `read_json`.
    """
    there = [name for name in COLUMNS if name in columns.cells]
    rows = [{name: columns.cells[name][row] for name in there} for row in range(columns.n_rows)]
    return _results(rows, "promptfoo, JSONL", place, wanted)


def read_json(data: bytes, place: str, wanted: Wanted) -> Results:
    """Return the sides of promptfoo's JSON.

    Raises: DataError when it is no such file, or a result has no score.
    """
    try:
        body = json.loads(data.removeprefix(b"\xef\xbb\xbf").decode())
    except UnicodeDecodeError:
        raise DataError("invalid UTF-8", where=place, expected="UTF-8 text", fix="save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        told = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"no JSON: {told[:200]}", where=place) from None
    summary = _mapping(_mapping(body).get("results"))
    rows = _list(summary.get("results")) or _table_rows(_mapping(summary.get("table")))
    if not rows:
        fix = "jq -c '.[]' FILE.json > FILE.jsonl" if isinstance(body, list) else ""
        raise DataError(
            "no results of promptfoo's",
            where=place,
            expected="results.results or results.table, as -o writes it",
            fix=fix,
        )
    version = str(_mapping(_mapping(body).get("metadata")).get("promptfooVersion") or "of an unknown version")[:40]
    return _results(rows, f"promptfoo {version}, summary {str(summary.get('version'))[:8]}", place, wanted)


def _table_rows(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cells of a table as the results that newer versions write."""
    head = _mapping(table.get("head"))
    names, prompts = [str(name) for name in _list(head.get("vars"))], _list(head.get("prompts"))
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(map(_mapping, _list(table.get("body")))):
        values = dict(zip(names, _list(line.get("vars")), strict=False))
        for column, cell in enumerate(map(_mapping, _list(line.get("outputs")))):
            about = _mapping(prompts[column]) if column < len(prompts) else {}
            rows.append(
                {
                    **cell,
                    "testIdx": line.get("testIdx", number),
                    "promptIdx": column,
                    "provider": cell.get("provider") or about.get("provider"),
                    "prompt": {"label": about.get("label") or about.get("display") or about.get("raw")},
                    "vars": values,
                    "testCase": line.get("test"),
                    "success": cell.get("pass"),
                    "response": {"output": cell.get("text")},
                }
            )
    return rows


@dataclass(slots=True)
class _Result:
    """One test of one column."""

    row: int
    column: tuple[str, str, str]
    variables: Mapping[str, Any]
    text: str
    assertions: str
    scores: dict[str, float]
    output: str


def _results(rows: list[Any], kind: str, place: str, wanted: Wanted) -> Results:
    found = [_result(_mapping(row), number, place) for number, row in enumerate(rows)]
    names = _side_names([one.column for one in found])
    if len(names) > foreign.MAX_SIDES:
        raise DataError(f"{len(names)} providers and prompts", where=place, expected=f"{foreign.MAX_SIDES} at most")
    ids, notes = _ids(found, place, wanted)
    errors = sum(math.isnan(one.scores[PASS]) for one in found)
    if errors:
        told = f"errors, not answers: {errors:,} of {len(rows):,} results"
        notes.append(f"{told}; missing here, though promptfoo scores them 0")
    sides = [
        _side(name, column, [(one, ids[one.row]) for one in found if one.column == column])
        for column, name in names.items()
    ]
    if any(len(runs) > 1 for side in sides for runs in side.scores[PASS].values()):
        notes.append("equal tests are taken as runs of the same item")
    return Results(f"{kind}, {len(rows):,} results", len(rows), tuple(sides), tuple(notes))


def _result(row: Mapping[str, Any], number: int, place: str) -> _Result:
    where = f"{place}, result {number + 1}"
    provider, prompt, case = row.get("provider"), _mapping(row.get("prompt")), _mapping(row.get("testCase"))
    about = _mapping(provider)
    system = str(about.get("label") or about.get("id") or (provider if isinstance(provider, str) else ""))
    label = str(prompt.get("label") or prompt.get("display") or "")
    passed, score, named = row.get("success"), row.get("score"), _mapping(row.get("namedScores"))
    if not isinstance(passed, bool):
        raise DataError("no pass or fail", where=where, expected="success: true or false, as promptfoo writes it")
    scores = {PASS: float(passed), SCORE: foreign.score_of(score, f"{where}, score")}
    for name, value in named.items():
        own = f"{name} (named)" if name in scores else str(name)
        scores[own] = foreign.score_of(value, f"{where}, namedScores {name[:40]}")
    if _is_error(row):
        scores = dict.fromkeys(scores, math.nan)
    # Providers may add to `vars` while they answer: the test's own are what was asked.
    variables = _mapping(case.get("vars")) or _mapping(row.get("vars"))
    asserted = [{key: one[key] for key in _ASSERTION if key in one} for one in map(_mapping, _list(case.get("assert")))]
    output = _mapping(row.get("response")).get("output")
    try:
        text = output if isinstance(output, str) else "" if output is None else _canonical(output)
        assertions = foreign.content_hash(_canonical(asserted)) if asserted else ""
        column = (system, _canonical(row.get("promptIdx")), label)
        return _Result(number, column, variables, _canonical(dict(variables)), assertions, scores, text)
    except InputError as error:
        raise DataError(error.found, where=where) from None


def _is_error(row: Mapping[str, Any]) -> bool:
    """Whether the provider gave no answer; versions before `failureReason` leave an error without a grade."""
    reason = row.get("failureReason")
    if reason is not None:
        return reason == ERROR
    return bool(row.get("error")) and not row.get("success") and not _mapping(row.get("gradingResult"))


def _side_names(columns: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
    """Return each column's name: its provider, numbered where a provider has several prompts or appears twice."""
    distinct = list(dict.fromkeys(columns))
    distinct.sort(key=lambda column: (len(column[1]), column[1]))
    systems = [column[0] or "provider" for column in distinct]
    names: dict[tuple[str, str, str], str] = {}
    for at, column in enumerate(distinct):
        system = systems[at]
        number = f"#{systems[: at + 1].count(system)}" if systems.count(system) > 1 else ""
        names[column] = f"{system[:MAX_LABEL]}{number}"
    return names


def _ids(found: list[_Result], place: str, wanted: Wanted) -> tuple[dict[int, str], list[str]]:
    """Return the item of every result: a variable that the user named, else the hash of all variables."""
    named = next((name for name in wanted.item if any(name in one.variables for one in found)), None)
    if wanted.item and named is None:
        held = sorted({name for one in found for name in one.variables})
        raise DataError(
            f"no variable {' or '.join(map(repr, wanted.item))}",
            where=place,
            expected=", ".join(held)[:400] or "variables",
        )
    if named is not None:
        ids: dict[int, str] = {}
        for one in found:
            value = one.variables.get(named)
            text = value if isinstance(value, str) else "" if value is None else _canonical(value)
            if not text.strip():
                raise DataError(f"no variable {named!r}", where=f"{place}, result {one.row + 1}", expected="one a test")
            ids[one.row] = text
        return ids, []
    hashed = {one.row: foreign.content_hash(one.text) for one in found}
    asserted: dict[str, set[str]] = {}
    for one in found:
        asserted.setdefault(hashed[one.row], set()).add(one.assertions)
    notes: list[str] = []
    if any(len(several) > 1 for several in asserted.values()):
        notes.append("tests with equal variables and other assertions are different items")
    ids = {
        one.row: hashed[one.row] + (f"-{one.assertions[:8]}" if len(asserted[hashed[one.row]]) > 1 else "")
        for one in found
    }
    return ids, notes


def _side(name: str, column: tuple[str, str, str], results: list[tuple[_Result, str]]) -> ForeignSide:
    scores: dict[str, dict[str, list[float]]] = {}
    for metric in dict.fromkeys(metric for one, _ in results for metric in one.scores):
        values: dict[str, list[float]] = {}
        for one, example_id in results:
            values.setdefault(example_id, []).append(one.scores.get(metric, math.nan))
        scores[metric] = values
    inputs, outputs, contents, tests = {}, {}, {}, {}
    for one, example_id in results:
        inputs.setdefault(example_id, one.text)
        outputs.setdefault(example_id, one.output)
        contents.setdefault(example_id, foreign.content_hash(one.text))
        tests.setdefault(example_id, one.assertions)
    return foreign.ForeignSide(
        name,
        scores,
        contents={"variables": contents, "assertions": tests},
        texts={"input": inputs, "output": outputs},
        description=f"{column[0]} · {column[2]}"[:400],
    )


def _canonical(value: Any) -> str:
    return canonical_json(foreign.plain(value)).decode()


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
