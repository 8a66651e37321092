"""A candidate pinned: a Python module that stands alone, the index of its examples, and a lock with the evidence."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pprint import pformat
from typing import TYPE_CHECKING, Any

from safetycatch.errors import DataError, UsageError
from safetycatch.fewshot.candidates import rows_of, seeded
from safetycatch.fewshot.fixed import fixed_order, shown_of
from safetycatch.fewshot.flattening import flatten
from safetycatch.fewshot.selection import places
from safetycatch.results.standalone import standalone

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pyarrow as pa

    from safetycatch.fewshot.prompts import Prompt
    from safetycatch.settings import ShotSettings

MODULE, INDEX, LOCK = "winner.py", "winner.index.json", "winner.lock.yaml"
WIDTH = 118
# How each metric reads a reply; a scorer of the user's own gets the reply as it is.
LABELS = ("safetycatch.scoring.parsing", "LabelReader")
PARSERS = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), LABELS),
    **dict.fromkeys(("contains", "normalised"), ("safetycatch.scoring.parsing", "parse_normalised")),
    "numeric": ("safetycatch.scoring.parsing", "parse_number"),
    "final_answer": ("safetycatch.scoring.parsing", "parse_answer"),
    "exact": ("safetycatch.scoring.exact", "read_exact"),
    "json_fields": ("safetycatch.scoring.json_fields", "read_fields"),
}
_ERROR = '''class InputError(ValueError):
    """A row that the prompt cannot be made for: says what was found, where, and what was expected."""

    def __init__(self, found: str, *, where: str = "", expected: str = "", fix: str = "") -> None:
        parts = (f"{where}: {found}" if where else found, expected and f"expected {expected}", fix)
        super().__init__("; ".join(part for part in parts if part))


DataError = InputError
'''


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a candidate sends and how its replies are read: `pool` is empty where no example depends on the row."""

    candidate: str
    run_id: str
    version: str
    model: str
    parameters: dict[str, Any]
    prompt: dict[str, Any]
    pool: list[dict[str, str]]
    labels: tuple[str, ...]
    aliases: dict[str, str]
    scorer: str

    def files(self) -> dict[str, str]:
        """Return the module, and the index where it needs one, by file name."""
        index = index_text(self.pool) if self.pool else ""
        module = module_text(self, hashlib.sha256(index.encode()).hexdigest() if index else "")
        return {MODULE: module, **({INDEX: index} if index else {})}


