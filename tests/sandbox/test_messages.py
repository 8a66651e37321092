"""Anthropic's Messages API on the sandbox."""

import json
from datetime import UTC, datetime

import pytest

from safetycatch.sandbox import SandboxSettings, running
from safetycatch.sandbox.requests import Block
from safetycatch.sandbox.tokens import MarkedCache

PATH = "/v1/messages"
LONG = "p" * 4 * 1200
MARK = {"cache_control": {"type": "ephemeral"}}
VERSION = {"anthropic-version": "2023-06-01"}


def asked(text="hello", **more):
    return {"model": "echo", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def message(call):
    """Ask for one message; returns status and the parsed JSON."""

    def send(server, **more):
        status, _, answer = call(server, "POST", PATH, asked(**more), **VERSION)
        return status, json.loads(answer)

    return send


def system(text=LONG):
    return [{"type": "text", "text": text, **MARK}]


def test_a_message_has_the_shape_of_anthropic(plain, message):
    status, body = message(plain, system="12345678")
    assert status == 200
    assert body.pop("id").startswith("msg_")
    assert body == {
        "type": "message",
        "role": "assistant",
        "model": "echo",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 2 + 3 + 2 + 3,
            "output_tokens": 2,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }


def test_both_shapes_get_the_same_answer_for_the_same_tokens(plain, message, chat):
    turns = [("user", "the chain broke"), ("assistant", "bikes"), ("user", "where is it")]
    listed = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    ours = message(plain, model="in-context", system="One of: bikes, parcels.", messages=listed)[1]
    theirs = chat(plain, "in-context", ("system", "One of: bikes, parcels."), *turns)[1]
    assert ours["content"][0]["text"] == theirs["choices"][0]["message"]["content"]
    assert ours["usage"]["input_tokens"] == theirs["usage"]["prompt_tokens"]


def test_max_tokens_ends_the_message(plain, message):
    body = message(plain, text="hello world", max_tokens=2)[1]
    assert (body["content"][0]["text"], body["stop_reason"]) == ("hello wo", "max_tokens")


def test_a_tool_is_used_with_arguments_that_fit(plain, message):
    tool = {"name": "find", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    for choice in ({"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "find"}):
        body = message(plain, text="Paris", tools=[tool], tool_choice=choice)[1]
        (used,) = body["content"]
        assert (body["stop_reason"], used["type"], used["name"], used["input"]) == (
            *("tool_use", "tool_use", "find"),
            {"city": "Paris"},
        )
    assert message(plain, tools=[tool], tool_choice={"type": "none"})[1]["content"][0]["text"] == "hello"


@pytest.mark.parametrize("where", ["output_format", "output_config"])
def test_a_structured_message_fits_its_schema(plain, message, where):
    wanted = {"type": "json_schema", "schema": {"type": "object", "properties": {"label": {"enum": ["hi", "hello"]}}}}
    body = message(plain, **{where: wanted if where == "output_format" else {"format": wanted}})[1]
    assert json.loads(body["content"][0]["text"]) == {"label": "hello"}


# -- the cache that a client marks ------------------------------------------------------------------------------------


def cached(body):
    usage = body["usage"]
    return usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"], usage["input_tokens"]


def test_only_marked_starts_are_cached(message):
    with running() as server:
        unmarked = [message(server, system=LONG, text=text)[1] for text in ("one", "two")]
        marked = [message(server, system=system(), text=text)[1] for text in ("one", "two")]
        stats = server.stats()
    assert [cached(body) for body in unmarked] == [(0, 0, 1207)] * 2
    assert [cached(body) for body in marked] == [(0, 1203, 4), (1203, 0, 4)]
    assert (stats["cached_tokens"], stats["written_tokens"]) == (1203, 1203)


def test_a_longer_marked_start_reads_the_shorter_one(message):
    turns = [{"role": "user", "content": [{"type": "text", "text": "shot", **MARK}]}, {"role": "user", "content": "x"}]
    with running() as server:
        message(server, system=system())
        assert cached(message(server, system=system(), messages=turns)[1]) == (1203, 4, 4)


def test_short_starts_and_other_models_are_not_cached(message):
    with running() as server:
        for _ in range(2):
            assert cached(message(server, system=system("short"))[1])[:2] == (0, 0)
        message(server, system=system())
        assert cached(message(server, system=system(), model="echo-priced")[1])[0] == 0


def test_a_start_can_be_read_once_an_answer_has_begun():
    cache, blocks = MarkedCache(), [Block(LONG, 1200, marked=True), Block("one", 4, marked=False)]
    assert [cache.look("echo", blocks) for _ in range(2)] == [(0, 1200)] * 2
    cache.keep("echo", blocks)
    assert cache.look("echo", blocks) == (1200, 0)


# -- errors and limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": None},
        {"max_tokens": 0},
        {"messages": []},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": [{"role": "user", "content": []}]},
        {"stream": True},
        {"tools": [{"name": ""}]},
        {"tools": [{"name": "a"}], "tool_choice": {"type": "tool", "name": "b"}},
        {"tool_choice": {"type": "maybe"}},
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "eternal"}}]},
        {"system": system("x") * 5},
        {"output_format": {"type": "xml"}},
    ],
)
def test_a_wrong_request_is_400_in_anthropics_words(plain, message, wrong):
    status, body = message(plain, **wrong)
    assert (status, body["type"], body["error"]["type"]) == (400, "error", "invalid_request_error")


