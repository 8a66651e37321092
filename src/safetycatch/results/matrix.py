"""Scores aligned by item: one array a candidate and metric, rows in item order, columns are replicates."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.errors import DataError
from safetycatch.tables import with_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


WHOLE_SET = frozenset({"macro_f1", "balanced_accuracy", "latency_p50", "latency_p95"})
MOST_SLICES = 50
OTHER = "(other)"
SLICE = "slice:"  # before the name of a slice in a stored run's `items`


@dataclass(frozen=True, slots=True)
class Items:
    """The scored items in order, their cluster (the unit of independence), slice columns and content hashes."""

    ids: tuple[str, ...]
    clusters: np.ndarray
    slices: Mapping[str, np.ndarray]
    targets: np.ndarray
    content: np.ndarray

    @property
    def n_clusters(self) -> int:
        """How many independent clusters there are."""
        return len(set(self.clusters.tolist()))

    @property
    def clustered(self) -> bool:
        """Whether some items share a cluster."""
        return self.n_clusters < len(self.ids)


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """Values by (candidate, metric), each of shape (items, replicates); NaN is a missing score."""

    items: Items
    candidates: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Mapping[tuple[str, str], Floats]

    def has(self, candidate: str, metric: str) -> bool:
        """Whether `metric` was computed for `candidate`."""
        return (candidate, metric) in self.values

    def rows(self, candidate: str, metric: str) -> Floats:
        """Return all values of one metric, shape (items, replicates)."""
        return self.values[candidate, metric]

    def means(self, candidate: str, metric: str) -> Floats:
        """Return one value an item: the mean over the replicates that are there; NaN where none is."""
        values = self.values[candidate, metric]
        seen = ~np.isnan(values)
        counts = seen.sum(axis=1)
        sums = np.where(seen, values, 0.0).sum(axis=1)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def flat(self, candidate: str, metric: str) -> tuple[Floats, np.ndarray | None]:
        """Return every value and its cluster; several replicates of an item share the item's cluster."""
        values = self.values[candidate, metric]
        n_replicates = values.shape[1]
        if n_replicates == 1:
            return values[:, 0], self.items.clusters if self.items.clustered else None
        return values.reshape(-1), np.repeat(self.items.clusters, n_replicates)

    def paired_clusters(self) -> np.ndarray | None:
        """Return the clusters of item means; None when every item is independent."""
        return self.items.clusters if self.items.clustered else None

    def without(self, ids: set[str]) -> ScoreMatrix:
        """Return the matrix of the other items; the same one when there is nothing to leave out."""
        kept = [row for row, example_id in enumerate(self.items.ids) if example_id not in ids]
        if len(kept) == len(self.items.ids):
            return self
        values = {key: array[kept] for key, array in self.values.items()}
        return ScoreMatrix(taken(self.items, kept), self.candidates, self.metrics, values)

    def joined(self, other: ScoreMatrix, prefix: str) -> ScoreMatrix:
        """Return this matrix with `other`'s candidates added as `prefix:candidate`, on the items both hold.

        Contributions to a metric of the whole set average to it over that set only: on a part of the items such
        metrics (`WHOLE_SET`) are left out.
        """
        place = {example_id: row for row, example_id in enumerate(other.items.ids)}
        mine = [row for row, example_id in enumerate(self.items.ids) if example_id in place]
        theirs = [place[self.items.ids[row]] for row in mine]
        part = len(mine) < max(len(self.items.ids), len(other.items.ids))
        values = {key: array[mine] for key, array in self.values.items()}
        values |= {(f"{prefix}:{name}", metric): array[theirs] for (name, metric), array in other.values.items()}
        if part:
            values = {(name, metric): array for (name, metric), array in values.items() if metric not in WHOLE_SET}
        return ScoreMatrix(
            items=taken(self.items, mine),
            candidates=(*self.candidates, *(f"{prefix}:{name}" for name in other.candidates)),
            metrics=self.metrics,
            values=values,
        )


def taken(items: Items, rows: Sequence[int]) -> Items:
    """Return the items at these places, in this order."""
    index = np.asarray(rows, dtype=np.intp)
    return Items(
        ids=tuple(items.ids[row] for row in rows),
        clusters=items.clusters[index],
        slices={name: column[index] for name, column in items.slices.items()},
        targets=items.targets[index],
        content=items.content[index],
    )


