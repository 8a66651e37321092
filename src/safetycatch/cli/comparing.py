"""`compare`: systems of stored runs and of files, paired by item."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.cli.comparison import Compared, Options
    from safetycatch.cli.output import Output
    from safetycatch.results.comparing import Comparison

MAX_SLICES = 30
HELP = (
    "RUN, RUN:candidate, FILE or FILE:system (CSV, TSV, JSONL, Parquet, promptfoo's JSON); NAME=… names it. "
    "The first is the baseline."
)


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command(rich_help_panel="Read results")(compare)


def compare(
    sides: Annotated[list[str], typer.Argument(metavar="SIDE", help=HELP)],
    metric: Annotated[str | None, typer.Option(help="Default: the baseline's first metric.")] = None,
    smallest_effect: Annotated[
        str | None, typer.Option(help="The smallest difference that matters, '3 points': gives verdicts.")
    ] = None,
    item: Annotated[list[str] | None, typer.Option(help="The files' item column; the first that is there.")] = None,
    score: Annotated[list[str] | None, typer.Option(help="The files' score column; the first that is there.")] = None,
    cluster: Annotated[list[str] | None, typer.Option(help="The files' cluster column (customer, document).")] = None,
    slices: Annotated[list[str] | None, typer.Option("--slice", help="A column to slice by; repeatable.")] = None,
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="A lower score is better.")] = False,
    intersect: Annotated[bool, typer.Option("--intersect", help="Compare the shared items only.")] = False,
    override: Annotated[list[str] | None, typer.Option(help="A catch to override; repeatable.")] = None,
    because: Annotated[str | None, typer.Option(help="Why.")] = None,
    html: Annotated[str | None, typer.Option(help="Write the comparison as one HTML file.")] = None,
    markdown: Annotated[bool, typer.Option("--md", help="Print twenty lines of Markdown.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Compare stored runs and files of scores item by item; refuses other items (SC204) unless --intersect."""
    from safetycatch.catches import Policy
    from safetycatch.catches.finding import parse_overrides
    from safetycatch.cli.comparison import Options, compared, document
    from safetycatch.cli.comparison_page import content_of
    from safetycatch.cli.output import Output
    from safetycatch.cli.overwriting import check_overwriting
    from safetycatch.data.foreign import Wanted
    from safetycatch.report.comparison import MARKER, render_comparison, render_comparison_markdown

    if markdown and json:
        raise UsageError("--md and --json", where="safetycatch compare", expected="one of them")
    if html is not None:
        check_overwriting(Path(html), MARKER, "--html")
    wanted = Wanted(*(tuple(names or ()) for names in (item, score, cluster, slices)))
    policy = Policy(claiming=False, overrides=parse_overrides(override or [], because))
    options = Options(wanted, policy, metric, smallest_effect, lower_is_better, intersect)
    found, output = compared(sides, options), Output(json=json)
    command = _command(sides, options)
    if html is not None:
        _write(html, render_comparison(content_of(found, datetime.now(UTC), command)))
    output.document({**document(found), "command": command, "html": html})
    if markdown:
        output.line(render_comparison_markdown(content_of(found, datetime.now(UTC), command)).rstrip("\n"))
    elif not json:
        _show(found, output)
        if html is not None:
            output.field("html", html)


def _command(sides: Sequence[str], options: Options) -> str:
    """Return the command that gives the same comparison."""
    wanted = options.wanted
    named = [("--metric", options.metric), ("--smallest-effect", options.smallest_effect)]
    columns = (("--item", wanted.item), ("--score", wanted.score), ("--cluster", wanted.cluster))
    named += [(option, name) for option, names in (*columns, ("--slice", wanted.slices)) for name in names]
    flags = (("--lower-is-better", options.lower_is_better), ("--intersect", options.intersect))
    for code, reason in options.policy.overrides.items():
        named += [("--override", code), ("--because", reason)]
    words = [word for option, value in named if value is not None for word in (option, value)]
    return shlex.join(["safetycatch", "compare", *sides, *words, *(flag for flag, given in flags if given)])


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", where="--html") from None


