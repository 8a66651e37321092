"""`bench-shots`: few-shot strategies against each other on dev, and which one to take."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from safetycatch.cli.output import Output


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("bench-shots", rich_help_panel="Evaluate")(bench_shots)


def bench_shots(
    file: Annotated[Path, typer.Argument(help="An experiment file.", show_default=False)],
    k: Annotated[str | None, typer.Option("--k", help="How many examples, such as 4,8 (the default).")] = None,
    strategies: Annotated[
        str | None, typer.Option(help="Such as static,knn; default: all (zero always runs).", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another model than the file's first.")] = None,
    candidate: Annotated[str | None, typer.Option(help="Whose prompt and model; default: the file's first.")] = None,
    seeds: Annotated[int, typer.Option(help="Other seeds and orders tried of what is recommended; 0: none.")] = 3,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Ask everybody every dev row, no race.")] = False,
    override: Annotated[list[str] | None, typer.Option(help="A catch to override, e.g. SC501; repeatable.")] = None,
    because: Annotated[str | None, typer.Option(help="Why; shown on top of the report.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve what it costs, where it would ask (SC302).")] = False,
    name: Annotated[str | None, typer.Option("--as", help="Who approves; default: your login name.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Compare few-shot strategies on dev, never on test, and say which one to take.

    The same command resumes a stopped bench: answered calls are free.
    """
    from safetycatch.catches.finding import parse_overrides
    from safetycatch.cli import pipeline
    from safetycatch.cli.approving import asker
    from safetycatch.cli.output import Output, quiet_stdout
    from safetycatch.cli.running import in_flow
    from safetycatch.experiment import load_experiment
    from safetycatch.project import find_project

    overrides = parse_overrides(override or [], because)
    load_experiment(file, alone=True)
    output = Output(json=json)
    ask = asker(output, name, yes=yes)
    given: dict[str, Any] = {"seeds": seeds, "model": model, "candidate": candidate, "exhaustive": exhaustive}
    if k is not None:
        given["ks"] = tuple(_number(word) for word in _words(k))
    if strategies is not None:
        given["strategies"] = tuple(_words(strategies))
    # Wrong options are told before a server is started for them.
    pipeline.module("tasks.bench", find_project(file)).BenchSettings(**given)

    def start(flow: Any) -> Any:
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        return flow(experiment=str(file.absolute()), overrides=overrides, unattended=False, **lists)

    with quiet_stdout(output):
        result, _ = in_flow("bench_shots", file, output, ask, start, alone=True)
    if not json:
        show(result, str(file), output)
    output.document(result)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(word: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise UsageError(f"found {word[:20]!r}", where="--k", expected="numbers of examples", fix="--k 4,8")
    return int(word)


def show(result: dict[str, Any], file: str, output: Output) -> None:
    """Print the table of a bench, its advice, and what to do with it."""
    from safetycatch.cli.running import calls_line, catches_line, near
    from safetycatch.report.bench import cells, columns, ended, spread_lines
    from safetycatch.report.numbers import seconds

    bench = result["bench"]
    output.field("calls", calls_line(result))
    output.field("", ended(bench))
    output.table([columns(bench), *(cells(row, bench) for row in bench["strategies"])])
    output.block("seeds", spread_lines(bench))
    output.field("advice", bench["sentence"], "strong")
    output.field("rule", bench["rule"])
    output.field("catches", catches_line(result["findings"]))
    output.field("report", f"{near(result['report'])}   ({seconds(result['wall_s'])})")
    if bench["next"]:
        output.field("next", f"one look on test: in {file}")
        for line in bench["next"]:
            output.field("", f"  {line}")
        output.field("", f"then: safetycatch run {file}, and with its run: safetycatch pin RUN")
