"""A row's values as plain text: as a prompt shows them, and as texts are compared."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def shown(value: Any) -> str:
    """Return how a value is written in a prompt: text as it is, nothing as empty, the rest as JSON."""
    if isinstance(value, str):
        return value
    # `list` opens the iterators of filters, and makes an undefined value say so.
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=list)


def plain_text(text: str, kind: str) -> str:
    """Return what an input says, without the field names of JSON and the roles of chats."""
    return text if kind == "text" else "\n".join(_leaves(json.loads(text), chat=kind == "messages"))


def _leaves(value: Any, *, chat: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if not (chat and key == "role"):
                yield from _leaves(item, chat=chat)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, chat=chat)
    elif value is not None:
        yield str(value)


def text_key(text: str) -> str:
    """Return what equal texts share: compatibility form, no case, letters and digits only (or the text without any)."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[^\W_]+", folded)) or folded.strip()
