"""Those who share a journal pay for a key once: one asks, the others wait and read, and death hands over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from safetycatch.calls import (
    Budget,
    Endpoint,
    Engine,
    EngineSettings,
    Fault,
    Journal,
    Prices,
    Reply,
    Request,
    StopFlag,
)
from safetycatch.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

YES = Reply("answer", "yes", "m", 1, 0, 1, 0.25)
BOUND: dict[str, Any] = {"max_cost_usd": 0.5, "max_tokens": 100}


def request(i: int) -> Request:
    return Request(
        Endpoint("gpu", "direct", "http://gpu/v1"),
        {"model": "m", "messages": [{"role": "user", "content": str(i)}]},
        "c",
        str(i),
    )


@pytest.fixture(params=["one journal", "two journals"])
def pair(request, journal_path) -> Iterator[tuple[Journal, Journal]]:
    """What two runs of one process hold."""
    with Journal.open(journal_path) as first, Journal.open(journal_path) as second:
        yield first, first if request.param == "one journal" else second


def test_a_key_is_one_asker_s_until_it_is_answered(pair) -> None:
    first, second = pair
    mine, other = first.asker(), second.asker() + 1

    async def go() -> None:
        intent = await first.intent(request(1), "a", asker=mine, **BOUND)
        assert isinstance(intent, int)
        assert await second.intent(request(1), "b", asker=other, **BOUND) is None
        assert isinstance(await second.intent(request(2), "b", asker=other, **BOUND), int)
        await first.answer(intent, request(1), "a", YES, asker=mine)
        reply = await second.intent(request(1), "b", asker=other, **BOUND)
        assert isinstance(reply, Reply)
        assert (reply.text, reply.from_journal) == ("yes", True)
        assert not second.select("SELECT * FROM intent WHERE run_id = 'b' AND example_id = '1'")

    asyncio.run(go())


def test_a_retry_keeps_the_key_and_the_end_frees_it(pair) -> None:
    first, second = pair
    mine, other = first.asker(), second.asker() + 1

    async def go() -> None:
        for attempt in (1, 2):
            intent = await first.intent(request(1), "a", asker=mine, attempt=attempt, **BOUND)
            assert isinstance(intent, int)
            await first.fault(intent, request(1), "a", Fault("retry", "http_500"))
            assert await second.intent(request(1), "b", asker=other, **BOUND) is None
        second.release(request(1), other)
        await second.flush()
        assert second.asked(request(1).key)
        first.release(request(1), mine)
        await first.flush()
        assert await second.settled(request(1).key) is None
        assert isinstance(await second.intent(request(1), "b", asker=other, **BOUND), int)

    asyncio.run(go())


def test_an_invalid_reply_frees_the_key_to_be_asked_again(pair) -> None:
    first, second = pair

    async def go() -> None:
        intent = await first.intent(request(1), "a", asker=1, **BOUND)
        await first.answer(intent, request(1), "a", Reply("invalid", None, "other"), asker=1)
        assert isinstance(await second.intent(request(1), "b", asker=2, **BOUND), int)

    asyncio.run(go())


def test_who_waits_gets_the_reply(pair) -> None:
    first, second = pair

    async def go() -> None:
        intent = await first.intent(request(1), "a", asker=1, **BOUND)
        waiting = asyncio.create_task(second.settled(request(1).key))
        await asyncio.sleep(0)
        await first.answer(intent, request(1), "a", YES, asker=1)
        reply = await asyncio.wait_for(waiting, 10)
        assert reply is not None
        assert reply.text == "yes"

    asyncio.run(go())


# -- engines ------------------------------------------------------------------------------------------------------


def engine_on(journal: Journal) -> Engine:
    return Engine(journal, Prices(), Budget(), EngineSettings(concurrency=8), run_id="run")


def test_who_waits_long_says_so_once_and_says_when_it_goes_on(journal_path, sandbox, make_request) -> None:
    _, here = sandbox(latency="1500ms")
    said: list[str] = []

    async def go(first: Journal, second: Journal) -> None:
        for i in (1, 2):
            await first.intent(make_request(here, i), "a", asker=1, **BOUND)

        def say(text: str) -> None:
            said.append(text)
            for i in (1, 2):
                first.release(make_request(here, i), 1)

        engine = Engine(second, Prices(), Budget(), run_id="run", say=say)
        counts = await asyncio.wait_for(engine.answer([make_request(here, i) for i in (1, 2)], lambda *_: None), 30)
        assert counts.answered == 2

    with Journal.open(journal_path) as first, Journal.open(journal_path) as second:
        asyncio.run(go(first, second))
    assert said == ["waits for 2 of its calls, which another process, run or candidate asks for", "goes on"]


def test_who_waits_holds_up_nobody_and_nothing_and_can_be_stopped(journal_path, sandbox, make_request) -> None:
    server, here = sandbox()
    budget, stop = Budget(calls=2), StopFlag()

    async def go(first: Journal, second: Journal) -> None:
        await first.intent(make_request(here, 1), "a", asker=1, **BOUND)
        answered = asyncio.Event()
        engine = Engine(second, Prices(), budget, EngineSettings(concurrency=1), run_id="run", stop=stop)
        requests = [make_request(here, i) for i in (1, 2)]
        answering = asyncio.create_task(engine.answer(requests, lambda *_: answered.set()))
        await asyncio.wait_for(answered.wait(), 10)
        assert budget.spent.calls == 1
        assert budget.try_reserve(0, 0)
        stop.set(signal.SIGTERM)
        with pytest.raises(StoppedError):
            await asyncio.wait_for(answering, 10)
        assert (engine.counts.sent, engine.counts.answered, engine.counts.perhaps_paid) == (1, 1, 0)

    with Journal.open(journal_path) as first, Journal.open(journal_path) as second:
        asyncio.run(go(first, second))
        assert [call.example_id for call in first.perhaps_paid()] == ["1"]
    assert server.stats()["received"] == 1


def test_two_engines_of_one_process_pay_once(pair, sandbox, make_request) -> None:
    server, here = sandbox(latency="20ms")
    engines = [engine_on(journal) for journal in pair]
    replies: list[list[Reply]] = [[], []]

    def answer(i: int) -> None:
        requests = (make_request(here, n) for n in range(100))
        asyncio.run(engines[i].answer(requests, lambda _, reply: replies[i].append(reply)))

    threads = [threading.Thread(target=answer, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = server.stats()
    assert stats["billed"] == stats["distinct"] == 100
    assert [len(got) for got in replies] == [100, 100]
    assert sum(reply.from_journal for got in replies for reply in got) == 100
    counts = [engine.counts for engine in engines]
    assert sum(one.sent for one in counts) == sum(one.answered for one in counts) == 100
    assert sum(one.from_journal for one in counts) == 100


def test_what_the_first_cannot_get_the_second_asks_for(pair, sandbox, make_request) -> None:
    server, here = sandbox(faults=["400:nth=1"], latency="20ms")

    async def go() -> list[Reply]:
        got: list[Reply] = []
        answering = [
            engine_on(journal).answer([make_request(here, 1)], lambda _, reply: got.append(reply)) for journal in pair
        ]
        await asyncio.gather(*answering, return_exceptions=True)
        return got

    assert sorted(reply.state for reply in asyncio.run(go())) == ["answer", "error"]
    assert server.stats()["received"] == 2


# -- processes ----------------------------------------------------------------------------------------------------

ASK = """
import asyncio, json, sys
from pathlib import Path
from safetycatch.calls import Budget, Endpoint, Engine, EngineSettings, Journal, Prices, Request

