"""The few-shot bench in a report: the table of strategies, score against dollars, seeds and orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.report import axes, charts, numbers
from safetycatch.report.layout import Block, Figure, Prose, Section, grid, heads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from safetycatch.report.content import ReportContent

COLUMNS = ("strategy", "{metric}", "n", "over {simplest}", "$ per 1,000", "tokens in", "p50 / p95", "parts", "race")
UNITS = {"points": "proportion"}
MOST_ROWS = 60


def _unit(bench: Mapping[str, Any]) -> str:
    return UNITS.get(bench["unit"]) or str(bench["unit"])


def columns(bench: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the heads of the table of strategies."""
    return tuple(name.format(metric=bench["metric"], simplest=bench["simplest"]) for name in COLUMNS)


def cells(row: Mapping[str, Any], bench: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a strategy's row as text, a cell for each column."""
    score, gain, unit = row["score"], row["gain"], _unit(bench)
    missing = f" ({score['n_missing']:,} missing)" if score["n_missing"] else ""
    tokens = numbers.plain(row["tokens_in"])
    cached = row["share_cached"]
    return (
        row["candidate"],
        numbers.shown(score["estimate"], score["low"], score["high"], unit).text,
        f"{score['n']:,}{missing}",
        numbers.ABSENT
        if gain is None
        else numbers.shown(gain["estimate"], gain["low"], gain["high"], unit, difference=True).text,
        "price unknown" if row["usd_per_1000"] is None else numbers.money(row["usd_per_1000"]),
        tokens + (f" ({100 * cached:.0f} % cached)" if cached else ""),
        f"{numbers.seconds(row['latency_p50_s'])} / {numbers.seconds(row['latency_p95_s'])}",
        str(row["moving_parts"]),
        _race(row),
    )


def _race(row: Mapping[str, Any]) -> str:
    if row["status"] == "running":
        return "every dev row"
    if row["status"] == "eliminated":
        return f"left at rung {row['rung']} (evidence)"
    return f"not among the best at rung {row['rung']} (cap)"


def ended(bench: Mapping[str, Any]) -> str:
    """Return how many calls the race spared."""
    asked, full = bench["calls"]["asked"], bench["calls"]["without_race"]
    varied = bench["calls"]["spreads"]
    more = f", and {varied:,} for seeds and orders" if varied else ""
    if asked >= full:
        return f"{asked:,} answers, every strategy on every dev row{more}"
    return f"{asked:,} answers instead of {full:,}: the race spared {100 * (1 - asked / full):.0f} %{more}"


def spread_lines(bench: Mapping[str, Any]) -> list[str]:
    """Return what other seeds and orders moved, or why none were tried."""
    lines = [_spread(one, _unit(bench)) for one in bench["spreads"]]
    return lines + ([f"other seeds and orders: {bench['unspread']}"] if bench["unspread"] else [])


def _spread(one: Mapping[str, Any], unit: str) -> str:
    if one["sd"] is None:
        return f"{one['candidate']}, other {one['what']}s: {one['reason']}"
    scale = numbers.unit_named(unit)
    low, high = (scale.factor * pick(one["means"]) for pick in (min, max))
    sd = numbers.shown(one["sd"], one["sd_low"], one["sd_high"], unit, difference=True)
    return (
        f"{one['candidate']}, {len(one['means'])} {one['what']}s: {low:.1f} to {high:.1f}{scale.suffix}, "
        f"SD {sd.text.replace('+', '')} (n = {one['n']:,})"
    )


def bench(content: ReportContent) -> Section | None:
    """Return strategies by score, dollars, latency and moving parts; None for a run that is no bench."""
    found = content.bench
    if found is None:
        return None
    blocks: list[Block] = [Prose(f"{found['sentence']}."), Prose(f"Rule: {found['rule']}.", quiet=True)]
    plot = _plot(found)
    if plot is not None:
        blocks.append(plot)
    rows: list[tuple[str | Markup, ...]] = [cells(row, found) for row in found["strategies"]]
    note = (
        f"Strategies on {found['n_dev']:,} dev rows, by {found['metric']}; differences are paired on shared rows, "
        "intervals at 95 % each, none for those that left the race (it stops where a score is far off)"
    )
    named = heads(*(name if name in {"strategy", "race"} else f"#{name}" for name in columns(found)))
    blocks.append(grid(note, named, rows, "the JSON of the run"))
    parts: list[tuple[str | Markup, ...]] = [
        (row["candidate"], ", ".join(row["moving"]) or "nothing beside the prompt") for row in found["strategies"]
    ]
    blocks.append(grid("Moving parts: what is kept and run beside the prompt", heads("strategy", "~parts"), parts))
    blocks += [Prose(line, quiet=True) for line in [ended(found), *spread_lines(found)]]
    if found["next"]:
        lines = "\n".join(found["next"])
        blocks.append(grid("For its one look on test, in the experiment", heads("~paste"), [(lines,)], css="narrow"))
    return Section("bench", "Few-shot strategies", tuple(blocks))


def _plot(found: Mapping[str, Any]) -> Block | None:
    unit = numbers.unit_named(_unit(found))
    rows: Sequence[Mapping[str, Any]] = [row for row in found["strategies"] if row["complete"]]
    priced = [row for row in rows if row["usd_per_1000"] is not None]
    if not priced:
        return Prose("Score against dollars: not drawn, because no price is known.", quiet=True)
    if all(not row["usd_per_1000"] for row in priced):
        return Prose("Every strategy costs $0.00: there is nothing to weigh against the score.", quiet=True)

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * unit.factor

    points = [
        charts.Point(
            row["candidate"],
            row["usd_per_1000"],
            row["score"]["estimate"] * unit.factor,
            scaled(row["score"]["low"]),
            scaled(row["score"]["high"]),
            row["frontier"],
        )
        for row in priced[:MOST_ROWS]
    ]
    names = ", ".join(point.name for point in points if point.frontier)
    heights = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    bounds = (0.0, 100.0) if unit.name == "proportion" else (-float("inf"), float("inf"))
    drawing = charts.scatter(
        points,
        axes.cost_axis([point.x for point in points]),
        axes.linear_axis(heights, bounds=bounds),
        f"{found['metric']} against cost; on the frontier: {names}",
        f"{found['metric']}, {unit.heading()}",
        "US dollars for 1,000 calls",
    )
    caption = "Filled, on the line: no strategy that was asked every dev row is both cheaper and better"
    return Figure(drawing, f"{caption} ({names}). Whiskers: 95 % interval.")
