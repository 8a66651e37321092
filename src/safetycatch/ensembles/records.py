"""How often each member was right on rows apart from those it votes on; cross-fitted where there are no others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.ensembles.voting import vote_weight
from safetycatch.identity import keyed_fraction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FOLDS, FEW_FOLDS = 5, 2
ENOUGH_CLUSTERS = 50  # for five folds, so that each holds ten


@dataclass(frozen=True, slots=True)
class Record:
    """One member's rows: answered, with a vote that could be read, and right."""

    n_right: int = 0
    n_cast: int = 0
    n_answered: int = 0

    def __add__(self, other: Record) -> Record:
        return Record(self.n_right + other.n_right, self.n_cast + other.n_cast, self.n_answered + other.n_answered)

    @property
    def accuracy(self) -> float:
        """The share of its answers that are right, an unreadable one is not; NaN without an answer."""
        return self.n_right / self.n_answered if self.n_answered else math.nan

    @property
    def vote_accuracy(self) -> float:
        """The share of its votes that are right, add-one smoothed."""
        return (self.n_right + 1) / (self.n_cast + 2)

    def weight(self, n_classes: int) -> float:
        """Return the weight of its votes among `n_classes` answers."""
        return vote_weight(self.n_right, self.n_cast, n_classes)


def fold_of(clusters: Iterable[str], seed: int) -> dict[str, int]:
    """Return the fold, from 0, of each cluster; whole clusters, so that no item informs its own vote by a twin."""
    names = set(clusters)
    n_folds = FOLDS if len(names) >= ENOUGH_CLUSTERS else FEW_FOLDS
    # By rank rather than by value: the folds are equally large, and none is empty.
    order = sorted(names, key=lambda name: (keyed_fraction(seed, "vote", name), name))
    return {name: rank % n_folds for rank, name in enumerate(order)}


def without_own_fold(records: Sequence[Mapping[str, Record]]) -> list[dict[str, Record]]:
    """Return, for each fold, the members' records over all other folds."""
    return [
        {name: sum((other[name] for at, other in enumerate(records) if at != fold), Record()) for name in records[fold]}
        for fold in range(len(records))
    ]


def ranked(records: Mapping[str, Record]) -> list[str]:
    """Return the members, the most accurate votes first; equally accurate ones by name."""
    return sorted(records, key=lambda name: (-records[name].vote_accuracy, name))


def best_member(records: Mapping[str, Record]) -> str | None:
    """Return the member with the most right answers, of equal ones the first by name; None without an answer."""
    answered = [name for name in records if records[name].n_answered]
    return min(answered, key=lambda name: (-records[name].accuracy, name), default=None)
