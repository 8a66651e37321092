"""A program that dies with us: it and all it started get SIGTERM, later SIGKILL, once our end of a pipe is closed.

`python -m safetycatch.cli.children PROGRAM ARGUMENT…` runs the program and reads its standard input to the end; the
kernel closes the other end when the parent dies, however it dies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from safetycatch.folders import make_private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DRAIN_LIMIT_S = 20.0
POLL_S = 0.05
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Child:
    """A supervised program with its output in a log file."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path) -> None:
        make_private(log.parent)
        self.log = log
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "safetycatch.cli.children", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether the program is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask the program to stop, wait, then kill it and what it started."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(DRAIN_LIMIT_S + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(command: Sequence[str]) -> int:
    """Run `command` until it ends or our standard input does; return its exit code."""
    _adopt_orphans()
    # A background job of a script inherits a SIGINT that is ignored, and Prefect's worker stops on SIGINT only.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:  # noqa: S603 - the parent's command
        threading.Thread(target=_end_with_parent, daemon=True).start()
        return process.wait()


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    _signal_all(signal.SIGTERM)
    end = time.monotonic() + DRAIN_LIMIT_S
    while descendants(os.getpid()) and time.monotonic() < end:
        time.sleep(POLL_S)
    _signal_all(signal.SIGKILL)
    os._exit(0)


def _signal_all(number: signal.Signals) -> None:
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """Return the living processes below `pid`, nearest first (from /proc; elsewhere from `ps`)."""
    parents = dict(_processes())
    found, wanted = list[int](), [pid]
    while wanted:
        wanted = [child for child, parent in parents.items() if parent in wanted]
        found += wanted
    return found


def _processes() -> list[tuple[int, int]]:
    """Return every process and its parent, without those that are dead and only waited for."""
    entries = list(Path("/proc").glob("[0-9]*/stat"))
    if not entries:
        told = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout  # noqa: S607
        return [(int(pid), int(parent)) for pid, parent in (line.split() for line in told.splitlines())]
    found: list[tuple[int, int]] = []
    for entry in entries:
        try:
            # The program's name stands in brackets and may hold anything, brackets included.
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found.append((int(entry.parent.name), int(parent)))
    return found


def _adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent dies (Linux), so that none is lost from sight."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
