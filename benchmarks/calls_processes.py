"""Servers and clients in processes of their own, and what the system says they took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple, Self

HERE = Path(__file__).parent
SANDBOX = (
    "import json, sys; from safetycatch.sandbox import SandboxSettings, serve;"
    " serve(SandboxSettings.from_options(**json.loads(sys.argv[1])))"
)


class Server:
    """A server for the length of a `with` block: the sandbox with these options, or with `bare_s` one that only waits.

    `url` is its base URL.
    """

    def __init__(self, bare_s: float | None = None, **options: Any) -> None:
        command = ["import calls_server; calls_server.main()", str(bare_s)]
        if bare_s is None:
            command = [SANDBOX, json.dumps(options)]
        self.process = subprocess.Popen([sys.executable, "-c", *command], cwd=HERE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def stats(self) -> dict[str, Any]:
        """Return what the server counted so far."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats", timeout=30) as reply:  # noqa: S310
            return json.loads(reply.read())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


class Ended(NamedTuple):
    """How a process went: exit status (negative: signal), wall and CPU seconds, highest RSS in MB, its output."""

    status: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    out: str
    err: str

    @property
    def found(self) -> dict[str, Any]:
        """The last line, a JSON object."""
        return json.loads(self.out.strip().splitlines()[-1])


class Process:
    """A process whose resources are counted; with `line`, wait for what it prints."""

    def __init__(self, command: list[str], folder: Path | None = None, env: dict[str, str] | None = None) -> None:
        self.began = time.perf_counter()
        # A session of its own: what a harness starts ends with it.
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._err: list[str] = []
        self._out: list[str] = []
        self._reading = threading.Thread(target=self._drain, daemon=True)
        self._reading.start()

    def _drain(self) -> None:
        assert self.process.stderr is not None
        self._err.extend(self.process.stderr)

    def line(self, wanted: str) -> None:
        """Wait until `wanted` is printed, or the process ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._out.append(line)
            if line.strip() == wanted:
                return

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        # Not by `Popen`, which would look whether it has ended, and so take the counts of its resources.
        os.kill(self.process.pid, number)

    def end(self, limit_s: float = 600) -> Ended:
        """Wait for the end; after `limit_s` seconds the process and what it started are killed."""
        timer = threading.Timer(limit_s, os.killpg, (self.process.pid, signal.SIGKILL))
        timer.start()
        assert self.process.stdout is not None
        self._out.extend(self.process.stdout)
        self._reading.join()
        _, status, used = os.wait4(self.process.pid, 0)
        timer.cancel()
        self.process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - self.began
        cpu_s = used.ru_utime + used.ru_stime
        out, err = "".join(self._out), "".join(self._err)
        self.process.stdout.close()
        return Ended(self.process.returncode, wall_s, cpu_s, used.ru_maxrss * 1024 / 1e6, out, err)


def start(server: Server | str, folder: Path, **job: Any) -> Process:
    """Start the measured script on a server (or URL)."""
    url = server if isinstance(server, str) else server.url
    whole = {"client": "engine", "n": 100, "salt": "job", "concurrency": 64, "model": "echo"} | job
    whole |= {"url": url, "folder": str(folder)}
    return Process([sys.executable, "-c", "import calls_client; calls_client.main()", json.dumps(whole)], HERE)


def run(server: Server | str, folder: Path, **job: Any) -> dict[str, Any]:
    """Run the measured script to its end; return what it found. Raises: RuntimeError when it failed."""
    ended = start(server, folder, **job).end()
    if ended.status not in {0, 40}:
        raise RuntimeError(f"the client ended with {ended.status}: {ended.err[-2000:]}")
    return ended.found | {"process_wall_s": ended.wall_s, "process_cpu_s": ended.cpu_s}
