"""`calls prune`: what leaves the journal, said before it goes."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from safetycatch.cli.journal import Json, OfRun, find_journal, open_journal, run_id_of
from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from safetycatch.calls.pruning import Kept, Pruned

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
AGE = re.compile(r"(\d{1,6})\s*([smhd])")


def prune(
    older_than: Annotated[str | None, typer.Option(help="Only what was sent longer ago: 30d, 12h, 90m.")] = None,
    run: OfRun = None,
    even_referenced: Annotated[
        bool,
        typer.Option(
            "--even-referenced/--keep-referenced",
            help="Also what stored runs and certificates refer to, and unfinished runs resume from.",
        ),
    ] = False,
    even_perhaps_paid: Annotated[
        bool, typer.Option("--even-perhaps-paid", help="Also the records of requests whose bill is not known.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove calls that no stored run or certificate refers to; asked for again, they are paid for again."""
    from safetycatch.calls import pruning
    from safetycatch.cli.output import Output

    output = Output(json=json)
    age_s = None if older_than is None else age(older_than)
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not json
    if not (dry_run or yes or terminal):
        raise UsageError(
            "nobody is there to be asked", where="safetycatch calls prune", expected="a terminal, --yes or --dry-run"
        )
    path = find_journal()
    if path is None:
        output.document({"removed": False, **asdict(pruning.Pruned(0, 0.0, 0, 0, 0, 0))})
        output.line("no call yet: safetycatch run FILE")
        return
    with open_journal() as journal:
        old = pruning.Old(None if age_s is None else time.time() - age_s, run_id_of(journal, run))
    kept = _Kept(even_referenced=even_referenced, even_perhaps_paid=even_perhaps_paid)
    found = pruning.outlook(path, old, kept())
    removed = None
    if found.requests and not dry_run:
        if not yes:
            output.line(_goes(found, "would remove"))
            if not typer.confirm("Remove them?"):
                output.line("nothing was removed")
                return
        removed = pruning.prune(path, old, kept)
    output.document({"removed": removed is not None, **asdict(removed or found)})
    output.line(_goes(removed, "removed") if removed else _goes(found, "would remove"))


def age(text: str) -> float:
    """Return the seconds that `30d`, `12h`, `90m` or `10s` mean.

    Raises: UsageError.
    """
    match = AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"found {text[:40]!r}", where="--older-than", expected="a number and s, m, h or d", fix="30d")
    return float(match[1]) * UNITS_S[match[2]]


class _Kept:
    """Finds what stays, each time it is asked: runs may have come or gone since."""

    def __init__(self, *, even_referenced: bool, even_perhaps_paid: bool) -> None:
        self._even_referenced, self._even_perhaps_paid = even_referenced, even_perhaps_paid

    def __call__(self) -> Kept:
        from safetycatch.calls.pruning import Kept
        from safetycatch.cli.reading import open_store
        from safetycatch.store.references import references

        store = None if self._even_referenced else open_store()
        if store is None:
            return Kept(perhaps_paid=not self._even_perhaps_paid)
        found = references(store)
        return Kept(found.call_keys, found.unfinished, found.calibrations, perhaps_paid=not self._even_perhaps_paid)


def _goes(found: Pruned, verb: str) -> str:
    from safetycatch.report.numbers import money

    kept = [f"{found.kept:,} kept: runs or certificates refer to them, or they were perhaps paid"] if found.kept else []
    if not found.requests:
        return " · ".join(["nothing to remove", *kept])
    what = f"{found.requests:,} requests: {found.answered:,} answered for {money(found.answered_usd)}"
    perhaps = f", {found.perhaps_paid:,} perhaps paid" if found.perhaps_paid else ""
    if verb == "removed":
        space = "their space is used again" if found.freed_bytes is None else f"{_size(found.freed_bytes)} freed"
    else:
        space = f"about {_size(found.freed_bytes or 0)}"
    return " · ".join([f"{verb} {what}{perhaps}", space, *kept])


def _size(n_bytes: int) -> str:
    size = float(n_bytes)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
