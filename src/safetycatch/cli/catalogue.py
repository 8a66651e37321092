"""`rules`, `explain` and `prices`: what is known before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from safetycatch.catches import Catch
    from safetycatch.cli.output import Output

PANEL = "Look things up"
SCHEMA = "experiment"
MAX_PRICES = 40


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command(rich_help_panel=PANEL)(rules)
    app.command(rich_help_panel=PANEL)(explain)
    app.command(rich_help_panel=PANEL)(prices)


def rules(
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The README's table.")] = False,
) -> None:
    """List the safety catches that are built."""
    from safetycatch.catches import CATCHES
    from safetycatch.catches.catalogue import markdown_table
    from safetycatch.cli.output import Output

    output = Output(json=json)
    output.document([_as_json(catch) for catch in CATCHES.values()])
    if json:
        return
    if markdown:
        output.line(markdown_table())
        return
    series = ""
    for catch in CATCHES.values():
        if catch.series != series:
            series = catch.series
            output.line(output.painted(series, "strong"))
        level = catch.level + ("!" if catch.always else "")
        output.line(f"  {catch.code:<7} {level:<8} {catch.title}")
    output.line("\n! also while exploring · explain one: safetycatch explain SC501")


def explain(
    what: Annotated[str, typer.Argument(help="A code such as SC501, or 'experiment' for the file's JSON Schema.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Explain a catch: when it fires, why, its thresholds and their source."""
    from safetycatch.catches import CATCHES
    from safetycatch.cli.output import Output

    output = Output(json=json)
    if what == SCHEMA:
        from safetycatch.experiment import json_schema

        Output(json=True).document(json_schema())
        return
    catch = CATCHES.get(what.upper())
    if catch is None:
        from safetycatch.configuration import nearest

        close = nearest(what, [*CATCHES, SCHEMA])
        raise UsageError(
            f"no catch is called {what[:40]!r}",
            expected="a code of 'safetycatch rules', or 'experiment'",
            fix=f"safetycatch explain {close}" if close else "safetycatch rules",
        )
    output.document(_as_json(catch))
    if not json:
        output.line(catch.explanation())


def _as_json(catch: Catch) -> dict[str, Any]:
    return {
        "code": catch.code,
        "series": catch.series,
        "level": catch.level,
        "always": catch.always,
        "overridable": catch.overridable,
        "title": catch.title,
        "fires_when": catch.fires_when,
        "why": catch.why,
        "thresholds": dict(catch.thresholds),
        "source": catch.source,
    }


def prices(
    model: Annotated[str | None, typer.Argument(help="provider/model, or NAME/model of an endpoint.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show what a model costs, where the figure comes from, and when the model ends."""
    from pathlib import Path

    from safetycatch.calls.model_list import like
    from safetycatch.calls.prices import Prices
    from safetycatch.cli.output import Output
    from safetycatch.project import find_project

    output = Output(json=json)
    project = find_project(Path.cwd())
    own = {name: price.model_dump(exclude_none=True) for name, price in project.settings.prices.items()}
    table = Prices(own)
    if model is None:
        _all_prices(table, sorted(own), output)
        return
    price = table.lookup(model)
    if price is None:
        close = ", ".join(name for name in like(model[:100]) if table.lookup(name) is not None)
        stated = f"in safetycatch.yaml: prices: {{{model[:100]}: {{input_per_m: …, output_per_m: …}}}}"
        raise UsageError(
            f"no price is known for {model[:100]!r}",
            expected="provider/model as LiteLLM names it, such as openai/gpt-4o-mini",
            fix=f"did you mean {close}? Else {stated}" if close else stated,
        )
    output.document(_price_json(table, model))
    if not json:
        _print_price(table, model, output)


def _price_json(table: Any, model: str) -> dict[str, Any]:
    from safetycatch.calls.model_list import shutdown_of

    price, ends = table.lookup(model), shutdown_of(model)
    batch = price.batch_per_m or (None, None)
    return {
        "model": model,
        "input_per_m": price.input_per_m,
        "output_per_m": price.output_per_m,
        "cached_input_per_m": price.cached_input_per_m,
        "cache_write_per_m": price.cache_write_per_m,
        "batch_input_per_m": batch[0],
        "batch_output_per_m": batch[1],
        "per_call_usd": price.per_call_usd,
        "source": price.source,
        "date": price.date,
        "shut_down": ends.day.isoformat() if ends else None,
        "shut_down_source": ends.source + (f", of its last snapshot {ends.of}" if ends.of else "") if ends else None,
    }


def _print_price(table: Any, model: str, output: Output) -> None:
    told = _price_json(table, model)
    rates = (
        ("input_per_m", "in"),
        ("output_per_m", "out"),
        ("cached_input_per_m", "read from the cache"),
        ("cache_write_per_m", "written to it"),
    )
    parts = [f"${told[key]:g} {words}" for key, words in rates if told[key] is not None]
    parts += [f"${told['per_call_usd']:g} a call"] if told["per_call_usd"] else []
    output.line(output.painted(_safe(model), "strong"))
    output.field("price", " · ".join(parts) + "   per million tokens")
    if told["batch_input_per_m"] is not None:
        output.field("batch", f"${told['batch_input_per_m']:g} in · ${told['batch_output_per_m']:g} out")
    output.field("source", " · ".join(part for part in (told["source"], told["date"]) if part))
    ends = told["shut_down"]
    output.field("shut down", f"{ends} · {told['shut_down_source']}" if ends else "no date is published")


def _safe(text: str) -> str:
    from safetycatch.cli.output import safe

    return safe(text)


def _all_prices(table: Any, own: list[str], output: Output) -> None:
    """Show the project's own prices and the sandbox's; the public list is asked model by model."""
    known = [name for name in (*own, "sandbox/small", "sandbox/small-priced", "ollama/any") if table.lookup(name)]
    output.document([_price_json(table, name) for name in known])
    if output.json:
        return
    for name in known[:MAX_PRICES]:
        _print_price(table, name, output)
    output.line("\nany other model: safetycatch prices openai/gpt-4o-mini")
