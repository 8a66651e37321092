"""Requests and tokens a minute as token buckets, and their state as providers put it into headers."""

from __future__ import annotations

import math
from typing import NamedTuple


class Level(NamedTuple):
    """A limit a minute, what remains of it now, and the seconds until all of it is there again."""

    per_minute: int
    remaining: int
    full_in_s: float


class Bucket:
    """Fills at `per_minute` / 60 a second up to `burst_s` seconds' worth, one request at least."""

    def __init__(self, per_minute: int, burst_s: float, now: float) -> None:
        self.per_minute = per_minute
        self.rate_per_s = per_minute / 60
        self.capacity = max(1.0, self.rate_per_s * burst_s)
        self._level, self._at = self.capacity, now

    def level(self, now: float) -> float:
        """Return what is left; below 0 after a taking larger than the bucket."""
        self._level = min(self.capacity, self._level + max(0.0, now - self._at) * self.rate_per_s)
        self._at = max(self._at, now)
        return self._level

    def wait_s(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` may be taken; what is larger than the bucket waits for a full one."""
        short = min(amount, self.capacity) - self.level(now)
        return max(0.0, short / self.rate_per_s) if short > 1e-9 else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take `amount` out."""
        self._level = self.level(now) - amount

    def give_back(self, amount: float, now: float) -> None:
        """Put `amount` back, up to the bucket's size."""
        self._level = min(self.capacity, self.level(now) + amount)

    def state(self, now: float) -> Level:
        """Return the limit, what remains and the time until the bucket is full."""
        level = self.level(now)
        return Level(self.per_minute, max(0, math.floor(level + 1e-9)), (self.capacity - level) / self.rate_per_s)


class RateLimits:
    """Both buckets of one server; either may be absent."""

    def __init__(
        self, requests_per_minute: int | None, tokens_per_minute: int | None, burst_s: float, now: float
    ) -> None:
        self._requests = Bucket(requests_per_minute, burst_s, now) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, burst_s, now) if tokens_per_minute else None

    def admit(self, tokens: int, now: float) -> float:
        """Take one request and `tokens` and return 0, or take nothing and return the seconds to wait."""
        wait = max(
            self._requests.wait_s(1, now) if self._requests else 0.0,
            self._tokens.wait_s(tokens, now) if self._tokens else 0.0,
        )
        if not wait:
            if self._requests:
                self._requests.take(1, now)
            if self._tokens:
                self._tokens.take(tokens, now)
        return wait

    def give_back(self, tokens: int, now: float) -> None:
        """Put back tokens that were taken for an answer and not written."""
        if self._tokens:
            self._tokens.give_back(tokens, now)

    def levels(self, now: float) -> dict[str, Level]:
        """Return the state of `requests` and `tokens`, whichever is limited."""
        buckets = {"requests": self._requests, "tokens": self._tokens}
        return {what: bucket.state(now) for what, bucket in buckets.items() if bucket}


def duration(seconds: float) -> str:
    """Return a time as OpenAI's reset headers write it: `120ms`, `1.5s`, `6m0s`."""
    milliseconds = max(0, math.ceil(seconds * 1000 - 1e-6))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"
