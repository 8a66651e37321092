"""What a judge may say, read strictly: one JSON object with a critique, a verdict of the closed list, and the token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

PARSER_VERSION = "1"
KEYS = ("check", "critique", "verdict")
MAX_REPLY_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's verdict, one of the scale's labels, and its reasons."""

    label: str
    critique: str


def parse_verdict(text: str, labels: Collection[str], check: str) -> Verdict | None:
    """Return the verdict that a reply holds; None for anything else than exactly the form that was asked for.

    The form: one JSON object and nothing else, with the keys `check`, `critique` and `verdict` once each, `check` equal
    to the token of the request, `verdict` one of `labels` (a grade may be written as a number). Nothing is searched
    for, cut out or repaired: what an answer says can then make its own verdict unreadable, but not another one.
    """
    if len(text) > MAX_REPLY_CHARACTERS:
        return None
    try:
        found = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or set(found) != set(KEYS):
        return None
    verdict, critique = found["verdict"], found["critique"]
    if type(verdict) is int:
        verdict = str(verdict)
    if not isinstance(verdict, str) or verdict not in labels or found["check"] != check:
        return None
    if not isinstance(critique, str) or not _storable(critique):
        return None
    return Verdict(verdict, critique)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's pairs as a dict; of a key that comes twice, json would silently keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair, which no table holds
        return False
    return True
