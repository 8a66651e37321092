"""Every candidate with its interval, best first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.report import axes, charts, numbers
from safetycatch.report.layout import (
    Block,
    DotPlot,
    DotRow,
    Fold,
    Grid,
    Section,
    grid,
    heads,
    missing,
)
from safetycatch.report.selection import (
    beside,
    by_split,
    counts_text,
    in_words,
    present,
    scaled,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from markupsafe import Markup

    from safetycatch.report.content import CandidateRow, ReportContent


MAX_PLOT_ROWS = 40


def ranking(content: ReportContent) -> Section:
    """Every candidate's metric with its interval, best first, a plot for each split."""
    unit = numbers.unit_named(content.unit)
    rows = content.candidates
    values = present((x for row in rows for x in (row.estimate, row.low, row.high)), unit.factor)
    blocks: list[Block] = []
    if not values:
        blocks.append(missing(content, "ranking", "no candidate was scored"))
    else:
        bounds = (0.0, 100.0) if content.unit == "proportion" else (-float("inf"), float("inf"))
        axis = axes.linear_axis(values, bounds=bounds)
        splits = by_split(content)
        for split, members in splits.items():
            drawn = [_ranked(row, content, axis) for row in members[:MAX_PLOT_ROWS]]
            note = f"and {len(members) - MAX_PLOT_ROWS} more in the table below" if len(members) > MAX_PLOT_ROWS else ""
            title = f"{content.metric} on {split}"
            blocks.append(
                DotPlot(
                    title,
                    ("candidate", f"{title}, with 95 % interval", unit.heading()),
                    tuple(drawn),
                    charts.scale(axis),
                    note,
                )
            )
    if rows:
        blocks.append(Fold("Numbers behind this plot", tuple(_candidate_grids(content))))
    return Section("ranking", "Ranking", tuple(blocks), wide=False)


def _ranked(row: CandidateRow, content: ReportContent, axis: axes.Axis) -> DotRow:
    text = numbers.shown(row.estimate, row.low, row.high, content.unit)
    factor = text.unit.factor
    mark = charts.Mark(
        scaled(row.estimate, factor),
        scaled(row.low, factor),
        scaled(row.high, factor),
        in_words(row.id, text),
        look="muted" if row.baseline else "plain",
        hollow=row.baseline,
    )
    note = counts_text(row.n, row.n_missing, row.n_clusters, row.n_unparsable)
    state = "" if row.status in {"", "complete", "done"} else f", {row.status}"
    state += f", {row.beside}" if row.beside else ""
    return DotRow(
        row.id, note + state, charts.row(mark, axis), text.value, text.interval, "baseline" if row.baseline else ""
    )


def _candidate_grids(content: ReportContent) -> Iterable[Grid]:
    unit = numbers.unit_named(content.unit).heading()
    rows: list[tuple[str | Markup, ...]] = []
    others: list[tuple[str | Markup, ...]] = []
    for members in by_split(content).values():
        for row in members:
            text = numbers.shown(row.estimate, row.low, row.high, content.unit)
            rows.append(
                (
                    row.id,
                    row.split,
                    text.estimate,
                    text.low,
                    text.high,
                    numbers.count(row.n),
                    numbers.count(row.n_clusters),
                    numbers.count(row.n_missing),
                    numbers.count(row.n_unparsable),
                    row.status,
                    beside(row.method.replace("_", " ") or numbers.ABSENT, row.beside),
                    row.description or numbers.ABSENT,
                )
            )
            for other in row.other_metrics:
                known = numbers.shown(other.estimate, other.low, other.high, other.unit)
                others.append(
                    (
                        row.id,
                        row.split,
                        beside(other.name, other.beside),
                        known.unit.heading() or numbers.ABSENT,
                        known.estimate,
                        known.low,
                        known.high,
                    )
                )
    columns = heads(
        *("candidate", "split", f"#{content.metric}, {unit}", "#low", "#high"),
        *("#n", "#clusters", "#missing", "#unparsable", "status", "method", "~description"),
    )
    yield grid("Candidates", columns, rows, "scores.parquet")
    if others:
        yield grid(
            "Further metrics",
            heads("candidate", "split", "metric", "unit", "#estimate", "#low", "#high"),
            others,
            "scores.parquet",
        )
