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

_WORD = re.compile(r"\w+|\s+|[^\w\s]+")


@dataclass(frozen=True, slots=True)
class Sides:
    """Both texts as safe HTML; `compared` is False when they were too long to compare."""

    left: Markup
    right: Markup
    compared: bool


def _marked(pieces: Sequence[tuple[str, bool]], tag: str) -> Markup:
    from markupsafe import Markup

    shown: list[str] = []
    for text, wanted in pieces:
        safe = escaping.html(text, len(text))
        shown.append(f"<{tag}>{safe}</{tag}>" if wanted and text.strip() else safe)
    return Markup("".join(shown))  # noqa: S704  every piece went through escaping.html


def _sides(left: str, right: str, left_tag: str, right_tag: str, *, mark_equal: bool, limit: int) -> Sides:
    left, right = escaping.shortened(left, limit), escaping.shortened(right, limit)
    a, b = _WORD.findall(left), _WORD.findall(right)
    if max(len(a), len(b)) > 2 * MAX_DIFF_WORDS:  # a word and the space behind it
        return Sides(escaping.html(left, len(left)), escaping.html(right, len(right)), compared=False)
    folded_a, folded_b = ([word.casefold() for word in words] for words in (a, b))
    operations = SequenceMatcher(
        None, folded_a if mark_equal else a, folded_b if mark_equal else b, autojunk=False
    ).get_opcodes()
    return Sides(
        _marked([("".join(a[i:j]), (op == "equal") == mark_equal) for op, i, j, _, _ in operations], left_tag),
        _marked([("".join(b[i:j]), (op == "equal") == mark_equal) for op, _, _, i, j in operations], right_tag),
        compared=True,
    )


def changed(before: str, after: str, limit: int = escaping.MAX_CHARACTERS) -> Sides:
    """Return both texts with the words only in `before` as <del> and those only in `after` as <ins>."""
    return _sides(before, after, "del", "ins", mark_equal=False, limit=limit)


def overlap(left: str, right: str, limit: int = escaping.MAX_CHARACTERS) -> Sides:
    """Return both texts with the words they share, in order and whatever their case, as <mark>."""
    return _sides(left, right, "mark", "mark", mark_equal=True, limit=limit)
