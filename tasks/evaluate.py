"""Stage `evaluate`: one candidate's replies to one shard of items; the only stage that spends money."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import task

from safetycatch.identity import fingerprint
from safetycatch.scoring import row_values
from safetycatch.tables import schema
from tasks.calling import read_table, requests_of, scorers_of, shard_rows
from tasks.counts import added_counts, answer_all
from tasks.session import current
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, stage_fingerprint, transient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safetycatch.calls import Reply, Request
    from safetycatch.scoring import Scorer

STAGE, VERSION = "evaluate", "2"
FIRST_SCORED = 5
COLUMNS = [name for name in schema("rows").names if name != "run_id"]
SCHEMA = pa.schema([schema("rows").field(column) for column in COLUMNS])


@task(
    name=STAGE,
    task_run_name="evaluate {settings[candidate][id]} {settings[shard]}/{settings[shards]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=1,
    retry_condition_fn=transient,
)
def evaluate(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    shots: dict[str, Any] | None = None,
    pool: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the reference of the `rows` of `settings[candidate]` for the items of one shard.

    A shard with rows that infrastructure failed is kept as `evaluate-partial`: the next run asks for those rows again.
    Raises: BudgetReachedError, ProviderUnusableError, StoppedError after everything answered is in the journal.
    """
    parents = parents_of({"examples": examples, "pool": pool, "shots": shots})
    store = place.open_store()
    name = stage_fingerprint(STAGE, VERSION, settings, parents)
    found = store.find(STAGE, name)
    if found is not None:
        return found.as_dict()
    with store.lock(STAGE, name):
        rows, facts = _answered(place, settings, examples, shots, pool or examples)
    return keep_rows(STAGE, VERSION, place, settings, parents, rows, facts)


def keep_rows(
    stage: str,
    version: str,
    place: Place,
    settings: dict[str, Any],
    parents: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    facts: dict[str, Any],
    *,
    n_failed: int = 0,
    columns: pa.Schema = SCHEMA,
) -> dict[str, Any]:
    """Return the reference of answered rows; with failed ones they are `…-partial`, which the next run asks again.

    `n_failed` answers besides the rows' own did not come. `columns` are the table's.
    """
    failed = n_failed + sum(row["status"] in {"error", "invalid"} for row in rows)

    def produce() -> Produced:
        return Produced(pa.Table.from_pylist(rows, schema=columns), facts={**facts, "n_failed": failed})

    if failed:
        stage, version = f"{stage}-partial", fingerprint(rows)[:32]
    made = run_stage(stage, version, place, settings, parents, produce)
    current().made.add(made["sha256"])
    return made


def key_of(row: dict[str, Any]) -> tuple[str, str, int]:
    """Return what a row is about: candidate, item, replicate."""
    return row["candidate"], row["example_id"], row["replicate"]


def _answered(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    shots: dict[str, Any] | None,
    shown: dict[str, Any],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Answer every request of the shard; rows come back in the shard's own order, with facts about the calls."""
    replicates, ids = settings["replicates"], settings["ids"]
    scorers = scorers_of(place, settings)
    parse = scorers[0].parse
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    saved = 0.0

    def keep(request: Request, reply: Reply) -> None:
        nonlocal saved
        rows[request.example_id, request.replicate] = row_of(request, reply, parse)
        saved += reply.cache_saved_usd or 0.0

    items = shard_rows(read_table(place, examples), ids)
    requests = requests_of(place, settings, items, shots, shown, replicates)

    def ask(some: Iterable[Request]) -> dict[str, Any]:
        return answer_all(place, [settings], settings["candidate"]["id"], some, keep)

    counts: list[dict[str, Any]] = []
    own = [one for one in scorers if one.raw]
    if own and settings["shard"] == 1:
        counts.append(ask(list(islice(requests, FIRST_SCORED))))
        _try(own, items, rows)
    counts.append(ask(requests))
    order = [(example_id, replicate) for example_id in ids for replicate in range(replicates)]
    return [rows[key] for key in order], {"calls": added_counts(counts), "cache_saved_usd": saved}


def _try(own: list[Scorer], items: list[dict[str, Any]], rows: dict[tuple[str, int], dict[str, Any]]) -> None:
    """Score the first answers with the user's own functions, so that a broken one is told before the rest is paid.

    Raises: ExperimentError naming function and row.
    """
    known = {item["example_id"]: item for item in items}
    merged = [{**known[example_id], **row} for (example_id, _), row in rows.items()]
    for scorer in own:
        row_values(scorer, merged, [row["target"] for row in merged])


def row_of(request: Request, reply: Reply, parse: Callable[[str], str | None]) -> dict[str, Any]:
    """Return a reply as a row; `parse` reads what the scorers compare."""
    text = reply.text
    return {
        "candidate": request.candidate,
        "example_id": request.example_id,
        "replicate": request.replicate,
        "status": reply.state,
        "output": text,
        "parsed": parse(text) if text is not None and reply.state == "answer" else None,
        **call_columns(request, reply),
    }


def call_columns(request: Request, reply: Reply) -> dict[str, Any]:
    """Return what a call took, as the columns that every table of replies has."""
    return {
        "model_requested": request.model,
        "model_returned": reply.model_returned,
        "n_tokens_in": reply.n_tokens_in,
        "n_tokens_cached": reply.n_tokens_cached,
        "n_tokens_out": reply.n_tokens_out,
        "cost_usd": reply.cost_usd,
        "latency_s": reply.latency_s,
        "call_key": request.key,
        "error_class": reply.error_class,
    }
