"""A wrong provider, and a key that is not there: told before the first call of any candidate."""

import os

import pytest

from safetycatch.calls.model_list import providers
from safetycatch.calls.transports.litellm_keys import check_provider, require_litellm_key
from safetycatch.errors import InputError
from safetycatch.project import Address

MODELS = {"groq": "groq/llama-3.1-8b-instant", "gemini": "gemini/gemini-2.0-flash", "ollama": "ollama/llama3.1"}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    for name in [name for name in os.environ if name.startswith(("GROQ", "GEMINI", "GOOGLE", "AWS"))]:
        monkeypatch.delenv(name)


def _address(provider, model, *, base_url=None, key_env=None):
    return Address(provider, "litellm", base_url, key_env, model)


def test_the_bundled_list_names_providers():
    assert {"anthropic", "gemini", "groq", "mistral", "vertex_ai", "bedrock"} <= providers()


@pytest.mark.parametrize("model", ["anthropic/x", "ollama_chat/x", "datarobot/x"])
def test_a_provider_that_is_known_passes(model):
    check_provider(model, "here")


def test_a_provider_that_nobody_knows_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"(?s)here: .*'antropic'.*did you mean anthropic/claude\?"):
        check_provider("antropic/claude", "here")


def test_a_key_that_litellm_would_miss_is_named():
    with pytest.raises(InputError, match="GROQ_API_KEY"):
        require_litellm_key(_address("groq", MODELS["groq"]))


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("GROQ_API_KEY", _address("groq", MODELS["groq"])),
        ("GOOGLE_API_KEY", _address("gemini", MODELS["gemini"])),
        ("HOME", _address("ollama", MODELS["ollama"])),
        ("HOME", _address("bedrock", "bedrock/anthropic.claude")),
        ("HOME", _address("groq", MODELS["groq"], base_url="http://127.0.0.1:9/v1")),
        ("HOME", _address("groq", MODELS["groq"], key_env="SAFETYCATCH_KEY_GROQ")),
    ],
)
def test_a_key_under_any_of_its_names_or_none_where_none_is_due_passes(monkeypatch, name, address):
    monkeypatch.setenv(name, "x")
    require_litellm_key(address)


def test_a_missing_key_stops_the_run_before_another_candidate_is_paid(project):
    project.model(model=MODELS["groq"])
    project.config["candidates"].insert(0, {"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    with pytest.raises(InputError, match="GROQ_API_KEY"):
        project.run()
    assert project.calls == []
    assert project.sent() == 0


def test_a_wrong_provider_does_not_pass_check(project):
    project.model(model="grog/llama")
    with pytest.raises(InputError, match="did you mean groq/llama"):
        project.check()
