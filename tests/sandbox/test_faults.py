import http.client
import json
import time

import pytest

from safetycatch.errors import UsageError
from safetycatch.sandbox import Fault, SandboxSettings, parse_fault, running
from safetycatch.sandbox.faults import STATUS_FAULTS, FaultScript

CHAT = "/v1/chat/completions"
BODY = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("kind", STATUS_FAULTS)
def test_an_error_status_has_openai_shape_and_bills_nothing(faulty, call, kind):
    with faulty({"kind": kind, "seconds": 1.5}) as server:
        status, headers, body = call(server, "POST", CHAT, BODY)
        billed = server.stats()["billed"]
    expected, error_type, code, _ = STATUS_FAULTS[kind]
    error = json.loads(body)["error"]
    assert (status, error["type"], error["code"], billed) == (expected, error_type, code, 0)
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("1.5", "1500")


def test_a_drop_closes_before_the_first_byte_and_is_billed(faulty, call):
    with faulty({"kind": "drop"}) as server:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            call(server, "POST", CHAT, BODY)
        assert (server.stats()["billed"], server.stats()["answered"]) == (1, 0)


def test_a_cut_closes_halfway_through_the_body(faulty, call):
    with faulty({"kind": "cut"}) as server, pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        call(server, "POST", CHAT, BODY)


@pytest.mark.parametrize("kind", ["truncated", "empty", "bad_utf8", "content_type"])
def test_a_body_that_is_no_json_comes_with_status_200(faulty, call, kind):
    with faulty({"kind": kind}) as server:
        status, headers, body = call(server, "POST", CHAT, BODY)
    assert status == 200
    assert headers["content-type"].startswith("text/html" if kind == "content_type" else "application/json")
    with pytest.raises(ValueError, match=r"."):
        json.loads(body.decode())


def test_a_gateway_gives_up_on_an_answer_that_is_billed(faulty, call):
    with faulty({"kind": "504"}) as server:
        status, headers, _ = call(server, "POST", CHAT, BODY)
        stats = server.stats()
    assert (status, headers["content-type"].split(";")[0]) == (504, "text/html")
    assert (stats["billed"], stats["answered"]) == (1, 0)


def test_faults_in_the_content(faulty, chat):
    def first(kind):
        with faulty({"kind": kind}) as server:
            return chat(server, "echo", ("user", "hello"))[1]

    assert first("wrong_model")["model"] == "echo-turbo"
    assert "usage" not in first("no_usage")
    filtered = first("content_filter")["choices"][0]
    assert (filtered["finish_reason"], filtered["message"]["content"]) == ("content_filter", None)
    refused = first("refusal")["choices"][0]["message"]
    assert (refused["content"], bool(refused["refusal"])) == (None, True)
    short = first("length")["choices"][0]
    assert (short["finish_reason"], short["message"]["content"]) == ("length", "he")


def test_an_oversized_answer_has_the_size_asked_for(faulty, call):
    with faulty({"kind": "oversized", "size": 3_000_000}) as server:
        status, _, body = call(server, "POST", CHAT, BODY)
    assert status == 200
    assert len(body) > 3_000_000


def test_a_trickle_sends_the_same_answer_slowly(faulty, call):
    with faulty({"kind": "trickle", "seconds": 0.0001}) as server:
        body = call(server, "POST", CHAT, BODY)[2]
    assert json.loads(body)["choices"][0]["message"]["content"] == "hello"


def test_a_hang_outlasts_the_client_and_ends_with_the_server(faulty, call):
    with faulty({"kind": "hang"}) as server:
        with pytest.raises(TimeoutError):
            call(server, "POST", CHAT, BODY, timeout_s=0.2)
        before = time.monotonic()
    assert time.monotonic() - before < 5


def test_a_short_hang_closes_the_connection(faulty, call):
    with faulty({"kind": "hang", "seconds": 0.01}) as server:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            call(server, "POST", CHAT, BODY)
        assert server.stats()["billed"] == 0


def test_a_share_strikes_the_same_requests_again_and_retries_get_through(faulty, chat):
    def run():
        with faulty({"kind": "500", "share": 0.3, "seed": 5}) as server:
            attempts = []
            for number in range(40):
                count = 1
                while chat(server, "echo", ("user", f"request {number}"))[0] != 200:
                    count += 1
                attempts.append(count)
            return attempts

    attempts = run()
    assert attempts == run()
    assert 4 <= sum(count > 1 for count in attempts) <= 22


def test_conditions_narrow_a_fault():
    def statuses(fault, models=("echo",) * 6, contents=b"abcaab"):
        script = FaultScript([fault])
        return [
            bool(script.strike(bytes([content]), ordinal, model))
            for ordinal, (content, model) in enumerate(zip(contents, models, strict=True), start=1)
        ]

    assert statuses(Fault(kind="500", nth=(2, 3))) == [False, True, True, False, False, False]
    assert statuses(Fault(kind="500", attempts=1)) == [True, True, True, False, False, False]
    assert statuses(Fault(kind="500", times=2)) == [True, True, False, False, False, False]
    assert statuses(Fault(kind="500", model="small")) == [False] * 6
    assert statuses(Fault(kind="500", share=0)) == [False] * 6


def test_the_first_rule_that_strikes_wins():
    script = FaultScript([Fault(kind="503", nth=(2,)), Fault(kind="500")])
    assert [script.strike(b"x", ordinal, "echo").kind for ordinal in (1, 2, 3)] == ["500", "503", "500"]
    assert script.strikes == {"500": 2, "503": 1}


def test_a_fault_is_read_from_text():
    assert parse_fault("500:0.05") == Fault(kind="500", share=0.05)
    assert parse_fault("drop") == Fault(kind="drop")
    assert parse_fault("hang:nth=3+9,seconds=2") == Fault(kind="hang", nth=(3, 9), seconds=2.0)
    assert parse_fault("429:0.5:attempts=1,model=echo") == Fault(kind="429", share=0.5, attempts=1, model="echo")


@pytest.mark.parametrize("text", ["", "explode", "500:2", "500:x", "500:color=red", "500:nth=0", "hang:seconds=-1"])
def test_a_wrong_fault_is_a_usage_error(text):
    with pytest.raises(UsageError):
        parse_fault(text)


def test_faults_leave_other_endpoints_alone(call):
    with running(SandboxSettings(faults=(Fault(kind="500"),))) as server:
        assert call(server, "GET", "/v1/models")[0] == 200
