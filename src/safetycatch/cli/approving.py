"""`approve`, and the question that a run asks at a terminal: a person's yes to what a run would pay."""

from __future__ import annotations

import os
import select
import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from safetycatch.calls import StopFlag
    from safetycatch.cli.output import Output
    from safetycatch.store import Store, StoredRun
    from safetycatch.store.ledger import Approval, Consent

    Asker = Callable[[str, StopFlag], Consent | None]

POLL_S = 0.1
SEND, PROMOTE = "send the calls", "promote it"
MAX_RUNS = 10_000
CALIBRATING = ("calibrate-", "refine-", "sentinels-")
YES = frozenset({"y", "yes"})


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel="Evaluate")(approve)


def approve(
    run: Annotated[str | None, typer.Argument(help="A run that waits: its id, or the id's unique beginning.")] = None,
    name: Annotated[str | None, typer.Option("--as", help="Who says yes.")] = None,
    note: Annotated[str, typer.Option(help="What you want to add; kept with the approval.")] = "",
    promotion: Annotated[
        bool, typer.Option("--promotion", help="Approve that the winner of a finished RUN goes out (SC1101).")
    ] = False,
    candidate: Annotated[str | None, typer.Option(help="With --promotion: this one instead of the winner.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say yes to the cost of a RUN that waits (SC302), or to its winner going out; without RUN, list what waits."""
    from safetycatch.cli.output import Output

    output = Output(json=json)
    if candidate is not None and not promotion:
        raise UsageError("--candidate without --promotion", where="safetycatch approve", fix="--promotion")
    if run is None:
        _list(output)
    elif promotion:
        _promote(run, name, note, candidate, output)
    else:
        _approve(run, name, note, output)


def _promote(run: str, name: str | None, note: str, candidate: str | None, output: Output) -> None:
    """Show what a finished run found, and record who approves that its candidate goes out."""
    from pathlib import Path

    from safetycatch.cli import pipeline
    from safetycatch.cli.failure import finding_row, finding_text
    from safetycatch.cli.output import safe
    from safetycatch.cli.reading import load
    from safetycatch.cli.running import near
    from safetycatch.project import find_project
    from safetycatch.store.ledger import consent

    stored, project = load(run), find_project(Path.cwd())
    if name is None:
        again = f"safetycatch approve {stored.run_id} --promotion --as NAME"
        raise UsageError("no name", where="safetycatch approve", expected="the name of whoever says yes", fix=again)
    who = consent(name, note)
    room = pipeline.module("flows.promotion", project)
    seen = room.seen_of(stored, candidate)
    before, _ = room.covering(project.store_root, seen)
    kept = room.record(project.store_root, seen, who)
    decided = room.decided(stored, project, candidate)
    recorded = room.only_recorded(stored, seen.candidate)
    output.document(
        {
            "run_id": stored.run_id,
            "candidate": seen.candidate,
            "verdict": seen.verdict,
            "report_sha256": seen.report_sha256,
            "approved_by": kept.name,
            "approved_at": kept.approved_at.isoformat(),
            "new": before is None,
            "note": kept.note,
            "can_be_pinned": not recorded,
            "findings": [finding_row(finding) for finding in decided.findings],
        }
    )
    if output.json:
        return
    word = "may go out" if before is None else "was approved already"
    when = f"{kept.approved_at:%Y-%m-%d %H:%M} UTC"
    output.line(
        f"{safe(seen.candidate)} of {stored.run_id} {output.painted(word, 'good')} · by {safe(kept.name)}, {when}"
    )
    output.field("verdict", f"{seen.verdict}  {seen.sentence}")
    output.field("report", f"{near(str(stored.path('report.html')))} · {seen.report_sha256[:12]}")
    if kept.note:
        output.field("note", kept.note)
    if recorded:
        output.field("pin", f"cannot write it: its answers were recorded in {safe(recorded)}")
        output.field("", f"release what wrote them where it was made, and name there run {stored.run_id}")
    for finding in decided.findings:
        if finding.status == "fired":
            output.line(f"\n{finding_text(finding)}")


def _approve(run: str, name: str | None, note: str, output: Output) -> None:
    from safetycatch.cli.output import safe
    from safetycatch.cli.reading import command_of, load
    from safetycatch.store.ledger import consent

    if run.startswith(CALIBRATING):
        raise UsageError(
            f"{run[:80]} is a calibration, and no run",
            where="safetycatch approve",
            fix="safetycatch calibrate FILE --yes --as NAME   (with --refine or --sentinels as it was typed)",
        )
    stored = load(run)
    again = f"safetycatch approve {stored.run_id} --as NAME"
    if name is None:
        raise UsageError("no name", where="safetycatch approve", expected="the name of whoever says yes", fix=again)
    who = consent(name, note)
    kept, new = _recorded(stored, who)
    command = command_of(stored)
    told = {**_as_json(stored, kept), "new": new, "note": kept.note, "command": command}
    output.document(told)
    if output.json:
        return
    word = "approved" if new else "was approved already"
    output.line(f"{stored.run_id} {output.painted(word, 'good')} · {_by(kept)}")
    output.field("pays", f"{kept.estimate.text} · ceiling {kept.ceiling}")
    if kept.note:
        output.field("note", kept.note)
    output.line(f"  {'go on':<9} {safe(command)}")


def _recorded(stored: StoredRun, who: Consent) -> tuple[Approval, bool]:
    """Return the approval in force of what a run asked for, and whether it is this one.

    Raises: UsageError for a run that waits for nobody; StoreError when the ledger is damaged.
    """
    from safetycatch.store.ledger import LEDGER, Approval, Ledger

    path = stored.folder.parent.parent / LEDGER
    if stored.status != "waits":
        earlier = _approvals(path, stored.run_id)
        if earlier:
            return earlier[-1], False
        raise UsageError(
            f"run {stored.run_id} is {stored.status}: it waits for nobody",
            where="safetycatch approve",
            expected="a run that waits",
            fix=f"safetycatch approve {stored.run_id} --promotion --as NAME approves that its winner goes out"
            if stored.status == "done"
            else "safetycatch approve   (lists them)",
        )
    asked, now = stored.summary["asked"], datetime.now(UTC)
    mine = Approval(stored.run_id, stored.identity, who.name, who.note, now, asked["ceiling"], _estimate(asked))
    with Ledger.open(path) as ledger:
        kept = ledger.approve(mine)
    return kept, kept is mine


def _approvals(path: Any, run_id: str) -> list[Approval]:
    from safetycatch.store.ledger import Ledger

    if not os.path.lexists(path):
        return []
    with Ledger.open(path) as ledger:
        return ledger.approvals(run_id)


def _estimate(asked: dict[str, Any]) -> Any:
    from safetycatch.catches.estimate import Estimate

    return Estimate(**asked["estimate"])


def _list(output: Output) -> None:
    """Print the runs that wait, newest first, and who has said yes to which."""
    from safetycatch.cli.reading import open_store

    store = open_store()
    rows = _waiting(store) if store is not None else []
    output.document([_as_json(stored, approval) for stored, approval in rows])
    if output.json:
        return
    if not rows:
        output.line("no run waits for an approval")
        return
    output.table(
        [
            (stored.run_id, _by(approval) if approval else "waits", _estimate(stored.summary["asked"]).text)
            for stored, approval in rows
        ]
    )
    output.line("\nsay yes: safetycatch approve RUN --as NAME")


def _waiting(store: Store) -> list[tuple[StoredRun, Approval | None]]:
    from safetycatch.store import Runs
    from safetycatch.store.ledger import LEDGER, Ledger

    waiting = [run for run in Runs(store).ls(MAX_RUNS) if run.status == "waits"]
    if not waiting or not os.path.lexists(store.root / LEDGER):
        return [(run, None) for run in waiting]
    with Ledger.open(store.root / LEDGER) as ledger:
        return [(run, ledger.covering(run.run_id, run.identity, _estimate(run.summary["asked"]))) for run in waiting]


def _as_json(stored: StoredRun, approval: Approval | None) -> dict[str, Any]:
    asked = stored.summary.get("asked") or {}
    return {
        "run_id": stored.run_id,
        "status": stored.status,
        "asked": asked or None,
        "approved_by": approval.name if approval else None,
        "approved_at": approval.approved_at.isoformat() if approval else None,
        "approved_usd": approval.estimate.expected_usd if approval else None,
    }


def _by(approval: Approval) -> str:
    from safetycatch.cli.output import safe

    return f"by {safe(approval.name)}, {approval.approved_at:%Y-%m-%d %H:%M} UTC"


# -- asking at a terminal --------------------------------------------------------------------------------------------


def asker(output: Output, name: str | None, *, yes: bool, act: str = SEND) -> Asker | None:
    """Return how a run asks whether it may `act`: `--yes` answers, else the terminal; None where nobody is there.

    Raises: UsageError for a `name` that is none.
    """
    from safetycatch.store.ledger import consent

    if name is not None:
        consent(name)
    if yes:
        return lambda _question, _stop: consent(name, "--yes")
    there = sys.stdin.isatty() and sys.stdout.isatty() and not output.json and not os.environ.get("CI")
    return partial(_ask, output, name, act) if there else None


def _ask(output: Output, name: str | None, act: str, question: str, stop: StopFlag) -> Consent | None:
    """Show what a run asks for and read one line; return who says yes, None for any other answer."""
    from safetycatch.cli.output import safe
    from safetycatch.store.ledger import consent

    who = consent(name, "y at the terminal")
    output.field("approve", question)
    sys.stdout.write(f"  {'':<9} {act}, as {safe(who.name)}? [y/N] ")
    sys.stdout.flush()
    while not stop:
        # A signal must end the question: a blocking read would be taken up again after it.
        if select.select([sys.stdin], [], [], POLL_S)[0]:
            return who if sys.stdin.readline().strip().lower() in YES else None
    output.line()
    return None
