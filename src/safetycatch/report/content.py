"""What a report shows, as plain frozen data: the caller fills it, `html` and `markdown` only lay it out.

Metric values are raw, in the metric's unit: a unit of "proportion" holds 0.842 and is shown as 84.2 %, its differences
as +2.1 points. `None` and NaN both mean *not measured*; a section that is `None` or empty says why, from `unmeasured`.
Text may come from data and models and be hostile: nothing here is escaped, `escaping` does it once, when shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

BannerKind = Literal[
    "BETTER",
    "WORSE",
    "EQUIVALENT",
    "INCONCLUSIVE",
    "EXPLORING",
    "REFERENCE",
    "REFUSED",
    "CERTIFIED",
    "PROVISIONAL",
]
Section = Literal[
    "ranking",
    "difference",
    "cost",
    "guardrails",
    "slices",
    "confusions",
    "flips",
    "items",
    "leakage",
    "ladder",
    "money",
]


def measured(value: float | None) -> float | None:
    """Return `value` when it is a finite number, else None."""
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Banner:
    """The headline: `sentence` holds estimate, interval and n; `check` the rule that decided; `action` what to do."""

    kind: BannerKind
    sentence: str
    check: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class OtherMetric:
    """A further metric of one candidate, in its own unit."""

    name: str
    estimate: float | None
    low: float | None = None
    high: float | None = None
    unit: str = "proportion"
    beside: str = ""


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One candidate on one split: metric with its interval, cost in US dollars, latency in seconds, tokens as sums.

    `beside` stands beside a judged figure wherever that is shown: the raw one, or that it is not corrected.
    """

    id: str
    split: str
    status: str
    n: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    description: str = ""
    method: str = ""
    n_missing: int = 0
    n_unparsable: int = 0
    n_clusters: int | None = None
    cost_usd_total: float | None = None
    cost_usd_per_1000: float | None = None
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None
    other_metrics: tuple[OtherMetric, ...] = ()
    baseline: bool = False
    beside: str = ""


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """Candidate minus baseline on one slice ("all", or `column=value`), as in the `comparisons` table."""

    baseline: str
    candidate: str
    metric: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    slice: str = "all"
    p_value: float | None = None
    p_adjusted: float | None = None
    n_clusters: int | None = None
    n_missing: int = 0
    method: str = ""
    verdict: str | None = None
    correction: str | None = None
    detectable: float | None = None
    beside: str = ""


@dataclass(frozen=True, slots=True)
class GuardrailRow:
    """A second metric that may not get worse; `limit` as the claim writes it ("10%"), differences in `unit`."""

    metric: str
    baseline: str
    candidate: str
    estimate: float | None
    low: float | None
    high: float | None
    limit: str
    verdict: str
    unit: str = "proportion"
    beside: str = ""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """What one safety catch saw, in its four parts; `reason` is the override's or acknowledgement's."""

    code: str
    level: str
    status: str
    title: str
    saw: str = ""
    matters: str = ""
    fix: str = ""
    alternative: str = ""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Flip:
    """An item that the candidate fixed or broke, with both outputs."""

    candidate: str
    baseline: str
    example_id: str
    input: str
    target: str
    baseline_output: str | None
    candidate_output: str | None
    kind: Literal["fixed", "broken"]


@dataclass(frozen=True, slots=True)
class FlipCount:
    """How many items changed sides in all, of which `ReportContent.flips` shows some."""

    candidate: str
    baseline: str
    fixed: int
    broken: int


@dataclass(frozen=True, slots=True)
class SliceRow:
    """The metric of one candidate on one slice (`column=value`)."""

    slice: str
    candidate: str
    n: int
    estimate: float | None
    low: float | None = None
    high: float | None = None
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many answers of one candidate were `predicted` where `target` was expected."""

    candidate: str
    target: str
    predicted: str
    n: int


@dataclass(frozen=True, slots=True)
class ItemHealth:
    """How the items divide the candidates.

    `luck_points` is the expected lead, in percentage points, of the best of `luck_k` equally good candidates.
    """

    n_items: int
    solved_by_all: int
    solved_by_none: int
    discordant: int
    luck_points: float | None = None
    luck_k: int | None = None


@dataclass(frozen=True, slots=True)
class LeakPair:
    """Two rows that share text or group; `similarity` 0-1, or None where the kind has none."""

    left_id: str
    right_id: str
    left_split: str
    right_split: str
    kind: str
    similarity: float | None
    left_text: str
    right_text: str


@dataclass(frozen=True, slots=True)
class LeakTotal:
    """How many pairs of one kind there are, of which `Leakage.pairs` shows some; `reported`: they are no leaks."""

    kind: str
    n_pairs: int
    n_rows: int | None = None
    reported: bool = False


@dataclass(frozen=True, slots=True)
class LeakScore:
    """A candidate's metric with and without the leaked rows."""

    candidate: str
    with_leaks: float | None
    n_with: int
    without_leaks: float | None
    n_without: int


