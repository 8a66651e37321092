"""Reading a chat completion: the bytes of a 200 become a typed reply, or a fault when they are none."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from safetycatch.calls.faults import MAX_TEXT, CallFaultError, Fault, of_status
from safetycatch.calls.request import Reply

if TYPE_CHECKING:
    from safetycatch.calls.request import Request, State

MAX_TOKENS_STATED = 2**40
# gpt-4o -> gpt-4o-2024-08-06, claude-x -> claude-x-20250929, gemini-x -> gemini-x-001, llama3.1 -> llama3.1:latest
_DATED = re.compile(r"(?:[-@]\d{4}-\d{2}-\d{2}|[-@]\d{8}|[-@]\d{6}|[-@]\d{4}|[-@]\d{3}|:latest|-latest)?")
_LENGTH = {"length", "max_tokens", "model_length"}
_FILTERED = {"content_filter", "content_filtered", "safety"}


def clean(text: str) -> str:
    """Return `text` with unpaired surrogates, which no file or database can hold, as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def same_model(asked: str, returned: str, serves: tuple[str, ...] = ()) -> bool:
    """Whether `returned` is the model `asked` for: itself, its dated name, or a name the endpoint is known to use.

    A path in front (`provider/`, `accounts/x/models/`) may be missing on either side, but must not differ.
    """
    if "*" in serves or returned in serves:
        return True
    want, got = asked.casefold(), returned.casefold()
    if ("/" in want) != ("/" in got) or want.endswith("/" + got) or got.endswith("/" + want):
        want, got = want.rsplit("/", 1)[-1], got.rsplit("/", 1)[-1]
    if want == got:
        return True
    for stem in (want, want.removesuffix("-latest").removesuffix(":latest")):
        if got.startswith(stem) and _DATED.fullmatch(got, len(stem)):
            return True
    return False


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS_STATED else None


def _content(message: dict[str, Any]) -> str | None:
    content = message.get("content")
    if isinstance(content, str):
        return clean(content)
    if isinstance(content, list):
        parts = [_mapping(part).get("text") for part in cast("list[Any]", content)]
        texts = [part for part in parts if isinstance(part, str)]
        return clean("".join(texts)) if texts else None
    return None


def _state(choice: dict[str, Any], request: Request) -> tuple[State, str | None, str | None]:
    """Return the state, the text, and the class of what is wrong."""
    message = _mapping(choice.get("message"))
    text, stated = _content(message), choice.get("finish_reason")
    finish = stated if isinstance(stated, str) else ""
    # LiteLLM moves what it does not model to provider_specific_fields.
    refusal = message.get("refusal") or _mapping(message.get("provider_specific_fields")).get("refusal")
    if finish in _FILTERED:
        return "filtered", text, None
    if isinstance(refusal, str) and refusal:
        return "refusal", clean(refusal), None
    if finish == "refusal":
        return "refusal", text, None
    if finish in _LENGTH:
        return "length", text, None
    tools = message.get("tool_calls")
    if isinstance(tools, list) and tools and (request.body.get("tools") or text is None):
        if not request.body.get("tools"):
            return "invalid", None, "unasked_tool_call"
        # Anthropic's models say what they are about to do beside the call: the call is the answer.
        calls = [_mapping(_mapping(tool).get("function")) for tool in cast("list[Any]", tools)]
        said = [{"arguments": call.get("arguments"), "name": call.get("name")} for call in calls]
        return "answer", clean(json.dumps(said, ensure_ascii=False, sort_keys=True)), None
    return ("invalid", None, "no_content") if text is None else ("answer", text, None)


def parse(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in the bytes of a 200.

    Raises: CallFaultError for bytes that are none, and for an error dressed as a success.
    """
    if not raw.strip():
        raise CallFaultError(Fault("retry", "empty", "a 200 without a body", "perhaps"))
    try:
        data = json.loads(raw.decode())
    except UnicodeDecodeError:
        raise CallFaultError(Fault("retry", "invalid_utf8", "the reply is not UTF-8", "perhaps")) from None
    except (ValueError, RecursionError) as error:
        raise CallFaultError(Fault("retry", "invalid_json", str(error)[:MAX_TEXT], "perhaps")) from None
    if not isinstance(data, dict):
        raise CallFaultError(Fault("retry", "invalid_json", f"a JSON {type(data).__name__}, no object", "perhaps"))
    reply = cast("dict[str, Any]", data)
    if reply.get("error") and not (reply.get("choices") or reply.get("data")):
        error = _mapping(reply["error"])
        code, text = error.get("code"), clean(json.dumps(reply["error"], ensure_ascii=False))
        status = code if type(code) is int and 400 <= code < 600 else 500
        fault = of_status(status, text)
        # With a 200 the model may have worked before it failed.
        raise CallFaultError(replace(fault, charge="perhaps") if fault.kind == "retry" else fault)
    return reply


def returned_by(reply: dict[str, Any], request: Request) -> tuple[str | None, str | None]:
    """Return the model that a reply names, and what is wrong when it is another one than asked."""
    model = reply.get("model")
    returned = clean(model) if isinstance(model, str) and model else None
    if returned is None or same_model(request.model, returned, request.endpoint.serves):
        return returned, None
    return returned, f"{request.model} was asked, {returned} answered"


def _hides_its_cut(request: Request, n_out: int | None) -> bool:
    """Whether a structured answer took all tokens it might: LiteLLM calls it finished where Claude says it was cut."""
    if request.endpoint.transport != "litellm" or not request.body.get("response_format"):
        return False
    limit = request.body.get("max_tokens") or request.body.get("max_completion_tokens")
    return n_out is not None and type(limit) is int and n_out >= limit


def read(raw: bytes, request: Request) -> Reply:
    """Return the reply in `raw` (UTF-8 JSON of a chat completion), without cost and latency.

    A structured answer is passed on as it came, whether it fits its schema or not: that is for a scorer to say.
    Raises: CallFaultError for bytes that are no JSON object, and for an error dressed as a success.
    """
    reply = parse(raw)
    choices = reply.get("choices")
    first = _mapping(cast("list[Any]", choices)[0]) if isinstance(choices, list) and choices else {}
    if first.get("finish_reason") == "error":
        raise CallFaultError(Fault("retry", "provider_error", "finish_reason: error", "perhaps"))
    state, text, wrong = _state(first, request) if first else ("invalid", None, "no_choices")
    returned, told = returned_by(reply, request)
    if told is not None:
        state, wrong = "invalid", "other_model"
    usage = _mapping(reply.get("usage"))
    n_in, n_out = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    # No prompt is empty: 0 is what LiteLLM writes where a provider stated no usage.
    known = n_in is not None and n_in > 0 and n_out is not None
    details = _mapping(usage.get("prompt_tokens_details"))
    if state == "answer" and _hides_its_cut(request, n_out):
        state = "length"
    return Reply(
        state=state,
        text=text,
        model_returned=returned,
        n_tokens_in=n_in if known else None,
        n_tokens_cached=_count(details.get("cached_tokens")) if known else None,
        n_tokens_out=n_out if known else None,
        error_class=wrong,
        error_text=told,
        # OpenAI's name; LiteLLM writes Anthropic's count under it too.
        n_tokens_written=_count(details.get("cache_write_tokens")) if known else None,
    )
