"""Files that are whole or absent: hidden temporary file, fsync, rename; one folder tree, never through a link."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING, Any, Self

from safetycatch.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
TEMPORARY_PREFIX = ".tmp-"
TEMPORARY_TRIES = 100
# A file changed this recently may change again without its time stamps moving (their tick is 1-10 ms): not remembered.
UNSETTLED_NS = 100_000_000
HASH_BLOCK_BYTES = 1 << 20


class Disk:
    """The system calls that can fail half-way; fault tests pass one that fails, or dies, at the n-th call."""

    def open(self, name: str, flags: int, folder: int) -> int:
        """Open `name` inside the open folder `folder`, never through a link."""
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE, dir_fd=folder)

    def write(self, fd: int, data: memoryview) -> int:
        """Write some of `data`; return how many bytes."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Wait until the file or folder is on the medium."""
        os.fsync(fd)

    def rename(self, old: str, new: str, folder: int, target: int) -> None:
        """Move `old` of `folder` to `new` of `target` in one step, replacing what is there."""
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=target)

    def unlink(self, name: str, folder: int) -> None:
        """Remove the name `name` from `folder`."""
        os.unlink(name, dir_fd=folder)

    def mkdir(self, name: str, folder: int) -> None:
        """Make the folder `name` inside `folder`."""
        os.mkdir(name, FOLDER_MODE, dir_fd=folder)

    def flock(self, fd: int, operation: int) -> None:
        """Take or release the kernel lock of an open file."""
        fcntl.flock(fd, operation)


DISK = Disk()


