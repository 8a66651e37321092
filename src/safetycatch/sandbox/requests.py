"""What a client may ask for: bodies checked before anything else looks at them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from safetycatch.sandbox.prompt import content_text

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_MESSAGES = 2_048
MAX_EMBEDDED_TEXTS = 2_048
MAX_EMBEDDED_DIMENSIONS = 4_096
EMBEDDED_DIMENSIONS = 256
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


class RefusedRequestError(Exception):
    """A request that gets an error status, with the fields of OpenAI's error object."""

    def __init__(
        self, status: int, message: str, *, kind: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.code, self.param = status, message, kind, code, param


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked chat request; `texts` holds one text a message, `max_tokens` is None when the client set none."""

    model: str
    messages: list[dict[str, Any]]
    texts: list[str]
    max_tokens: int | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A checked embedding request."""

    model: str
    texts: list[str]
    dimensions: int


def refuse(message: str, param: str | None = None) -> NoReturn:
    """Raise the error of a request that is wrong in `param`."""
    raise RefusedRequestError(400, message, kind="invalid_request_error", param=param)


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Raises: RefusedRequestError for anything else.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        refuse("The body of your request is not JSON.")
    if not isinstance(value, dict):
        refuse("The body of your request is not a JSON object.")
    return value


def read_chat(body: bytes) -> ChatRequest:
    """Return a chat request from its body.

    Raises: RefusedRequestError naming the parameter that is wrong or not served here.
    """
    value = read_json(body)
    model = _model(value)
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        refuse("'messages' must be a list with at least one message.", "messages")
    if len(messages) > MAX_MESSAGES:
        refuse(f"{len(messages)} messages; at most {MAX_MESSAGES} are served.", "messages")
    texts: list[str] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or str(message.get("role")) not in ROLES:
            refuse(f"messages[{index}] needs a role of {', '.join(sorted(ROLES))}.", f"messages[{index}].role")
        content = message.get("content")
        if content is not None and not isinstance(content, (str, list)):
            refuse(f"messages[{index}].content must be a text.", f"messages[{index}].content")
        texts.append(_sendable(content_text(content), f"messages[{index}].content"))
    if value.get("stream"):
        refuse("The sandbox does not stream; leave 'stream' out.", "stream")
    if value.get("n", 1) not in (None, 1):
        refuse("The sandbox gives one choice; leave 'n' out.", "n")
    limits = [(name, value[name]) for name in ("max_tokens", "max_completion_tokens") if value.get(name) is not None]
    for name, limit in limits:
        if type(limit) is not int or limit < 1:
            refuse(f"'{name}' must be a whole number from 1.", name)
    metadata = value.get("metadata") or {}
    if not isinstance(metadata, dict):
        refuse("'metadata' must be an object.", "metadata")
    return ChatRequest(model, messages, texts, min((limit for _, limit in limits), default=None), metadata)


def read_embedding(body: bytes) -> EmbeddingRequest:
    """Return an embedding request from its body.

    Raises: RefusedRequestError naming the parameter that is wrong.
    """
    value = read_json(body)
    model = _model(value)
    given = value.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        refuse("'input' must be a text or a list of texts.", "input")
    if len(texts) > MAX_EMBEDDED_TEXTS:
        refuse(f"{len(texts)} texts; at most {MAX_EMBEDDED_TEXTS} are embedded at once.", "input")
    if value.get("encoding_format", "float") != "float":
        refuse("The sandbox sends embeddings as numbers: encoding_format 'float'.", "encoding_format")
    dimensions = value.get("dimensions", EMBEDDED_DIMENSIONS)
    if type(dimensions) is not int or not 1 <= dimensions <= MAX_EMBEDDED_DIMENSIONS:
        refuse(f"'dimensions' must be from 1 to {MAX_EMBEDDED_DIMENSIONS}.", "dimensions")
    return EmbeddingRequest(model, [_sendable(text, "input") for text in texts], dimensions)


def _model(value: dict[str, Any]) -> str:
    model = value.get("model")
    if not isinstance(model, str) or not model:
        refuse("you must provide a model parameter", "model")
    return model


def _sendable(text: str, param: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        refuse("The text holds an unpaired surrogate.", param)
    return text
