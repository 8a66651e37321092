"""Who writes to a journal: each writer holds the kernel's lock on a file of its own, and death gives it back.

No process id is ever guessed: a writer whose lock can be taken is dead, one that was only stopped (SIGSTOP) is not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from typing import TYPE_CHECKING

from safetycatch.folders import make_private

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".writers"
NAME = re.compile(r"[0-9a-f]{32}")
TRIES = 100

_held: set[int] = set()


def _forget_in_child() -> None:
    # A forked child shares the parent's lock: it would keep a dead parent's claims alive.
    for fd in _held:
        with contextlib.suppress(OSError):
            os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


class Writer:
    """A living writer; made by `Writers.enter`."""

    def __init__(self, name: str, path: Path, fd: int) -> None:
        self.name = name
        self._path, self._fd = path, fd
        _held.add(fd)

    def leave(self) -> None:
        """Give the lock back and remove its file."""
        if self._fd not in _held:
            return  # a forked child's copy
        _held.discard(self._fd)
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


class Writers:
    """The lock files of a journal's writers, in a folder beside it (0700, files 0600)."""

    def __init__(self, journal: Path) -> None:
        self.folder = journal.with_name(journal.name + SUFFIX)

    def enter(self) -> Writer:
        """Become a writer for as long as this process lives, or until `leave`.

        Raises: OSError.
        """
        make_private(self.folder)
        for _ in range(TRIES):
            name = secrets.token_hex(16)
            path = self.folder / name
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(fd).st_nlink:
                        return Writer(name, path, fd)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # a sweep took the new file for a dead writer's; it removes it
        raise OSError(f"no lock file could be kept in {self.folder}")

    def lives(self, name: str) -> bool:
        """Whether the writer called `name` still holds its lock."""
        return self._free(name, remove=False) is False

    def bury(self, name: str) -> bool:
        """Remove the lock file of `name` if its writer is dead; return whether it is."""
        return self._free(name, remove=True) is not False

    def names(self) -> list[str]:
        """Return the writers that left a file, alive or dead."""
        try:
            return sorted(name for name in os.listdir(self.folder) if NAME.fullmatch(name))  # noqa: PTH208 - names only
        except FileNotFoundError:
            return []

    def _free(self, name: str, *, remove: bool) -> bool | None:
        """Return whether the lock of `name` could be taken, None when there is no such file."""
        if not NAME.fullmatch(name):
            return None  # nothing that a writer of ours left: no path is made of it
        path = self.folder / name
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if remove else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            if remove:
                path.unlink(missing_ok=True)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True
