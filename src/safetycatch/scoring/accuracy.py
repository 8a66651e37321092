"""Accuracy: the share of replies read as the right label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.errors import DataError
from safetycatch.scoring.parsing import label_reader
from safetycatch.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def accuracy(labels: Sequence[str], aliases: Mapping[str, str] | None = None) -> Scorer:
    """Return the scorer of a label vocabulary: 1 for the right label, 0 for another, none or several."""
    parse, score = label_scoring(labels, aliases)
    return Scorer("accuracy", "points", True, "item", True, parse, score)


def label_scoring(
    labels: Sequence[str], aliases: Mapping[str, str] | None
) -> tuple[Callable[[str], str | None], Callable[[str | None, str, Mapping[str, Any]], float]]:
    """Return how labels are read and scored; a target outside the vocabulary is a DataError that names its row."""
    reader = label_reader(tuple(labels), tuple(sorted((aliases or {}).items())))
    known = frozenset(labels)

    def score(parsed: str | None, target: str, row: Mapping[str, Any]) -> float:
        if target not in known:
            raise DataError(
                f"the target {target[:80]!r} is no label",
                where=f"example {row.get('example_id', '?')}, column target",
                expected=f"one of {len(known)} labels",
            )
        return float(parsed == target)

    return reader.read, score