def pin_prompt(
    prompt: Prompt,
    labels: Sequence[str],
    shots: ShotSettings,
    pool: pa.Table,
    clusters: Mapping[str, str] | None,
    columns: Mapping[str, str],
    first: Collection[str] = (),
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return the constants of a pinned prompt, and the rows that its examples are found among.

    `pool` and `clusters` are those that `fewshot.select` chose from, `columns` name the fields of an input.
    Raises: ExperimentError when what the prompt says depends on the row.
    """
    shown = seeded(rows_of(pool, clusters), shots.seed) if shots.k else []
    by_id = {row["example_id"]: row for row in pool.select(["example_id", "input", "input_kind", "target"]).to_pylist()}

    def example(example_id: str) -> dict[str, str]:
        row = by_id[example_id]
        return {"id": example_id, **{name: row[name] for name in ("input", "input_kind", "target")}}

    order = fixed_order(shown, shots, first) if shots.n_core else []
    fixed = order[: shots.n_core]
    instead = [shown_of(order, shots.n_core, {rank}) for rank in range(len(fixed))]
    parts = flatten(prompt, labels)
    made = {
        "prompt_sha256": prompt.sha256,
        "system": "" if prompt.fields else "".join(part for part in parts if isinstance(part, str)),
        "turn": parts if prompt.fields else None,
        "columns": dict(columns),
        "fixed": [example(row.example_id) for row in fixed],
        "instead": [example(own[rank].example_id) if own else None for rank, own in enumerate(instead)],
        "places": None if shots.order is None else places(shots.k, shots.order),
        "retrieval": shots.retrieval,
        "n_retrieved": shots.k - shots.n_core,
        "balance": shots.weight if shots.retrieval == "mmr" else None,
    }
    return made, [example(row.example_id) for row in shown] if shots.retrieval else []


def index_text(pool: Sequence[Mapping[str, str]]) -> str:
    """Return the rows of a pool as JSON, a row a line, in the order that decides between equally near ones."""
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in pool)
    return f'{{"rows": [\n{rows}\n]}}\n'


def module_text(pinned: Pinned, index_sha256: str) -> str:
    """Return the module: constants, the source that they need, `messages` and `parse`."""
    parser = PARSERS.get(pinned.scorer)
    kind = "RetrievingPrompt" if index_sha256 else "PinnedPrompt"
    roots = [("safetycatch.fewshot.pinned", kind), *([parser] if parser else [])]
    source = standalone(roots, frozenset({"InputError", "DataError"}))
    constants: dict[str, Any] = {"MODEL": pinned.model, "PARAMETERS": pinned.parameters, "PROMPT": pinned.prompt}
    if parser == LABELS:
        constants |= {"LABELS": list(pinned.labels), "ALIASES": pinned.aliases}
    if index_sha256:
        constants |= {"INDEX": INDEX, "INDEX_SHA256": index_sha256}
    head = f'''"""Prompt and parser of candidate {pinned.candidate}.

Pinned by safetycatch {pinned.version} from run {pinned.run_id}, whose evidence is in {LOCK}. Needs Python alone.
Do not edit: change the experiment, run it, and pin again.

    from winner import MODEL, PARAMETERS, messages, parse

    def ask(row, client):  # for instance openai.OpenAI()
        reply = client.chat.completions.create(model=MODEL, messages=messages(row), **PARAMETERS)
        return parse(reply.choices[0].message.content)

A row is a dict with the columns that PROMPT names, or with `input`; or it is the text itself. PARAMETERS are the other
fields of the request as it was sent; those that a client does not know go into its `extra_body`.
"""

# ruff: noqa
from __future__ import annotations
'''
    written = "\n".join(
        f"{name} = {pformat(value, width=WIDTH, sort_dicts=False)}" for name, value in constants.items()
    )
    needed = {"import hashlib", "import json", "from pathlib import Path", "from typing import Any"}
    imports = sorted({*source.imports, *(needed if index_sha256 else {"from typing import Any"})}, key=_import_order)
    blocks = [head + "\n" + "\n".join(imports), written, _ERROR, source.definitions, _ending(parser, index_sha256)]
    return "\n\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from "), line


def _ending(parser: tuple[str, str] | None, index_sha256: str) -> str:
    pool = """def _pool() -> list[dict[str, str]]:
    path = Path(__file__).parent / INDEX
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != INDEX_SHA256:
        raise InputError(f"{path} is not the index that was pinned", fix="pin again, or restore it")
    return json.loads(content)["rows"]


_PROMPT = RetrievingPrompt(PROMPT, _pool)
"""
    if parser is None:
        read, told = "reply", "the reply as it came: a judge or a scorer of your own reads it"
    elif parser == LABELS:
        read, told = "_READER.read(reply)", "the label that a reply gives; None when it gives none or several"
    else:
        read, told = f"{parser[1]}(reply)", "what a reply says, as it was scored; None when that cannot be read"
    reader = "_READER = LabelReader(tuple(LABELS), tuple(sorted(ALIASES.items())))\n" if parser == LABELS else ""
    prompt = pool if index_sha256 else "_PROMPT = PinnedPrompt(PROMPT)\n"
    return f'''{prompt}{reader}

def messages(row: dict[str, Any] | str) -> list[dict[str, str]]:
    """Return the chat messages of one row, as they were evaluated."""
    return _PROMPT.messages(row)


def parse(reply: str) -> str | None:
    """Return {told}."""
    return {read}
'''


def winner(result: Mapping[str, Any], summary: Mapping[str, Any], named: str | None) -> tuple[str, str]:
    """Return the candidate to pin and how it was chosen: `verdict`, or `named` where no verdict speaks for it.

    Raises: UsageError when no candidate is named and the verdict favours none.
    """
    headline, verdicts = summary.get("headline"), summary.get("verdicts") or {}
    best = headline if headline and verdicts.get(headline, {}).get("kind") == "BETTER" else None
    if named is not None:
        return named, "verdict" if named == best else "named"
    if best is None:
        advised = ((result.get("bench") or {}).get("advice") or {}).get("candidate")
        raise UsageError(
            f"the verdict is {result['verdict']}, which favours no candidate",
            where=f"run {result['run_id']}",
            expected=str(result["banner"]["action"]),
            fix=f"--candidate {advised or summary.get('baseline') or 'ID'} pins one all the same, and the lock says so",
        )
    return best, "verdict"


def evidence(result: Mapping[str, Any], summary: Mapping[str, Any], candidate: str) -> dict[str, Any]:
    """Return what the run found about `candidate`: its score, and its verdict against the baseline where it has one."""
    own = next((row for row in result["candidates"] if row["id"] == candidate), None)
    if own is None:
        raise DataError(f"no score of {candidate}", where=f"run {result['run_id']}")
    metric = summary["metric"]["name"]
    verdict = (summary.get("verdicts") or {}).get(candidate, {})
    compared = next(
        (
            row
            for row in result["comparisons"]
            if (row["candidate"], row["metric"], row["slice"]) == (candidate, metric, "all")
        ),
        None,
    )
    keys = ("baseline", "estimate", "low", "high", "p_adjusted", "n", "n_clusters", "n_missing", "method", "verdict")
    return {
        "mode": result["mode"],
        "verdict": verdict.get("kind"),
        "sentence": verdict.get("sentence"),
        "verdict_of_the_run": result["verdict"],
        "metric": metric,
        "score": {key: own[key] for key in ("split", "n", "n_missing", "estimate", "low", "high")},
        "difference": None if compared is None else {key: compared[key] for key in keys},
    }
