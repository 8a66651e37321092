"""The provider's prompt cache: marking the stable start of a prompt, and how much of their starts prompts share.

Providers reuse the work on equal starts of prompts from some length on, and charge less for it. OpenAI and others do so
by themselves; Anthropic's API only up to a block that the client marks (platform.claude.com, Prompt caching).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from os.path import commonprefix
from statistics import median
from typing import TYPE_CHECKING, Any

from safetycatch.calls.model_list import entry_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safetycatch.calls.request import Endpoint, Request

BYTES_A_TOKEN = 4
# A mark on a start below the floor is ignored and costs nothing, a missing one costs the discount: rather mark.
MARK_BYTES_A_TOKEN = 3
FLOOR_TOKENS = 1_024
# Where LiteLLM hands a mark on, as in its own supports_anthropic_cache_control.
MARKING = frozenset({"anthropic", "azure_ai", "bedrock", "vertex_ai"})
MARK = {"type": "ephemeral"}
# A line is common when this share of the prompts hold it.
COMMON = 0.9
_PIECE = re.compile(r"(?<=[.!?;])\s+|\n")
_AROUND = 48
_KINDS = (
    ("an identifier", re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{16,}")),
    ("a time", re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d\S*|\b\d{1,2}:\d\d(?::\d\d)?\b|\b1\d{9}(?:\d{3})?\b")),
    ("a date", re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{2,4}")),
)


def floor_tokens(model: str) -> int:
    """Return from how many tokens on a provider caches the start of a prompt, as LiteLLM's list has it."""
    entry = entry_of(model)
    stated: Any = entry.get("prompt_cache_min_tokens") if entry else None
    return int(stated) if isinstance(stated, (int, float)) and not isinstance(stated, bool) else FLOOR_TOKENS


def takes_marks(endpoint: Endpoint, model: str) -> bool:
    """Whether the provider caches what a client marks, and nothing else."""
    if endpoint.transport != "litellm" or "claude" not in model.casefold():
        return False
    entry = entry_of(model)
    return model.split("/", 1)[0] in MARKING and entry is not None and entry.get("supports_prompt_caching") is True


def marked(messages: list[dict[str, str]], n_stable: int, floor: int) -> list[dict[str, Any]]:
    """Return `messages` with a mark at the end of the first `n_stable`, where those have about `floor` tokens."""
    texts = [message["content"] for message in messages[:n_stable]]
    # An empty text takes no mark.
    end = max((number for number, text in enumerate(texts) if text.strip()), default=-1)
    if end < 0 or sum(len(text.encode()) for text in texts) < floor * MARK_BYTES_A_TOKEN:
        return list(messages)
    block = {"type": "text", "text": texts[end], "cache_control": MARK}
    return [*messages[:end], {**messages[end], "content": [block]}, *messages[end + 1 :]]


def tokens_marked(request: Request) -> int:
    """Return about how many tokens come up to the mark of a request's prompt; 0 without one."""
    messages: list[dict[str, Any]] = request.body.get("messages") or []
    marks = [number for number, message in enumerate(messages) if isinstance(message["content"], list)]
    stable = messages[: max(marks) + 1] if marks else []
    return sum(len(_text(message).encode()) for message in stable) // BYTES_A_TOKEN


@dataclass(frozen=True, slots=True)
class Sharing:
    """What the prompts of one candidate share, in tokens of about four bytes, medians over the prompts.

    `start`: the start that another prompt has too. `common`: texts that nearly all hold, wherever they stand.
    `parts_at` says what stands where the prompts part.
    """

    n_prompts: int
    tokens: int
    start: int
    common: int
    parts_at: str


def sharing_of(requests: Sequence[Request]) -> Sharing | None:
    """Return what the prompts of `requests` (chats of one candidate) share; None for fewer than two prompts."""
    prompts = sorted({_stream(request) for request in requests if request.kind == "chat"})
    if len(prompts) < 2:
        return None
    # In sorted order the longest start that a prompt shares with any other is one of its neighbours'.
    beside = [len(commonprefix(pair)) for pair in pairwise(prompts)]  # noqa: RUF071 - texts, not paths
    starts = [max(pair) for pair in zip([0, *beside], [*beside, 0], strict=True)]
    pieces = [_PIECE.split(prompt) for prompt in prompts]
    held = Counter(piece for split in pieces for piece in set(split))
    least = COMMON * len(prompts)
    common = [sum(len(piece.encode()) for piece in split if held[piece] >= least) for split in pieces]
    middle = sorted(range(len(prompts)), key=starts.__getitem__)[len(prompts) // 2]
    return Sharing(
        len(prompts),
        round(median(len(prompt.encode()) for prompt in prompts)) // BYTES_A_TOKEN,
        round(median(len(prompt[:start].encode()) for prompt, start in zip(prompts, starts, strict=True)))
        // BYTES_A_TOKEN,
        round(median(common)) // BYTES_A_TOKEN,
        _kind(prompts[middle], starts[middle]),
    )


def _stream(request: Request) -> str:
    """Return a prompt in the order in which it is cached: tools, then messages."""
    tools: Any = request.body.get("tools")
    messages: Any = request.body.get("messages")
    turns = [_text(message) for message in messages] if isinstance(messages, list) else []
    return "\n".join(([json.dumps(tools, sort_keys=True)] if tools else []) + turns)


def _text(message: Mapping[str, Any]) -> str:
    content: Any = message.get("content")
    parts: list[Any] = content if isinstance(content, list) else [{"text": content}]
    return "\n".join([str(message.get("role")), *(str(part.get("text") or "") for part in parts)])


def _kind(prompt: str, at: int) -> str:
    """Return what stands at a place of a prompt, without showing it: the prompt holds the user's data."""
    begin = max(0, at - _AROUND)
    around = prompt[begin : at + _AROUND]
    for name, pattern in _KINDS:
        if any(found.start() <= at - begin <= found.end() for found in pattern.finditer(around)):
            return name
    return "text that differs from row to row"
