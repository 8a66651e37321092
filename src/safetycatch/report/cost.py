"""What quality costs: dollars and seconds by candidate, and the bill of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.report import axes, charts, escaping, numbers
from safetycatch.report.content import measured
from safetycatch.report.layout import (
    Block,
    DotPlot,
    DotRow,
    Figure,
    Fold,
    Prose,
    Section,
    grid,
    heads,
    missing,
)
from safetycatch.report.selection import (
    main_rows,
    present,
    scaled,
)

if TYPE_CHECKING:
    from markupsafe import Markup

    from safetycatch.report.content import CandidateRow, Money, ReportContent


MAX_PLOT_ROWS = 40


def cost(content: ReportContent) -> Section:
    """Dollars for 1,000 items against quality with the Pareto frontier, and how long an answer takes."""
    rows = main_rows(content)
    unit = numbers.unit_named(content.unit)
    priced = [row for row in rows if measured(row.cost_usd_per_1000) is not None and measured(row.estimate) is not None]
    blocks: list[Block] = []
    if not priced:
        blocks.append(missing(content, "cost", "no candidate has both a price and a score", "Cost"))
    elif all(not row.cost_usd_per_1000 for row in priced):
        blocks.append(Prose("Every candidate costs $0.00: there is nothing to weigh against quality.", quiet=True))
    else:
        blocks.append(_scatter(content, priced, unit))
    timed = [row for row in rows if measured(row.latency_p50_s) is not None and measured(row.latency_p95_s) is not None]
    if timed:
        blocks.append(_latency(timed))
    else:
        blocks.append(Prose("Latency: not measured, because no candidate has timed calls.", quiet=True))
    cells: list[tuple[str | Markup, ...]] = []
    for row in rows:
        text = numbers.shown(row.estimate, row.low, row.high, content.unit)
        tokens = (numbers.count(row.tokens_in), numbers.count(row.tokens_cached), numbers.count(row.tokens_out))
        dollars = (numbers.money(row.cost_usd_per_1000), numbers.money(row.cost_usd_total))
        cells.append(
            (
                row.id,
                text.estimate,
                *dollars,
                numbers.plain(row.latency_p50_s),
                numbers.plain(row.latency_p95_s),
                *tokens,
            )
        )
    columns = heads(
        "candidate",
        f"#{content.metric}, {unit.heading()}",
        "#per 1,000 items",
        "#this run",
        "#median, s",
        "#95th percentile, s",
        "#tokens in",
        "#of these cached",
        "#tokens out",
    )
    if rows:
        blocks.append(Fold("Numbers behind these plots", (grid("Cost and latency", columns, cells, "rows.parquet"),)))
    return Section("cost", "Cost and latency against quality", tuple(blocks))


def _scatter(content: ReportContent, priced: list[CandidateRow], unit: numbers.Unit) -> Figure:
    spots = [(row.cost_usd_per_1000 or 0.0, (row.estimate or 0.0) * unit.factor) for row in priced]
    best = charts.frontier(spots, higher_is_better=content.higher_is_better)
    points = [
        charts.Point(row.id, x, y, scaled(row.low, unit.factor), scaled(row.high, unit.factor), front)
        for row, (x, y), front in zip(priced, spots, best, strict=True)
    ]
    bounds = (0.0, 100.0) if content.unit == "proportion" else (-float("inf"), float("inf"))
    y_axis = axes.linear_axis(present(v for p in points for v in (p.y, p.low, p.high)), bounds=bounds)
    names = ", ".join(point.name for point in points if point.frontier)
    drawing = charts.scatter(
        points,
        axes.cost_axis([x for x, _ in spots]),
        y_axis,
        f"{content.metric} against cost; on the frontier: {names}",
        f"{content.metric}, {unit.heading()}",
        "US dollars for 1,000 items",
    )
    return Figure(
        drawing, f"Filled, on the line: no candidate is both cheaper and better ({names}). Whiskers: 95 % interval."
    )


def _latency(rows: list[CandidateRow]) -> DotPlot:
    axis = axes.linear_axis([row.latency_p95_s or 0.0 for row in rows], include=[0.0], bounds=(0.0, float("inf")))
    drawn: list[DotRow] = []
    for row in rows[:MAX_PLOT_ROWS]:
        median, slow = numbers.seconds(row.latency_p50_s), numbers.seconds(row.latency_p95_s)
        label = f"{row.id}: median {median}, 95th percentile {slow}"
        drawing = charts.span(row.latency_p50_s or 0.0, row.latency_p95_s or 0.0, axis, label)
        drawn.append(DotRow(row.id, "", drawing, median, f"95 % within {slow}"))
    return DotPlot(
        "Latency of an answer, seconds",
        ("candidate", "median (dot) to 95th percentile (bar), seconds", "s"),
        tuple(drawn),
        charts.scale(axis),
    )


def money(content: ReportContent) -> Section:
    """What was sent, answered, saved and perhaps paid; errors by class."""
    bill = content.money
    if bill is None:
        return Section("money", "Money and calls", (missing(content, "money", "no call was made"),))
    sum_usd = numbers.spent(bill.spent_usd, bill.spent_at_least_usd)
    spent = f"{sum_usd} of {bill.budget}" if bill.budget else f"{sum_usd} (no ceiling)"
    perhaps = f"{bill.perhaps_paid:,} (at most {numbers.money(bill.perhaps_paid_usd)}, counted against the ceiling)"
    rows: list[tuple[str | Markup, ...]] = [
        ("spent", spent),
        ("saved by the journal", numbers.money(bill.saved_usd)),
        ("saved by the provider's prompt cache", _cached(bill)),
        ("saved by the race on dev, about", numbers.money(bill.saved_by_race_usd)),
        ("calls sent since it was resumed" if bill.sent_before else "calls sent", numbers.count(bill.sent)),
        *([("calls sent before it was resumed", numbers.count(bill.sent_before))] if bill.sent_before else []),
        ("answered", numbers.count(bill.answered)),
        ("taken from the journal", numbers.count(bill.from_journal)),
        ("sent again after an error", numbers.count(bill.retried)),
        ("perhaps paid (sent, no answer seen)", perhaps if bill.perhaps_paid else "0"),
        ("errors", numbers.count(bill.errors)),
    ]
    blocks: list[Block] = [grid("Calls and US dollars of this run", heads("what", "#value"), rows, css="narrow")]
    if bill.by_error_class:
        errors: list[tuple[str | Markup, ...]] = [(name, numbers.count(n)) for name, n in bill.by_error_class]
        blocks.append(grid("Errors by class", heads("class", "#calls"), errors, "rows.parquet", css="narrow"))
    if bill.perhaps:
        calls: list[tuple[str | Markup, ...]] = [
            (
                escaping.html(row.candidate),
                escaping.html(row.example_id),
                escaping.html(row.model),
                row.sent_at,
                numbers.money(row.highest_usd),
            )
            for row in bill.perhaps
        ]
        columns = heads("candidate", "~item", "model", "sent", "#at most")
        note = "Sent, and no answer was seen: the provider may bill them. The calls were asked again."
        blocks.append(
            Fold(f"Perhaps paid: {len(calls):,} calls", (grid(note, columns, calls, "safetycatch calls ls"),))
        )
    return Section("money", "Money and calls", tuple(blocks))


def _cached(bill: Money) -> str:
    """Return what the provider's prompt cache saved, and how much of the prompts it served."""
    saved = numbers.money(bill.saved_by_prompt_cache_usd)
    if bill.n_tokens_cached is None or not bill.n_tokens_in:
        return saved
    return f"{saved} ({bill.n_tokens_cached:,} of {bill.n_tokens_in:,} prompt tokens)"
