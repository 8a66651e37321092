"""Every provider that LiteLLM knows, with its own retries, caches, callbacks and price downloads switched off."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from safetycatch.calls import completion
from safetycatch.calls.faults import MAX_TEXT, CallFaultError, Fault, of_status
from safetycatch.calls.limits import retry_after_s
from safetycatch.calls.transports.delivery import Delivery
from safetycatch.calls.transports.redaction import RedactedLogs, Redactor, environment_secrets, read_key, url_password

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from safetycatch.calls.request import Endpoint, Request

# How many transports use LiteLLM in each event loop, by the loop's id.
_users: Counter[int] = Counter()
_HEADER = "llm_provider-"
# Their debug logs hold prompts, headers and whatever the provider echoes.
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "httpx", "httpcore", "aiohttp")


def _load() -> ModuleType:
    # Without this the import fetches prices from the network, and they change under us.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    # The first completion imports this, for seconds, inside the time that is measured as its latency.
    with contextlib.suppress(ImportError):
        importlib.import_module("litellm.proxy.openai_files_endpoints.common_utils")
    litellm.suppress_debug_info = True
    litellm.cache = None
    litellm.num_retries = 0
    for name in ("callbacks", "input_callback", "success_callback", "failure_callback"):
        setattr(litellm, name, [])
    for name in ("_async_success_callback", "_async_failure_callback"):
        setattr(litellm, name, [])
    return litellm


async def _close_clients(litellm: Any, suffix: str) -> None:
    """Close and forget the clients whose cache key ends in `suffix`, the loop's id.

    LiteLLM's own way closes those of every loop; and a later loop with the same id would be given closed ones.
    """
    cache = litellm.in_memory_llm_clients_cache
    for key in [key for key in cache.cache_dict if key.endswith(suffix)]:
        client = cache.cache_dict.pop(key)
        cache.ttl_dict.pop(key, None)
        close = getattr(client, "aclose", None) or getattr(client, "close", None)
        # A client that cannot be closed any more holds nothing that we need.
        with contextlib.suppress(Exception):
            closing = close() if close else None
            if inspect.isawaitable(closing):
                await closing


class LiteLLM:
    """One provider through LiteLLM; the engine bounds the attempt, `read_s` is passed on as its timeout."""

    def __init__(self, endpoint: Endpoint, *, read_s: float) -> None:
        self.endpoint = endpoint
        self._read_s = read_s
        self._key: str | None = None
        self._redactor = Redactor([])
        self._litellm: Any = None
        self._logs: RedactedLogs | None = None

    async def open(self) -> None:
        """Import LiteLLM (seconds of CPU) and read the key. Raises: UsageError when the key is missing."""
        self._key = read_key(self.endpoint.key_env)
        # LiteLLM reads keys from the environment by itself, so all of them may come back in an error.
        secrets = [*([self._key] if self._key else []), *url_password(self.endpoint.base_url), *environment_secrets()]
        self._redactor = Redactor(secrets)
        self._litellm = await asyncio.to_thread(_load)
        _users[id(asyncio.get_running_loop())] += 1
        # After the import, which sets the levels of its loggers itself.
        self._logs = RedactedLogs(self._redactor, _LOGGERS)
        self._logs.install()

    async def close(self) -> None:
        """Close the connections that LiteLLM keeps for this loop, once nobody else in it needs them."""
        if self._litellm is not None:
            loop = id(asyncio.get_running_loop())
            _users[loop] -= 1
            if not _users[loop]:
                del _users[loop]
                await _close_clients(self._litellm, f"-{loop}")
            self._litellm = None
        if self._logs is not None:
            self._logs.remove()
            self._logs = None

    async def send(self, request: Request) -> Delivery:
        """Send `request` once.

        Raises: CallFaultError for whatever is no reply; FilteredPromptError when the prompt was filtered.
        """
        body: dict[str, Any] = json.loads(request.canonical)
        settings: dict[str, Any] = {"num_retries": 0, "max_retries": 0, "timeout": self._read_s, "caching": False}
        if self._key is not None:
            settings["api_key"] = self._key
        if self.endpoint.base_url is not None:
            settings["api_base"] = self.endpoint.base_url
        try:
            response = await self._litellm.acompletion(**body, **settings)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever LiteLLM raises is classified
            raise self._fault(error) from None
        raw = self._redactor.reply(response.model_dump_json().encode())
        hidden = cast("dict[str, Any]", getattr(response, "_hidden_params", None) or {})
        found = cast("Mapping[str, Any]", hidden.get("additional_headers") or {})
        headers = {name.removeprefix(_HEADER).lower(): str(value) for name, value in found.items()}
        try:
            return Delivery(completion.read(raw, request), raw, headers)
        except CallFaultError as error:
            raise CallFaultError(error.fault, headers) from None

    def _fault(self, error: Exception) -> CallFaultError:
        name = type(error).__name__
        stated: Any = getattr(error, "litellm_response_headers", None)
        headers = {str(k).lower(): str(v) for k, v in dict(stated or {}).items()}
        # The body holds the provider's code; LiteLLM's text leaves it out.
        body: Any = getattr(error, "body", None)
        text = completion.clean(self._redactor.text(f"{error} {json.dumps(body, default=str) if body else ''}".strip()))
        status: Any = getattr(error, "status_code", None)
        if name == "ContextWindowExceededError":
            fault = Fault("row", "context_length", text[:MAX_TEXT])
        elif name == "ContentPolicyViolationError":
            fault = of_status(400, f"content_policy {text}")
        elif name == "Timeout":
            fault = Fault("retry", "hung", text[:MAX_TEXT], "perhaps")
        elif type(status) is int and 300 <= status < 600:
            fault = of_status(status, text, retry_after_s(headers))
        else:
            fault = Fault("retry", "dropped", text[:MAX_TEXT])
        if fault.kind == "retry" and stated is None:
            # LiteLLM made this status up for a reply that it could not read, or for none: it may have been paid.
            fault = Fault("retry", fault.error_class, fault.text, "perhaps", fault.retry_after_s)
        return CallFaultError(fault, headers)
