"""Which examples each query is shown: none, one seeded balanced set, or the nearest ones.

A shot is never the query's item, never of its cluster, never the same text. Rank 0 comes first in the prompt. The
nearest shot comes last, next to the query: models weigh the last examples most (Zhao et al. 2021, Calibrate Before
Use, section 3), and the query-dependent part of a prompt cannot be cached anyway.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from safetycatch import tables
from safetycatch.errors import DataError
from safetycatch.fewshot.retrieval import nearest, plain_text, text_key
from safetycatch.identity import keyed_fraction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from safetycatch.settings import ShotSettings

Reason = Literal["the query itself", "its cluster", "the same text", "not in the pool"]
BATCH_ROWS = 10_000
SHARED = ""  # the example_id of shots that all queries share


class _Row(NamedTuple):
    example_id: str
    target: str
    text: str
    key: str
    cluster: str


class _Shot(NamedTuple):
    example_id: str
    rank: int
    shot_id: str
    score: float | None


def select(
    pool: pa.Table, queries: pa.Table, settings: ShotSettings, *, clusters: Mapping[str, str] | None = None
) -> pa.Table:
    """Return the `shots` of all queries, from `examples` tables: the pool (the train split) and the queries.

    `clusters` maps the example_id of both tables to a cluster_id (`splits`); without it, equal texts alone are known
    as duplicates. Static shots are shared rows (example_id empty); a query that would see itself or a duplicate has
    its own full set instead, the same but for the barred shots, which give way to the next of the same label.

    Raises: DataError when the pool has fewer than `k` rows that a query may see, or a row has no cluster.
    """
    import pyarrow as pa

    pool, queries = tables.checked(pool, "examples", "pool"), tables.checked(queries, "examples", "queries")
    if settings.select == "zero":
        return tables.empty("shots")
    shown, asked = _seeded(_rows(pool, clusters), settings.seed), _rows(queries, clusters)
    if len(shown) < settings.k:
        raise DataError(
            f"the pool has {len(shown)} different inputs, {settings.name} needs {settings.k}",
            where="pool",
            fix=f"k: {len(shown)}, or a larger train split" if shown else "a train split",
        )
    chosen = _static(shown, asked, settings) if settings.select == "static" else _knn(shown, asked, settings)
    shots = list(chosen)
    columns = {name: [getattr(shot, name) for shot in shots] for name in _Shot._fields}
    return pa.table({"strategy": [settings.name] * len(shots), **columns}, schema=tables.schema("shots"))


def _rows(examples: pa.Table, clusters: Mapping[str, str] | None) -> list[_Row]:
    columns = (examples[name].to_pylist() for name in ("example_id", "input", "input_kind", "target"))
    rows: list[_Row] = []
    for example_id, source, kind, target in zip(*columns, strict=True):
        cluster = example_id if clusters is None else clusters.get(example_id)
        if cluster is None:
            raise DataError("no cluster is known", where=f"example {example_id}", expected="one cluster_id an example")
        text = plain_text(source, kind)
        rows.append(_Row(example_id, target, text, text_key(text), cluster))
    return rows


def _seeded(rows: list[_Row], seed: int) -> list[_Row]:
    """Return the rows in an order that depends on seed and ids only, one of each text."""
    ordered = sorted(rows, key=lambda row: (keyed_fraction(seed, "shot", row.example_id), row.example_id))
    return list({row.key: row for row in reversed(ordered)}.values())[::-1]


class _Barred:
    """Positions in a list of rows that a query may not be shown."""

    def __init__(self, rows: Sequence[_Row]) -> None:
        self._at: dict[tuple[str, str], list[int]] = defaultdict(list)
        for position, row in enumerate(rows):
            for name in _identities(row):
                self._at[name].append(position)

    def of(self, query: _Row) -> set[int]:
        return {position for name in _identities(query) for position in self._at.get(name, ())}


def _identities(row: _Row) -> tuple[tuple[str, str], ...]:
    return ("id", row.example_id), ("cluster", row.cluster), ("text", row.key)


def _too_few(query: _Row, left: int, settings: ShotSettings) -> DataError:
    return DataError(
        f"the pool has {left} rows outside the cluster of this query, {settings.name} needs {settings.k}",
        where=f"query {query.example_id}",
        fix=f"k: {left}, or a larger train split" if left else "a train split of other clusters",
    )


def _balanced(rows: list[_Row], seed: int) -> list[_Row]:
    """Return all rows in rounds of one a label; rows of a cluster that was already shown come after all others."""
    by_label: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        by_label[row.target].append(row)
    labels = sorted(by_label, key=lambda label: (keyed_fraction(seed, "label", label), label))
    waiting = [iter(by_label[label]) for label in labels]
    seen: set[str] = set()
    first: list[_Row] = []
    repeated: dict[str, list[_Row]] = {label: [] for label in labels}
    while waiting:
        still: list[Iterator[_Row]] = []
        for queue in waiting:
            row = next(queue, None)
            while row is not None and row.cluster in seen:
                repeated[row.target].append(row)
                row = next(queue, None)
            if row is not None:
                seen.add(row.cluster)
                first.append(row)
                still.append(queue)
        waiting = still
    depth = max(map(len, repeated.values()), default=0)
    return first + [rest[turn] for turn in range(depth) for rest in repeated.values() if turn < len(rest)]


def _static(shown: list[_Row], asked: list[_Row], settings: ShotSettings) -> Iterator[_Shot]:
    order = _balanced(shown, settings.seed)
    barred, shared = _Barred(order), order[: settings.k]
    for rank, row in enumerate(shared):
        yield _Shot(SHARED, rank, row.example_id, None)
    for query in asked:
        out = barred.of(query)
        if all(position >= settings.k for position in out):
            continue
        spare = [position for position in range(settings.k, len(order)) if position not in out]
        own: list[_Row] = []
        for rank, row in enumerate(shared):
            if rank not in out:
                own.append(row)
                continue
            # The same label at the same rank: what else the query sees, and the labels' shares, stay as they are.
            position = next((at for at in spare if order[at].target == row.target), spare[0] if spare else None)
            if position is None:
                raise _too_few(query, len(order) - len(out), settings)
            spare.remove(position)
            own.append(order[position])
        for rank, row in enumerate(own):
            yield _Shot(query.example_id, rank, row.example_id, None)


def _knn(shown: list[_Row], asked: list[_Row], settings: ShotSettings) -> Iterator[_Shot]:
    barred = _Barred(shown)
    excluded = [sorted(barred.of(query)) for query in asked]
    for query, out in zip(asked, excluded, strict=True):
        if len(shown) - len(out) < settings.k:
            raise _too_few(query, len(shown) - len(out), settings)
    found = nearest([row.text for row in shown], [row.text for row in asked], settings.k, excluded)
    for query, (positions, scores) in zip(asked, found, strict=True):
        pairs = zip(reversed(positions), reversed(scores), strict=True)
        for rank, (position, score) in enumerate(pairs):
            yield _Shot(query.example_id, rank, shown[position].example_id, score)


class Demonstrations:
    """The shots of one strategy, by query: a query's own ones where it has some, else the shared ones.

    With `queries` only their shots are held.
    """

    def __init__(self, shots: pa.Table, pool: pa.Table, strategy: str, queries: Iterable[str] | None = None) -> None:
        names = ("example_id", "input", "input_kind", "target")
        if queries is not None:
            shots = tables.with_ids(shots, [SHARED, *queries])
        listed = [shot for shot in shots.to_pylist() if shot["strategy"] == strategy]
        picked = tables.with_ids(pool.select(list(names)), {shot["shot_id"] for shot in listed})
        rows = {row["example_id"]: row for row in picked.to_pylist()}
        ranked: dict[str, list[tuple[int, dict[str, str]]]] = defaultdict(list)
        for shot in listed:
            if shot["shot_id"] not in rows:
                raise DataError(f"shot {shot['shot_id']!r} is not in the pool", where=f"shots of {strategy}")
            ranked[shot["example_id"]].append((shot["rank"], rows[shot["shot_id"]]))
        self._shown = {
            query: tuple(row for _, row in sorted(own, key=lambda item: item[0])) for query, own in ranked.items()
        }

    def of(self, example_id: str) -> tuple[Mapping[str, str], ...]:
        """Return the rows (example_id, input, input_kind, target) shown to a query, in the order of the prompt."""
        return self._shown.get(example_id, self._shown.get(SHARED, ()))


@dataclass(frozen=True, slots=True)
class ShotFault:
    """A query that is shown what it must not see; `reason` says why."""

    strategy: str
    example_id: str
    rank: int
    shot_id: str
    reason: Reason


def verify_shots(
    shots: pa.Table, pool: pa.Table, queries: pa.Table, *, clusters: Mapping[str, str] | None = None
) -> tuple[ShotFault, ...]:
    """Return every shot that is the query's item or duplicate, or comes from elsewhere than the pool.

    Takes `shots` from any selector, and the two `examples` tables and clusters it was to work from. Shared shots are
    held against every query without shots of its own under that strategy.
    """
    shown = {row.example_id: row for row in _rows(pool, clusters)}
    asked = {row.example_id: row for row in _rows(queries, clusters)}
    own: dict[str, set[str]] = defaultdict(set)
    shared: dict[str, list[_Shot]] = defaultdict(list)
    faults: list[ShotFault] = []
    for batch in shots.to_batches(max_chunksize=BATCH_ROWS):
        for item in batch.to_pylist():
            strategy, shot = item["strategy"], _Shot(item["example_id"], item["rank"], item["shot_id"], item["score"])
            if shot.example_id == SHARED:
                shared[strategy].append(shot)
            elif query := asked.get(shot.example_id):
                own[strategy].add(query.example_id)
                reason = _reason(shown.get(shot.shot_id), query)
                faults += [_fault(strategy, query.example_id, shot, reason)] if reason else []
    for strategy, listed in shared.items():
        foreign = [shot for shot in listed if shot.shot_id not in shown]
        faults.extend(_fault(strategy, SHARED, shot, "not in the pool") for shot in foreign)
        known = [shot for shot in listed if shot.shot_id in shown]
        among = _Barred([shown[shot.shot_id] for shot in known])
        for query in asked.values():
            if query.example_id not in own[strategy]:
                for shot in (known[at] for at in sorted(among.of(query))):
                    reason = _reason(shown.get(shot.shot_id), query)
                    faults += [_fault(strategy, query.example_id, shot, reason)] if reason else []
    places = {SHARED: -1} | {example_id: place for place, example_id in enumerate(asked)}
    return tuple(sorted(faults, key=lambda fault: (fault.strategy, places[fault.example_id], fault.rank)))


def _fault(strategy: str, query: str, shot: _Shot, reason: Reason) -> ShotFault:
    return ShotFault(strategy, query, shot.rank, shot.shot_id, reason)


def _reason(row: _Row | None, query: _Row) -> Reason | None:
    if row is None:
        return "not in the pool"
    if row.example_id == query.example_id:
        return "the query itself"
    if row.cluster == query.cluster:
        return "its cluster"
    return "the same text" if row.key == query.key else None
