"""The LiteLLM route against the sandbox, which answers as OpenAI, Azure and Anthropic do."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from aiohttp import web

from safetycatch.calls import Budget, Endpoint, EngineSettings, Prices, Request
from safetycatch.calls.faults import CallFaultError
from safetycatch.calls.transports.litellm import LiteLLM
from safetycatch.errors import BudgetReachedError, ProviderUnusableError, UsageError

SETTINGS = EngineSettings(concurrency=8, attempts=4, backoff_s=0.01, connect_s=5, read_s=60)
PRICES = Prices({"*/echo": {"input_per_m": 1, "output_per_m": 4, "cached_input_per_m": 0.1}})
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
LABEL = {
    "type": "json_schema",
    "json_schema": {
        "name": "label",
        "schema": {
            "type": "object",
            "properties": {"label": {"enum": ["ticket 1", "other"]}},
            "required": ["label"],
            "additionalProperties": False,
        },
    },
}
LONG = [{"type": "text", "text": "p" * 4_800, "cache_control": {"type": "ephemeral"}}]

Route = Callable[[Endpoint], tuple[Endpoint, str]]


@pytest.fixture(params=["openai", "anthropic", "azure"])
def route(request, monkeypatch) -> Route:
    """Return a function from the sandbox's own endpoint to the same server behind LiteLLM, with the model's prefix."""
    monkeypatch.setenv("LOCAL_KEY", "sk-1234567890")
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")

    def through(endpoint: Endpoint) -> tuple[Endpoint, str]:
        base = endpoint.base_url or ""
        base = base if request.param == "openai" else base.removesuffix("/v1")
        return Endpoint(request.param, "litellm", base, "LOCAL_KEY"), f"{request.param}/"

    return through


@pytest.fixture
def anthropic(monkeypatch) -> Route:
    monkeypatch.setenv("LOCAL_KEY", "sk-1234567890")
    return lambda endpoint: (
        Endpoint("anthropic", "litellm", (endpoint.base_url or "").removesuffix("/v1"), "LOCAL_KEY"),
        "anthropic/",
    )


@pytest.fixture
def one(sandbox, run, make_request):
    """Return a function that asks one question through a route, with faults; gives the result and the server."""

    def ask(route: Route, *faults: str, settings: EngineSettings = SETTINGS, model: str = "echo", **params):
        server, plain = sandbox(faults=faults)
        here, prefix = route(plain)
        return run([make_request(here, 1, prefix + model, **params)], settings), server

    return ask


def test_answers_usage_and_resume(sandbox, run, make_request, route) -> None:
    server, plain = sandbox()
    here, prefix = route(plain)
    requests = [make_request(here, i, f"{prefix}echo") for i in range(20)]
    result = run(requests, SETTINGS, prices=PRICES)
    assert result.error is None
    assert result.states() == {"answer": 20}
    reply = result.replies["zero/7/0"]
    assert (reply.text, reply.model_returned) == ("ticket 7", "echo")
    assert (reply.n_tokens_in, reply.n_tokens_out, reply.n_tokens_cached) == (5, 2, 0)
    assert reply.cost_usd == pytest.approx((5 + 4 * 2) / 1e6)
    again = run(requests, SETTINGS, prices=PRICES)
    assert again.counts.sent == 0
    assert again.replies["zero/7/0"].cost_usd == reply.cost_usd
    assert server.stats()["received"] == 20


def test_a_private_servers_price_is_unknown(one, route) -> None:
    assert one(route)[0].replies["zero/1/0"].cost_usd is None


# -- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["500", "503", "529", "drop", "cut", "truncated", "empty", "bad_utf8"])
def test_passing_faults_are_tried_again_by_us_alone(sandbox, run, make_request, route, fault: str) -> None:
    server, plain = sandbox(faults=[f"{fault}:attempts=2"])
    here, prefix = route(plain)
    result = run((make_request(here, i, f"{prefix}echo") for i in range(5)), SETTINGS)
    assert result.error is None
    assert result.states() == {"answer": 5}
    assert result.counts.sent == server.stats()["received"] == 15
    # What the provider refused costs nothing; what broke may have been billed.
    assert result.counts.perhaps_paid == (0 if fault.isdigit() else 10)


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        ("500", "http_500"),
        ("529", "http_529"),
        ("drop", "dropped"),
        ("truncated", "invalid_json"),
        ("bad_utf8", "invalid_utf8"),
        ("400", "context_length"),
        ("wrong_model", "other_model"),
    ],
)
def test_what_failed_has_its_class(one, route, fault: str, error_class: str) -> None:
    result, _ = one(route, fault, settings=EngineSettings(attempts=1))
    assert result.replies["zero/1/0"].error_class == error_class


def test_nobody_there_is_free(run, make_request, route) -> None:
    here, prefix = route(Endpoint("nobody", "direct", "http://127.0.0.1:9/v1"))
    result = run([make_request(here, 1, f"{prefix}echo")], EngineSettings(attempts=2, backoff_s=0.01))
    assert result.replies["zero/1/0"].error_class == "connect"
    assert result.counts.perhaps_paid == 0


def test_a_429_waits_as_long_as_it_says_and_uses_up_no_attempt(sandbox, run, make_request, route) -> None:
    server, plain = sandbox(faults=["429:times=10,seconds=0.05"])
    here, prefix = route(plain)
    settings = EngineSettings(concurrency=4, attempts=1)
    result = run((make_request(here, i, f"{prefix}echo") for i in range(8)), settings)
    assert result.error is None
    assert result.states() == {"answer": 8}
    assert server.stats()["faults"]["429"] == 10


def test_the_rate_in_the_headers_paces_the_lane(sandbox, run, make_request, route) -> None:
    server, plain = sandbox(requests_per_minute=2400, tokens_per_minute=600_000)
    here, prefix = route(plain)
    result = run((make_request(here, i, f"{prefix}echo") for i in range(40)), EngineSettings(concurrency=32))
    assert result.states() == {"answer": 40}
    assert server.stats()["by_status"].get("429", 0) <= 2


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [("401", "unauthorised"), ("403", "forbidden"), ("404", "not_found"), ("insufficient_quota", "no_credit")],
)
def test_a_closed_lane_stops_the_run(sandbox, run, make_request, route, fault: str, error_class: str) -> None:
    server, plain = sandbox(faults=[fault])
    here, prefix = route(plain)
    result = run((make_request(here, i, f"{prefix}echo") for i in range(50)), EngineSettings(concurrency=2))
    assert isinstance(result.error, ProviderUnusableError)
    assert error_class in str(result.error)
    assert server.stats()["received"] <= 4


@pytest.mark.parametrize("fault", ["prompt_filter", "content_filter"])
def test_what_is_filtered_is_a_reply(one, route, fault: str) -> None:
    assert one(route, fault)[0].states() == {"filtered": 1}


def test_a_hang_ends_at_our_deadline(sandbox, run, make_request, route) -> None:
    _, plain = sandbox(faults=["hang:nth=1"])
    here, prefix = route(plain)
    # The first call through LiteLLM imports more of it, which takes seconds on a busy machine.
    run([make_request(here, 0, f"{prefix}unknown")], SETTINGS)
    settings = EngineSettings(attempts=4, backoff_s=0.01, connect_s=1, read_s=1)
    result = run([make_request(here, 1, f"{prefix}echo")], settings)
    assert result.replies["zero/1/0"].state == "answer"
    assert result.counts.perhaps_paid == 1


def test_usage_that_is_not_stated_is_unknown_and_not_zero(one, monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_KEY", "sk-1234567890")
    result, _ = one(lambda endpoint: (Endpoint("x", "litellm", endpoint.base_url, "LOCAL_KEY"), "openai/"), "no_usage")
    reply = result.replies["zero/1/0"]
    assert (reply.state, reply.n_tokens_in, reply.n_tokens_out) == ("answer", None, None)


def test_an_oversized_reply_is_no_answer(one, anthropic) -> None:
    result, server = one(anthropic, "oversized:size=8000001")
    assert result.replies["zero/1/0"].error_class == "too_large"
    assert server.stats()["received"] == 1


# -- what else may be asked -------------------------------------------------------------------------------------------


def test_tool_calls_are_the_answer(one, route) -> None:
    for choice in ("auto", {"type": "function", "function": {"name": "weather"}}):
        result, _ = one(route, tools=[WEATHER], tool_choice=choice)
        (call,) = json.loads(result.replies["zero/1/0"].text or "")
        assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "ticket 1"})


def test_a_structured_answer_fits(one, route) -> None:
    result, _ = one(route, response_format=LABEL)
    assert json.loads(result.replies["zero/1/0"].text or "") == {"label": "ticket 1"}


def test_an_answer_that_breaks_its_schema_is_passed_on_as_it_came(one, route) -> None:
    reply = one(route, "off_schema", response_format=LABEL)[0].replies["zero/1/0"]
    assert (reply.state, json.loads(reply.text or "")) == ("answer", {"unexpected": "ticket 1"})


def test_marked_prompts_are_written_to_the_cache_once_and_billed_so(sandbox, run, anthropic) -> None:
    server, plain = sandbox(aliases=["claude-x=echo"])
    here, prefix = anthropic(plain)
    prices = Prices({"anthropic/*": {"input_per_m": 4, "output_per_m": 8, "cached_input_per_m": 0.4}})

    def ask(i: int) -> Request:
        messages = [{"role": "system", "content": LONG}, {"role": "user", "content": f"ticket {i}"}]
        return Request(here, {"model": f"{prefix}claude-x", "messages": messages, "max_tokens": 20}, "c", str(i), 0, 20)

    result = run((ask(i) for i in range(3)), EngineSettings(concurrency=1), prices=prices)
    first, *later = (result.replies[f"c/{i}/0"] for i in range(3))
    assert (first.n_tokens_in, first.n_tokens_cached, first.n_tokens_written) == (1208, 0, 1203)
    assert [(reply.n_tokens_cached, reply.n_tokens_written) for reply in later] == [(1203, 0)] * 2
    # By hand: 5 tokens in at 4, 1,203 written at 5 or read at 0.4, 2 out at 8.
    assert first.cost_usd == pytest.approx((5 * 4 + 1_203 * 5 + 2 * 8) / 1e6)
    assert [reply.cost_usd for reply in later] == [pytest.approx((5 * 4 + 1_203 * 0.4 + 2 * 8) / 1e6)] * 2
    assert run([ask(0)], prices=prices).replies["c/0/0"].cost_usd == first.cost_usd
    assert (server.stats()["cached_tokens"], server.stats()["written_tokens"]) == (2406, 1203)


# -- what LiteLLM must not do -----------------------------------------------------------------------------------------


def test_unknown_parameters_and_the_base_reach_the_server(server, run, make_request, completion, monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_KEY", "sk-1234567890")
    seen = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(await request.json())
        return web.json_response(completion(model="m-2024-01-01"))

    here = Endpoint("proxy", "litellm", server(handler).base_url, "LOCAL_KEY")
    result = run([make_request(here, 1, "openai/m", temperature=0.5, seed=3)], SETTINGS)
    assert result.error is None
    assert result.states() == {"answer": 1}
    assert {"model": "m", "temperature": 0.5, "seed": 3, "max_tokens": 20}.items() <= seen[0].items()


@pytest.mark.parametrize(
    "name",
    [
        *("api_base", "base_url", "api_key", "mock_response", "fallbacks", "num_retries", "extra_headers", "timeout"),
        *("drop_params", "custom_llm_provider", "aws_bedrock_runtime_endpoint", "vertex_credentials", "_skip"),
    ],
)
def test_an_experiment_cannot_set_what_is_litellms_own(sandbox, run, make_request, anthropic, name: str) -> None:
    server, plain = sandbox()
    here, prefix = anthropic(plain)
    result = run([make_request(here, 1, f"{prefix}echo", **{name: "http://127.0.0.1:9"})], SETTINGS)
    assert isinstance(result.error, UsageError)
    assert name in str(result.error)
    assert server.stats()["received"] == 0
    assert result.counts.perhaps_paid == 0


def test_no_key_is_a_usage_error_and_nothing_is_sent(sandbox, run, make_request, monkeypatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    server, plain = sandbox()
    here = Endpoint("anthropic", "litellm", (plain.base_url or "").removesuffix("/v1"))
    result = run([make_request(here, 1, "anthropic/echo")], SETTINGS)
    assert isinstance(result.error, UsageError)
    assert "ANTHROPIC_API_KEY" in str(result.error)
    assert server.stats()["received"] == 0


def test_the_ceiling_holds(sandbox, run, make_request, route) -> None:
    server, plain = sandbox()
    here, prefix = route(plain)
    requests = (make_request(here, i, f"{prefix}echo") for i in range(100))
    result = run(requests, SETTINGS, budget=Budget(usd=0.001), prices=PRICES)
    assert isinstance(result.error, BudgetReachedError)
    assert 0 < result.counts.spent_usd <= 0.001
    assert server.stats()["billed"] < 100


def test_nothing_is_printed_and_nothing_is_fetched(one, route, capfd) -> None:
    assert one(route, "500:times=2", response_format=LABEL)[0].error is None
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("model", ["openai/echo", "openai/unknown"])
def test_a_users_own_use_of_litellm_in_the_same_task_keeps_its_callbacks(sandbox, make_request, model: str) -> None:
    _, plain = sandbox()
    here = Endpoint("x", "litellm", plain.base_url)
    internal = importlib.import_module("litellm._internal_context").is_internal_call

    async def send() -> bool:
        transport = LiteLLM(here, read_s=60)
        await transport.open()
        with contextlib.suppress(CallFaultError, UsageError):
            await transport.send(make_request(here, 1, model))
        await transport.close()
        return internal.get()

    assert asyncio.run(send()) is False


def test_the_environment_and_a_dotenv_file_change_nothing(tmp_path) -> None:
    code = (
        "import os; from safetycatch.calls.transports.litellm import load; m = load();"
        "print(m.drop_params, m.modify_params, os.environ.get('PLANTED'), m.num_retries, m.cache)"
    )
    (tmp_path / ".env").write_text("PLANTED=1\n")
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"LITELLM_DROP_PARAMS": "true", "LITELLM_MODIFY_PARAMS": "true", "PATH": "", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "False False None 0 None\n"
