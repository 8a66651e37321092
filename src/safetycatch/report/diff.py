"""Two texts word by word: what differs between two outputs, what two leaked rows share."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from safetycatch.report import escaping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

MAX_DIFF_WORDS = 400
MAX_DIFF_PAIRS = 8_000  # equal words on both sides, counted pairwise: what difflib spends its time on
START_CHARACTERS = 240  # of a long text, shown while the rest is folded

# A word carries the space behind it: single spaces, equal everywhere, would make the comparison quadratic.
_WORD = re.compile(r"\w+\s*|[^\w\s]+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Sides:
    """Both texts as safe HTML, whole and their beginnings; `compared` is False when they were too long to compare."""

    left: Markup
    right: Markup
    left_start: Markup
    right_start: Markup
    compared: bool


def _key(word: str, *, fold: bool) -> str:
    return word.rstrip().casefold() if fold else word.rstrip()


def _pairs(a: Sequence[str], b: Sequence[str]) -> int:
    counts = Counter(b)
    return sum(n * counts[word] for word, n in Counter(a).items())


def _marked(pieces: Sequence[tuple[str, bool]], tag: str, limit: int) -> Markup:
    from markupsafe import Markup

    shown: list[str] = []
    for whole, wanted in pieces:
        if limit <= 0:
            break
        text = whole[:limit]
        limit -= len(text)
        word = text.strip() if wanted else ""
        if word:
            before, after = (escaping.html(part, len(part)) for part in text.split(word, 1))
            shown.append(f"{before}<{tag}>{escaping.html(word, len(word))}</{tag}>{after}")
        else:
            shown.append(escaping.html(text, len(text)))
    return Markup("".join(shown))  # noqa: S704  every piece went through escaping.html


def _sides(left: str, right: str, left_tag: str, right_tag: str, *, mark_equal: bool, limit: int) -> Sides:
    left, right = escaping.shortened(left, limit), escaping.shortened(right, limit)
    a, b = _WORD.findall(left), _WORD.findall(right)
    keys_a, keys_b = ([_key(word, fold=mark_equal) for word in words] for words in (a, b))
    compared = max(len(a), len(b)) <= MAX_DIFF_WORDS and _pairs(keys_a, keys_b) <= MAX_DIFF_PAIRS
    if compared:
        operations = SequenceMatcher(None, keys_a, keys_b, autojunk=False).get_opcodes()
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
