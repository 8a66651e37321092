"""Stage `fewshot`: the examples that each query's prompt shows, for one shot strategy."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
from prefect import task

from safetycatch.fewshot.selection import select
from safetycatch.settings import ShotSettings
from safetycatch.store import Ref
from safetycatch.tables import with_ids
from tasks.split import clusters_with_pool
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, transient

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
) -> dict[str, Any]:
    """Return the reference of the shots of `settings[shots]` for the items of `settings[split]`.

    The pool is the train split, or the declared pool; what is quarantined is never shown.
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
        chosen = select(
            shown, rows_of(settings["split"]), ShotSettings.model_validate(settings["shots"]), clusters=clusters
        )
        return Produced(chosen)

    parents = parents_of({"examples": examples, "splits": splits, "pool": pool})
    return run_stage(STAGE, VERSION, place, settings, parents, produce)
