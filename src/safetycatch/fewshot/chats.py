"""Inputs that are chats: turns of user and assistant, the user last."""

from __future__ import annotations

import json
from typing import Any

from safetycatch.errors import DataError


def chat_of(text: str, where: str) -> list[dict[str, str]]:
    """Return the chat of a `messages` input. Raises: DataError unless it holds user and assistant texts, user last."""
    turns: Any = json.loads(text)
    found = ""
    if not isinstance(turns, list) or not turns:
        found = "no list of messages"
    elif not all(isinstance(turn, dict) and isinstance(turn.get("content"), str) for turn in turns):
        found = "a message without text"
    elif odd := [turn.get("role") for turn in turns if turn.get("role") not in ("user", "assistant")]:
        # A system turn in the data would outrank our own instructions.
        found = f"a message with the role {odd[0]!r}"
    elif turns[-1]["role"] != "user":
        found = "the last message is not the user's"
    if found:
        raise DataError(
            found,
            where=where,
            expected="a list of {role: user | assistant, content: text}, a user message last",
        )
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]
