"""Placing clusters of rows: by hash, balanced, by time, or with rows that are placed already.

A place is the number of a split in `NAMES`, -1 for a row without one. The functions change `places` of new rows only
and write into `reasons`, by row, why a row was set aside.
"""

from __future__ import annotations

import functools
import hashlib
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.data.clusters import Duplicates, clusters_of, components, duplicates, group_edges
from safetycatch.data.crossings import group_keys
from safetycatch.data.normalisation import comparison_texts, normalise
from safetycatch.identity import keyed_fraction

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from safetycatch.settings import LeakSettings

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

SPLITS = ("train", "dev", "test")
QUARANTINE = "quarantine"
NAMES = (*SPLITS, QUARANTINE)
ASIDE = NAMES.index(QUARANTINE)
MAX_STRATA = 200


@dataclass(frozen=True, slots=True)
class Units:
    """The rows of a split and the clusters they form: `labels` by row; keyed fraction and content key by label."""

    ids: list[str]
    groups: list[tuple[str, ...]]
    same: Duplicates
    labels: Ints
    fractions: dict[int, float]
    keys: dict[int, str]

    @classmethod
    def of(cls, examples: pa.Table, seed: int, leaks: LeakSettings) -> Units:
        """Return the clusters of an `examples` table."""
        texts, groups = comparison_texts(examples), group_keys(examples)
        same = duplicates(texts, leaks)
        labels = clusters_of(same, groups)
        smallest: dict[int, str] = {}
        for label, text, keys in zip(labels.tolist(), texts, groups, strict=True):
            name = min(map(_hashed, (f"group {key}" for key in keys)), default="") or _hashed(f"text {normalise(text)}")
            smallest[label] = min(name, smallest.get(label, name))
        # The smallest hash of a cluster is small: used as it is, large clusters would all go to the first split.
        fractions = {label: keyed_fraction(seed, "split", name) for label, name in smallest.items()}
        ids = examples["example_id"].to_pylist()
        return cls(ids, groups, same, labels, fractions, smallest)

    def frozen_places(self, frozen: pa.Table | None) -> Ints:
        """Return the number of each row's frozen split; -1 for a new row."""
        import numpy as np

        known = {} if frozen is None else dict(columns(frozen, "example_id", "split"))
        return np.array([NAMES.index(known[name]) if name in known else -1 for name in self.ids], np.int64)

    def cluster_ids(self, frozen: pa.Table | None) -> list[str]:
        """Return the cluster id of each row: its frozen one, else that of its frozen relatives, else of its content."""
        known = {} if frozen is None else dict(columns(frozen, "example_id", "cluster_id"))
        relatives: dict[int, str] = {}
        for name, label in zip(self.ids, self.labels.tolist(), strict=True):
            if name in known:
                relatives[label] = min(known[name], relatives.get(label, known[name]))
        return [
            known.get(name) or relatives.get(label) or self.keys[label]
            for name, label in zip(self.ids, self.labels.tolist(), strict=True)
        ]