@contextlib.contextmanager
def named(action: str, path: Path) -> Generator[None]:
    """Turn an OSError inside the block into a StoreError that says what could not be done to which file.

    Raises: StoreError.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "; nothing was changed: free some space and run the same command again"
        raise StoreError(f"cannot {action} {path}: {reason}{hint}") from error


class Temporary:
    """A file under a hidden name, locked by its writer so that a sweep can tell whether that writer still lives."""

    def __init__(self, disk: Disk, folder: int, place: Path) -> None:
        self._disk, self._folder, self._place = disk, folder, place
        self._digest = hashlib.sha256()
        self._sealed = False
        self.size = 0
        with named("write", place):
            self.name, self._fd = self._create()

    def _create(self) -> tuple[str, int]:
        for _ in range(TEMPORARY_TRIES):
            name = TEMPORARY_PREFIX + secrets.token_hex(8)
            fd = self._disk.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, self._folder)
            try:
                os.fchmod(fd, FILE_MODE)
                with contextlib.suppress(BlockingIOError):
                    self._disk.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(fd).st_nlink:
                        return name, fd
            except BaseException:
                os.close(fd)
                with contextlib.suppress(OSError):
                    self._disk.unlink(name, self._folder)
                raise
            os.close(fd)  # a sweep took the new file for a stray; it removes it
        raise StoreError(f"no temporary file could be kept in {TEMPORARY_TRIES} tries")

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written so far."""
        return self._digest.hexdigest()

    def write(self, data: Any) -> int:
        """Write all of `data` (bytes or a buffer); return its length.

        Raises: StoreError naming the file.
        """
        view = memoryview(data).cast("B")
        length = len(view)
        self._digest.update(view)
        with named(f"write (after {self.size} bytes)", self._place):
            while view:
                done = self._disk.write(self._fd, view)
                self.size += done
                view = view[done:]
        return length

    def seal(self) -> None:
        """Bring the content to the medium, so that `publish` only has to rename.

        Raises: StoreError naming the file.
        """
        if not self._sealed:
            with named("write", self._place):
                self._disk.fsync(self._fd)
            self._sealed = True

    def publish(self, name: str) -> None:
        """Make the file visible as `name`, whole, replacing what is there.

        Raises: StoreError naming the file.
        """
        self.seal()
        with named("write", self._place.with_name(name)):
            self._disk.rename(self.name, name, self._folder, self._folder)
            self.name = ""
            self._disk.fsync(self._folder)

    def close(self) -> None:
        """Close the file; remove it when it was not published."""
        if self.name:
            with contextlib.suppress(OSError):
                self._disk.unlink(self.name, self._folder)
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Tree:
    """One folder and what lies below it; every name is one safe component, links are refused at every level."""

    def __init__(self, root: Path, disk: Disk = DISK) -> None:
        self.root, self.disk = root, disk
        self._digests: dict[tuple[int, int], tuple[tuple[int, int, int], str]] = {}

    def path(self, *parts: str) -> Path:
        """Return the path of `parts` for messages and foreign programs.

        Raises: StoreError for a component that is empty, has a separator, or climbs.
        """
        for part in parts:
            if not part or part in {".", ".."} or "/" in part or "\0" in part:
                raise StoreError(f"{part!r} is no file name inside the store {self.root}")
        return self.root.joinpath(*parts)

    @contextlib.contextmanager
    def folder(self, *parts: str, create: bool = False) -> Generator[int]:
        """Open a folder of the tree, component by component; yields its descriptor.

        Raises: FileNotFoundError; StoreError when a component is a link or no folder.
        """
        self.path(*parts)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fd = os.open(self.root, flags)
        try:
            for depth, part in enumerate(parts, 1):
                made = False
                if create:
                    with contextlib.suppress(FileExistsError):
                        if not _exists(part, fd):
                            self.disk.mkdir(part, fd)
                            made = True
                try:
                    deeper = os.open(part, flags | os.O_NOFOLLOW, dir_fd=fd)
                except OSError as error:
                    if error.errno in (errno.ENOTDIR, errno.ELOOP):
                        place = self.root.joinpath(*parts[:depth])
                        raise StoreError(f"{place} is a link or no folder; the store follows no links") from None
                    raise
                above, fd = fd, deeper
                try:
                    if made:
                        os.fchmod(fd, FOLDER_MODE)
                        self.disk.fsync(above)
                finally:
                    os.close(above)
            yield fd
        finally:
            os.close(fd)

    def names(self, *parts: str) -> list[str]:
        """Return the sorted visible names in a folder; none when it does not exist."""
        try:
            with self.folder(*parts) as fd:
                return sorted(name for name in os.listdir(fd) if not name.startswith("."))  # noqa: PTH208 (a descriptor)
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def opened(self, *parts: str) -> Generator[int]:
        """Open a regular file for reading; yields its descriptor.

        Raises: FileNotFoundError; StoreError when it is a link or no regular file; OSError.
        """
        with self.folder(*parts[:-1]) as folder:
            try:
                fd = self.disk.open(parts[-1], os.O_RDONLY, folder)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
                    raise StoreError(f"{self.path(*parts)} is a link or no regular file") from None
                raise
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise StoreError(f"{self.path(*parts)} is no regular file")
            yield fd
        finally:
            os.close(fd)

    def content(self, *parts: str, limit: int) -> bytes:
        """Return a file's bytes.

        Raises: FileNotFoundError; StoreError above `limit` bytes or through a link; OSError.
        """
        with self.opened(*parts) as fd, os.fdopen(fd, "rb", closefd=False) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"{self.path(*parts)} is larger than {limit} bytes")
        return data

    def sha256(self, fd: int, *, fresh: bool = False) -> str:
        """Return the SHA-256 of an open file; remembered in this process until size, times or inode change."""
        status = os.fstat(fd)
        key, seen = (status.st_dev, status.st_ino), (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._digests.get(key)
        if known and known[0] == seen and not fresh:
            return known[1]
        settled = time.time_ns() - max(status.st_ctime_ns, status.st_mtime_ns) > UNSETTLED_NS
        digest, offset = hashlib.sha256(), 0
        while block := os.pread(fd, HASH_BLOCK_BYTES, offset):
            digest.update(block)
            offset += len(block)
        if settled:
            self._digests[key] = (seen, digest.hexdigest())
        return digest.hexdigest()

    @contextlib.contextmanager
    def temporary(self, *parts: str) -> Generator[Temporary]:
        """Start the file `parts` in its folder (made when missing); it is removed unless published in the block.

        Raises: StoreError naming the file.
        """
        with contextlib.ExitStack() as stack:
            with named("write", self.path(*parts)):
                folder = stack.enter_context(self.folder(*parts[:-1], create=True))
            yield stack.enter_context(Temporary(self.disk, folder, self.path(*parts)))

    def write(self, data: bytes, *parts: str) -> None:
        """Write a file whole or not at all, replacing what is there.

        Raises: StoreError naming the file.
        """
        with self.temporary(*parts) as file:
            file.write(data)
            file.publish(parts[-1])

    def move(self, old: tuple[str, ...], new: tuple[str, ...]) -> bool:
        """Move a file to another folder of the tree; return False when it is not there."""
        try:
            with self.folder(*old[:-1]) as folder, self.folder(*new[:-1], create=True) as target:
                self.disk.rename(old[-1], new[-1], folder, target)
                self.disk.fsync(target)
                self.disk.fsync(folder)
        except FileNotFoundError:
            return False
        return True

    def sweep(self, *parts: str) -> int:
        """Remove temporary files whose writers are dead, here and below; return how many."""
        try:
            with self.folder(*parts) as folder, os.scandir(folder) as entries:
                inside = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
                strays = [name for name, is_folder in inside if name.startswith(TEMPORARY_PREFIX) and not is_folder]
                removed = sum(self._sweep_one(name, folder) for name in strays)
        except FileNotFoundError:
            return 0
        return removed + sum(self.sweep(*parts, name) for name, is_folder in inside if is_folder)

    def _sweep_one(self, name: str, folder: int) -> bool:
        try:
            fd = self.disk.open(name, os.O_RDWR, folder)
        except OSError:
            return False
        try:
            self.disk.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.disk.unlink(name, folder)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
