"""Two texts word by word: what differs between two outputs, what two leaked rows share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from safetycatch.report import escaping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

MAX_DIFF_WORDS = 200
START_CHARACTERS = 240  # of a long text, shown while the rest is folded

_WORD = re.compile(r"\w+|\s+|[^\w\s]+")


@dataclass(frozen=True, slots=True)
class Sides:
    """Both texts as safe HTML, whole and their beginnings; `compared` is False when they were too long to compare."""

    left: Markup
    right: Markup
    left_start: Markup
    right_start: Markup
    compared: bool


def _marked(pieces: Sequence[tuple[str, bool]], tag: str, limit: int) -> Markup:
    from markupsafe import Markup

    shown: list[str] = []
    for whole, wanted in pieces:
        text = whole[:limit]
        limit -= len(text)
        word = text.strip() if wanted else ""
        before, after = text.split(word, 1) if word else (text, "")
        middle = f"<{tag}>{escaping.html(word, len(word))}</{tag}>" if word else ""
        shown.append(f"{escaping.html(before, len(before))}{middle}{escaping.html(after, len(after))}")
    return Markup("".join(shown))  # noqa: S704  every piece went through escaping.html


def _sides(left: str, right: str, left_tag: str, right_tag: str, *, mark_equal: bool, limit: int) -> Sides:
    left, right = escaping.shortened(left, limit), escaping.shortened(right, limit)
    a, b = _WORD.findall(left), _WORD.findall(right)
    compared = max(len(a), len(b)) <= 2 * MAX_DIFF_WORDS  # a word and the space behind it
    if compared:
        folded_a, folded_b = ([word.casefold() if mark_equal else word for word in words] for words in (a, b))
        operations = SequenceMatcher(None, folded_a, folded_b, autojunk=False).get_opcodes()
        of_left = [("".join(a[i:j]), (op == "equal") == mark_equal) for op, i, j, _, _ in operations]
        of_right = [("".join(b[i:j]), (op == "equal") == mark_equal) for op, _, _, i, j in operations]
    else:
        of_left, of_right = [(left, False)], [(right, False)]
    whole, start = max(len(left), len(right)), START_CHARACTERS
    return Sides(
        _marked(of_left, left_tag, whole),
        _marked(of_right, right_tag, whole),
        _marked(of_left, left_tag, start),
        _marked(of_right, right_tag, start),
        compared,
    )


def changed(before: str, after: str, limit: int = escaping.MAX_CHARACTERS) -> Sides:
    """Return both texts with the words only in `before` as <del> and those only in `after` as <ins>."""
    return _sides(before, after, "del", "ins", mark_equal=False, limit=limit)


def overlap(left: str, right: str, limit: int = escaping.MAX_CHARACTERS) -> Sides:
    """Return both texts with the words they share, in order and whatever their case, as <mark>."""
    return _sides(left, right, "mark", "mark", mark_equal=True, limit=limit)
