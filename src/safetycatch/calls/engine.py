"""The call engine: feeds requests past the journal to a steady number of workers, and stops in good order."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from safetycatch.calls.attempt import Caller, EngineSettings, HaltedError, LaneStoppedError, Outcome
from safetycatch.calls.budget import SLACK_USD
from safetycatch.errors import ProviderUnusableError, StoppedError, TooManyErrorsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from safetycatch.calls.budget import Budget
    from safetycatch.calls.journal import Journal
    from safetycatch.calls.prices import Prices
    from safetycatch.calls.request import Reply, Request
    from safetycatch.calls.signals import StopFlag

LOOKUP_ROWS = 64
MAX_LOOKUP_ROWS = 512
PROGRESS_S = 0.1
MIN_CALLS_FOR_RATE = 50
NO_CLASSES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CallCounts:
    """What one `answer` did.

    `sent`: requests on the wire, `retried` those after a first one. `answered`: replies paid for now (refusals, cut and
    filtered ones too), `invalid` those of another model or without content. `from_journal`: replies that cost nothing
    now. `perhaps_paid`: requests whose bill is not known, at their highest cost in `spent_usd`. `errors`: requests that
    ended without a reply. `by_error_class` counts invalid replies and errors.
    """

    sent: int = 0
    answered: int = 0
    invalid: int = 0
    from_journal: int = 0
    perhaps_paid: int = 0
    errors: int = 0
    retried: int = 0
    spent_usd: float = 0.0
    by_error_class: Mapping[str, int] = field(default_factory=lambda: NO_CLASSES)


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot for a progress line: replies delivered, from the journal, errors, in flight, US dollars."""

    done: int
    from_journal: int
    errors: int
    in_flight: int
    spent_usd: float


