"""The table of a few-shot bench: strategies by score, dollars, tokens, latency and moving parts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats import mean_interval, paired_difference, rate_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.results.comparing import Metric
    from safetycatch.settings import ShotSettings

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

FILE, INDEX, RETRIEVAL = "a file of examples", "an index of the pool, kept up to date", "retrieval at run time"

Ended = Literal["running", "eliminated", "pruned"]


def moving_parts(shots: ShotSettings) -> tuple[str, ...]:
    """Return what must be kept and run beside the prompt when these shots are used."""
    if shots.select == "zero":
        return ()
    return ((FILE,) if shots.n_core else ()) + ((INDEX, RETRIEVAL) if shots.retrieval else ())


@dataclass(frozen=True, slots=True)
class Tried:
    """A strategy, its answers, and how its race ended (`rung` is where it left; None: it was asked every dev row).

    `scores` and `asked` have one value a dev item, in one order for all strategies; an item's score is the mean over
    its replicates, NaN where none came or it was not asked. The other columns have one value a call, NaN where it is
    not known; costs in US dollars.
    """

    candidate: str
    shots: ShotSettings
    scores: Floats
    asked: np.ndarray
    cost_usd: Floats
    tokens_in: Floats
    tokens_cached: Floats
    latency_s: Floats
    status: Ended = "running"
    rung: int | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """A score, or a paired difference on the items that both answered; without an interval `method` says why.

    In the metric's unit; a positive difference is the better one, whichever way the metric goes.
    """

    estimate: float
    low: float
    high: float
    n: int
    n_missing: int
    n_clusters: int
    method: str


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One strategy: score, gain over the simplest, dollars for 1,000 calls (None: price unknown), tokens, latency.

    `usd_per_1000` is what was billed, so savings of a prompt cache are in it as far as the provider reported them.
    """

    candidate: str
    select: str
    k: int
    moving: tuple[str, ...]
    status: Ended
    rung: int | None
    score: Measure
    gain: Measure | None
    usd_per_1000: float | None
    tokens_in: float
    share_cached: float
    latency_p50_s: float
    latency_p95_s: float
    frontier: bool = False

    @property
    def complete(self) -> bool:
        """Whether it was asked every dev row and has a score."""
        return self.status == "running" and not math.isnan(self.score.estimate)

    @property
    def dynamic(self) -> bool:
        """Whether its examples are looked up for each row."""
        return RETRIEVAL in self.moving


def score_of(one: Tried, metric: Metric, clusters: np.ndarray | None) -> Measure:
    """Return the mean score of the items that were asked; without an interval for one that left a race early."""
    scores = one.scores[one.asked]
    seen = ~np.isnan(scores)
    n, n_missing = int(seen.sum()), int((~seen).sum())
    mean = float(scores[seen].mean()) if n else math.nan
    if one.status != "running":
        return Measure(mean, math.nan, math.nan, n, n_missing, 0, _left(one.status))
    try:
        own = None if clusters is None else clusters[one.asked]
        found = (rate_interval if metric.rate else mean_interval)(scores, own)
    except StatisticsError as error:
        return Measure(mean, math.nan, math.nan, n, n_missing, 0, f"no interval: {error}")
    return Measure(found.estimate, found.low, found.high, n, n_missing, found.n_clusters, found.method)


def _left(status: str) -> str:
    return f"no interval: {status} in a race, which stops where the score is far off"


def difference(one: Tried, other: Tried, metric: Metric, clusters: np.ndarray | None) -> Measure:
    """Return how much better `one` scores than `other`, paired on the items that both were asked."""
    ours, theirs, own = paired_scores(one, other, metric, clusters)
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    n, n_missing = int(both.sum()), int((~both).sum())
    middle = float((ours - theirs)[both].mean()) if n else math.nan
    for side in (one, other):
        if side.status != "running":
            return Measure(middle, math.nan, math.nan, n, n_missing, 0, _left(side.status))
    try:
        found = paired_difference(ours, theirs, own)
    except StatisticsError as error:
        return Measure(middle, math.nan, math.nan, n, n_missing, 0, f"no interval: {error}")
    return Measure(found.estimate, found.low, found.high, n, n_missing, found.n_clusters, found.method)


