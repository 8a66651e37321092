"""What a client may ask for in OpenAI's shape: bodies checked before anything else looks at them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from safetycatch.sandbox.prompt import content_text

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_MESSAGES = 2_048
MAX_EMBEDDED_TEXTS = 2_048
MAX_EMBEDDED_DIMENSIONS = 4_096
EMBEDDED_DIMENSIONS = 256
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


class RefusedRequestError(Exception):
    """A request that gets an error status, with the fields of OpenAI's error object; Anthropic's has fewer."""

    def __init__(
        self, status: int, message: str, *, kind: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.code, self.param = status, message, kind, code, param


class Tool(NamedTuple):
    """The tool that is to be called, and the JSON Schema of its arguments."""

    name: str
    schema: dict[str, Any]


class Block(NamedTuple):
    """One piece of a prompt in the order in which it is cached; `marked`: the cache may end here."""

    text: str
    tokens: int
    marked: bool


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked chat request; `texts` holds one text a message, `max_tokens` is None when the client set none.

    `tool`: the one to call. `schema`: the answer is JSON that fits it ({}: any object). `blocks`: where the client says
    what to cache.
    """

    model: str
    messages: list[dict[str, Any]]
    texts: list[str]
    max_tokens: int | None
    metadata: dict[str, Any]
    tool: Tool | None = None
    schema: dict[str, Any] | None = None
    blocks: tuple[Block, ...] = field(default=(), repr=False)


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


def read_chat(body: bytes, model: str = "") -> ChatRequest:
    """Return a chat request from its body; `model` is what the URL says.

    Raises: RefusedRequestError naming the parameter that is wrong or not served here.
    """
    value = read_json(body)
    model, messages = model or model_of(value), messages_of(value)
    texts: list[str] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or str(message.get("role")) not in ROLES:
            refuse(f"messages[{index}] needs a role of {', '.join(sorted(ROLES))}.", f"messages[{index}].role")
        content = message.get("content")
        if content is not None and not isinstance(content, (str, list)):
            refuse(f"messages[{index}].content must be a text.", f"messages[{index}].content")
        texts.append(sendable(content_text(content), f"messages[{index}].content"))
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
    most = min((limit for _, limit in limits), default=None)
    return ChatRequest(model, messages, texts, most, metadata, _tool(value), _schema(value.get("response_format")))


def _tool(value: dict[str, Any]) -> Tool | None:
    """Return the forced tool, else the first; None when there is none or none may be called."""
    tools = value.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        refuse("'tools' must be a list of objects.", "tools")
    functions = [tool.get("function") for tool in tools]
    offered = [tool_of(function, "parameters", f"tools[{index}]") for index, function in enumerate(functions)]
    choice = value.get("tool_choice", "auto")
    if isinstance(choice, dict):
        function = choice.get("function")
        return chosen(offered, function.get("name") if isinstance(function, dict) else None)
    if choice not in ("auto", "required", "none", None):
        refuse(f"Invalid value: {choice!r:.80}.", "tool_choice")
    return offered[0] if offered and choice != "none" else None


def _schema(wanted: Any) -> dict[str, Any] | None:
    """Return the schema that `response_format` asks for; {} for any JSON object."""
    if wanted is None or wanted == {"type": "text"}:
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        return {}
    named = wanted.get("json_schema") if kind == "json_schema" else None
    schema = named.get("schema") if isinstance(named, dict) else None
    if not isinstance(schema, dict) or not isinstance(named, dict) or not isinstance(named.get("name"), str):
        refuse("'response_format' must be a text, json_object or json_schema with name and schema.", "response_format")
    return schema


def tool_of(value: Any, schema_key: str, where: str) -> Tool:
    """Return the tool in a client's `{name, <schema_key>}`."""
    name = value.get("name") if isinstance(value, dict) else None
    schema = value.get(schema_key) or {} if isinstance(value, dict) else None
    if not isinstance(name, str) or not name or not isinstance(schema, dict):
        refuse(f"{where} needs a name and a schema.", where)
    return Tool(name, schema)


def chosen(offered: list[Tool], name: Any) -> Tool:
    """Return the tool that a client insists on."""
    for tool in offered:
        if tool.name == name:
            return tool
    refuse(f"Tool {name!r:.80} is not among 'tools'.", "tool_choice")


def read_embedding(body: bytes, model: str = "") -> EmbeddingRequest:
    """Return an embedding request from its body; `model` is what the URL says.

    Raises: RefusedRequestError naming the parameter that is wrong.
    """
    value = read_json(body)
    model = model or model_of(value)
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
    return EmbeddingRequest(model, [sendable(text, "input") for text in texts], dimensions)


def model_of(value: dict[str, Any]) -> str:
    """Return the model's name in a body."""
    model = value.get("model")
    if not isinstance(model, str) or not model:
        refuse("you must provide a model parameter", "model")
    return model


def messages_of(value: dict[str, Any]) -> list[Any]:
    """Return the list of messages in a body; each is yet to be checked."""
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        refuse("'messages' must be a list with at least one message.", "messages")
    if len(messages) > MAX_MESSAGES:
        refuse(f"{len(messages)} messages; at most {MAX_MESSAGES} are served.", "messages")
    return messages


def sendable(text: str, param: str) -> str:
    """Return `text`, which a reply can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        refuse("The text holds an unpaired surrogate.", param)
    return text
