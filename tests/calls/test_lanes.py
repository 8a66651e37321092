"""Several lanes in one run, over real sockets: none holds up another, and together they keep to the run's bounds."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import Counter

import pytest
from aiohttp import web

from safetycatch.calls import Budget, EngineSettings, Journal, Lanes, StopFlag
from safetycatch.calls.feeding import READ_AHEAD
from safetycatch.errors import BudgetReachedError, ProviderUnusableError, StoppedError

ONE_A_SECOND = {"x-ratelimit-limit-requests": "60"}
MODELS = ("echo", "echo-priced", "small", "small-priced", "large", "large-priced")


@pytest.fixture
def serve(server, completion):
    """Return a function that serves a model under a name; `times` gets the arrivals."""

    def start(name: str, headers: dict[str, str] | None = None, *, status: int = 200, after: int = 0):
        times: list[float] = []

        async def handler(_: web.BaseRequest) -> web.Response:
            times.append(time.monotonic())
            if status != 200 and len(times) > after:
                return web.json_response({"error": {"message": "no"}}, status=status, headers=headers)
            return web.json_response(completion(model="echo"), headers=headers)

        return server(handler, name), times

    return start


def mixed(make_request, *endpoints, n: int | None = None):
    """Yield requests that ask the endpoints in turn, `n` in all."""
    for i in itertools.count() if n is None else range(n):
        yield make_request(endpoints[i % len(endpoints)], i)


def test_a_slow_lane_does_not_hold_up_another(serve, run, make_request) -> None:
    (slow, _), (fast, _) = serve("slow", ONE_A_SECOND), serve("fast")
    stop, done = StopFlag(), Counter[str]()

    def note(request, reply) -> None:
        done[request.endpoint.name] += 1
        if done["fast"] == 100:
            stop.set()

    start = time.monotonic()
    settings = EngineSettings(concurrency=16)
    result = run(mixed(make_request, slow, fast, n=400), settings, on_reply=note, stop=stop)
    assert isinstance(result.error, StoppedError)
    # the slow lane had its first four and one a second; a queue of 16 for both would have ended there
    assert done["slow"] < 12
    assert time.monotonic() - start < 5


def test_how_far_is_read_ahead_is_bounded(serve, run, make_request) -> None:
    (slow, _), (fast, _) = serve("slow", ONE_A_SECOND), serve("fast")
    stop, ahead, done = StopFlag(), [0], [0]

    def requests():
        for read, request in enumerate(mixed(make_request, slow, fast)):
            ahead.append(read - done[0])
            yield request

    def note(request, reply) -> None:
        done[0] += 1

    timer = threading.Timer(1.5, stop.set)
    timer.start()
    result = run(requests(), EngineSettings(concurrency=8), on_reply=note, stop=stop)
    timer.join()
    assert isinstance(result.error, StoppedError)
    # beside those that wait there are a chunk being read and what the workers hold
    assert READ_AHEAD * 8 - 64 <= max(ahead) <= READ_AHEAD * 8 + 64 + 2 * 9


def test_concurrency_bounds_the_calls_of_all_lanes_together(sandbox, run, make_request) -> None:
    server, here = sandbox(latency="30ms")
    requests = (make_request(here, i, MODELS[i % 6]) for i in range(240))
    assert run(requests, EngineSettings(concurrency=8)).error is None
    assert 6 <= server.stats()["most_in_flight"] <= 8


def test_intents_that_wait_are_few_however_many_lanes_there_are(sandbox, run, make_request, journal_path) -> None:
    server, here = sandbox(latency="2s")
    stop, seen = StopFlag(), []

    def look() -> None:
        with Journal.open(journal_path) as journal:
            seen.extend(journal.perhaps_paid("run"))
        stop.set()

    timer = threading.Timer(1.0, look)
    timer.start()
    requests = (make_request(here, i, MODELS[i % 6]) for i in range(300))
    run(requests, EngineSettings(concurrency=16, drain_s=0.0), stop=stop)
    timer.join()
    # after a kill these would be listed as perhaps paid: what is in flight, and an eighth more
    assert server.stats()["received"] == 16
    assert len(seen) == 16 + 2


def test_a_lane_that_waits_holds_none_of_the_budget(serve, run, make_request) -> None:
    (slow, _), (fast, _) = serve("slow", {"retry-after": "60"}, status=429), serve("fast")
    stop, answered = StopFlag(), Counter[str]()

    def note(request, reply) -> None:
        answered[request.endpoint.name] += 1
        if answered["fast"] == 20:
            stop.set()

    settings = EngineSettings(concurrency=8)
    result = run(mixed(make_request, slow, fast, n=60), settings, Budget(calls=20), on_reply=note, stop=stop)
    assert isinstance(result.error, StoppedError | BudgetReachedError)
    assert answered == {"fast": 20}


@pytest.mark.parametrize("status", [401, 404])
def test_a_closed_lane_is_told_at_the_end_and_the_others_go_on(serve, run, make_request, status: int) -> None:
    (bad, asked), (good, _) = serve("bad", status=status), serve("good")
    result = run(mixed(make_request, bad, good, n=10), EngineSettings(concurrency=4))
    assert isinstance(result.error, ProviderUnusableError)
    assert result.error.exit_code == 50
    assert "echo at bad: " in str(result.error)
    assert "good" not in str(result.error)
    assert len(asked) <= 4
    # its rows are errors with the reason, and none counts towards SC207
    assert result.states() == {"answer": 5, "error": 5}
    assert sum(result.counts.by_error_class.values()) == result.counts.errors == 5


def test_when_every_lane_is_closed_the_run_stops_at_once(serve, run, make_request) -> None:
    (one, _), (two, _) = serve("one", status=401, after=5), serve("two", status=403, after=5)
    result = run(mixed(make_request, one, two), EngineSettings(concurrency=4))
    assert isinstance(result.error, ProviderUnusableError)
    assert "echo at one: unauthorised" in str(result.error)
    assert "echo at two: forbidden" in str(result.error)
    assert result.counts.answered == 10


def test_what_a_run_learned_of_a_lane_the_next_one_knows(serve, run, make_request) -> None:
    here, times = serve("here", {"x-ratelimit-limit-requests": "1200"})
    lanes, settings = Lanes(), EngineSettings(concurrency=16)
    for part in range(3):
        assert run((make_request(here, 10 * part + i) for i in range(10)), settings, lanes=lanes).error is None
    # four at once to learn the rate, once; the later runs keep to it from their first call on, and pass no gap either
    for first in (10, 20):
        assert times[first + 3] - times[first] > 0.09
        assert times[first] - times[first - 1] > 0.01
    assert times[-1] - times[0] > 29 * 0.05 * 0.95


def test_a_pause_outlives_the_run_that_was_told_to_wait(server, run, make_request, completion) -> None:
    times: list[float] = []

    async def handler(_: web.BaseRequest) -> web.Response:
        times.append(time.monotonic())
        if len(times) == 2:
            return web.Response(status=429, headers={"retry-after-ms": "700"})
        return web.json_response(completion(model="echo"))

    here, lanes, stop = server(handler), Lanes(), StopFlag()
    settings = EngineSettings(concurrency=1)

    def note(request, reply) -> None:
        timer.start()

    timer = threading.Timer(0.2, stop.set)
    result = run((make_request(here, i) for i in range(5)), settings, lanes=lanes, on_reply=note, stop=stop)
    assert isinstance(result.error, StoppedError)
    assert len(times) == 2
    assert run([make_request(here, 9)], settings, lanes=lanes).error is None
    assert times[2] - times[1] >= 0.69


def test_a_lying_server_cannot_hold_a_run_up_unseen(server, run, make_request, completion) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.json_response(completion(model="echo"), headers={"x-ratelimit-limit-tokens": "1"})

    here, stop, said = server(handler), StopFlag(), []

    def say(text: str) -> None:
        said.append(text)
        stop.set()

    result = run((make_request(here, i) for i in range(50)), EngineSettings(concurrency=8), say=say, stop=stop)
    assert isinstance(result.error, StoppedError)
    assert result.counts.answered == 4
    seconds = re.fullmatch(
        r"echo at gpu waits up to (\d+) s: the provider states a limit of 1 tokens a minute", said[0]
    )
    assert seconds is not None
    assert 105 <= int(seconds[1]) <= 120
