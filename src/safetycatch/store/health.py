"""Whether a folder can be a store: ours, writable, with space left, with locks that exclude."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.errors import StoreError
from safetycatch.store.disk import DISK, FOLDER_MODE, Disk, Temporary, Tree
from safetycatch.store.locks import exclusion_fault

if TYPE_CHECKING:
    from pathlib import Path

MIN_FREE_BYTES = 64 << 20
PROBE_BYTES = 4096
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """What was found; `reason` is empty when the folder is usable, else it says why not and what to do."""

    writable: bool
    free_bytes: int
    locks_work: bool
    reason: str

    @property
    def usable(self) -> bool:
        """True when nothing speaks against the folder."""
        return not self.reason


def probe(root: Path, *, disk: Disk = DISK, min_free_bytes: int = MIN_FREE_BYTES) -> StoreHealth:
    """Make the folder `root` when missing (0700), try it out and return what was found; never raises OSError."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            root.mkdir(FOLDER_MODE)
            root.chmod(FOLDER_MODE)
        status = root.stat()
    except OSError as error:
        return StoreHealth(False, 0, False, f"{root}: cannot be made or read: {error.strerror}")
    if not stat.S_ISDIR(status.st_mode):
        return StoreHealth(False, 0, False, f"{root} is no folder")
    if status.st_uid != os.geteuid():
        return StoreHealth(
            False, 0, False, f"{root} belongs to user {status.st_uid}, not to you ({os.geteuid()}); use another folder"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
        return StoreHealth(False, 0, False, f"others may write into {root}; fix: chmod go-w {root}")
    free = shutil.disk_usage(root).free
    try:
        with Tree(root, disk).folder() as folder, Temporary(disk, folder, root / "probe") as file:
            file.write(bytes(PROBE_BYTES))
            file.seal()
            fault = exclusion_fault(file, folder, disk)
    except (OSError, StoreError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        code = cause.errno if isinstance(cause, OSError) else None
        if code in NO_LOCKS:
            return StoreHealth(True, free, False, f"{root} has no locks ({error}); use a folder on a local disk")
        return StoreHealth(False, free, False, f"{root} is not writable: {error}")
    if fault:
        return StoreHealth(
            True,
            free,
            False,
            f"locks do not exclude in {root}: {fault}; use a folder on a local disk, not a shared one",
        )
    if free < min_free_bytes:
        reason = f"{root} has {free / 1e6:.0f} MB free, at least {min_free_bytes / 1e6:.0f} MB are needed; free some"
        return StoreHealth(True, free, True, reason)
    return StoreHealth(True, free, True, "")
