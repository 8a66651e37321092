from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.calls.limits import MAX_PAUSE_S, Stated, duration_s, read_limits, retry_after_s

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
SOON = "2026-11-22T12:00:05Z"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1.5", 1.5),
        ("-3", 0),
        ("6m0s", 360),
        ("8.64s", 8.64),
        ("120ms", 0.12),
        ("1h2m3s", 3723),
        ("1d", 86_400),
        ("2026-11-22T12:00:07Z", 7),
        ("2026-11-22T11:00:00Z", 0),
        ("Sun, 22 Nov 2026 12:00:09 GMT", 9),
        (str(NOW.timestamp() + 11), 11),
        (str(round(NOW.timestamp() * 1000) + 13_000), 13),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("soon", None),
        ("9" * 400, None),
    ],
)
def test_every_spelling_of_a_wait(text: str, seconds: float | None) -> None:
    found = duration_s(text, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_wait_is_honoured_but_capped() -> None:
    assert retry_after_s({"retry-after": "2", "retry-after-ms": "250"}, NOW) == 0.25
    assert retry_after_s({"retry-after": "2"}, NOW) == 2
    assert retry_after_s({"retry-after": "86400"}, NOW) == MAX_PAUSE_S
    assert retry_after_s({"retry-after-ms": "1e9"}, NOW) == MAX_PAUSE_S
    assert retry_after_s({}, NOW) is None


def test_only_the_limit_that_is_used_up_says_when_to_come_back() -> None:
    requests = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "3s"}
    assert retry_after_s(requests, NOW) == 3
    assert retry_after_s(requests | {"x-ratelimit-remaining-requests": "1"}, NOW) is None
    assert retry_after_s({"x-ratelimit-remaining-tokens": "-7", "x-ratelimit-reset-tokens": "1h"}, NOW) == MAX_PAUSE_S
    output = {"anthropic-ratelimit-output-tokens-remaining": "0", "anthropic-ratelimit-output-tokens-reset": SOON}
    assert retry_after_s(output, NOW) == 5
    assert retry_after_s(requests | output, NOW) == 5


def test_openai_and_azure_state_requests_and_tokens() -> None:
    limits = read_limits({"x-ratelimit-limit-requests": "600", "x-ratelimit-limit-tokens": "60000"}, NOW)
    assert limits is not None
    assert limits.of == (Stated(600), Stated(60_000), Stated(), Stated())
    assert not limits.refunds


def test_anthropic_states_tokens_in_and_out_apart_and_refunds() -> None:
    names = ("requests", "tokens", "input-tokens", "output-tokens")
    limits = read_limits({f"anthropic-ratelimit-{name}-limit": str(10 + i) for i, name in enumerate(names)}, NOW)
    assert limits is not None
    assert limits.of == (Stated(10), Stated(11), Stated(12), Stated(13))
    assert limits.refunds


def test_what_is_left_is_read_where_the_limit_is_not_stated() -> None:
    headers = {"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "4s"}
    limits = read_limits(headers | {"x-ratelimit-remaining-tokens": "700"}, NOW)
    assert limits is not None
    # Azure states no reset: its windows are of ten seconds
    assert limits.of[:2] == (Stated(None, 9, 4), Stated(None, 700, 10))
    headers = {"anthropic-ratelimit-requests-remaining": "3", "anthropic-ratelimit-requests-reset": SOON}
    limits = read_limits(headers, NOW)
    assert limits is not None
    assert limits.of[0] == Stated(None, 3, 5)


@pytest.mark.parametrize("stated", ["0", "-5", "nan", "inf", "many", ""])
def test_absurd_limits_are_ignored(stated: str) -> None:
    assert read_limits({"x-ratelimit-limit-requests": stated}, NOW) is None
    left = {"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "soon"}
    assert read_limits({"x-ratelimit-limit-requests": stated, **left}, NOW) is None


NAMES = [
    "retry-after",
    "retry-after-ms",
    *(f"x-ratelimit-{part}-{what}" for part in ("limit", "remaining", "reset") for what in ("requests", "tokens")),
    *(
        f"anthropic-ratelimit-{what}-{part}"
        for part in ("limit", "remaining", "reset")
        for what in ("requests", "tokens")
    ),
]


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=12) | st.integers().map(str) | st.floats().map(str)))
def test_no_header_can_break_the_reading(headers: dict[str, str]) -> None:
    wait = retry_after_s(headers, NOW)
    assert wait is None or 0 <= wait <= MAX_PAUSE_S
    limits = read_limits(headers, NOW)
    for stated in limits.of if limits else ():
        assert stated.per_minute is None or 0 < stated.per_minute < float("inf")
        assert stated.left is None or 0 <= stated.left < float("inf")
        assert stated.reset_s is None or 0 <= stated.reset_s < float("inf")
