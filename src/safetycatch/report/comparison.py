"""A comparison of systems measured apart, as one HTML file and as Markdown; the report's own sections, and two more."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safetycatch.report import charts, difference, evidence, items, judge, numbers, ranking, selection, verdicts
from safetycatch.report.escaping import markdown_prose, markdown_safe
from safetycatch.report.html import effect, provenance, render_page, summary
from safetycatch.report.layout import Block, Figure, Fold, Grid, Prose, Section, folded, grid, heads

if TYPE_CHECKING:
    from markupsafe import Markup

    from safetycatch.report.content import ComparisonRow, ReportContent

MAX_ROWS = 10  # of a table in Markdown
MAX_SENTENCE = 400
MAX_NAME = 64
MAX_IDS = 200  # of items fixed, and of those broken
PAGE = "comparison"
MARKER = f"<!-- safetycatch {PAGE} -->"
_TURNED = {"BETTER": "WORSE", "WORSE": "BETTER"}


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """One side's variance in squared units of the metric, within an item (between its runs) and between items.

    `se` are standard errors of the mean in the metric's unit: as measured (`n_runs` runs), with one run, with no noise
    between runs. None where it cannot be told, and `reason` says why; else `reason` holds warnings.
    """

    side: str
    n_runs: int
    within: float | None = None
    between: float | None = None
    se: tuple[float, float, float] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """The ids of items that a candidate fixed and broke against its baseline."""

    candidate: str
    baseline: str
    fixed: tuple[str, ...]
    broken: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComparisonContent:
    """What a comparison shows: `report` holds what reports hold too, flips only where both sides' outputs are known.

    `pairs` are later minus earlier sides, the baseline's too.
    """

    report: ReportContent
    pairs: tuple[ComparisonRow, ...] = ()
    n_unpaired: int = 0
    changed: tuple[Changed, ...] = ()
    noise: tuple[NoiseRow, ...] = ()


def sections(content: ComparisonContent) -> tuple[Section, ...]:
    """Return the sections in reading order."""
    report = content.report
    return (
        ranking.ranking(report),
        difference.difference(report),
        *([found] if (found := judge.judge(report)) else []),
        pairs(content),
        flips(content),
        difference.slices(report),
        items.items(report),
        noise(content),
        evidence.findings(report),
        Section("provenance", "Provenance", provenance(report)),
    )


def pairs(content: ComparisonContent) -> Section:
    """Every pair of sides: the row minus the column."""
    report = content.report
    rows = content.pairs
    if not rows:
        return Section("pairs", "Every pair", (Prose("No other pair than the differences above.", quiet=True),))
    found = {(row.candidate, row.baseline): row for row in rows}
    found |= {(row.baseline, row.candidate): _turned(row) for row in rows}
    names = list(dict.fromkeys(name for row in rows for name in (row.baseline, row.candidate)))
    cells: list[tuple[str | Markup, ...]] = [
        (name, *(_pair_cell(found.get((name, other)), report) for other in names)) for name in names
    ]
    blocks: list[Block] = [
        Grid("Row minus column", heads("side", *(f"#{name}" for name in names)), tuple(cells)),
        Prose(f"p-values are Holm-adjusted over these {len(rows):,} pairs.", quiet=True),
    ]
    if content.n_unpaired:
        blocks.append(Prose(f"{content.n_unpaired:,} sides with lower scores are left out here.", quiet=True))
    table = difference.comparison_grid("Pairs", list(rows), selection.units(report))
    return Section("pairs", "Every pair", (*blocks, Fold("Numbers behind this table", (table,))))


def _turned(row: ComparisonRow) -> ComparisonRow:
    """Return the same comparison seen from the other side."""
    estimate, low, high = (None if x is None else -x for x in (row.estimate, row.high, row.low))
    return replace(
        row,
        candidate=row.baseline,
        baseline=row.candidate,
        estimate=estimate,
        low=low,
        high=high,
        verdict=_TURNED.get(row.verdict or "", row.verdict),
        beside="",
    )


def _pair_cell(row: ComparisonRow | None, content: ReportContent) -> str:
    if row is None:
        return numbers.ABSENT
    text = numbers.shown(row.estimate, row.low, row.high, content.unit, difference=True)
    p = numbers.p_value(row.p_adjusted)
    glyph = verdicts.GLYPHS[row.verdict][1] if row.verdict in verdicts.GLYPHS else ""
    verdict = f"{glyph} {row.verdict}".strip() if row.verdict else ""
    parts = (text.value, text.interval, f"p {p}" if p.startswith("<") else f"p = {p}", verdict)
    return "\n".join(part for part in parts if part)


def flips(content: ComparisonContent) -> Section:
    """Which items changed sides, and both outputs where they are known."""
    report = content.report
    cells: list[tuple[str | Markup, ...]] = [
        (
            row.candidate,
            row.baseline,
            numbers.count(len(row.fixed)),
            _listed(row.fixed),
            numbers.count(len(row.broken)),
            _listed(row.broken),
        )
        for row in content.changed
    ]
    if not cells:
        return evidence.flips(report)
    columns = heads("candidate", "baseline", "#fixed", "~items fixed", "#broken", "~items broken")
    blocks: list[Block] = [grid("Items that changed sides", columns, cells)]
    if report.flips:
        blocks.extend(evidence.flips(report, "the files").blocks)
    elif any(row.fixed or row.broken for row in content.changed):
        blocks.append(Prose("Outputs: not shown, because they are not known of both sides.", quiet=True))
    return Section("flips", "Flips", tuple(blocks))


def _listed(ids: tuple[str, ...]) -> Markup | str:
    """Return ids as one folded text, the first `MAX_IDS` of them."""
    left_out = f" … and {len(ids) - MAX_IDS:,} more" if len(ids) > MAX_IDS else ""
    return folded(", ".join(ids[:MAX_IDS]) + left_out, limit=MAX_IDS * MAX_NAME) if ids else numbers.ABSENT


def noise(content: ComparisonContent) -> Section:
    """How much of the spread is noise between runs of one item, and what more runs would bring."""
    unit = numbers.unit_named(content.report.unit)
    blocks: list[Block] = []
    cells: list[tuple[str | Markup, ...]] = []
    warned: list[Block] = []
    for row in content.noise:
        if row.within is None or row.between is None or row.se is None:
            continue
        share = _share(row)
        words = f"{row.side}: {100 - share} % of the variance between items, {share} % between runs of an item"
        blocks.append(Figure(charts.shares([("items", 100 - share), ("runs", share)], words), words))
        errors = tuple(numbers.plain(se * unit.factor, 2) for se in row.se)
        variances = (numbers.plain(value * unit.factor**2, 2) for value in (row.between, row.within))
        cells.append((row.side, numbers.count(row.n_runs), *variances, f"{share} %", *errors))
        if row.reason:
            warned.append(Prose(f"{row.side}: {row.reason}.", quiet=True))
    silent = [row for row in content.noise if row.within is None]
    if cells:
        columns = heads(
            *("side", "#runs an item", "#variance between items", "#between runs", "#share of runs"),
            *(f"#standard error, {unit.heading(difference=True)}", "#with one run", "#without noise between runs"),
        )
        blocks.append(grid("Where the spread comes from", columns, cells))
        blocks.append(Prose("More runs help at most down to the last column; below it only more items do.", quiet=True))
        blocks.extend(warned[:MAX_ROWS])
    blocks.extend(Prose(f"{row.side}: not measured, because {row.reason}.", quiet=True) for row in silent[:MAX_ROWS])
    return Section("noise", "Variance", tuple(blocks))


def _share(row: NoiseRow) -> int:
    """Return how much of the variance is noise between runs, in per cent."""
    within, between = row.within or 0.0, row.between or 0.0
    return round(100 * within / (within + between)) if within + between > 0 else 0


def render_comparison(content: ComparisonContent) -> str:
    """Return the comparison as one HTML document; the same content gives the same text."""
    report = content.report
    facts = [
        ("metric", report.metric),
        ("smallest effect of interest", effect(report)),
        ("sides", f"{len(report.candidates):,}"),
        ("safety catches", summary(report)),
    ]
    source = "Every number was computed from the files and runs that the last section names."
    return render_page(report, PAGE, facts, sections(content), source)


def render_comparison_markdown(content: ComparisonContent) -> str:
    """Return the comparison as about twenty lines of Markdown in which no text from data can act."""
    report = content.report
    _, glyph = verdicts.GLYPHS[report.banner.kind]
    lines = [
        f"### {glyph} {report.banner.kind}: {markdown_prose(report.name, 120)}",
        "",
        markdown_prose(report.banner.sentence, MAX_SENTENCE),
        "",
    ]
    titles = (f"{markdown_prose(report.metric)}, 95 % interval", "difference", "adjusted p", "n")
    lines += [f"| side | {' | '.join(titles)} |", "|---" + "|---:" * len(titles) + "|"]
    versus = {row.candidate: row for row in selection.overall(report)}
    rows = selection.main_rows(report)
    for row in rows[:MAX_ROWS]:
        own = selection.beside(numbers.shown(row.estimate, row.low, row.high, report.unit).text, row.beside)
        found = versus.get(row.id)
        text, p = ("baseline" if row.baseline else numbers.ABSENT), numbers.ABSENT
        if found is not None:
            text = numbers.shown(found.estimate, found.low, found.high, report.unit, difference=True).text
            text = selection.beside(text, found.beside)
            text += f" {found.verdict}" if found.verdict else ""
            p = numbers.p_value(found.p_adjusted)
        n = numbers.count(row.n) + (f" ({row.n_missing:,} missing)" if row.n_missing else "")
        # `<0.001` is no element, but what is not plain prose becomes a code span.
        cells = " | ".join(markdown_prose(cell) for cell in (own, text, p, n))
        lines.append(f"| {markdown_safe(row.id, MAX_NAME)} | {cells} |")
    if len(rows) > MAX_ROWS:
        lines += ["", f"and {len(rows) - MAX_ROWS:,} more sides"]
    lines += ["", *_facts(content)]
    return "\n".join(lines) + "\n"


def _facts(content: ComparisonContent) -> list[str]:
    report = content.report
    lines = [f"- Catches: {markdown_prose(summary(report))}"]
    decided = [row for row in content.pairs if row.verdict in {"BETTER", "WORSE"}]
    if content.pairs:
        lines.append(f"- Pairs: {len(decided):,} of {len(content.pairs):,} are decided (Holm over the pairs)")
    lines.extend(
        f"- Flips, {markdown_safe(row.candidate, MAX_NAME)} against {markdown_safe(row.baseline, MAX_NAME)}: "
        f"{row.fixed:,} fixed, {row.broken:,} broken"
        for row in report.flip_counts[:3]
    )
    health = report.item_health
    if health is not None and health.luck_points is not None and not math.isnan(health.luck_points):
        lines.append(
            f"- Luck: the best of {health.luck_k} equal sides would look {health.luck_points:.1f} points better"
        )
    lines.extend(
        f"- Variance, {markdown_safe(row.side, MAX_NAME)}: {_share(row)} % is noise between runs of an item"
        for row in content.noise[:3]
        if row.within is not None
    )
    if report.judged is not None:
        lines.extend(f"- Judge: {markdown_prose(line, MAX_SENTENCE)}" for line in report.judged["told"])
    lines.extend(f"- {markdown_safe(note, MAX_SENTENCE)}" for note in report.notes[:5])
    if report.command:
        lines.append(f"- Reproduce: {markdown_safe(report.command, MAX_SENTENCE)}")
    return lines
