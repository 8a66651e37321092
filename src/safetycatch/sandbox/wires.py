"""The three ways in which the sandbox is spoken to: OpenAI's, Azure's variant of it, and Anthropic's."""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from safetycatch.sandbox import messages, replies
from safetycatch.sandbox.faults import STATUS_FAULTS
from safetycatch.sandbox.limits import duration
from safetycatch.sandbox.requests import ChatRequest, EmbeddingRequest, RefusedRequestError, read_chat, read_embedding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from safetycatch.sandbox.faults import Fault
    from safetycatch.sandbox.limits import Level
    from safetycatch.sandbox.replies import Completion

Asked = ChatRequest | EmbeddingRequest


class Incoming(NamedTuple):
    """What a client sent: which of a wire's services, the model if the URL names it, headers and body."""

    what: str
    model: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Wire:
    """One provider's way to ask and to answer.

    `path` matches the URLs where models answer, with the groups `what` and perhaps `model`. `refunds`: tokens that were
    reserved for an answer and not written count no more.
    """

    path: re.Pattern[str]
    key_header: str
    id_prefix: str
    id_header: str
    refunds: bool
    read: Callable[[Incoming], Asked]
    answer: Callable[[str, str, Completion, Fault | None], bytes]
    failure: Callable[[str], RefusedRequestError]
    error: Callable[[RefusedRequestError], bytes]
    limit: Callable[[str, Level], dict[str, str]]

    def incoming(self, path: str, headers: Mapping[str, str], body: bytes) -> Incoming:
        """Return a request to one of this wire's paths, taken apart."""
        found = self.path.fullmatch(path)
        named = found.groupdict() if found else {}
        return Incoming(named.get("what") or "", named.get("model") or "", headers, body)

    def key(self, headers: Mapping[str, str]) -> str:
        """Return the key that a client gave, or an empty text."""
        return headers.get(self.key_header, "").removeprefix("Bearer ")

    def limits(self, levels: Mapping[str, Level]) -> dict[str, str]:
        """Return the headers that tell the rate."""
        return {name: value for what, level in levels.items() for name, value in self.limit(what, level).items()}


def _read(incoming: Incoming) -> Asked:
    read = read_embedding if incoming.what == "embeddings" else read_chat
    return read(incoming.body, incoming.model)


def _failure(kind: str) -> RefusedRequestError:
    status, error_type, code, message = STATUS_FAULTS[kind]
    return RefusedRequestError(status, message, kind=error_type, code=code)


def _error(error: RefusedRequestError) -> bytes:
    return replies.error_body(error.message, error.kind, error.code, error.param)


def _limit(what: str, level: Level) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": str(level.per_minute),
        f"x-ratelimit-remaining-{what}": str(level.remaining),
        f"x-ratelimit-reset-{what}": duration(level.full_in_s),
    }


def _azure_limit(what: str, level: Level) -> dict[str, str]:
    # Azure writes whole seconds where OpenAI writes 6m0s.
    return _limit(what, level) | {f"x-ratelimit-reset-{what}": str(math.ceil(level.full_in_s))}


def _anthropic_read(incoming: Incoming) -> ChatRequest:
    if not incoming.headers.get("anthropic-version"):
        raise RefusedRequestError(400, "anthropic-version: header is required", kind="invalid_request_error")
    return messages.read_messages(incoming.body)


def _anthropic_failure(kind: str) -> RefusedRequestError:
    status, message = messages.STATUS_FAULTS[kind]
    return RefusedRequestError(status, message, kind=kind)


def _anthropic_error(error: RefusedRequestError) -> bytes:
    return messages.error_body(error.status, error.message)


def _anthropic_limit(what: str, level: Level) -> dict[str, str]:
    full = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=math.ceil(level.full_in_s))
    return {
        f"anthropic-ratelimit-{what}-limit": str(level.per_minute),
        f"anthropic-ratelimit-{what}-remaining": str(level.remaining),
        f"anthropic-ratelimit-{what}-reset": full.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


OPENAI = Wire(
    re.compile(r"/v1/(?P<what>chat/completions|embeddings)"),
    "Authorization",
    "chatcmpl-",
    "x-request-id",
    refunds=False,
    read=_read,
    answer=replies.completion_body,
    failure=_failure,
    error=_error,
    limit=_limit,
)
AZURE = replace(
    OPENAI,
    path=re.compile(r"/openai/deployments/(?P<model>[^/]+)/(?P<what>chat/completions|embeddings)"),
    key_header="api-key",
    id_header="apim-request-id",
    limit=_azure_limit,
)
ANTHROPIC = Wire(
    re.compile(r"/v1/(?P<what>messages)"),
    "x-api-key",
    "msg_",
    "request-id",
    refunds=True,
    read=_anthropic_read,
    answer=messages.message_body,
    failure=_anthropic_failure,
    error=_anthropic_error,
    limit=_anthropic_limit,
)


def wire_of(path: str) -> Wire | None:
    """Return the wire that serves a path; None when no model answers there."""
    return next((wire for wire in (OPENAI, ANTHROPIC, AZURE) if wire.path.fullmatch(path)), None)
