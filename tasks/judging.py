"""Stages `judge` and `canaries`: what judges say of one candidate's answers, and of answers that grade themselves."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import task

from safetycatch.judge_settings import PAIRWISE, JudgeSettings
from safetycatch.judging.canaries import canaries_of, canary_items
from safetycatch.scoring.scorer import MISSING, WRONG
from safetycatch.store import Ref
from safetycatch.tables import checked, schema
from tasks.calling import read_table, shard_rows
from tasks.evaluate import keep_rows
from tasks.judge import judged
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, stage_fingerprint, transient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STAGE, VERSION = "judge", "1"
CANARY_STAGE, CANARY_VERSION = "canaries", "1"
MAX_SHOWN, MAX_MISSING = 160, 5
COLUMNS = ["example_id", "replicate", "status", "output"]
SCHEMA = schema("verdicts")

Row = dict[str, Any]


@task(
    name=STAGE,
    task_run_name="judge {settings[candidate]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=1,
    retry_condition_fn=transient,
)
def judge_answers(
    place: Place, settings: dict[str, Any], examples: dict[str, Any], parts: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the reference of the `verdicts` on the answers of `settings[candidate]`.

    `parts` are its `settings[n_own]` shards of `rows`, then, for pairs, the baseline's. Refusals, cut and filtered
    answers are not judged. With verdicts that infrastructure failed it is `judge-partial`, as in `evaluate`.
    Raises: what the engine raises, after everything answered is in the journal.
    """
    parents = parents_of({"examples": examples, "parts": parts})
    store = place.open_store()
    name = stage_fingerprint(STAGE, VERSION, settings, parents)
    found = store.find(STAGE, name)
    if found is not None:
        return found.as_dict()
    with store.lock(STAGE, name):
        items = items_to_judge(place, settings, examples, parts)
        rows, facts = judged(place, settings["judging"], items, f"judge {settings['candidate']}")
        facts |= verdict_facts(rows)
    if settings["judging"]["recorded_sha256"]:
        return run_stage(STAGE, VERSION, place, settings, parents, lambda: _produced(rows, facts))
    return keep_rows(STAGE, VERSION, place, settings, parents, rows, facts, columns=SCHEMA)


@task(
    name=CANARY_STAGE,
    task_run_name="judge canaries",
    cache_key_fn=CacheKey(CANARY_STAGE, CANARY_VERSION),
    persist_result=True,
    result_serializer="json",
    retries=1,
    retry_condition_fn=transient,
)
def judge_canaries(place: Place, settings: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """Return the reference of the `verdicts` on canaries, in place of answers to some of `settings[ids]`.

    Raises: as `judge_answers`.
    """
    parents = parents_of({"examples": examples})
    store = place.open_store()
    name = stage_fingerprint(CANARY_STAGE, CANARY_VERSION, settings, parents)
    found = store.find(CANARY_STAGE, name)
    if found is not None:
        return found.as_dict()
    with store.lock(CANARY_STAGE, name):
        asking = JudgeSettings.model_validate(settings["judging"]["settings"])
        items = canary_items(asking, shard_rows(read_table(place, examples), settings["ids"]), settings["seed"])
        rows, facts = judged(place, settings["judging"], items, "judge canaries")
        facts |= {**verdict_facts(rows), "canaries": [one.facts() for one in canaries_of(rows, asking)]}
    return keep_rows(CANARY_STAGE, CANARY_VERSION, place, settings, parents, rows, facts, columns=SCHEMA)


def items_to_judge(
    place: Place, settings: dict[str, Any], examples: dict[str, Any], parts: Sequence[dict[str, Any]]
) -> list[Row]:
    """Return the items of one candidate's answers; of pairs, its answer first and the baseline's second."""
    judging, n_own = settings["judging"], settings["n_own"]
    pairs = judging["settings"]["scale"] == PAIRWISE
    others = {_key(row): row for row in answers_in(place, parts[n_own:])}
    known = read_table(place, examples)
    items: list[Row] = []
    for part in parts[:n_own]:
        rows = list(answers_in(place, [part]))
        for row, example in zip(rows, shard_rows(known, [row["example_id"] for row in rows]), strict=True):
            other = others.get(_key(row), {})
            if row["status"] in {*WRONG, *MISSING} or (pairs and other.get("status") in {None, *WRONG, *MISSING}):
                continue
            answer = {"first": row["output"], "second": other["output"]} if pairs else {"output": row["output"]}
            items.append(
                {
                    "example_id": row["example_id"],
                    "candidate": settings["candidate"],
                    "replicate": row["replicate"],
                    "input": example["input"],
                    "reference": example["target"] or None,
                    **answer,
                }
            )
    return items


def answers_in(place: Place, parts: Sequence[dict[str, Any]]) -> Iterator[Row]:
    """Yield id, replicate, status and output of the rows in `parts`."""
    store = place.open_store()
    for part in parts:
        yield from store.read(Ref.from_dict(part), COLUMNS).to_pylist()


def verdict_facts(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what is counted of verdicts: statuses, error classes, replies by other models, some without."""
    missing = [row for row in rows if row["status"] == "error"]
    unreadable = (row["output"] for row in rows if row["status"] == "unparsed" and row["output"])
    return {
        "n": len(rows),
        "statuses": dict(Counter(row["status"] for row in rows)),
        "errors": dict(Counter(row["error_class"] for row in rows if row["error_class"])),
        "returned": dict(Counter(row["model_returned"] for row in rows if row["status"] == "invalid")),
        "verdicts": dict(Counter(row["verdict"] for row in rows if row["verdict"] is not None)),
        "unreadable": next(unreadable, "")[:MAX_SHOWN],
        "missing": [f"{row['candidate']}: {row['example_id']}" for row in missing[:MAX_MISSING]],
        "cost_usd": sum(row["cost_usd"] or 0.0 for row in rows),
    }


def _produced(rows: Sequence[Row], facts: dict[str, Any]) -> Produced:
    return Produced(checked(pa.Table.from_pylist(list(rows), schema=SCHEMA), "verdicts"), facts=facts)


def _key(row: Row) -> tuple[str, int]:
    return row["example_id"], row["replicate"]
