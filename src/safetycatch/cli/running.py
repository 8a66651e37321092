"""`run`: one experiment from its file to a verdict; on the same file it resumes."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import (
    EXIT_OK,
    ApprovalNeededError,
    BudgetReachedError,
    ProviderUnusableError,
    StoppedError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from safetycatch.cli.approving import Asker
    from safetycatch.cli.output import Output

RESUMABLE = (ApprovalNeededError, BudgetReachedError, ProviderUnusableError, StoppedError)
PANEL = "Evaluate"


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel=PANEL)(run)


def run(
    file: Annotated[Path | None, typer.Argument(help="An experiment file.", show_default=False)] = None,
    data: Annotated[Path | None, typer.Option(help="Quick look: rows with input and target.")] = None,
    prompt: Annotated[Path | None, typer.Option(help="Quick look: a prompt file.")] = None,
    model: Annotated[str | None, typer.Option(help="Quick look: provider/model.")] = None,
    budget: Annotated[str | None, typer.Option(help="Quick look: the ceiling, such as '$5'.")] = None,
    override: Annotated[list[str] | None, typer.Option(help="A catch to override, e.g. SC501; repeatable.")] = None,
    because: Annotated[str | None, typer.Option(help="Why; shown on top of the report.")] = None,
    intersect: Annotated[bool, typer.Option(help="Against a stored run: compare the shared items only.")] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Record what was merged for gate --against last; claims nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Approve what it costs, where it would ask (SC302).")] = False,
    name: Annotated[str | None, typer.Option("--as", help="Who approves; default: your login name.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Evaluate an experiment FILE, or take a quick look with --data, --prompt and --model.

    The same command resumes a stopped run: answered calls are free.
    """
    from safetycatch.catches.finding import parse_overrides
    from safetycatch.cli.approving import asker
    from safetycatch.cli.output import Output, quiet_stdout
    from safetycatch.experiment import load_experiment

    overrides = parse_overrides(override or [], because)
    path = _experiment_file(file, data, prompt, model, budget)
    load_experiment(path)  # a wrong file is told before a server is started for it
    output = Output(json=json)
    ask = asker(output, name, yes=yes)

    def evaluate(flow: Any) -> Any:
        return flow(
            experiment=str(path.absolute()),
            digest="",
            overrides=overrides,
            intersect=intersect,
            reference=reference,
            unattended=False,
        )

    with quiet_stdout(output):
        result, own_server = in_flow("evaluate", path, output, ask, evaluate)
    if not json:
        show_result(result, output)
        if own_server:
            output.field("", "watch the next run in a browser: safetycatch up")
    output.document(result)
    return EXIT_OK


def _experiment_file(
    file: Path | None, data: Path | None, prompt: Path | None, model: str | None, budget: str | None
) -> Path:
    """Return the file to run, writing one for a quick look.

    Raises: UsageError for anything but a file, or all of data, prompt and model.
    """
    given = {"--data": data, "--prompt": prompt, "--model": model}
    if file is not None:
        extra = [name for name, value in {**given, "--budget": budget}.items() if value is not None]
        if extra:
            fix = "write 'budget: $5' into the file" if extra == ["--budget"] else ""
            raise UsageError(f"{extra[0]} beside a file", expected=f"it is set in {file}", fix=fix)
        return file
    missing = [name for name, value in given.items() if value is None]
    if missing:
        found = "no experiment file" if len(missing) == len(given) else f"no {missing[0]}"
        raise UsageError(
            found,
            where="safetycatch run",
            expected="a file, or --data, --prompt and --model",
            fix="safetycatch run --data tickets.csv --prompt route.md --model ollama_chat/llama3.1",
        )
    from safetycatch.cli.look import write_look

    assert data is not None  # noqa: S101 - nothing is missing
    assert prompt is not None  # noqa: S101
    return write_look(data, prompt, model or "", budget)


