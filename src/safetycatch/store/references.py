"""Which calls stored runs and certificates refer to: the journal must keep those, or they could not be traced to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.errors import DataError, StoreError
from safetycatch.store.artifacts import ARTIFACTS, Problem
from safetycatch.store.records import RESUMABLE, RUN_ID, RUNS, load_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.store.artifacts import Store
    from safetycatch.store.records import StoredRun

COLUMN = "call_key"
CERTIFYING = "certificates", "sealed_labels"  # folders: with anything in them judges were calibrated in this store
CALIBRATIONS = "calibrate-", "sentinels-", "refine-"  # how their run ids begin; those of runs begin with a date
VERDICTS = "label-verdicts"


@dataclass(frozen=True, slots=True)
class References:
    """`call_keys` in the tables of any run; `unfinished` runs, which need every call of theirs when they resume.

    `calibrations` are beginnings of run ids whose every call is behind a certificate or the labels sealed for one.
    """

    call_keys: frozenset[str]
    unfinished: frozenset[str]
    calibrations: tuple[str, ...] = ()


def references(store: Store) -> References:
    """Return what the runs and the certificates of a store refer to.

    Raises: StoreError naming a run or verdicts that cannot be read: what they refer to is not known.
    """
    keys: set[str] = set()
    unfinished: set[str] = set()
    for name in store.tree.names(RUNS):
        run = load_run(store.tree, name) if RUN_ID.fullmatch(name) else None
        if run is None:
            # A folder that a dead process left before it wrote anything refers to nothing.
            if not RUN_ID.fullmatch(name) or store.tree.names(RUNS, name):
                raise _unknown(store, name, "it is no run of this version")
            continue
        if run.status == "damaged":
            raise _unknown(store, name, run.detail)
        if run.status in RESUMABLE:
            unfinished.add(run.run_id)
        try:
            for table in run.table_names:
                keys.update(_keys(run, table))
        except StoreError as error:
            raise _unknown(store, name, str(error)) from None
    if not any(store.tree.names(folder) for folder in CERTIFYING):
        return References(frozenset(keys), frozenset(unfinished))
    # Verdicts that an earlier run paid for are in no calibration's calls, but in its table.
    keys.update(_verdict_keys(store))
    return References(frozenset(keys), frozenset(unfinished), CALIBRATIONS)


def _verdict_keys(store: Store) -> Iterator[str]:
    for stage in store.stages():
        if not stage.startswith(VERDICTS):
            continue
        for name in store.tree.names(ARTIFACTS, stage):
            found = store.inspect(stage, name.removesuffix(".json")) if name.endswith(".json") else None
            if isinstance(found, Problem):
                raise StoreError(
                    f"{found.path}: which calls these verdicts refer to cannot be told: {found.detail}"
                    "\n  fix      safetycatch verify; or move them out of the store"
                )
            if found is not None:
                column = store.read(found, [COLUMN]).column(COLUMN)
                yield from (key for key in column.unique().to_pylist() if key is not None)


def _keys(run: StoredRun, table: str) -> set[str]:
    listed = run.manifest["tables"].get(table)
    if listed is not None and all(column["name"] != COLUMN for column in listed["columns"]):
        return set()
    try:
        column = run.table(table, [COLUMN]).column(COLUMN)
    except DataError:
        return set()  # a table without that column, of a run that is not finished
    return {key for key in column.unique().to_pylist() if key is not None}


def _unknown(store: Store, name: str, why: str) -> StoreError:
    return StoreError(
        f"{store.tree.path(RUNS, name)}: which calls it refers to cannot be told: {why}"
        "\n  fix      safetycatch verify; or move it out of the store"
    )
