"""Dividing rows into train, dev and test so that no duplicate and no group is on two sides, and nothing ever moves.

The unit is a cluster: a group, joined by duplicates where that stays small (`clusters`), or without groups a set of
duplicates. A unit's place is a hash of the seed and its group (or text), so it does not depend on the other rows;
below 2,000 units a balanced assignment takes its place once. Rows that have been assigned are *frozen*: pass the
`frozen` table of the last result and no row of it moves, new rows follow their cluster, and a new row that belongs to
two splits at once is set aside (`quarantine`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safetycatch import tables
from safetycatch.data.assignment import (
    NAMES,
    QUARANTINE,
    SPLITS,
    Units,
    balanced,
    by_hash,
    by_time,
    inherit,
    set_duplicates_aside,
)
from safetycatch.data.leakage import DEFAULT
from safetycatch.errors import DataError
from safetycatch.identity import keyed_fraction
from safetycatch.settings import SplitSettings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from safetycatch.settings import LeakSettings

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

BALANCED_BELOW_CLUSTERS = 2000
POOL_SHARE, POOL_ROWS, DEV_SHARE = 0.2, 200, 0.2
SHARE_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class SplitResult:
    """A division of rows.

    `table`: `splits` table of the rows given, in their order. `frozen`: append-only `splits` table of every row ever
    assigned; pass it next time. `quarantined`: (example_id, reason) of the rows in no split. `rows`, `shares`: number
    and share of rows by split. `variant`: hash | balanced | time | given.
    """

    table: pa.Table
    frozen: pa.Table
    quarantined: tuple[tuple[str, str], ...]
    rows: dict[str, int]
    shares: dict[str, float]
    variant: str
    notes: tuple[str, ...]


def split(
    examples: pa.Table,
    settings: SplitSettings | None = None,
    *,
    frozen: pa.Table | None = None,
    seed: int | None = None,
    leaks: LeakSettings = DEFAULT,
) -> SplitResult:
    """Return the split of each row of an `examples` table; `frozen` rows stay, duplicates and groups stay together.

    `seed` replaces the settings' own. With a given column the rows are taken as they are; leaks are then
    `leakage.leak_matrix`'s to find.

    Raises: DataError for an empty table, a split that would be empty, missing times or given splits.
    """
    import numpy as np

    settings = settings or SplitSettings()
    if not examples.num_rows:
        raise DataError("no rows to split")
    units = Units.of(examples, settings.seed if seed is None else seed, leaks)
    if settings.column is not None:
        return _given(units, examples, settings.column)
    shares = _shares(settings, len(units.ids), frozen)
    places, variant, reasons = units.frozen_places(frozen), "hash", {}
    known = places >= 0
    if settings.by == "time":
        variant = "time"
        by_time(units, _times(examples), places, shares, reasons)
    else:
        inherit(units, places, reasons)
    free = np.flatnonzero(places < 0).tolist()
    labels = sorted({int(units.labels[row]) for row in free})
    if not known.any() and len(labels) < BALANCED_BELOW_CLUSTERS and labels:
        variant = "balanced"
        assigned = balanced(units, labels, shares, examples["target"].to_pylist())
    else:
        assigned = {label: by_hash(units.fractions[label], shares) for label in labels}
        if settings.shares is None and not known.any():
            _limit_pool(units, assigned)
    for row in free:
        places[row] = assigned[int(units.labels[row])]
    set_duplicates_aside(units, places, known, reasons)
    return _result(units, places, frozen, reasons, variant, shares, known)


def _times(examples: pa.Table) -> list[str]:
    times = examples["created_at"].to_pylist() if "created_at" in examples.column_names else [None] * examples.num_rows
    if None in times:
        raise DataError(
            "no time",
            where=f"row {times.index(None) + 1}",
            expected="a time in every row to split by time",
            fix="name the column in data.time, or use split: {by: hash}",
        )
    return times


def _shares(settings: SplitSettings, n_rows: int, frozen: pa.Table | None) -> dict[str, float]:
    if settings.shares is not None:
        return settings.shares
    pool = POOL_ROWS
    if frozen is not None:
        pool = max(0, POOL_ROWS - sum(name == "train" for name in frozen["split"].to_pylist()))
    train = min(POOL_SHARE, pool / n_rows)
    return {"train": train, "dev": DEV_SHARE, "test": 1 - train - DEV_SHARE}


def _limit_pool(units: Units, assigned: dict[int, int]) -> None:
    """Keep the default pool at 200 rows: the units with the largest fractions go to test."""
    import numpy as np

    sizes, rows = np.bincount(units.labels), 0
    for unit in sorted((unit for unit in assigned if assigned[unit] == 0), key=units.fractions.__getitem__):
        rows += int(sizes[unit])
        if rows > POOL_ROWS:
            assigned[unit] = 2


def _given(units: Units, examples: pa.Table, column: str) -> SplitResult:
    import numpy as np

    given: list[str | None] = examples["given_split"].to_pylist() if "given_split" in examples.column_names else []
    if not given or any(name not in SPLITS for name in given):
        row = next((row for row, name in enumerate(given) if name not in SPLITS), 0)
        raise DataError(
            f"no split: {given[row] if given else None!r}",
            where=f"row {row + 1}, column {column}",
            expected="train, dev or test in every row",
        )
    places = np.array([SPLITS.index(name) for name in given if name is not None], np.int64)
    return _result(units, places, None, {}, "given", None)


def _result(
    units: Units,
    places: Ints,
    frozen: pa.Table | None,
    reasons: dict[int, str],
    variant: str,
    wanted: dict[str, float] | None,
    known: Bools | None = None,
) -> SplitResult:
    """Return the result; `wanted` are the shares asked for, of those rows only that are not `known` from before."""
    import numpy as np
    import pyarrow as pa

    names = [NAMES[place] for place in places.tolist()]
    columns = {"example_id": units.ids, "split": names, "cluster_id": units.cluster_ids(frozen)}
    table = tables.checked(pa.table(columns), "splits", "the split")
    rows = {name: names.count(name) for name in SPLITS}
    shares = {name: count / len(names) for name, count in rows.items()}
    notes: list[str] = []
    n_units = len(set(units.labels.tolist()))
    for name in SPLITS if wanted else ():
        if wanted and wanted[name] > 0 and not rows[name]:
            raise DataError(
                f"the {name} split would be empty: {n_units} independent groups or clusters of duplicates in "
                f"{len(names)} rows",
                expected=f"about {wanted[name]:.0%} of the rows",
                fix="more rows, other shares, or split: {column: …}",
            )
        due = wanted[name] if wanted else 0.0
        if known is not None and known.any():
            due = float(np.where(known, places == SPLITS.index(name), due).mean())
        if abs(due - shares[name]) > SHARE_TOLERANCE:
            notes.append(f"{name} holds {shares[name]:.1%} of the rows instead of {due:.1%}")
    ledger = table
    if frozen is not None:
        old = set(frozen["example_id"].to_pylist())
        fresh = pa.array([name not in old for name in units.ids])
        ledger = pa.concat_tables([tables.checked(frozen, "splits", "the frozen split"), table.filter(fresh)])
    quarantined = tuple(
        (name, reasons.get(row, "set aside before"))
        for row, (name, which) in enumerate(zip(units.ids, names, strict=True))
        if which == QUARANTINE
    )
    largest = int(np.bincount(units.labels).max())
    if notes and largest > SHARE_TOLERANCE * len(names):
        notes.append(f"one cluster of duplicates or groups holds {largest} of the {len(names)} rows")
    if quarantined:
        name, reason = quarantined[0]
        notes.append(f"set aside, in no split: {len(quarantined)}, e.g. {name}: {reason}")
    return SplitResult(table, ledger, quarantined, rows, shares, variant, tuple(notes))


def derive_dev(result: SplitResult, *, seed: int, share: float = DEV_SHARE) -> SplitResult:
    """Return a split without dev rows with a keyed `share` of the train clusters as dev.

    Raises: DataError when there are dev rows already, or fewer than two clusters in train.
    """
    import pyarrow as pa

    if result.rows["dev"]:
        raise DataError("the split has dev rows already")
    names, clusters = result.table["split"].to_pylist(), result.table["cluster_id"].to_pylist()
    fractions = {
        cluster: keyed_fraction(seed, "dev", cluster)
        for cluster, name in zip(clusters, names, strict=True)
        if name == "train"
    }
    if len(fractions) < 2:
        raise DataError("no dev split can be taken from train: it holds fewer than two clusters")
    chosen = {cluster for cluster, fraction in fractions.items() if fraction < share}
    ordered = sorted(fractions, key=fractions.__getitem__)
    if not chosen or len(chosen) == len(fractions):
        chosen = {ordered[0]}
    moved = [
        "dev" if name == "train" and cluster in chosen else name for name, cluster in zip(names, clusters, strict=True)
    ]
    table = result.table.set_column(1, result.table.schema.field(1), pa.array(moved))
    rows = {name: moved.count(name) for name in SPLITS}
    return replace(
        result,
        table=table,
        rows=rows,
        shares={name: count / len(moved) for name, count in rows.items()},
        notes=(*result.notes, f"dev is {rows['dev']} rows taken from train"),
    )
