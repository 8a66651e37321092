from __future__ import annotations

import asyncio
import datetime as dt
import random

import pytest

from safetycatch.calls.limiter import MAX_PAUSE_S, Lane, duration_s, retry_after_s

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1.5", 1.5),
        ("-3", 0),
        ("6m0s", 360),
        ("8.64s", 8.64),
        ("120ms", 0.12),
        ("1h2m3s", 3723),
        ("1d", 86_400),
        ("2026-11-22T12:00:07Z", 7),
        ("2026-11-22T11:00:00Z", 0),
        ("Sun, 22 Nov 2026 12:00:09 GMT", 9),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("soon", None),
        ("9" * 400, None),
    ],
)
def test_every_spelling_of_a_wait(text: str, seconds: float | None) -> None:
    found = duration_s(text, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_wait_is_honoured_but_capped() -> None:
    assert retry_after_s({"retry-after": "2", "retry-after-ms": "250"}, NOW) == 0.25
    assert retry_after_s({"retry-after": "2"}, NOW) == 2
    assert retry_after_s({"retry-after": "86400"}, NOW) == MAX_PAUSE_S
    assert retry_after_s({}, NOW) is None
    reset = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "3s"}
    assert retry_after_s(reset, NOW) == 3
    assert retry_after_s(reset | {"x-ratelimit-remaining-requests": "1"}, NOW) is None
    reset = {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-11-22T12:00:05Z"}
    assert retry_after_s(reset, NOW) == 5


class Simulated(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0]._when)
        super()._run_once()


@pytest.fixture
def simulated():
    loop = Simulated()
    yield loop
    loop.close()


def test_calls_are_paced_at_the_stated_rate_and_none_is_refused(simulated) -> None:
    lane = Lane(64, clock=simulated.time, rng=random.Random(0))
    sent: list[float] = []

    async def call() -> None:
        await lane.enter(10)
        sent.append(simulated.time())
        await asyncio.sleep(0.05)
        lane.answered({"x-ratelimit-limit-requests": "600"}, estimated=10, used=10)
        lane.leave(boarded=False)

    async def go() -> None:
        await asyncio.gather(*(call() for _ in range(200)))

    simulated.run_until_complete(go())
    assert sent[3] == 0.0
    assert sent[4] >= 0.05
    # never more than the rate plus the slow start, in any window
    for i, start in enumerate(sent):
        assert sum(start <= at < start + 1 for at in sent[i:]) <= 10 + 4
    assert 19.0 < sent[-1] < 20.2


def test_tokens_are_paced_and_unused_ones_given_back_where_the_provider_does(simulated) -> None:
    def seconds(headers: dict[str, str]) -> float:
        lane = Lane(4, clock=simulated.time)
        start = simulated.time()

        async def call() -> None:
            await lane.enter(100)
            await asyncio.sleep(0.01)
            lane.answered(headers, estimated=100, used=50)
            lane.leave(boarded=False)

        async def go() -> None:
            await asyncio.gather(*(call() for _ in range(100)))

        simulated.run_until_complete(go())
        return simulated.time() - start

    assert seconds({"x-ratelimit-limit-tokens": "60000"}) == pytest.approx(10, abs=0.5)
    assert seconds({"anthropic-ratelimit-tokens-limit": "60000"}) == pytest.approx(5, abs=0.5)


def test_a_refusal_pauses_the_whole_lane_and_cuts_it_once_where_no_rate_is_stated(simulated) -> None:
    lane = Lane(64, clock=simulated.time, rng=random.Random(0))
    sent: list[float] = []

    async def call(refused: bool) -> None:
        await lane.enter(1)
        at = simulated.time()
        sent.append(at)
        await asyncio.sleep(0.05)
        if refused:
            lane.refused(3.0, {}, at)
        else:
            lane.answered({}, estimated=1, used=1)
        lane.leave(boarded=False)

    async def go() -> None:
        await call(refused=False)
        assert lane.window == 64
        await asyncio.gather(*(call(refused=True) for _ in range(10)))
        assert lane.window == pytest.approx(64 * 0.7)
        paced = await lane.enter(1)
        assert paced == 0.0
        assert simulated.time() == pytest.approx(sent[-1] + 0.05 + 3)
        lane.answered({}, estimated=1, used=1)
        assert lane.window == pytest.approx(64 * 0.7, abs=0.1)
        assert lane.window > 64 * 0.7

    simulated.run_until_complete(go())


def test_pauses_grow_while_nothing_but_refusals_come(simulated) -> None:
    lane = Lane(1, clock=simulated.time, rng=random.Random(0))
    waits: list[float] = []

    async def go() -> None:
        for _ in range(12):
            before = simulated.time()
            await lane.enter(1)
            waits.append(simulated.time() - before)
            lane.refused(None, {}, simulated.time())
            lane.leave(boarded=False)

    simulated.run_until_complete(go())
    assert waits[1] < 1.0
    assert 60 <= waits[-1] <= MAX_PAUSE_S
    assert lane.refused_s > 300
    lane.answered({}, estimated=1, used=1)
    assert lane.refused_s == 0


@pytest.mark.parametrize("stated", ["0", "-5", "nan", "inf", "many", ""])
def test_absurd_limits_are_ignored(simulated, stated: str) -> None:
    lane = Lane(8, clock=simulated.time)

    async def go() -> None:
        for _ in range(100):
            await lane.enter(5)
            lane.answered({"x-ratelimit-limit-requests": stated}, estimated=5, used=5)
            lane.leave(boarded=False)

    simulated.run_until_complete(go())
    assert simulated.time() == 0.0
