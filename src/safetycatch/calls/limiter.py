"""How fast a lane may send: paced by the rate that the provider states, by trial where it states none.

A lane is one (endpoint, account, model). Calls pass its gate one by one; each takes the next slot of a virtual schedule
at 99.5 % of the stated requests and tokens a minute. Where nothing is stated, the number in flight is cut to 0.7 on a
429 and grows by one a round. Times are in seconds.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import random
import re
import time
from collections import deque
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SLOW_START = 4
SHARE = 0.995
CUT = 0.7
# A sleep that ends late may catch up this much; more would be a burst.
CREDIT_S = 0.05
MAX_PAUSE_S = 120.0
FIRST_PAUSE_S = 0.5
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


class _Family(NamedTuple):
    """The header names of one kind of provider; `refunds`: unused completion tokens are given back at the end."""

    requests: str
    tokens: tuple[str, ...]
    resets: tuple[tuple[str, str], ...]
    refunds: bool


# OpenAI and Azure charge the asked-for max_tokens, Anthropic corrects to what was used.
_FAMILIES = (
    _Family(
        "x-ratelimit-limit-requests",
        ("x-ratelimit-limit-tokens",),
        (
            ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
            ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        ),
        refunds=False,
    ),
    _Family(
        "anthropic-ratelimit-requests-limit",
        ("anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-input-tokens-limit"),
        (
            ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
            ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
        ),
        refunds=True,
    ),
)


def _positive(text: str | None) -> float | None:
    try:
        number = float(text) if text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def duration_s(text: str, now: dt.datetime) -> float | None:
    """Return the seconds from `now` that `1.5`, `6m0s`, `120ms`, an RFC 3339 time or an HTTP date mean."""
    text = text.strip()
    try:
        seconds = float(text)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    match = _DURATION.fullmatch(text)
    if match and any(match.groups()):
        days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
        return days * 86_400 + hours * 3_600 + minutes * 60 + seconds + milliseconds / 1_000
    for parse in (dt.datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
        except ValueError:
            continue
        aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return max(0.0, (aware - now).total_seconds())
    return None


def retry_after_s(headers: Mapping[str, str], now: dt.datetime | None = None) -> float | None:
    """Return how long a reply's headers ask to wait, at most `MAX_PAUSE_S`; None when they do not say."""
    now = now or dt.datetime.now(dt.UTC)
    milliseconds = _positive(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1_000, MAX_PAUSE_S)
    stated = headers.get("retry-after")
    wait = duration_s(stated, now) if stated else None
    if wait is None:
        # Only the limit that is used up says when to come back.
        waits = [
            duration_s(headers[reset], now)
            for family in _FAMILIES
            for remaining, reset in family.resets
            if headers.get(remaining) == "0" and reset in headers
        ]
        wait = max((wait for wait in waits if wait is not None), default=None)
    return None if wait is None else min(wait, MAX_PAUSE_S)


