"""What `pin` does: a stored run's candidate becomes a module of its own, checked against the prompts that were sent."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import yaml

from safetycatch.errors import SafetycatchError, UsageError
from safetycatch.experiment import Candidate, Experiment
from safetycatch.fewshot.candidates import Barred, rows_of
from safetycatch.fewshot.prompts import Prompt, make_prompt
from safetycatch.identity import text_sha256
from safetycatch.results.pin import LOCK, MODULE, Pinned, evidence, pin_prompt, winner
from safetycatch.scoring import reading
from safetycatch.store import Ref as StoreRef
from safetycatch.store.looks import distinct
from safetycatch.tables import with_ids
from tasks.calling import read_table, requests_of, shard_rows
from tasks.session import session
from tasks.split import clusters_with_pool
from tasks.stage import Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from safetycatch.calls import Request
    from safetycatch.store import StoredRun
    from safetycatch.store.looks import Look
    from safetycatch.store.promotions import Promotion
    from tasks.prepared import Prepared

CHECKED_ROWS = 100
CHECK_S = 600
YAML_WIDTH = 110
# What is run without site-packages and without the current folder can import the standard library alone.
CHECK = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("winner", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps([module.messages(row) for row in json.load(sys.stdin)]))
"""


@dataclass(frozen=True, slots=True)
class PinnedFiles:
    """The texts to write, by file name, and what the lock says."""

    files: dict[str, str]
    lock: dict[str, Any]

    def approved_by(self, promotion: Promotion | None) -> PinnedFiles:
        """Return the same with who approved the promotion, in the lock; None: nobody did, and no catch refused."""
        said = (
            None
            if promotion is None
            else {
                "by": promotion.name,
                "at": promotion.approved_at.isoformat(timespec="seconds"),
                "note": promotion.note,
                "report_sha256": promotion.report_sha256,
            }
        )
        lock = {**self.lock, "approved": said}
        return PinnedFiles({**self.files, LOCK: _as_yaml(lock)}, lock)


