"""Which parameters LiteLLM would drop, refuse or take for itself: its own request, made up and compared, never sent."""

from __future__ import annotations

import importlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from safetycatch.calls.parameters import OPENAI_CHAT, Unseen
from safetycatch.calls.transports.litellm import foreign_settings, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from safetycatch.calls.request import Request

# Providers whose requests LiteLLM makes up without asking anybody for a token first: tested with the network cut off.
MADE_UP = frozenset(
    {
        *("anthropic", "azure", "cerebras", "codestral", "cohere", "cohere_chat", "dashscope", "deepinfra", "deepseek"),
        *("fireworks_ai", "gemini", "groq", "hosted_vllm", "lm_studio", "mistral", "moonshot", "novita", "nvidia_nim"),
        *("ollama_chat", "openai", "openrouter", "perplexity", "sambanova", "together_ai", "xai"),
    }
)
# With tools it asks the server whether the model can use them.
ASKS_ABOUT_TOOLS = "ollama_chat"
NOWHERE = "https://nowhere.invalid"
_MESSAGES = [{"role": "system", "content": "x"}, {"role": "user", "content": "x"}]

Body = str | None


def unseen_by_litellm(request: Request, named: Mapping[str, Any]) -> Unseen:
    """Return which parameters `named` of `request` the provider would not see."""
    litellm = load()
    foreign = tuple(foreign_settings(named))
    rest = {name: value for name, value in named.items() if name not in foreign}
    # LiteLLM keeps it for its own logs.
    dropped = {"metadata"} & set(rest)
    rest = {name: value for name, value in rest.items() if name != "metadata"}
    make = _maker(litellm, request, rest)
    if make is None or make({}) is None:
        return _by_list(litellm, request, rest, foreign, dropped)
    refused = {name for name, value in rest.items() if make({name: value}) is None}
    if make(_without(rest, refused)) is not None:
        # A parameter may only be understood beside another, such as tool_choice beside tools.
        kept = _without(rest, refused)
        refused = {name for name in refused if make({**kept, name: rest[name]}) is None}
    kept = _without(rest, refused)
    whole = make(kept)
    dropped |= {name for name in kept if whole is not None and make(_without(kept, {name})) == whole}
    return Unseen(_sorted(dropped), _sorted(refused), foreign, how="seen in the request that LiteLLM would send")


def _maker(litellm: Any, request: Request, named: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Body] | None:
    """Return a function from parameters to the body that LiteLLM would send with them (None: it refuses).

    None where LiteLLM would need the network for it, or (before 1.106) would send it.
    """
    provider = request.model.split("/", 1)[0]
    logs = importlib.import_module("litellm.litellm_core_utils.litellm_logging")
    asks = provider == ASKS_ABOUT_TOOLS and {"tools", "functions"} & set(named)
    if provider not in MADE_UP or asks or not hasattr(logs, "RawRequestCaptured"):
        return None
    ceiling = {name: request.body[name] for name in ("max_tokens", "max_completion_tokens") if name in request.body}
    fixed: dict[str, Any] = {"model": request.model, "messages": _MESSAGES, "api_base": NOWHERE, **ceiling}
    fixed |= {"api_version": "2024-10-21"} if provider == "azure" else {}

    def make(parameters: Mapping[str, Any]) -> Body:
        own = {"_skip_mcp_handler": True} if parameters.get("tools") else {}
        made = litellm.utils.return_raw_request(
            SimpleNamespace(value="completion"), {**fixed, **own, **json.loads(json.dumps(dict(parameters)))}
        )
        body = made.get("raw_request_body")
        return None if body is None else json.dumps(body, sort_keys=True, default=str)

    return make


def _by_list(
    litellm: Any, request: Request, named: Mapping[str, Any], foreign: tuple[str, ...], dropped: set[str]
) -> Unseen:
    """Return what LiteLLM's list of parameters says; what is not OpenAI's it passes on, to whatever end."""
    try:
        listed = litellm.get_supported_openai_params(model=request.model)
    except Exception:  # noqa: BLE001 - a provider that LiteLLM does not know ends the first call with its own words
        listed = None
    if listed is None:
        return Unseen(_sorted(dropped), (), foreign, _sorted(set(named)), "LiteLLM has no list for this provider")
    unlisted = set(named) - set(listed)
    # Claude's API has no mode for any JSON object; LiteLLM leaves it out without a word.
    if named.get("response_format") == {"type": "json_object"} and "claude" in request.model:
        dropped |= {"response_format"}
    return Unseen(
        _sorted(dropped),
        _sorted(name for name in unlisted if name in OPENAI_CHAT),
        foreign,
        _sorted(name for name in unlisted if name not in OPENAI_CHAT),
        "as LiteLLM's list of this provider's parameters says",
    )


def _without(named: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if name not in names}


def _sorted(names: Any) -> tuple[str, ...]:
    return tuple(sorted(names))
