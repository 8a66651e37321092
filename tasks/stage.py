"""What every stage does: fingerprint, look for the artifact, lock, compute, write; and the same key for Prefect."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from safetycatch.errors import SafetycatchError
from safetycatch.experiment import Experiment, parse_experiment
from safetycatch.identity import fingerprint
from safetycatch.project import Project, find_project
from safetycatch.store import Ref, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

TRANSIENT = (OSError, ConnectionError, TimeoutError)


class Place(BaseModel):
    """Where a run works: paths of store and project, the experiment's own text, and the run it belongs to."""

    model_config = ConfigDict(frozen=True)
    store: str
    project: str
    file: str
    text: str
    run_id: str
    mode: str
    error_limit: float | None = None

    def open_store(self) -> Store:
        """Return the store, opened once a process."""
        return open_store(self.store)

    def experiment(self) -> Experiment:
        """Return the experiment as it was when the run started."""
        return parse_experiment(self.text, self.file, Path(self.file).stem)

    def open_project(self) -> Project:
        """Return the project's settings."""
        return find_project(Path(self.project))

    @property
    def folder(self) -> Path:
        """The experiment file's folder: prompts and data are named relative to it."""
        return Path(self.file).parent


@lru_cache(maxsize=8)
def open_store(path: str) -> Store:
    """Return the store at `path`, opened once a process."""
    return Store.open(Path(path))


class Produced(NamedTuple):
    """What a stage computed: a table or a stream of batches, its schema, and small facts kept in the manifest."""

    data: pa.Table | Iterable[pa.RecordBatch]
    schema: pa.Schema | None = None
    facts: dict[str, Any] = {}  # noqa: RUF012 - never changed


def stage_fingerprint(stage: str, version: str, settings: dict[str, Any], parents: Sequence[dict[str, Any]]) -> str:
    """Return the name of a stage's artifact: it changes when code version, settings or any input does."""
    return fingerprint(stage, version, settings, [parent["sha256"] for parent in parents])


class CacheKey:
    """Prefect's `cache_key_fn` of a stage.

    Prefect keeps what a task returns only where its key was known before: a first run needs the key that is `always`
    there, and to be told that what is kept under it counts no more.
    """

    def __init__(self, stage: str, version: str) -> None:
        self._stage, self._version = stage, version

    def __call__(self, context: Any, parameters: dict[str, Any]) -> str | None:
        """Return the key while the artifact is there and whole, else None."""
        return self.always(context, parameters) if self.found(parameters) else None

    def found(self, parameters: dict[str, Any]) -> Ref | None:
        """Return the artifact of these parameters while it is there and whole."""
        store: Store = parameters["place"].open_store()
        return store.find(self._stage, self._name(parameters))

    def always(self, _context: Any, parameters: dict[str, Any]) -> str:
        """Return the key whether the artifact is there or not."""
        return fingerprint(parameters["place"].open_store().url, self._name(parameters))

    def _name(self, parameters: dict[str, Any]) -> str:
        return stage_fingerprint(self._stage, self._version, parameters["settings"], parents_of(parameters))


def parents_of(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the references among a task's parameters, in the order of their names."""
    found: list[dict[str, Any]] = []
    for name in sorted(parameters):
        value = parameters[name]
        if isinstance(value, dict) and "fingerprint" in value:
            found.append(value)
        elif name == "parts" and isinstance(value, list):
            found.extend(value)
    return found


def run_stage(
    stage: str,
    version: str,
    place: Place,
    settings: dict[str, Any],
    parents: Sequence[dict[str, Any]],
    produce: Callable[[], Produced],
) -> dict[str, Any]:
    """Return the reference of a stage's artifact, computing it only when it is not there whole."""
    store = place.open_store()
    name = stage_fingerprint(stage, version, settings, parents)
    found = store.find(stage, name)
    if found is None:
        with store.lock(stage, name):
            found = store.find(stage, name)
            if found is None:
                produced = produce()
                found = store.write(
                    stage,
                    name,
                    produced.data,
                    schema=produced.schema,
                    settings=settings,
                    parents=[Ref.from_dict(parent) for parent in parents],
                    version=version,
                    facts=produced.facts,
                )
                del produced
                # What a stage held goes back to the system, or the stages' peaks would add up.
                pa.default_memory_pool().release_unused()
    return found.as_dict()


def transient(_task: Any, _task_run: Any, state: Any) -> bool:
    """Whether Prefect may run a task again: only for errors of the machine, never for ours or the user's."""
    try:
        state.result()
    except SafetycatchError:
        return False
    except TRANSIENT:
        return True
    except Exception:  # noqa: BLE001 - anything else is a bug: running it again would hide it
        return False
    return False
