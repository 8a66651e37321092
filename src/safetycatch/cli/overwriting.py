"""Files that a user names to be written: only an older output of the same command is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

MARKED_BYTES = 200  # of a file, from its beginning; our marker stands within


def check_overwriting(path: Path, marker: str, option: str) -> None:
    """Refuse a file that holds anything but an older output, which begins with `marker`; `option` names the file.

    An empty file, a pipe and a device hold nothing that could be lost.
    Raises: UsageError for such a file, and for one that cannot be read.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        return
    try:
        with path.open("rb") as file:
            begins = file.read(MARKED_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", where=option, expected="a file") from None
    if begins and marker.encode() not in begins:
        raise UsageError(
            f"{path} is there and holds something else",
            where=option,
            expected="a new name, or a file that this command wrote before",
        )
