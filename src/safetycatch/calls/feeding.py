"""Requests on their way to the workers: read as they are needed, and kept in a line for each lane."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, KeysView

    from safetycatch.calls.limiter import Place
    from safetycatch.calls.request import Request

# At most so many times the concurrency are read ahead, and no more than these bytes of prompts.
READ_AHEAD = 16
READ_AHEAD_BYTES = 16_000_000
ARRIVING = 64


class Source:
    """Requests in chunks. Of an async iterable a chunk is what has come: none waits to be full."""

    def __init__(self, requests: Iterable[Request] | AsyncIterable[Request]) -> None:
        self._iterator = None if isinstance(requests, AsyncIterable) else iter(requests)
        self._arrived: asyncio.Queue[Request | None] = asyncio.Queue(ARRIVING)
        self._error: Exception | None = None
        self._over = False
        self._arriving = None
        if isinstance(requests, AsyncIterable):
            self._arriving = asyncio.create_task(self._arrive(requests))

    async def _arrive(self, requests: AsyncIterable[Request]) -> None:
        try:
            async with contextlib.AsyncExitStack() as closing:
                close: Any = getattr(requests, "aclose", None)
                if close is not None:
                    closing.push_async_callback(close)
                async for request in requests:
                    await self._arrived.put(request)
        except Exception as error:  # noqa: BLE001 - raised where the requests are read
            self._error = error
        await self._arrived.put(None)

    async def chunk(self, size: int) -> list[Request]:
        """Return the next requests, `size` at most; none at the end. Raises: what reading them raises."""
        if self._iterator is not None:
            return list(islice(self._iterator, size))
        chunk: list[Request] = []
        while not self._over and len(chunk) < size and not (chunk and self._arrived.empty()):
            request = await self._arrived.get()
            if request is None:
                self._over = True
            else:
                chunk.append(request)
        if not chunk and self._error is not None:
            raise self._error
        return chunk

    async def close(self) -> None:
        """End an async iterable where it waits."""
        if self._arriving is not None:
            self._arriving.cancel()
            await asyncio.wait([self._arriving])


class Line:
    """The requests that wait for one lane, and how many workers serve it."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.workers = 0


class Lines:
    """All lines. In all as many requests as `concurrency` wait; more, within those limits, while a line is empty."""

    def __init__(self, concurrency: int, has_places: Callable[[], bool]) -> None:
        self._concurrency, self._has_places = concurrency, has_places
        self._lines: dict[Place, Line] = {}
        self._n = self._bytes = 0
        self._taken = asyncio.Event()

    def of(self, place: Place) -> Line:
        """Return the line of a lane."""
        return self._lines.setdefault(place, Line())

    @property
    def known(self) -> KeysView[Place]:
        """The lanes that requests have come for."""
        return self._lines.keys()

    def _full(self) -> bool:
        if self._n < self._concurrency:
            return False
        if self._n >= READ_AHEAD * self._concurrency or self._bytes >= READ_AHEAD_BYTES:
            return True
        # A slow lane's requests must not keep another lane idle: those in between are read, and wait.
        return not (self._has_places() and any(not line.requests for line in self._lines.values()))

    async def room(self) -> None:
        """Wait until another request may be read ahead."""
        while self._full():
            self._taken.clear()
            await self._taken.wait()

    def add(self, line: Line, request: Request) -> None:
        """Put a request at the end of a line."""
        line.requests.append(request)
        self._n += 1
        self._bytes += len(request.canonical)

    def take(self, line: Line) -> Request | None:
        """Return the first request of a line, if there is one."""
        if not line.requests:
            # A line that runs empty lets others be read further ahead.
            self._taken.set()
            return None
        request = line.requests.popleft()
        self._n -= 1
        self._bytes -= len(request.canonical)
        self._taken.set()
        return request
