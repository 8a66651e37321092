"""Azure's variant of OpenAI's API on the sandbox, aliases of models, and faults of embeddings."""

import json
import math

import pytest

from safetycatch.errors import UsageError
from safetycatch.sandbox import SandboxSettings, running

BODY = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10}
PATH = "/openai/deployments/echo/chat/completions?api-version=2024-10-21"


def test_the_url_names_the_model_and_resets_are_whole_seconds(call):
    settings = SandboxSettings(requests_per_minute=6, key="sesame")
    with running(settings) as server:
        refused = call(server, "POST", PATH, BODY, Authorization="Bearer sesame")
        status, headers, body = call(server, "POST", PATH, BODY, **{"api-key": "sesame"})
    assert (refused[0], status) == (401, 200)
    assert json.loads(body)["choices"][0]["message"]["content"] == "hello"
    assert headers["x-ratelimit-reset-requests"] == "10"


def test_azure_embeds_too(plain, call):
    path = "/openai/deployments/embedding/embeddings?api-version=2024-10-21"
    status, _, body = call(plain, "POST", path, {"input": "hello"})
    assert (status, len(json.loads(body)["data"][0]["embedding"])) == (200, 256)


def test_a_model_is_served_under_a_further_name(chat):
    with running(SandboxSettings.from_options(aliases=["claude-sonnet-4-5=echo"])) as server:
        status, body = chat(server, "claude-sonnet-4-5", ("user", "hello"))
    assert (status, body["model"], body["choices"][0]["message"]["content"]) == (200, "claude-sonnet-4-5", "hello")


@pytest.mark.parametrize("text", ["x", "=echo", "x=", "x=nobody"])
def test_a_wrong_alias_is_a_usage_error(text):
    with pytest.raises(UsageError, match="alias"), running(SandboxSettings.from_options(aliases=[text])):
        pass


def test_faults_and_limits_hold_for_embeddings_as_well(faulty, call):
    def vectors(kind):
        with faulty({"kind": kind}) as server:
            body = call(server, "POST", "/v1/embeddings", {"model": "embedding", "input": ["a", "b"]})[2]
            return [item["embedding"] for item in json.loads(body)["data"]], server.stats()

    assert len(vectors("few_vectors")[0]) == 1
    assert math.isnan(vectors("nan_vector")[0][0][0])
    assert [len(vector) for vector in vectors("other_dimension")[0]] == [257, 257]
    assert vectors("few_vectors")[1]["billed"] == 1
    with running(SandboxSettings(requests_per_minute=6)) as server:
        found = [call(server, "POST", "/v1/embeddings", {"model": "embedding", "input": "a"})[0] for _ in range(2)]
    assert found == [200, 429]
