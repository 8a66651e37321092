"""One holder at a time, across processes: kernel locks, released by death, so that no process id is ever guessed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING

from safetycatch.errors import StoreError
from safetycatch.store.disk import DISK, FILE_MODE, Disk, named

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from safetycatch.store.disk import Temporary

FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.2
MESSAGE_EVERY_S = 15.0
MAX_HOLDER_BYTES = 64

_held: dict[str, tuple[int, int]] = {}  # path -> (descriptor, thread)
_guard = threading.Lock()


def _forget_in_child() -> None:
    # A forked child shares the parent's open file: closing its copy keeps the lock with the parent alone.
    for fd, _ in _held.values():
        with contextlib.suppress(OSError):
            os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def _try(path: Path, disk: Disk) -> int | None:
    """Return the descriptor of the locked file, or None while another holds it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, FILE_MODE)
    try:
        disk.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        opened = os.fstat(fd)
        with contextlib.suppress(FileNotFoundError):
            seen = path.lstat()
            # The last holder removes the file: a lock on a removed file excludes nobody.
            if (seen.st_dev, seen.st_ino) == (opened.st_dev, opened.st_ino):
                os.ftruncate(fd, 0)
                os.pwrite(fd, str(os.getpid()).encode(), 0)
                return fd
    except BlockingIOError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def held(path: Path, disk: Disk = DISK) -> bool:
    """Whether a living process (this one too) holds the lock file `path`; nothing is made or changed."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        disk.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _holder(path: Path) -> str:
    try:
        text = path.read_bytes()[:MAX_HOLDER_BYTES].decode("ascii", "replace")
    except OSError:
        return "another process"
    return f"process {text}" if text.isdigit() else "another process"


@contextlib.contextmanager
def lock(
    path: Path,
    *,
    wait: Callable[[str], None] | None = None,
    timeout: float | None = None,
    what: str = "",
    disk: Disk = DISK,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[None]:
    """Hold the lock file `path` alone among all processes and threads of this machine.

    While another holds it, `wait` gets a message at once and every 15 s; `timeout` is in seconds (None: no limit,
    0: do not wait). `what` names the thing in messages. The file is removed on release.
    Raises: StoreError on timeout or an unusable lock file; RuntimeError when this thread already holds it.
    """
    key, me = str(path), threading.get_ident()
    with _guard:
        if key in _held and _held[key][1] == me:
            raise RuntimeError(f"this thread already holds {path}: waiting for itself would never end")
    thing = what or path.name
    began = clock()
    pause, next_message = FIRST_PAUSE_S, 0.0
    with named("lock", path):
        while (fd := _try(path, disk)) is None:
            waited = clock() - began
            if timeout is not None and waited >= timeout:
                raise StoreError(f"{thing} is in use by {_holder(path)}; gave up after {waited:.1f} s (lock {path})")
            if wait is not None and waited >= next_message:
                wait(f"{thing} is in use by {_holder(path)}; waiting ({waited:.0f} s so far)")
                next_message = waited + MESSAGE_EVERY_S
            sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)
    with _guard:
        _held[key] = (fd, me)
    owner = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == owner:
            with _guard:
                _held.pop(key, None)
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(fd)


def exclusion_fault(file: Temporary, folder: int, disk: Disk = DISK) -> str:
    """Return why kernel locks do not exclude where `file` lies, or "" when its lock keeps a second holder out."""
    try:
        second = disk.open(file.name, os.O_RDWR, folder)
        try:
            disk.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(second)
    except BlockingIOError:
        return ""
    return "two holders got the same lock"
