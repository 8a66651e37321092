"""Normalised match: equal but for case, punctuation, blanks and Unicode forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.scoring.parsing import parse_normalised
from safetycatch.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping


def normalised() -> Scorer:
    """Return the scorer: 1 when reply and target agree in their letters and digits, else 0. Articles count."""
    return Scorer("normalised", "points", True, "item", True, parse_normalised, _score)


def _score(parsed: str | None, target: str, row: Mapping[str, Any]) -> float:
    del row
    return float(parsed is not None and parsed == parse_normalised(target))
