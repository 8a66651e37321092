"""Which columns of a file are probably meant: a suggestion for a message, never a reading."""

from __future__ import annotations

import difflib
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

INPUT, TARGET = "input", "target"
INPUTS = ("text", "body", "question", "prompt", "query", "message", "content", "sentence", "document", "ticket")
TARGETS = ("label", "labels", "answer", "expected", "category", "class", "intent", "queue", "gold", "output")
_NEITHER = re.compile(r"(^|_)(id|uuid|key|index|date|time|timestamp|created|updated|at|split)$|^unnamed", re.IGNORECASE)
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z_./][A-Za-z0-9_./-]*", re.IGNORECASE)


def data_line(path: str, names: Sequence[str]) -> str:
    """Return the line of an experiment file that names the columns of a file with these; empty where it has too few."""
    free = [name for name in names if name and not _NEITHER.search(name)]
    inputs = _likely(INPUT, INPUTS, [name for name in free if name.lower() not in {TARGET, *TARGETS}] or free)
    targets = _likely(TARGET, TARGETS, [name for name in free if name != inputs][::-1])
    if inputs is None or targets is None:
        return ""
    cells = (f"{key}: {_quoted(text)}" for key, text in (("path", path), (INPUT, inputs), (TARGET, targets)))
    return f"data: {{{', '.join(cells)}}}"


def _likely(usual: str, known: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the name that comes nearest to the usual one, else a known one, else the first."""
    by_lower = {name.lower(): name for name in reversed(names)}
    near = difflib.get_close_matches(usual, list(by_lower), 1, 0.8)
    found = next((name for name in (*near, *known) if name in by_lower), None)
    return by_lower[found] if found else next(iter(names), None)


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    import yaml

    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=sys.maxsize).rstrip("\n")
