"""What the averages hide: items that changed sides, items everybody or nobody solves, the commonest confusions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.stats import luck_of_best

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.results.matrix import Floats, ScoreMatrix


@dataclass(frozen=True, slots=True)
class Flips:
    """Ids of items that a candidate fixed (baseline wrong, candidate right) and broke."""

    candidate: str
    baseline: str
    fixed: tuple[str, ...]
    broken: tuple[str, ...]


def flips(matrix: ScoreMatrix, candidate: str, baseline: str, metric: str, *, higher_is_better: bool = True) -> Flips:
    """Return the items on which a candidate and the baseline differ; with replicates, those whose majority differs."""
    ours, theirs = matrix.means(candidate, metric), matrix.means(baseline, metric)
    ids = np.asarray(matrix.items.ids, dtype=object)
    fixed, broken, _, _ = changed_sides(ours, theirs, higher_is_better=higher_is_better)
    return Flips(candidate, baseline, tuple(ids[fixed].tolist()), tuple(ids[broken].tolist()))


def changed_sides(
    ours: Floats, theirs: Floats, *, higher_is_better: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return which items a candidate (`ours`) fixed, broke, has right like the baseline (`theirs`), and wrong like it.

    Both hold an item's mean score, 0-1, whose majority decides; an item without a score on one side is in none.
    """
    if not higher_is_better:
        ours, theirs = 1 - ours, 1 - theirs
    with np.errstate(invalid="ignore"):
        right, wrong, had, lacked = ours > 0.5, ours <= 0.5, theirs > 0.5, theirs <= 0.5
    return right & lacked, wrong & had, right & had, wrong & lacked


@dataclass(frozen=True, slots=True)
class Health:
    """How the items divide the candidates; `luck` is what the best of `k` equal ones gains by chance (a fraction)."""

    n: int
    solved_by_all: int
    solved_by_none: int
    discordant: int
    luck: float | None
    k: int


def item_health(
    matrix: ScoreMatrix, candidates: Sequence[str], metric: str, k_history: int, *, higher_is_better: bool = True
) -> Health:
    """Return how many items all, none or some candidates solve, over items that every candidate answered."""
    columns = np.stack([matrix.means(name, metric) for name in candidates])
    complete = columns[:, ~np.isnan(columns).any(axis=0)]
    complete = complete if higher_is_better else 1 - complete
    solved = complete > 0.5
    n = complete.shape[1]
    everybody, nobody = int(solved.all(axis=0).sum()), int((~solved).all(axis=0).sum())
    k = max(k_history, len(candidates))
    typical = float(np.median(complete.mean(axis=1))) if n else 0.0
    luck = luck_of_best(k, n, typical) - typical if n and k > 1 and 0 < typical < 1 else None
    return Health(n, everybody, nobody, n - everybody - nobody, luck, k)
