"""`check` and `plan`: what a run would find before its first call, and what it would cost; nothing is sent."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import EXIT_OK, EXIT_REFUSED

if TYPE_CHECKING:
    from safetycatch.cli.output import Output

PANEL = "Evaluate"
QUIET = frozenset({"passed", "not_applicable", "not_checked"})


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command(rich_help_panel=PANEL)(check)
    app.command(rich_help_panel=PANEL)(plan)


def check(
    file: Annotated[Path, typer.Argument(help="An experiment file.")],
    write_clean: Annotated[bool, typer.Option(help="Write the data without the leaked rows beside it.")] = False,
    override: Annotated[list[str] | None, typer.Option(help="A catch to override; repeatable.")] = None,
    because: Annotated[str | None, typer.Option(help="Why.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Let every catch that needs no answer look at an experiment; free."""
    from safetycatch.cli.output import Output, quiet_stdout

    output = Output(json=json)
    with quiet_stdout(output):
        seen = _preview(file, override, because, to_pay=False)
    code = _told(file, seen, output)
    written: dict[str, Any] | None = None
    if write_clean:
        from safetycatch.cli.cleaning import write_clean_copy

        with quiet_stdout(output):
            cleaned = write_clean_copy(file, seen.facts)
        written = {"path": str(cleaned.path), "kept": cleaned.n_kept, "left_out": cleaned.n_left_out}
        output.field("clean", f"{cleaned.path}: {cleaned.n_kept:,} rows, {cleaned.n_left_out:,} left out")
    output.document(
        {
            "file": str(file),
            "refused": code == EXIT_REFUSED,
            "told": list(seen.lines),
            "findings": _rows(seen),
            "facts": {key: value for key, value in seen.facts.items() if key != "plan"},
            "clean": written,
        }
    )
    return code


def plan(
    file: Annotated[Path, typer.Argument(help="An experiment file.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Say how many calls a run makes, what they cost, and which difference it could show; free."""
    from safetycatch.cli.output import Output, quiet_stdout

    output = Output(json=json)
    with quiet_stdout(output):
        seen = _preview(file, None, None, to_pay=True)
    refused = any(finding.refuses for finding in seen.findings)
    code = EXIT_REFUSED if refused else EXIT_OK
    planned = seen.facts["plan"]
    output.document(
        {
            "file": str(file),
            "mode": seen.facts["mode"],
            "refused": refused,
            **planned,
            "smallest_effect": seen.facts["smallest_effect"],
            "findings": _rows(seen),
        }
    )
    if not json:
        _show_plan(seen.facts, output)
        for finding in seen.findings:
            if finding.refuses or finding.pauses:
                _show_finding(finding, output)
    return code


def _preview(file: Path, override: list[str] | None, because: str | None, *, to_pay: bool) -> Any:
    from safetycatch.catches.finding import parse_overrides
    from safetycatch.cli import pipeline
    from safetycatch.cli.connection import settle
    from safetycatch.experiment import load_experiment
    from safetycatch.project import find_project

    overrides = parse_overrides(override or [], because)
    load_experiment(file)
    settle()
    return pipeline.module("flows.preview", find_project(file)).preview(file.absolute(), overrides, to_pay=to_pay)


def _told(file: Path, seen: Any, output: Output) -> int:
    """Print a preview's lines and its findings; return the exit code."""
    from safetycatch.cli.output import safe
    from safetycatch.cli.running import catches_line

    refused = any(finding.refuses for finding in seen.findings)
    if output.json:
        return EXIT_REFUSED if refused else EXIT_OK
    output.line(f"{safe(file)} · {safe(seen.facts['mode'])}")
    output.block("check", seen.lines)
    output.block("ceiling", seen.facts["plan"]["ceiling"]["told"])
    output.field("catches", catches_line(_rows(seen)))
    for finding in seen.findings:
        if finding.status not in QUIET:
            _show_finding(finding, output)
    return EXIT_REFUSED if refused else EXIT_OK


def _show_finding(finding: Any, output: Output) -> None:
    from safetycatch.cli.failure import finding_text

    head, *rest = finding_text(finding).splitlines()
    output.line()
    output.line(output.painted(head, "bad" if finding.refuses else "note"))
    for line in rest:
        output.line(line)


def _rows(seen: Any) -> list[Any]:
    from safetycatch.cli.failure import finding_row

    return [finding_row(finding) for finding in seen.findings]


def _show_plan(facts: dict[str, Any], output: Output) -> None:
    from safetycatch.catches.estimate import Estimate
    from safetycatch.cli.output import safe
    from safetycatch.report.numbers import money

    planned, split = facts["plan"], facts["scored_split"]
    output.line(f"{safe(facts['name'])} · {safe(facts['mode'])}")
    race = planned["race"]
    rows = [("  candidate", "split", "calls", *(["with the race"] if race else []), "expected", "at most", "tokens")]
    rows += [
        (
            f"  {row['candidate']}",
            row["split"],
            f"{row['n_calls']:,}",
            *([f"about {row['expected_calls']:,.0f}"] if race else []),
            money(row["expected_usd"]),
            money(row["highest_usd"]),
            f"{row['highest_tokens']:,}" if row["highest_tokens"] is not None else "—",
        )
        for row in planned["candidates"]
    ]
    about = [f"about {planned['expected_calls']:,.0f}"] if race else []
    total = (money(planned["expected_usd"]), money(planned["highest_usd"]), "")
    rows.append(("  all", "", f"{planned['n_calls']:,}", *about, *total))
    output.table(rows)
    output.field("to pay", Estimate(**planned["to_pay"]).text)
    output.field("rows", f"{facts['n_scored']:,} of {facts['n_available']:,} {split} rows")
    if race:
        kept = [f"then the best {keep} and the baseline go on" for keep in race["keeps"] if keep]
        output.field("race", "; ".join([f"expected {race['assumption']}", *kept]))
    output.block("ceiling", planned["ceiling"]["told"])
    output.block("effect", planned["told"])