url, path, run_id, keys = *sys.argv[1:4], json.loads(sys.argv[4])

def requests():
    for i in keys:
        body = {"model": "echo-priced", "messages": [{"role": "user", "content": f"ticket {i}"}], "max_tokens": 20}
        yield Request(Endpoint("sandbox", "direct", url), body, "zero", str(i), 0, 20)

answered = []
def on_reply(request, reply):
    assert reply.text == "ticket " + request.example_id
    answered.append(int(request.example_id))
    if len(answered) == 60:
        print("going", flush=True)

with Journal.open(Path(path)) as journal:
    print("open", flush=True)
    engine = Engine(journal, Prices(), Budget(usd=5), EngineSettings(concurrency=32), run_id=run_id)
    asyncio.run(engine.answer(requests(), on_reply))
counts = engine.counts
print(json.dumps({"answered": sorted(answered), "sent": counts.sent, "hits": counts.from_journal}), flush=True)
"""
IN_FLIGHT = 32 + 4  # an eighth waits with its intent committed


@pytest.fixture
def ask(journal_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that asks for some keys in a run of its own."""
    started: list[subprocess.Popen[str]] = []

    def go(url: str, run_id: str, keys: list[int]) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", ASK, url, str(journal_path), run_id, json.dumps(keys)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.communicate()


def says(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    while (line := process.stdout.readline()) != f"{word}\n":
        assert line, "it ended"


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=60)
    assert not err, err
    return json.loads(out.strip().splitlines()[-1])


@pytest.mark.parametrize(("n_processes", "n"), [(2, 200), (8, 100)])
def test_r04_processes_that_ask_the_same_pay_once_and_all_get_it(sandbox, ask, n_processes, n) -> None:
    server, here = sandbox(latency="50ms")
    results = [ended(p) for p in [ask(here.base_url, f"run-{i}", list(range(n))) for i in range(n_processes)]]
    stats = server.stats()
    assert stats["billed"] == stats["distinct"] == stats["received"] == n
    assert all(result["answered"] == list(range(n)) for result in results)
    assert sum(result["sent"] for result in results) == n
    assert sum(result["hits"] for result in results) == (n_processes - 1) * n


