"""`gate`: may the claimed candidate replace a baseline; an exit code, one line of JSON and a comment for machines."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import EXIT_BAD_INPUT, EXIT_OK, SafetycatchError, UsageError

if TYPE_CHECKING:
    from safetycatch.cli.approving import Asker
    from safetycatch.cli.output import Output

SUMMARY = "GITHUB_STEP_SUMMARY"
DOLLARS = re.compile(r"\s*\$?\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*")
COLOURS = {"passed": "good", "failed": "bad", "inconclusive": "note"}


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel="Evaluate")(gate)


def gate(
    file: Annotated[Path, typer.Argument(help="An experiment file with a claim.", show_default=False)],
    against: Annotated[
        str, typer.Option(help="baseline (the claim's own), a candidate, RUN, RUN:candidate, or last (the newest run).")
    ] = "baseline",
    noninferior: Annotated[
        str | None, typer.Option(help="How much worse it may be: 0.02, '2 points'. Default: claim.smallest_effect.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="A ceiling, such as '$1'; the experiment's own stays where smaller.")
    ] = None,
    comment: Annotated[Path | None, typer.Option(help="Write the outcome as Markdown for a pull request.")] = None,
    override: Annotated[list[str] | None, typer.Option(help="A catch to override, e.g. SC501; repeatable.")] = None,
    because: Annotated[str | None, typer.Option(help="Why; shown on top of the comment.")] = None,
    intersect: Annotated[bool, typer.Option(help="Against a stored run: compare the shared items only.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Approve what it costs, where it would ask (SC302).")] = False,
    name: Annotated[str | None, typer.Option("--as", help="Who approves; default: your login name.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON on stdout.")] = False,
) -> int:
    """Pass only when an experiment's candidate is shown to be no worse than a baseline by more than a margin.

    Exit 0 passed, 20 failed, 21 inconclusive; where nothing could be decided, the codes of run.
    """
    from safetycatch.cli import failure
    from safetycatch.cli.approving import asker
    from safetycatch.cli.output import Output, plain, quiet_stdout

    output = Output(json=json)
    title = file.stem
    _writable(comment)
    try:
        from safetycatch.catches.finding import parse_overrides
        from safetycatch.experiment import load_experiment
        from safetycatch.report.comment import unfinished_comment

        title = load_experiment(file).name
        if comment is not None:
            _write(unfinished_comment(title), comment, "w", "--comment")
        overrides = parse_overrides(override or [], because)
        ask = asker(output, name, yes=yes)
        parameters = {
            "experiment": str(file.absolute()),
            "baseline": against,
            "noninferior": noninferior or "",
            "overrides": overrides,
            "max_usd": None if budget is None else _dollars(budget),
            "intersect": intersect,
            "unattended": False,
        }
        with quiet_stdout(output):
            found = _ended(file, output, ask, parameters)
    except SafetycatchError as error:
        from safetycatch.report.comment import stopped_comment

        failure.say(error)
        text = stopped_comment(title, failure.message_lines(error), _command(), error.exit_code)
        told = {"gate": "stopped", "passed": False, "exit_code": error.exit_code, "error": failure.document(error)}
        output.document({**told, **_published(text, comment)}, line=True)
        return error.exit_code
    from safetycatch.report.comment import gate_comment

    if not json:
        _show(found, output)
    lost = _published(gate_comment(title, plain(found)), comment)
    # A comment that is missing must not look like a silent pass.
    code = int(found["exit_code"]) or (EXIT_BAD_INPUT if lost else EXIT_OK)
    output.document({**found, "exit_code": code, **lost}, line=True)
    return code


def _ended(file: Path, output: Output, ask: Asker | None, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what the flow says.

    Raises: what ended it before it could decide.
    """
    from safetycatch.cli.running import in_flow

    def start(flow: Any) -> Any:
        # A gate that did not pass is a failed flow run, and no error of the command.
        ended = flow(**parameters, return_state=True).result(raise_on_failure=False)
        if isinstance(ended, BaseException):
            raise ended
        return ended

    def check(flows: Any, inputs: Any) -> None:
        flows.Wanted(parameters["baseline"], parameters["noninferior"], parameters["max_usd"]).inputs(inputs)

    found, _ = in_flow("gate", file, output, ask, start, check)
    return found


def _dollars(text: str) -> float:
    found = DOLLARS.fullmatch(text)
    if found is None:
        raise UsageError(f"found {text[:40]!r}", where="--budget", expected="US dollars, such as '$1'")
    return float(found[1])


def _command() -> str:
    from safetycatch.cli.running import same_command

    return same_command()


def _writable(comment: Path | None) -> None:
    """Open what the outcome will be written to, before anything is paid.

    Raises: UsageError for a file that cannot be written, or holds something else.
    """
    from safetycatch.cli.overwriting import check_overwriting
    from safetycatch.report.comment import MARKER

    if comment is not None:
        check_overwriting(comment, MARKER, "--comment")
    for path, where in _targets(comment):
        _write("", path, "a", where)


def _targets(comment: Path | None) -> list[tuple[Path, str]]:
    summary = os.environ.get(SUMMARY)
    return [*([(comment, "--comment")] if comment else []), *([(Path(summary), SUMMARY)] if summary else [])]


def _published(text: str, comment: Path | None) -> dict[str, str]:
    """Write the comment to the file asked for, and to the summary of a GitHub job; tell and return what failed."""
    from safetycatch.cli import failure

    lost: dict[str, str] = {}
    for path, where in _targets(comment):
        try:
            _write(text, path, "a" if where == SUMMARY else "w", where)
        except UsageError as error:
            failure.say(error)
            lost["comment_error"] = " ".join(failure.message_lines(error))
    return lost


def _write(text: str, path: Path, mode: str, where: str) -> None:
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", where=where, expected="a file in a folder that is there"
        ) from None


def _show(found: dict[str, Any], output: Output) -> None:
    """Print the outcome for people."""
    from safetycatch.cli.output import safe
    from safetycatch.cli.running import calls_line, catches_line, near
    from safetycatch.report.comment import UNITS
    from safetycatch.report.numbers import effect

    word = found["gate"].upper()
    output.field("calls", calls_line(found))
    output.line(f"  {'gate':<9} {output.painted(word, COLOURS[found['gate']])}  {safe(found['sentence'])}")
    unit = UNITS.get(found["unit"]) or found["unit"]
    output.field("", f"margin {effect(found['margin'], unit)}, from {found['margin_from']}")
    for rail in found["guardrails"]:
        output.field("guardrail", f"{rail['metric']}: {rail['status']}, {rail['reason']}")
    if found["settle"]:
        output.field("", found["settle"])
    if found["looks_note"]:
        output.field("looks", found["looks_note"], "note")
    for one in found["overrides"]:
        output.field("override", f"{one['code']}: {one['reason']}", "bad")
    output.field("catches", catches_line(found["findings"]))
    output.field("report", near(found["report"]))
