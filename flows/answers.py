"""Every candidate's answers, shard by shard: the step that asks them, or reads what they recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.evaluate import evaluate
from tasks.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.chain import Call
    from tasks.prepared import Prepared, Ref

MAX_TASK_RUNS = 150
# A shard ends when its slowest call does, so few and long ones waste least; the journal keeps what is answered.
SHARD_ROWS = 4000


def answer(prepared: Prepared, call: Call, done: Callable[[int], None]) -> dict[str, list[Ref]]:
    """Return every candidate's shards of replies, in order; the only step that spends money.

    `done` gets the number of replies of every finished shard.
    """
    place, replicates = prepared.place, prepared.experiment.runs.replicates
    ids = list(prepared.ids)
    size = max(SHARD_ROWS, -(-len(ids) * len(prepared.entries) // MAX_TASK_RUNS))
    shards = [ids[start : start + size] for start in range(0, len(ids), size)]
    parts: dict[str, list[Ref]] = {}
    for entry in prepared.entries:
        candidate = entry["candidate"]
        if candidate["outputs"]:
            settings = {
                **entry,
                "ids": ids,
                "id": prepared.experiment.data.id,
                "sha256": prepared.inputs.sha256[candidate["outputs"]],
                "replicates": replicates,
            }
            parts[candidate["id"]] = [call(recorded, place=place, settings=settings, examples=prepared.examples)]
            continue
        shots = prepared.shots[entry["shots_at"]] if entry["shots_at"] is not None else None
        parts[candidate["id"]] = []
        for number, shard in enumerate(shards, 1):
            reference = call(
                evaluate,
                place=place,
                settings={
                    **{key: value for key, value in entry.items() if key != "shots_at"},
                    "ids": shard,
                    "shard": number,
                    "shards": len(shards),
                    "replicates": replicates,
                },
                examples=prepared.examples,
                shots=shots,
                pool=prepared.pool,
            )
            parts[candidate["id"]].append(reference)
            done(len(shard) * replicates)
    return parts
