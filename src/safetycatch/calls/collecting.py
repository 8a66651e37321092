"""Python looks for reference cycles every 700 new objects; a call makes hundreds of objects and hardly a cycle."""

from __future__ import annotations

import gc
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

# With 700, a tenth of the CPU of a run of calls went into looking; so many are a few megabytes.
OBJECTS = 20_000
_lock = threading.Lock()
_users: list[tuple[int, int, int]] = []


@contextmanager
def rarely() -> Generator[None]:
    """Let the collector of this process run every `OBJECTS` new objects inside the block, in however many threads."""
    with _lock:
        _users.append(gc.get_threshold() if not _users else _users[0])
        first = _users[0][0]
        # 0: somebody turned it off.
        if first:
            gc.set_threshold(max(first, OBJECTS), *_users[0][1:])
    try:
        yield
    finally:
        with _lock:
            before = _users.pop()
            if not _users:
                gc.set_threshold(*before)
