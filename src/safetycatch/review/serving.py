"""The page on this machine: a socket on loopback, and a server that ends with a signal or a `with` block."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetycatch.errors import UsageError
from safetycatch.review.guard import HOST, Keys

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.types import ASGIApp
    from uvicorn import Server

START_S = 30.0
STOP_S = 5
BACKLOG = 128
POLL_S = 0.01


def bound(port: int) -> socket.socket:
    """Return a listening socket on this machine's loopback; port 0 takes a free one.

    Raises: UsageError when the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"port {port} is not free ({error.strerror})", where="safetycatch review", fix="--port 0 takes a free one"
        ) from None
    return listener


def keys_of(listener: socket.socket) -> Keys:
    """Return fresh secrets for a server on this socket."""
    return Keys(int(listener.getsockname()[1]))


def _server(app: ASGIApp) -> Server:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,  # who is behind a proxy is not on this machine
        timeout_graceful_shutdown=STOP_S,
    )
    return uvicorn.Server(config)


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, which is raised again at the end.

    Raises: KeyboardInterrupt; whatever the caller's handler of SIGTERM raises.
    """
    _server(app).run(sockets=[listener])


@contextmanager
def running(app: ASGIApp, listener: socket.socket) -> Generator[None]:
    """Serve from a thread of this process for the length of a `with` block."""
    server = _server(app)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(POLL_S)
        yield
    finally:
        server.should_exit = True
        thread.join(START_S)
