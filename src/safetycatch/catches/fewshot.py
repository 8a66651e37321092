"""Foot guns 5 and 9 where they meet the prompt: shots that give the answer away (SC509, SC901)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.catches.finding import Observation

if TYPE_CHECKING:
    from collections.abc import Sequence


def shots_are_foreign(*, offending: Sequence[tuple[str, str]], n_shots: int) -> Observation:
    """SC509: no shot is its query's item or near-duplicate; `offending` are (query id, shot id)."""
    if not n_shots:
        return Observation("SC509", "not_applicable", "no shots")
    if not offending:
        return Observation("SC509", "passed", f"{n_shots} shots checked against their queries")
    query, shot = offending[0]
    return Observation(
        "SC509",
        "fired",
        f"{len(offending)} of {n_shots} shots are their query's item or its duplicate, e.g. query {query} shows {shot}",
        "the answer is then in the prompt",
        "use the built-in selection, which skips a query's duplicates",
        {"offending": [list(pair) for pair in offending[:20]]},
    )


def pool_is_apart(*, declared: bool, ids: Sequence[str], pool: str) -> Observation:
    """SC901: the declared pool holds no id of dev or test."""
    if not declared:
        return Observation("SC901", "passed", "the pool is the train split")
    if not ids:
        return Observation("SC901", "passed", f"{pool} shares no id with dev or test")
    return Observation(
        "SC901",
        "fired",
        f"{len(ids)} rows of {pool} are dev or test rows, e.g. {ids[0]}",
        "the model would see the answers of the rows it is scored on",
        "leave those rows out of the pool, or leave 'data.pool' out: train is the pool",
        {"ids": list(ids[:20])},
    )
