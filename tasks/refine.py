"""Stage `propose`: better rubrics, asked of a model; stage `revisions`: what became of each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import task

from safetycatch.calls import Request
from safetycatch.calls.parameters import ceiling_parameter
from safetycatch.experiment import Candidate
from safetycatch.judging.refinement import parse_proposal
from tasks.calling import endpoint_of
from tasks.counts import answer_all
from tasks.evaluate import call_columns, keep_rows
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, stage_fingerprint, transient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.calls import Reply

STAGE, VERSION = "propose", "2"
REVISIONS, REVISIONS_VERSION = "revisions", "1"
REFINER = "refiner"
ANSWER, UNUSABLE = "answer", "unparsed"

_TEXTS = ("rubric", "changes", "output", "model_requested", "model_returned", "call_key", "error_class")
SCHEMA = pa.schema(
    [
        pa.field("draw", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        *(pa.field(name, pa.string()) for name in _TEXTS),
        *(pa.field(name, pa.int64()) for name in ("n_tokens_in", "n_tokens_cached", "n_tokens_out")),
        *(pa.field(name, pa.float64()) for name in ("cost_usd", "latency_s")),
    ]
)
REVISION_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("parent", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("round", pa.int64(), nullable=False),
        pa.field("judge_key", pa.string(), nullable=False),
        pa.field("rubric", pa.string(), nullable=False),
        pa.field("changes", pa.string()),
        pa.field("n_shots", pa.int64(), nullable=False),
        pa.field("agreement", pa.float64()),
        pa.field("estimate", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("p_adjusted", pa.float64()),
        pa.field("n", pa.int64()),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("file", pa.string()),
    ]
)


@task(
    name=STAGE,
    task_run_name="propose rubrics, round {settings[round]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=1,
    retry_condition_fn=transient,
)
def propose(place: Place, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the reference of the proposals of one round; `settings` hold the refiner and what it is asked.

    With calls that infrastructure failed it is `propose-partial`, as in `evaluate`.
    Raises: what the engine raises, after everything answered is in the journal.
    """
    parents = parents_of({})
    store = place.open_store()
    name = stage_fingerprint(STAGE, VERSION, settings, parents)
    found = store.find(STAGE, name)
    if found is not None:
        return found.as_dict()
    rows: dict[str, dict[str, Any]] = {}
    checks = {str(asked["draw"]): asked["check"] for asked in settings["asked"]}

    def keep(request: Request, reply: Reply) -> None:
        rows[request.example_id] = _row(request, reply, checks[request.example_id])

    with store.lock(STAGE, name):
        counts = answer_all(place, [settings["refiner"]], REFINER, requests_for(place, settings), keep)
    made = [rows[draw] for draw in checks]
    return keep_rows(STAGE, VERSION, place, settings, parents, made, {"calls": counts}, columns=SCHEMA)


def requests_for(place: Place, settings: dict[str, Any]) -> Iterator[Request]:
    """Yield the requests of one round."""
    candidate = Candidate.model_validate(settings["refiner"]["candidate"])
    if candidate.model is None:
        raise ValueError("a refiner without a model")
    endpoint, model = endpoint_of(candidate.model, place.open_project())
    ceiling = {ceiling_parameter(endpoint): settings["refiner"]["max_tokens"]}
    for asked in settings["asked"]:
        body = {"model": model, "messages": asked["messages"], **ceiling}
        yield Request(endpoint, body, REFINER, str(asked["draw"]), 0, settings["refiner"]["max_tokens"])


def _row(request: Request, reply: Reply, check: str) -> dict[str, Any]:
    found = parse_proposal(reply.text or "", check) if reply.state == ANSWER else None
    return {
        "draw": int(request.example_id),
        "status": UNUSABLE if reply.state == ANSWER and found is None else reply.state,
        "rubric": found.rubric if found else None,
        "changes": found.changes if found else None,
        "output": reply.text,
        **call_columns(request, reply),
    }


@task(
    name=REVISIONS,
    task_run_name="revisions of {settings[experiment]}",
    cache_key_fn=CacheKey(REVISIONS, REVISIONS_VERSION),
    persist_result=True,
    result_serializer="json",
    retries=2,
    retry_condition_fn=transient,
)
def revisions(place: Place, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the reference of every revision that was tried, each with its parent and its figures on dev."""

    def produce() -> Produced:
        return Produced(pa.Table.from_pylist(settings["revisions"], schema=REVISION_SCHEMA), facts=settings["facts"])

    return run_stage(REVISIONS, REVISIONS_VERSION, place, settings, [], produce)
