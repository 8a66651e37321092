"""What providers do wrong, over real sockets: what is tried again, what stops a row, a lane, a run."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from safetycatch.calls import Budget, Endpoint, EngineSettings, Journal, Prices, Spent
from safetycatch.errors import BudgetReachedError, ProviderUnusableError, TooManyErrorsError

if TYPE_CHECKING:
    from collections.abc import Generator

FAST = EngineSettings(concurrency=16, connect_s=2.0, read_s=1.0, backoff_s=0.01)


@contextmanager
def raw_server(talk) -> Generator[str]:
    """Serve connections on loopback in a thread; gives the base URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    writers: list[asyncio.StreamWriter] = []

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await talk(reader, writer)

    listener = asyncio.run_coroutine_threadsafe(asyncio.start_server(kept, "127.0.0.1", 0), loop).result()
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    finally:

        async def stop() -> None:
            listener.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in writers:
                writer.transport.abort()
            # An aborted transport lets go of its socket in the loop's next round.
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("kind", ["500", "503", "504", "drop", "cut", "truncated", "empty", "bad_utf8", "content_type"])
def test_r20_passing_faults_lose_nothing(sandbox, run, make_request, kind: str) -> None:
    server, here = sandbox(faults=[f"{kind}:0.2"])
    result = run((make_request(here, i) for i in range(60)), FAST)
    assert result.error is None
    assert result.states() == {"answer": 60}
    struck = server.stats()["faults"][kind]
    assert struck > 3
    assert result.counts.retried == struck
    assert result.counts.sent == 60 + struck
    # a provider bills what it worked for, delivered or not; an error status is free
    assert result.counts.perhaps_paid == (0 if kind in {"500", "503"} else struck)
    assert server.stats()["billed"] == 60 + result.counts.perhaps_paid


def test_r25_a_ceiling_holds_though_a_gateway_loses_answers_that_are_billed(sandbox, run, make_request) -> None:
    server, here = sandbox(faults=["504:0.5"])
    price = Prices().of(make_request(here, 0, "echo-priced"))
    usd = 200 * price.cost_usd(6, 3)
    requests = (make_request(here, i, "echo-priced") for i in itertools.count())
    result = run(requests, FAST, Budget(usd=usd))
    assert isinstance(result.error, BudgetReachedError)
    stats = server.stats()
    assert stats["faults"]["504"] == result.counts.perhaps_paid > 5
    assert price.cost_usd(stats["prompt_tokens"], stats["completion_tokens"]) <= usd


@pytest.mark.parametrize("kind", ["500", "504:0.7", "400", "429:0.3:seconds=0.01"])
def test_a_ceiling_of_calls_bounds_the_requests_sent(sandbox, run, make_request, journal_path, kind: str) -> None:
    server, here = sandbox(faults=[kind])
    settings = replace(FAST, max_error_rate=None)
    result = run((make_request(here, i) for i in range(100)), settings, Budget(calls=20))
    assert isinstance(result.error, BudgetReachedError)
    stats = server.stats()
    # who is told to wait has not been served
    assert stats["received"] - stats["faults"].get("429", 0) == 20
    with Journal.open(journal_path) as journal:
        spent = journal.spent("run")
    assert spent == result.engine.budget.spent
    assert spent.calls == 20
    again = run([make_request(here, 200)], settings, Budget(calls=20, already=spent))
    assert isinstance(again.error, BudgetReachedError)
    assert server.stats()["received"] == stats["received"]


def test_what_never_left_is_no_call(run, make_request, journal_path) -> None:
    here = Endpoint("gone", "direct", "http://127.0.0.1:1/v1")
    result = run((make_request(here, i) for i in range(3)), replace(FAST, attempts=2), Budget(calls=1))
    assert result.error is None
    assert result.counts.by_error_class == {"connect": 3}
    with Journal.open(journal_path) as journal:
        assert journal.spent("run") == result.engine.budget.spent == Spent()


def test_r20_connections_that_are_reset_lose_nothing(run, make_request, completion) -> None:
    count = itertools.count()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            if next(count) % 3 == 0:
                # closing with a linger time of 0 sends RST
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return
            body = json.dumps(completion(model="echo")).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))

    with raw_server(talk) as url:
        result = run((make_request(Endpoint("gpu", "direct", url), i) for i in range(30)), FAST)
    assert result.error is None
    assert result.states() == {"answer": 30}
    assert result.counts.retried == result.counts.perhaps_paid >= 10


