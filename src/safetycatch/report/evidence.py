"""What rows and catches show: flips with both outputs, leaked pairs with their overlap, the findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.report import diff, escaping, numbers
from safetycatch.report.layout import Block, Fold, Grid, Prose, Section, folded, grid, heads, missing, tagged

if TYPE_CHECKING:
    from markupsafe import Markup

    from safetycatch.report.content import FindingRow, Flip, LeakPair, ReportContent

MAX_FLIPS = 200
MAX_LEAK_PAIRS = 50
MAX_INPUT_CHARACTERS = 800
# All flips (or leaked pairs) together: a file that a browser opens at once and a mail server lets through.
MAX_SECTION_CHARACTERS = 700_000

_STATUS = {
    "refused": ("refused", "✕"),
    "fired": ("warned", "▲"),
    "overridden": ("refused", "!"),
    "acknowledged": ("warned", "!"),
    "passed": ("quiet", "✓"),
    "not_checked": ("quiet", "?"),
    "not_applicable": ("quiet", "·"),
}


def _within(rows: list[tuple[str | Markup, ...]], size: int) -> tuple[list[tuple[str | Markup, ...]], int]:
    """Return the first rows whose text fits `size` characters, and the characters left."""
    kept: list[tuple[str | Markup, ...]] = []
    for row in rows:
        size -= sum(len(cell) for cell in row)
        if size < 0:
            break
        kept.append(row)
    return kept, max(0, size)


def flips(content: ReportContent, source: str = "rows.parquet") -> Section:
    """The items that each candidate broke (first) and fixed, with both outputs and the words that differ."""
    totals = {(row.candidate, row.baseline): (row.fixed, row.broken) for row in content.flip_counts}
    groups: dict[tuple[str, str], list[Flip]] = {pair: [] for pair in totals}
    for flip in content.flips:
        groups.setdefault((flip.candidate, flip.baseline), []).append(flip)
    if not groups:
        return Section("flips", "Flips", (missing(content, "flips", "there are no two candidates to compare"),))
    blocks: list[Block] = []
    left, size = MAX_FLIPS, MAX_SECTION_CHARACTERS
    columns = heads("item", "~input", "~expected", "~baseline answered", "~candidate answered", "change")
    for (candidate, baseline), members in groups.items():
        broken_first = sorted(members, key=lambda flip: (flip.kind != "broken", flip.example_id))
        n_fixed = sum(flip.kind == "fixed" for flip in members)
        fixed, broken = totals.get((candidate, baseline), (n_fixed, len(members) - n_fixed))
        title = f"{candidate} against {baseline}: {fixed:,} fixed, {broken:,} broken"
        rows, size = _within([_flip_cells(flip) for flip in broken_first[:left]], size)
        left -= len(rows)
        if not rows:
            blocks.append(Prose(f"{title}." + (f" Both outputs are in {source}." if fixed + broken else "")))
            continue
        more = fixed + broken - len(rows)
        blocks.append(
            Grid(title, columns, tuple(rows), f"and {more:,} more in {source}" if more > 0 else "", css="texts")
        )
    blocks.append(Prose("Struck out: only the baseline said it. Underlined: only the candidate did.", quiet=True))
    return Section("flips", "Flips", tuple(blocks))


def _flip_cells(flip: Flip) -> tuple[str | Markup, ...]:
    fixed = flip.kind == "fixed"
    change = tagged("fixed" if fixed else "broken", "better" if fixed else "worse", "✓" if fixed else "✕")
    before, after = flip.baseline_output, flip.candidate_output
    if before is None or after is None:
        outputs = tuple(tagged("no answer", "quiet") if text is None else folded(text) for text in (before, after))
    else:
        sides = diff.changed(before, after)
        outputs = (folded(before, sides.left, sides.left_start), folded(after, sides.right, sides.right_start))
    return (
        flip.example_id,
        folded(flip.input, limit=MAX_INPUT_CHARACTERS),
        folded(flip.target, limit=MAX_INPUT_CHARACTERS),
        *outputs,
        change,
    )


def leakage(content: ReportContent) -> Section:
    """The closest pairs across splits with the words they share, and each metric with and without the leaked rows."""
    found = content.leakage
    if found is None:
        return Section("leakage", "Leakage", (missing(content, "leakage", "the check did not run"),))
    blocks: list[Block] = []
    n_pairs = max(sum(row.n_pairs for row in found.totals), len(found.pairs))
    looked = f" Looked at: {found.looked_at}." if found.looked_at else ""
    if n_pairs == 0:
        blocks.append(Prose(f"No row of one split was found in another.{looked}"))
        return Section("leakage", "Leakage", tuple(blocks))
    n_leaked = n_pairs - sum(row.n_pairs for row in found.totals if row.reported)
    told = "1 pair leaks." if n_leaked == 1 else f"{n_leaked:,} pairs leak." if n_leaked else "No pair leaks."
    if n_leaked < n_pairs:
        told += " The others are reported only: rows of two splits that are alike, below the limit of a leak."
    blocks.append(Prose(f"{told}{looked}", quiet=True))
    if found.totals:
        totals: list[tuple[str | Markup, ...]] = [
            (row.kind, "no" if row.reported else "yes", numbers.count(row.n_pairs), numbers.count(row.n_rows))
            for row in found.totals
        ]
        blocks.append(grid("Pairs by kind", heads("kind", "a leak", "#pairs", "#rows"), totals, css="narrow"))
    if found.scores:
        unit = numbers.unit_named(content.unit).heading()
        scores: list[tuple[str | Markup, ...]] = []
        for row in found.scores:
            kept, clean = (numbers.shown(x, None, None, content.unit) for x in (row.with_leaks, row.without_leaks))
            scores.append(
                (row.candidate, kept.estimate, numbers.count(row.n_with), clean.estimate, numbers.count(row.n_without))
            )
        columns = heads("candidate", f"#with, {unit}", "#n", f"#without, {unit}", "#n")
        blocks.append(grid(f"{content.metric} with and without leaked rows", columns, scores, css="narrow"))
    closest = sorted(found.pairs, key=lambda pair: (-(pair.similarity or 1.0), pair.left_id, pair.right_id))
    rows, _ = _within([_leak_cells(pair) for pair in closest[:MAX_LEAK_PAIRS]], MAX_SECTION_CHARACTERS // 2)
    if rows:
        more = n_pairs - len(rows)
        note = f"and {more:,} more in leaks.parquet" if more > 0 else ""
        columns = heads("kind", "#similarity", "~one row", "~the other")
        blocks.append(Grid("Closest pairs; shared words are marked", columns, tuple(rows), note, css="texts"))
    return Section("leakage", "Leakage", tuple(blocks))


def _leak_cells(pair: LeakPair) -> tuple[str | Markup, ...]:
    from markupsafe import Markup

    sides = diff.overlap(pair.left_text, pair.right_text, MAX_INPUT_CHARACTERS)
    shown = (
        (pair.left_split, pair.left_id, folded(pair.left_text, sides.left, sides.left_start)),
        (pair.right_split, pair.right_id, folded(pair.right_text, sides.right, sides.right_start)),
    )
    texts = (
        Markup('<span class="where">{} {}</span>{}').format(escaping.html(split), escaping.html(row_id), text)
        for split, row_id, text in shown
    )
    return (pair.kind, numbers.plain(pair.similarity, 2), *texts)


def outcome(row: FindingRow) -> str:
    """Return what a finding did to the run: a refusal that fired is `refused`."""
    return "refused" if row.status == "fired" and row.level in {"refuse", "stop"} else row.status


def findings(content: ReportContent) -> Section:
    """The catches that spoke, with what they saw and what to type, then the silent ones."""
    order = list(_STATUS)
    rows = sorted(
        content.findings, key=lambda row: (order.index(outcome(row)) if outcome(row) in order else 9, row.code)
    )
    loud = [row for row in rows if outcome(row) in order[:4]]
    silent = [row for row in rows if row not in loud]
    blocks: list[Block] = []
    if not rows:
        blocks.append(Prose("Not measured, because no catch was run.", quiet=True))
    elif not loud:
        blocks.append(Prose("No catch fired."))
    if loud:
        cells: list[tuple[str | Markup, ...]] = [
            (row.code, status_tag(row), row.title, *(folded(text) if text else numbers.ABSENT for text in _parts(row)))
            for row in loud
        ]
        columns = heads("code", "status", "~catch", "~saw", "~matters", "~fix", "~or")
        blocks.append(Grid("What the safety catches saw", columns, tuple(cells), css="texts"))
    if silent:
        quiet: list[tuple[str | Markup, ...]] = [
            (row.code, status_tag(row), row.title, row.saw or numbers.ABSENT) for row in silent
        ]
        passed = sum(row.status == "passed" for row in silent)
        title = f"{passed:,} passed" + (
            f", {len(silent) - passed:,} not applicable or not checked" if len(silent) > passed else ""
        )
        columns = heads("code", "status", "~catch", "~saw")
        blocks.append(Fold(title, (grid("Catches that did not fire", columns, quiet, "findings.parquet"),)))
    return Section("catches", "Safety catches", tuple(blocks))


def _parts(row: FindingRow) -> tuple[str, str, str, str]:
    because = f"Because “{row.reason}”" if row.reason else row.alternative
    return row.saw, row.matters, row.fix, because


def status_tag(row: FindingRow) -> Markup:
    """Return the finding's outcome with its glyph."""
    word = outcome(row)
    css, glyph = _STATUS.get(word, ("quiet", ""))
    return tagged(word.replace("_", " "), css, glyph)
