"""Exact match: the reply is the target, but for blanks round it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping


def exact() -> Scorer:
    """Return the scorer: 1 for equal text, else 0; an empty reply is unparsable."""
    return Scorer("exact", "points", True, "item", True, read_exact, _score)


def read_exact(text: str) -> str | None:
    """Return a reply without the blanks round it; None when nothing is left."""
    return text.strip() or None


def _score(parsed: str | None, target: str, row: Mapping[str, Any]) -> float:
    del row
    return float(parsed is not None and parsed == target.strip())
