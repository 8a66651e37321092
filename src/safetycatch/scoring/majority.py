"""Whether accuracy is the right metric: the majority class beside it, and what balanced accuracy says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from safetycatch.errors import StatisticsError
from safetycatch.scoring.registry import contributions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """What SC512 judges: rates are 0-1; `reversed` are pairs (a, b) where a leads by accuracy and b by balanced."""

    majority: Majority
    accuracy: dict[str, float]
    balanced_accuracy: dict[str, float]
    reversed: tuple[tuple[str, str], ...]


def metric_facts(parsed: Mapping[str, Sequence[str | None]], targets: Sequence[str]) -> MetricFacts:
    """Return accuracy beside balanced accuracy of each candidate; `parsed[candidate]` are its labels, row by row."""
    plain = {name: float(contributions("accuracy", read, targets).mean()) for name, read in parsed.items()}
    balanced = {name: float(contributions("balanced_accuracy", read, targets).mean()) for name, read in parsed.items()}
    flipped: list[tuple[str, str]] = []
    for left, right in combinations(parsed, 2):
        lead, balanced_lead = plain[left] - plain[right], balanced[left] - balanced[right]
        if lead * balanced_lead < 0:
            flipped.append((left, right) if lead > 0 else (right, left))
    return MetricFacts(majority_share(targets), plain, balanced, tuple(flipped))
