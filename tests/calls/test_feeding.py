"""Requests that arrive: an async iterable may wait for replies before it asks more."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from safetycatch.calls import EngineSettings, StopFlag
from safetycatch.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from safetycatch.calls import Request

CALM = EngineSettings(concurrency=8)


class Ladder:
    """Asks `rungs` rounds of ten, each after the last round's replies have come."""

    def __init__(self, ask, rungs: int) -> None:
        self.ask, self.rungs, self.replied = ask, rungs, 0

    def note(self, request, reply) -> None:
        self.replied += 1
        self.news.set()

    async def requests(self) -> AsyncIterator[Request]:
        self.news = asyncio.Event()
        for i in range(10 * self.rungs):
            while self.replied < i // 10 * 10:
                self.news.clear()
                await self.news.wait()
            yield self.ask(i)


def test_what_is_asked_next_may_depend_on_replies(sandbox, run, make_request) -> None:
    server, here = sandbox(latency="20ms")
    for sent, hits in ((60, 0), (0, 60)):
        ladder = Ladder(lambda i: make_request(here, i), rungs=6)
        start = time.monotonic()
        result = run(ladder.requests(), CALM, on_reply=ladder.note)
        assert result.error is None
        assert (result.counts.sent, result.counts.from_journal, len(result.replies)) == (sent, hits, 60)
        # nobody waits for a chunk of 64 to fill
        assert time.monotonic() - start < 5
    assert server.stats()["received"] == 60


def test_calls_go_on_while_the_asker_thinks(sandbox, run, make_request) -> None:
    _, here = sandbox(latency="10ms")
    done: list[float] = []

    async def requests():
        for i in range(20):
            yield make_request(here, i)
        await asyncio.sleep(0.5)
        assert len(done) == 20
        yield make_request(here, 20)

    assert run(requests(), CALM, on_reply=lambda *_: done.append(time.monotonic())).error is None
    assert done[-1] - done[0] > 0.4


def test_an_asker_that_never_waits_is_read_as_it_is_needed(sandbox, run, make_request) -> None:
    _, here = sandbox(latency="5ms")
    read = done = most = 0

    async def requests():
        nonlocal read, most
        for i in range(600):
            read += 1
            most = max(most, read - done)
            yield make_request(here, i)

    def note(request, reply) -> None:
        nonlocal done
        done += 1

    assert run(requests(), CALM, on_reply=note).error is None
    assert done == 600
    assert most <= 64 * 2 + 8 + 2 * 9


def test_an_error_of_the_asker_ends_the_run_after_what_is_in_flight(sandbox, run, make_request) -> None:
    server, here = sandbox(latency="50ms")

    async def requests():
        for i in range(5):
            yield make_request(here, i)
        await asyncio.sleep(0.02)
        raise ZeroDivisionError

    result = run(requests(), CALM)
    assert isinstance(result.error, ZeroDivisionError)
    assert result.counts.answered == len(result.replies) == server.stats()["billed"]


@pytest.mark.parametrize("waits", [True, False])
def test_a_stop_closes_the_asker_where_it_is(sandbox, run, make_request, waits: bool) -> None:
    _, here = sandbox(latency="10ms")
    stop, closed = StopFlag(), []

    async def requests():
        i = 0
        try:
            for i in range(10_000):
                if waits and i == 30:
                    await asyncio.Event().wait()
                yield make_request(here, i)
        finally:
            closed.append(i)

    def note(request, reply) -> None:
        if request.example_id == "20":
            stop.set(15)

    result = run(requests(), CALM, on_reply=note, stop=stop)
    assert isinstance(result.error, StoppedError)
    assert result.error.exit_code == 143
    assert closed == [30] if waits else 20 < closed[0] < 300
