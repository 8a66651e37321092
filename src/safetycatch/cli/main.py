"""The entry point: collects the verbs, and turns every ending into one message and one exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from safetycatch.cli import (
    approving,
    benching,
    calibrating,
    calls,
    catalogue,
    checking,
    comparing,
    doctor,
    gating,
    labels,
    pinning,
    reading,
    reviewing,
    running,
    sandbox,
    starting,
    up,
)
from safetycatch.errors import EXIT_BAD_INPUT, EXIT_OK, EXIT_SIGINT, SafetycatchError, StoppedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON_FLAG, DEBUG_FLAG = "--json", "--debug"
EPILOG = (
    "Exit codes: 0 done, whatever the verdict · 2 bad input · 10 refused by a catch · 20 gate failed · "
    "21 gate inconclusive · 30 waits for a person · "
    "40 budget reached · 50 provider unusable · 130/143 stopped; 30 and above resume with the same command."
)

app = typer.Typer(
    name="safetycatch",
    help="Evaluate few-shot prompts and fine-tuned models without shooting yourself in the foot.",
    epilog=EPILOG,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for room in (
    starting,
    checking,
    running,
    benching,
    gating,
    calibrating,
    approving,
    reviewing,
    labels,
    reading,
    pinning,
    comparing,
    calls,
    catalogue,
    doctor,
    sandbox,
    up,
):
    room.register(app)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option(DEBUG_FLAG, help="Print tracebacks; anywhere on the line.")] = False,  # noqa: ARG001 - taken by main
) -> None:
    if version:
        from importlib import metadata

        typer.echo(metadata.version("safetycatch"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG_FLAG in words
    words = [word for word in words if word != DEBUG_FLAG]
    _stop_on_sigterm()
    try:
        return _run(words, debug=debug)
    except BrokenPipeError:
        # Whoever read our output has seen enough; a flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_OK


def _run(words: list[str], *, debug: bool) -> int:
    from safetycatch.cli import failure
    from safetycatch.cli.output import Output

    output = Output(json=JSON_FLAG in words)
    try:
        code: Any = typer.main.get_command(app).main(args=words, prog_name="safetycatch", standalone_mode=False)
    except SafetycatchError as error:
        if debug:
            _print_traceback()
        return failure.tell(error, output)
    except SystemExit as leaving:
        # The command line library leaves like this when our output's reader has gone.
        if isinstance(leaving.__context__, BrokenPipeError):
            raise leaving.__context__ from None
        raise
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, typer.Abort):
        return failure.tell(StoppedError("stopped", signal.SIGINT), output)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        usage = _usage_error(error)
        return failure.tell(usage, output) if usage else failure.bug(error, output, debug=debug)
    if code == EXIT_SIGINT:
        # The command line library turns an interrupt into this code without a word.
        return failure.tell(StoppedError("stopped", signal.SIGINT), output)
    return code if isinstance(code, int) else EXIT_OK


def _usage_error(error: Exception) -> UsageError | None:
    """Return what the command line library complains about as an error of ours."""
    if getattr(error, "exit_code", None) != EXIT_BAD_INPUT or not hasattr(error, "format_message"):
        return None
    context: Any = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "safetycatch"
    return UsageError(str(error.format_message()).rstrip("."), where=where, fix=f"{where} --help")  # type: ignore[attr-defined]


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _stop_on_sigterm() -> None:
    """Let SIGTERM end a command like Ctrl-C does, so that what it started is stopped with it."""

    def stop(number: int, _frame: object) -> NoReturn:
        raise StoppedError("stopped", number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


if __name__ == "__main__":
    sys.exit(main())
