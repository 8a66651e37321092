"""The report as one HTML file: no script, no network, nothing in it that is not escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from safetycatch.report import (
    bench,
    cost,
    difference,
    ensemble,
    escaping,
    evidence,
    items,
    judge,
    ladder,
    numbers,
    ranking,
    verdicts,
)
from safetycatch.report.layout import Grid, Section, grid, heads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Template
    from markupsafe import Markup

    from safetycatch.report.content import FindingRow, ReportContent


@cache
def _template() -> Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("safetycatch.report"),
        autoescape=True,
        finalize=escaping.finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2")


def summary(content: ReportContent) -> str:
    """Return the catches in a line: `21 passed · 2 warnings (SC203, SC205) · 1 override (SC501)`."""
    codes: dict[str, list[str]] = {}
    for row in sorted(content.findings, key=lambda row: row.code):
        codes.setdefault(evidence.outcome(row), []).append(row.code)
    words = {
        "refused": ("refusal", "refusals"),
        "overridden": ("override", "overrides"),
        "acknowledged": ("acknowledged", "acknowledged"),
        "fired": ("warning", "warnings"),
    }
    parts = [f"{len(codes['passed']):,} passed"] if codes.get("passed") else []
    for status, (one, many) in words.items():
        found = codes.get(status, [])
        if found:
            parts.append(f"{len(found):,} {one if len(found) == 1 else many} ({', '.join(dict.fromkeys(found))})")
    silent = len(codes.get("not_applicable", [])) + len(codes.get("not_checked", []))
    if silent:
        parts.append(f"{silent:,} not applicable or not checked")
    return " · ".join(parts) or "no catch was run"


def spent(content: ReportContent) -> str:
    """Return what was spent of what: `$3.12 of $5.00`."""
    bill = content.money
    if bill is None:
        return "nothing, no call was made"
    return numbers.spent(bill.spent_usd, bill.spent_at_least_usd) + (f" of {bill.budget}" if bill.budget else "")


def provenance(content: ReportContent) -> tuple[Grid, ...]:
    """Return where the numbers come from, as a table; none when nothing is known."""
    rows: list[tuple[str | Markup, ...]] = [
        (label, escaping.html(value, 4 * escaping.MAX_CHARACTERS)) for label, value in content.provenance
    ]
    return (grid("Where these numbers come from", heads("what", "~value"), rows, "manifest.json"),) if rows else ()


def sections(content: ReportContent) -> tuple[Section, ...]:
    """Return the sections in reading order."""
    found, vote, judged = bench.bench(content), ensemble.ensemble(content), judge.judge(content)
    return (
        *([found] if found else []),
        ranking.ranking(content),
        difference.difference(content),
        cost.cost(content),
        *([judged] if judged else []),
        *([vote] if vote else []),
        difference.slices(content),
        evidence.flips(content),
        items.items(content),
        evidence.leakage(content),
        ladder.ladder(content),
        evidence.findings(content),
        cost.money(content),
        Section("provenance", "Provenance", provenance(content)),
    )


def _exceptions(content: ReportContent, status: str) -> list[FindingRow]:
    return [row for row in content.findings if evidence.outcome(row) == status]


def effect(content: ReportContent) -> str:
    """Return the smallest effect of interest as the claim would write it."""
    return "none stated" if not content.smallest_effect else numbers.effect(content.smallest_effect, content.unit)


def render_html(content: ReportContent) -> str:
    """Return the report as one HTML document; the same content gives the same text."""
    facts = [
        ("metric", content.metric),
        ("smallest effect of interest", effect(content)),
        ("spent", spent(content)),
        ("safety catches", summary(content)),
    ]
    source = "Every number is in the Parquet files beside it."
    return render_page(content, f"report · {content.mode}", facts, sections(content), source)


def render_page(
    content: ReportContent,
    page: str,
    facts: Sequence[tuple[str, str]],
    shown: Sequence[Section],
    source: str,
) -> str:
    """Return a page of sections under the content's banner; `page` says what it is, `source` where its numbers are."""
    css, glyph = verdicts.GLYPHS[content.banner.kind]
    return _template().render(
        content=content,
        page=page,
        banner_css=css,
        banner_glyph=glyph,
        facts=facts,
        refused=_exceptions(content, "refused"),
        overridden=_exceptions(content, "overridden"),
        acknowledged=_exceptions(content, "acknowledged"),
        sections=shown,
        source=source,
        absent=numbers.ABSENT,
    )
