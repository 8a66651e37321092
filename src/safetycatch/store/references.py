"""Which calls the stored runs refer to: the journal must keep those, or a run could not be traced to what was sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.errors import DataError, StoreError
from safetycatch.store.records import RESUMABLE, RUN_ID, RUNS, load_run

if TYPE_CHECKING:
    from safetycatch.store.artifacts import Store
    from safetycatch.store.records import StoredRun

COLUMN = "call_key"


@dataclass(frozen=True, slots=True)
class References:
    """`call_keys` in the tables of any run; `unfinished` runs, which need every call of theirs when they resume."""

    call_keys: frozenset[str]
    unfinished: frozenset[str]


def references(store: Store) -> References:
    """Return what the runs of a store refer to.

    Raises: StoreError naming a run that cannot be read: what it refers to is not known.
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
    return References(frozenset(keys), frozenset(unfinished))


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
