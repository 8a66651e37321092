"""`calls ls`, `show`, `prune` and `export`: the journal of paid calls."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from safetycatch.cli import exporting, pruning
from safetycatch.cli.journal import KEY_SHOWN, MIN_PREFIX, Json, OfRun, find_journal, key_of, open_journal, run_id_of
from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.calls.history import Attempt, Call, CallState, Totals
    from safetycatch.cli.output import Output

PANEL = "Read results"

app = typer.Typer()


def register(verbs: typer.Typer) -> None:
    """Add this group of verbs."""
    app.command("prune")(pruning.prune)
    app.command("export")(exporting.export)
    verbs.add_typer(app, name="calls", rich_help_panel=PANEL)


@app.callback(invoke_without_command=True)
def _start(context: typer.Context) -> None:
    """List, show, prune and export the journal of paid calls."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# -- ls and show --------------------------------------------------------------------------------------------------


@app.command("ls")
def list_calls(
    run: OfRun = None,
    model: Annotated[str | None, typer.Option(help="Only to this model, as it was asked for.")] = None,
    candidate: Annotated[str | None, typer.Option(help="Only of this candidate.")] = None,
    state: Annotated[
        str | None,
        typer.Option(help="answer, refusal, length, filtered, invalid, perhaps (sent, bill unknown) or error (free)."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    json: Json = False,
) -> None:
    """List the newest calls and what they cost."""
    from safetycatch.calls import history
    from safetycatch.cli.output import Output

    output = Output(json=json)
    states: Sequence[CallState] = get_args(history.CallState)
    chosen = next((one for one in states if one == state), None)
    if state is not None and chosen is None:
        raise UsageError(f"found {state[:40]!r}", where="--state", expected=", ".join(states))
    if find_journal() is None:
        output.document({"calls": [], "totals": None})
        output.line("no call yet: safetycatch run FILE")
        return
    with open_journal() as journal:
        wanted = history.Wanted(run_id_of(journal, run), model, candidate)
        found = history.newest(journal, wanted, limit, chosen)
        sums, now = history.totals(journal, wanted), history.asked_now(journal)
    output.document({"calls": [_as_json(call) for call in found], "totals": {**asdict(sums), "asked_now": now}})
    if json:
        return
    if found:
        heads = "when (UTC)", "run", "candidate", "item", "model", "state", "tokens", "cost", "latency", "tries", "key"
        output.table([heads, *(_listed(call) for call in found)])
        output.line()
    output.line(_sums(sums, now))


def _listed(call: Call) -> tuple[str, ...]:
    from safetycatch.report.numbers import ABSENT, money, seconds

    item = call.example_id + (f" #{call.replicate}" if call.replicate else "")
    state = call.state if call.error_class is None else f"{call.state} ({call.error_class})"
    if call.state == "error":
        cost = money(0)
    else:
        known = call.cost_usd is not None or call.max_cost_usd is None
        cost = money(call.cost_usd) if known else f"≤ {money(call.max_cost_usd)}"
    latency = ABSENT if call.latency_s is None else seconds(call.latency_s)
    return (
        *(_moment(call.sent_at), call.run_id, call.candidate, item, call.model, state, _tokens(call), cost, latency),
        *(str(call.attempts), call.call_key[:KEY_SHOWN]),
    )


def _tokens(call: Call | Attempt) -> str:
    from safetycatch.report.numbers import ABSENT, count

    if call.n_tokens_in is None:
        return ABSENT
    cached = f" ({count(call.n_tokens_cached)} cached)" if call.n_tokens_cached else ""
    return f"{count(call.n_tokens_in)}{cached} + {count(call.n_tokens_out)}"


def _sums(sums: Totals, now: int) -> str:
    from safetycatch.report.numbers import money, spent

    invalid = [f"{sums.invalid:,} invalid"] if sums.invalid else []
    most = f" (at most {money(sums.perhaps_usd)})" if sums.perhaps else ""
    parts = [f"{sums.answered:,} answered", *invalid, f"{sums.perhaps:,} perhaps paid{most}", f"{sums.errors:,} errors"]
    asked = [f"{now:,} being asked now"] if now else []
    sum_usd = spent(None if sums.unpriced else sums.spent_usd, sums.spent_usd)
    return " · ".join([*parts, f"spent: {sum_usd}", *asked])


def _moment(seconds: float | None) -> str:
    return "—" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _as_json(shown: Call | Attempt) -> dict[str, Any]:
    """Return the fields with times as ISO 8601."""
    fields = asdict(shown)
    for name in fields.keys() & {"sent_at", "ended_at"}:
        fields[name] = _iso(fields[name])
    return fields


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


@app.command("show")
def show_call(
    key: Annotated[str, typer.Argument(help=f"A call's key or its unique beginning, {MIN_PREFIX} digits or more.")],
    json: Json = False,
) -> None:
    """Show everything about one call: every request for it, how each ended, and the reply as it came."""
    from safetycatch.calls import history
    from safetycatch.cli.output import Output

    output = Output(json=json)
    with open_journal() as journal:
        found = key_of(journal, key)
        attempts = history.attempts_for(journal, found)
        raw = journal.raw(found)
        asked = journal.asked(found)
    text = None if raw is None else raw.decode(errors="replace")
    output.document(
        {"call_key": found, "asked_now": asked, "attempts": [_as_json(one) for one in attempts], "raw": text}
    )
    if json:
        return
    first = attempts[0]
    output.field("key", found)
    output.field("model", f"{first.model} at {first.endpoint}")
    output.field("item", f"{first.example_id}, replicate {first.replicate}")
    for number, one in enumerate(attempts, 1):
        output.line()
        _show_attempt(number, one, output)
    if asked:
        output.line()
        output.field("now", "a living process asks for it")
    if text is not None:
        output.line()
        output.field("raw", text)


def _show_attempt(number: int, one: Attempt, output: Output) -> None:
    from safetycatch.report.numbers import money, seconds

    at_most = "no price known" if one.max_cost_usd is None else f"at most {money(one.max_cost_usd)}"
    output.field(
        f"request {number}",
        f"{_moment(one.sent_at)} UTC · run {one.run_id} · candidate {one.candidate} · try {one.attempt} · {at_most}",
    )
    if one.state is None:
        told = one.fault_class or "nothing came back before the process ended"
        paid = "free" if one.charge == "none" else "perhaps paid"
        output.field("ended", f"{_moment(one.ended_at)} UTC · {told} · {paid}" if one.ended_at else f"{told} · {paid}")
        if one.fault_text:
            output.field("", one.fault_text)
        return
    took = "" if one.latency_s is None else f" · {seconds(one.latency_s)}"
    output.field("ended", f"{_moment(one.ended_at)} UTC · {one.state}{took}")
    output.field(
        "returned", f"{one.model_returned or 'no model named'} · tokens {_tokens(one)} · {money(one.cost_usd)}"
    )
    if one.error_class or one.error_text:
        output.field("error", ": ".join(part for part in (one.error_class, one.error_text) if part))
    output.field("text", one.text if one.text is not None else "none")
