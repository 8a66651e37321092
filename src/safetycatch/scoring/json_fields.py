"""JSON fields: the share of fields given as the target has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.errors import DataError, InputError
from safetycatch.identity import canonical_json
from safetycatch.scoring.parsing import parse_json
from safetycatch.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping


def json_fields() -> Scorer:
    """Return the scorer: equal fields over all fields of target and reply (0-1), so that extra fields cost.

    Values are equal when their canonical JSON is (`1` is `1.0`), texts but for blanks round them. A null field is as
    good as an absent one. Replies that are no JSON object, or a careless one (repeated keys, NaN), are unparsable.
    """
    return Scorer("json_fields", "points", True, "item", False, read_fields, _score)


def read_fields(text: str) -> str | None:
    """Return the JSON object that a reply is, in its canonical form; None for anything else."""
    try:
        value = parse_json(text)
        return canonical_json(value).decode() if isinstance(value, dict) else None
    except (ValueError, InputError):
        return None


def _fields(text: str) -> dict[str, bytes]:
    return {
        key: canonical_json(value.strip() if isinstance(value, str) else value)
        for key, value in parse_json(text).items()
        if value is not None
    }


def _score(parsed: str | None, target: str, row: Mapping[str, Any]) -> float:
    if read_fields(target) is None:
        raise DataError(
            f"the target {target[:80]!r} is no JSON object",
            where=f"example {row.get('example_id', '?')}, column target",
        )
    if parsed is None:
        return 0.0
    expected, given = _fields(target), _fields(parsed)
    names = expected.keys() | given.keys()
    return sum(expected.get(name) == given.get(name) for name in names) / len(names) if names else 1.0
