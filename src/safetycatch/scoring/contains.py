"""Contains: the target's words occur in the reply, in order and whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.errors import DataError
from safetycatch.scoring.parsing import parse_normalised
from safetycatch.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping


def contains() -> Scorer:
    """Return the scorer: 1 when the target occurs in the reply, else 0. A reply that lists everything scores 1."""
    return Scorer("contains", "points", True, "item", True, parse_normalised, _score)


def _score(parsed: str | None, target: str, row: Mapping[str, Any]) -> float:
    sought = parse_normalised(target)
    if sought is None:
        raise DataError(
            "an empty target is contained in everything",
            where=f"example {row.get('example_id', '?')}, column target",
        )
    return float(parsed is not None and f" {sought} " in f" {parsed} ")
