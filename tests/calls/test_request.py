from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.calls import Endpoint, Request
from safetycatch.errors import InputError, UsageError
from safetycatch.identity import canonical_json

LOCAL = Endpoint("gpu", "direct", "http://gpu:8000/v1")
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}],
    "temperature": 0,
    "max_tokens": 20,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {"messages": st.lists(st.dictionaries(st.text(), st.text(), max_size=3), max_size=4) | JSON},
    optional={"model": st.text(), "temperature": st.floats(0, 2), "tools": JSON, "response_format": JSON},
)


def key(body: dict[str, Any] = BODY, endpoint: Endpoint = LOCAL, replicate: int = 0, candidate: str = "a") -> str:
    return Request(endpoint, body, candidate, "1", replicate, 20).key


@pytest.mark.parametrize(
    "change",
    [
        {"model": "m2"},
        {"temperature": 0.5},
        {"max_tokens": 21},
        {"seed": 1},
        {"stop": ["b"]},
        {"top_k": 3},
        {"extra": {"min_p": 0.1}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"messages": BODY["messages"][1:]},
        {"messages": [*BODY["messages"][:1], {"role": "user", "content": "shot"}, *BODY["messages"][1:]]},
        {"messages": BODY["messages"][::-1]},
    ],
)
def test_every_part_of_the_body_is_in_the_key(change: dict[str, Any]) -> None:
    assert key(BODY | change) != key()


def test_endpoint_and_replicate_are_in_the_key_and_bookkeeping_is_not() -> None:
    assert key(endpoint=Endpoint("gpu", "direct", "http://gpu:8001/v1")) != key()
    assert key(endpoint=Endpoint("gpu", "litellm", "http://gpu:8000/v1")) != key()
    assert key(endpoint=Endpoint("gpu", "direct", "http://gpu:8000/v1?api-version=2")) != key()
    assert key(endpoint=Endpoint("gpu", "direct", "http://gpu:8000/v1", variant="AWS_REGION_NAME=1")) != key()
    assert key(replicate=1) != key()
    assert key(candidate="b") == key()


def test_numbers_and_key_order_do_not_change_the_key() -> None:
    assert key(BODY | {"temperature": 0.0}) == key()
    assert key(dict(reversed(BODY.items()))) == key()
    swapped = [dict(reversed(message.items())) for message in BODY["messages"]]
    assert key(BODY | {"messages": swapped}) == key()


def test_texts_that_join_to_the_same_are_different_keys() -> None:
    assert key(BODY | {"user": "a", "stop": "b"}) != key(BODY | {"user": "astop: b"})


@given(BODIES)
def test_the_fast_way_is_the_canonical_way(body: dict[str, Any]) -> None:
    assert Request(LOCAL, body, "a", "1").canonical == canonical_json(body)


@given(BODIES, BODIES)
def test_equal_keys_mean_equal_bodies(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert (key(left) == key(right)) == (canonical_json(left) == canonical_json(right))


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", {1: 2}])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        _ = Request(LOCAL, BODY | {"messages": [{"role": "user", "content": value}]}, "a", "1").key


def test_credentials_are_in_no_identity() -> None:
    endpoint = Endpoint("gpu", "direct", "https://me:hunter22@gpu:8000/v1/?key=hunter22&api-version=3#x", "GPU_KEY")
    assert endpoint.identity == "direct:https://gpu:8000/v1?api-version=3"


@pytest.mark.parametrize("url", [None, "", "gpu:8000", "file:///etc/passwd", "//gpu/v1"])
def test_a_direct_endpoint_needs_a_web_address(url: str | None) -> None:
    with pytest.raises(UsageError):
        Endpoint("gpu", "direct", url)


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_the_bound_on_prompt_tokens_is_at_least_one_token_a_byte(texts: list[str]) -> None:
    request = Request(LOCAL, {"model": "m", "messages": [{"role": "user", "content": t} for t in texts]}, "a", "1")
    assert request.max_tokens_in >= sum(len(t.encode()) for t in texts) + 10 * len(texts)


def test_attachments_and_tools_raise_the_bound() -> None:
    image = [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    with_image = Request(LOCAL, {"messages": [{"role": "user", "content": image}]}, "a", "1")
    assert with_image.max_tokens_in > 50_000
    for asked in ("tools", "functions", "response_format"):
        assert Request(LOCAL, BODY | {asked: [{"x": 1}]}, "a", "1").max_tokens_in > 1_000
