"""Tool calls and structured answers through the same engine, journal and budget, on both routes."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from safetycatch.calls import Budget, Endpoint, EngineSettings, Prices
from safetycatch.errors import BudgetReachedError

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "team": {"enum": ["billing", "technical"]}},
    "required": ["text", "team"],
    "additionalProperties": False,
}
ASKED = {
    "tool": {"tools": [{"type": "function", "function": {"name": "route", "parameters": SCHEMA}}]},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "route", "schema": SCHEMA}}},
}
PRICES = Prices({"*/echo": {"input_per_m": 1, "output_per_m": 4}})
SETTINGS = EngineSettings(concurrency=4, backoff_s=0.01)


@pytest.fixture(params=["direct", "openai", "anthropic"])
def served(request, sandbox, monkeypatch):
    """Start a sandbox; returns server, endpoint and model."""
    monkeypatch.setenv("LOCAL_KEY", "sk-1234567890")

    def start(*faults: str) -> tuple[Any, Endpoint, str]:
        server, plain = sandbox(faults=faults)
        if request.param == "direct":
            return server, plain, "echo"
        base = plain.base_url.removesuffix("/v1" if request.param == "anthropic" else "")
        return server, Endpoint("proxy", "litellm", base, "LOCAL_KEY"), f"{request.param}/echo"

    return start


def value_of(text: str | None, form: str) -> Any:
    value = json.loads(text or "")
    if form == "schema":
        return value
    assert [call["name"] for call in value] == ["route"]
    return json.loads(value[0]["arguments"])


@pytest.mark.parametrize("form", ASKED)
def test_answers_fit_and_are_not_paid_twice(served, run, make_request, form: str) -> None:
    server, here, model = served("500:attempts=1")
    requests = [make_request(here, i, model, max_tokens=80, **ASKED[form]) for i in range(10)]
    result = run(requests, SETTINGS, prices=PRICES)
    assert result.states() == {"answer": 10}
    for i in range(10):
        value = value_of(result.replies[f"zero/{i}/0"].text, form)
        jsonschema.validate(value, SCHEMA)
        assert value["text"] == f"ticket {i}"
    again = run(requests, SETTINGS, prices=PRICES)
    assert again.counts.sent == 0
    assert {key: reply.text for key, reply in again.replies.items()} == {
        key: reply.text for key, reply in result.replies.items()
    }
    assert server.stats()["billed"] == 10


@pytest.mark.parametrize("form", ASKED)
def test_the_ceiling_holds(served, run, make_request, form: str) -> None:
    server, here, model = served()
    requests = (make_request(here, i, model, max_tokens=80, **ASKED[form]) for i in range(200))
    result = run(requests, SETTINGS, budget=Budget(usd=0.01), prices=PRICES)
    assert isinstance(result.error, BudgetReachedError)
    assert 0 < result.counts.spent_usd <= 0.01
    assert server.stats()["billed"] < 200


@pytest.mark.parametrize("form", ASKED)
def test_what_breaks_the_schema_is_passed_on_and_kept_as_it_came(served, run, make_request, form: str) -> None:
    _, here, model = served("off_schema")
    request = make_request(here, 1, model, max_tokens=80, **ASKED[form])
    for _ in range(2):
        reply = run([request], SETTINGS).replies["zero/1/0"]
        assert reply.state == "answer"
        assert value_of(reply.text, form) == {"unexpected": "ticket 1"}


@pytest.mark.parametrize("form", ASKED)
def test_a_cut_answer_is_no_answer(served, run, make_request, form: str) -> None:
    _, here, model = served()
    request = make_request(here, 1, model, max_tokens=3, **ASKED[form])
    assert run([request], SETTINGS).replies["zero/1/0"].state == "length"


def test_another_tool_or_schema_is_another_call(served, make_request) -> None:
    _, here, model = served()
    other = json.loads(json.dumps(ASKED).replace("billing", "sales"))
    asked = [{}, *ASKED.values(), *other.values()]
    assert len({make_request(here, 1, model, **form).key for form in asked}) == 5
