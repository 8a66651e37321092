import pytest

from safetycatch.errors import UsageError
from safetycatch.sandbox import Latency, SandboxSettings, parse_latency, running
from safetycatch.sandbox.limits import Bucket, RateLimits, duration


def test_a_bucket_refills_by_the_clock_and_never_above_its_size():
    bucket = Bucket(60, 2.0, now=0.0)
    bucket.take(2, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(1.0)
    assert bucket.wait_s(1, 1.0) == 0
    assert bucket.level(100.0) == 2


def test_a_clock_that_goes_back_fills_nothing():
    bucket = Bucket(60, 1.0, now=10.0)
    bucket.take(1, 10.0)
    assert bucket.level(5.0) == 0


def test_a_taking_larger_than_the_bucket_waits_for_a_full_one_and_is_paid_back():
    limits = RateLimits(None, 600, 1.0, now=0.0)
    assert limits.admit(50, 0.0) == 0
    assert limits.admit(1, 0.0) == pytest.approx(4.1)
    assert limits.levels(0.0)["tokens"].remaining == 0


def test_a_request_refused_for_tokens_takes_no_request():
    limits = RateLimits(60, 60, 1.0, now=0.0)
    limits.admit(1, 0.0)
    assert limits.admit(1, 1.0) == 0


def test_tokens_that_were_not_written_are_given_back_up_to_the_bucket():
    limits = RateLimits(None, 6_000, 1.0, now=0.0)
    limits.admit(100, 0.0)
    limits.give_back(60, 0.0)
    assert limits.levels(0.0)["tokens"].remaining == 60
    limits.give_back(1_000, 0.0)
    assert limits.levels(0.0)["tokens"].remaining == 100


def test_durations_are_written_as_openai_does():
    assert [duration(s) for s in (0, 0.12, 1.5, 360, 61.25)] == ["0ms", "120ms", "1.5s", "6m0s", "1m1.25s"]


def test_beyond_the_limit_the_answer_is_429_with_the_time_to_wait(call):
    body = {"model": "echo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 10}
    with running(SandboxSettings(requests_per_minute=6, tokens_per_minute=6_000)) as server:
        first = call(server, "POST", "/v1/chat/completions", body)
        second = call(server, "POST", "/v1/chat/completions", body)
    assert (first[0], second[0]) == (200, 429)
    assert first[1]["x-ratelimit-limit-requests"] == "6"
    assert first[1]["x-ratelimit-remaining-requests"] == "0"
    assert first[1]["x-ratelimit-remaining-tokens"] == "86"
    assert 9_000 < int(second[1]["retry-after-ms"]) <= 10_000
    assert second[1]["retry-after"] == "10"
    assert b"rate_limit_exceeded" in second[2]


def test_without_limits_no_header_is_sent(plain, call):
    body = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
    assert not [name for name in call(plain, "POST", "/v1/chat/completions", body)[1] if "ratelimit" in name]


def test_latency_is_read_from_text():
    assert parse_latency("50ms") == Latency(0.05)
    assert parse_latency("1.5s") == Latency(1.5)
    assert parse_latency("lognormal:200ms:0.5:3") == Latency(0.2, 0.5, 3)


@pytest.mark.parametrize("text", ["", "50", "-1ms", "lognormal:1s", "lognormal:1s:x", "900s", "1ms:2"])
def test_a_wrong_latency_is_a_usage_error(text):
    with pytest.raises(UsageError, match="latency"):
        parse_latency(text)


def test_log_normal_latency_depends_on_the_content_and_has_its_median():
    latency = Latency(0.2, 0.5)
    seconds = sorted(latency.seconds(bytes([high, low])) for high in range(8) for low in range(250))
    assert seconds == sorted(latency.seconds(bytes([high, low])) for high in range(8) for low in range(250))
    assert seconds[1000] == pytest.approx(0.2, rel=0.05)
    assert seconds[1682] == pytest.approx(0.2 * 2.718281828**0.5, rel=0.08)


@pytest.mark.parametrize(
    "wrong", [{"port": -1}, {"requests_per_minute": 0}, {"tokens_per_minute": -5}, {"burst_s": 0}, {"key": " "}]
)
def test_settings_out_of_range_are_usage_errors(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SandboxSettings(**wrong)


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("SAFETYCATCH_SANDBOX_KEY", raising=False)
    with pytest.raises(UsageError, match="SAFETYCATCH_SANDBOX_KEY is not set"):
        SandboxSettings.from_options(require_key=True)
    monkeypatch.setenv("SAFETYCATCH_SANDBOX_KEY", "sesame")
    assert SandboxSettings.from_options(require_key=True, faults=["500:0.1"]).key == "sesame"
    assert SandboxSettings.from_options().key is None
