"""`pin`: the winner of a run as files that production can use without us."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PANEL = "Read results"


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel=PANEL)(pin)


def pin(
    run: Annotated[str, typer.Argument(help="A run id, its unique beginning, or 'last'.")],
    candidate: Annotated[
        str | None, typer.Option(help="Pin this one, also where the verdict does not favour it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to; made when it is not there.")] = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Approve the promotion without being asked.")] = False,
    name: Annotated[str | None, typer.Option("--as", help="Who approves it; default: your login name.")] = None,
    override: Annotated[list[str] | None, typer.Option(help="A catch to override: SC1101 or SC1102.")] = None,
    because: Annotated[str | None, typer.Option(help="Why it is overridden.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write the winner's lock, and a plain Python module that makes the prompts that were evaluated.

    A person approves it: asked at a terminal, by --yes --as NAME, or before with `approve RUN --promotion`.
    """
    from safetycatch.calls import StopFlag
    from safetycatch.catches import refuse
    from safetycatch.catches.finding import parse_overrides
    from safetycatch.cli import pipeline
    from safetycatch.cli.approving import PROMOTE, asker
    from safetycatch.cli.failure import finding_row, finding_text
    from safetycatch.cli.output import Output, note, quiet_stdout
    from safetycatch.cli.reading import load
    from safetycatch.project import find_project
    from safetycatch.store.new_files import write_new

    output, project = Output(json=json), find_project(Path.cwd())
    overrides = parse_overrides(override or [], because)
    asking = asker(output, name, yes=yes, act=PROMOTE)
    ask = None if asking is None else lambda question: asking(question, StopFlag())
    stored = load(run)
    with quiet_stdout(output):
        made = pipeline.module("flows.pin", project).pin(stored, project.store_root, project.root, candidate)
    room = pipeline.module("flows.promotion", project)
    decided = room.decided(stored, project, candidate, ask=ask, overrides=overrides)
    refuse(decided.findings)
    made = made.approved_by(decided.promotion)
    written = write_new(out, made.files)
    checked, loud = made.lock["checked"], [one for one in decided.findings if one.status in {"fired", "overridden"}]
    for finding in loud:
        note(finding_text(finding))
    output.document(
        {
            "run_id": stored.run_id,
            "written": written,
            "folder": str(out.absolute()),
            "lock": made.lock,
            "findings": [finding_row(finding) for finding in decided.findings],
        }
    )
    found = made.lock["evidence"]
    word = "" if made.lock["chosen_by"] == "verdict" else " (named by you: the verdict does not favour it)"
    output.line(f"{made.lock['candidate']} of {stored.run_id} · {found['verdict_of_the_run']}{word}")
    for file, state in written.items():
        output.field(state, str(out / file))
    if decided.promotion is not None:
        output.field("approved", f"by {decided.promotion.who}")
    told = f"{checked['prompts_equal']} of {checked['rows']} prompts made without safetycatch equal those of the run"
    if others := checked["other_examples_by_group"]:
        told += f"; {others} were shown other examples, because some of the pool are of their own group"
    output.field("checked", told)
    if unknown := checked["rows"] - checked["requests_as_sent"]:
        output.field("note", f"{unknown} requests are not under the journal's name: their endpoint is another one now")
