from __future__ import annotations

import pytest
from aiohttp import web

from safetycatch.calls import Endpoint, EngineSettings
from safetycatch.errors import ProviderUnusableError

SETTINGS = EngineSettings(concurrency=8, attempts=4, backoff_s=0.01, connect_s=5, read_s=60)


@pytest.fixture
def through(monkeypatch):
    monkeypatch.setenv("LOCAL_KEY", "sk-1234567890")
    return lambda endpoint: Endpoint("proxy", "litellm", endpoint.base_url, "LOCAL_KEY")


def test_answers_usage_and_resume_through_litellm(sandbox, run, make_request, through) -> None:
    server, plain = sandbox()
    here = through(plain)
    result = run((make_request(here, i, "openai/echo") for i in range(20)), SETTINGS)
    assert result.error is None
    assert result.states() == {"answer": 20}
    reply = result.replies["zero/7/0"]
    assert reply.text == "ticket 7"
    assert reply.model_returned == "echo"
    assert reply.n_tokens_in is not None
    assert reply.n_tokens_in > 0
    assert reply.cost_usd is None
    assert run((make_request(here, i, "openai/echo") for i in range(20)), SETTINGS).counts.sent == 0
    assert server.stats()["received"] == 20


@pytest.mark.parametrize("fault", ["500", "503", "drop", "truncated", "empty"])
def test_passing_faults_are_tried_again_by_us_alone(sandbox, run, make_request, through, fault: str) -> None:
    server, plain = sandbox(faults=[f"{fault}:attempts=2"])
    result = run((make_request(through(plain), i, "openai/echo") for i in range(5)), SETTINGS)
    assert result.error is None
    assert result.states() == {"answer": 5}
    assert result.counts.sent == server.stats()["received"] == 15


def test_a_429_waits_as_long_as_it_says_and_uses_up_no_attempt(sandbox, run, make_request, through) -> None:
    server, plain = sandbox(faults=["429:times=10,seconds=0.05"])
    settings = EngineSettings(concurrency=4, attempts=1)
    result = run((make_request(through(plain), i, "openai/echo") for i in range(8)), settings)
    assert result.error is None
    assert result.states() == {"answer": 8}
    assert server.stats()["faults"]["429"] == 10


@pytest.mark.parametrize(
    ("fault", "error_class"), [("401", "unauthorised"), ("404", "not_found"), ("insufficient_quota", "no_credit")]
)
def test_a_closed_lane_stops_the_run(sandbox, run, make_request, through, fault: str, error_class: str) -> None:
    server, plain = sandbox(faults=[fault])
    result = run((make_request(through(plain), i, "openai/echo") for i in range(50)), EngineSettings(concurrency=2))
    assert isinstance(result.error, ProviderUnusableError)
    assert error_class in str(result.error)
    assert server.stats()["received"] <= 4


def test_a_row_that_cannot_succeed_is_an_error(sandbox, run, make_request, through) -> None:
    server, plain = sandbox(faults=["400"])
    result = run([make_request(through(plain), 1, "openai/echo")], SETTINGS)
    assert result.replies["zero/1/0"].error_class == "context_length"
    assert server.stats()["received"] == 1


def test_a_hang_ends_at_our_deadline(sandbox, run, make_request, through) -> None:
    _, plain = sandbox(faults=["hang:nth=1"])
    # The first call through LiteLLM imports more of it, which takes seconds on a busy machine.
    run([make_request(through(plain), 0, "openai/unknown")], SETTINGS)
    settings = EngineSettings(attempts=4, backoff_s=0.01, connect_s=1, read_s=1)
    result = run([make_request(through(plain), 1, "openai/echo")], settings)
    assert result.replies["zero/1/0"].state == "answer"
    assert result.counts.perhaps_paid == 1


def test_unknown_parameters_and_the_base_reach_the_server(server, run, make_request, through, completion) -> None:
    seen = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(await request.json())
        return web.json_response(completion(model="m-2024-01-01"))

    result = run([make_request(through(server(handler)), 1, "openai/m", temperature=0.5, seed=3)], SETTINGS)
    assert result.error is None
    assert result.states() == {"answer": 1}
    assert {"model": "m", "temperature": 0.5, "seed": 3, "max_tokens": 20}.items() <= seen[0].items()


def test_nothing_is_printed_and_no_price_is_fetched(sandbox, run, make_request, through, capfd) -> None:
    _, plain = sandbox(faults=["500:times=2"])
    assert run([make_request(through(plain), 1, "openai/echo")], SETTINGS).error is None
    out, _ = capfd.readouterr()
    assert out == ""
