"""The items of a probe: the same question with order, length, form or an instruction changed, and nothing else.

An item is what `tasks.judge` asks about: `{example_id, candidate, replicate, input, output, reference}`, of a pair
`first` and `second` in place of `output`. Of a pair the first answer is changed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from safetycatch.identity import keyed_fraction

if TYPE_CHECKING:
    from collections.abc import Sequence

Item = dict[str, Any]

RENDERINGS = ("markdown", "json", "whitespace")
# Says nothing that the answer does not say; long enough to make any short answer a long one.
PADDING = (
    "To put this in other words and to go through it once more, so that nothing is left unclear: what has been said "
    "above is the answer to what was asked, it has been given in full, and everything that belongs to it is there. "
    "Taken as a whole, and having looked at it from every side, the answer is the one that is given above, and it is "
    "repeated here in full for the sake of completeness."
)


def drawn(items: Sequence[Item], n: int, seed: int) -> list[int]:
    """Return the places of `n` of the items (all, where there are fewer), drawn by a hash of ids and `seed`."""

    def draw(at: int) -> float:
        return keyed_fraction(seed, str(items[at]["candidate"]), str(items[at]["example_id"]), str(at))

    return sorted(range(len(items)), key=draw)[:n]


def in_order(item: Item, order: str) -> Item:
    """Return a pair that is shown in this order (as, swapped)."""
    return {**item, "order": order}


def padded(item: Item) -> Item:
    """Return an item whose answer says the same at more than twice the length."""
    return _with_answer(item, f"{_answer(item)}\n\n{PADDING}\n\n{_answer(item)}")


def rendered(item: Item, rendering: str) -> Item:
    """Return an item whose answer has the same words as Markdown, as a JSON object or with other white space."""
    text = _answer(item)
    if rendering == "markdown":
        paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
        return _with_answer(item, "\n\n".join(["## Answer", *(f"- **{part}**" for part in paragraphs)]))
    if rendering == "json":
        return _with_answer(item, json.dumps({"answer": text}, ensure_ascii=False))
    if rendering == "whitespace":
        return _with_answer(item, "\n" + re.sub(r"(?<=[.!?]) +", "\n\n", text.strip()).replace("\n", "  \n") + "\n\n")
    raise ValueError(f"no rendering {rendering!r}: {', '.join(RENDERINGS)}")


def attacked(item: Item, instruction: str, *, alone: bool = False) -> Item:
    """Return an item whose answer ends with an instruction to its judge, or a control's text; `alone`: is just that."""
    return _with_answer(item, instruction if alone else f"{_answer(item)}\n\n{instruction}")


def rendering_of(position: int) -> str:
    """Return the rendering of the item at this position: each takes its turn."""
    return RENDERINGS[position % len(RENDERINGS)]


def answer_words(item: Item) -> int:
    """Return the words of the answer that a probe changes."""
    return len(_answer(item).split())


def _answer(item: Item) -> str:
    return str(item["output"] if "output" in item else item["first"])


def _with_answer(item: Item, text: str) -> Item:
    return {**item, ("output" if "output" in item else "first"): text}
