"""Final answer: what follows the last "answer is", or the first line, compared exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.scoring.parsing import parse_answer
from safetycatch.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping


def final_answer() -> Scorer:
    """Return the scorer of BIG-Bench Hard: works for direct answers and for reasoning that ends in "the answer is"."""
    return Scorer("final_answer", "points", True, "item", True, parse_answer, _score)


def _score(parsed: str | None, target: str, row: Mapping[str, Any]) -> float:
    del row
    return float(parsed is not None and parsed == target.strip())
