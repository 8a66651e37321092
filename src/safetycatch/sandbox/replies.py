"""The bodies a sandbox sends in OpenAI's shape, and what a scripted fault makes of them."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from safetycatch.sandbox.schema import breaking, fitting
from safetycatch.sandbox.tokens import count_tokens, cut_to_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.sandbox.faults import Fault
    from safetycatch.sandbox.requests import ChatRequest

REFUSAL = "I'm sorry, but I can't help with that."
WRONG_MODEL_SUFFIX = "-turbo"  # another model: a date would be a legal name of the same one
NOT_UTF8 = b"\xff\xfe"


class Usage(NamedTuple):
    """Tokens of one call; `cached` and `written` (to the cache) are parts of `prompt`."""

    prompt: int
    cached: int
    completion: int
    written: int = 0


class Completion(NamedTuple):
    """One answer before it is written: its text (or the arguments of `tool`), why it ended, its tokens."""

    text: str
    finish_reason: str
    usage: Usage
    tool: str | None = None


def complete(text: str, chat: ChatRequest, usage: Usage, fault: Fault | None = None) -> Completion:
    """Return the completion that says `text` in the form asked for, cut to `max_tokens`; `usage` lacks its tokens."""
    schema = chat.tool.schema if chat.tool else chat.schema
    if schema is not None:
        text = breaking(schema, text) if fault and fault.kind == "off_schema" else fitting(schema, text)
    tokens, finish_reason = count_tokens(text), "tool_calls" if chat.tool else "stop"
    if chat.max_tokens is not None and tokens > chat.max_tokens:
        text, tokens, finish_reason = cut_to_tokens(text, chat.max_tokens), chat.max_tokens, "length"
    return Completion(text, finish_reason, usage._replace(completion=tokens), chat.tool.name if chat.tool else None)


def completion_body(request_id: str, model: str, completion: Completion, fault: Fault | None = None) -> bytes:
    """Return a chat completion as JSON, changed by a fault that lies in its content."""
    text, finish_reason, usage, tool = completion
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    kind = fault.kind if fault else None
    if tool is not None:
        call = {"id": f"call_{request_id}", "type": "function", "function": {"name": tool, "arguments": text}}
        message |= {"content": None, "tool_calls": [call]}
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
    return as_json(body)


def broken_body(body: bytes, kind: str) -> tuple[bytes, str]:
    """Return the body and content type that a fault of the wire makes of a good body."""
    half = len(body) // 2
    changed = {
        "truncated": (body[:half], "application/json"),
        "empty": (b"", "application/json"),
        "bad_utf8": (body[:half] + NOT_UTF8 + body[half:], "application/json"),
        "content_type": (b"<html><body><h1>It works!</h1></body></html>", "text/html"),
        "504": (b"<html><body><h1>504 Gateway Time-out</h1></body></html>", "text/html"),
    }
    return changed.get(kind, (body, "application/json"))


def embeddings_body(
    model: str, vectors: Sequence[Sequence[float]], prompt_tokens: int, fault: Fault | None = None
) -> bytes:
    """Return an embedding list as JSON, changed by a fault that lies in its content."""
    kind = fault.kind if fault else None
    vectors = list(vectors)
    if kind == "few_vectors":
        vectors = vectors[1:]
    elif kind == "nan_vector":
        vectors[0] = [math.nan, *vectors[0][1:]]
    elif kind == "other_dimension":
        vectors = [[*vector, 0.0] for vector in vectors]
    body: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": [round(number, 7) for number in vector]}
            for index, vector in enumerate(vectors)
        ],
        "model": model + WRONG_MODEL_SUFFIX if kind == "wrong_model" else model,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }
    if kind == "no_usage":
        del body["usage"]
    return as_json(body)


def models_body(names: Sequence[str]) -> bytes:
    """Return the model list as JSON."""
    return as_json(
        {
            "object": "list",
            "data": [{"id": name, "object": "model", "created": 0, "owned_by": "sandbox"} for name in names],
        }
    )


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> bytes:
    """Return OpenAI's error object as JSON."""
    return as_json({"error": {"message": message, "type": kind, "param": param, "code": code}})


def as_json(value: Any) -> bytes:
    """Return a body."""
    return json.dumps(value).encode()