def test_the_version_header_is_asked_for(plain, call):
    assert call(plain, "POST", PATH, asked())[0] == 400


@pytest.mark.parametrize(
    ("kind", "status", "error_type"),
    [
        ("400", 400, "invalid_request_error"),
        ("prompt_filter", 400, "invalid_request_error"),
        ("401", 401, "authentication_error"),
        ("403", 403, "permission_error"),
        ("404", 404, "not_found_error"),
        ("429", 429, "rate_limit_error"),
        ("insufficient_quota", 400, "invalid_request_error"),
        ("500", 500, "api_error"),
        ("503", 529, "overloaded_error"),
        ("529", 529, "overloaded_error"),
    ],
)
def test_an_error_status_has_anthropics_shape(faulty, call, kind, status, error_type):
    with faulty({"kind": kind, "seconds": 1.5}) as server:
        found, headers, body = call(server, "POST", PATH, asked(), **VERSION)
    assert (found, json.loads(body)["error"]["type"], headers["retry-after"]) == (status, error_type, "1.5")


def test_faults_in_the_content(faulty, message):
    def first(kind):
        with faulty({"kind": kind}) as server:
            return message(server)[1]

    assert first("wrong_model")["model"] == "echo-turbo"
    assert "usage" not in first("no_usage")
    assert (first("content_filter")["stop_reason"], first("content_filter")["content"]) == ("refusal", [])
    assert first("refusal")["stop_reason"] == "refusal"
    assert first("length")["content"][0]["text"] == "he"


def test_the_rate_is_told_in_anthropics_headers_and_unused_tokens_come_back(call):
    settings = SandboxSettings(requests_per_minute=60, tokens_per_minute=60_000, burst_s=2)
    with running(settings) as server:
        headers = [call(server, "POST", PATH, asked(max_tokens=1_000), **VERSION)[1] for _ in range(2)]
        refused = call(server, "POST", PATH, asked(), **VERSION)
    limits = [headers[0][f"anthropic-ratelimit-{what}-limit"] for what in ("requests", "tokens")]
    assert limits == ["60", "60000"]
    assert headers[0]["anthropic-ratelimit-tokens-remaining"] == "995"
    # 1,000 tokens are reserved again, but those of the first answer were given back.
    assert int(headers[1]["anthropic-ratelimit-tokens-remaining"]) >= 988
    assert datetime.fromisoformat(headers[0]["anthropic-ratelimit-requests-reset"]) > datetime(2024, 1, 1, tzinfo=UTC)
    assert (refused[0], json.loads(refused[2])["error"]["type"]) == (429, "rate_limit_error")
    assert int(refused[1]["retry-after"]) >= 1


def test_the_key_is_x_api_key(call):
    with running(SandboxSettings(key="sesame")) as server:
        given = [call(server, "POST", PATH, asked(), **VERSION, **{"x-api-key": key}) for key in ("wrong", "sesame")]
    assert [answer[0] for answer in given] == [401, 200]
    assert json.loads(given[0][2])["error"]["type"] == "authentication_error"
