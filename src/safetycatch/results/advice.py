"""Which few-shot strategy to take: the simplest that is not shown to be worse than the best by more than a band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetycatch.errors import StatisticsError
from safetycatch.results.bench import FILE, BenchRow, Measure, Tried, difference, paired_scores, simplicity, told
from safetycatch.stats import NonInferiority, noninferiority

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from safetycatch.results.comparing import Metric

DEFAULT_BAND = 0.02


@dataclass(frozen=True, slots=True)
class Advice:
    """The strategy to take. `shown`: it is the best one, or shown to be at most `band` worse than it.

    `behind` is the strategy's difference to the best (None: it is the best); `n_to_settle` how many dev items would
    show what is not shown yet, where that can be said; `remarks` what else the table says.
    """

    candidate: str
    best: str
    band: float
    shown: bool
    behind: Measure | None
    n_to_settle: int | None
    remarks: tuple[str, ...]


def advise(
    tried: Sequence[Tried],
    rows: Sequence[BenchRow],
    simplest: str,
    band: float,
    metric: Metric,
    clusters: np.ndarray | None = None,
    *,
    n_labels: int | None = None,
) -> Advice | None:
    """Return the simplest strategy that is at most `band` (> 0, metric's unit) worse than the best.

    `rows` as `bench_rows` orders them. Only strategies that were asked every dev row compete; None when none has a
    score. "At most the band worse" is non-inferiority at 5 %. Where the items cannot tell, one with fewer moving parts
    than the best is taken all the same, and that is said; one that is only cheaper is not. Assumes as
    `stats.noninferiority`. The best one was chosen on these very items, so its score is a little too high.
    """
    competing = [row for row in rows if row.complete]
    if not competing:
        return None
    by_name, best = {one.candidate: one for one in tried}, competing[0]
    remarks = _remarks(rows, best, simplest, band, metric.unit, n_labels)
    for row in sorted(competing, key=simplicity):
        if row is best:
            break
        pair = by_name[row.candidate], by_name[best.candidate]
        found = _within(*pair, band, metric, clusters)
        status = found.status if found else "undecided"
        if status == "passed" or (status == "undecided" and len(row.moving) < len(best.moving)):
            shown, n_more = status == "passed", found.n_to_settle if found else None
            behind = difference(*pair, metric, clusters)
            return Advice(row.candidate, best.candidate, band, shown, behind, n_more, remarks)
    return Advice(best.candidate, best.candidate, band, True, None, None, remarks)


def _within(one: Tried, best: Tried, band: float, metric: Metric, clusters: np.ndarray | None) -> NonInferiority | None:
    ours, theirs, own = paired_scores(one, best, metric, clusters)
    try:
        return noninferiority(ours, theirs, band, own)
    except StatisticsError:
        return None


def _remarks(
    rows: Sequence[BenchRow], best: BenchRow, simplest: str, band: float, unit: str, n_labels: int | None
) -> tuple[str, ...]:
    """Return what helps hardly, in words: examples at all, and fixed ones."""
    said: list[str] = []
    gain = best.gain
    if best.candidate == simplest:
        said.append(f"nothing tried scores better than {simplest}")
    elif gain is not None and gain.estimate <= band:
        said.append(f"examples hardly help here: the best, {best.candidate}, is {told(gain, unit)} over {simplest}")
    fixed = next((row for row in rows if row.complete and row.moving == (FILE,)), None)
    if fixed is not None and fixed is not best and fixed.gain is not None and fixed.gain.estimate <= band:
        labels = f"; {fixed.k} examples show at most {fixed.k} of the {n_labels} labels"
        help_or_harm = "do harm" if fixed.gain.high < 0 else "hardly help"
        said.append(
            f"{fixed.k} fixed examples {help_or_harm} here: {fixed.candidate} is {told(fixed.gain, unit)} "
            f"over {simplest}" + (labels if n_labels is not None and n_labels > fixed.k else "")
        )
    return tuple(said)


def fixed_against_dynamic(
    tried: Sequence[Tried], rows: Sequence[BenchRow], metric: Metric, clusters: np.ndarray | None = None
) -> tuple[str, str, Measure] | None:
    """Return the best strategy where it is dynamic, the best of those without retrieval, and how much better it is."""
    competing = [row for row in rows if row.complete]
    fixed = next((row for row in competing if not row.dynamic), None)
    if fixed is None or not competing[0].dynamic:
        return None
    by_name = {one.candidate: one for one in tried}
    found = difference(by_name[competing[0].candidate], by_name[fixed.candidate], metric, clusters)
    return competing[0].candidate, fixed.candidate, found


def champions(standing: Sequence[Mapping[str, Any]], moving: Mapping[str, int]) -> tuple[str, ...]:
    """Return who is measured to the end besides the leader of a race: with fewer parts, the best of each number.

    `standing` is the race's, those who went to the end first; `moving` counts parts. A race asks who is best; whether
    something simpler comes close to it, and what fixed examples are worth, needs their rows too.
    """
    leader = standing[0]["candidate"]
    found: dict[int, str] = {}
    for row in standing:
        n = moving[row["candidate"]]
        if n < moving[leader] and row["estimate"] is not None:
            found.setdefault(n, row["candidate"])
    return tuple(found.values())


def rule(band: float, unit: str, *, stated: bool) -> str:
    """Return the rule of the advice in words."""
    source = "the claim's smallest effect" if stated else "the default, since the claim states no smallest effect"
    return (
        f"the simplest strategy (fewest moving parts, then cheapest) that is at most {_size(band, unit)} worse than "
        f"the best one, or has fewer parts and is not shown to be worse by more; the band is {source}"
    )


def sentence(advice: Advice | None, rows: Sequence[BenchRow], simplest: str, unit: str) -> str:
    """Return the advice in words, with the figures that it rests on."""
    if advice is None:
        return "no advice: no strategy has a score"
    chosen = next(row for row in rows if row.candidate == advice.candidate)
    best = next(row for row in rows if row.candidate == advice.best)
    over = f": {told(chosen.gain, unit)} over {simplest}" if chosen.gain is not None else ""
    if advice.behind is None:
        simpler = any(len(row.moving) < len(best.moving) for row in rows if row.complete)
        why = f"; nothing simpler comes within {_size(advice.band, unit)}" if simpler and over else ""
        words = f"take {advice.candidate}, the best{over}{why}"
    elif advice.shown:
        words = (
            f"take {advice.candidate}{over}; it is at most {_size(advice.band, unit)} worse than the best, "
            f"{advice.best} ({told(advice.behind, unit)}), and {_simpler(chosen, best)}"
        )
    else:
        more = f"; about {advice.n_to_settle:,} dev rows would show it" if advice.n_to_settle else ""
        words = (
            f"take {advice.candidate} for now{over}; {advice.behind.n:,} rows cannot tell whether it is more than "
            f"{_size(advice.band, unit)} worse than the best, {advice.best} ({told(advice.behind, unit)}){more}"
        )
    return ". ".join([words, *(remark[0].upper() + remark[1:] for remark in advice.remarks)])


def _simpler(one: BenchRow, best: BenchRow) -> str:
    if len(one.moving) < len(best.moving):
        return f"has fewer moving parts ({len(one.moving)} against {len(best.moving)})"
    return "is cheaper" if one.usd_per_1000 is not None else "has shorter prompts"


def _size(value: float, unit: str) -> str:
    return f"{100 * value:g} points" if unit == "points" else f"{value:g}"
