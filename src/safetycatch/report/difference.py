"""Candidate minus baseline: overall with the guardrails, and by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.report import axes, charts, numbers
from safetycatch.report.items import confusions
from safetycatch.report.layout import (
    Block,
    DotPlot,
    DotRow,
    Fold,
    Grid,
    Prose,
    Section,
    grid,
    heads,
    missing,
)
from safetycatch.report.selection import (
    beside,
    counts_text,
    headline,
    in_words,
    overall,
    present,
    scaled,
    units,
)
from safetycatch.report.verdicts import verdict_tag

if TYPE_CHECKING:
    from markupsafe import Markup

    from safetycatch.report.content import ComparisonRow, ReportContent


MAX_PLOT_ROWS = 40
CORRECTIONS = {
    "holm": "Holm",
    "max_t": "max-T",
    "holm_pairs": "Holm, these pairs",
    "benjamini_hochberg": "Benjamini and Hochberg, exploratory",
}


def difference(content: ReportContent) -> Section:
    """Every candidate minus its baseline, against zero and the band of differences too small to matter."""
    rows = overall(content)
    unit = numbers.unit_named(content.unit)
    blocks: list[Block] = []
    values = present((x for row in rows for x in (row.estimate, row.low, row.high)), unit.factor)
    band = scaled(content.smallest_effect, unit.factor)
    if not values:
        alone = "there is one candidate: nothing to compare it with"
        blocks.append(missing(content, "difference", alone if len(content.candidates) == 1 else "nothing was compared"))
    else:
        axis = axes.linear_axis(values, include=[0.0, *([-band, band] if band else [])], signed=True)
        blocks.append(_difference_plot(content, rows[:MAX_PLOT_ROWS], axis, band, [row.candidate for row in rows]))
    if content.guardrails:
        blocks.append(_guardrail_grid(content))
    elif content.mode == "claiming":
        blocks.append(missing(content, "guardrails", "the claim names none", "Guardrails"))
    known = units(content)
    compared = [row for row in content.comparisons if row.slice == "all"]
    if compared:
        blocks.append(Fold("Numbers behind this plot", (comparison_grid("Differences", compared, known),)))
    if content.pairs:
        blocks.extend(_pairs(content))
    return Section("difference", "Difference to the baseline", tuple(blocks), wide=False)


def _pairs(content: ReportContent) -> list[Block]:
    left_out = f" {content.n_unpaired:,} candidates with lower scores are left out." if content.n_unpaired else ""
    how_many = f"these {len(content.pairs):,} pairs, a family of its own" if len(content.pairs) > 1 else "this one pair"
    told = (
        f"Between the candidates: p-values are Holm-adjusted over {how_many}, beside the claim against the baseline; "
        f"guardrails play no part.{left_out}"
    )
    table = comparison_grid("Pairs without the baseline", list(content.pairs), units(content))
    return [Fold("Pairs without the baseline", (table,)), Prose(told, quiet=True)]


def slices(content: ReportContent) -> Section:
    """The difference on every slice for the headline candidate, and the metric of every candidate by slice."""
    name = headline(content)
    unit = numbers.unit_named(content.unit)
    compared = [row for row in content.comparisons if row.slice != "all" and row.metric == content.metric]
    drawn = [row for row in compared if row.candidate == name] or compared
    whole = [row for row in overall(content) if row.candidate == name]
    blocks: list[Block] = []
    values = present((x for row in drawn for x in (row.estimate, row.low, row.high)), unit.factor)
    if values:
        rows = [*whole[:1], *drawn[:MAX_PLOT_ROWS]]
        values += present((x for row in whole[:1] for x in (row.low, row.high)), unit.factor)
        band = scaled(content.smallest_effect, unit.factor)
        axis = axes.linear_axis(values, include=[0.0, *([-band, band] if band else [])], signed=True)
        labels = ["all rows" if row.slice == "all" else row.slice for row in rows]
        title = f"{name} minus {rows[0].baseline}, by slice"
        blocks.append(
            _difference_plot(content, rows, axis, band, labels, caption=title, biggest=max(row.n for row in rows) or 1)
        )
        told = (
            f"Larger dots: more rows. Exploratory: p-values are adjusted over all {len(compared):,} slice differences "
            "(Benjamini and Hochberg); confirm a slice on other rows before acting on it. A slice detects a true "
            "difference of the size given in four of five repetitions; it says little about smaller ones."
        )
        blocks.append(Prose(told, quiet=True))
    elif not content.slices:
        blocks.append(missing(content, "slices", "no slice columns are named (slices, under data)"))
    grids: list[Grid] = []
    if compared:
        grids.append(comparison_grid("Differences by slice", compared, units(content)))
    if content.slices:
        cells: list[tuple[str | Markup, ...]] = []
        for row in content.slices:
            text = numbers.shown(row.estimate, row.low, row.high, content.unit)
            cells.append(
                (
                    row.slice,
                    beside(row.candidate, row.beside),
                    numbers.count(row.n),
                    text.estimate,
                    text.low,
                    text.high,
                )
            )
        grids.append(
            grid(
                f"{content.metric} by slice",
                heads("slice", "candidate", "#n", f"#{content.metric}, {unit.heading()}", "#low", "#high"),
                cells,
                "scores.parquet",
            )
        )
    if grids:
        blocks.append(Fold("Numbers behind this plot", tuple(grids)))
    blocks.extend(confusions(content, name))
    return Section("slices", "Slices and failure modes", tuple(blocks))


def _difference_plot(
    content: ReportContent,
    rows: list[ComparisonRow],
    axis: axes.Axis,
    band: float | None,
    labels: list[str],
    *,
    caption: str = "",
    biggest: int = 0,
) -> DotPlot:
    unit = numbers.unit_named(content.unit)
    sign = 1 if content.higher_is_better else -1
    drawn: list[DotRow] = []
    for row, label in zip(rows, labels, strict=False):
        text = numbers.shown(row.estimate, row.low, row.high, content.unit, difference=True)
        low, high = sorted((scaled(row.low, sign) or 0, scaled(row.high, sign) or 0))
        better, worse = low > 0, high < 0
        radius = charts.DOT_RADIUS if not biggest else 2.5 + 4 * (row.n / biggest) ** 0.5
        mark = charts.Mark(
            scaled(row.estimate, unit.factor),
            scaled(row.low, unit.factor),
            scaled(row.high, unit.factor),
            in_words(f"{label} minus {row.baseline}", text),
            look="better" if better else "worse" if worse else "plain",
            hollow=not (better or worse),
            radius=radius,
        )
        verdict = row.verdict if row.verdict and row.verdict != "none" else ""
        drawn.append(
            DotRow(
                label,
                counts_text(row.n, row.n_missing, row.n_clusters, p_adjusted=row.p_adjusted)
                + _detects(row.detectable, unit)
                + (f", {row.beside}" if row.beside else ""),
                charts.row(mark, axis, zero=0.0, band=band),
                text.value,
                text.interval,
                verdict,
            )
        )
    baselines = list(dict.fromkeys(row.baseline for row in rows))
    against = baselines[0] if len(baselines) == 1 else "the baseline"
    note = "Filled: the interval leaves out zero."
    if band:
        note = f"Shaded: less than {numbers.effect(content.smallest_effect, content.unit)}, too small to matter. {note}"
    left, right = ("worse", "better") if sign > 0 else ("better", "worse")
    return DotPlot(
        caption or f"{content.metric} minus {against}",
        (
            "slice" if biggest else "candidate",
            f"{content.metric} minus {against}, with 95 % interval",
            unit.heading(difference=True),
        ),
        tuple(drawn),
        charts.scale(axis, left=f"← {left}", right=f"{right} →"),
        note,
    )


def _detects(size: float | None, unit: numbers.Unit) -> str:
    """Return `, detects 12 points`: what the rows of a slice can show."""
    size = scaled(size, unit.factor)
    if size is None:
        return ""
    text = f"detects {unit.prefix}{numbers.plain(size, 2)}{unit.difference_suffix}"
    return ", " + text.replace(" ", "\N{NO-BREAK SPACE}")


def comparison_grid(caption: str, rows: list[ComparisonRow], known: dict[str, str]) -> Grid:
    """Return comparisons as a table; `known` names the unit of each metric."""
    cells: list[tuple[str | Markup, ...]] = []
    for row in rows:
        text = numbers.shown(row.estimate, row.low, row.high, known.get(row.metric, ""), difference=True)
        cells.append(
            (
                row.candidate,
                row.baseline,
                row.slice,
                row.metric,
                text.estimate,
                text.low,
                text.high,
                text.unit.heading(difference=True) or numbers.ABSENT,
                verdict_tag(row.verdict),
                numbers.p_value(row.p_value),
                numbers.p_value(row.p_adjusted),
                CORRECTIONS.get(row.correction or "", numbers.ABSENT),
                numbers.count(row.n),
                numbers.plain(scaled(row.detectable, text.unit.factor), 2),
                numbers.count(row.n_clusters),
                numbers.count(row.n_missing),
                beside(row.method.replace("_", " ") or numbers.ABSENT, row.beside),
            )
        )
    columns = heads(
        *("candidate", "baseline", "slice", "metric", "#difference", "#low", "#high", "unit", "verdict"),
        *("#p", "#p adjusted", "adjusted by", "#n", "#detects", "#clusters", "#missing", "method"),
    )
    return grid(caption, columns, cells, "comparisons.parquet")


def _guardrail_grid(content: ReportContent) -> Grid:
    rows: list[tuple[str | Markup, ...]] = []
    for row in content.guardrails:
        text = numbers.shown(row.estimate, row.low, row.high, row.unit, difference=True)
        rows.append(
            (
                row.metric,
                row.candidate,
                f"{text.value}\n{text.interval}" + (f"\n{row.beside}" if row.beside else ""),
                row.limit,
                verdict_tag(row.verdict),
            )
        )
    return grid(
        "Guardrails: what may not get worse",
        heads("metric", "candidate", "#difference, 95 % interval", "#limit", "verdict"),
        rows,
    )
