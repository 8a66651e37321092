from __future__ import annotations

import asyncio
import gc
import itertools
import sqlite3
import time
import tracemalloc

import pytest
from aiohttp import web

from safetycatch.calls import Budget, Engine, EngineSettings, Journal, Prices, StopFlag, UnknownPriceError
from safetycatch.errors import BudgetReachedError, StoppedError, UsageError

FAST = EngineSettings(concurrency=16, connect_s=2.0, read_s=1.0, backoff_s=0.01)


def test_the_second_run_sends_nothing_and_gets_the_same(sandbox, run, make_request) -> None:
    server, here = sandbox()
    first = run(make_request(here, i) for i in range(300))
    assert first.error is None
    assert first.counts.sent == first.counts.answered == 300
    again = run(make_request(here, i) for i in range(300))
    assert (again.counts.sent, again.counts.from_journal, again.counts.spent_usd) == (0, 300, 0)
    assert server.stats()["received"] == 300
    for name, reply in first.replies.items():
        assert again.replies[name].from_journal
        assert again.replies[name].text == reply.text == f"ticket {name.split('/')[1]}"
        assert again.replies[name].latency_s == reply.latency_s


def test_equal_requests_are_sent_once_and_replicates_are_not_equal(sandbox, run, make_request) -> None:
    server, here = sandbox(latency="20ms")
    same = [make_request(here, i % 5) for i in range(200)]
    for number, request in enumerate(same):
        object.__setattr__(request, "candidate", f"c{number}")
    result = run([*same, *(make_request(here, 1, replicate=k) for k in range(1, 4))])
    assert result.error is None
    assert len(result.replies) == 203
    assert server.stats()["received"] == result.counts.sent == 8
    assert result.counts.from_journal == 195


def test_r25_the_ceiling_holds_at_sixty_four_at_once_and_a_larger_one_resumes(
    sandbox, run, make_request, journal_path
) -> None:
    server, here = sandbox(latency="5ms")
    model = "echo-priced"
    one = run([make_request(here, 0, model)]).counts.spent_usd
    assert one > 0
    for ceiling in (one * 60, one * 100):
        before = server.stats()["billed"]
        with Journal.open(journal_path) as journal:
            already = journal.spent("run")
        result = run((make_request(here, i, model) for i in range(400)), budget=Budget(usd=ceiling, already=already))
        assert isinstance(result.error, BudgetReachedError)
        assert result.error.exit_code == 40
        billed = server.stats()["billed"]
        assert billed > before
        paid = server.stats()["prompt_tokens"] * 1e-6 + server.stats()["completion_tokens"] * 4e-6
        assert paid <= ceiling + 1e-9
        # and it is used up but for less than one call's highest cost
        assert paid > ceiling - one * 30
        assert result.counts.answered == billed - before


def test_a_ceiling_on_tokens_holds_at_sixty_four_at_once(sandbox, run, make_request) -> None:
    server, here = sandbox(latency="5ms", faults=["no_usage:0.1", "truncated:0.1"])
    result = run((make_request(here, i) for i in range(400)), budget=Budget(tokens=10_000))
    assert isinstance(result.error, BudgetReachedError)
    stats = server.stats()
    assert 0 < stats["prompt_tokens"] + stats["completion_tokens"] <= 10_000
    assert result.engine.budget.spent.tokens <= 10_000


def test_a_ceiling_on_calls_counts_perhaps_paid_ones(sandbox, run, make_request) -> None:
    server, here = sandbox(faults=["drop:0.3"])
    result = run((make_request(here, i) for i in range(100)), FAST, Budget(calls=40))
    assert isinstance(result.error, BudgetReachedError)
    assert server.stats()["billed"] == result.counts.answered + result.counts.perhaps_paid == 40


def test_r25_an_unknown_price_under_a_ceiling_in_money_is_refused_before_the_first_call(
    server, run, make_request, completion
) -> None:
    seen = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(await request.read())
        return web.json_response(completion(model="gpt-4o-mini"))

    gpu = server(handler)
    requests = [make_request(gpu, i, "gpt-4o-mini") for i in range(10)]
    result = run(requests, budget=Budget(usd=1.0))
    assert isinstance(result.error, UnknownPriceError)
    assert result.error.exit_code == 10
    assert (result.error.fact.model, result.error.fact.endpoint) == ("gpt-4o-mini", "gpu")
    assert not seen
    assert run(requests, budget=Budget(usd=1.0, calls=100)).error is None
    assert len(seen) == 10


def test_missing_usage_counts_at_the_highest_cost(sandbox, run, make_request, journal_path) -> None:
    _, here = sandbox(faults=["no_usage"])
    result = run([make_request(here, 1, "echo-priced")], budget=Budget(usd=1.0))
    reply = result.replies["zero/1/0"]
    assert (reply.state, reply.cost_usd, reply.n_tokens_in) == ("answer", None, None)
    price = Prices().of(make_request(here, 1, "echo-priced"))
    assert price is not None
    highest = price.highest_usd(make_request(here, 1, "echo-priced").max_tokens_in, 20)
    assert result.counts.spent_usd == pytest.approx(highest)
    with Journal.open(journal_path) as journal:
        assert journal.spent("run").usd == pytest.approx(highest)


