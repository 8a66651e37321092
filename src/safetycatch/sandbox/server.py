"""The sandbox: real tiny learners, an echo model and scripted faults behind the APIs of OpenAI, Azure and Anthropic."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from aiohttp import web

from safetycatch.errors import UsageError
from safetycatch.sandbox.counts import Counts
from safetycatch.sandbox.faults import BROKEN_FAULTS, STATUS_FAULTS, FaultScript
from safetycatch.sandbox.features import embedding
from safetycatch.sandbox.limits import RateLimits
from safetycatch.sandbox.models import PRICED_SUFFIX, ReplayMissingError, load_models
from safetycatch.sandbox.replies import Usage, broken_body, complete, embeddings_body, models_body
from safetycatch.sandbox.requests import MAX_BODY_BYTES, ChatRequest, EmbeddingRequest, RefusedRequestError
from safetycatch.sandbox.tokens import MarkedCache, PrefixCache, count_prompt_tokens, count_tokens
from safetycatch.sandbox.wires import OPENAI, wire_of

if TYPE_CHECKING:
    from safetycatch.sandbox.faults import Fault
    from safetycatch.sandbox.settings import SandboxSettings
    from safetycatch.sandbox.wires import Asked, Wire

HOST = "127.0.0.1"
BACKLOG = 1_024
HANG_S = 3_600.0
TRICKLE_S = 0.05
STOP_S = 2.0
EMBEDDING_MODELS = frozenset(
    {"embedding", f"embedding{PRICED_SUFFIX}", "text-embedding-3-small", "text-embedding-3-large"}
)
MODELS_PATH = "/v1/models"
WRITE_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


class _ConnectionClosedError(Exception):
    """The connection was closed on purpose; there is nobody to answer."""


class Sandbox:
    """One server; `start` binds 127.0.0.1 and `stop` frees it. All methods belong to one event loop.

    Raises: DataError when a training or replay file is unreadable.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.port = 0
        self._models = load_models(settings)
        self._script = FaultScript(settings.faults)
        self._cache, self._marked = PrefixCache(), MarkedCache()
        self._limits: RateLimits | None = None
        self._listener: asyncio.Server | None = None
        self._web: web.Server | None = None
        self._stopping: asyncio.Event | None = None
        self._counts = Counts()

    @property
    def base_url(self) -> str:
        """Return the URL that clients take as their base, `http://127.0.0.1:PORT/v1`."""
        return f"http://{HOST}:{self.port}/v1"

    async def start(self) -> None:
        """Listen for clients.

        Raises: UsageError when the port is taken.
        """
        loop = asyncio.get_running_loop()
        settings = self.settings
        if settings.requests_per_minute or settings.tokens_per_minute:
            self._limits = RateLimits(
                settings.requests_per_minute, settings.tokens_per_minute, settings.burst_s, loop.time()
            )
        self._stopping = asyncio.Event()
        # Cancelled when the client leaves: a hung answer must not outlive its connection.
        self._web = web.Server(self._serve, handler_cancellation=True, access_log=None, keepalive_timeout=60.0)
        try:
            self._listener = await loop.create_server(self._connected, HOST, settings.port, backlog=BACKLOG)
        except OSError as error:
            raise UsageError(
                f"port {settings.port} cannot be used: {error.strerror}",
                where="sandbox",
                fix="--port 0 takes a free one",
            ) from None
        self.port = int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, end what hangs, close every connection."""
        if self._listener is None or self._web is None or self._stopping is None:
            return
        self._stopping.set()
        self._listener.close()
        await self._web.shutdown(STOP_S)
        await self._listener.wait_closed()
        self._listener = self._web = self._stopping = None

    def stats(self) -> dict[str, Any]:
        """Return what `GET /stats` shows: counts since the start.

        `billed`: requests whose model worked, delivered or not. `distinct`: different bodies among them.
        `written_tokens`: those written to the cache that a client marks.
        """
        return {**self._counts.as_dict(), "faults": dict(sorted(self._script.strikes.items()))}

    def _connected(self) -> asyncio.Protocol:
        self._counts.connections += 1
        assert self._web is not None  # noqa: S101  # set before the listener exists
        return self._web()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == "/healthz":
            return _response(200, b'{"status": "ok"}')
        if path == "/stats":
            return _response(200, json.dumps(self.stats()).encode())
        self._counts.received += 1
        wire = wire_of(path)
        shape = wire or OPENAI
        try:
            response = await self._route(request, path, wire)
        except RefusedRequestError as error:
            response = _response(error.status, shape.error(error))
        except ReplayMissingError as error:
            missing = RefusedRequestError(
                404, str(error), kind="invalid_request_error", code="replay_missing", param="metadata"
            )
            response = _response(404, shape.error(missing))
        except _ConnectionClosedError:
            # aiohttp wants a response even where the connection is gone; it goes nowhere and is not counted.
            return web.Response()
        except Exception:  # noqa: BLE001  # a client must get an answer whatever our bug is
            _log.exception("the sandbox failed at %s", path)
            bug = RefusedRequestError(500, "The sandbox failed; see its log.", kind="server_error", code="sandbox_bug")
            response = _response(500, shape.error(bug))
        self._counts.by_status[response.status] += 1
        return response

    async def _route(self, request: web.BaseRequest, path: str, wire: Wire | None) -> web.StreamResponse:
        key = self.settings.key
        if key is not None and not _same_key((wire or OPENAI).key(request.headers), key):
            raise RefusedRequestError(
                401, "Incorrect API key provided.", kind="invalid_request_error", code="invalid_api_key"
            )
        method = request.method
        if wire and method == "POST":
            return await self._in_turn(request, path, wire)
        if path == MODELS_PATH and method == "GET":
            return _response(200, models_body([*self._models, *sorted(EMBEDDING_MODELS)]))
        if wire or path == MODELS_PATH:
            raise RefusedRequestError(405, f"{method} is not allowed at {path}.", kind="invalid_request_error")
        raise RefusedRequestError(
            404, f"Invalid URL ({method} {path})", kind="invalid_request_error", code="unknown_url"
        )

    async def _in_turn(self, request: web.BaseRequest, path: str, wire: Wire) -> web.StreamResponse:
        body = await _read(request)
        self._counts.enter()
        try:
            return await self._answer(request, path, wire, body)
        finally:
            self._counts.in_flight -= 1

    async def _answer(self, request: web.BaseRequest, path: str, wire: Wire, body: bytes) -> web.StreamResponse:
        asked = wire.read(wire.incoming(path, request.headers, body))
        if asked.model not in (EMBEDDING_MODELS if isinstance(asked, EmbeddingRequest) else self._models):
            raise _unknown_model(asked.model)
        self._counts.asked += 1
        digest = blake2b(body, digest_size=16).digest()
        request_id = f"{wire.id_prefix}{digest.hex()[:16]}-{self._counts.asked:x}"
        headers = {wire.id_header: request_id}
        is_chat = isinstance(asked, ChatRequest)
        prompt_tokens = _prompt_tokens(asked)
        most = (asked.max_tokens or 0) if is_chat else 0
        if self._limits:
            now = asyncio.get_running_loop().time()
            wait_s = self._limits.admit(prompt_tokens + most, now)
            headers |= wire.limits(self._limits.levels(now))
            if wait_s:
                return _too_many(wire, wait_s, headers)
        fault = self._script.strike(digest, self._counts.asked, asked.model)
        if fault and fault.kind == "hang":
            await self._pause(HANG_S if fault.seconds is None else fault.seconds)
            raise _close(request)
        if fault and fault.kind in STATUS_FAULTS:
            await self._pause(self.settings.latency.seconds(digest))
            return _failed(wire, fault, headers)
        if isinstance(asked, ChatRequest):
            payload, usage = self._chat(asked, prompt_tokens, wire, request_id, fault)
        else:
            vectors = [embedding(text, asked.dimensions) for text in asked.texts]
            payload, usage = embeddings_body(asked.model, vectors, prompt_tokens, fault), Usage(prompt_tokens, 0, 0)
        self._counts.bill(asked.model, digest, usage)
        await self._pause(self.settings.latency.seconds(digest))
        if is_chat:
            # A start of a prompt can be read from the cache once an answer to it has begun.
            self._marked.keep(asked.model, asked.blocks)
        if self._limits and wire.refunds:
            self._limits.give_back(most - usage.completion, asyncio.get_running_loop().time())
        if fault and fault.kind in BROKEN_FAULTS:
            return await self._break(request, payload, fault, headers)
        self._counts.deliver(digest)
        return _response(200, payload, headers)

    def _chat(
        self, chat: ChatRequest, prompt_tokens: int, wire: Wire, request_id: str, fault: Fault | None
    ) -> tuple[bytes, Usage]:
        """Return the body of a model's answer, and its tokens."""
        if wire.refunds:
            cached, written = self._marked.look(chat.model, chat.blocks)
        else:
            cached, written = self._cache.cached_tokens(chat.model, chat.texts), 0
        text = self._models[chat.model].answer(chat)
        completion = complete(text, chat, Usage(prompt_tokens, cached, 0, written), fault)
        return wire.answer(request_id, chat.model, completion, fault), completion.usage

    async def _break(
        self, request: web.BaseRequest, payload: bytes, fault: Fault, headers: dict[str, str]
    ) -> web.StreamResponse:
        if fault.kind == "drop":
            raise _close(request)
        if fault.kind in {"cut", "trickle", "oversized"}:
            return await self._stream(request, payload, fault, headers)
        body, content_type = broken_body(payload, fault.kind)
        if fault.kind == "504":
            return _response(504, body, headers, content_type)
        self._counts.answered += 1
        return _response(200, body, headers, content_type)

    async def _stream(
        self, request: web.BaseRequest, payload: bytes, fault: Fault, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Write the body in pieces: half of it, a byte at a time, or too much of it."""
        response = web.StreamResponse(headers=headers | {"Content-Type": "application/json"})
        response.content_length = len(payload)
        await response.prepare(request)
        if fault.kind == "cut":
            await response.write(payload[: len(payload) // 2])
            raise _close(request)
        step = 1 if fault.kind == "trickle" else WRITE_BYTES
        for start in range(0, len(payload), step):
            await response.write(payload[start : start + step])
            if fault.kind == "trickle" and await self._pause(TRICKLE_S if fault.seconds is None else fault.seconds):
                raise _close(request)
        await response.write_eof()
        self._counts.answered += 1
        return response

    async def _pause(self, seconds: float) -> bool:
        """Wait, but no longer than until the server stops; return whether it does."""
        if seconds <= 0:
            return False
        if seconds <= STOP_S:
            await asyncio.sleep(seconds)
            return self._stopping is not None and self._stopping.is_set()
        assert self._stopping is not None  # noqa: S101  # set while the server runs
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


async def _read(request: web.BaseRequest) -> bytes:
    """Return the body, at most 4 MB of it.

    Raises: RefusedRequestError for more.
    """
    pieces: list[bytes] = []
    length = request.content_length or 0
    while length <= MAX_BODY_BYTES:
        piece = await request.content.readany()
        if not piece:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.append(piece)
        length = max(length, sum(map(len, pieces)))
    raise RefusedRequestError(
        413, f"The request is larger than {MAX_BODY_BYTES:,} bytes.", kind="invalid_request_error", code="too_large"
    )


def _response(
    status: int, body: bytes, headers: dict[str, str] | None = None, content_type: str = "application/json"
) -> web.Response:
    return web.Response(status=status, body=body, headers=headers, content_type=content_type)


def _same_key(given: str, key: str) -> bool:
    # aiohttp hands on bytes that are not UTF-8 as surrogates.
    return hmac.compare_digest(given.encode(errors="surrogateescape"), key.encode())


def _prompt_tokens(asked: Asked) -> int:
    if isinstance(asked, EmbeddingRequest):
        return sum(count_tokens(text) for text in asked.texts)
    return sum(block.tokens for block in asked.blocks) or count_prompt_tokens(asked.texts)


def _unknown_model(name: str) -> RefusedRequestError:
    return RefusedRequestError(
        404,
        f"The model {name[:80]!r} does not exist.",
        kind="invalid_request_error",
        code="model_not_found",
        param="model",
    )


def _too_many(wire: Wire, wait_s: float, headers: dict[str, str]) -> web.Response:
    headers |= {"retry-after": str(math.ceil(wait_s)), "retry-after-ms": str(math.ceil(wait_s * 1000))}
    message = f"Rate limit reached. Please try again in {math.ceil(wait_s * 1000)}ms."
    error = RefusedRequestError(429, message, kind="requests", code="rate_limit_exceeded")
    return _response(429, wire.error(error), headers)


def _failed(wire: Wire, fault: Fault, headers: dict[str, str]) -> web.Response:
    error = wire.failure(fault.kind)
    if fault.seconds is not None:
        headers |= {"retry-after": f"{fault.seconds:g}", "retry-after-ms": str(math.ceil(fault.seconds * 1000))}
    return _response(error.status, wire.error(error), headers)


def _close(request: web.BaseRequest) -> _ConnectionClosedError:
    if request.transport is not None:
        request.transport.abort()
    return _ConnectionClosedError()
