"""Numeric match: the final number of the reply equals the target's, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.errors import DataError
from safetycatch.scoring.parsing import parse_number
from safetycatch.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping


def numeric() -> Scorer:
    """Return the scorer: 1 for the same number however it is written (`1,000` is `1000.0`), else 0."""
    return Scorer("numeric", "points", True, "item", True, parse_number, _score)


def _score(parsed: str | None, target: str, row: Mapping[str, Any]) -> float:
    expected = parse_number(target)
    if expected is None:
        raise DataError(
            f"the target {target[:80]!r} holds no number",
            where=f"example {row.get('example_id', '?')}, column target",
            fix="scorers: [normalised]",
        )
    return float(parsed == expected)
