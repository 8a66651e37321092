"""The life of one call: reserve, wait for a slot, record the intent, send, settle, record; again where it may help."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from safetycatch.calls.budget import Spent
from safetycatch.calls.costs import bound_of, cache_saved_of, cost_of
from safetycatch.calls.counts import Tally
from safetycatch.calls.faults import MAX_TEXT, CallFaultError, Fault, FilteredPromptError
from safetycatch.calls.limiter import Lane, place_of
from safetycatch.calls.pace import SLOW_START, Used
from safetycatch.calls.request import Reply
from safetycatch.errors import SafetycatchError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping
    from typing import Any

    from safetycatch.calls.budget import Budget
    from safetycatch.calls.costs import Bound
    from safetycatch.calls.journal import Journal
    from safetycatch.calls.limiter import Lanes, Place
    from safetycatch.calls.pace import Ticket
    from safetycatch.calls.prices import Prices
    from safetycatch.calls.request import Endpoint, Request
    from safetycatch.calls.transports.delivery import Transport

# An eighth of the concurrency may wait with intents committed: after a kill those are listed as perhaps paid too.
AHEAD = 8
# A lane that has never answered is closed after so many requests that may be billed: four rounds of a slow start.
MAX_UNANSWERED = 16
MAX_BACKOFF_S = 30.0
ABANDONED = Fault("retry", "abandoned", "the run stopped before the reply came", "perhaps")
NOT_SENT = Fault("wait", "not_sent", "stopped or paused between the intent and the sending", "none")
# Nothing is recorded for it: another run, or process, asks for the same.
ELSEWHERE = Fault("wait", "asked_elsewhere", "another asks for the same call", "none")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How hard and how long to try.

    `concurrency` bounds the calls in flight over all lanes. `call_deadline_s` after a call was first sent no further
    attempt begins (pacing left out, pauses not); `read_s` bounds a whole attempt, `connect_s` its connecting; the n-th
    retry waits up to `backoff_s` * 2**(n-1); `max_error_rate` None only counts; `drain_s` is how long a stop waits.
    """

    concurrency: int = 64
    attempts: int = 6
    call_deadline_s: float = 900.0
    connect_s: float = 10.0
    read_s: float = 180.0
    backoff_s: float = 0.5
    max_reply_bytes: int = 8_000_000
    max_error_rate: float | None = 0.02
    drain_s: float = 60.0


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


