"""Every provider that LiteLLM knows, with its own retries, caches, callbacks and price downloads switched off."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, cast

from safetycatch.calls import completion
from safetycatch.calls.faults import CallFaultError, Fault, of_status
from safetycatch.calls.limiter import retry_after_s
from safetycatch.calls.transports.delivery import Delivery
from safetycatch.calls.transports.redaction import Redactor, environment_secrets, read_key, url_password

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from safetycatch.calls.request import Endpoint, Request

_HEADER = "llm_provider-"


def _load() -> ModuleType:
    # Without this the import fetches prices from the network, and they change under us.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.suppress_debug_info = True
    litellm.cache = None
    litellm.num_retries = 0
    for name in ("callbacks", "input_callback", "success_callback", "failure_callback"):
        setattr(litellm, name, [])
    for name in ("_async_success_callback", "_async_failure_callback"):
        setattr(litellm, name, [])
    return litellm


class LiteLLM:
    """One provider through LiteLLM; the engine bounds the attempt, `read_s` is passed on as its timeout."""

    def __init__(self, endpoint: Endpoint, *, read_s: float) -> None:
        self.endpoint = endpoint
        self._read_s = read_s
        self._key: str | None = None
        self._redactor = Redactor([])
        self._litellm: Any = None

    async def open(self) -> None:
        """Import LiteLLM (seconds of CPU) and read the key. Raises: UsageError when the key is missing."""
        self._key = read_key(self.endpoint.key_env)
        # LiteLLM reads keys from the environment by itself, so all of them may come back in an error.
        secrets = [*([self._key] if self._key else []), *url_password(self.endpoint.base_url), *environment_secrets()]
        self._redactor = Redactor(secrets)
        self._litellm = await asyncio.to_thread(_load)

    async def close(self) -> None:
        """Close the connections that LiteLLM keeps for this loop."""
        if self._litellm is not None:
            await self._litellm.close_litellm_async_clients()

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
        text = completion.clean(self._redactor.text(str(error)))
        response: Any = getattr(error, "response", None)
        headers = {str(k).lower(): str(v) for k, v in dict(getattr(response, "headers", None) or {}).items()}
        if name == "ContextWindowExceededError":
            fault = Fault("row", "context_length", text[:500])
        elif name == "Timeout":
            fault = Fault("retry", "hung", text[:500], "perhaps")
        elif name == "APIConnectionError":
            fault = Fault("retry", "dropped", text[:500], "perhaps")
        elif name == "ContentPolicyViolationError":
            fault = of_status(400, f"content_policy {text}")
        else:
            status = getattr(error, "status_code", None)
            # Errors of LiteLLM's own parsing come without a status of the provider: the reply may have been paid.
            known = isinstance(status, int) and 300 <= status < 600
            fault = of_status(status if known and isinstance(status, int) else 500, text, retry_after_s(headers))
            if fault.kind == "retry":
                fault = Fault("retry", fault.error_class, fault.text, "perhaps", fault.retry_after_s)
        return CallFaultError(fault, headers)
