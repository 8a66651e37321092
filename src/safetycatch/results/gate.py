"""The gate: is a run's candidate shown to be at most a margin worse than a baseline, guardrails included?

Passed, failed and inconclusive are three different endings: what was not shown did not pass. Rules, in this order:

1. More missing pairs than SC207 allows, or hardly a reply of one side that could be read: inconclusive, whatever the
   scores say. A broken parser or endpoint makes both sides equally wrong, and that is no evidence.
2. A guardrail shown to be broken, or the candidate shown to be worse by more than the margin: failed.
3. The one-sided bound of the paired difference within the margin, each guardrail kept, and, where rights and wrongs are
   compared, still so with every missing pair counted against the candidate: passed.
4. Everything else: inconclusive, with the number of items that would settle it.

A candidate that was picked as the best of k on these same items is tested at alpha / k (Bonferroni), guardrails too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.report.numbers import effect, shown
from safetycatch.stats import holm, noninferiority

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safetycatch.results.comparing import Metric
    from safetycatch.stats.paired import NonInferiority

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    JudgedTest = Callable[
        [Floats, Floats, float, np.ndarray | None, float, "Metric"], tuple[NonInferiority | None, str]
    ]

Status = Literal["passed", "failed", "inconclusive"]
ALPHA = 0.05
UNITS = {"points": "proportion"}
MOST_UNREADABLE = 0.9  # share of a side's replies; above, its scores tell about the parser or the endpoint


@dataclass(frozen=True, slots=True)
class Kept:
    """A guardrail at the gate."""

    metric: str
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Gate:
    """How a gate ended; `estimate`, `bound`, `low`, `high` are candidate - baseline in the metric's unit, NaN unknown.

    `bound` is one-sided at `level`, on the bad side; `low` and `high` are the run's two-sided 95 % interval. `picked`
    counts the candidates that this one was the best of on these items, now or in an earlier look (1: it was chosen
    beforehand), `n_besides` those that earlier looks at the items showed besides.
    `missing_decides`: it is inconclusive because scores are missing, and for nothing else.
    """

    status: Status
    candidate: str
    against: str
    metric: Metric
    margin: float
    estimate: float
    bound: float
    low: float
    high: float
    level: float
    n: int
    n_clusters: int
    n_missing: int
    picked: int
    n_besides: int
    n_to_settle: int | None
    guardrails: tuple[Kept, ...]
    reasons: tuple[str, ...]
    unchanged: bool = False
    missing_decides: bool = False

    @property
    def settles_as(self) -> Literal["passed", "failed"] | None:
        """How the gate would end after `n_to_settle` items if the difference stays as it is."""
        if self.n_to_settle is None:
            return None
        gain = self.estimate if self.metric.higher_is_better else -self.estimate
        return "failed" if gain < -self.margin else "passed"

    @property
    def settle(self) -> str | None:
        """How many items would settle it, and which way it leans; None where more items are not what it lacks."""
        if self.n_to_settle is None:
            return None
        word = "FAILED: so far it is worse by more than the margin" if self.settles_as == "failed" else "passed"
        return f"about {self.n_to_settle:,} items would settle it, as {word}"

    @property
    def sentence(self) -> str:
        """What was shown and how, in one sentence."""
        unit = UNITS.get(self.metric.unit, self.metric.unit)
        limit = effect(self.margin, unit)
        verb = {
            "passed": f"is shown to be at most {limit} worse than",
            "failed": "fails against",
            "inconclusive": f"is not shown to be at most {limit} worse than",
        }[self.status]
        if self.unchanged:
            verb = "is the same as"
        text = f"{self.candidate} {verb} {self.against}: {self.metric.name} "
        text += f"{shown(self.estimate, self.low, self.high, unit, difference=True).value} on {self.n:,} items"
        if not math.isnan(self.bound):
            bound = shown(self.bound, self.low, self.high, unit, difference=True).value
            text += f", {bound} at worst (one-sided {100 * self.level:.4g} % bound)"
        return f"{text}; {'; '.join(self.reasons)}." if self.reasons else f"{text}."


def decide_gate(
    ours: Floats,
    theirs: Floats,
    metric: Metric,
    margin: float,
    *,
    candidate: str,
    against: str,
    interval: tuple[float | None, float | None] = (None, None),
    clusters: np.ndarray | None = None,
    guardrails: Sequence[Mapping[str, Any]] = (),
    picked: int = 1,
    n_besides: int = 0,
    most_missing: float = 0.02,
    unreadable: tuple[float, float] = (0.0, 0.0),
    same_system: bool = False,
    judged: JudgedTest | None = None,
) -> Gate:
    """Return how the gate ends for scores of the same items (NaN: missing), in the rules' order above.

    `margin` is in the metric's unit; `guardrails` are rows of `stats.Guardrail` as a run keeps them; `most_missing` is
    the share of pairs that may be missing; `unreadable` the share of the candidate's, and of the other side's, replies
    that could not be read. `same_system`: candidate and baseline are one prompt, model and parameters (or one recorded
    output), so that equal scores on every item need no test. `judged` tests a judge's scores, its errors paid for.
    Assumes and raises as `stats.noninferiority`, but where no statistic can be given the gate is inconclusive.
    Source: Wellek 2010, chapter 1; Bonferroni for the best of several.
    """
    missing = np.isnan(ours) | np.isnan(theirs)
    n_missing, n = int(missing.sum()), int((~missing).sum())
    alpha = ALPHA / picked
    kept = _guardrails(guardrails, alpha)
    test = judged or _tested
    found, reason = test(ours, theirs, margin, clusters, alpha, metric)
    low, high = (math.nan if end is None else end for end in interval)
    unchanged = same_system and n > 0 and not n_missing and bool((ours == theirs).all())
    reasons: list[str] = []
    status: Status = "inconclusive"
    broken = [rail for rail in kept if rail.status == "failed"]
    open_rails = [rail for rail in kept if rail.status == "inconclusive"]
    beyond = found is not None and found.status == "violated"
    missing_decides = by_bound = False
    if n_missing > most_missing * len(ours):
        missing_decides = True
        reasons.append(f"{n_missing:,} of {len(ours):,} items have no score on one side: run the same command again")
    elif max(unreadable) > MOST_UNREADABLE:
        reasons += [
            f"{100 * share:.0f} % of the replies of {name} could not be read, so its scores say nothing: look at them, "
            "then at the prompt, the labels or the endpoint"
            for name, share in zip((candidate, against), unreadable, strict=True)
            if share > MOST_UNREADABLE
        ]
    elif broken or beyond:
        status = "failed"
        if beyond:
            reasons.append(f"worse by more than {effect(margin, UNITS.get(metric.unit, metric.unit))} is shown")
        reasons += [f"{rail.metric} breaks its guardrail ({rail.reason})" for rail in broken]
    elif unchanged and not open_rails:
        status = "passed"
        reasons.append("prompt, model and parameters are the same, and so is the score of every item")
    elif found is None or found.status != "passed":
        by_bound = True
        reasons.append(reason or "the bound lies beyond the margin")
    elif n_missing and metric.rate and not _at_worst(test, ours, theirs, margin, clusters, alpha, metric):
        missing_decides = not open_rails
        reasons.append(
            f"{n_missing:,} of {len(ours):,} items have no score on one side, and counted against the candidate they "
            "decide: run the same command again"
        )
    elif open_rails:
        reasons += [f"{rail.metric} is not shown to keep its guardrail ({rail.reason})" for rail in open_rails]
    else:
        status = "passed"
        reasons += [reason] if reason else []
    if picked > 1:
        reasons.append(f"selected as the best of {picked} on these items, so the bound is Bonferroni-corrected")
    if n_besides:
        others = "1 other candidate" if n_besides == 1 else f"{n_besides} other candidates"
        reasons.append(f"earlier looks at these items showed {others}, which the bound does not count")
    return Gate(
        status=status,
        candidate=candidate,
        against=against,
        metric=metric,
        margin=margin,
        estimate=_estimate(found if judged else None, (ours - theirs)[~missing]),
        bound=math.nan if found is None or unchanged else found.bound,
        low=low,
        high=high,
        level=1 - alpha,
        n=n,
        n_clusters=n if clusters is None else len(set(clusters[~missing].tolist())),
        n_missing=n_missing,
        picked=picked,
        n_besides=n_besides,
        n_to_settle=found.n_to_settle if found is not None and status == "inconclusive" and by_bound else None,
        guardrails=kept,
        reasons=tuple(reasons),
        unchanged=unchanged and status == "passed",
        missing_decides=missing_decides,
    )


def _tested(
    ours: Floats, theirs: Floats, margin: float, clusters: np.ndarray | None, alpha: float, metric: Metric
) -> tuple[NonInferiority | None, str]:
    """Return the test, and why there is none or why it says nothing."""
    try:
        found = noninferiority(
            ours, theirs, margin, clusters, alpha, higher_is_better=metric.higher_is_better,
            binary=metric.binary, by_value=metric.amount,
        )  # fmt: skip
    except StatisticsError as error:
        return None, f"no bound: {error}"
    return found, found.reason if math.isnan(found.bound) else ""


def _estimate(judged: NonInferiority | None, gains: Floats) -> float:
    if judged is not None:
        return judged.estimate
    return float(gains.mean()) if len(gains) else math.nan


def _at_worst(
    test: JudgedTest,
    ours: Floats,
    theirs: Floats,
    margin: float,
    clusters: np.ndarray | None,
    alpha: float,
    metric: Metric,
) -> bool:
    """Whether it still passes where every missing score is the one that is worst for the candidate."""
    good, bad = (1.0, 0.0) if metric.higher_is_better else (0.0, 1.0)
    worst = np.where(np.isnan(ours), bad, ours), np.where(np.isnan(theirs), good, theirs)
    found, _ = test(*worst, margin, clusters, alpha, metric)
    return found is not None and found.passed


def _guardrails(rows: Sequence[Mapping[str, Any]], alpha: float) -> tuple[Kept, ...]:
    """Return the guardrails at `alpha`; violations are Holm-corrected, those decided by value have no p-value."""

    def p_of(row: Mapping[str, Any], name: str) -> float:
        return math.nan if row[name] is None else float(row[name])

    adjusted = holm([p_of(row, "p_violated") for row in rows]) if rows else ()
    kept: list[Kept] = []
    for row, p_violated in zip(rows, adjusted, strict=True):
        p_passed = p_of(row, "p_value")
        status: Status = "inconclusive"
        if row["status"] == "passed" and (math.isnan(p_passed) or p_passed <= alpha):
            status = "passed"
        if row["status"] == "violated" and (math.isnan(p_violated) or p_violated <= ALPHA):
            status = "failed"
        kept.append(Kept(row["metric"], status, row["reason"]))
    return tuple(kept)
