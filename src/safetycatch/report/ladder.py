"""Who raced on dev, who left and why."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from safetycatch.report import escaping, numbers
from safetycatch.report.layout import Prose, Section, grid, heads, missing, tagged

if TYPE_CHECKING:
    from markupsafe import Markup

    from safetycatch.report.content import LadderRow, ReportContent

WORDS = {
    "eliminated": ("eliminated", "bad", "✕"),
    "pruned": ("pruned", "note", "-"),
    "running": ("went to the end", "good", "✓"),
}


def ladder(content: ReportContent) -> Section:
    """The race on dev: `eliminated` by evidence, `pruned` to save calls (no claim), and who went on."""
    race = content.ladder
    if race is None:
        reason = "every candidate was scored on every row (runs.ladder was not asked for, or could not be run)"
        return Section("ladder", "Ladder", (missing(content, "ladder", reason),))
    rows: list[tuple[str | Markup, ...]] = [
        (
            escaping.html(row.candidate),
            _ended(row),
            _why(row),
            f"{row.n:,}",
            numbers.shown(row.estimate, None, None, numbers.unit_named(content.unit).name).text,
            "yes" if row.on else "no",
        )
        for row in race.rows
    ]
    path = " → ".join(f"{total:,}" for total in accumulate(race.rungs))
    spared = race.n_full - race.n_asked
    share = f" ({numbers.share(spared, race.n_full)})" if race.n_full else ""
    return Section(
        "ladder",
        "Ladder",
        (
            Prose(f"Race on {path} dev rows: {race.n_asked:,} calls, {spared:,} of {race.n_full:,} spared{share}."),
            grid(
                f"Race on dev, by {race.metric}",
                heads("candidate", "how it ended", "~why", "#dev rows", "#dev score", "went on"),
                rows,
                "ladder.parquet",
            ),
            Prose(
                "Eliminated: the evidence that another candidate is better reached 20 to 1, at any moment of looking "
                "(error at most 5 %). Pruned: behind when a rung ended, left out to save calls; no claim that it is "
                "worse. A winner's dev score is too high; the scores above are from rows on which nothing was chosen.",
                quiet=True,
            ),
        ),
    )


def _ended(row: LadderRow) -> Markup:
    if row.baseline:
        return tagged("baseline", "good", "●")
    return tagged(*WORDS.get(row.status, (row.status, "note", "")))


def _why(row: LadderRow) -> str:
    if row.baseline:
        return "always stays"
    if row.status == "eliminated":
        against = f"{row.against} is better" if row.against else "others are better"
        return f"rung {row.rung}: {against} (evidence {min(row.e_value or 0, 9999):.0f} to 1)"
    return f"rung {row.rung}: not among the best" if row.status == "pruned" else ""
