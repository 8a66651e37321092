"""A tokenizer anybody can check by hand, and the two kinds of cache of prompt prefixes that providers discount.

One token is four bytes of UTF-8, rounded up; a message costs three more. Real tokenizers differ by about a third.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.sandbox.requests import Block

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 3
CACHE_BLOCK_TOKENS = 128
CACHE_LEAST_TOKENS = 1_024
KEPT_BLOCKS = 65_536


def count_tokens(text: str) -> int:
    """Return the tokens of one text."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def count_prompt_tokens(texts: Sequence[str]) -> int:
    """Return the tokens of a chat prompt with one text a message."""
    return sum(count_tokens(text) + TOKENS_PER_MESSAGE for text in texts)


def cut_to_tokens(text: str, tokens: int) -> str:
    """Return the longest start of `text` that has at most `tokens` tokens and breaks no character."""
    return text.encode()[: tokens * BYTES_PER_TOKEN].decode(errors="ignore")


class PrefixCache:
    """Remembers the starts of recent prompts in blocks of 128 tokens, as OpenAI documents its prompt caching."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    def cached_tokens(self, model: str, texts: Sequence[str]) -> int:
        """Return the tokens of this prompt's start that an earlier one shared (0, or 1,024 and more), and keep it."""
        stream = "\x1e".join(texts).encode()
        step = CACHE_BLOCK_TOKENS * BYTES_PER_TOKEN
        if len(stream) < CACHE_LEAST_TOKENS * BYTES_PER_TOKEN:
            return 0
        running = blake2b(model.encode(), digest_size=16)
        shared, known = 0, True
        for start in range(0, len(stream) - step + 1, step):
            running.update(stream[start : start + step])
            block = running.digest()
            known = known and block in self._blocks
            shared += known
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        tokens = shared * CACHE_BLOCK_TOKENS
        return tokens if tokens >= CACHE_LEAST_TOKENS else 0


class MarkedCache:
    """Remembers the starts of prompts up to the blocks that a client marked, as Anthropic documents it."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def look(self, model: str, blocks: Sequence[Block]) -> tuple[int, int]:
        """Return the tokens read from the cache and those to be written: up to the last mark, from 1,024 tokens."""
        read = end = 0
        for tokens, digest, marked in _starts(model, blocks):
            if tokens >= CACHE_LEAST_TOKENS:
                read = tokens if digest in self._known else read
                end = tokens if marked else end
        read = min(read, end)
        return read, end - read

    def keep(self, model: str, blocks: Sequence[Block]) -> None:
        """Remember this prompt's marked starts; from when its answer begins, not from when it was asked."""
        for tokens, digest, marked in _starts(model, blocks):
            if marked and tokens >= CACHE_LEAST_TOKENS:
                self._known[digest] = None
                self._known.move_to_end(digest)
        while len(self._known) > KEPT_BLOCKS:
            self._known.popitem(last=False)


def _starts(model: str, blocks: Sequence[Block]) -> list[tuple[int, bytes, bool]]:
    """Return tokens and digest of the prompt up to the end of each block, and whether it is marked."""
    running, tokens = blake2b(model.encode(), digest_size=16), 0
    starts: list[tuple[int, bytes, bool]] = []
    for block in blocks if any(block.marked for block in blocks) else ():
        running.update(block.text.encode() + b"\x1e")
        tokens += block.tokens
        starts.append((tokens, running.digest(), block.marked))
    return starts