def test_the_intent_is_committed_before_the_request_is_sent(server, run, make_request, completion, journal_path):
    seen: list[int] = []

    async def handler(_: web.BaseRequest) -> web.Response:
        with sqlite3.connect(journal_path) as other:
            (count,) = other.execute("SELECT COUNT(*) FROM intent").fetchone()
        other.close()
        seen.append(count)
        return web.json_response(completion(model="echo"))

    gpu = server(handler)
    result = run((make_request(gpu, i) for i in range(30)), EngineSettings(concurrency=1))
    assert result.error is None
    assert seen == list(range(1, 31))


def test_a_reply_is_delivered_only_when_it_is_committed(sandbox, run, make_request, journal_path) -> None:
    _, here = sandbox()

    def look(request, reply) -> None:
        with Journal.open(journal_path) as journal:
            assert request.key in journal.lookup([request.key])

    assert run((make_request(here, i) for i in range(20)), on_reply=look).error is None


def test_r15_a_stop_drains_what_is_in_flight(sandbox, run, make_request) -> None:
    server, here = sandbox(latency="100ms")
    stop = StopFlag()

    def requests():
        for i in itertools.count():
            if i == 200:
                stop.set(15)
            yield make_request(here, i)

    result = run(requests(), EngineSettings(concurrency=32), stop=stop)
    assert isinstance(result.error, StoppedError)
    assert result.error.exit_code == 143
    stats = server.stats()
    assert len(result.replies) == result.counts.answered == stats["received"] == stats["answered"] > 0
    assert result.counts.perhaps_paid == 0
    again = run((make_request(here, i) for i in range(len(result.replies))), EngineSettings(concurrency=32))
    assert again.counts.sent + again.counts.from_journal == len(result.replies)
    assert server.stats()["distinct"] == server.stats()["billed"]


def test_a_drain_ends_after_its_time_and_says_what_may_have_been_paid(sandbox, run, make_request, journal_path):
    _, here = sandbox(faults=["hang:nth=6+8"])
    stop = StopFlag()
    settings = EngineSettings(concurrency=8, drain_s=0.3)
    start = time.monotonic()

    def note(request, reply) -> None:
        if request.example_id == "30":
            stop.set()

    result = run((make_request(here, i) for i in range(10_000)), settings, on_reply=note, stop=stop)
    assert isinstance(result.error, StoppedError)
    assert result.error.exit_code == 130
    assert time.monotonic() - start < 10
    assert result.counts.perhaps_paid == 2
    with Journal.open(journal_path) as journal:
        assert len(journal.perhaps_paid("run")) == 2


def test_a_flag_that_is_already_set_sends_nothing(sandbox, run, make_request) -> None:
    server, here = sandbox()
    stop = StopFlag()
    stop.set()
    assert isinstance(run((make_request(here, i) for i in range(100)), stop=stop).error, StoppedError)
    assert server.stats()["received"] == 0


@pytest.mark.parametrize("where", ["requests", "on_reply", "on_reply_hit"])
def test_an_error_of_the_caller_ends_the_run_in_good_order(sandbox, run, make_request, where: str) -> None:
    server, here = sandbox()
    if where == "on_reply_hit":
        run(make_request(here, i) for i in range(100))

    def requests():
        for i in range(1000):
            if where == "requests" and i == 100:
                raise ZeroDivisionError
            yield make_request(here, i)

    def on_reply(request, reply) -> None:
        if where != "requests" and request.example_id == "50":
            raise ZeroDivisionError

    result = run(requests(), on_reply=on_reply)
    assert isinstance(result.error, ZeroDivisionError)
    again = run(make_request(here, i) for i in range(200))
    assert again.error is None
    assert server.stats()["distinct"] == server.stats()["billed"]


def test_a_missing_key_is_told_before_anything_is_sent(server, run, make_request, monkeypatch) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        raise AssertionError

    monkeypatch.delenv("GPU_KEY", raising=False)
    gpu = server(handler, key_env="GPU_KEY")
    result = run(make_request(gpu, i) for i in range(10))
    assert isinstance(result.error, UsageError)
    assert result.error.exit_code == 2
    assert "GPU_KEY" in str(result.error)
    assert result.counts.sent == 0


def test_progress_is_told_at_most_ten_times_a_second(sandbox, run, make_request) -> None:
    _, here = sandbox(latency="20ms")
    shown = []
    start = time.monotonic()
    result = run((make_request(here, i) for i in range(200)), EngineSettings(concurrency=8), progress=shown.append)
    wall = time.monotonic() - start
    assert result.error is None
    assert 2 <= len(shown) <= wall * 10 + 2
    assert shown[-1].done == 200
    assert shown[-1].in_flight == 0
    assert any(snapshot.in_flight > 0 for snapshot in shown)


def test_requests_are_read_as_they_are_needed_and_memory_stays_flat(sandbox, make_request, tmp_path) -> None:
    _, here = sandbox()
    read = done = 0
    ahead: list[int] = []

    def requests(n: int):
        nonlocal read
        for i in range(n):
            read += 1
            ahead.append(read - done)
            yield make_request(here, i)

    def count(request, reply) -> None:
        nonlocal done
        done += 1

    def peak(n: int, path) -> int:
        nonlocal read, done
        read = done = 0
        gc.collect()
        tracemalloc.start()
        with Journal.open(path) as journal:
            asyncio.run(Engine(journal, Prices(), Budget(), run_id="r").answer(requests(n), count))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small, large = peak(300, tmp_path / "a.db"), peak(1200, tmp_path / "b.db")
    assert done == 1200
    assert max(ahead) <= 64 * 5
    assert large < small + 1_500_000
