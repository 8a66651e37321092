"""Stage `fewshot`: the examples that each query's prompt shows, for one shot strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
from prefect import task

from safetycatch.fewshot.selection import select
from safetycatch.scoring import row_values
from safetycatch.settings import ShotSettings
from safetycatch.store import Ref
from safetycatch.tables import with_ids
from tasks.calling import scorers_of, shard_rows
from tasks.split import clusters_with_pool
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, transient

if TYPE_CHECKING:
    import pyarrow as pa

STAGE, VERSION = "fewshot", "1"


@task(
    name=STAGE,
    task_run_name="fewshot {settings[shots][select]} {settings[shots][k]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=2,
    retry_condition_fn=transient,
)
def fewshot(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    splits: dict[str, Any],
    pool: dict[str, Any] | None = None,
    answered: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the reference of the shots of `settings[shots]` for the items of `settings[split]`.

    The pool is the train split, or the declared pool; what is quarantined is never shown. `answered` are the model's
    own rows about pool rows, for `bootstrapped`: those it answered right come first. Without them others stand in.
    """

    def produce() -> Produced:
        store = place.open_store()
        table, split = store.read(Ref.from_dict(examples)), store.read(Ref.from_dict(splits))
        shown_pool = store.read(Ref.from_dict(pool)) if pool is not None else table.slice(0, 0)
        clusters = clusters_with_pool(split, shown_pool, table)

        def rows_of(name: str) -> Any:
            ids = split.filter(pc.field("split") == name)["example_id"].to_pylist()
            return with_ids(table, ids)

        shown = rows_of("train") if pool is None else shown_pool
        shots = ShotSettings.model_validate(settings["shots"])
        if answered is None:
            return Produced(select(shown, rows_of(settings["split"]), shots, clusters=clusters))
        replies = store.read(Ref.from_dict(answered))
        right = _right(place, settings, replies, shown)
        chosen = select(shown, rows_of(settings["split"]), shots, clusters=clusters, first=right)
        facts = {
            "n_asked": replies.num_rows,
            "n_right": len(right),
            "n_filled": max(0, shots.k - len(right)),
            "right": sorted(right),
        }
        return Produced(chosen, facts=facts)

    parents = parents_of({"answered": answered, "examples": examples, "splits": splits, "pool": pool})
    return run_stage(STAGE, VERSION, place, settings, parents, produce)


def _right(place: Place, settings: dict[str, Any], replies: pa.Table, shown: pa.Table) -> set[str]:
    """Return the ids of the pool rows that were answered right."""
    answers = replies.to_pylist()
    rows = shard_rows(shown, [row["example_id"] for row in answers])
    found = [{**row, **answer} for row, answer in zip(rows, answers, strict=True)]
    values = row_values(scorers_of(place, settings)[0], found, [row["target"] for row in rows]).value
    return {row["example_id"] for row, value in zip(rows, values, strict=True) if value == 1}