class Engine:
    """Answers requests through the journal, within the budget.

    `functions` maps `module:name` to the user's functions; `progress` gets a snapshot about ten times a second;
    `stop` is watched; `rng` jitters retries and `clock` returns monotonic seconds. `counts` holds what the last
    `answer` did, also after it raised.
    """

    def __init__(
        self,
        journal: Journal,
        prices: Prices,
        budget: Budget,
        settings: EngineSettings | None = None,
        *,
        run_id: str,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        progress: Callable[[Progress], None] | None = None,
        stop: StopFlag | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.journal, self.prices, self.budget, self.run_id = journal, prices, budget, run_id
        self.settings = settings or EngineSettings()
        if self.settings.concurrency < 1 or self.settings.attempts < 1:
            raise UsageError("concurrency and attempts must be 1 or more")
        self.functions: Mapping[str, Callable[..., Any]] = functions or {}
        self.progress, self.stop, self.clock = progress, stop, clock
        self.rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self.counts = CallCounts()

    async def answer(self, requests: Iterable[Request], on_reply: Callable[[Request, Reply], None]) -> CallCounts:
        """Deliver one reply for each request, in the order in which they come; return the counts.

        `requests` is read as it is needed. A request whose key the journal knows costs nothing; equal keys are sent
        once. `on_reply` is called once a reply is committed, from the event loop. Whatever stops the run, calls in
        flight are waited for (`drain_s`) and committed first.
        Raises: BudgetReachedError, ProviderUnusableError (a lane is closed, or too many errors), StoppedError,
        UnknownPriceError, UsageError (no key, no function), StoreError, and what `requests` or `on_reply` raise.
        """
        run = _Run(self, iter(requests), on_reply)
        try:
            await run.go()
        finally:
            self.counts = run.counts()
        return self.counts


class _Run:
    """One `answer` under way."""

    def __init__(self, engine: Engine, requests: Iterator[Request], on_reply: Callable[[Request, Reply], None]) -> None:
        self._engine, self._requests, self._on_reply = engine, requests, on_reply
        self._reason: BaseException | None = None
        self._halted = asyncio.Event()
        self._queue: asyncio.Queue[Request | None] = asyncio.Queue(engine.settings.concurrency)
        # Keys being asked for, each with the later requests that ask the same.
        self._asked: dict[str, list[Request]] = {}
        self._done = self._finished = 0
        self._shown_at = float("-inf")
        self._caller = Caller(
            engine.journal,
            engine.prices,
            engine.budget,
            engine.settings,
            run_id=engine.run_id,
            functions=engine.functions,
            rng=engine.rng,
            clock=engine.clock,
            halted=lambda: self._reason is not None,
        )
        self._tally = self._caller.tally
        self._n_workers = engine.settings.concurrency + self._caller.ahead

    def counts(self) -> CallCounts:
        tally = self._tally
        return CallCounts(
            sent=tally.sent,
            answered=tally.answered,
            invalid=tally.invalid,
            from_journal=tally.from_journal,
            perhaps_paid=tally.perhaps_paid,
            errors=tally.errors,
            retried=tally.retried,
            spent_usd=tally.spent_usd,
            by_error_class=MappingProxyType(dict(tally.classes)),
        )

    # -- stopping -----------------------------------------------------------------------------------------------

    def _halt(self, reason: BaseException) -> None:
        """Send nothing new; the first reason is the one that is raised after the drain."""
        if self._reason is None:
            self._reason = reason
            self._halted.set()

    def _stopped(self) -> None:
        number = self._engine.stop.signal_number if self._engine.stop else 2
        self._halt(StoppedError(f"stopped by signal {number}; the same command resumes", number))

    def _unusable(self, why: str, kind: type[ProviderUnusableError] = ProviderUnusableError) -> ProviderUnusableError:
        classes = ", ".join(f"{name} {count}" for name, count in self._tally.classes.most_common())
        return kind(
            f"{why}\n  saw      {self._tally.answered} answered, {self._tally.errors} failed"
            + (f": {classes}" if classes else "")
            + "\n  fix      mend the endpoint; the same command resumes and pays for no answer twice"
        )

    async def go(self) -> None:
        """Run to the end, or to the reason to stop, which is raised."""
        loop, settings, stop = asyncio.get_running_loop(), self._engine.settings, self._engine.stop

        def stopped() -> None:
            loop.call_soon_threadsafe(self._stopped)

        end = stop.listen(stopped) if stop is not None else None
        tasks = [asyncio.create_task(self._guarded(self._feed))]
        tasks += [asyncio.create_task(self._guarded(self._work)) for _ in range(self._n_workers)]
        halted = asyncio.create_task(self._halted.wait())
        try:
            pending = set(tasks)
            while pending and self._reason is None:
                await asyncio.wait({*pending, halted}, return_when=asyncio.FIRST_COMPLETED)
                pending = {task for task in pending if not task.done()}
            if pending:
                for task in pending - self._caller.sending:
                    task.cancel()
                await asyncio.wait(pending, timeout=settings.drain_s)
        finally:
            if end is not None:
                end()
            await self._end([*tasks, halted])
        await self._engine.journal.flush()
        self._show(last=True)
        if self._reason is not None:
            raise self._reason

    async def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._caller.close()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Turn whatever ends a worker early into the reason to stop."""
        try:
            await work()
        except HaltedError:
            pass
        except LaneStoppedError as error:
            fault, request = error.fault, error.request
            place = f"{request.model} at {request.endpoint.name}"
            self._halt(self._unusable(f"{place}: {fault.error_class}: {fault.text or 'no reason given'}"))
        except Exception as error:  # noqa: BLE001 - raised again by `go` after the drain
            self._halt(error)

    # -- the way of a request -----------------------------------------------------------------------------------

    async def _feed(self) -> None:
        """Read requests, deliver what the journal has, queue the rest."""
        size = LOOKUP_ROWS
        while self._reason is None and (chunk := list(islice(self._requests, size))):
            # Registered before the journal is read: an answer committed in between is then found by the next reading.
            fresh: list[Request] = []
            for request in chunk:
                if request.key in self._asked:
                    self._asked[request.key].append(request)
                else:
                    self._asked[request.key] = []
                    fresh.append(request)
            known = self._engine.journal.lookup([request.key for request in fresh])
            size = min(2 * size, MAX_LOOKUP_ROWS) if len(known) == len(fresh) else LOOKUP_ROWS
            for request in fresh:
                reply = known.get(request.key)
                if reply is None:
                    await self._queue.put(request)
                else:
                    self._tally.from_journal += 1
                    self._deliver(request, reply)
            # Between two readings full of known replies, signals and progress get their turn.
            await asyncio.sleep(0)
        for _ in range(self._n_workers):
            await self._queue.put(None)

    async def _work(self) -> None:
        while self._reason is None and (request := await self._queue.get()) is not None:
            outcome = await self._caller.call(request)
            if outcome.reply.from_journal:
                self._tally.from_journal += 1
                self._deliver(request, outcome.reply)
            elif outcome.committed is None:
                self._finish(request, outcome.reply)
            else:
                self._when_committed(request, outcome)

    def _when_committed(self, request: Request, outcome: Outcome) -> None:
        def finish(committed: asyncio.Future[None]) -> None:
            if committed.cancelled():
                return
            failed = committed.exception()
            if failed is not None:
                self._halt(failed)
                return
            try:
                self._finish(request, outcome.reply)
            except Exception as error:  # noqa: BLE001 - raised again by `go` after the drain
                self._halt(error)

        if outcome.committed is not None:
            outcome.committed.add_done_callback(finish)

    def _finish(self, request: Request, reply: Reply) -> None:
        """Count and deliver a reply that was sent for now; look whether too many fail."""
        tally, most = self._tally, self._engine.settings.max_error_rate
        self._finished += 1
        if reply.state == "error":
            tally.errors += 1
        elif reply.state == "invalid":
            tally.invalid += 1
        else:
            tally.answered += 1
        if reply.error_class is not None and reply.state in {"error", "invalid"}:
            tally.classes[reply.error_class] += 1
        self._deliver(request, reply)
        # A row answered by another model than asked is as missing as one that nobody answered.
        failed = tally.errors + tally.invalid
        if most is not None and self._finished >= MIN_CALLS_FOR_RATE and failed > most * self._finished:
            text = f"{failed} of {self._finished} calls failed, more than {most:.1%}; the last: {reply.error_text}"
            self._halt(self._unusable(text, TooManyErrorsError))
        self._hold_to_its_word(request, reply)

    def _hold_to_its_word(self, request: Request, reply: Reply) -> None:
        """Stop when a function costs more than it was said to: the next calls could pass the ceiling."""
        engine = self._engine
        if request.endpoint.transport != "function" or engine.budget.usd is None or not reply.cost_usd:
            return
        price = engine.prices.of(request)
        highest = price.highest_usd(0, 0) if price else None
        if highest is None or reply.cost_usd > highest * (1 + SLACK_USD):
            stated = "no max_cost_usd is stated" if highest is None else f"max_cost_usd is ${highest:g}"
            self._halt(
                UsageError(
                    f"a call of {request.model} cost ${reply.cost_usd:g}, and {stated}",
                    where=f"candidate {request.candidate}",
                    expected="the most that one call can cost, so that the budget can hold",
                    fix=f"max_cost_usd: {reply.cost_usd:g}",
                )
            )

    def _deliver(self, request: Request, reply: Reply) -> None:
        """Hand a reply to its request and to those that asked the same."""
        later = self._asked.pop(request.key, [])
        self._done += 1 + len(later)
        self._on_reply(request, reply)
        if later:
            again = replace(reply, from_journal=reply.state != "error")
            for other in later:
                if again.from_journal:
                    self._tally.from_journal += 1
                else:
                    self._tally.errors += 1
                    self._finished += 1
                self._on_reply(other, again)
        self._show()

    def _show(self, *, last: bool = False) -> None:
        progress, tally = self._engine.progress, self._tally
        if progress is None:
            return
        now = self._engine.clock()
        if last or now - self._shown_at >= PROGRESS_S:
            self._shown_at = now
            progress(Progress(self._done, tally.from_journal, tally.errors, tally.in_flight, tally.spent_usd))
