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


AGAIN = "The scores above are from the rows of this race, so the leader's is too high: a claim scores fresh ones."
FRESH = "A winner's dev score is too high; the scores above are from rows on which nothing was chosen."


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
            f"{row.n:,}" + (f" ({row.n_missing:,} missing)" if row.n_missing else ""),
            f"{row.n_calls:,}",
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
                heads("candidate", "how it ended", "~why", "#dev rows", "#calls", "#dev score", "went on"),
                rows,
                "ladder.parquet",
            ),
            Prose(
                "Eliminated: the evidence that it is not the best reached 20 to 1; however often one looks, a best "
                "candidate is lost with at most 5 %. Pruned: behind when a rung ended, left out to save calls; no "
                "claim that it is worse. " + (AGAIN if race.scored_again else FRESH),
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
        rival = f"; strongest rival {row.against}" if row.against else ""
        return f"rung {row.rung}: not the best (evidence {min(row.e_value or 0, 9999):.0f} to 1{rival})"
    return f"rung {row.rung}: not among the best" if row.status == "pruned" else ""
