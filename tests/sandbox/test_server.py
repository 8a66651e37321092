import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from safetycatch.errors import UsageError
from safetycatch.sandbox import SandboxSettings, running

CHAT = "/v1/chat/completions"
HELLO = ("user", "hello")


def test_a_chat_answer_has_the_shape_of_openai(plain, chat):
    status, body = chat(plain, "echo", HELLO)
    assert status == 200
    assert body["object"] == "chat.completion"
    assert body["model"] == "echo"
    assert body["id"].startswith("chatcmpl-")
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]


def test_the_openai_client_reads_it(plain):
    import openai

    with openai.OpenAI(base_url=plain.base_url, api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "hello"}])
        vectors = client.embeddings.create(model="embedding", input="hello", encoding_format="float")
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.chat.completions.create(model="gpt-0", messages=[{"role": "user", "content": "hello"}])
    assert answer.choices[0].message.content == "hello"
    assert len(vectors.data[0].embedding) == 256


def test_usage_counts_four_bytes_a_token_and_three_a_message(plain, chat):
    _, body = chat(plain, "echo", ("system", "12345678"), ("user", "123456789"))
    assert body["usage"] == {
        "prompt_tokens": 2 + 3 + 3 + 3,
        "completion_tokens": 3,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_a_shared_prefix_counts_as_cached_in_blocks(chat):
    prefix = "p" * 4 * 1200
    with running() as server:
        first = chat(server, "echo", ("system", prefix), ("user", "one"))[1]
        second = chat(server, "echo", ("system", prefix), ("user", "two"))[1]
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == 1152


def test_max_tokens_ends_the_answer_with_length(plain, chat):
    _, body = chat(plain, "echo", ("user", "hello world"), max_tokens=2)
    assert body["choices"][0]["message"]["content"] == "hello wo"
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 2


def test_a_character_is_never_cut(plain, chat):
    _, body = chat(plain, "echo", ("user", "ab\N{PILE OF POO}cd"), max_tokens=1)
    assert body["choices"][0]["message"]["content"] == "ab"


def test_priced_twins_answer_alike(plain, chat):
    assert chat(plain, "echo-priced", HELLO)[1]["choices"] == chat(plain, "echo", HELLO)[1]["choices"]


def test_the_fence_is_not_echoed(plain, chat):
    _, body = chat(plain, "echo", ("user", "Classify.\n<input-ab12>\nmy text\n</input-ab12>"))
    assert body["choices"][0]["message"]["content"] == "my text"


def test_models_are_listed(plain, call):
    names = {model["id"] for model in json.loads(call(plain, "GET", "/v1/models")[2])["data"]}
    assert {"in-context", "in-context-small", "small", "large", "echo", "replay", "large-priced", "embedding"} <= names


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        ({"messages": [{"role": "user", "content": "x"}]}, "model"),
        ({"model": "echo"}, "messages"),
        ({"model": "echo", "messages": []}, "messages"),
        ({"model": "echo", "messages": [1]}, "messages[0].role"),
        ({"model": "echo", "messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"model": "echo", "messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"model": "echo", "messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"model": "echo", "messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ({"model": "echo", "messages": [{"role": "user", "content": "x"}], "stream": True}, "stream"),
        ({"model": "echo", "messages": [{"role": "user", "content": "x"}], "n": 2}, "n"),
        ({"model": "echo", "messages": [{"role": "user", "content": "x"}], "n": [1]}, "n"),
        ({"model": "echo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}, "max_tokens"),
        ({"model": "echo", "messages": [{"role": "user", "content": "x"}], "max_tokens": True}, "max_tokens"),
        ({"model": "echo", "messages": [{"role": "user", "content": "x"}], "metadata": 3}, "metadata"),
    ],
)
def test_a_wrong_request_is_named_with_status_400(plain, call, body, param):
    status, _, answer = call(plain, "POST", CHAT, body)
    error = json.loads(answer)["error"]
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)


def test_an_unknown_model_is_404(plain, chat):
    status, body = chat(plain, "gpt-0", HELLO)
    assert (status, body["error"]["code"]) == (404, "model_not_found")


def test_more_than_four_megabytes_are_413(plain, call):
    status, _, answer = call(plain, "POST", CHAT, b"x" * (4 * 1024 * 1024 + 1))
    assert (status, json.loads(answer)["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", CHAT, 405), ("GET", "/v2", 404), ("GET", "/healthz", 200)]
)
def test_other_urls(plain, call, method, path, status):
    assert call(plain, method, path)[0] == status


def test_a_key_is_asked_for_and_never_shown(call):
    body = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
    settings = SandboxSettings(key="sesame")
    assert "sesame" not in repr(settings)
    with running(settings) as server:
        missing = call(server, "POST", CHAT, body)
        wrong = call(server, "POST", CHAT, body, Authorization="Bearer s\xe9same")
        right = call(server, "POST", CHAT, body, Authorization="Bearer sesame")
    assert [missing[0], wrong[0], right[0]] == [401, 401, 200]
    assert json.loads(missing[2])["error"]["code"] == "invalid_api_key"


def test_only_loopback_is_bound(plain):
    with socket.create_connection(("127.0.0.1", plain.port)), pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", plain.port), timeout=5)


def test_a_taken_port_is_a_usage_error(plain):
    with pytest.raises(UsageError, match="port"), running(SandboxSettings(port=plain.port)):
        pass


def test_stats_count_what_happened(call, chat):
    with running() as server:
        chat(server, "echo", HELLO)
        chat(server, "echo", HELLO)
        chat(server, "gpt-0", HELLO)
        stats = json.loads(call(server, "GET", "/stats")[2])
    assert (stats["received"], stats["answered"], stats["billed"], stats["distinct"]) == (3, 2, 2, 1)
    assert stats["by_status"] == {"200": 2, "404": 1}
    assert stats["by_model"] == {"echo": 2}


def test_stats_tell_a_needless_repetition_from_one_after_a_broken_answer(call, faulty):
    body = {"model": "echo", "messages": [{"role": "user", "content": "a"}]}
    with faulty({"kind": "truncated", "nth": (1,)}) as server:
        for _ in range(2):
            call(server, "POST", "/v1/chat/completions", body)
        before = server.stats()
        call(server, "POST", "/v1/chat/completions", body)
        after = server.stats()
    assert (before["billed"], before["distinct"], before["repeated"]) == (2, 1, 0)
    assert (after["billed"], after["distinct"], after["repeated"]) == (3, 1, 1)
    assert 0 < before["window_s"] < after["window_s"]


def test_embeddings_are_unit_vectors_and_near_for_near_texts(plain, call):
    texts = ["the chain is broken", "the chains are broken", "wann kommt mein Paket"]
    status, _, answer = call(plain, "POST", "/v1/embeddings", {"model": "embedding", "input": texts, "dimensions": 64})
    one, near, far = (item["embedding"] for item in json.loads(answer)["data"])
    dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731
    assert status == 200
    assert dot(one, one) == pytest.approx(1, abs=1e-4)
    assert dot(one, near) > 0.5 > dot(one, far)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_prints_its_url_and_a_signal_ends_it(number):
    code = "from safetycatch.sandbox import SandboxSettings, serve; serve(SandboxSettings())"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        os.kill(process.pid, number)
        assert process.wait(20) == 0
    assert line.startswith("sandbox listening on http://127.0.0.1:")
    assert line.endswith("/v1\n")


def test_the_server_alone_imports_no_heavy_library():
    code = (
        "import sys, safetycatch.sandbox as s\n"
        "with s.running(): print([m for m in ('numpy', 'sklearn', 'pyarrow', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