def test_r01_after_a_kill_the_other_takes_over(sandbox, ask, journal_path) -> None:
    server, here = sandbox(latency="100ms")
    keys = list(range(200))
    payer = ask(here.base_url, "payer", keys)
    says(payer, "going")
    other = ask(here.base_url, "other", keys)
    says(other, "open")
    killed(payer)
    assert ended(other)["answered"] == keys
    stats = server.stats()
    assert stats["distinct"] == 200
    assert stats["billed"] - 200 <= IN_FLIGHT
    with Journal.open(journal_path) as journal:
        perhaps = journal.perhaps_paid("payer")
        assert stats["billed"] - 200 <= len(perhaps) <= IN_FLIGHT
        assert not journal.perhaps_paid("other")
        assert not journal.select("SELECT * FROM claim")
        assert journal.writers.names() == [journal._writer.name]


def test_a_stopped_payer_keeps_what_it_asks_for(sandbox, ask, journal_path) -> None:
    server, here = sandbox(latency="100ms")
    keys = list(range(200))
    payer = ask(here.base_url, "payer", keys)
    says(payer, "going")
    payer.send_signal(signal.SIGSTOP)
    with Journal.open(journal_path) as journal:
        asked = journal.select("SELECT i.example_id FROM claim c JOIN intent i ON i.call_key = c.call_key")
        other = ask(here.base_url, "other", [int(key) for (key,) in asked])
        says(other, "open")
        received = settled_count(server)
        # Long enough for one that did not wait to be done ten times over.
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(timeout=1.5)
        assert server.stats()["received"] == received
    payer.send_signal(signal.SIGCONT)
    assert ended(other)["hits"] == len(asked) > 0
    assert ended(payer)["answered"] == keys
    stats = server.stats()
    assert stats["billed"] == stats["distinct"] == stats["received"] == 200


def settled_count(server: Any) -> int:
    """Requests received, once those that a stopped process had written are read."""
    before = -1
    while (now := server.stats()["received"]) != before or server.stats()["in_flight"]:
        before = now
        time.sleep(0.2)
    return now


# -- what the dead leave -----------------------------------------------------------------------------------------

CLAIM = """
import asyncio, sys, time
from pathlib import Path
from safetycatch.calls import Endpoint, Journal, Request

async def go():
    journal = Journal.open(Path(sys.argv[1]))
    body = {"model": "m", "messages": [{"role": "user", "content": "1"}]}
    request = Request(Endpoint("gpu", "direct", "http://gpu/v1"), body, "c", "1")
    await journal.intent(request, "dead", max_cost_usd=0.5, max_tokens=100)
    print("claimed", flush=True)
    time.sleep(60)

asyncio.run(go())
"""


@pytest.fixture
def claimant(journal_path) -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed request 1."""
    process = subprocess.Popen([sys.executable, "-c", CLAIM, str(journal_path)], stdout=subprocess.PIPE, text=True)
    says(process, "claimed")
    yield process
    process.kill()
    process.communicate()


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_r05_a_dead_writer_s_claims_are_taken_over_at_once(journal_path, claimant) -> None:
    async def go() -> None:
        with Journal.open(journal_path) as journal:
            assert await journal.intent(request(1), "run", **BOUND) is None
            killed(claimant)
            assert await journal.settled(request(1).key) is None
            assert isinstance(await journal.intent(request(1), "run", **BOUND), int)
            assert journal.writers.names() == [journal._writer.name]

    asyncio.run(go())


def test_opening_sweeps_what_dead_writers_left(journal_path, claimant) -> None:
    with Journal.open(journal_path) as journal:
        assert len(journal.writers.names()) == 2
        killed(claimant)
        assert journal.select("SELECT * FROM claim")
    with Journal.open(journal_path) as journal:
        assert not journal.select("SELECT * FROM claim")
        assert journal.writers.names() == [journal._writer.name]
    assert not journal.writers.names()


def test_a_forked_child_keeps_no_claim_of_a_dead_parent(journal_path) -> None:
    script = CLAIM.replace(
        'print("claimed", flush=True)', 'import os; child = os.fork(); os.write(1, b"%d\\n" % child)'
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(journal_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = {int(process.stdout.readline()) for _ in range(2)} - {0}
    try:
        with Journal.open(journal_path) as journal:
            assert journal.asked(request(1).key)
            killed(process)
            assert not journal.asked(request(1).key)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        process.communicate()


def test_a_writer_s_name_from_the_database_leads_to_no_other_file(journal_path, tmp_path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("x")
    with Journal.open(journal_path) as journal:
        journal._writing.execute("INSERT INTO claim VALUES (?, '../../victim', 0, 0)", (request(1).key,))
        assert not journal.asked(request(1).key)
        assert isinstance(asyncio.run(journal.intent(request(1), "run", **BOUND)), int)
    assert victim.read_text() == "x"
