"""A canary key goes through every way a provider may answer, then every byte written anywhere is searched for it."""

from __future__ import annotations

import base64
import json
import logging
import traceback

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.calls import Endpoint, EngineSettings
from safetycatch.calls.transports.redaction import Redactor

KEY = "sk-canary-Zq83hf0aLw92kdPMx71bCvTyUe"
SEARCHED = [KEY, KEY[: len(KEY) // 2], KEY[len(KEY) // 2 :], base64.b64encode(KEY.encode()).decode().rstrip("=")[:-2]]


def message(text, model):
    usage = {"input_tokens": 10, "output_tokens": 2}
    said = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]}
    return {"id": "x", "model": model, "stop_reason": "end_turn", "usage": usage, **said}


def replies(answer):
    """Yield what the provider answers to call 0, 1, 2, …; each echoes the key somewhere."""
    echoed = f"Incorrect key {KEY} ({base64.b64encode(KEY.encode()).decode()}), starts {KEY[:17]} ends {KEY[17:]}"
    yield web.json_response(answer(f"your key is {KEY}", model="echo"))
    yield web.json_response(answer("x", model=KEY))
    for status in (500, 503, 400, 429, 413):
        yield web.json_response({"error": {"message": echoed}}, status=status, headers={"retry-after": "0.01"})
        yield web.Response(text=echoed, status=status, headers={"retry-after": "0.01"})
    yield web.Response(text=echoed)
    yield web.Response(text=echoed, content_type="application/json")
    yield web.json_response({"error": {"message": echoed}})
    yield web.Response(text="x", headers={"Content-Encoding": KEY, "Content-Type": "application/json"})
    yield web.json_response({"error": {"message": echoed}}, status=401)


@pytest.mark.parametrize("shape", ["direct", "openai", "anthropic", "azure"])
def test_r45_the_key_is_in_no_byte_written(
    server, run, make_request, completion, monkeypatch, caplog, capfd, journal_path, tmp_path, shape: str
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CANARY_API_KEY", KEY)
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
    scripted = list(replies(message if shape == "anthropic" else completion))
    sent: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        header = {"anthropic": "x-api-key", "azure": "api-key"}.get(shape, "Authorization")
        assert KEY in request.headers[header]
        sent.append(request.path)
        return scripted[min(len(sent), len(scripted)) - 1]

    plain = server(handler)
    here = Endpoint("gpu", "direct" if shape == "direct" else "litellm", plain.base_url, "CANARY_API_KEY")
    model = "echo" if shape == "direct" else f"{shape}/echo"
    settings = EngineSettings(concurrency=1, attempts=3, backoff_s=0.01, max_error_rate=None)
    result = run((make_request(here, i, model) for i in range(100)), settings)
    assert len(sent) == len(scripted)
    assert result.error is not None
    assert result.error.exit_code == 50
    assert (
        result.error.__context__ is None
        or result.error.__suppress_context__
        or "canary" not in repr(result.error.__context__)
    )
    out, err = capfd.readouterr()
    texts = [
        *(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()),
        out.encode(),
        err.encode(),
        # litellm and httpx log requests, never with the key
        "\n".join(record.getMessage() + repr(record.args) for record in caplog.records).encode(),
        "".join(traceback.format_exception(result.error)).encode(),
        repr(result.replies).encode(),
        repr(result.counts).encode(),
    ]
    assert result.replies["zero/0/0"].text == "your key is [key]"
    assert len(texts[0]) > 1000
    for text in texts:
        for secret in SEARCHED:
            assert secret.encode() not in text


def test_raw_replies_hold_no_key(server, run, make_request, completion, monkeypatch, journal_path) -> None:
    from safetycatch.calls import Journal

    monkeypatch.setenv("CANARY_API_KEY", KEY)

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.json_response(completion(f"{KEY} {base64.b64encode(KEY.encode()).decode()}", model="echo"))

    here = server(handler, key_env="CANARY_API_KEY")
    request = make_request(here, 1)
    assert run([request]).error is None
    with Journal.open(journal_path) as journal:
        raw = journal.raw(request.key)
    assert raw is not None
    assert json.loads(raw)["model"] == "echo"
    for secret in SEARCHED:
        assert secret.encode() not in raw


@given(st.text(alphabet="abcdefgh-0123", min_size=8, max_size=40), st.text(max_size=30), st.text(max_size=30))
def test_no_eight_characters_of_a_key_survive(key: str, before: str, after: str) -> None:
    redactor = Redactor([key])
    text = redactor.text(before + key + after)
    pieces = {key[i : i + 8] for i in range(len(key) - 7)}
    assert not any(piece in text for piece in pieces)
    assert text
    assert key.encode() not in redactor.reply((before + key + after).encode(errors="replace"))


def test_short_keys_are_no_secrets() -> None:
    redactor = Redactor(["EMPTY", ""])
    assert redactor.text("the file is EMPTY") == "the file is EMPTY"
    assert redactor.reply(b"EMPTY") == b"EMPTY"
