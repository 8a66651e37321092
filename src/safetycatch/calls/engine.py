"""The call engine: feeds requests past the journal to the workers of each lane, and stops in good order."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from safetycatch.calls import collecting
from safetycatch.calls.attempt import Caller, EngineSettings, HaltedError, LaneStoppedError, Outcome
from safetycatch.calls.budget import SLACK_USD
from safetycatch.calls.counts import CallCounts, Progress
from safetycatch.calls.feeding import Lines, Source
from safetycatch.calls.limiter import Lanes, place_of
from safetycatch.calls.request import Reply
from safetycatch.calls.waiting import tell_waits
from safetycatch.errors import ProviderUnusableError, StoppedError, TooManyErrorsError, UsageError
from safetycatch.report.escaping import terminal_safe

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping

    from safetycatch.calls.budget import Budget
    from safetycatch.calls.feeding import Line
    from safetycatch.calls.journal import Journal
    from safetycatch.calls.limiter import Place
    from safetycatch.calls.prices import Prices
    from safetycatch.calls.request import Request
    from safetycatch.calls.signals import StopFlag

LOOKUP_ROWS = 64
MAX_LOOKUP_ROWS = 512
PROGRESS_S = 0.1
MIN_CALLS_FOR_RATE = 50
# Where no limit is set, a run of which nothing but errors comes back ends all the same.
NOTHING_ELSE = 0.999


class Engine:
    """Answers requests through the journal, within the budget.

    `functions` maps `module:name` to the user's functions; `lanes` holds what was learned of the lanes' limits and may
    be shared by engines (default: this engine's own); `progress` gets a snapshot about ten times a second; `say` is
    told what the run waits for once no reply has come for 5 seconds; `stop` is watched; `rng` jitters retries and
    `clock` returns monotonic seconds. `counts` holds what the last `answer` did, also after it raised.
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
        lanes: Lanes | None = None,
        progress: Callable[[Progress], None] | None = None,
        say: Callable[[str], None] | None = None,
        stop: StopFlag | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.journal, self.prices, self.budget, self.run_id = journal, prices, budget, run_id
        self.settings = settings or EngineSettings()
        if self.settings.concurrency < 1 or self.settings.attempts < 1:
            raise UsageError("concurrency and attempts must be 1 or more")
        self.functions: Mapping[str, Callable[..., Any]] = functions or {}
        self.lanes = lanes or Lanes()
        self.progress, self.say, self.stop, self.clock = progress, say, stop, clock
        self.rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self.counts = CallCounts()

    async def answer(
        self, requests: Iterable[Request] | AsyncIterable[Request], on_reply: Callable[[Request, Reply], None]
    ) -> CallCounts:
        """Deliver one reply for each request, in the order in which they come; return the counts.

        `requests` is read as it is needed, at most 16 times the concurrency ahead; an async iterable may wait for
        earlier replies before it yields more. A request whose key the journal knows costs nothing; equal keys are sent
        once. `on_reply` is called once a reply is committed, from the event loop. A lane that no request can pass (key
        refused, no credit, no such model) is closed: its requests get error replies while other lanes go on, and the
        error is raised at the end. Whatever stops the run, calls in flight are waited for (`drain_s`) and committed.
        Raises: BudgetReachedError, ProviderUnusableError (a lane was closed, or too many errors), StoppedError,
        UnknownPriceError, UsageError (no key, no function), StoreError, and what `requests` or `on_reply` raise.
        """
        run = _Run(self, requests, on_reply)
        try:
            with collecting.rarely():
                await run.go()
        finally:
            self.counts = run.tally.counts()
        return self.counts


class _Run:
    """One `answer` under way."""

    def __init__(
        self,
        engine: Engine,
        requests: Iterable[Request] | AsyncIterable[Request],
        on_reply: Callable[[Request, Reply], None],
    ) -> None:
        self._engine, self._on_reply = engine, on_reply
        self._reason: BaseException | None = None
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # Keys being asked for, each with the later requests that ask the same.
        self._asked: dict[str, list[Request]] = {}
        # Lanes that no request can pass, each with the first reason.
        self._closed: dict[Place, LaneStoppedError] = {}
        self._done = self._finished = self._failed = 0
        # The last call that failed, with its reply.
        self._lost: tuple[Request, Reply] | None = None
        # Requests that another asks for.
        self._elsewhere = 0
        self._shown_at = float("-inf")
        self._caller = Caller(
            engine.journal,
            engine.prices,
            engine.budget,
            engine.settings,
            engine.lanes,
            run_id=engine.run_id,
            functions=engine.functions,
            rng=engine.rng,
            clock=engine.clock,
            halted=lambda: self._reason is not None,
        )
        self.tally = self._caller.tally
        # A lane may use all places, and keep as many more calls ready as may go ahead.
        self._most_workers = engine.settings.concurrency + self._caller.ahead
        self._source = Source(requests)
        self._lines = Lines(engine.settings.concurrency, self._caller.has_places)

    # -- stopping -----------------------------------------------------------------------------------------------

    def _halt(self, reason: BaseException) -> None:
        """Send nothing new; the first reason is the one that is raised after the drain."""
        if self._reason is None:
            self._reason = reason
            self._over.set()

    def _stopped(self) -> None:
        number = self._engine.stop.signal_number if self._engine.stop else 2
        self._halt(StoppedError(f"stopped by signal {number}; the same command resumes", number))

    def _with_counts(self, error: ProviderUnusableError) -> ProviderUnusableError:
        """Return `error` with what was seen; asked after the drain, when the counts stand."""
        classes = ", ".join(f"{name} {count}" for name, count in self.tally.classes.most_common())
        return type(error)(
            f"{error}\n  saw      {self.tally.sent} sent, {self.tally.answered} answered, {self.tally.errors} failed"
            + (f": {classes}" if classes else "")
            + f"\n  fix      {self._mend()}; the same command resumes and pays for no answer twice"
        )

    def _mend(self) -> str:
        """Return what to look at: a user's own function is no endpoint."""
        if self._lost is None or self._lost[0].endpoint.transport != "function":
            return "see safetycatch doctor"
        return f"mend {self._lost[0].model}"

    def _lanes_closed(self) -> ProviderUnusableError:
        reasons = [
            f"{error.request.model} at {error.request.endpoint.name}: {error.fault.error_class}:"
            f" {terminal_safe(error.fault.text or 'no reason given')}"
            for error in self._closed.values()
        ]
        return ProviderUnusableError("\n".join(reasons))

    def _close(self, error: LaneStoppedError) -> None:
        """Ask nothing more of a lane; stop when no other is known."""
        place = place_of(error.request)
        self._closed.setdefault(place, error)
        if self._lines.known <= self._closed.keys():
            self._halt(self._lanes_closed())
            return
        self._refuse(error.request)
        line = self._lines.of(place)
        while (request := self._lines.take(line)) is not None:
            self._refuse(request)

    def _refuse(self, request: Request) -> None:
        """Deliver the reason for which a lane is closed."""
        fault = self._closed[place_of(request)].fault
        self.tally.errors += 1
        self.tally.classes[fault.error_class] += 1
        self._deliver(request, Reply("error", attempts=0, error_class=fault.error_class, error_text=fault.text))

    # -- the course of a run ------------------------------------------------------------------------------------

    async def go(self) -> None:
        """Run to the end, or to the reason to stop, which is raised."""
        loop, settings, stop = asyncio.get_running_loop(), self._engine.settings, self._engine.stop

        def stopped() -> None:
            loop.call_soon_threadsafe(self._stopped)

        end = stop.listen(stopped) if stop is not None else None
        self._start(self._feed)
        telling = asyncio.create_task(self._guarded(self._tell))
        try:
            await self._over.wait()
            if self._tasks:
                for task in self._tasks - self._caller.sending:
                    task.cancel()
                await asyncio.wait(self._tasks, timeout=settings.drain_s)
        finally:
            telling.cancel()
            if end is not None:
                end()
            await self._end()
        await self._engine.journal.flush()
        self._show(last=True)
        if self._reason is None and self._closed:
            self._reason = self._lanes_closed()
        if isinstance(self._reason, ProviderUnusableError):
            raise self._with_counts(self._reason)
        if self._reason is not None:
            raise self._reason

    async def _tell(self) -> None:
        engine = self._engine
        if engine.say is not None:
            await tell_waits(
                engine.say,
                done=lambda: self._done,
                lanes=self._caller.waits,
                elsewhere=lambda: self._elsewhere,
                clock=engine.clock,
            )

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._source.close()
        await self._caller.close()

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._over.set()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Turn whatever ends a task early into the reason to stop."""
        try:
            await work()
        except HaltedError:
            pass
        except Exception as error:  # noqa: BLE001 - raised again by `go` after the drain
            self._halt(error)

    # -- the way of a request -----------------------------------------------------------------------------------

    async def _feed(self) -> None:
        """Read requests, deliver what the journal has, put the rest into the lines."""
        size = LOOKUP_ROWS
        while self._reason is None and (chunk := await self._source.chunk(size)):
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
                    await self._queue(request)
                else:
                    self._deliver_known(request, reply)
            # Between two readings full of known replies, signals and progress get their turn.
            await asyncio.sleep(0)

    async def _queue(self, request: Request) -> None:
        await self._lines.room()
        place = place_of(request)
        if place in self._closed:
            self._refuse(request)
            return
        line = self._lines.of(place)
        self._lines.add(line, request)
        if line.workers < self._most_workers:
            line.workers += 1
            self._start(partial(self._work, line))

    async def _work(self, line: Line) -> None:
        """Make the calls of one line until it is empty."""
        try:
            while self._reason is None and (request := self._lines.take(line)) is not None:
                try:
                    outcome = await self._caller.call(request)
                except LaneStoppedError as error:
                    self._close(error)
                    continue
                if outcome is None:
                    self._start(partial(self._wait_for_other, request))
                elif outcome.reply.from_journal:
                    self._deliver_known(request, outcome.reply)
                elif outcome.committed is None:
                    self._finish(request, outcome.reply)
                else:
                    self._when_committed(request, outcome)
        finally:
            line.workers -= 1

    async def _wait_for_other(self, request: Request) -> None:
        """Deliver the reply that another gets, or ask when that one ends without; meanwhile no worker is held up."""
        self._elsewhere += 1
        try:
            reply = await self._engine.journal.settled(request.key)
        finally:
            self._elsewhere -= 1
        if reply is None:
            await self._queue(request)
        else:
            self._deliver_known(request, reply)

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
        tally, most = self.tally, self._engine.settings.max_error_rate
        self._finished += 1
        if reply.state in {"error", "invalid"}:
            self._failed += 1
            self._lost = request, reply
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
        if (
            self._finished >= MIN_CALLS_FOR_RATE
            and self._failed > (NOTHING_ELSE if most is None else most) * self._finished
        ):
            limit = "" if most is None else f", more than {most:.1%}"
            share = f"{self._failed} of {self._finished} calls failed{limit}"
            self._halt(TooManyErrorsError(f"{share}; the last: {_told(self._lost)}"))
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

    def _deliver_known(self, request: Request, reply: Reply) -> None:
        self.tally.from_journal += 1
        self._deliver(request, reply)

    def _deliver(self, request: Request, reply: Reply) -> None:
        """Hand a reply to its request and to those that asked the same."""
        later = self._asked.pop(request.key, [])
        self._done += 1 + len(later)
        self._on_reply(request, reply)
        if later:
            again = replace(reply, from_journal=reply.state != "error")
            for other in later:
                if again.from_journal:
                    self.tally.from_journal += 1
                else:
                    self.tally.errors += 1
                self._on_reply(other, again)
        self._show()

    def _show(self, *, last: bool = False) -> None:
        progress, tally = self._engine.progress, self.tally
        if progress is None:
            return
        now = self._engine.clock()
        if last or now - self._shown_at >= PROGRESS_S:
            self._shown_at = now
            counted = (self._done, tally.from_journal, tally.errors, tally.in_flight, tally.spent_usd, tally.unpriced)
            progress(Progress(*counted))


def _told(lost: tuple[Request, Reply] | None) -> str:
    """Return what the last failed call said, and which function or model it was."""
    if lost is None:
        return "no reason given"
    request, reply = lost
    # A reason is anybody's text, and a line of ours is one line.
    return terminal_safe(f"{request.model}: {reply.error_text or reply.error_class or 'no reason given'}")