def columns(table: pa.Table, *names: str) -> list[tuple[str, str]]:
    """Return two columns as pairs."""
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def _hashed(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def by_hash(fraction: float, shares: dict[str, float]) -> int:
    """Return the place of a cluster with this keyed fraction."""
    edge = 0.0
    for place, name in enumerate(SPLITS):
        edge += shares[name]
        if fraction < edge:
            return place
    return max(place for place, name in enumerate(SPLITS) if shares[name] > 0)


def balanced(units: Units, labels: list[int], shares: dict[str, float], targets: Sequence[str]) -> dict[int, int]:
    """Return a split for each label such that shares and target classes are as close to even as groups allow.

    Largest units first, then in keyed order; each goes where rows of its classes, and rows at all, are most wanting.
    """
    import numpy as np

    classes, codes = np.unique(np.array(targets, object).astype(str), return_inverse=True)
    if len(classes) > min(MAX_STRATA, max(2, len(targets) // 5)):
        classes, codes = classes[:1], np.zeros(len(targets), np.int64)
    table = np.zeros((len(units.labels), len(classes)))
    np.add.at(table, (units.labels, codes), 1)
    wanted = np.array([shares[name] for name in SPLITS])
    filled, seen = np.zeros((len(SPLITS), len(classes))), np.zeros(len(classes))
    assigned: dict[int, int] = {}
    for unit in sorted(labels, key=lambda unit: (-table[unit].sum(), units.fractions[unit])):
        seen += table[unit]
        missing = np.outer(wanted, seen) - filled
        score = missing @ table[unit] / table[unit].sum() + missing.sum(axis=1)
        score[wanted == 0] = -np.inf
        assigned[unit] = int(score.argmax())
        filled[assigned[unit]] += table[unit]
    _fill_empty(assigned, wanted, table.sum(axis=1))
    return assigned


def _fill_empty(assigned: dict[int, int], wanted: Floats, sizes: Floats) -> None:
    """Give each wanted split a unit where there are enough of them: the smallest of the split with most units."""
    for place in range(len(SPLITS)):
        if wanted[place] > 0 and place not in assigned.values():
            counts = [sum(other == where for other in assigned.values()) for where in range(len(SPLITS))]
            richest = counts.index(max(counts))
            if counts[richest] > 1:
                mine = [unit for unit, where in assigned.items() if where == richest]
                assigned[min(mine, key=lambda unit: (sizes[unit], unit))] = place


def inherit(units: Units, places: Ints, reasons: dict[int, str]) -> None:
    """Give new rows the place of their placed relatives: of their group, else of their cluster, else of their text.

    A row that would tie two splits together is set aside; a row without placed relatives stays at -1.
    """
    import numpy as np

    known = places >= 0
    bits = np.where(known & (places != ASIDE), 1 << np.maximum(places, 0), 0)
    by_text = units.same.reached(bits)
    by_cluster = np.zeros(len(places), np.int64)
    np.bitwise_or.at(by_cluster, units.labels, bits)
    group = components(group_edges(units.groups), len(places))
    by_group = np.zeros(len(places), np.int64)
    np.bitwise_or.at(by_group, group, np.where([bool(keys) for keys in units.groups], bits, 0))
    by_key: dict[str, int] = {}
    for row in np.flatnonzero(known).tolist():
        for key in units.groups[row]:
            by_key[key] = by_key.get(key, 0) | int(bits[row])
    for row in np.flatnonzero(~known).tolist():
        mask, keys = int(by_cluster[units.labels[row]]), units.groups[row]
        if keys and by_group[group[row]]:
            mask = int(by_group[group[row]])
            if mask.bit_count() > 1 and all(key in by_key for key in keys):
                mask = functools.reduce(operator.or_, (by_key[key] for key in keys))
        elif mask.bit_count() > 1:
            if keys:
                continue  # a new group goes to one place as a whole; its duplicates elsewhere are set aside later
            mask = int(by_text[row]) or mask
        if mask.bit_count() == 1:
            places[row] = mask.bit_length() - 1
        elif mask:
            places[row] = ASIDE
            names = [name for place, name in enumerate(SPLITS) if mask >> place & 1]
            reasons[row] = f"belongs to rows of {' and '.join(names)}"


def by_time(
    units: Units, times: Sequence[str], places: Ints, shares: dict[str, float], reasons: dict[int, str]
) -> None:
    """Place new rows by time, oldest in train, the cuts where frozen rows put them; ISO 8601 texts in UTC.

    A row whose cluster has more rows in another split, or any frozen row there, is set aside.
    """
    import numpy as np

    new = np.flatnonzero(places < 0)
    old = [[time for time, place in zip(times, places.tolist(), strict=True) if place == which] for which in range(3)]
    after = "\uffff"
    if any(old):
        starts = [min(old[1] + old[2], default=after), min(old[2], default=after)]
    else:
        ordered = sorted(times)
        firsts = round(shares["train"] * len(times)), round((shares["train"] + shares["dev"]) * len(times))
        starts = [ordered[place] if place < len(times) else after for place in firsts]
    inherited = places.copy()
    inherit(units, inherited, reasons)
    for row in new.tolist():
        places[row] = int(times[row] >= starts[0]) + int(times[row] >= starts[1])
    counts = np.zeros((len(places), len(NAMES)), np.int64)
    np.add.at(counts, (units.labels, places), 1)
    for row in new.tolist():
        # Of equal sides the later stays: it is the one that scores.
        mine = counts[units.labels[row], : len(SPLITS)]
        keep = int(inherited[row]) if inherited[row] >= 0 else 2 - int(mine[::-1].argmax())
        if places[row] != keep:
            if keep != ASIDE:
                reasons[row] = f"its cluster belongs to {SPLITS[keep]}, its time to {SPLITS[places[row]]}"
            places[row] = ASIDE


def set_duplicates_aside(units: Units, places: Ints, known: NDArray[np.bool_], reasons: dict[int, str]) -> None:
    """Take rows out whose duplicate is in a more scored split, or is frozen in another one."""
    import numpy as np

    new = ~known
    frozen_bits = np.where(known & (places != ASIDE), 1 << places, 0)
    elsewhere = units.same.reached(frozen_bits) & ~(1 << places)
    for row in np.flatnonzero(new & (places != ASIDE) & (elsewhere > 0)).tolist():
        reasons[row] = f"duplicate of a {SPLITS[int(elsewhere[row]).bit_length() - 1]} row"
        places[row] = ASIDE
    for scored in (2, 1):
        reached = units.same.reached(np.where(places == scored, 1, 0)) > 0
        for row in np.flatnonzero(new & (places < scored) & reached).tolist():
            reasons[row] = f"duplicate of a {SPLITS[scored]} row"
            places[row] = ASIDE