def test_r21_hung_and_trickling_replies_end_at_our_deadline(sandbox, run, make_request) -> None:
    _, here = sandbox(faults=["hang:nth=3", "trickle:nth=7,seconds=0.5"])
    settings = EngineSettings(concurrency=8, connect_s=0.2, read_s=0.3, backoff_s=0.01)
    start = time.monotonic()
    result = run((make_request(here, i) for i in range(20)), settings)
    assert result.error is None
    assert result.states() == {"answer": 20}
    assert result.counts.perhaps_paid == 2
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("fault", "state", "error_class"),
    [
        ("content_filter", "filtered", None),
        ("refusal", "refusal", None),
        ("length", "length", None),
        ("no_usage", "answer", None),
        ("400", "error", "context_length"),
        ("oversized", "error", "too_large"),
    ],
)
def test_r22_r27_typed_replies_are_not_tried_again(
    sandbox, run, make_request, fault: str, state: str, error_class: str | None
) -> None:
    server, here = sandbox(faults=[f"{fault}:nth=5"])
    settings = EngineSettings(concurrency=4, max_reply_bytes=100_000)
    result = run((make_request(here, i) for i in range(10)), settings)
    assert result.error is None
    wrong = [reply for reply in result.replies.values() if reply.state != "answer" or reply.n_tokens_in is None]
    assert [(reply.state, reply.error_class) for reply in wrong] == [(state, error_class)]
    assert server.stats()["received"] == 10
    assert result.counts.by_error_class == ({error_class: 1} if error_class else {})


def test_r23_another_model_is_invalid_paid_and_asked_again_next_time(server, run, make_request, completion) -> None:
    seen: list[int] = []

    async def handler(_: web.BaseRequest) -> web.Response:
        seen.append(1)
        return web.json_response(completion(model="echo-mini" if len(seen) == 5 else "echo"))

    gpu = server(handler)
    result = run((make_request(gpu, i) for i in range(10)), EngineSettings(concurrency=1))
    assert result.error is None
    reply = result.replies["zero/4/0"]
    assert (reply.state, reply.error_class, reply.model_returned) == ("invalid", "other_model", "echo-mini")
    assert (result.counts.answered, result.counts.invalid, result.counts.errors) == (9, 1, 0)
    assert result.counts.by_error_class == {"other_model": 1}
    again = run((make_request(gpu, i) for i in range(10)), EngineSettings(concurrency=1))
    assert (again.counts.sent, again.counts.from_journal) == (1, 9)
    assert again.replies["zero/4/0"].state == "answer"


def test_r18_a_storm_of_429_loses_nothing_and_uses_up_no_attempt(sandbox, run, make_request) -> None:
    server, here = sandbox(faults=["429:times=120,seconds=0.02"])
    result = run((make_request(here, i) for i in range(100)), EngineSettings(concurrency=32, attempts=1))
    assert result.error is None
    assert result.states() == {"answer": 100}
    assert {reply.attempts for reply in result.replies.values()} == {1}
    assert server.stats()["faults"]["429"] == 120
    assert result.counts.perhaps_paid == 0


def test_a_stated_rate_is_kept_without_a_refusal(sandbox, run, make_request) -> None:
    server, here = sandbox(requests_per_minute=600, latency="20ms")
    start = time.monotonic()
    result = run((make_request(here, i) for i in range(25)), EngineSettings(concurrency=64))
    assert result.error is None
    assert server.stats()["received"] == 25
    assert 2.3 < time.monotonic() - start < 6


def test_a_lane_that_only_refuses_stops_the_run(server, run, make_request) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(status=429, headers={"retry-after": "0.05"})

    settings = EngineSettings(concurrency=4, call_deadline_s=0.5)
    gpu = server(handler)
    result = run((make_request(gpu, i) for i in range(1000)), settings)
    assert isinstance(result.error, ProviderUnusableError)
    assert "rate_limited" in str(result.error)


def test_r18_a_success_is_an_answer_whatever_its_headers_say(server, run, make_request, completion) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h", "retry-after": "3600"}
        return web.json_response(completion(model="echo"), headers=headers)

    gpu = server(handler)
    start = time.monotonic()
    result = run(make_request(gpu, i) for i in range(20))
    assert result.error is None
    assert (result.counts.sent, result.counts.answered) == (20, 20)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("fault", ["401", "403", "404", "insufficient_quota"])
def test_r26_a_closed_lane_stops_at_once_and_keeps_what_was_answered(sandbox, run, make_request, fault: str) -> None:
    server, here = sandbox(faults=[f"{fault}:nth=20"], latency="10ms")
    settings = EngineSettings(concurrency=4, max_error_rate=None)
    result = run((make_request(here, i) for i in itertools.count()), settings)
    assert isinstance(result.error, ProviderUnusableError)
    assert result.error.exit_code == 50
    assert server.stats()["received"] <= 20 + 4
    answered = [reply for reply in result.replies.values() if reply.state == "answer"]
    assert len(answered) == result.counts.answered == server.stats()["answered"]


