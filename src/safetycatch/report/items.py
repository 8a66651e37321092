"""What single items say: how many tell the candidates apart, and which labels are confused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.report import charts, numbers
from safetycatch.report.content import measured
from safetycatch.report.layout import (
    Block,
    Figure,
    Prose,
    Section,
    grid,
    heads,
    missing,
    tagged,
)

if TYPE_CHECKING:
    from markupsafe import Markup

    from safetycatch.report.content import ReportContent


MAX_CONFUSED_CANDIDATES = 6


def items(content: ReportContent) -> Section:
    """How many items tell the candidates apart, and how good the best of k equal ones would look."""
    health = content.item_health
    if health is None:
        return Section(
            "items",
            "Item health",
            (missing(content, "items", "fewer than two candidates were scored on the same items"),),
        )
    parts = [
        ("solved by all", health.solved_by_all),
        ("discordant", health.discordant),
        ("solved by none", health.solved_by_none),
    ]
    words = ", ".join(f"{name} {n:,}" for name, n in parts)
    blocks: list[Block] = [Figure(charts.shares(parts, f"{health.n_items:,} items: {words}"))]
    rows: list[tuple[str | Markup, ...]] = [
        (tagged(name, f"key{i}", "■"), numbers.count(n), numbers.share(n, health.n_items))
        for i, (name, n) in enumerate(parts)
    ]
    blocks.append(grid(f"{health.n_items:,} items", heads("items", "#n", "#share"), rows, css="narrow"))
    blocks.append(Prose("Only discordant items tell the candidates apart."))
    luck = measured(health.luck_points)
    if luck is not None and health.luck_k:
        best = f"the best of {health.luck_k:,} equally good candidates"
        blocks.append(
            Prose(f"By luck alone, {best} would look {luck:.1f} points better than it is, on this many items.")
        )
    else:
        blocks.append(
            Prose(
                "Luck of the best of k: not measured, because one candidate was tried or no rate is claimed.",
                quiet=True,
            )
        )
    return Section("items", "Item health", tuple(blocks))


def confusions(content: ReportContent, name: str) -> list[Block]:
    """Return the most frequent confusions, a column for each candidate, the candidate `name` first."""
    if not content.confusions:
        return [missing(content, "confusions", "no scorer compared labels", "Confusions")]
    order = {row.id: (row.id != name, not row.baseline) for row in content.candidates}
    shown = sorted(
        dict.fromkeys(row.candidate for row in content.confusions), key=lambda c: order.get(c, (True, True))
    )[:MAX_CONFUSED_CANDIDATES]
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for row in content.confusions:
        if row.candidate in shown:
            counts.setdefault((row.target, row.predicted), {})[row.candidate] = row.n
    pairs = sorted(counts.items(), key=lambda item: (-max(item[1].values()), item[0]))
    cells: list[tuple[str | Markup, ...]] = [
        (target, answer, *(numbers.count(found.get(c)) for c in shown)) for (target, answer), found in pairs
    ]
    table = grid(
        "Most frequent confusions",
        heads("~expected", "~answered", *(f"#{c}" for c in shown)),
        cells,
        "rows.parquet",
        "narrow",
    )
    told = f"{numbers.ABSENT}: not among the most frequent of that candidate."
    if content.replicates > 1:
        told = f"Answers are counted, not items: each item has {content.replicates:,}. {told}"
    return [table, Prose(told, quiet=True)]
