"""Fixtures of the call tests: a sandbox, a scripted server, and a run of the engine over real sockets and SQLite."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from safetycatch.calls import Budget, CallCounts, Endpoint, Engine, EngineSettings, Journal, Prices, Reply, Request
from safetycatch.sandbox import SandboxSettings, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
    from pathlib import Path


def ask(endpoint: Endpoint, i: int, model: str = "echo", replicate: int = 0, **params: Any) -> Request:
    body = {"model": model, "messages": [{"role": "user", "content": f"ticket {i}"}], "max_tokens": 20} | params
    return Request(endpoint, body, "zero", str(i), replicate, 20)


@dataclass
class Result:
    counts: CallCounts
    replies: dict[str, Reply]
    error: BaseException | None
    engine: Engine

    def states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for reply in self.replies.values():
            found[reply.state] = found.get(reply.state, 0) + 1
        return found


@pytest.fixture
def make_request():
    return ask


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "calls.db"


@pytest.fixture
def run(journal_path: Path) -> Callable[..., Result]:
    """Return a function that answers requests with a fresh engine on this test's journal."""

    def go(
        requests: Iterable[Request],
        settings: EngineSettings | None = None,
        budget: Budget | None = None,
        prices: Prices | None = None,
        on_reply: Callable[[Request, Reply], None] | None = None,
        run_id: str = "run",
        **more: Any,
    ) -> Result:
        replies: dict[str, Reply] = {}

        def collect(request: Request, reply: Reply) -> None:
            assert f"{request.candidate}/{request.example_id}/{request.replicate}" not in replies
            replies[f"{request.candidate}/{request.example_id}/{request.replicate}"] = reply
            if on_reply:
                on_reply(request, reply)

        with Journal.open(journal_path) as journal:
            more.setdefault("rng", random.Random(0))
            engine = Engine(journal, prices or Prices(), budget or Budget(), settings, run_id=run_id, **more)
            error: BaseException | None = None
            try:
                asyncio.run(engine.answer(requests, collect))
            except Exception as raised:  # noqa: BLE001
                error = raised
            return Result(engine.counts, replies, error, engine)

    return go


@pytest.fixture
def sandbox() -> Iterator[Callable[..., Any]]:
    """Return a function that starts a sandbox and gives (server, endpoint)."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(**options: Any) -> tuple[Any, Endpoint]:
            server = stack.enter_context(running(SandboxSettings.from_options(**options)))
            return server, Endpoint("sandbox", "direct", server.base_url)

        yield start


@contextmanager
def scripted(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> Generator[str]:
    """Serve `handler` on loopback in a thread; gives the base URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[web.Server, asyncio.Server]:
        site = web.Server(handler, access_log=None)
        return site, await loop.create_server(site, "127.0.0.1", 0)

    site, listener = asyncio.run_coroutine_threadsafe(start(), loop).result()

    async def stop() -> None:
        listener.close()
        await site.shutdown(0.1)
        await listener.wait_closed()

    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def server() -> Iterator[Callable[..., Endpoint]]:
    """Return a function that serves a handler and gives its endpoint."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(handler: Any, name: str = "gpu", **options: Any) -> Endpoint:
            return Endpoint(name, "direct", stack.enter_context(scripted(handler)), **options)

        yield start


@pytest.fixture
def completion() -> Callable[..., dict[str, Any]]:
    """Return a function that builds the JSON of a chat completion."""

    def build(content: Any = "yes", model: str = "m", finish: str = "stop", **message: Any) -> dict[str, Any]:
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish,
                    "message": {"role": "assistant", "content": content} | message,
                }
            ],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        }

    return build