def test_a_lane_that_never_answers_is_closed_before_every_row_has_paid_six_times(sandbox, run, make_request) -> None:
    server, here = sandbox(faults=["hang"])
    settings = EngineSettings(connect_s=0.1, read_s=0.2, backoff_s=0.01)
    result = run((make_request(here, i) for i in range(50)), settings)
    assert isinstance(result.error, ProviderUnusableError)
    assert "16 requests that may be billed, and never an answer; the last: hung" in str(result.error)
    assert "no whole reply after 0.2 s (runs.timeout_s)" in str(result.error)
    assert server.stats()["received"] == result.counts.perhaps_paid <= 16 + 4


@pytest.mark.parametrize("first", [1, 2])
def test_a_lane_that_has_answered_once_stays_open(sandbox, run, make_request, first: int) -> None:
    _, here = sandbox(faults=[f"drop:nth={'+'.join(str(n) for n in range(1, 60) if n != first)}"])
    result = run((make_request(here, i) for i in range(10)), replace(FAST, max_error_rate=None))
    assert result.error is None
    assert result.counts.perhaps_paid > 16


def test_what_was_seen_is_counted_after_the_drain(sandbox, run, make_request) -> None:
    server, here = sandbox(faults=["401:nth=30"], latency="300ms")
    result = run((make_request(here, i) for i in itertools.count()), EngineSettings(concurrency=16))
    assert isinstance(result.error, ProviderUnusableError)
    answered = server.stats()["answered"]
    assert f"saw      {answered + 1} sent, {answered} answered, " in str(result.error)


def test_a_flagged_prompt_is_that_rows_reply_and_the_lane_goes_on(server, run, make_request, completion) -> None:
    flagged = {
        "error": {"code": 403, "message": 'echo requires moderation on X. Your input was flagged for "violence".'}
    }

    async def handler(request: web.BaseRequest) -> web.Response:
        if b"ticket 7" in await request.read():
            return web.json_response(flagged, status=403)
        return web.json_response(completion(model="echo"))

    here = server(handler)
    result = run((make_request(here, i) for i in range(10)), FAST)
    assert result.error is None
    assert result.states() == {"answer": 9, "filtered": 1}
    assert "flagged" in result.replies["zero/7/0"].error_text


def test_too_many_errors_stop_the_run_after_fifty_calls(sandbox, run, make_request) -> None:
    server, here = sandbox(faults=["400:0.3"])
    result = run((make_request(here, i) for i in range(1000)), EngineSettings(concurrency=4))
    assert isinstance(result.error, TooManyErrorsError)
    assert result.error.exit_code == 50
    assert "context_length" in str(result.error)
    assert 50 <= server.stats()["received"] <= 55
    counted = run((make_request(here, i) for i in range(100)), EngineSettings(max_error_rate=None))
    assert counted.error is None
    assert counted.counts.errors == counted.counts.by_error_class["context_length"] > 10


def test_an_endless_fault_ends_after_the_attempts(sandbox, run, make_request) -> None:
    _, here = sandbox(faults=["500"])
    result = run([make_request(here, 1)], EngineSettings(attempts=3, backoff_s=0.01))
    assert result.error is None
    reply = result.replies["zero/1/0"]
    assert (reply.state, reply.error_class, reply.attempts) == ("error", "http_500", 3)
    assert (result.counts.sent, result.counts.retried, result.counts.errors) == (3, 2, 1)


def test_retries_wait_with_full_jitter(server, run, make_request) -> None:
    times: dict[bytes, list[float]] = {}

    async def handler(request: web.BaseRequest) -> web.Response:
        times.setdefault(await request.read(), []).append(time.monotonic())
        return web.Response(status=500)

    gpu = server(handler)
    settings = EngineSettings(concurrency=40, attempts=5, backoff_s=0.1, max_error_rate=None)
    assert run((make_request(gpu, i) for i in range(40)), settings).counts.errors == 40
    for nth in range(4):
        waits = [seen[nth + 1] - seen[nth] for seen in times.values()]
        cap = 0.1 * 2**nth
        assert max(waits) < cap + 0.5
        # anywhere from nothing to the cap, not around a middle
        assert min(waits) < 0.25 * cap + 0.05
        assert max(waits) > 0.75 * cap


def test_a_call_ends_at_its_deadline(sandbox, run, make_request) -> None:
    _, here = sandbox(faults=["503:seconds=0.4"])
    result = run([make_request(here, 1)], EngineSettings(attempts=100, call_deadline_s=1.0))
    assert result.replies["zero/1/0"].error_class == "http_503"
    assert 2 <= result.counts.sent <= 5


def test_nobody_listens(run, make_request) -> None:
    here = Endpoint("gone", "direct", "http://127.0.0.1:1/v1")
    result = run([make_request(here, 1)], EngineSettings(attempts=2))
    assert result.replies["zero/1/0"].error_class == "connect"
    assert result.counts.perhaps_paid == 0
