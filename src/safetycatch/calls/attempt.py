"""The life of one call: reserve, wait for a slot, record the intent, send, settle, record; again where it may help."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from safetycatch.calls.budget import Spent, UnknownPrice, UnknownPriceError
from safetycatch.calls.faults import CallFaultError, Fault, FilteredPromptError
from safetycatch.calls.limiter import SLOW_START, Lane
from safetycatch.calls.request import Reply
from safetycatch.errors import SafetycatchError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping
    from typing import Any

    from safetycatch.calls.budget import Budget
    from safetycatch.calls.journal import Journal
    from safetycatch.calls.prices import Prices
    from safetycatch.calls.request import Endpoint, Request
    from safetycatch.calls.transports.delivery import Transport

BYTES_A_TOKEN = 4
# An eighth of the concurrency may wait with intents committed: after a kill those are listed as perhaps paid too.
AHEAD = 8
MAX_BACKOFF_S = 30.0
ABANDONED = Fault("retry", "abandoned", "the run stopped before the reply came", "perhaps")
NOT_SENT = Fault("wait", "not_sent", "stopped or paused between the intent and the sending", "none")
# Nothing is recorded for it: another run, or process, asks for the same.
ELSEWHERE = Fault("wait", "asked_elsewhere", "another asks for the same call", "none")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How hard and how long to try.

    `call_deadline_s` bounds a call with its retries and pauses (pacing left out), `read_s` one attempt from sending to
    last byte, `connect_s` its connecting; the n-th retry waits up to `backoff_s` * 2**(n-1); `max_error_rate` None only
    counts; `drain_s` is how long a stop waits.
    """

    concurrency: int = 64
    attempts: int = 6
    call_deadline_s: float = 900.0
    connect_s: float = 10.0
    read_s: float = 180.0
    backoff_s: float = 0.5
    max_reply_bytes: int = 8_000_000
    max_error_rate: float | None = 0.02
    drain_s: float = 30.0


@dataclass(slots=True)
class Tally:
    """Running counts of one `answer`."""

    sent: int = 0
    answered: int = 0
    invalid: int = 0
    from_journal: int = 0
    perhaps_paid: int = 0
    errors: int = 0
    retried: int = 0
    in_flight: int = 0
    spent_usd: float = 0.0
    classes: Counter[str] = field(default_factory=Counter[str])


class LaneStoppedError(Exception):
    """No request of this lane can succeed."""

    def __init__(self, request: Request, fault: Fault) -> None:
        super().__init__(fault.error_class)
        self.request, self.fault = request, fault


class HaltedError(Exception):
    """The run stops: this call ends without a reply."""


class Outcome(NamedTuple):
    """A reply, and when it is committed (None: an error, which is not kept)."""

    reply: Reply
    committed: asyncio.Future[None] | None


class _Bound(NamedTuple):
    """The most that one attempt can cost."""

    usd: float | None
    tokens: int

    @property
    def perhaps(self) -> Spent:
        """What counts for an attempt whose bill is not known."""
        usd = self.usd or 0.0
        return Spent(usd, self.tokens, 1, usd, 1)


