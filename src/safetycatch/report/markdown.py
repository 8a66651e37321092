"""The report in about twenty lines of Markdown, for a comment on a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.report import ensemble, evidence, numbers, selection, verdicts
from safetycatch.report.escaping import markdown_prose, markdown_safe
from safetycatch.report.html import spent, summary

if TYPE_CHECKING:
    from safetycatch.report.content import ReportContent

MAX_CANDIDATES = 8
MAX_EXCEPTIONS = 5
MAX_SENTENCE = 400


def _exceptions(content: ReportContent) -> list[str]:
    """Refusals and overrides, which stand on top."""
    rows = [row for row in content.findings if evidence.outcome(row) in {"refused", "overridden"}]
    lines = [
        f"> **{markdown_prose(row.code)} {evidence.outcome(row)}**: {markdown_prose(row.title)}"
        + (f", because {markdown_safe(row.reason)}" if row.reason else "")
        for row in rows[:MAX_EXCEPTIONS]
    ]
    if len(rows) > MAX_EXCEPTIONS:
        lines.append(f"> and {len(rows) - MAX_EXCEPTIONS:,} more refusals and overrides")
    return ["\n>\n".join(lines), ""] if lines else []


def _table(content: ReportContent) -> list[str]:
    rows = selection.main_rows(content)
    if not rows:
        return ["No candidate was scored.", ""]
    unit = numbers.unit_named(content.unit)
    differences = {row.candidate: row for row in selection.overall(content)}
    titles = (f"{markdown_prose(content.metric)}, 95 % interval", "difference", "n", "cost of 1,000", "95th percentile")
    lines = [f"| candidate | {' | '.join(titles)} |", "|---" + "|---:" * len(titles) + "|"]
    for row in rows[:MAX_CANDIDATES]:
        value = selection.beside(numbers.shown(row.estimate, row.low, row.high, unit.name).text, row.beside)
        versus = differences.get(row.id)
        change = (
            selection.beside(
                numbers.shown(versus.estimate, versus.low, versus.high, unit.name, difference=True).text, versus.beside
            )
            if versus
            else ("baseline" if row.baseline else numbers.ABSENT)
        )
        n = numbers.count(row.n) + (f" ({row.n_missing:,} missing)" if row.n_missing else "")
        price, slow = numbers.money(row.cost_usd_per_1000), numbers.seconds(row.latency_p95_s)
        cells = (markdown_prose(cell) for cell in (value, change, n, price, slow))
        lines.append(f"| {markdown_safe(row.id, 64)} | {' | '.join(cells)} |")
    if len(rows) > MAX_CANDIDATES:
        lines += ["", f"and {len(rows) - MAX_CANDIDATES:,} more candidates in the report"]
    return [*lines, ""]


def _facts(content: ReportContent) -> list[str]:
    lines = [f"- Catches: {markdown_prose(summary(content))}", f"- Spent: {markdown_safe(spent(content))}"]
    lines.extend(
        f"- Flips, {markdown_safe(row.candidate, 64)} against {markdown_safe(row.baseline, 64)}: "
        f"{row.fixed:,} fixed, {row.broken:,} broken"
        for row in content.flip_counts[:3]
    )
    health = content.item_health
    if health is not None:
        lines.append(
            f"- Items: {health.discordant:,} of {health.n_items:,} tell the candidates apart, {health.solved_by_all:,} "
            f"solved by all, {health.solved_by_none:,} by none"
        )
    leaks = content.leakage
    if leaks is not None:
        leaked, reported = (
            ", ".join(f"{row.n_pairs:,} {row.kind}" for row in leaks.totals if row.reported is kind)
            for kind in (False, True)
        )
        text = f"- Leaked pairs: {markdown_prose(leaked) if leaked else 'none found'}"
        lines.append(text + (f"; alike, but no leak: {markdown_prose(reported)}" if reported else ""))
    else:
        reason = content.unmeasured.get("leakage", "the check did not run").removeprefix("because ").rstrip(".")
        lines.append(f"- Leakage: not measured, because {markdown_prose(reason)}")
    if content.ladder is not None:
        race = content.ladder
        out = ", ".join(f"{row.candidate} {row.status}" for row in race.rows if row.status != "running")
        lines.append(
            f"- Ladder: {race.n_asked:,} of {race.n_full:,} calls on dev"
            + (f"; {markdown_safe(out, MAX_SENTENCE)}" if out else "")
        )
    if content.ensemble is not None:
        lines.append(f"- Ensemble: {markdown_prose(' '.join(ensemble.told(content.ensemble)), MAX_SENTENCE)}")
    if content.judged is not None:
        lines.extend(f"- Judge: {markdown_prose(line, MAX_SENTENCE)}" for line in content.judged["told"])
    if content.command:
        lines.append(f"- Reproduce: {markdown_safe(content.command, MAX_SENTENCE)}")
    return lines


def render_markdown(content: ReportContent) -> str:
    """Return the report as Markdown in which no text from data or models can act: no link, image, HTML or mention."""
    banner = content.banner
    _, glyph = verdicts.GLYPHS[banner.kind]
    lines = [
        f"### {glyph} {banner.kind}: {markdown_prose(content.name, 120)}",
        "",
        markdown_prose(banner.sentence, MAX_SENTENCE),
    ]
    if banner.action and banner.action not in banner.sentence:
        lines += ["", markdown_prose(banner.action, MAX_SENTENCE)]
    lines += ["", *_exceptions(content), *_table(content), *_facts(content), ""]
    lines.append(f"{content.mode}, run {markdown_safe(content.run_id)}, {markdown_safe(content.created_at)}")
    return "\n".join(lines) + "\n"
