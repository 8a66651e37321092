"""The sandbox: an OpenAI-compatible server on loopback with real tiny learners, an echo model and scripted faults."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import math
from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from aiohttp import web

from safetycatch.errors import UsageError
from safetycatch.sandbox.faults import BROKEN_FAULTS, STATUS_FAULTS, FaultScript
from safetycatch.sandbox.features import embedding
from safetycatch.sandbox.limits import RateLimits
from safetycatch.sandbox.models import ReplayMissingError, load_models
from safetycatch.sandbox.replies import (
    broken_body,
    complete,
    completion_body,
    embeddings_body,
    error_body,
    models_body,
)
from safetycatch.sandbox.requests import MAX_BODY_BYTES, RefusedRequestError, read_chat, read_embedding
from safetycatch.sandbox.tokens import PrefixCache, count_prompt_tokens, count_tokens

if TYPE_CHECKING:
    from safetycatch.sandbox.faults import Fault
    from safetycatch.sandbox.settings import SandboxSettings

HOST = "127.0.0.1"
BACKLOG = 1_024
HANG_S = 3_600.0
TRICKLE_S = 0.05
STOP_S = 2.0
KEPT_DISTINCT = 1_000_000
EMBEDDING_MODELS = frozenset({"embedding", "text-embedding-3-small", "text-embedding-3-large"})
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
        self._cache = PrefixCache()
        self._limits: RateLimits | None = None
        self._listener: asyncio.Server | None = None
        self._web: web.Server | None = None
        self._stopping: asyncio.Event | None = None
        self._received = self._chats = self._answered = self._billed = self._in_flight = self._most_in_flight = 0
        self._connections = self._prompt_tokens = self._cached_tokens = self._completion_tokens = 0
        self._by_status: Counter[int] = Counter()
        self._by_model: Counter[str] = Counter()
        self._distinct: set[int] = set()

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

        `billed`: chat requests whose model worked, delivered or not. `distinct`: different bodies among them.
        """
        return {
            "received": self._received,
            "answered": self._answered,
            "billed": self._billed,
            "distinct": len(self._distinct),
            "in_flight": self._in_flight,
            "most_in_flight": self._most_in_flight,
            "by_status": {str(status): count for status, count in sorted(self._by_status.items())},
            "by_model": dict(sorted(self._by_model.items())),
            "faults": dict(sorted(self._script.strikes.items())),
            "connections": self._connections,
            "prompt_tokens": self._prompt_tokens,
            "cached_tokens": self._cached_tokens,
            "completion_tokens": self._completion_tokens,
        }

    def _connected(self) -> asyncio.Protocol:
        self._connections += 1
        assert self._web is not None  # noqa: S101  # set before the listener exists
        return self._web()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == "/healthz":
            return _response(200, b'{"status": "ok"}')
        if path == "/stats":
            return _response(200, json.dumps(self.stats()).encode())
        self._received += 1
        try:
            response = await self._route(request, path)
        except RefusedRequestError as error:
            response = _response(error.status, error_body(error.message, error.kind, error.code, error.param))
        except ReplayMissingError as error:
            body = error_body(str(error), "invalid_request_error", "replay_missing", "metadata")
            response = _response(404, body)
        except _ConnectionClosedError:
            # aiohttp wants a response even where the connection is gone; it goes nowhere and is not counted.
            return web.Response()
        except Exception:  # noqa: BLE001  # a client must get an answer whatever our bug is
            _log.exception("the sandbox failed at %s", path)
            response = _response(500, error_body("The sandbox failed; see its log.", "server_error", "sandbox_bug"))
        self._by_status[response.status] += 1
        return response

    async def _route(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        key = self.settings.key
        if key is not None and not _same_key(request.headers.get("Authorization", ""), key):
            raise RefusedRequestError(
                401, "Incorrect API key provided.", kind="invalid_request_error", code="invalid_api_key"
            )
        method = request.method
        if path == "/v1/chat/completions" and method == "POST":
            return await self._chat(request, await _read(request))
        if path == "/v1/embeddings" and method == "POST":
            return self._embeddings(await _read(request))
        if path == "/v1/models" and method == "GET":
            return _response(200, models_body([*self._models, *sorted(EMBEDDING_MODELS)]))
        if path in {"/v1/chat/completions", "/v1/embeddings", "/v1/models"}:
            raise RefusedRequestError(405, f"{method} is not allowed at {path}.", kind="invalid_request_error")
        raise RefusedRequestError(
            404, f"Invalid URL ({method} {path})", kind="invalid_request_error", code="unknown_url"
        )

    async def _chat(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        try:
            return await self._answer(request, body)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        chat = read_chat(body)
        model = self._models.get(chat.model)
        if model is None:
            raise _unknown_model(chat.model)
        self._chats += 1
        digest = blake2b(body, digest_size=16).digest()
        request_id = f"chatcmpl-{digest.hex()[:16]}-{self._chats:x}"
        headers = {"x-request-id": request_id}
        prompt_tokens = count_prompt_tokens(chat.texts)
        if self._limits:
            now = asyncio.get_running_loop().time()
            wait_s = self._limits.admit(prompt_tokens + (chat.max_tokens or 0), now)
            headers |= self._limits.headers(now)
            if wait_s:
                return _too_many(wait_s, headers)
        fault = self._script.strike(digest, self._chats, chat.model)
        if fault and fault.kind == "hang":
            await self._pause(HANG_S if fault.seconds is None else fault.seconds)
            raise _close(request)
        if fault and fault.kind in STATUS_FAULTS:
            await self._pause(self.settings.latency.seconds(digest))
            return _failed(fault, headers)
        text = model.answer(chat)
        completion = complete(text, prompt_tokens, self._cache.cached_tokens(chat.model, chat.texts), chat.max_tokens)
        self._bill(chat.model, digest, completion.usage.prompt, completion.usage.cached, completion.usage.completion)
        await self._pause(self.settings.latency.seconds(digest))
        payload = completion_body(request_id, chat.model, completion, fault)
        if fault and fault.kind in BROKEN_FAULTS:
            return await self._break(request, payload, fault, headers)
        self._answered += 1
        return _response(200, payload, headers)

    def _bill(self, model: str, digest: bytes, prompt: int, cached: int, completion: int) -> None:
        self._billed += 1
        self._by_model[model] += 1
        self._prompt_tokens += prompt
        self._cached_tokens += cached
        self._completion_tokens += completion
        if len(self._distinct) < KEPT_DISTINCT:
            self._distinct.add(int.from_bytes(digest[:8]))

    async def _break(
        self, request: web.BaseRequest, payload: bytes, fault: Fault, headers: dict[str, str]
    ) -> web.StreamResponse:
        if fault.kind == "drop":
            raise _close(request)
        if fault.kind in {"cut", "trickle", "oversized"}:
            return await self._stream(request, payload, fault, headers)
        body, content_type = broken_body(payload, fault.kind)
        self._answered += 1
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
        self._answered += 1
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

    def _embeddings(self, body: bytes) -> web.Response:
        asked = read_embedding(body)
        if asked.model not in EMBEDDING_MODELS:
            raise _unknown_model(asked.model)
        tokens = sum(count_tokens(text) for text in asked.texts)
        vectors = [embedding(text, asked.dimensions) for text in asked.texts]
        self._answered += 1
        self._by_model[asked.model] += 1
        return _response(200, embeddings_body(asked.model, vectors, tokens))


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


def _same_key(header: str, key: str) -> bool:
    # aiohttp hands on bytes that are not UTF-8 as surrogates.
    given = header.removeprefix("Bearer ").encode(errors="surrogateescape")
    return hmac.compare_digest(given, key.encode())


def _unknown_model(name: str) -> RefusedRequestError:
    return RefusedRequestError(
        404,
        f"The model {name[:80]!r} does not exist.",
        kind="invalid_request_error",
        code="model_not_found",
        param="model",
    )


def _too_many(wait_s: float, headers: dict[str, str]) -> web.Response:
    retry = {"retry-after": str(math.ceil(wait_s)), "retry-after-ms": str(math.ceil(wait_s * 1000))}
    message = f"Rate limit reached. Please try again in {math.ceil(wait_s * 1000)}ms."
    return _response(429, error_body(message, "requests", "rate_limit_exceeded"), headers | retry)


def _failed(fault: Fault, headers: dict[str, str]) -> web.Response:
    status, kind, code, message = STATUS_FAULTS[fault.kind]
    if fault.seconds is not None:
        headers |= {"retry-after": f"{fault.seconds:g}", "retry-after-ms": str(math.ceil(fault.seconds * 1000))}
    return _response(status, error_body(message, kind, code), headers)


def _close(request: web.BaseRequest) -> _ConnectionClosedError:
    if request.transport is not None:
        request.transport.abort()
    return _ConnectionClosedError()