def _show(found: Compared, output: Output) -> None:
    from safetycatch.cli.comparison import ADVICE
    from safetycatch.cli.output import safe
    from safetycatch.report.numbers import shown
    from safetycatch.report.selection import beside

    facts, metric, items = found.facts, found.metric, found.matrix.items
    clustered = f" in {items.n_clusters:,} clusters" if items.clustered else ""
    output.line(output.painted(f"{safe(metric.name)}, {len(items.ids):,} items{clustered}, paired by item", "strong"))
    sign = -1 if metric.higher_is_better else 1
    ranked = sorted(facts.estimates, key=lambda row: (row.estimate != row.estimate, sign * row.estimate))
    output.table(
        [
            (
                f"  {row.candidate}",
                beside(shown(row.estimate, row.low, row.high, found.unit).text, found.beside(row.candidate)),
                f"n = {row.n:,}"
                + (f" of its {facts.own[row.candidate]:,}" if facts.own[row.candidate] > row.n else "")
                + (f", {row.n_missing:,} missing" if row.n_missing else ""),
            )
            for row in ranked
        ]
    )
    output.line()
    output.line(output.painted("difference, candidate - baseline", "strong"))
    _differences(facts.differences, found, output)
    for verdict in facts.verdicts.values():
        output.field(verdict.kind, found.said(verdict))
    if facts.pairs:
        output.line()
        output.line(output.painted("every pair", "strong"))
        _differences(facts.pairs, found, output)
    if facts.slices:
        output.line()
        output.line(output.painted(f"slices, exploratory (Benjamini-Hochberg over {len(facts.slices)})", "strong"))
        _differences(facts.slices[:MAX_SLICES], found, output)
        if len(facts.slices) > MAX_SLICES:
            output.line(f"  and {len(facts.slices) - MAX_SLICES:,} more: --html FILE or --json")
    output.line()
    output.block("judge", (found.judged or {}).get("told", []))
    _remarks(found, output)
    if found.smallest_effect is None:
        output.field("next", ADVICE)


def _differences(rows: Sequence[Comparison], found: Compared, output: Output) -> None:
    from safetycatch.report.numbers import p_value, shown
    from safetycatch.report.selection import beside

    sliced = any(row.slice != "all" for row in rows)
    correction = "" if sliced or len(rows) == 1 else f" (Holm over {len(rows)})"
    cells: list[tuple[str, ...]] = []
    for row in rows:
        d = row.difference
        if d is None:
            text = f"no difference: {row.reason}, n = {row.n:,}"
        else:
            p = p_value(row.p_adjusted)
            figures = shown(d.estimate, d.low, d.high, found.unit, difference=True).text
            text = (
                f"{beside(figures, found.beside_difference(row))}, n = {row.n:,}, "
                f"p {p if p.startswith('<') else '= ' + p}{correction}"
            )
            text += f", clustered ({d.n_clusters:,})" if d.n_clusters < d.n else ""
            text += f", {row.verdict}" if row.verdict else ""
        text += f"; left out without every side's score: {row.n_missing:,}" if row.n_missing else ""
        where = (row.slice,) if sliced else ()
        cells.append((f"  {row.candidate}", "vs", row.baseline, *where, text))
    output.table(cells)


def _remarks(found: Compared, output: Output) -> None:
    """Print luck, variance, catches that fired and how the files were read."""
    facts = found.facts
    if facts.health is not None and facts.health.luck is not None:
        text = f"the best of {facts.health.k} equal systems would look {100 * facts.health.luck:.1f} points better"
        output.field("luck", f"{text} than it is, on this many items")
    for row in facts.flips:
        output.field(
            "flips", f"{row.candidate} vs {row.baseline}: {len(row.fixed):,} fixed, {len(row.broken):,} broken"
        )
    for noise in facts.noise:
        parts = noise.components
        if parts is not None and parts.within + parts.between > 0:
            share = 100 * parts.within / (parts.within + parts.between + (max(0, parts.cluster)))
            output.field("variance", f"{noise.side}: {share:.0f} % of it is noise between runs of an item")
    for finding in found.findings:
        if finding.status not in {"passed", "not_applicable", "not_checked"} or (
            finding.code == "SC204" and finding.evidence
        ):
            output.field(finding.code, finding.saw)
    output.block("notes", found.notes)
