"""What LiteLLM's exceptions mean: by the HTTP status that the provider really sent, not by the one LiteLLM names.

LiteLLM raises status 500 for replies it cannot read and for connections that broke; only the exceptions behind its own
tell whether a provider refused (nothing is billed) or may have answered.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetycatch.calls.completion import clean
from safetycatch.calls.faults import MAX_TEXT, CallFaultError, Fault, of_status
from safetycatch.calls.limits import retry_after_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safetycatch.calls.transports.redaction import Redactor

MAX_CHAIN = 16
# Behind LiteLLM's exception, innermost first: what broke. Only what never left costs nothing.
BROKEN = {
    "JSONDecodeError": "invalid_json",
    "UnicodeDecodeError": "invalid_utf8",
    "ClientPayloadError": "truncated",
    "RemoteProtocolError": "truncated",
    "ConnectTimeout": "connect",
    "ConnectionTimeoutError": "connect",
    "ConnectError": "connect",
    "ClientConnectorError": "connect",
    "ClientConnectorDNSError": "connect",
    "ClientConnectorSSLError": "connect",
    "ClientConnectorCertificateError": "connect",
    "ServerDisconnectedError": "dropped",
    "ReadError": "dropped",
    "ReadTimeout": "hung",
    "SocketTimeoutError": "hung",
    "ServerTimeoutError": "hung",
    "Timeout": "hung",
}


def headers_of(found: Mapping[str, Any]) -> dict[str, str]:
    """Return a provider's own headers: LiteLLM marks them, and adds some in OpenAI's spelling that nobody sent."""
    prefix = "llm_provider-"
    own = {name: value for name, value in found.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix).lower(): str(value) for name, value in (own or found).items()}


def fault_of(error: Exception, redactor: Redactor) -> CallFaultError:
    """Return what an exception of LiteLLM's means.

    Raises: FilteredPromptError when the prompt was filtered.
    """
    chain = _chain(error)
    stated: Any = getattr(error, "litellm_response_headers", None)
    headers = headers_of(dict(stated or {}))
    # The body holds the provider's code; LiteLLM's text leaves it out, and ends with a traceback of its own at times.
    body: Any = next((found for one in chain if (found := getattr(one, "body", None))), None)
    told = str(error).split("\nTraceback", 1)[0]
    text = clean(redactor.text(f"{told} {json.dumps(body, default=str) if body else ''}".strip()))
    return CallFaultError(_classified(error, chain, text, headers), headers)


def was_sent(error: Exception) -> bool:
    """Whether anything left before `error`; LiteLLM itself refuses calls without a key, or with odd parameters."""
    chain = _chain(error)
    return _provider_status(chain) is not None or any(type(one).__name__ in BROKEN for one in chain)


def _classified(error: Exception, chain: list[BaseException], text: str, headers: Mapping[str, str]) -> Fault:
    name, status = type(error).__name__, _provider_status(chain)
    short = text[:MAX_TEXT]
    if name == "ContextWindowExceededError":
        return Fault("row", "context_length", short)
    if name == "ContentPolicyViolationError":
        return of_status(400, f"content_policy {text}")
    if status is not None and status >= 300:
        return of_status(status, text, retry_after_s(headers))
    broken = next((BROKEN[type(one).__name__] for one in reversed(chain) if type(one).__name__ in BROKEN), None)
    if broken is not None:
        return Fault("retry", broken, short, "none" if broken == "connect" else "perhaps")
    own: Any = getattr(error, "status_code", None)
    if status is None and type(own) is int and 400 <= own < 500:
        # Refused by LiteLLM before it was sent.
        return of_status(own, text)
    # An answer that LiteLLM could not read, or nothing that says more: it may have been paid.
    return Fault("retry", "unreadable", short, "perhaps")


def _chain(error: BaseException) -> list[BaseException]:
    """Return `error` and those behind it, the innermost last."""
    chain: list[BaseException] = []
    inner: BaseException | None = error
    while inner is not None and inner not in chain and len(chain) < MAX_CHAIN:
        chain.append(inner)
        inner = inner.__cause__ or inner.__context__
    return chain


def _provider_status(chain: list[BaseException]) -> int | None:
    """Return the status of the reply that an exception came with; a made-up one has no headers."""
    for one in reversed(chain):
        response: Any = getattr(one, "response", None)
        if type(one).__name__ == "HTTPStatusError" or getattr(one, "headers", None):
            status: Any = getattr(response, "status_code", None) or getattr(one, "status_code", None)
            if type(status) is int:
                return status
    return None
