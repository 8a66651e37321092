"""What is asked and what comes back: endpoints, requests with their key, replies."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from safetycatch.errors import UsageError
from safetycatch.identity import canonical_json

KEY_VERSION = 1
TOKENS_A_MESSAGE = 16
TOKENS_A_REQUEST = 64
TOKENS_FOR_TOOLS = 1_024
TOKENS_AN_ATTACHMENT = 50_000

Transport = Literal["direct", "litellm", "function"]
Kind = Literal["chat", "embedding", "function"]
State = Literal["answer", "refusal", "length", "filtered", "invalid", "error"]


def _without_credentials(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(
            "an endpoint's base URL is not a web address", expected="http(s)://host[:port][/path], e.g. .../v1"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = f"{host}:{parts.port}" if parts.port else host
    # A query may carry a key; only the version of the API changes what is asked.
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name == "api-version"])
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), query, ""))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where calls go; `key_env` names the environment variable of the key, which is read by the transport only.

    `serves` lists further names under which this endpoint may answer (a deployment, a local file); `*` allows any.
    `known_as` is its identity where the address changes from run to run (the embedded sandbox's port). `variant` is
    what else decides who answers (what LiteLLM itself reads from the environment).
    Raises: UsageError when a direct endpoint has no usable base URL.
    """

    name: str
    transport: Transport
    base_url: str | None = None
    key_env: str | None = None
    serves: tuple[str, ...] = ()
    known_as: str = ""
    variant: str = ""
    identity: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.transport == "direct" and not self.base_url:
            raise UsageError(f"endpoint {self.name!r} has no base URL", fix=f"SAFETYCATCH_ENDPOINT_{self.name.upper()}")
        place = self.known_as or (_without_credentials(self.base_url) if self.base_url else "")
        variant = f" {self.variant}" if self.variant else ""
        object.__setattr__(self, "identity", f"{self.transport}:{place}{variant}")


def _fast_canonical(body: dict[str, Any]) -> bytes:
    """Return `canonical_json(body)`; messages that hold nothing but text skip the walk over every value."""
    messages = body.get("messages")
    if type(messages) is list:
        plain = all(
            type(message) is dict and all(type(k) is str and type(v) is str for k, v in message.items())
            for message in cast("list[dict[str, Any]]", messages)
        )
        if plain:
            rest = json.loads(canonical_json({name: value for name, value in body.items() if name != "messages"}))
            rest["messages"] = messages
            try:
                return json.dumps(rest, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
            except UnicodeEncodeError:
                pass  # the slow way names the character
    return canonical_json(body)


@dataclass(frozen=True, slots=True)
class Request:
    """One call: `body` is everything that is sent; `candidate` and `example_id` are bookkeeping, not in the key.

    A body with `input` and without `messages` asks for embeddings. `max_tokens_out` bounds the completion, in tokens.
    `body` must not change after `key` or `canonical` was read.
    """

    endpoint: Endpoint
    body: dict[str, Any]
    candidate: str
    example_id: str
    replicate: int = 0
    max_tokens_out: int = 0
    _canonical: bytes = field(default=b"", init=False, repr=False, compare=False)
    _key: str = field(default="", init=False, repr=False, compare=False)

    @property
    def canonical(self) -> bytes:
        """The body as canonical JSON: the bytes that are hashed are the bytes that are sent."""
        if not self._canonical:
            object.__setattr__(self, "_canonical", _fast_canonical(self.body))
        return self._canonical

    @property
    def key(self) -> str:
        """SHA-256 of key version, endpoint, replicate and the whole body: equal keys are the same call."""
        if not self._key:
            head = canonical_json([KEY_VERSION, self.endpoint.identity, self.replicate])
            object.__setattr__(self, "_key", hashlib.sha256(head + b"\n" + self.canonical).hexdigest())
        return self._key

    @property
    def kind(self) -> Kind:
        """What is asked for; the body decides, so that calls of two kinds never share a key."""
        if self.endpoint.transport == "function":
            return "function"
        return "embedding" if "input" in self.body and "messages" not in self.body else "chat"

    @property
    def model(self) -> str:
        """The model asked for, or the function called."""
        return str(self.body.get("model") or self.body.get("function") or "")

    @property
    def max_tokens_in(self) -> int:
        """An upper bound of the prompt's tokens.

        Assumes byte-level tokens: none is shorter than a byte, and the template adds a few a message. Tools add the
        provider's own instructions; an attachment is charged as the largest image seen.
        """
        if self.endpoint.transport == "function":
            return 0
        messages: Any = self.body.get("messages")
        tokens = len(self.canonical) + TOKENS_A_REQUEST
        if isinstance(messages, list):
            turns = cast("list[Any]", messages)
            tokens += TOKENS_A_MESSAGE * len(turns)
            for message in turns:
                parts: Any = cast("dict[str, Any]", message).get("content") if isinstance(message, dict) else None
                if isinstance(parts, list):
                    kinds = [part.get("type") for part in cast("list[Any]", parts) if isinstance(part, dict)]
                    tokens += TOKENS_AN_ATTACHMENT * sum(kind != "text" for kind in kinds)
        # LiteLLM asks some providers for a structured answer by a tool of its own.
        if self.body.get("tools") or self.body.get("functions") or self.body.get("response_format"):
            tokens += TOKENS_FOR_TOOLS
        return tokens

    @property
    def n_completions(self) -> int:
        """How many completions the body asks for (`n`)."""
        wanted: Any = self.body.get("n", 1)
        return max(1, wanted) if type(wanted) is int else 1


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one request, or why nothing did.

    `invalid`: paid for, but another model answered or the content is missing. `error`: infrastructure; never an answer.
    Tokens and cost are of the answering attempt (None: not stated, not known); `latency_s` runs from its sending to
    the last byte; `attempts` counts requests sent that came back without being told to wait. `n_tokens_written` (to the
    provider's prompt cache, part of `n_tokens_in`) is in the cost and not in the journal; `cache_saved_usd` is what
    that cache saved on the call.
    """

    state: State
    text: str | None = None
    model_returned: str | None = None
    n_tokens_in: int | None = None
    n_tokens_cached: int | None = None
    n_tokens_out: int | None = None
    cost_usd: float | None = None
    latency_s: float | None = None
    attempts: int = 1
    error_class: str | None = None
    error_text: str | None = None
    cache_saved_usd: float | None = None
    from_journal: bool = False
    n_tokens_written: int | None = None
