"""The bodies a sandbox sends: completions, embeddings, errors, and completions broken by a scripted fault."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from safetycatch.sandbox.tokens import count_tokens, cut_to_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.sandbox.faults import Fault

REFUSAL = "I'm sorry, but I can't help with that."
WRONG_MODEL_SUFFIX = "-turbo"  # another model: a date would be a legal name of the same one
NOT_UTF8 = b"\xff\xfe"


class Usage(NamedTuple):
    """Tokens of one call."""

    prompt: int
    cached: int
    completion: int


class Completion(NamedTuple):
    """One answer before it is written: its text after `max_tokens`, why it ended, its tokens."""

    text: str
    finish_reason: str
    usage: Usage


def complete(text: str, prompt_tokens: int, cached_tokens: int, max_tokens: int | None) -> Completion:
    """Return the completion of `text`, cut to `max_tokens`."""
    tokens = count_tokens(text)
    if max_tokens is None or tokens <= max_tokens:
        return Completion(text, "stop", Usage(prompt_tokens, cached_tokens, tokens))
    return Completion(cut_to_tokens(text, max_tokens), "length", Usage(prompt_tokens, cached_tokens, max_tokens))


def completion_body(request_id: str, model: str, completion: Completion, fault: Fault | None = None) -> bytes:
    """Return a chat completion as JSON, changed by a fault that lies in its content."""
    text, finish_reason, usage = completion
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    kind = fault.kind if fault else None
    if fault and kind == "oversized":
        message["content"] = "x" * fault.size
    elif kind == "length":
        message["content"], finish_reason = text[: len(text) // 2], "length"
    elif kind == "content_filter":
        message["content"], finish_reason = None, "content_filter"
    elif kind == "refusal":
        message["content"], message["refusal"] = None, REFUSAL
    body: dict[str, Any] = {
        "id": request_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model + WRONG_MODEL_SUFFIX if kind == "wrong_model" else model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
            "prompt_tokens_details": {"cached_tokens": usage.cached},
        },
        "system_fingerprint": None,
    }
    if kind == "no_usage":
        del body["usage"]
    return _json(body)


def broken_body(body: bytes, kind: str) -> tuple[bytes, str]:
    """Return the body and content type that a fault of the wire makes of a good body."""
    changed = {
        "truncated": (body[: len(body) // 2], "application/json"),
        "empty": (b"", "application/json"),
        "bad_utf8": (body.replace(b'"content": "', b'"content": "' + NOT_UTF8, 1), "application/json"),
        "content_type": (b"<html><body><h1>It works!</h1></body></html>", "text/html"),
    }
    return changed.get(kind, (body, "application/json"))


def embeddings_body(model: str, vectors: Sequence[Sequence[float]], prompt_tokens: int) -> bytes:
    """Return an embedding list as JSON."""
    return _json(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": [round(number, 7) for number in vector]}
                for index, vector in enumerate(vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        }
    )


def models_body(names: Sequence[str]) -> bytes:
    """Return the model list as JSON."""
    return _json(
        {
            "object": "list",
            "data": [{"id": name, "object": "model", "created": 0, "owned_by": "sandbox"} for name in names],
        }
    )


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    """Return OpenAI's error object as JSON."""
    return _json({"error": {"message": message, "type": kind, "param": param, "code": code}})


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
