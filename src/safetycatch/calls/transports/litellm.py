"""Every provider that LiteLLM knows, with its own retries, caches, callbacks and price downloads switched off."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from safetycatch.calls import completion
from safetycatch.calls.embedding import EmbeddingReader
from safetycatch.calls.faults import CallFaultError, Fault
from safetycatch.calls.transports.delivery import Delivery
from safetycatch.calls.transports.litellm_faults import fault_of, headers_of, was_sent
from safetycatch.calls.transports.redaction import RedactedLogs, Redactor, environment_secrets, read_key, url_password
from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextvars import ContextVar
    from types import ModuleType

    from safetycatch.calls.request import Endpoint, Request

# LiteLLM reads a reply whole, however long it is; what is longer than this is no answer.
MAX_REPLY_BYTES = 8_000_000
# How many transports use LiteLLM in each event loop, by the loop's id.
_users: Counter[int] = Counter()
# Their debug logs hold prompts, headers and whatever the provider echoes.
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "httpx", "httpcore", "aiohttp")
# LiteLLM takes addresses, keys and mock answers as arguments beside the parameters of a model. An experiment may set
# none of them: the address decides where our keys go.
_CONNECTION = re.compile(
    r"api_base|api_key|api_version|api_type|base_url|endpoint|credential|secret|password|headers?$|region|proxy|_url$"
    r"|drop_params|callback|client|^(?:aws|azure|vertex|oci|watsonx|sagemaker|litellm|mock)_"
    r"|^(?:organization|timeout|deployment_id|shared_session)$"
)

# `model`, `messages` and `input` are ours to say; `metadata` is LiteLLM's own and goes nowhere (SC801 says so).
_OURS = frozenset({"model", "messages", "input", "metadata"})
# What would act behind our back. Several may be set from the environment, and change what is sent.
_OFF: dict[str, Any] = {
    "suppress_debug_info": True,
    "cache": None,
    "num_retries": 0,
    "DEFAULT_MAX_RETRIES": 0,  # embeddings read max_retries=0 as none stated, and take this
    "max_budget": 0.0,
    "drop_params": False,
    "modify_params": False,
    "enable_anthropic_prompt_caching": False,
}
_CALLBACKS = (
    *("callbacks", "input_callback", "success_callback", "failure_callback"),
    *("_async_success_callback", "_async_failure_callback"),
)


def load() -> ModuleType:
    """Import LiteLLM (seconds of CPU the first time) and switch off what would act behind our back."""
    # Without these it fetches prices and header lists from the network, which then change under us, and reads the .env
    # file of whatever folder the environment lies in.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"
    import litellm

    # The first completion imports and builds these, for seconds, inside the time that is measured as its latency.
    with contextlib.suppress(ImportError):
        importlib.import_module("litellm.proxy.openai_files_endpoints.common_utils")
    litellm.ModelResponse()
    for name, value in _OFF.items():
        setattr(litellm, name, value)
    for name in _CALLBACKS:
        setattr(litellm, name, [])
    return litellm


def _quiet_context() -> ContextVar[bool] | None:
    """Return what tells LiteLLM that nobody logs a call; None where this version has no such thing.

    Without it every call is queued for callbacks that there are not, a tenth of its CPU.
    """
    try:
        return importlib.import_module("litellm._internal_context").is_internal_call
    except (ImportError, AttributeError):
        return None


def foreign_settings(names: Iterable[str]) -> list[str]:
    """Return those `names` in a body that LiteLLM would take for its own settings rather than for the model's.

    Assumes: `load` was called.
    """
    owned: list[str] = importlib.import_module("litellm.types.utils").all_litellm_params
    return sorted(
        name
        for name in names
        if name not in _OURS and (name in owned or name.startswith("_") or _CONNECTION.search(name))
    )


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
        self._redactor = Redactor([])
        self._litellm: Any = None
        self._logs: RedactedLogs | None = None
        self._embeddings = EmbeddingReader()
        self._settings: dict[str, Any] = {}
        self._quiet: ContextVar[bool] | None = None
        # Bodies differ in few sets of names: each is looked at once.
        self._checked: set[frozenset[str]] = set()

    async def open(self) -> None:
        """Import LiteLLM (seconds of CPU) and read the key. Raises: UsageError when the key is missing."""
        key = read_key(self.endpoint.key_env)
        # LiteLLM reads keys from the environment by itself, so all of them may come back in an error.
        secrets = [*([key] if key else []), *url_password(self.endpoint.base_url), *environment_secrets()]
        self._redactor = Redactor(secrets)
        self._settings = {"num_retries": 0, "max_retries": 0, "timeout": self._read_s, "caching": False}
        self._settings |= {"api_key": key} if key is not None else {}
        self._settings |= {"api_base": self.endpoint.base_url} if self.endpoint.base_url is not None else {}
        self._litellm = await asyncio.to_thread(load)
        self._quiet = _quiet_context()
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

        Raises: CallFaultError for whatever is no reply; FilteredPromptError when the prompt was filtered; UsageError
        for a body that LiteLLM would read as its own settings, and when it finds no key.
        """
        body: dict[str, Any] = json.loads(request.canonical)
        self._check(body, request)
        kind = request.kind
        call = self._litellm.aembedding if kind == "embedding" else self._litellm.acompletion
        # Tools go to the model; LiteLLM's own gateway for them is not installed and would end the call.
        own = self._settings | ({"_skip_mcp_handler": True} if body.get("tools") else {})
        # Given back after the call: a user's own function may use LiteLLM in the same task.
        quiet = self._quiet.set(True) if self._quiet is not None else None
        try:
            response = await call(**body, **own)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever LiteLLM raises is classified
            failed = error
        else:
            raw = self._redactor.reply(response.model_dump_json().encode())
            hidden = cast("dict[str, Any]", getattr(response, "_hidden_params", None) or {})
            headers = headers_of(hidden.get("additional_headers") or {})
            if len(raw) > MAX_REPLY_BYTES:
                raise CallFaultError(Fault("row", "too_large", f"a reply of {len(raw):,} bytes", "perhaps"), headers)
            try:
                read = self._embeddings.read if kind == "embedding" else completion.read
                return Delivery(read(raw, request), raw, headers)
            except CallFaultError as error:
                raise CallFaultError(error.fault, headers) from None
        finally:
            if self._quiet is not None and quiet is not None:
                self._quiet.reset(quiet)
        # Raised outside of the handler: what LiteLLM raised may hold a key, and must not hang on our exception.
        raise self._failure(failed, request)

    def _failure(self, error: Exception, request: Request) -> Exception:
        if type(error).__name__ == "AuthenticationError" and not was_sent(error):
            provider = request.model.split("/", 1)[0]
            return UsageError(
                f"LiteLLM finds no key for {provider}",
                where=f"candidate {request.candidate}",
                expected=f"the key in the variable that LiteLLM's page on {provider} names",
                fix=f"export {provider.upper()}_API_KEY=…",
            )
        return fault_of(error, self._redactor)

    def _check(self, body: dict[str, Any], request: Request) -> None:
        if body.get("stream"):
            raise UsageError("`stream` is set", where=request.candidate, expected="replies in one piece")
        names = frozenset(body)
        if names in self._checked:
            return
        foreign = foreign_settings(names)
        if foreign:
            raise UsageError(
                f"{foreign[0]!r} is a setting of LiteLLM, not a parameter of the model",
                where=f"candidate {request.candidate}",
                expected="addresses and keys in the environment only",
                fix="leave it out of params and extra_body",
            )
        self._checked.add(names)