class Lane:
    """The gate of one (endpoint, account, model); used from one event loop.

    A call enters (takes its slot in the schedule), boards (takes one of the places in flight) and leaves. `ahead` more
    calls may enter than have a place, so that what happens in between keeps no place empty.
    `slow_start` calls go out before the first answer tells the rate. `clock` returns monotonic seconds; `rng` jitters
    pauses that the provider does not state.
    """

    def __init__(
        self,
        concurrency: int,
        *,
        ahead: int = 0,
        slow_start: int = SLOW_START,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.concurrency, self.ahead = concurrency, ahead
        self.window = float(min(slow_start, concurrency))
        self.entered = self.in_flight = 0
        self._clock, self._rng = clock, rng or random.Random()  # noqa: S311 - jitter, not secrets
        self._gate = asyncio.Lock()
        self._left = asyncio.Event()
        self._boarding: deque[asyncio.Future[None]] = deque()
        self._started: float | None = None
        self._n_sent = self._n_tokens = 0
        self._answered = self._cut = self._stated = self._refunds = False
        self._limits: tuple[str | None, str | None] = (None, None)
        self._request_gap = self._token_gap = 0.0
        self._next_request = self._next_token = 0.0
        self._paused_until = self._paused_at = -math.inf
        self._paused_sum = 0.0
        self._pauses = 0
        self._refused_since: float | None = None

    @property
    def refused_s(self) -> float:
        """Seconds for which the provider has answered nothing but 429."""
        return 0.0 if self._refused_since is None else self._clock() - self._refused_since

    @property
    def paused(self) -> bool:
        """Whether the provider asked to wait, and the time is not over."""
        return self._clock() < self._paused_until

    def _paused_s(self, now: float) -> float:
        """Seconds of pause so far; the rest of a pause under way is not counted."""
        return self._paused_sum - max(0.0, self._paused_until - now)

    async def enter(self, tokens: int) -> float:
        """Wait for a slot for a call of about `tokens` tokens; return the seconds spent on pacing, pauses left out."""
        begun = self._clock()
        paused = self._paused_s(begun)
        async with self._gate:
            while True:
                now = self._clock()
                if now < self._paused_until:
                    await asyncio.sleep(self._paused_until - now)
                    continue
                # Before the first answer nobody goes ahead: those would pass unpaced.
                if self.entered >= int(self.window) + (self.ahead if self._answered else 0):
                    self._left.clear()
                    await self._left.wait()
                    continue
                slot = max(self._next_request, self._next_token)
                if slot > now:
                    await asyncio.sleep(slot - now)
                    continue
                break
            if self._started is None:
                self._started = now
            oldest = now - CREDIT_S
            self._next_request = max(self._next_request, oldest) + self._request_gap
            self._next_token = max(self._next_token, oldest) + tokens * self._token_gap
            self._n_sent += 1
            self._n_tokens += tokens
            self.entered += 1
        now = self._clock()
        return max(0.0, now - begun - (self._paused_s(now) - paused))

    async def board(self) -> None:
        """Wait for a place in flight; only the calls that entered ahead ever wait."""
        if self.in_flight < int(self.window) and not self._boarding:
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
        while self._boarding and self.in_flight < int(self.window):
            place = self._boarding.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)
        self._left.set()

    def answered(self, headers: Mapping[str, str], *, estimated: int, used: int | None) -> None:
        """Learn from an answer: its rate headers, and the tokens it `used` of those `estimated`."""
        self._refused_since = None
        self._pauses = 0
        self._read(headers)
        if not self._answered:
            self._answered = True
            if not self._cut:
                self.window = float(self.concurrency)
        elif not self._stated and self.window < self.concurrency:
            self.window += 1 / self.window
        if self._refunds and used is not None:
            self._next_token -= (estimated - used) * self._token_gap
        self._call_next()

    def refused(self, wait_s: float | None, headers: Mapping[str, str], sent_at: float) -> None:
        """Pause the lane after a 429 for a call sent at `sent_at` (clock seconds)."""
        now = self._clock()
        self._read(headers)
        if self._refused_since is None:
            self._refused_since = now
        # Calls sent before the pause began were refused for the same reason: they lengthen it, they do not deepen it.
        if sent_at > self._paused_at:
            self._paused_at = now
            self._pauses += 1
            self._cut = True
            if not self._stated:
                self.window = max(1.0, self.window * CUT)
        if wait_s is None:
            top = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._pauses, 10))
            wait_s = self._rng.uniform(top / 2, top)
        until = max(self._paused_until, now + wait_s)
        self._paused_sum += until - max(now, self._paused_until)
        self._paused_until = until

    def _read(self, headers: Mapping[str, str]) -> None:
        for family in _FAMILIES:
            requests = headers.get(family.requests)
            tokens = next((headers[name] for name in family.tokens if name in headers), None)
            if requests is None and tokens is None:
                continue
            if (requests, tokens) == self._limits:
                return
            self._limits = (requests, tokens)
            per_minute, tokens_per_minute = _positive(requests), _positive(tokens)
            first = not self._stated
            self._request_gap = 60 / (per_minute * SHARE) if per_minute else 0.0
            self._token_gap = 60 / (tokens_per_minute * SHARE) if tokens_per_minute else 0.0
            self._refunds = family.refunds
            self._stated = bool(per_minute or tokens_per_minute)
            if self._stated and first and self._started is not None:
                # What went out before the limit was known counts too.
                self._next_request = self._started + self._n_sent * self._request_gap
                self._next_token = self._started + self._n_tokens * self._token_gap
                self.window = float(self.concurrency)
            return