def _as_yaml(lock: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(lock), sort_keys=False, allow_unicode=True, width=YAML_WIDTH)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The pool that examples were chosen from, with the cluster of each row, and the ids that went first."""

    pool: pa.Table
    clusters: dict[str, str]
    first: frozenset[str]


def made_of(prepared: Prepared, looks: Sequence[Look]) -> dict[str, Any]:
    """Return what a finished run keeps, to show its rows and to pin its candidates: references, what was asked how."""
    return {
        **{name: getattr(prepared, name) for name in ("examples", "splits", "leaks", "pool", "task")},
        "labels": list(prepared.labels),
        "scorer": reading(prepared.scorers),
        "candidates": {
            entry["candidate"]["id"]: {
                "shots": None if entry["shots_at"] is None else prepared.shots[entry["shots_at"]],
                "max_tokens": entry["max_tokens"],
            }
            for entry in prepared.entries
        },
        "n_looks": distinct(looks),
        "data_sha256": dict(prepared.inputs.sha256),
    }


def pin(run: StoredRun, store: Path, project: Path, named: str | None = None) -> PinnedFiles:
    """Return the files that pin a candidate of a finished run: the one its verdict favours, or the one `named`.

    Raises: UsageError when there is nothing to pin, saying what to do; ExperimentError for a prompt that decides by the
    row; SafetycatchError when the module would not make the prompts that were evaluated.
    """
    result, summary, made = finished(run)
    name, chosen_by = winner(result, summary, named)
    experiment = Experiment.model_validate(run.manifest["config"])
    candidate = _candidate(experiment, made, name)
    place = Place(
        store=str(store),
        project=str(project),
        file=str(project / LOCK),
        text="",
        run_id=run.run_id,
        mode=result["mode"],
    )
    path = candidate.prompt or ""
    prompt = make_prompt(run.input(path).decode("utf-8-sig"), path)
    chosen = _pool_of(place, made, candidate)
    constants, pool = pin_prompt(
        prompt,
        made["labels"],
        candidate.shots,
        chosen.pool,
        chosen.clusters,
        experiment.data.input_columns,
        chosen.first,
    )
    rows, keys = _sample(place, run, made, name)
    requests = _requests(place, experiment, candidate, prompt, made, rows)
    parameters = {key: value for key, value in requests[0].body.items() if key not in {"model", "messages"}}
    if candidate.send_ids:
        parameters["metadata"] = {key: item for key, item in parameters["metadata"].items() if key != "example_id"}
    pinned = Pinned(
        candidate=name,
        run_id=run.run_id,
        version=version("safetycatch"),
        model=requests[0].model,
        parameters=parameters,
        prompt=constants,
        pool=pool,
        labels=tuple(made["labels"]),
        aliases=experiment.label_aliases,
        scorer=made["scorer"],
    )
    files = pinned.files()
    n_equal, n_others = _compared(files, rows, requests, constants["columns"], chosen)
    lock = {
        "candidate": name,
        "chosen_by": chosen_by,
        "model": {
            "sent": requests[0].model,
            "endpoint": requests[0].endpoint.name,
            "named": candidate.model.full if candidate.model else "",
        },
        "parameters": parameters,
        "prompt": {"path": path, "sha256": prompt.sha256, "text": prompt.text},
        "labels": made["labels"],
        "label_aliases": experiment.label_aliases,
        "read_as": made["scorer"],
        "shots": {
            "strategy": candidate.shots.name,
            **candidate.shots.model_dump(mode="json"),
            "fixed": [row["id"] for row in constants["fixed"]],
            "found_among": len(pool),
        },
        "files_sha256": {file: text_sha256(text) for file, text in files.items()},
        "evidence": {
            "run": run.run_id,
            "finished": run.finished_at.isoformat(timespec="seconds") if run.finished_at else None,
            **evidence(result, summary, name),
            "looks_at_the_test_set": made["n_looks"],
            "items_sha256": run.summary["items"],
            "data_sha256": made["data_sha256"],
            "inputs_sha256": {file: copies[-1]["sha256"] for file, copies in run.manifest["inputs"].items()},
            "report_sha256": run.manifest["files"]["report.html"]["sha256"],
            "command": run.summary.get("command"),
        },
        "checked": {
            "rows": len(rows),
            "prompts_equal": n_equal,
            "requests_as_sent": sum(request.key == key for request, key in zip(requests, keys, strict=True)),
            "other_examples_by_group": n_others,
        },
        "safetycatch": version("safetycatch"),
    }
    return PinnedFiles({**files, LOCK: _as_yaml(lock)}, lock)


def finished(run: StoredRun) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a run's result, its summary, and what it was made of.

    Raises: UsageError for a run that is not done, or was stored by a version that kept less.
    """
    if run.status != "done":
        raise UsageError(
            f"the run is {run.status}, not done",
            where=f"run {run.run_id}",
            fix=str(run.summary.get("command") or "safetycatch ls"),
        )
    made = run.summary.get("made_of")
    if made is None:
        raise UsageError(
            "the run was stored by an older version, without what pinning needs",
            where=f"run {run.run_id}",
            fix=f"{run.summary.get('command') or 'safetycatch run FILE'}: its answers come from the journal",
        )
    return run.summary["result"], run.summary["summary"], made


def _candidate(experiment: Experiment, made: Mapping[str, Any], name: str) -> Candidate:
    """Return the candidate to pin.

    Raises: UsageError for one that is not there, or that has no prompt to pin.
    """
    known = {candidate.id: candidate for candidate in experiment.candidates}
    where = f"candidate {name}"
    if experiment.aggregate is not None and name == experiment.aggregate.id:
        members = ", ".join(experiment.aggregate.members)
        raise UsageError(
            "an ensemble has no prompt of its own",
            where=where,
            expected=f"one of its members: {members}",
            fix="--candidate MEMBER --out FOLDER for each, and let your code take the vote",
        )
    candidate = known.get(name)
    if candidate is None:
        raise UsageError("no such candidate", where=where, expected=f"one of {', '.join(known)}")
    if candidate.call:
        raise UsageError(
            f"it is your own function {candidate.call}: there is no prompt to pin",
            where=where,
            fix="keep the commit that the run names (safetycatch show)",
        )
    if candidate.outputs:
        raise UsageError(
            f"its answers were recorded in {candidate.outputs}: what gave them is not known here",
            where=where,
            fix="pin what wrote them where it was made",
        )
    if name not in made["candidates"]:
        raise UsageError(
            "it left the race on dev and was not scored",
            where=where,
            expected=f"one of {', '.join(made['candidates'])}",
        )
    return candidate


