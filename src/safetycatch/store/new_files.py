"""Files for a user's own folder: all of them or none, each whole, and over nothing else."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_new(folder: Path, files: Mapping[str, str | bytes]) -> dict[str, str]:
    """Write `files` into `folder`; return `written` or `unchanged` for each.

    Raises: UsageError when one of them holds something else: nothing is written then.
    """
    wanted = {name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()}
    found = {name: _content(folder / name) for name in wanted}
    for name, content in found.items():
        if content is not None and content != wanted[name]:
            raise UsageError(
                "the file holds something else",
                where=str(folder / name),
                expected="no file of that name, or this run's own",
                fix="--out another folder, or move the file away",
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in found.items():
            if content is None:
                _write(folder / name, wanted[name])
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(folder), fix="--out …") from None
    return {name: "written" if content is None else "unchanged" for name, content in found.items()}


def _content(path: Path) -> bytes | None:
    """Return what lies at `path`; something that is no plain file counts as other content."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return b""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), fix="--out another folder") from None


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and over nothing: another process may have been quicker."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        Path(file.name).chmod(0o644)
        os.link(file.name, path)
