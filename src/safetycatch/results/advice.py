"""Which few-shot strategy to take: the simplest whose score is at most a band below the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

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
    """The strategy to take. `shown`: that it is at most `band` worse than the best, or that nothing simpler is.

    `behind` is the strategy's difference to the best (None: it is the best). Where the best is taken though simpler
    ones may come within the band, `rival` is the closest of them and `rival_behind` its difference to the best.
    `n_to_settle`: how many dev items would show what is not shown yet, where that can be said; `remarks`: what else
    the table says.
    """

    candidate: str
    best: str
    band: float
    shown: bool
    behind: Measure | None
    n_to_settle: int | None
    remarks: tuple[str, ...]
    rival: str | None = None
    rival_behind: Measure | None = None


class Retrieval(NamedTuple):
    """The best strategy, which is dynamic, against the one to take instead: `gain` is how much better it is.

    `fixed` is the advised strategy where that needs no retrieval (then `worth` is false), else the best of those that
    need none; `shown` as in the advice.
    """

    dynamic: str
    fixed: str
    gain: Measure
    worth: bool
    shown: bool


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
    score. A strategy that is shown to be at most the band worse (non-inferiority at 5 %) is taken, the simplest first.
    Where the items cannot tell, one with fewer moving parts than the best is taken for now if its estimate is within
    the band: with these items alone, that is then more likely than not. One that is only cheaper is not. Assumes as
    `stats.noninferiority`. The best one was chosen on these very items, so its score is a little too high.
    """
    competing = [row for row in rows if row.complete]
    if not competing:
        return None
    by_name, best = {one.candidate: one for one in tried}, competing[0]
    remarks = _remarks(rows, best, simplest, band, metric.unit, n_labels)
    open_yet: list[tuple[Measure, str, int | None]] = []
    for row in sorted(competing, key=simplicity):
        if row is best:
            break
        pair = by_name[row.candidate], by_name[best.candidate]
        behind, found = difference(*pair, metric, clusters), _within(*pair, band, metric, clusters)
        status, n_more = (found.status, found.n_to_settle) if found else ("undecided", None)
        simpler = len(row.moving) < len(best.moving)
        if status == "passed" or (status == "undecided" and simpler and behind.estimate >= -band):
            shown = status == "passed"
            return Advice(row.candidate, best.candidate, band, shown, behind, None if shown else n_more, remarks)
        if status == "undecided" and simpler:
            open_yet.append((behind, row.candidate, n_more))
    if not open_yet:
        return Advice(best.candidate, best.candidate, band, True, None, None, remarks)
    behind, rival, n_more = max(open_yet, key=lambda one: one[0].estimate)
    return Advice(best.candidate, best.candidate, band, False, None, n_more, remarks, rival, behind)


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


def retrieval(
    tried: Sequence[Tried],
    rows: Sequence[BenchRow],
    advice: Advice | None,
    metric: Metric,
    clusters: np.ndarray | None = None,
) -> Retrieval | None:
    """Return what retrieval is worth where the best strategy is dynamic; None where it is not, or nothing else ran."""
    competing = {row.candidate: row for row in rows if row.complete}
    fixed = next((row for row in competing.values() if not row.dynamic), None)
    if advice is None or fixed is None or not competing[advice.best].dynamic:
        return None
    worth = competing[advice.candidate].dynamic
    other = fixed.candidate if worth else advice.candidate
    by_name = {one.candidate: one for one in tried}
    gain = difference(by_name[advice.best], by_name[other], metric, clusters)
    return Retrieval(advice.best, other, gain, worth, advice.shown)


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
        f"the simplest strategy (fewest moving parts, then cheapest) that is shown to be at most {_size(band, unit)} "
        "worse than the best one, or, where the rows cannot tell, has fewer parts and scores at most that much less; "
        f"the band is {source}"
    )


def sentence(advice: Advice | None, rows: Sequence[BenchRow], simplest: str, unit: str) -> str:
    """Return the advice in words, with the figures that it rests on."""
    if advice is None:
        return "no advice: no strategy has a score"
    chosen = next(row for row in rows if row.candidate == advice.candidate)
    best = next(row for row in rows if row.candidate == advice.best)
    over = f": {told(chosen.gain, unit)} over {simplest}" if chosen.gain is not None else ""
    more = f"; about {advice.n_to_settle:,} dev rows would show it" if advice.n_to_settle else ""
    if advice.rival_behind is not None:
        words = (
            f"take {advice.candidate}, the best, for now{over}; {advice.rival_behind.n:,} rows cannot tell whether "
            f"{advice.rival}, which has fewer parts, is more than {_size(advice.band, unit)} worse "
            f"({told(advice.rival_behind, unit)}){more}"
        )
    elif advice.behind is None:
        simpler = any(len(row.moving) < len(best.moving) for row in rows if row.complete)
        why = f"; nothing simpler comes within {_size(advice.band, unit)}" if simpler and over else ""
        words = f"take {advice.candidate}, the best{over}{why}"
    elif advice.shown:
        words = (
            f"take {advice.candidate}{over}; it is at most {_size(advice.band, unit)} worse than the best, "
            f"{advice.best} ({told(advice.behind, unit)}), and {_simpler(chosen, best)}"
        )
    else:
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