def in_flow(
    name: str,
    path: Path,
    output: Output,
    ask: Asker | None,
    start: Callable[[Any], Any],
    check: Callable[[Any, Any], object] | None = None,
    *,
    alone: bool = False,
) -> tuple[dict[str, Any], bool]:
    """Run the flow `name` by calling `start` with it, progress and questions at this terminal.

    `check` gets the flow's module and the experiment's inputs, and raises what can be told before the run. `alone`: a
    claim may have one candidate.
    Returns its result, and whether the Prefect server was one of our own that is gone again.
    Raises: what ended the flow, with the command that resumes it.
    """
    from safetycatch.cli.connection import connect, mute_prefect
    from safetycatch.cli.progress import LiveView
    from safetycatch.project import find_project

    project = find_project(path)
    _head(path, output)
    mute_prefect()
    try:
        with connect(project.store_root) as connection:
            from safetycatch.cli import pipeline

            session = pipeline.module("tasks.session", project)
            flow = pipeline.flow(name, project)
            # Missing files and functions are told while the server still starts.
            inputs = pipeline.module("tasks.start", project).read_inputs(path, alone=alone)
            if check is not None:
                check(pipeline.module(f"flows.{name}", project), inputs)
            connection.ready()
            with LiveView(output) as view:
                watcher = session.Watcher(progress=view.progress, say=view.say, expect=view.expect, ask=ask)
                token = session.WATCHER.set(watcher)
                try:
                    return start(flow), connection.server is not None
                finally:
                    session.WATCHER.reset(token)
    except RESUMABLE as error:
        error.add_note(f"resume   {same_command()}")
        raise
    except KeyboardInterrupt:
        error = StoppedError("stopped before a call was made", signal.SIGINT)
        error.add_note(f"resume   {same_command()}")
        raise error from None


def same_command() -> str:
    """Return the command line as it was typed, so that it can be pasted again."""
    return shlex.join(["safetycatch", *sys.argv[1:]])


def _head(path: Path, output: Output) -> None:
    from importlib import metadata

    from safetycatch.cli.output import safe

    version = metadata.version("safetycatch").rsplit(".", 1)[0]
    output.line(f"safetycatch {version} · {safe(path.stem)}")


def show_result(result: dict[str, Any], output: Output) -> None:
    """Print what a finished run found: calls, verdict, catches, report."""
    from safetycatch.cli.output import safe
    from safetycatch.report.numbers import seconds

    output.field("calls", calls_line(result))
    banner = result["banner"]
    kind = safe(banner["kind"])
    colour = {"BETTER": "good", "WORSE": "bad", "INCONCLUSIVE": "note"}.get(kind, "strong")
    output.line(f"  {'verdict':<9} {output.painted(kind, colour)}  {safe(banner['sentence'])}")
    # An undecided verdict names it itself.
    if banner["action"] and banner["action"] not in banner["sentence"]:
        output.field("", banner["action"])
    output.block("judge", (result.get("judged") or {}).get("told", []))
    output.field("catches", catches_line(result["findings"]))
    output.field("report", f"{near(result['report'])}   ({seconds(result['wall_s'])})")


def calls_line(result: dict[str, Any]) -> str:
    """Return the calls of a run in words; a run that sent nothing says so."""
    from safetycatch.report.numbers import spent

    calls = result["calls"]
    held, before = calls["from_journal"], calls.get("sent_before", 0)
    if not calls["sent"] and not before:
        return "0 calls, all from the journal" if held else "0 calls"
    parts = [
        f"{calls['sent']:,} sent now, {before:,} before it was resumed" if before else f"{calls['sent']:,} sent",
        *([f"{held:,} from the journal"] if held else []),
        f"{calls['errors']:,} errors",
    ]
    if calls["perhaps_paid"]:
        parts.append(f"{calls['perhaps_paid']:,} perhaps paid")
    sum_usd = spent(result["spent_usd"], result.get("spent_at_least_usd"))
    return " · ".join([*parts, f"{sum_usd} for the whole run" if before else sum_usd])


def catches_line(findings: list[dict[str, Any]]) -> str:
    """Return how many catches passed, and the codes of those that say something."""
    by: dict[str, list[str]] = {}
    words = {"warn": "warnings", "pause": "waiting"}
    for finding in findings:
        status = finding["status"]
        kind = words.get(finding["level"], "refused") if status == "fired" else status
        by.setdefault(kind, []).append(finding["code"])
    shown = [f"{len(by.get('passed', []))} passed"]
    for kind in ("refused", "waiting", "warnings", "overridden", "acknowledged"):
        if codes := by.get(kind):
            word = "warning" if kind == "warnings" and len(codes) == 1 else kind
            shown.append(f"{len(codes)} {word} ({', '.join(codes)})")
    for kind, word in (("not_applicable", "not applicable"), ("not_checked", "not checked")):
        if codes := by.get(kind):
            shown.append(f"{len(codes)} {word}")
    return " · ".join(shown)


def near(path: str) -> str:
    """Return a path relative to the current folder when it lies below it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
