"""Stage `load`: a data file as the `examples` table."""

from __future__ import annotations

from typing import Any

from prefect import task

from safetycatch.data.loading import load_examples
from safetycatch.errors import DataError
from safetycatch.settings import DataSettings
from tasks.split import prefixed
from tasks.stage import CacheKey, Place, Produced, run_stage, transient

STAGE, VERSION = "load", "1"


@task(
    name=STAGE,
    task_run_name="load {settings[path]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=2,
    retry_condition_fn=transient,
)
def load(place: Place, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the reference of the examples; `settings` is `data:` plus the file's `sha256`."""

    def produce() -> Produced:
        named = {key: value for key, value in settings.items() if key not in {"sha256", "is_pool"}}
        loaded = load_examples(DataSettings.model_validate(named), root=place.folder)
        if loaded.source_sha256 != settings["sha256"]:
            raise DataError("the file changed while the run was starting", where=settings["path"], fix="run it again")
        table = prefixed(loaded.table) if settings["is_pool"] else loaded.table
        return Produced(table, facts={"notes": list(loaded.notes), "sha256": loaded.source_sha256})

    return run_stage(STAGE, VERSION, place, settings, [], produce)
