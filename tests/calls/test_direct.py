from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import pytest
from aiohttp import web

from safetycatch.calls import Endpoint, EngineSettings
from safetycatch.errors import ProviderUnusableError, UsageError

ONE = EngineSettings(concurrency=1, attempts=2, max_reply_bytes=1_000_000, backoff_s=0.01)


def test_what_is_sent_is_the_canonical_body_and_the_key(server, run, make_request, completion, monkeypatch) -> None:
    monkeypatch.setenv("GPU_KEY", " sk-1234567890 \n")
    seen = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append((request.method, request.path_qs, await request.read(), request.headers["Authorization"]))
        return web.json_response(completion(model="echo"))

    plain = server(handler, key_env="GPU_KEY")
    here = Endpoint("gpu", "direct", f"{plain.base_url}/?api-version=3", "GPU_KEY")
    request = make_request(here, 1, temperature=0.0, top_k=3)
    assert run([request], ONE).error is None
    assert seen == [("POST", "/v1/chat/completions?api-version=3", request.canonical, "Bearer sk-1234567890")]


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_packed_replies_are_read_though_none_was_asked_for(server, run, make_request, completion, packing) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        raw = json.dumps(completion(model="echo")).encode()
        packed = gzip.compress(raw) if packing == "gzip" else zlib.compress(raw)
        return web.Response(body=packed, headers={"Content-Encoding": packing, "Content-Type": "application/json"})

    assert run([make_request(server(handler), 1)], ONE).states() == {"answer": 1}


def test_r27_a_bomb_is_not_unpacked(server, run, make_request) -> None:
    bomb = gzip.compress(bytes(200_000_000), 1)

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    request = make_request(server(handler), 1)
    tracemalloc.start()
    result = run([request], ONE)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.replies["zero/1/0"].error_class == "too_large"
    assert result.counts.sent == 1
    assert most < 20_000_000


@pytest.mark.parametrize(("packing", "error_class"), [("br", "wrong_encoding"), ("gzip", "wrong_encoding")])
def test_what_cannot_be_unpacked_is_a_fault(server, run, make_request, packing: str, error_class: str) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=b"xxxx", headers={"Content-Encoding": packing, "Content-Type": "application/json"})

    result = run([make_request(server(handler), 1)], ONE)
    assert result.replies["zero/1/0"].error_class == error_class
    assert result.counts.perhaps_paid == 2


def test_a_packed_reply_that_ends_early_is_truncated(server, run, make_request, completion) -> None:
    packed = gzip.compress(json.dumps(completion(model="echo")).encode())[:-9]

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    assert run([make_request(server(handler), 1)], ONE).replies["zero/1/0"].error_class == "truncated"


def test_r48_a_redirect_does_not_take_the_key_elsewhere(server, run, make_request, monkeypatch) -> None:
    monkeypatch.setenv("GPU_KEY", "sk-1234567890")
    visited = []

    async def other(request: web.BaseRequest) -> web.Response:
        visited.append(request.headers.get("Authorization"))
        return web.Response()

    elsewhere = server(other).base_url

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(status=307, headers={"Location": f"{elsewhere}/chat/completions"})

    result = run([make_request(server(handler, key_env="GPU_KEY"), 1)], ONE)
    assert isinstance(result.error, ProviderUnusableError)
    assert "redirect" in str(result.error)
    assert not visited


def test_streaming_is_refused(server, run, make_request) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        raise AssertionError

    result = run([make_request(server(handler), 1, stream=True)], ONE)
    assert isinstance(result.error, UsageError)
    assert result.counts.perhaps_paid == 0


@pytest.mark.parametrize("key", ["", "  ", "sk\n-with-a-break", "sk-ünicode"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(server, run, make_request, monkeypatch, key: str) -> None:
    monkeypatch.setenv("GPU_KEY", key)

    async def handler(_: web.BaseRequest) -> web.Response:
        raise AssertionError

    result = run([make_request(server(handler, key_env="GPU_KEY"), 1)], ONE)
    assert isinstance(result.error, UsageError)
    assert not key.strip() or key not in str(result.error)


def test_http_that_is_none_is_a_fault(run, make_request) -> None:
    import socketserver
    import threading

    class Garbage(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Garbage) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        here = Endpoint("ssh", "direct", f"http://127.0.0.1:{listener.server_address[1]}/v1")
        result = run([make_request(here, 1)], ONE)
        listener.shutdown()
        thread.join()
    assert result.replies["zero/1/0"].state == "error"
    assert result.counts.sent == 2
