"""Which Prefect server a run talks to: the one that is named, the one that `up` started, or one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from safetycatch.cli.local_server import SETTINGS, LocalServer, answers

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

UP = "up.json"
MAX_UP_BYTES = 10_000
SEND_REST_S = 5.0


@dataclass(slots=True)
class Connection:
    """The server in use; `origin` says why. A server of our own is waited for with `ready` and stopped at the end."""

    url: str
    origin: str
    server: LocalServer | None = None

    def ready(self) -> None:
        """Wait until a server of our own answers.

        Raises: SafetycatchError with its log when it does not.
        """
        if self.server is not None:
            self.server.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.server is not None:
            _send_rest()
            self.server.stop()
            if kind is None:
                with contextlib.suppress(OSError):
                    self.server.log.unlink()


def connect(store_root: Path) -> Connection:
    """Choose the server and name it in the environment; to be called before prefect is imported.

    A server of our own starts at once, in the background.
    """
    settle()
    named = os.environ.get("PREFECT_API_URL")
    if named:
        return Connection(named, "PREFECT_API_URL")
    found = running_url(store_root)
    if found:
        os.environ["PREFECT_API_URL"] = found
        return Connection(found, "safetycatch up")
    server = LocalServer(store_root / "logs" / f"server-{os.getpid()}.log")
    os.environ["PREFECT_API_URL"] = server.url
    return Connection(server.url, "a server for this run", server)


def settle() -> None:
    """Set Prefect's settings that differ from its defaults: no telemetry, quiet, no pickle; the user's own win."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def _send_rest() -> None:
    """Let Prefect send the log lines and events that it still holds before their server goes."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=SEND_REST_S)


def mute_prefect() -> None:
    """Keep Prefect's own lines off the terminal: errors are told once, by us; its log and UI still get everything."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


def running_url(store_root: Path) -> str | None:
    """Return the address that `up` recorded in the store when it is on this machine and answers."""
    try:
        with (store_root / UP).open("rb") as file:
            recorded = json.loads(file.read(MAX_UP_BYTES))
        url = recorded["api_url"]
        host = urlsplit(url).hostname
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return url if host == "127.0.0.1" and answers(url) else None
