"""`sandbox`: a server on this machine that speaks as OpenAI, Azure and Anthropic do, with faults on request."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from safetycatch.errors import EXIT_OK

if TYPE_CHECKING:
    from safetycatch.sandbox import SandboxSettings


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel="Servers")(sandbox)


def sandbox(
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    latency: Annotated[str, typer.Option(help="50ms, 1.5s or lognormal:200ms:0.5")] = "0ms",
    fault: Annotated[
        list[str] | None, typer.Option(help="KIND[:SHARE][:KEY=VALUE,…], such as 500:0.05 or hang:nth=3+9,seconds=2")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option("--rpm", help="Requests a minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option("--tpm", help="Tokens a minute.")] = None,
    burst: Annotated[float, typer.Option(help="Seconds of a limit that may be used at once.")] = 1.0,
    train: Annotated[Path | None, typer.Option(help="Rows with input and target for small and large.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Recorded answers: candidate, example_id, output.")] = None,
    require_key: Annotated[bool, typer.Option(help="Ask clients for SAFETYCATCH_SANDBOX_KEY.")] = False,
    alias: Annotated[list[str] | None, typer.Option(help="NAME=MODEL: serve a model under a further name.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The address as one JSON document.")] = False,
) -> int:
    """Serve tiny learners, an echo model and scripted faults on 127.0.0.1 until SIGINT or SIGTERM.

    Models: in-context, in-context-small, small and large (read prompts; with --train fitted on rows), echo, replay,
    embedding; judges that read a rubric's rules: judge, judge-noisy, judge-lenient, judge-lengthy, judge-first,
    judge-gullible, judge-refiner. NAME-priced is the same model with a price.
    """
    from safetycatch.sandbox import SandboxSettings, serve

    settings = SandboxSettings.from_options(
        port=port,
        latency=latency,
        faults=fault or (),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        burst_s=burst,
        train=train,
        replay=replay,
        require_key=require_key,
        aliases=alias or (),
    )
    if json:
        _serve_as_json(settings)
    else:
        serve(settings)
    return EXIT_OK


def _serve_as_json(settings: SandboxSettings) -> None:
    import threading

    from safetycatch.calls import install
    from safetycatch.cli.output import Output
    from safetycatch.sandbox import running

    ended = threading.Event()
    with install() as stop, running(settings) as server:
        stop.listen(ended.set)
        Output(json=True).document({"base_url": server.base_url, "port": server.port})
        ended.wait()
