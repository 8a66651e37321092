"""Which parameters of a request its provider would not see: the facts behind SC801."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safetycatch.calls.request import Endpoint, Request

# Chat completions as OpenAI documents them: platform.openai.com/docs/api-reference/chat/create (read 2026-11).
OPENAI_CHAT = frozenset(
    {
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs"),
        *("max_completion_tokens", "max_tokens", "metadata", "modalities", "n", "parallel_tool_calls", "prediction"),
        *("presence_penalty", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "response_format"),
        *("safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature"),
        *("tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options"),
    }
)
OPENAI_HOST = "api.openai.com"
OPENROUTER_HOST = "openrouter.ai"
OURS = frozenset({"model", "messages", "input", "max_tokens", "max_completion_tokens"})


@dataclass(frozen=True, slots=True)
class Unseen:
    """Parameters by what becomes of them: `dropped` silently, `refused` by the route, `foreign` (settings of LiteLLM).

    `unsure`: nobody can tell before the call. `how` says how it was found out.
    """

    dropped: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    how: str = ""


def ceiling_parameter(endpoint: Endpoint) -> str:
    """Return how an endpoint calls the most tokens of an answer: OpenAI's reasoning models refuse `max_tokens`."""
    hosted = urlsplit(endpoint.base_url or "").hostname == OPENAI_HOST
    return "max_completion_tokens" if hosted and endpoint.transport == "direct" else "max_tokens"


def parameters_of(request: Request) -> dict[str, Any]:
    """Return the parameters of a body that say something, without model, prompt and ceiling."""
    return {name: value for name, value in request.body.items() if name not in OURS and not _says_nothing(value)}


def _says_nothing(value: Any) -> bool:
    """Whether leaving a value out of a request changes nothing; 0 does."""
    return value is None or value is False or value == {"type": "text"}


def unseen_parameters(request: Request) -> Unseen:
    """Return which parameters of `request` its provider would not see.

    A LiteLLM route imports LiteLLM (seconds of CPU) and asks it for the body that it would send; nothing is sent.
    """
    named = parameters_of(request)
    if not named:
        return Unseen()
    if request.endpoint.transport == "litellm":
        from safetycatch.calls.transports.litellm_parameters import unseen_by_litellm

        return unseen_by_litellm(request, named)
    return _by_shape(request, named) if request.endpoint.transport == "direct" else Unseen()


def _by_shape(request: Request, named: dict[str, Any]) -> Unseen:
    host = urlsplit(request.endpoint.base_url or "").hostname
    other = _sorted(name for name in named if name not in OPENAI_CHAT)
    if host == OPENAI_HOST:
        return Unseen(refused=other, how=f"{host} documents no others")
    if host == OPENROUTER_HOST:
        provider: Any = named.get("provider")
        strict = isinstance(provider, dict) and provider.get("require_parameters") is True
        kept = () if strict else _sorted(name for name in named if name != "provider")
        return Unseen(unsure=kept, how="OpenRouter leaves out what the host of a model does not know")
    return Unseen(unsure=other, how="the server may ignore what is not in OpenAI's shape")


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
