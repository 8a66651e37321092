"""What a provider would not see of a request, by LiteLLM's own making of it and by the shape of an endpoint."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest

from safetycatch.calls import Endpoint, Request
from safetycatch.calls.parameters import Unseen, ceiling_parameter, unseen_parameters
from safetycatch.experiment import KNOWN_PARAMS

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}}}


@pytest.fixture
def cut_off(monkeypatch):
    """Nobody may be asked."""

    def refuse(*address: object, **_: object) -> None:
        raise AssertionError(f"the network was used: {address}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def through(model: str, **params: Any) -> Unseen:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 9, **params}
    return unseen_parameters(Request(Endpoint("any", "litellm"), body, "c", "1"))


def direct(url: str, **params: Any) -> Unseen:
    body = {"model": "m", "messages": [], "max_tokens": 9, **params}
    return unseen_parameters(Request(Endpoint("x", "direct", url), body, "c", "1"))


@pytest.mark.parametrize(
    ("model", "params", "dropped", "refused"),
    [
        ("anthropic/claude-sonnet-4-5", {"temperature": 0.5, "top_k": 3, "stop": ["x"], "user": "u"}, (), ()),
        ("anthropic/claude-sonnet-4-5", {"tools": [TOOL], "tool_choice": "auto"}, (), ()),
        ("anthropic/claude-sonnet-4-5", {"response_format": SCHEMA}, (), ()),
        ("anthropic/claude-sonnet-4-5", {"response_format": {"type": "json_object"}}, ("response_format",), ()),
        ("anthropic/claude-sonnet-4-5", {"seed": 1, "temperature": 0}, (), ("seed",)),
        ("anthropic/claude-sonnet-4-5", {"metadata": {"candidate": "a"}}, ("metadata",), ()),
        ("gemini/gemini-2.5-flash", {"min_p": 0.1, "temperature": 0, "seed": 1}, ("min_p",), ()),
        ("gemini/gemini-2.5-flash", {"logit_bias": {"1": 1}}, (), ("logit_bias",)),
        ("mistral/mistral-small-latest", {"user": "u", "top_p": 0.5}, ("user",), ()),
        ("ollama_chat/llama3.1", {"user": "u", "num_ctx": 2048}, ("user",), ()),
        ("azure/gpt-4o", {"seed": 1, "logprobs": True, "top_logprobs": 2}, (), ()),
        ("hosted_vllm/x", {"top_k": 3, "guided_json": {"type": "object"}}, (), ()),
    ],
)
def test_litellms_own_request_shows_what_is_lost(cut_off, model: str, params: Any, dropped: Any, refused: Any) -> None:
    found = through(model, **params)
    assert (found.dropped, found.refused, found.unsure) == (dropped, refused, ())
    assert "request" in found.how


def test_settings_of_litellms_are_no_parameters(cut_off) -> None:
    found = through("anthropic/claude-sonnet-4-5", api_base="https://evil.example", mock_response="yes", temperature=0)
    assert (found.foreign, found.dropped, found.refused) == (("api_base", "mock_response"), (), ())


def test_where_a_token_would_be_fetched_the_list_speaks(cut_off) -> None:
    found = through("bedrock/anthropic.claude-3-5-sonnet-20240620-v1:0", seed=1, temperature=0, top_k=3)
    assert (found.refused, found.unsure, found.dropped) == (("seed",), ("top_k",), ())
    assert "list" in found.how
    loose = {"response_format": {"type": "json_object"}}
    assert through("bedrock/anthropic.claude-3-5-sonnet-20240620-v1:0", **loose).dropped == ("response_format",)
    assert through("nonsense/x", temperature=0).unsure == ("temperature",)


def test_saying_nothing_is_no_loss(cut_off) -> None:
    said = {"seed": None, "store": False, "response_format": {"type": "text"}}
    assert through("anthropic/claude-sonnet-4-5", **said) == direct("http://gpu/v1", **said) == Unseen()


def test_a_direct_endpoint_is_judged_by_its_shape() -> None:
    assert direct("https://api.openai.com/v1", seed=1, user="u", top_k=3).refused == ("top_k",)
    assert direct("http://gpu:8000/v1", seed=1, top_k=3).unsure == ("top_k",)
    assert direct("http://gpu:8000/v1", seed=1).unsure == ()
    assert direct("https://openrouter.ai/api/v1", seed=1).unsure == ("seed",)
    strict = {"provider": {"require_parameters": True}}
    assert direct("https://openrouter.ai/api/v1", seed=1, **strict).unsure == ()


def test_every_parameter_of_the_experiment_file_is_a_models_own(cut_off) -> None:
    names = dict.fromkeys(KNOWN_PARAMS - {"extra_body"}, 1)
    assert through("nonsense/x", **names).foreign == ()


def test_openai_itself_is_told_the_ceiling_in_its_own_word() -> None:
    openai = Endpoint("openai", "direct", "https://api.openai.com/v1")
    assert ceiling_parameter(openai) == "max_completion_tokens"
    for other in (Endpoint("gpu", "direct", "http://gpu/v1"), Endpoint("anthropic", "litellm")):
        assert ceiling_parameter(other) == "max_tokens"


def test_litellm_is_imported_for_its_own_routes_only() -> None:
    code = (
        "import sys; from safetycatch.calls import Endpoint, Request\n"
        "from safetycatch.calls.parameters import unseen_parameters\n"
        "for way, model, body in (('direct', 'm', {'top_k': 1}), ('litellm', 'anthropic/x', {'max_tokens': 9})):\n"
        "    unseen_parameters(Request(Endpoint('x', way, 'http://gpu/v1'), {'model': model, **body}, 'c', '1'))\n"
        "assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