def paired_scores(
    one: Tried, other: Tried, metric: Metric, clusters: np.ndarray | None
) -> tuple[Floats, Floats, np.ndarray | None]:
    """Return both scores of the items that both were asked, higher being better, and the items' clusters."""
    shared = one.asked & other.asked
    sign = 1.0 if metric.higher_is_better else -1.0
    return sign * one.scores[shared], sign * other.scores[shared], None if clusters is None else clusters[shared]


def bench_rows(
    tried: Sequence[Tried], simplest: str, metric: Metric, clusters: np.ndarray | None = None
) -> tuple[BenchRow, ...]:
    """Return a row for each strategy: the best first, equal ones simplest first, those that left the race last.

    `clusters` names the cluster of each dev item; None: all items are independent. Intervals are at 95 % each, not
    adjusted for their number: they describe dev, a claim is decided on test.
    """
    base = next(one for one in tried if one.candidate == simplest)
    rows = [
        _row(one, metric, clusters, None if one is base else difference(one, base, metric, clusters)) for one in tried
    ]
    sign = 1.0 if metric.higher_is_better else -1.0
    priced = [row for row in rows if row.complete and row.usd_per_1000 is not None]
    front = {row.candidate for row in priced if not any(_dominates(other, row, sign) for other in priced)}
    rows = [replace(row, frontier=row.candidate in front) for row in rows]
    return tuple(sorted(rows, key=lambda row: (not row.complete, *_best_first(row, sign))))


def _best_first(row: BenchRow, sign: float) -> tuple[Any, ...]:
    score = row.score.estimate
    return (math.inf if math.isnan(score) else -sign * score, *simplicity(row), row.k, row.candidate)


def simplicity(row: BenchRow) -> tuple[int, bool, float]:
    """Return what orders strategies, the simplest first: moving parts, then dollars (tokens, where unpriced).

    A strategy without a known price comes after all priced ones with as many parts.
    """
    unpriced = row.usd_per_1000 is None
    cost = row.tokens_in if row.usd_per_1000 is None else row.usd_per_1000
    return len(row.moving), unpriced, math.inf if math.isnan(cost) else cost


def _dominates(one: BenchRow, other: BenchRow, sign: float) -> bool:
    ours, theirs = sign * one.score.estimate, sign * other.score.estimate
    mine, yours = one.usd_per_1000 or 0.0, other.usd_per_1000 or 0.0
    return mine <= yours and ours >= theirs and (mine < yours or ours > theirs)


def _row(one: Tried, metric: Metric, clusters: np.ndarray | None, gain: Measure | None) -> BenchRow:
    latency, tokens = one.latency_s[~np.isnan(one.latency_s)], one.tokens_in[~np.isnan(one.tokens_in)]
    cached = one.tokens_cached[~np.isnan(one.tokens_cached)]
    priced = len(one.cost_usd) > 0 and not np.isnan(one.cost_usd).any()
    return BenchRow(
        candidate=one.candidate,
        select=one.shots.select,
        k=one.shots.k,
        moving=moving_parts(one.shots),
        status=one.status,
        rung=one.rung,
        score=score_of(one, metric, clusters),
        gain=gain,
        usd_per_1000=1000 * float(one.cost_usd.mean()) if priced else None,
        tokens_in=float(tokens.mean()) if len(tokens) else math.nan,
        share_cached=float(cached.sum() / tokens.sum()) if len(cached) and tokens.sum() > 0 else math.nan,
        latency_p50_s=float(np.quantile(latency, 0.5)) if len(latency) else math.nan,
        latency_p95_s=float(np.quantile(latency, 0.95)) if len(latency) else math.nan,
    )


def told(found: Measure, unit: str) -> str:
    """Return a difference in words: `+2.1 points [-0.6, +4.8] (n = 310)`."""
    scale, name = (100.0, " points") if unit == "points" else (1.0, "")
    if math.isnan(found.low):
        return f"{scale * found.estimate:+.1f}{name} (n = {found.n:,}, no interval)"
    return (
        f"{scale * found.estimate:+.1f}{name} [{scale * found.low:+.1f}, {scale * found.high:+.1f}] (n = {found.n:,})"
    )