class Caller:
    """Makes calls for one run in one event loop; its transports and lanes live as long as it does."""

    def __init__(
        self,
        journal: Journal,
        prices: Prices,
        budget: Budget,
        settings: EngineSettings,
        *,
        run_id: str,
        functions: Mapping[str, Callable[..., Any]],
        rng: random.Random,
        clock: Callable[[], float],
        halted: Callable[[], bool],
    ) -> None:
        self.tally = Tally()
        # The intents of so many calls are committed while those before them are in flight.
        self.ahead = settings.concurrency // AHEAD
        self._places = asyncio.Semaphore(settings.concurrency)
        # Tasks between an intent and its outcome: a stop waits for these and cancels all others.
        self.sending: set[asyncio.Task[Any]] = set()
        self._journal, self._prices, self._budget, self._settings = journal, prices, budget, settings
        self._asker = journal.asker()
        self._run_id, self._functions, self._rng, self._clock = run_id, functions, rng, clock
        self._halted = halted
        self._lanes: dict[tuple[Endpoint, str], Lane] = {}
        self._transports: dict[Endpoint, asyncio.Task[Transport]] = {}

    async def close(self) -> None:
        """Close the transports."""
        for opening in self._transports.values():
            # One that could not be opened has already ended the run.
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                await opening.result().close()
            else:
                opening.cancel()

    async def _transport(self, endpoint: Endpoint) -> Transport:
        if endpoint not in self._transports:
            self._transports[endpoint] = asyncio.create_task(self._opened(endpoint))
        opening = self._transports[endpoint]
        return opening.result() if opening.done() else await asyncio.shield(opening)

    async def _opened(self, endpoint: Endpoint) -> Transport:
        settings = self._settings
        transport: Transport
        if endpoint.transport == "direct":
            from safetycatch.calls.transports.direct import Direct

            transport = Direct(endpoint, connect_s=settings.connect_s, max_reply_bytes=settings.max_reply_bytes)
        elif endpoint.transport == "litellm":
            from safetycatch.calls.transports.litellm import LiteLLM

            transport = LiteLLM(endpoint, read_s=settings.read_s)
        else:
            from safetycatch.calls.transports.function import Function

            transport = Function(self._functions, concurrency=settings.concurrency)
        await transport.open()
        return transport

    def _bound(self, request: Request) -> _Bound:
        """Return the highest cost of one attempt.

        Raises: UnknownPriceError when nobody stated a price and only money bounds the run.
        """
        tokens_in, tokens_out = request.max_tokens_in, request.max_tokens_out * request.n_completions
        price = self._prices.of(request)
        if price is None:
            if self._budget.needs_price:
                raise UnknownPriceError(UnknownPrice(request.model, request.endpoint.name))
            return _Bound(None, tokens_in + tokens_out)
        return _Bound(price.highest_usd(tokens_in, tokens_out), tokens_in + tokens_out)

    async def call(self, request: Request) -> Outcome:
        """Send `request` until a reply comes or nothing more can be done; what another gets first is not sent.

        Raises: BudgetReachedError, UnknownPriceError, LaneStoppedError, UsageError, StoreError: the run must stop.
        """
        outcome = None
        try:
            outcome = await self._called(request)
            return outcome
        finally:
            if outcome is None or outcome.reply.state == "error":
                self._journal.release(request, self._asker)

    async def _called(self, request: Request) -> Outcome:
        settings, clock = self._settings, self._clock
        bound = self._bound(request)
        transport = await self._transport(request.endpoint)
        place = (request.endpoint, request.model)
        if place not in self._lanes:
            # A function states no rate, and the user asked for this concurrency; but under a ceiling in dollars it is
            # called alone first: what that call costs shows whether the next ones may go.
            slow = SLOW_START
            if request.endpoint.transport == "function":
                slow = settings.concurrency if self._budget.usd is None else 1
            self._lanes[place] = Lane(
                settings.concurrency, ahead=self.ahead, slow_start=slow, clock=clock, rng=self._rng
            )
        lane = self._lanes[place]
        estimated = len(request.canonical) // BYTES_A_TOKEN + request.max_tokens_out
        attempts, deadline = 0, 0.0
        fault: Fault | None = None
        while True:
            if self._halted():
                raise HaltedError
            await self._budget.reserve(bound.usd or 0.0, bound.tokens)
            try:
                paced = await lane.enter(estimated)
            except BaseException:
                self._budget.settle(bound.usd or 0.0, bound.tokens, Spent())
                raise
            if fault is None:
                deadline = clock() + settings.call_deadline_s
            else:
                deadline += paced
                if clock() >= deadline:
                    lane.leave(boarded=False)
                    self._budget.settle(bound.usd or 0.0, bound.tokens, Spent())
                    return self._gave_up(fault, attempts)
            tried = await self._attempt(request, transport, lane, bound, attempts + 1, estimated)
            if tried is ELSEWHERE:
                reply = await self._journal.settled(request.key)
                if reply is not None:
                    return Outcome(reply, None)
                continue
            self.tally.retried += fault is not None and tried is not NOT_SENT
            if isinstance(tried, Outcome):
                return tried
            if tried is NOT_SENT:
                continue
            fault = tried
            if fault.kind == "lane":
                raise LaneStoppedError(request, fault)
            if fault.kind == "wait":
                if lane.refused_s > settings.call_deadline_s:
                    raise LaneStoppedError(request, fault)
                continue
            attempts += 1
            if fault.kind == "row" or attempts >= settings.attempts or clock() >= deadline:
                return self._gave_up(fault, attempts)
            if not self._halted():
                jitter = self._rng.uniform(0, min(MAX_BACKOFF_S, settings.backoff_s * 2 ** (attempts - 1)))
                await asyncio.sleep(min(max(jitter, fault.retry_after_s or 0.0), max(0.0, deadline - clock())))

    @staticmethod
    def _gave_up(fault: Fault, attempts: int) -> Outcome:
        reply = Reply("error", attempts=max(1, attempts), error_class=fault.error_class, error_text=fault.text)
        return Outcome(reply, None)

    async def _attempt(
        self, request: Request, transport: Transport, lane: Lane, bound: _Bound, attempt: int, estimated: int
    ) -> Outcome | Fault:
        """Send once; when this ends, the reservation is settled and the journal knows the outcome."""
        task = asyncio.current_task()
        if task is not None:
            self.sending.add(task)
        tally, settled, boarded = self.tally, Spent(), False
        fault, reply, raw = NOT_SENT, None, b""
        headers: Mapping[str, str] = {}
        try:
            intent = await self._journal.intent(
                request,
                self._run_id,
                asker=self._asker,
                attempt=attempt,
                max_cost_usd=bound.usd,
                max_tokens=bound.tokens,
            )
            if intent is None:
                return ELSEWHERE
            if isinstance(intent, Reply):
                return Outcome(intent, None)
            try:
                await lane.board()
                boarded = True
                await self._places.acquire()
            except asyncio.CancelledError:
                self._record(intent, request, NOT_SENT)
                raise
            if self._halted() or lane.paused:
                self._places.release()
                self._record(intent, request, NOT_SENT)
                if self._halted():
                    raise HaltedError
                return NOT_SENT
            # Until something better is known, the provider may have answered and billed.
            settled = bound.perhaps
            tally.sent += 1
            tally.in_flight += 1
            sent_at = self._clock()
            try:
                async with asyncio.timeout(self._settings.connect_s + self._settings.read_s):
                    reply, raw, headers = await transport.send(request)
            except TimeoutError:
                # A thread cannot be stopped: the function may still be at work, so it is not called again.
                kind = "row" if request.endpoint.transport == "function" else "retry"
                fault = Fault(kind, "hung", f"no whole reply after {self._settings.read_s:g} s", "perhaps")
            except CallFaultError as error:
                fault, headers = error.fault, error.headers
            except FilteredPromptError as error:
                reply = Reply("filtered", n_tokens_in=0, n_tokens_out=0, cost_usd=0.0, error_text=str(error))
            except asyncio.CancelledError:
                self._record(intent, request, ABANDONED)
                raise
            except SafetycatchError:
                settled = Spent()
                self._record(intent, request, NOT_SENT)
                raise
            finally:
                tally.in_flight -= 1
                self._places.release()
            if reply is None:
                settled = bound.perhaps if fault.charge == "perhaps" else Spent()
                self._record(intent, request, fault)
                if fault.kind == "wait":
                    lane.refused(fault.retry_after_s, headers, sent_at)
                return fault
            reply = replace(
                reply, cost_usd=self._cost(request, reply, bound), latency_s=self._clock() - sent_at, attempts=attempt
            )
            used = None if reply.n_tokens_in is None else reply.n_tokens_in + (reply.n_tokens_out or 0)
            settled = Spent(
                (bound.usd or 0.0) if reply.cost_usd is None else reply.cost_usd,
                bound.tokens if used is None else used,
                1,
            )
            lane.answered(headers, estimated=estimated, used=used)
            return Outcome(reply, self._journal.answer(intent, request, self._run_id, reply, raw, asker=self._asker))
        finally:
            if task is not None:
                self.sending.discard(task)
            self._budget.settle(bound.usd or 0.0, bound.tokens, settled)
            tally.spent_usd += settled.usd
            tally.perhaps_paid += settled.perhaps_calls
            lane.leave(boarded=boarded)

    def _cost(self, request: Request, reply: Reply, bound: _Bound) -> float | None:
        """Return the price of a reply, US dollars; None when price or usage is not known."""
        if reply.cost_usd is not None:
            return reply.cost_usd
        price = self._prices.of(request)
        if price is None:
            return None
        if reply.n_tokens_in is not None and reply.n_tokens_out is not None:
            return price.cost_usd(reply.n_tokens_in, reply.n_tokens_out, reply.n_tokens_cached or 0)
        # Without usage only a flat price is certain; a ceiling counts the highest cost instead.
        flat = bound.usd == 0.0 or request.endpoint.transport == "function"
        return bound.usd if flat else None

    def _record(self, intent: int, request: Request, fault: Fault) -> None:
        # A journal that cannot be written fails the next intent; nobody waits for a fault.
        self._journal.fault(intent, request, self._run_id, fault).add_done_callback(asyncio.Future.exception)
