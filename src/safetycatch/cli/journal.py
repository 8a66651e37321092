"""The journal of the current folder's project, and what people call its runs and calls."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from safetycatch.calls.journal_reading import JournalReader

JOURNAL = "calls.db"
KEY_SHOWN = 12
MIN_PREFIX = 4
SHOWN_MATCHES = 5

Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
OfRun = Annotated[str | None, typer.Option("--run", help="Only of this run: an id, its unique beginning, or 'last'.")]


def find_journal() -> Path | None:
    """Return where the journal lies, None before the first call."""
    from safetycatch.project import find_project

    path = find_project(Path.cwd()).store_root / JOURNAL
    return path if path.exists() else None


def open_journal() -> JournalReader:
    """Open the journal to read.

    Raises: UsageError before the first call; StoreError when it cannot be read.
    """
    from safetycatch.calls.journal_reading import JournalReader

    path = find_journal()
    if path is None:
        raise UsageError("no call was made yet", where=str(Path.cwd()), fix="safetycatch run FILE")
    return JournalReader.open(path)


def run_id_of(journal: JournalReader, run: str | None) -> str | None:
    """Return the id of a run that the journal or the store knows.

    Raises: UsageError when neither does.
    """
    from safetycatch.calls.history import runs_of
    from safetycatch.cli.reading import load

    if run is None or run in runs_of(journal):
        return run
    return load(run).run_id


def key_of(journal: JournalReader, prefix: str) -> str:
    """Return the one key that begins with `prefix`.

    Raises: UsageError when there is none, or more than one.
    """
    from safetycatch.calls.history import keys_from

    wanted = prefix.strip().lower()
    if len(wanted) < MIN_PREFIX or not re.fullmatch(r"[0-9a-f]{1,64}", wanted):
        raise UsageError(
            f"{prefix[:80]!r} is no key", expected=f"{MIN_PREFIX} or more digits of 0-9 a-f", fix="safetycatch calls ls"
        )
    found = keys_from(journal, wanted, SHOWN_MATCHES + 1)
    if len(found) != 1:
        shown = ", ".join(one[: max(len(wanted) + 2, KEY_SHOWN)] for one in found[:SHOWN_MATCHES])
        raise UsageError(
            f"{'more than one call' if found else 'no call'} has a key that begins with {wanted!r}",
            where=str(journal.path),
            expected=shown,
            fix="" if found else "safetycatch calls ls",
        )
    return found[0]
