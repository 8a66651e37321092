from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from safetycatch.calls import Budget, Endpoint, EngineSettings, Prices, Request
from safetycatch.errors import UsageError

APP = Endpoint("app", "function")


def row(i: int, name: str = "app:route", **more: Any) -> Request:
    body = {"function": name, "source_sha256": "0" * 64, "row": {"input": f"ticket {i}"} | more}
    return Request(APP, body, "app", str(i))


def go(run, function, n: int = 20, **more: Any):
    return run((row(i) for i in range(n)), functions={"app:route": function}, **more)


def test_a_synchronous_function_runs_in_threads(run) -> None:
    barrier = threading.Barrier(8, timeout=10)

    def route(row: dict[str, str]) -> str:
        barrier.wait()
        return row["input"].upper()

    result = go(run, route, 16, settings=EngineSettings(concurrency=8))
    assert result.error is None
    assert {reply.text for reply in result.replies.values()} == {f"TICKET {i}" for i in range(16)}
    assert go(run, route, 16).counts.sent == 0


def test_an_asynchronous_function_and_its_cost(run) -> None:
    async def route(row: dict[str, str]) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"output": row["input"], "cost_usd": 0.25}

    result = go(run, route, budget=Budget(calls=100))
    assert result.error is None
    assert result.counts.spent_usd == 5.0
    assert result.replies["app/3/0"].cost_usd == 0.25


def test_the_source_and_the_row_are_in_the_key() -> None:
    assert row(1).key != row(2).key
    other = row(1)
    other.body["source_sha256"] = "1" * 64
    assert other.key != row(1).key


def test_an_exception_is_an_error_of_its_class_and_not_tried_again(run, monkeypatch) -> None:
    monkeypatch.setenv("APP_API_KEY", "sk-canary-0123456789abcdef")
    calls: list[int] = []

    def route(row: dict[str, str]) -> str:
        calls.append(1)
        raise ValueError("the key sk-canary-0123456789abcdef is wrong")

    result = go(run, route, 1)
    reply = result.replies["app/0/0"]
    assert (reply.state, reply.error_class, len(calls)) == ("error", "function:ValueError", 1)
    assert reply.error_text == "ValueError: the key [key] is wrong"
    assert go(run, lambda row: "yes", 1).replies["app/0/0"].text == "yes"


def test_a_passing_exception_is_tried_again(run) -> None:
    calls: list[int] = []

    def route(row: dict[str, str]) -> str:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionResetError
        return "yes"

    result = go(run, route, 1, settings=EngineSettings(backoff_s=0.01))
    assert result.replies["app/0/0"].text == "yes"
    assert result.counts.retried == 2


@pytest.mark.parametrize(
    "returned",
    [None, 7, ["yes"], {}, {"output": None}, {"output": "yes", "cost_usd": -1}, {"output": "yes", "cost_usd": "1"}],
)
def test_what_is_no_output_is_invalid(run, returned: object) -> None:
    result = go(run, lambda row: returned, 1)
    reply = result.replies["app/0/0"]
    assert (reply.state, reply.error_class) == ("invalid", "bad_return")
    assert result.counts.invalid == 1


def test_a_function_cannot_change_what_its_key_stands_for(run) -> None:
    def route(row: dict[str, Any]) -> str:
        row["input"] = "changed"
        return "yes"

    requests = [row(0)]
    before = requests[0].key
    run(requests, functions={"app:route": route})
    assert row(0).key == before
    assert requests[0].body["row"]["input"] == "ticket 0"


def test_a_function_that_hangs_is_an_error_and_not_called_again(run) -> None:
    calls: list[int] = []
    release = threading.Event()

    def route(row: dict[str, str]) -> str:
        calls.append(1)
        release.wait(10)
        return "late"

    start = time.monotonic()
    result = go(run, route, 1, settings=EngineSettings(connect_s=0.05, read_s=0.1))
    release.set()
    assert result.replies["app/0/0"].error_class == "hung"
    assert len(calls) == 1
    assert time.monotonic() - start < 5


def test_a_function_that_nobody_passed_is_a_usage_error(run) -> None:
    result = run([row(0, "app:other")], functions={"app:route": str})
    assert isinstance(result.error, UsageError)
    assert "app:other" in str(result.error)


def test_a_price_by_the_call_bounds_a_function(run) -> None:
    prices = Prices({"function/app:route": {"per_call": 0.5}})
    result = go(run, lambda row: "yes", budget=Budget(usd=2.0), prices=prices)
    assert result.error is not None
    assert result.error.exit_code == 40
    assert (result.counts.answered, result.counts.spent_usd) == (4, 2.0)


@pytest.mark.parametrize(
    ("held", "asked", "told"),
    [
        ({"example_id": "1"}, "text", "KeyError: 'text'; the row has the keys input, example_id"),
        ({"input": {"lang": "de", "text": "x"}}, "text", "KeyError: 'text'; the row has the keys input: {lang, text}"),
    ],
)
def test_a_key_that_the_row_does_not_have_is_answered_with_those_it_has(run, held, asked, told) -> None:
    result = run([row(0, **held)], functions={"app:route": lambda given: given[asked]})
    (reply,) = result.replies.values()
    assert (reply.error_class, reply.error_text) == ("function:KeyError", told)


def test_a_key_error_about_something_else_says_nothing_of_the_row(run) -> None:
    result = run([row(0)], functions={"app:route": lambda given: {}["input"]})
    (reply,) = result.replies.values()
    assert reply.error_text == "KeyError: 'input'"