def items_of(
    examples: pa.Table, splits: pa.Table, split: str, slices: Sequence[str], ids: Sequence[str] | None = None
) -> Items:
    """Return the items of one split (or those of `ids`), in the order of `examples`, with their clusters.

    Raises: DataError when a slice column is missing, or an id of `ids` is not one row of the split.
    """
    import pyarrow.compute as pc

    wanted = splits.filter(pc.field("split") == split)
    clusters = dict(zip(wanted["example_id"].to_pylist(), wanted["cluster_id"].to_pylist(), strict=True))
    missing = [name for name in slices if name not in examples.column_names]
    if missing:
        raise DataError(f"no column {missing[0]!r}", where="data.slices", expected=", ".join(examples.column_names))
    columns = ["example_id", "input", "target", *slices]
    picked = wanted["example_id"].to_pylist() if ids is None else list(ids)
    chosen = with_ids(examples.select(columns), picked)
    found = tuple(chosen["example_id"].to_pylist())
    stray = next((example_id for example_id in found if example_id not in clusters), None)
    if stray is not None or len(found) != len(picked):
        lost = stray or next((name for name in picked if name not in set(found)), picked[0] if picked else "")
        raise DataError(
            f"the item {lost!r} is not one row of the {split} split", where="items", expected="one row an id"
        )
    targets = np.asarray(chosen["target"].to_pylist(), dtype=object)
    content = np.asarray(
        [hash_of(text, target) for text, target in zip(chosen["input"].to_pylist(), targets, strict=True)], dtype=object
    )
    return Items(
        ids=found,
        clusters=np.asarray([clusters[example_id] for example_id in found], dtype=object),
        slices={name: common_slices(chosen[name].to_pylist()) for name in slices},
        targets=targets,
        content=content,
    )


def stored_items(table: pa.Table) -> Items:
    """Return the items of a stored run's `items` table: ids, clusters, content and slices, without targets."""
    columns = {name: np.asarray(table[name].to_pylist(), dtype=object) for name in table.column_names}
    ids = tuple(table["example_id"].to_pylist())
    slices = {name.removeprefix(SLICE): values for name, values in columns.items() if name.startswith(SLICE)}
    return Items(ids, columns["cluster_id"], slices, np.full(len(ids), None, dtype=object), columns["content"])


def common_slices(values: list[str | None]) -> np.ndarray:
    """Return a slice column; beyond 50 different values the rarer ones are one slice, `(other)`."""
    common = dict(Counter(str(value) for value in values).most_common(MOST_SLICES))
    return np.asarray([str(value) if str(value) in common else OTHER for value in values], dtype=object)


def hash_of(text: str, target: str | None) -> str:
    """Return 16 hex digits that change when an item's input or target does."""
    from safetycatch.identity import fingerprint

    return fingerprint(text, target)[:16]


def build_matrix(items: Items, scores: Iterable[pa.RecordBatch], n_replicates: int) -> ScoreMatrix:
    """Return the scores of `items` as arrays; batches hold `candidate, example_id, replicate, metric, value`.

    Raises: DataError for a score of an unknown item, or two scores of one row.
    """
    place = {example_id: row for row, example_id in enumerate(items.ids)}
    values: dict[tuple[str, str], Floats] = {}
    filled: dict[tuple[str, str], np.ndarray] = {}
    for batch in scores:
        columns = [
            batch.column(name).to_pylist() for name in ("candidate", "example_id", "replicate", "metric", "value")
        ]
        for candidate, example_id, replicate, metric, value in zip(*columns, strict=True):
            key = (candidate, metric)
            if key not in values:
                values[key] = np.full((len(items.ids), n_replicates), np.nan)
                filled[key] = np.zeros((len(items.ids), n_replicates), dtype=bool)
            row = place.get(example_id)
            if row is None or not 0 <= replicate < n_replicates:
                raise DataError(
                    f"a score of {example_id!r}, replicate {replicate}, which is not scored here", where=candidate
                )
            if filled[key][row, replicate]:
                raise DataError(f"two scores of {example_id!r}", where=f"{candidate}, {metric}")
            filled[key][row, replicate] = True
            if value is not None:
                values[key][row, replicate] = value
    candidates = tuple(dict.fromkeys(candidate for candidate, _ in values))
    metrics = tuple(dict.fromkeys(metric for _, metric in values))
    return ScoreMatrix(items, candidates, metrics, values)
