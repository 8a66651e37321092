"""A prompt pinned: the messages of a row with the standard library alone.

`pin` writes this source out, with what it calls, so that production needs nothing of ours; and so production prompts
are those that were evaluated, to the byte.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetycatch.errors import DataError
from safetycatch.fewshot.chats import chat_of
from safetycatch.fewshot.fences import FENCE_RULE, fence
from safetycatch.fewshot.plain import plain_text, shown, text_key
from safetycatch.fewshot.ranking import Tfidf, best, index_of, spread
from safetycatch.identity import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class PinnedPrompt:
    """Instructions and fixed examples, each with the one that stands in where the input has its text."""

    def __init__(self, pin: Mapping[str, Any]) -> None:
        self._pin = pin

    def messages(self, row: Mapping[str, Any] | str) -> list[dict[str, str]]:
        """Return the chat messages of one row."""
        text, kind = self.input_of(row)
        rule = FENCE_RULE if kind != "messages" else ""
        system = "\n\n".join(part for part in (self._pin["system"], rule) if part)
        found: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
        for example in self.examples(text, kind):
            found += self._turns(example["input"], example["input_kind"])
            found.append({"role": "assistant", "content": example["target"]})
        return found + self._turns(text, kind)

    def input_of(self, row: Mapping[str, Any] | str) -> tuple[str, str]:
        """Return a row's input as text, and its kind: text, json or messages.

        A row holds the columns of the data, or `input`, or is the text itself.
        """
        columns: Mapping[str, str] = self._pin["columns"]
        value: Any = row
        if isinstance(row, dict):
            if all(column in row for column in columns.values()):
                cells = {name: row[column] for name, column in columns.items()}
                plain = len(columns) == 1 and list(columns) == list(columns.values())
                value = next(iter(cells.values())) if plain else cells
            elif "input" in row:
                value = row["input"]
            else:
                raise DataError(f"a row with {', '.join(map(str, row))}", expected=", ".join(columns.values()))
        if isinstance(value, str) and value.strip():
            return value, "text"
        if isinstance(value, (dict, list)) and value:
            chat = isinstance(value, list) and all(
                isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in value
            )
            return canonical_json(value).decode(), "messages" if chat else "json"
        raise DataError(f"the input {value!r:.80}", expected="text, as the data had it; or named fields, or a chat")

    def examples(self, text: str, kind: str) -> list[Mapping[str, str]]:
        """Return the examples shown for an input, in the order of the prompt; none has the input's own text."""
        pin = self._pin
        own = plain_text(text, kind)
        key = text_key(own)
        fixed = [
            row if text_key(plain_text(row["input"], row["input_kind"])) != key else instead
            for row, instead in zip(pin["fixed"], pin["instead"], strict=True)
        ]
        if None in fixed:
            raise DataError("no example could stand in for the one with the input's own text", fix="a larger pool")
        found = fixed + self._retrieved(own, key, fixed)
        if pin["places"] is None:
            return found
        placed = sorted(zip(pin["places"], range(len(found)), strict=True))
        return [found[at] for _, at in placed]

    def _retrieved(self, own: str, key: str, fixed: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        del own, key, fixed
        return []

    def _turns(self, text: str, kind: str) -> list[dict[str, str]]:
        if kind == "messages":
            return chat_of(text, "input")
        parts = self._pin["turn"]
        content = fence(text, self._pin["prompt_sha256"]) if parts is None else self._filled(parts, text, kind)
        return [{"role": "user", "content": content}]

    def _filled(self, parts: Sequence[Any], text: str, kind: str) -> str:
        values: dict[str, Any] = {"input": text}
        value = json.loads(text) if kind == "json" else None
        values |= value if isinstance(value, dict) else {}
        if "labels" in values:
            raise DataError("an input field is called `labels`", expected="another name")
        return "".join(
            part if isinstance(part, str) else fence(shown(_at(values, part)), self._pin["prompt_sha256"])
            for part in parts
        )


class RetrievingPrompt(PinnedPrompt):
    """A pinned prompt with examples found for each input in what `pool` reads, when first needed."""

    def __init__(self, pin: Mapping[str, Any], pool: Callable[[], Sequence[Mapping[str, str]]]) -> None:
        super().__init__(pin)
        self._read_pool = pool
        self._pool: Sequence[Mapping[str, str]] | None = None
        self._keys: dict[str, int] = {}
        self._texts: tuple[str, ...] = ()

    def _retrieved(self, own: str, key: str, fixed: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        """Return what is found for a text, the best last."""
        if self._pool is None:
            self._pool = self._read_pool()
            self._texts = tuple(plain_text(row["input"], row["input_kind"]) for row in self._pool)
            self._keys = {text_key(text): position for position, text in enumerate(self._texts)}
        pool, balance, k = self._pool, self._pin["balance"], self._pin["n_retrieved"]
        shown_already = {row["id"] for row in fixed}
        excluded = {position for position, row in enumerate(pool) if row["id"] in shown_already}
        excluded |= {self._keys[key]} if key in self._keys else set()
        if len(pool) - len(excluded) < k:
            raise DataError(f"{len(pool)} examples", expected=f"{k} besides those that are not to be shown")
        index = index_of(self._texts, self._pin["retrieval"])
        scores = index.scores(own)
        if self._pin["retrieval"] == "mmr" and isinstance(index, Tfidf):
            chosen = spread(index, scores, k, excluded, balance)
        else:
            chosen = best(scores, k, excluded)
        return [pool[position] for position in reversed(chosen)]


def _at(value: Any, path: Sequence[Any]) -> Any:
    for key in path:
        fits = isinstance(value, dict) or (isinstance(value, (list, str)) and isinstance(key, int))
        try:
            value = value[key] if fits else {}[key]
        except LookupError:
            raise DataError(f"`{'.'.join(map(str, path))}` is not in the row") from None
    return value
