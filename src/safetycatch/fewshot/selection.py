"""Which examples each query is shown: none, the same ones as all others, ones like itself, or some of both.

A shot is never the query's item, never of its cluster, never the same text. Rank 0 comes first in the prompt. What all
queries share comes first, and the nearest shot last, next to the query: models weigh the last examples most (Zhao et
al. 2021, Calibrate Before Use, section 3), and the query-dependent part of a prompt cannot be cached anyway.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from safetycatch import tables
from safetycatch.errors import DataError
from safetycatch.fewshot.candidates import Barred, Row, rows_of, seeded, too_few
from safetycatch.fewshot.fixed import fixed_order, shown_of
from safetycatch.fewshot.retrieval import retrieved
from safetycatch.identity import keyed_fraction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    import pyarrow as pa

    from safetycatch.settings import ShotSettings

Reason = Literal["the query itself", "its cluster", "the same text", "not in the pool"]
BATCH_ROWS = 10_000
SHARED = ""  # the example_id of shots that all queries share


class _Shot(NamedTuple):
    example_id: str
    rank: int
    shot_id: str
    score: float | None


def select(
    pool: pa.Table,
    queries: pa.Table,
    settings: ShotSettings,
    *,
    clusters: Mapping[str, str] | None = None,
    first: Collection[str] = (),
) -> pa.Table:
    """Return the `shots` of all queries, from `examples` tables: the pool (the train split) and the queries.

    `clusters` maps the example_id of both tables to a cluster_id (`splits`); without it, equal texts alone are known
    as duplicates. Fixed shots are shared rows (example_id empty); a query that would see itself or a duplicate has
    its own full set instead, the same but for the barred shots, which give way to the next of the same label.
    For `bootstrapped` the pool rows `first`, which the model answered right, are taken before all others.

    Raises: DataError when the pool has fewer than `k` rows that a query may see, or a row has no cluster.
    """
    import pyarrow as pa

    pool, queries = tables.checked(pool, "examples", "pool"), tables.checked(queries, "examples", "queries")
    if settings.select == "zero":
        return tables.empty("shots")
    shown, asked = seeded(rows_of(pool, clusters), settings.seed), rows_of(queries, clusters)
    if len(shown) < settings.k:
        raise DataError(
            f"the pool has {len(shown)} different inputs, {settings.name} needs {settings.k}",
            where="pool",
            fix=f"k: {len(shown)}, or a larger train split" if shown else "a train split",
        )
    if settings.retrieval:
        shots = list(_by_query(shown, asked, settings))
    else:
        shots = list(_fixed(fixed_order(shown, settings, first), asked, settings))
    if settings.order is not None:
        put = places(settings.k, settings.order)
        shots = [shot._replace(rank=put[shot.rank]) for shot in shots]
    columns = {name: [getattr(shot, name) for shot in shots] for name in _Shot._fields}
    return pa.table({"strategy": [settings.name] * len(shots), **columns}, schema=tables.schema("shots"))


def places(k: int, seed: int) -> list[int]:
    """Return where the shots of each rank are put: the same for all queries."""
    order = sorted(range(k), key=lambda rank: (keyed_fraction(seed, "order", str(rank)), rank))
    return [order.index(rank) for rank in range(k)]


def sample(pool: pa.Table, settings: ShotSettings) -> list[str]:
    """Return the ids of the pool rows that a `bootstrapped` candidate is asked about: seeded, one a label in turn."""
    rows = seeded(rows_of(pool, None), settings.seed)
    return [row.example_id for row in fixed_order(rows, settings)[: settings.n_sampled]]


def _fixed(order: list[Row], asked: list[Row], settings: ShotSettings) -> Iterator[_Shot]:
    barred = Barred(order)
    for rank, row in enumerate(order[: settings.k]):
        yield _Shot(SHARED, rank, row.example_id, None)
    for query in asked:
        out = barred.of(query)
        if all(position >= settings.k for position in out):
            continue
        own = shown_of(order, settings.k, out)
        if own is None:
            raise too_few(query, len(order) - len(out), settings)
        for rank, row in enumerate(own):
            yield _Shot(query.example_id, rank, row.example_id, None)


def _by_query(shown: list[Row], asked: list[Row], settings: ShotSettings) -> Iterator[_Shot]:
    """Yield the fixed core, if there is one, then what is retrieved for the query, the best last."""
    barred = Barred(shown)
    order = fixed_order(shown, settings) if settings.n_core else []
    at = {row.example_id: position for position, row in enumerate(shown)}
    among, cores, excluded = Barred(order), list[list[Row]](), list[list[int]]()
    n_tail = settings.k - settings.n_core
    for query in asked:
        out = barred.of(query)
        core = shown_of(order, settings.n_core, among.of(query))
        if core is None or len(shown) - len(out) < settings.k:
            raise too_few(query, len(shown) - len(out), settings)
        cores.append(core)
        excluded.append(sorted(out | {at[row.example_id] for row in core}))
    found = retrieved(settings, [row.text for row in shown], [row.text for row in asked], n_tail, excluded)
    for query, core, (positions, scores) in zip(asked, cores, found, strict=True):
        for rank, row in enumerate(core):
            yield _Shot(query.example_id, rank, row.example_id, None)
        pairs = zip(reversed(positions), reversed(scores), strict=True)
        for rank, (position, score) in enumerate(pairs, len(core)):
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
    shown = {row.example_id: row for row in rows_of(pool, clusters)}
    asked = {row.example_id: row for row in rows_of(queries, clusters)}
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
        among = Barred([shown[shot.shot_id] for shot in known])
        for query in asked.values():
            if query.example_id not in own[strategy]:
                for shot in (known[at] for at in sorted(among.of(query))):
                    reason = _reason(shown.get(shot.shot_id), query)
                    faults += [_fault(strategy, query.example_id, shot, reason)] if reason else []
    places = {SHARED: -1} | {example_id: place for place, example_id in enumerate(asked)}
    return tuple(sorted(faults, key=lambda fault: (fault.strategy, places[fault.example_id], fault.rank)))


def _fault(strategy: str, query: str, shot: _Shot, reason: Reason) -> ShotFault:
    return ShotFault(strategy, query, shot.rank, shot.shot_id, reason)


def _reason(row: Row | None, query: Row) -> Reason | None:
    if row is None:
        return "not in the pool"
    if row.example_id == query.example_id:
        return "the query itself"
    if row.cluster == query.cluster:
        return "its cluster"
    return "the same text" if row.key == query.key else None
