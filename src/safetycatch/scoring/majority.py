"""What always answering the most frequent label would score."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from safetycatch.errors import StatisticsError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Majority(NamedTuple):
    """The most frequent target and the share (0-1) of rows that always answering it would get right."""

    label: str
    share: float
    n: int
    n_labels: int


def majority_share(targets: Sequence[str]) -> Majority:
    """Return the majority class of `targets`; of equally frequent ones the first by name. Raises: StatisticsError."""
    if not targets:
        raise StatisticsError("the majority class of no rows is undefined")
    counts = Counter(targets)
    label = min(counts, key=lambda name: (-counts[name], name))
    return Majority(label, counts[label] / len(targets), len(targets), len(counts))