@dataclass(frozen=True, slots=True)
class Leakage:
    """What crosses the splits; no pairs and no totals means that it was looked for and nothing was found."""

    pairs: tuple[LeakPair, ...] = ()
    totals: tuple[LeakTotal, ...] = ()
    scores: tuple[LeakScore, ...] = ()
    looked_at: str = ""


@dataclass(frozen=True, slots=True)
class LadderRow:
    """Where one candidate stood when its race on dev ended; `rung` is the one it left in (None: it did not).

    `status` is running, eliminated (evidence) or pruned (budget); `on` says that it was scored afterwards.
    """

    candidate: str
    status: str
    n: int
    estimate: float | None
    on: bool
    rung: int | None = None
    e_value: float | None = None
    against: str | None = None
    n_missing: int = 0
    n_calls: int = 0
    baseline: bool = False


@dataclass(frozen=True, slots=True)
class Ladder:
    """The race on dev: rows asked at each rung in all, calls made of those that no race would have spared.

    `scored_again`: the scores of the report are from the same rows (exploring).
    """

    metric: str
    rungs: tuple[int, ...]
    rows: tuple[LadderRow, ...]
    n_asked: int
    n_full: int
    scored_again: bool = False


@dataclass(frozen=True, slots=True)
class PerhapsRow:
    """A call that was sent and whose bill is not known, with the most it may have cost (None: no known price)."""

    candidate: str
    example_id: str
    model: str
    sent_at: str
    highest_usd: float | None


@dataclass(frozen=True, slots=True)
class Money:
    """Calls and US dollars of this run; `budget` is the ceiling as text ("$5.00"), empty without one.

    `spent_usd` is None where a call's price is not known; what is known is `spent_at_least_usd`. `sent_before` counts
    the requests before the run was resumed, which are in no other count; the dollars are those of the whole run.
    """

    spent_usd: float | None
    sent: int
    answered: int
    from_journal: int = 0
    errors: int = 0
    retried: int = 0
    perhaps_paid: int = 0
    perhaps_paid_usd: float = 0.0
    saved_usd: float | None = None
    saved_by_prompt_cache_usd: float | None = None
    budget: str = ""
    by_error_class: tuple[tuple[str, int], ...] = ()
    n_tokens_in: int | None = None
    n_tokens_cached: int | None = None
    saved_by_race_usd: float | None = None
    perhaps: tuple[PerhapsRow, ...] = ()
    spent_at_least_usd: float | None = None
    sent_before: int = 0


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Everything one report shows. The fields up to `candidates` are always there; every item has `replicates` answers.

    `created_at` is ISO 8601 text, shown as given. `smallest_effect` is in the metric's unit. `candidates` come in any
    order; `comparisons` hold the whole ("all") and the slices, `pairs` those without the baseline, which leave
    `n_unpaired` candidates out. `unmeasured` maps a section to the words after "Not measured, because".
    `headline_candidate` is the one the slices are drawn for (default: the best). `bench` holds the facts of a few-shot
    bench, `ensemble` those of a vote, `judged` what a judge's scores are worth.
    """

    name: str
    run_id: str
    mode: Literal["claiming", "exploring"]
    created_at: str
    banner: Banner
    metric: str
    candidates: tuple[CandidateRow, ...]
    unit: str = "proportion"
    higher_is_better: bool = True
    smallest_effect: float | None = None
    comparisons: tuple[ComparisonRow, ...] = ()
    pairs: tuple[ComparisonRow, ...] = ()
    n_unpaired: int = 0
    guardrails: tuple[GuardrailRow, ...] = ()
    findings: tuple[FindingRow, ...] = ()
    flips: tuple[Flip, ...] = ()
    flip_counts: tuple[FlipCount, ...] = ()
    slices: tuple[SliceRow, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    item_health: ItemHealth | None = None
    leakage: Leakage | None = None
    ladder: Ladder | None = None
    money: Money | None = None
    provenance: tuple[tuple[str, str], ...] = ()
    command: str = ""
    notes: tuple[str, ...] = ()
    headline_candidate: str = ""
    replicates: int = 1
    bench: dict[str, Any] | None = None
    ensemble: dict[str, Any] | None = None
    judged: dict[str, Any] | None = None
    unmeasured: dict[Section, str] = field(default_factory=dict[Section, str])