def _pool_of(place: Place, made: Mapping[str, Any], candidate: Candidate) -> _Chosen:
    """Return what the candidate's examples were chosen from."""
    table, splits = read_table(place, made["examples"]), read_table(place, made["splits"])
    nothing = table.slice(0, 0)
    own = made["candidates"][candidate.id]["shots"]
    if own is None:
        return _Chosen(nothing, {}, frozenset())
    declared = read_table(place, made["pool"]) if made["pool"] else nothing
    train = splits.filter(pc.field("split") == "train")["example_id"].to_pylist()
    pool = declared if made["pool"] else with_ids(table, train)
    facts = place.open_store().facts(StoreRef.from_dict(own))
    return _Chosen(pool, clusters_with_pool(splits, declared, table), frozenset(facts.get("right", ())))


def _sample(
    place: Place, run: StoredRun, made: Mapping[str, Any], name: str
) -> tuple[list[dict[str, Any]], list[str | None]]:
    """Return some of the rows that were asked, and the keys of their calls."""
    table = run.table("rows", ["candidate", "replicate", "example_id", "call_key"])
    own = table.filter((pc.field("candidate") == name) & (pc.field("replicate") == 0)).slice(0, CHECKED_ROWS)
    rows = shard_rows(read_table(place, made["examples"]), own["example_id"].to_pylist())
    return rows, own["call_key"].to_pylist()


def _requests(
    place: Place,
    experiment: Experiment,
    candidate: Candidate,
    prompt: Prompt,
    made: Mapping[str, Any],
    rows: list[dict[str, Any]],
) -> list[Request]:
    """Return the requests of the run for these rows, made again; nothing is sent."""
    own = made["candidates"][candidate.id]
    entry = {
        "candidate": candidate.model_dump(mode="json"),
        "prompt_text": prompt.text,
        "labels": made["labels"],
        "task": made["task"],
        "max_tokens": own["max_tokens"],
    }
    with session(place, experiment, place.open_project()):
        return list(requests_of(place, entry, rows, own["shots"], made["pool"] or made["examples"], 1))


def _compared(
    files: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    requests: Sequence[Request],
    columns: Mapping[str, str],
    chosen: _Chosen,
) -> tuple[int, int]:
    """Return how many of the prompts that the module makes equal those of the run, and how many differ by group.

    In the run a row never sees an example of its own group or a near-duplicate of it; the module knows texts only.
    Raises: SafetycatchError when a prompt differs for any other reason: a bug of ours, and nothing may be written.
    """
    made = _messages(files, [_as_given(row, columns) for row in rows])
    barred = Barred(rows_of(chosen.pool, chosen.clusters))
    clusters = chosen.clusters
    n_equal, n_others = 0, 0
    for row, own, request in zip(rows, made, requests, strict=True):
        if own == [_plain(message) for message in request.body["messages"]]:
            n_equal += 1
            continue
        table = _one_row(row)
        same_text = Barred(rows_of(chosen.pool, None)).of(rows_of(table, None)[0])
        if not clusters or barred.of(rows_of(table, clusters)[0]) <= same_text:
            raise SafetycatchError(
                f"the module makes another prompt of example {row['example_id']}; nothing was written"
            )
        n_others += 1
    return n_equal, n_others


def _one_row(row: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist([{name: row[name] for name in ("example_id", "input", "input_kind", "target")}])


def _messages(files: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> list[list[dict[str, str]]]:
    """Return what the module makes of `rows`, in a process that has the standard library alone."""
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files.items():
            (Path(folder) / file).write_text(text, encoding="utf-8")
        done = subprocess.run(  # noqa: S603 - our own interpreter, and a file that we just wrote
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", CHECK, str(Path(folder) / MODULE)],
            input=json.dumps(rows),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=CHECK_S,
            check=False,
        )
    if done.returncode:
        raise SafetycatchError(f"the module fails: {done.stderr.strip().rpartition(chr(10))[2]}; nothing was written")
    return json.loads(done.stdout)


def _as_given(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Return a row as the data file had it."""
    value = row["input"] if row["input_kind"] == "text" else json.loads(row["input"])
    if list(columns) == list(columns.values()) and len(columns) == 1:
        return {next(iter(columns)): value}
    return {column: value[name] for name, column in columns.items()}


def _plain(message: Mapping[str, Any]) -> dict[str, str]:
    """Return a message without the mark that tells a provider where its cache may end."""
    content = message["content"]
    text = content if isinstance(content, str) else "".join(part["text"] for part in content)
    return {"role": message["role"], "content": text}
