"""A Prefect server of our own: a process on loopback, gone when ours is, even after `kill -9`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from safetycatch.errors import SafetycatchError
from safetycatch.folders import make_private

START_LIMIT_S = 120.0
STOP_LIMIT_S = 10.0
POLL_S = 0.05

# Telemetry off; quiet; results as JSON, never pickle. A user's own setting wins.
SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_CLI_PROMPT": "false",
}


class LocalServer:
    """Starts a server in the background; `url` answers after `wait`.

    With `full` it also serves the UI and runs schedules, as `safetycatch up` needs; a run's own server does neither.
    """

    def __init__(self, log: Path, *, port: int | None = None, full: bool = False) -> None:
        self.port = free_port() if port is None else port
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.log = log
        make_private(log.parent)
        # Prefect makes its home only below a folder that exists.
        home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
        make_private(home)
        environment = {**SETTINGS, **os.environ, "PREFECT_UI_API_URL": self.url}
        if not full:
            environment["PREFECT__SERVER_EPHEMERAL"] = "1"
        environment.pop("PREFECT_API_URL", None)
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            # Its standard input is a pipe that only we hold: when we die, however, it reads the end and leaves.
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "safetycatch.cli.local_server", str(self.port)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )

    def wait(self, limit_s: float = START_LIMIT_S) -> None:
        """Wait until the server answers.

        Raises: SafetycatchError with the end of its log when it died or took longer than `limit_s` seconds.
        """
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            if answers(self.url):
                return
            time.sleep(POLL_S)
        tail = self.log.read_text(errors="replace")[-2000:]
        self.stop()
        raise SafetycatchError(f"the local Prefect server did not start; its log {self.log} ends with:\n{tail}")

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop the server: close its pipe, then wait, then kill."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def answers(api_url: str) -> bool:
    """Whether a Prefect API answers at this address."""
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=1) as reply:  # noqa: S310 - our own loopback address
            return reply.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _leave_with_parent() -> None:
    while os.read(0, 1):
        pass
    # The database is SQLite in WAL mode: leaving at once loses nothing that was committed.
    os._exit(0)


def _serve(port: int) -> None:
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
        ws="websockets-sansio",
    )


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
