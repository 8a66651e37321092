"""Anthropic's Messages API: how a client asks, and the bodies it gets.

Source: platform.claude.com/docs/en/api/messages, .../api/errors, .../build-with-claude/prompt-caching (read 2026-11).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetycatch.sandbox.prompt import content_text
from safetycatch.sandbox.replies import REFUSAL, WRONG_MODEL_SUFFIX, as_json
from safetycatch.sandbox.requests import (
    Block,
    ChatRequest,
    Tool,
    chosen,
    messages_of,
    model_of,
    read_json,
    refuse,
    sendable,
    tool_of,
)
from safetycatch.sandbox.tokens import TOKENS_PER_MESSAGE, count_tokens

if TYPE_CHECKING:
    from safetycatch.sandbox.faults import Fault
    from safetycatch.sandbox.replies import Completion

MOST_MARKS = 4
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
# What a scripted status fault says here; statuses differ where Anthropic has its own.
STATUS_FAULTS = {
    "400": (400, "prompt is too long: 250000 tokens > 200000 maximum"),
    "prompt_filter": (400, "Output blocked by content filtering policy"),
    "401": (401, "invalid x-api-key"),
    "403": (403, "Your API key does not have permission to use the specified resource."),
    "404": (404, "model: not found"),
    "429": (429, "This request would exceed the rate limit for your organization."),
    "insufficient_quota": (400, "Your credit balance is too low to access the Anthropic API."),
    "500": (500, "Internal server error"),
    "503": (529, "Overloaded"),
    "529": (529, "Overloaded"),
}


def read_messages(body: bytes) -> ChatRequest:
    """Return a chat request from the body of `POST /v1/messages`.

    Raises: RefusedRequestError naming the parameter that is wrong or not served here.
    """
    value = read_json(body)
    model, given = model_of(value), messages_of(value)
    limit = value.get("max_tokens")
    if type(limit) is not int or limit < 1:
        refuse("max_tokens: Field required" if limit is None else "max_tokens: must be greater than or equal to 1")
    if value.get("stream"):
        refuse("stream: the sandbox does not stream")
    tools = value.get("tools") or []
    if not isinstance(tools, list):
        refuse("tools: Input should be a valid list")
    blocks = [_block(json.dumps(tool), tool, 0) for tool in tools]
    messages: list[dict[str, Any]] = []
    if value.get("system"):
        messages.append({"role": "system", "content": value["system"]})
    for index, message in enumerate(given):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            refuse(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        messages.append({"role": message["role"], "content": message.get("content")})
    for message in messages:
        blocks += _blocks(message["content"])
    if sum(block.marked for block in blocks) > MOST_MARKS:
        refuse(f"A maximum of {MOST_MARKS} blocks with cache_control may be provided.")
    texts = [sendable(content_text(message["content"]), "messages") for message in messages]
    offered = [tool_of(tool, "input_schema", f"tools.{index}") for index, tool in enumerate(tools)]
    return ChatRequest(
        model, messages, texts, limit, {}, _tool(offered, value.get("tool_choice")), _schema(value), tuple(blocks)
    )


def _blocks(content: Any) -> list[Block]:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        refuse("content: Input should be a valid string or a list of blocks")
    return [_block(content_text([part]), part, TOKENS_PER_MESSAGE * (part is parts[0])) for part in parts]


def _block(text: str, part: Any, extra: int) -> Block:
    mark = part.get("cache_control") if isinstance(part, dict) else None
    if mark is not None and not (isinstance(mark, dict) and mark.get("type") == "ephemeral"):
        refuse("cache_control.type: Input should be 'ephemeral'")
    return Block(text, count_tokens(sendable(text, "messages")) + extra, mark is not None)


def _tool(offered: list[Tool], choice: Any) -> Tool | None:
    kind = choice.get("type") if isinstance(choice, dict) else "auto"
    if kind == "tool":
        return chosen(offered, choice.get("name"))
    if kind not in ("auto", "any", "none"):
        refuse("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")
    return offered[0] if offered and kind != "none" else None


def _schema(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of a structured output, under either of its names."""
    config = value.get("output_config")
    wanted = value.get("output_format") or (config.get("format") if isinstance(config, dict) else None)
    if wanted is None:
        return None
    schema = wanted.get("schema") if isinstance(wanted, dict) and wanted.get("type") == "json_schema" else None
    if not isinstance(schema, dict):
        refuse("output_format: Input should be {type: json_schema, schema: object}")
    return schema


def message_body(request_id: str, model: str, completion: Completion, fault: Fault | None = None) -> bytes:
    """Return a message as JSON, changed by a fault that lies in its content."""
    text, finish_reason, usage, tool = completion
    kind = fault.kind if fault else None
    stop_reason = STOP_REASONS[finish_reason]
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if tool is not None:
        # Cut arguments are no JSON; Anthropic sends what it could read of them.
        arguments = json.loads(text) if finish_reason == "tool_calls" else {}
        content = [{"type": "tool_use", "id": f"toolu_{request_id}", "name": tool, "input": arguments}]
    if fault and kind == "oversized":
        content = [{"type": "text", "text": "x" * fault.size}]
    elif kind == "length":
        content, stop_reason = [{"type": "text", "text": text[: len(text) // 2]}], "max_tokens"
    elif kind == "content_filter":
        content, stop_reason = [], "refusal"
    elif kind == "refusal":
        content, stop_reason = [{"type": "text", "text": REFUSAL}], "refusal"
    body: dict[str, Any] = {
        "id": request_id,
        "type": "message",
        "role": "assistant",
        "model": model + WRONG_MODEL_SUFFIX if kind == "wrong_model" else model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage.prompt - usage.cached - usage.written,
            "cache_creation_input_tokens": usage.written,
            "cache_read_input_tokens": usage.cached,
            "output_tokens": usage.completion,
        },
    }
    if kind == "no_usage":
        del body["usage"]
    return as_json(body)


def error_body(status: int, message: str) -> bytes:
    """Return Anthropic's error object as JSON."""
    error = {"type": ERROR_TYPES.get(status, "api_error"), "message": message}
    return as_json({"type": "error", "error": error, "request_id": None})