class Caller:
    """Makes calls for one run in one event loop; its transports live as long as it does, its lanes' paces longer."""

    def __init__(
        self,
        journal: Journal,
        prices: Prices,
        budget: Budget,
        settings: EngineSettings,
        lanes: Lanes,
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
        self._permits = asyncio.Semaphore(settings.concurrency + self.ahead)
        self._places = asyncio.Semaphore(settings.concurrency)
        # Tasks between an intent and its outcome: a stop waits for these and cancels all others.
        self.sending: set[asyncio.Task[Any]] = set()
        self._journal, self._prices, self._budget, self._settings = journal, prices, budget, settings
        self._asker = journal.asker()
        self._run_id, self._functions, self._rng, self._clock = run_id, functions, rng, clock
        self._halted = halted
        self._known = lanes
        self._lanes: dict[Place, Lane] = {}
        self._transports: dict[Endpoint, asyncio.Task[Transport]] = {}

    def has_places(self) -> bool:
        """Whether another call could go, if a lane had one."""
        return not self._permits.locked()

    def waits(self) -> list[str]:
        """Return which lanes wait for their pace, what for and how long: those that nobody was told of lately."""
        found: list[str] = []
        for lane in self._lanes.values():
            wait = lane.waits()
            if wait is not None and self._known.news(f"{lane.name}: {wait[0]}", self._clock()):
                found.append(f"{lane.name} waits up to {wait[1]:.0f} s: {wait[0]}")
        return found

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

    def _lane(self, request: Request) -> Lane:
        place = place_of(request)
        if place not in self._lanes:
            # A function states no rate, and the user asked for this concurrency; but under a ceiling in dollars it is
            # called alone first: what that call costs shows whether the next ones may go.
            slow = SLOW_START
            if request.endpoint.transport == "function":
                slow = self._settings.concurrency if self._budget.usd is None else 1
            self._lanes[place] = Lane(
                self._known.pace(place, slow),
                self._settings.concurrency,
                ahead=self.ahead,
                name=f"{request.model} at {request.endpoint.name}",
                clock=self._clock,
                rng=self._rng,
            )
        return self._lanes[place]

    async def _enter(self, lane: Lane, request: Request, bound: Bound) -> tuple[Ticket, float]:
        """Wait for a slot, a permit and the budget, which are held then; return the seconds of it that were no pause.

        Raises: BudgetReachedError when no room is left; LaneStoppedError.
        """
        begun, paused = self._clock(), lane.paused_s()
        usd, tokens = bound.usd or 0.0, bound.tokens
        async with lane.gate:
            while True:
                await lane.due()
                if lane.closed is not None:
                    raise LaneStoppedError(request, lane.closed)
                # Only the first of a lane waits here, so that no lane holds what others could use meanwhile.
                await self._permits.acquire()
                try:
                    await self._budget.reserve(usd, tokens)
                except BaseException:
                    self._permits.release()
                    raise
                ticket = lane.take(len(request.canonical), request.max_tokens_out * request.n_completions)
                if ticket is not None:
                    return ticket, max(0.0, self._clock() - begun - (lane.paused_s() - paused))
                self._release(bound, Spent())

    def _release(self, bound: Bound, spent: Spent) -> None:
        """Give the permit back and settle the reservation."""
        self._permits.release()
        self._budget.settle(bound.usd or 0.0, bound.tokens, spent)

    async def call(self, request: Request) -> Outcome | None:
        """Send `request` until a reply comes or nothing more can be done; None: another asks for the same now.

        Raises: BudgetReachedError, UnknownPriceError, UsageError, StoreError: the run must stop; LaneStoppedError: no
        request of this lane can succeed; HaltedError.
        """
        outcome = None
        try:
            outcome = await self._called(request)
            return outcome
        finally:
            if outcome is None or outcome.reply.state == "error":
                self._journal.release(request, self._asker)

    async def _called(self, request: Request) -> Outcome | None:
        settings, clock = self._settings, self._clock
        bound = bound_of(request, self._prices, self._budget)
        transport = await self._transport(request.endpoint)
        lane = self._lane(request)
        attempts, deadline = 0, 0.0
        fault: Fault | None = None
        while True:
            if self._halted():
                raise HaltedError
            ticket, paced = await self._enter(lane, request, bound)
            if fault is None:
                deadline = clock() + settings.call_deadline_s
            else:
                deadline += paced
                if clock() >= deadline:
                    lane.leave(boarded=False)
                    self._release(bound, Spent())
                    return self._gave_up(fault, attempts)
            tried = await self._attempt(request, transport, lane, ticket, bound, attempts + 1)
            if tried is ELSEWHERE:
                return None
            self.tally.retried += fault is not None and tried is not NOT_SENT
            if isinstance(tried, Outcome):
                return tried
            if tried is NOT_SENT:
                continue
            fault = tried
            closing = self._closing(lane, fault)
            if closing is not None:
                lane.closed = lane.closed or closing
                raise LaneStoppedError(request, closing)
            if fault.kind == "wait":
                continue
            attempts += 1
            if fault.kind == "row" or attempts >= settings.attempts or clock() >= deadline:
                return self._gave_up(fault, attempts)
            if not self._halted():
                jitter = self._rng.uniform(0, min(MAX_BACKOFF_S, settings.backoff_s * 2 ** (attempts - 1)))
                await asyncio.sleep(min(max(jitter, fault.retry_after_s or 0.0), max(0.0, deadline - clock())))

    def _closing(self, lane: Lane, fault: Fault) -> Fault | None:
        """Return why no more can be asked of a lane after `fault`; None when it can."""
        if fault.kind == "lane" or (fault.kind == "wait" and lane.refused_s > self._settings.call_deadline_s):
            return fault
        if fault.kind == "retry" and fault.charge == "perhaps":
            lost = lane.pace.lost()
            if lost >= MAX_UNANSWERED:
                text = f"{lost} requests that may be billed, and never an answer; the last: {fault.error_class}"
                return Fault("lane", "unanswered", f"{text}: {fault.text}"[:MAX_TEXT])
        return None

    @staticmethod
    def _gave_up(fault: Fault, attempts: int) -> Outcome:
        reply = Reply("error", attempts=max(1, attempts), error_class=fault.error_class, error_text=fault.text)
        return Outcome(reply, None)

    async def _attempt(
        self, request: Request, transport: Transport, lane: Lane, ticket: Ticket, bound: Bound, attempt: int
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
            if self._halted() or lane.paused or lane.closed is not None:
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
                async with asyncio.timeout(self._settings.read_s):
                    reply, raw, headers = await transport.send(request)
            except TimeoutError:
                # A thread cannot be stopped: the function may still be at work, so it is not called again.
                kind = "row" if request.endpoint.transport == "function" else "retry"
                fault = Fault(
                    kind, "hung", f"no whole reply after {self._settings.read_s:g} s (runs.timeout_s)", "perhaps"
                )
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
                settled = bound.perhaps if fault.charge == "perhaps" else Spent(calls=int(fault.counts))
                self._record(intent, request, fault)
                if fault.kind == "wait":
                    lane.refused(ticket, headers, wait_s=fault.retry_after_s, sent_at=sent_at)
                return fault
            reply = replace(
                reply,
                cost_usd=cost_of(request, reply, bound, self._prices),
                cache_saved_usd=cache_saved_of(request, reply, self._prices),
                latency_s=self._clock() - sent_at,
                attempts=attempt,
            )
            used = None
            if reply.n_tokens_in is not None:
                used = Used(reply.n_tokens_in, reply.n_tokens_out or 0, reply.n_tokens_cached or 0)
            settled = Spent(
                (bound.usd or 0.0) if reply.cost_usd is None else reply.cost_usd,
                bound.tokens if used is None else used.tokens_in + used.tokens_out,
                1,
                unpriced=int(reply.cost_usd is None and bound.usd is None),
            )
            lane.answered(ticket, headers, used)
            return Outcome(reply, self._journal.answer(intent, request, self._run_id, reply, raw, asker=self._asker))
        finally:
            if task is not None:
                self.sending.discard(task)
            self._release(bound, settled)
            tally.spent_usd += settled.usd
            tally.unpriced += settled.unpriced
            tally.perhaps_paid += settled.perhaps_calls
            lane.leave(boarded=boarded)

    def _record(self, intent: int, request: Request, fault: Fault) -> None:
        # A journal that cannot be written fails the next intent; nobody waits for a fault.
        self._journal.fault(intent, request, self._run_id, fault).add_done_callback(asyncio.Future.exception)
