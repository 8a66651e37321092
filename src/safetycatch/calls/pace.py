"""What is learned of one lane's limits: a schedule paced by what the provider states, a window found by trial.

Calls take the next slot of a virtual schedule at 99.5 % of the stated requests and tokens a minute; where only what is
left is stated, that is used up, and then as much as comes back. Where nothing is stated, or what is stated does not
explain the refusals, the number in flight is cut to 0.7 on a 429 and grows by one a round. Times are in seconds.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from safetycatch.calls.limits import MAX_PAUSE_S, METERS, read_limits

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

SLOW_START = 4
SHARE = 0.995
CUT = 0.7
# A sleep that ends late may catch up this much where slots are short; more would be a burst.
CREDIT_S = 0.05
FIRST_PAUSE_S = 0.5
# Less than this says nothing: a server that answers 429 with "retry after 0" must not be hammered.
MIN_PAUSE_S = 0.01
# Of a minute's window what is left tells the pace; for longer ones (a day's) a 429 speaks.
MAX_WINDOW_S = 60.0
PROBE_S = 1.0
# More refusals than this among the replies since the last pause: another limit than the stated one is at work.
EXPLAINED = 0.1
# Prompts are taken for this many tokens a byte until usage tells better; later replies weigh more by this factor.
TOKENS_A_BYTE = 0.25
MEMORY = 0.98
UNITS = ("requests", "tokens", "tokens in", "tokens out")


@dataclass(slots=True)
class _Meter:
    """One limit, as a virtual schedule or as what is left of it.

    `next_s`: its next moment. `gap_s`: what a unit takes of the schedule (0: no limit is stated). `left`: units that
    may still go (inf: not stated), as of call `heard`; `first`: units left and given at the first statement, at
    `first_s`. `taken` were asked for, `given` were answered.
    """

    next_s: float = 0.0
    gap_s: float = 0.0
    left: float = math.inf
    heard: int = 0
    first: float = 0.0
    first_s: float = 0.0
    taken: float = 0.0
    given: float = 0.0

    def take(self, amount: float, now: float) -> None:
        self.taken += amount
        if self.gap_s:
            slot_s = amount * self.gap_s
            credit_s = CREDIT_S if slot_s <= 5 * CREDIT_S else (1 - SHARE) * slot_s
            # One that goes before its time starts the schedule afresh.
            self.next_s = (now if self.next_s > now else max(self.next_s, now - credit_s)) + slot_s
        elif self.left < math.inf:
            self.left = max(0.0, self.left - amount)
            if self.left < amount:
                self._hold(amount, now)

    def _hold(self, amount: float, now: float, reset_s: float = PROBE_S) -> None:
        """Nothing is left: go on as fast as units have come back so far, and try once a second at least."""
        back, elapsed_s = self.given + self.left - self.first, now - self.first_s
        wait_s = amount * elapsed_s / back if back > 0 else PROBE_S
        self.next_s = max(self.next_s, now + min(wait_s, reset_s, PROBE_S))

    def limit(self, per_minute: float, started: float, now: float) -> bool:
        """Keep to a stated limit; return whether it is the first."""
        first = not self.gap_s
        self.gap_s = 60 / (per_minute * SHARE)
        if first:
            # What went out before the limit was known counts too.
            self.next_s = max(started + self.taken * self.gap_s, now if self.left < math.inf else 0.0)
            self.left = math.inf
        return first

    def keep(self, left: float, reset_s: float, amount: float, now: float) -> None:
        """Keep to what is stated to be left, for calls of about `amount`."""
        if reset_s > MAX_WINDOW_S:
            self.left, self.next_s = math.inf, 0.0
            return
        if not self.first_s:
            self.first, self.first_s = self.given + left, now
        self.left = max(0.0, left)
        if self.left >= amount:
            self.next_s = 0.0
        elif self.next_s <= now:
            self._hold(amount, now, reset_s)


class Ticket(NamedTuple):
    """What one call took of the lane's limits: its number, its estimated tokens, and each meter's count before it."""

    number: int
    n_bytes: int
    tokens_in: float
    tokens_out: float
    taken: tuple[float, ...]

    @property
    def amounts(self) -> tuple[float, float, float, float]:
        """Requests, tokens, tokens in, tokens out."""
        return 1.0, self.tokens_in + self.tokens_out, self.tokens_in, self.tokens_out


class Used(NamedTuple):
    """The tokens of one answer, as the provider states them; `cached` are those of `tokens_in` read from its cache."""

    tokens_in: int
    tokens_out: int
    cached: int = 0


class Pace:
    """What is known of one lane: its schedule, window and pause; safe to share by threads.

    `window` is how many may be in flight (inf: all). Every `now` is in seconds of one monotonic clock.
    """

    def __init__(self, slow_start: int = SLOW_START) -> None:
        self.window = float(slow_start)
        self.heard = False
        self._meters = tuple(_Meter() for _ in range(METERS))
        self._refunds = False
        self._started: float | None = None
        self._n_taken, self._taken_at = 0, -math.inf
        self._bytes = self._tokens = 0.0
        self._cut = False
        self._paused_until = self._paused_at = -math.inf
        self._paused_sum = 0.0
        self._pauses = self._n_answered = self._n_refused = self._n_lost = 0
        self._lock = threading.Lock()

    @property
    def stated(self) -> bool:
        """Whether the provider states a limit that sets the pace."""
        return any(meter.gap_s for meter in self._meters)

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next call may go; 0 or less: now."""
        if now < self._paused_until:
            return self._paused_until - now
        # A stated limit may be wrong, or of another window: now and again a call tries; a 429 pauses as ever.
        return min(max(meter.next_s for meter in self._meters), self._taken_at + MAX_PAUSE_S) - now

    def reason(self, now: float) -> str:
        """Return what the next call waits for."""
        if now < self._paused_until:
            return "the provider told it to wait (429)"
        meter, unit = max(zip(self._meters, UNITS, strict=True), key=lambda pair: pair[0].next_s)
        if not meter.gap_s:
            return f"no {unit} are left, says the provider"
        return f"the provider states a limit of {60 / (meter.gap_s * SHARE):,.6g} {unit} a minute"

    def is_paused(self, now: float) -> bool:
        """Whether the provider asked to wait, and the time is not over."""
        return now < self._paused_until

    def paused_s(self, now: float) -> float:
        """Seconds of pause so far; the rest of a pause under way is not counted."""
        return self._paused_sum - max(0.0, self._paused_until - now)

    def take(self, n_bytes: int, tokens_out: float, now: float) -> Ticket | None:
        """Take the next slot for a prompt of `n_bytes` and at most `tokens_out`; None when it is not due any more."""
        with self._lock:
            if self.wait_s(now) > 0:
                return None
            self._started = now if self._started is None else self._started
            tokens_in = n_bytes * (self._tokens / self._bytes if self._bytes else TOKENS_A_BYTE)
            taken = tuple([meter.taken for meter in self._meters])
            self._n_taken += 1
            ticket = Ticket(self._n_taken, n_bytes, tokens_in, tokens_out, taken)
            for meter, amount in zip(self._meters, ticket.amounts, strict=True):
                meter.take(amount, now)
            self._taken_at = now
            return ticket

    def lost(self) -> int:
        """Count a request that may be billed and brought no answer; return how many, 0 if any was ever answered."""
        with self._lock:
            self._n_lost += 1
            return 0 if self.heard else self._n_lost

    def answered(
        self,
        ticket: Ticket,
        headers: Mapping[str, str],
        now: float,
        *,
        used: Used | None,
        ceiling: int,
    ) -> None:
        """Learn from an answer: its headers, and the tokens it `used`; the window grows up to `ceiling`."""
        with self._lock:
            self._pauses = 0
            self._n_answered += 1
            for meter, amount in zip(self._meters, ticket.amounts, strict=True):
                meter.given += amount
            self._read(headers, ticket, now)
            if not self.heard:
                self.heard = True
                if not self._cut:
                    self.window = math.inf
            elif self.window < ceiling:
                self.window += 1 / self.window
            if used is not None:
                self._settle(ticket, used)

    def _settle(self, ticket: Ticket, used: Used) -> None:
        """Put the schedule right where the estimate was wrong, and estimate better from now on."""
        used_in = used.tokens_in - (used.cached if self._refunds else 0)
        self._bytes = MEMORY * self._bytes + ticket.n_bytes
        self._tokens = MEMORY * self._tokens + used_in
        spare_in = ticket.tokens_in - used_in
        spare_out = ticket.tokens_out - used.tokens_out if self._refunds else 0.0
        for meter, spare in zip(self._meters[1:], (spare_in + spare_out, spare_in, spare_out), strict=True):
            meter.next_s -= spare * meter.gap_s
            meter.taken -= spare
            meter.given -= spare

    def refused(
        self,
        ticket: Ticket,
        headers: Mapping[str, str],
        now: float,
        *,
        wait_s: float | None,
        sent_at: float,
        ceiling: int,
        rng: random.Random,
    ) -> None:
        """Pause after a 429 for the call of `ticket`, sent at `sent_at`; `rng` jitters what nobody stated."""
        with self._lock:
            self._read(headers, ticket, now)
            # Calls sent before the pause began were refused for the same reason: they only lengthen it.
            if sent_at > self._paused_at:
                self._paused_at = now
                self._pauses += 1
                self._cut = True
                explained = self._n_refused <= EXPLAINED * (self._n_refused + self._n_answered)
                if not (self.stated and explained):
                    self.window = max(1.0, min(self.window, ceiling) * CUT)
                self._n_answered = self._n_refused = 0
            self._n_refused += 1
            if wait_s is None or wait_s < MIN_PAUSE_S:
                top = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._pauses, 10))
                wait_s = max(MIN_PAUSE_S, rng.uniform(0, top))
            until = max(self._paused_until, now + min(wait_s, MAX_PAUSE_S))
            self._paused_sum += until - max(now, self._paused_until)
            self._paused_until = until

    def _read(self, headers: Mapping[str, str], ticket: Ticket, now: float) -> None:
        limits = read_limits(headers)
        if limits is None:
            return
        self._refunds = limits.refunds
        for meter, stated, amount, before in zip(self._meters, limits.of, ticket.amounts, ticket.taken, strict=True):
            if stated.per_minute is not None:
                if meter.limit(stated.per_minute, self._started or 0.0, now):
                    self.window = math.inf
            elif stated.left is not None and stated.reset_s is not None and ticket.number > meter.heard:
                meter.heard = ticket.number
                since = meter.taken - before - amount
                meter.keep(stated.left - since, stated.reset_s, amount, now)
