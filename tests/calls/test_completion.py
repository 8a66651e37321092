from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.calls import Endpoint, Reply, Request
from safetycatch.calls.completion import read, same_model
from safetycatch.calls.faults import CallFaultError, FilteredPromptError, of_status

ASKED = Request(Endpoint("gpu", "direct", "http://gpu/v1"), {"model": "m", "messages": []}, "c", "1")
TOOLS = Request(ASKED.endpoint, {"model": "m", "messages": [], "tools": [{"type": "function"}]}, "c", "1")


def raw(data: Any) -> bytes:
    return json.dumps(data).encode()


def test_r22_every_way_to_end_has_its_state(completion) -> None:
    call = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
    for data, state, text, wrong in [
        (completion("yes"), "answer", "yes", None),
        (completion(""), "answer", "", None),
        (completion([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]), "answer", "yes", None),
        (completion("ye", finish="length"), "length", "ye", None),
        (completion(None, finish="content_filter"), "filtered", None, None),
        (completion(None, refusal="I cannot."), "refusal", "I cannot.", None),
        (completion(None), "invalid", None, "no_content"),
        (completion(7), "invalid", None, "no_content"),
        (completion(None, tool_calls=call), "invalid", None, "unasked_tool_call"),
        (completion("yes", model="other"), "invalid", "yes", "other_model"),
        (completion() | {"choices": []}, "invalid", None, "no_choices"),
        (completion() | {"choices": [None]}, "invalid", None, "no_choices"),
        ({}, "invalid", None, "no_choices"),
    ]:
        reply = read(raw(data), ASKED)
        assert (reply.state, reply.text, reply.error_class) == (state, text, wrong)
    assert json.loads(read(raw(completion(None, tool_calls=call)), TOOLS).text or "") == [
        {"arguments": "{}", "name": "f"}
    ]


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"choices": [{"mess', "invalid_json"),
        (b"<html>", "invalid_json"),
        (b"[1]", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"model": "\xff"}', "invalid_utf8"),
        (b'{"error": {"message": "overloaded", "code": 503}}', "http_503"),
        (b'{"error": "no"}', "http_500"),
        (b'{"choices": [{"finish_reason": "error", "message": {}}]}', "provider_error"),
    ],
)
def test_what_is_no_reply_is_tried_again(body: bytes, error_class: str) -> None:
    with pytest.raises(CallFaultError) as caught:
        read(body, ASKED)
    fault = caught.value.fault
    assert (fault.kind, fault.error_class, fault.charge) == ("retry", error_class, "perhaps")


@pytest.mark.parametrize(
    "usage",
    [None, {}, {"prompt_tokens": 1}, {"prompt_tokens": -1, "completion_tokens": 1}, {"prompt_tokens": 1.5}, [], "x"],
)
def test_usage_that_is_not_stated_is_unknown_and_not_zero(completion, usage) -> None:
    reply = read(raw(completion() | {"usage": usage}), ASKED)
    assert reply.state == "answer"
    assert (reply.n_tokens_in, reply.n_tokens_cached, reply.n_tokens_out) == (None, None, None)


def test_cached_tokens_are_read(completion) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    reply = read(raw(completion() | {"usage": usage}), ASKED)
    assert (reply.n_tokens_in, reply.n_tokens_cached, reply.n_tokens_out) == (10, 4, 2)


def test_text_that_no_file_can_hold_is_mended(completion) -> None:
    body = raw(completion("a\ud800b"))
    assert read(body, ASKED).text == "a\ufffdb"


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "message", "content", "usage", "model", "error", "code", "finish_reason", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
    ).map(lambda data: json.dumps(data).encode())
)
def test_any_bytes_are_a_reply_or_a_fault(body: bytes) -> None:
    with contextlib.suppress(CallFaultError, FilteredPromptError):
        assert isinstance(read(body, ASKED), Reply)


@pytest.mark.parametrize(
    ("asked", "returned", "same"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("openai/gpt-4o", "gpt-4o-2024-08-06", True),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", True),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", True),
        ("gemini-2.5-pro", "gemini-2.5-pro-001", True),
        ("llama3.1", "llama3.1:latest", True),
        ("accounts/fireworks/models/llama", "llama", True),
        ("meta-llama/Llama-3", "meta-llama/llama-3", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-05-13", False),
        ("gpt-4o-2024-08-06", "gpt-4o", False),
        ("gpt-4", "gpt-4o", False),
        ("a/llama", "b/llama", False),
        ("deploy", "gpt-4o", False),
    ],
)
def test_r23_an_alias_may_answer_under_its_dated_name_only(asked: str, returned: str, same: bool) -> None:
    assert same_model(asked, returned) is same


def test_an_endpoint_may_declare_further_names() -> None:
    assert same_model("deploy", "gpt-4o", ("gpt-4o",))
    assert same_model("deploy", "anything", ("*",))


@pytest.mark.parametrize(
    ("status", "text", "kind", "error_class"),
    [
        (401, "bad key", "lane", "unauthorised"),
        (402, "pay", "lane", "no_credit"),
        (403, "no", "lane", "forbidden"),
        (404, "no model", "lane", "not_found"),
        (302, "moved", "lane", "redirected"),
        (429, "slow down, see account/billing", "wait", "rate_limited"),
        (429, '{"code": "insufficient_quota"}', "lane", "no_credit"),
        (429, "Request too large for gpt-4o", "row", "too_large_request"),
        (400, '{"code": "context_length_exceeded"}', "row", "context_length"),
        (400, "API key not valid", "lane", "unauthorised"),
        (400, '{"code": "model_not_found"}', "lane", "not_found"),
        (400, "bad temperature", "row", "bad_request"),
        (413, "too big", "row", "too_large_request"),
        (422, "bad", "row", "bad_request"),
        (403, "Your account was flagged for moderation", "lane", "forbidden"),
        (409, "", "retry", "http_409"),
        (500, "", "retry", "http_500"),
        (529, "overloaded", "retry", "http_529"),
    ],
)
def test_a_status_decides_what_follows(status: int, text: str, kind: str, error_class: str) -> None:
    fault = of_status(status, text)
    assert (fault.kind, fault.error_class, fault.charge) == (kind, error_class, "none")


@pytest.mark.parametrize("status", [204, 408, 499, 502, 504, 524, 599])
def test_a_gateway_may_have_lost_an_answer_that_is_billed(status: int) -> None:
    fault = of_status(status, "")
    assert (fault.kind, fault.error_class, fault.charge) == ("retry", f"http_{status}", "perhaps")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, '{"code": "content_filter"}'),
        (403, 'm requires moderation on Azure. Your input was flagged for "violence". No credits were charged.'),
        (403, "Your chosen model requires moderation and your input was flagged"),
        (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
        (400, "InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content."),
        (422, "Output blocked by content filtering policy"),
    ],
)
def test_a_filtered_prompt_is_no_error(status: int, text: str) -> None:
    with pytest.raises(FilteredPromptError):
        of_status(status, text)
