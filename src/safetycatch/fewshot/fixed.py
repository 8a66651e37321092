"""Shots that are the same for all queries: the order in which a pool's rows are taken, and who stands in for whom."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from safetycatch.fewshot.retrieval import cosines
from safetycatch.identity import keyed_fraction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from safetycatch.fewshot.candidates import Row
    from safetycatch.settings import ShotSettings

MAX_COVERED = 2000  # rows of a larger pool that `diverse` chooses among, and covers
GAIN_DIGITS = 9  # differences beyond are rounding, and must not order shots


def fixed_order(rows: list[Row], settings: ShotSettings, first: Collection[str] = ()) -> list[Row]:
    """Return `rows`, in seeded order, in the order in which they are shown: the first ones to all queries.

    `random` is the seeded order itself: a uniform draw without replacement. `static` and the core of `hybrid` take one
    row a label in turn, `bootstrapped` too, but the ids `first` before all others. `diverse` covers the pool.
    """
    if settings.select == "random":
        return rows
    if settings.select == "diverse":
        return covering(rows, settings.k, settings.seed)
    ahead = balanced([row for row in rows if row.example_id in first], settings.seed)
    return ahead + balanced([row for row in rows if row.example_id not in first], settings.seed)


def balanced(rows: list[Row], seed: int) -> list[Row]:
    """Return all rows in rounds of one a label; rows of a cluster that was already shown come after all others."""
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row.target].append(row)
    labels = sorted(by_label, key=lambda label: (keyed_fraction(seed, "label", label), label))
    waiting = [iter(by_label[label]) for label in labels]
    seen: set[str] = set()
    first: list[Row] = []
    repeated: dict[str, list[Row]] = {label: [] for label in labels}
    while waiting:
        still: list[Iterator[Row]] = []
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


def covering(rows: list[Row], k: int, seed: int) -> list[Row]:
    """Return all rows, first `k` to which the pool's rows are as near as can be, then the others in balanced order.

    Greedy maximum of the sum over rows of the cosine to the nearest one chosen: facility location, the k-medoids
    objective, within 1 - 1/e of the best (Nemhauser, Wolsey and Fisher 1978). The label shown least goes first, then
    a cluster that was not shown; ties go by the balanced order. Of a pool above 2,000 rows the first 2,000 of that
    order are looked at.
    """
    import numpy as np

    order = balanced(rows, seed)
    looked_at = order[:MAX_COVERED]
    near = cosines([row.text for row in looked_at])
    labels = np.array([row.target for row in looked_at], dtype=object)
    left = np.ones(len(looked_at), dtype=bool)
    nearest = np.zeros(len(looked_at))
    shown: Counter[str] = Counter(dict.fromkeys(labels.tolist(), 0))
    clusters: set[str] = set()
    chosen: list[int] = []
    for _ in range(min(k, len(looked_at))):
        least = min(shown[label] for label in set(labels[left].tolist()))
        among = left & np.array([shown[label] == least for label in labels.tolist()])
        fresh = among & np.array([row.cluster not in clusters for row in looked_at])
        gains = np.round(np.maximum(near - nearest, 0).sum(axis=1), GAIN_DIGITS)
        best = int(np.argmax(np.where(fresh if fresh.any() else among, gains, -1.0)))
        chosen.append(best)
        left[best] = False
        shown[looked_at[best].target] += 1
        clusters.add(looked_at[best].cluster)
        nearest = np.maximum(nearest, near[best])
    taken = {looked_at[position].example_id for position in chosen}
    return [looked_at[position] for position in chosen] + [row for row in order if row.example_id not in taken]


def shown_of(order: Sequence[Row], k: int, barred: set[int]) -> list[Row] | None:
    """Return the first `k` rows of `order`; a barred one gives way to the next of the same label, else to the next.

    None when too few are left. What else is shown, and its place, stays as it is.
    """
    if all(position >= k for position in barred):
        return list(order[:k])
    spare = [position for position in range(k, len(order)) if position not in barred]
    own: list[Row] = []
    for rank, row in enumerate(order[:k]):
        if rank not in barred:
            own.append(row)
            continue
        position = next((at for at in spare if order[at].target == row.target), spare[0] if spare else None)
        if position is None:
            return None
        spare.remove(position)
        own.append(order[position])
    return own
