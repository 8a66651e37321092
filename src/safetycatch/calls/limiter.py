"""The gates of the lanes: a lane is one (endpoint, account, model), and its calls pass one by one, at its pace."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING

from safetycatch.calls.pace import SLOW_START, Pace

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from safetycatch.calls.faults import Fault
    from safetycatch.calls.pace import Ticket, Used
    from safetycatch.calls.request import Request

# A waiting call looks again this often (seconds), since what others learn may move its slot forward.
RECHECK_S = 1.0
# Who looks on is told again after so long.
TELL_AGAIN_S = 60.0

Place = tuple[str, str, str]


def place_of(request: Request) -> Place:
    """Return the lane of a request: its endpoint, account (the variable of its key) and model."""
    endpoint = request.endpoint
    return endpoint.identity, endpoint.key_env or "", request.model


class Lane:
    """The gate of one lane in one event loop, over a `pace` that may be shared.

    A call waits until it is `due`, takes its slot, boards (takes one of the places in flight) and leaves. `ahead` more
    calls may take a slot than have a place, so that what happens in between keeps no place empty.
    """

    def __init__(
        self,
        pace: Pace,
        concurrency: int,
        *,
        ahead: int = 0,
        name: str = "",
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.pace, self.concurrency, self.ahead, self.name = pace, concurrency, ahead, name
        self.gate = asyncio.Lock()
        # The fault after which no request of this lane can succeed.
        self.closed: Fault | None = None
        self.entered = self.in_flight = 0
        self._clock, self._rng = clock, rng
        self._left = asyncio.Event()
        self._boarding: deque[asyncio.Future[None]] = deque()
        self._refused_since: float | None = None

    @property
    def window(self) -> int:
        """How many calls may be in flight."""
        return int(min(self.pace.window, self.concurrency))

    @property
    def refused_s(self) -> float:
        """Seconds for which the provider has answered nothing but 429."""
        return 0.0 if self._refused_since is None else self._clock() - self._refused_since

    @property
    def paused(self) -> bool:
        """Whether the provider asked to wait, and the time is not over."""
        return self.pace.is_paused(self._clock())

    def paused_s(self) -> float:
        """Seconds of pause so far."""
        return self.pace.paused_s(self._clock())

    def waits(self) -> tuple[str, float] | None:
        """Return what calls of this lane wait for and how long (seconds); None when none waits for its slot."""
        now = self._clock()
        wait_s = self.pace.wait_s(now)
        return (self.pace.reason(now), wait_s) if self.gate.locked() and wait_s > 0 else None

    async def due(self) -> None:
        """Wait until a call may take a slot; the caller holds the `gate`."""
        while True:
            wait_s = self.pace.wait_s(self._clock())
            if wait_s > 0:
                await asyncio.sleep(min(wait_s, RECHECK_S))
            # Before the first answer nobody goes ahead: those would pass unpaced.
            elif self.entered >= self.window + (self.ahead if self.pace.heard else 0):
                self._left.clear()
                await self._left.wait()
            else:
                return

    def take(self, n_bytes: int, tokens_out: float) -> Ticket | None:
        """Take a slot for a prompt of `n_bytes` and at most `tokens_out`; None when it is not due any more."""
        ticket = self.pace.take(n_bytes, tokens_out, self._clock())
        self.entered += ticket is not None
        return ticket

    async def board(self) -> None:
        """Wait for a place in flight; only the calls that entered ahead ever wait."""
        if self.in_flight < self.window and not self._boarding:
            self.in_flight += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._boarding.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.in_flight -= 1
                self._call_next()
            raise

    def leave(self, *, boarded: bool = True) -> None:
        """End one call's time in the lane, however it went."""
        self.entered -= 1
        self.in_flight -= boarded
        self._call_next()

    def _call_next(self) -> None:
        while self._boarding and self.in_flight < self.window:
            place = self._boarding.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)
        self._left.set()

    def answered(self, ticket: Ticket, headers: Mapping[str, str], used: Used | None = None) -> None:
        """Learn from an answer: its headers, and the tokens it used."""
        self._refused_since = None
        self.pace.answered(ticket, headers, self._clock(), used=used, ceiling=self.concurrency)
        self._call_next()

    def refused(self, ticket: Ticket, headers: Mapping[str, str], *, wait_s: float | None, sent_at: float) -> None:
        """Pause the lane after a 429 for a call sent at `sent_at` (clock seconds)."""
        now = self._clock()
        if self._refused_since is None:
            self._refused_since = now
        self.pace.refused(ticket, headers, now, wait_s=wait_s, sent_at=sent_at, ceiling=self.concurrency, rng=self._rng)


class Lanes:
    """What was learned of the limits of every lane, for engines of one process, one after the other or side by side."""

    def __init__(self) -> None:
        self._paces: dict[Place, Pace] = {}
        self._told_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def pace(self, place: Place, slow_start: int = SLOW_START) -> Pace:
        """Return the pace of a lane; one that is not known begins with `slow_start` calls."""
        with self._lock:
            return self._paces.setdefault(place, Pace(slow_start))

    def news(self, what: str, now: float) -> bool:
        """Whether nobody was told `what` for a minute; whoever asks tells it now."""
        with self._lock:
            new = now - self._told_at.get(what, float("-inf")) >= TELL_AGAIN_S
            if new:
                self._told_at[what] = now
            return new
