"""Two ways to run a sandbox: beside the caller in a thread, or in the foreground until a signal."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safetycatch.sandbox.server import STOP_S, Sandbox
from safetycatch.sandbox.settings import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Generator

START_S = 30.0


class RunningSandbox:
    """A sandbox in a thread of this process; `base_url` is ready when the constructor returns.

    Raises: UsageError when the port is taken, DataError for an unreadable file.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self._sandbox = Sandbox(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="safetycatch-sandbox", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._sandbox.start(), self._loop).result(START_S)
        except BaseException:
            self._end_thread()
            raise
        self.base_url = self._sandbox.base_url
        self.port = self._sandbox.port

    def stats(self) -> dict[str, Any]:
        """Return the server's counts, as `GET /stats` does."""
        return self._sandbox.stats()

    def stop(self) -> None:
        """Stop the server and its thread; a second call does nothing."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._sandbox.stop(), self._loop).result(STOP_S + START_S)
            self._end_thread()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


@contextmanager
def running(settings: SandboxSettings | None = None) -> Generator[RunningSandbox]:
    """Run a sandbox in a thread for the length of a `with` block."""
    server = RunningSandbox(settings or SandboxSettings())
    try:
        yield server
    finally:
        server.stop()


def serve(settings: SandboxSettings) -> None:
    """Run a sandbox in the foreground until SIGINT or SIGTERM; prints its URL as the first line.

    Raises: UsageError when the port is taken, DataError for an unreadable file.
    """
    asyncio.run(_serve(settings))


async def _serve(settings: SandboxSettings) -> None:
    sandbox = Sandbox(settings)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await sandbox.start()
    sys.stdout.write(f"sandbox listening on {sandbox.base_url}\n")
    sys.stdout.flush()
    await stopped.wait()
    await sandbox.stop()
