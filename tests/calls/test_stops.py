"""A real process is killed, stopped and started again; the sandbox counts what a provider would bill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from safetycatch.calls import Journal, Prices, Request, StopFlag, install
from tasks.session import stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

N = 400
RUN = """
import asyncio, json, os, sys
from pathlib import Path
from safetycatch.calls import Budget, Endpoint, Engine, EngineSettings, Journal, Prices, Request, install
from safetycatch.errors import SafetycatchError

def main(url, path, n):
    here = Endpoint("sandbox", "direct", url)
    def requests():
        for i in range(n):
            body = {"model": "echo-priced", "messages": [{"role": "user", "content": f"ticket {i}"}], "max_tokens": 20}
            yield Request(here, body, "zero", str(i), 0, 20)
    answered = []
    def on_reply(request, reply):
        assert reply.text == "ticket " + request.example_id
        answered.append(request.example_id)
        if len(answered) == 60:
            print("going", flush=True)
    code = 0
    with install() as stop, Journal.open(Path(path)) as journal:
        stop.listen(lambda: os.write(1, b"stopping\\n"))
        budget = Budget(usd=float(sys.argv[4]), already=journal.spent("run"))
        engine = Engine(journal, Prices(), budget, EngineSettings(concurrency=32), run_id="run", stop=stop)
        try:
            asyncio.run(engine.answer(requests(), on_reply))
        except SafetycatchError as error:
            code = error.exit_code
        counts = engine.counts
    print(json.dumps({"answered": answered, "sent": counts.sent, "hits": counts.from_journal}), flush=True)
    return code

sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.fixture
def start(journal_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def go(url: str, usd: float = 5.0) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", RUN, url, str(journal_path), str(N), str(usd)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.communicate()


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=60)
    assert not err, err
    return json.loads(out.strip().splitlines()[-1])


def test_r01_after_a_kill_no_answered_call_is_repeated_and_the_rest_is_listed(sandbox, start, journal_path) -> None:
    server, here = sandbox(latency="100ms")
    process = start(here.base_url)
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    process.kill()
    process.communicate()
    with Journal.open(journal_path) as journal:
        perhaps = journal.perhaps_paid("run")
        spent = journal.spent("run")
        (answered,) = journal.select("SELECT COUNT(*) FROM answer")[0]
    assert answered >= 60
    # 32 in flight, and an eighth of that waits with its intent committed
    assert 0 < len(perhaps) <= 32 + 4
    assert all(call.max_cost_usd and call.max_cost_usd > 0 for call in perhaps)
    assert spent.perhaps_usd == pytest.approx(sum(call.max_cost_usd or 0 for call in perhaps))
    # every request that reached the provider is either answered or listed
    billed = server.stats()["billed"]
    assert answered <= billed <= answered + len(perhaps)
    again = start(here.base_url)
    result = finished(again)
    assert again.returncode == 0
    assert sorted(map(int, result["answered"])) == list(range(N))
    assert result["hits"] == answered
    assert result["sent"] == N - answered
    stats = server.stats()
    assert stats["distinct"] == N
    assert stats["billed"] - N <= 32
    assert stats["most_in_flight"] <= 32
    with Journal.open(journal_path) as journal:
        assert journal.perhaps_paid("run") == perhaps


def test_r25_a_ceiling_holds_through_kills(sandbox, start, journal_path) -> None:
    server, here = sandbox(latency="100ms")
    price = Prices().of(Request(here, {"model": "echo-priced"}, "", ""))
    assert price is not None
    usd = 300 * price.cost_usd(6, 3)
    for _ in range(2):
        process = start(here.base_url, usd)
        while process.stdout.readline() not in {"going\n", ""}:
            pass
        process.kill()
        process.communicate()
    with Journal.open(journal_path) as journal:
        assert journal.perhaps_paid("run")
    process = start(here.base_url, usd)
    finished(process)
    assert process.returncode == 40
    stats = server.stats()
    paid = price.cost_usd(stats["prompt_tokens"], stats["completion_tokens"])
    with Journal.open(journal_path) as journal:
        # what the kills left open counts at its highest cost, so that less than the ceiling may be paid, never more
        assert 0 < paid <= journal.spent("run").usd <= usd + 1e-9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_r15_a_signal_drains_and_the_next_run_pays_nothing_twice(sandbox, start, journal_path, number: int) -> None:
    server, here = sandbox(latency="100ms")
    process = start(here.base_url)
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    process.send_signal(number)
    first = finished(process)
    assert process.returncode == 128 + number
    assert 60 <= len(first["answered"]) < N
    assert server.stats()["billed"] == len(first["answered"])
    second = finished(start(here.base_url))
    assert second["hits"] == len(first["answered"])
    stats = server.stats()
    assert stats["billed"] == stats["distinct"] == stats["received"] == N
    with Journal.open(journal_path) as journal:
        assert not journal.perhaps_paid()


def test_a_second_signal_leaves_at_once(sandbox, start, journal_path) -> None:
    server, here = sandbox(faults=["hang:nth=70"])
    process = start(here.base_url)
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    while server.stats()["received"] < 70:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143
    process.communicate()
    with Journal.open(journal_path) as journal:
        assert len(journal.perhaps_paid()) >= 1


def test_the_first_signal_sets_the_flag_and_the_second_leaves_with_its_number() -> None:
    left: list[int] = []
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with install(leave=left.append) as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM
        assert not left
        os.kill(os.getpid(), signal.SIGINT)
        assert left == [130]
        assert stop.signal_number == signal.SIGTERM
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_listeners_are_called_once_and_can_leave() -> None:
    stop, heard = StopFlag(), []
    end = stop.listen(lambda: heard.append("left"))
    stop.listen(lambda: heard.append("stays"))
    end()
    stop.set(2)
    stop.set(15)
    stop.listen(lambda: heard.append("late"))
    assert heard == ["stays", "late"]
    assert stop.signal_number == 2


def test_outside_the_main_thread_nothing_is_installed() -> None:
    found: list[bool] = []

    def inside() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with install() as stop:
            found.append(signal.getsignal(signal.SIGTERM) == before and not stop)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [True]


@pytest.mark.parametrize(
    ("n_calls", "told"),
    [
        (0, "nothing new is sent; no call is under way; once more leaves at once"),
        (1, "nothing new is sent; waits up to 60 s for 1 call under way; once more leaves at once"),
        (1200, "nothing new is sent; waits up to 60 s for 1,200 calls under way; once more leaves at once"),
    ],
)
def test_a_stop_says_how_long_it_waits_and_for_what(n_calls: int, told: str) -> None:
    assert stopping(n_calls) == told
