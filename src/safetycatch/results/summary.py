"""One run's estimates, comparisons, verdicts and item health, as facts with a JSON form."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from safetycatch.errors import ExperimentError, StatisticsError
from safetycatch.results.comparing import (
    Comparison,
    Estimate,
    Metric,
    Outcome,
    compare_all,
    estimate,
    metric_of_items,
    slices_of,
)
from safetycatch.results.corrected import judged_facts
from safetycatch.results.health import Flips, Health, flips, item_health
from safetycatch.results.pairs import all_pairs, best
from safetycatch.stats import detectable_effect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safetycatch.experiment import Claim
    from safetycatch.results.corrected import Judging
    from safetycatch.results.matrix import ScoreMatrix
    from safetycatch.scoring import Scorer

MAX_FLIPS_KEPT = 500


@dataclass(frozen=True, slots=True)
class MetricTable:
    """The metrics of a run in order, the claimed one first."""

    metrics: tuple[Metric, ...]

    @classmethod
    def of(cls, scorers: Sequence[Scorer]) -> MetricTable:
        """Return how each scorer's values are shown and compared."""
        return cls(tuple(Metric(s.name, s.unit, s.higher_is_better, s.is_rate, s.kind == "corpus") for s in scorers))

    def get(self, name: str, where: str) -> Metric:
        """Return a metric by name.

        Raises: ExperimentError naming what is there.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise ExperimentError(
            f"found {name!r}", where=where, expected="one of " + ", ".join(metric.name for metric in self.metrics)
        )


@dataclass(frozen=True, slots=True)
class SliceEstimate:
    """A candidate's estimate on one slice, `column=value`."""

    slice: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class LeakScore:
    """A candidate's mean on rows that leak or resemble training rows (`near`), and on the others."""

    candidate: str
    kind: str
    near: float
    n_near: int
    far: float
    n_far: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything the report and the catches need of the scores.

    `pairs` are those without the baseline; `n_unpaired` candidates have lower scores and are left out of them. `units`
    are those of all metrics, by name; `judged` holds what a judge's scores are worth (None: no metric is judged).
    """

    outcome: Outcome
    estimates: tuple[Estimate, ...]
    slices: tuple[SliceEstimate, ...]
    flips: tuple[Flips, ...]
    health: Health | None
    detectable: float | None
    baseline: str
    metric: Metric
    leaks: tuple[LeakScore, ...] = ()
    pairs: tuple[Comparison, ...] = ()
    n_unpaired: int = 0
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    judged: Mapping[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """Return the summary as JSON, NaN as null; flips are capped, their counts are not."""
        return as_json(
            {
                "baseline": self.baseline,
                "metric": asdict(self.metric),
                "units": dict(self.units),
                "headline": self.outcome.headline,
                "selected": self.outcome.selected,
                "undecided": self.outcome.undecided,
                "estimates": [found.facts() for found in self.estimates],
                "slices": [{"slice": found.slice, **found.estimate.facts()} for found in self.slices],
                "verdicts": {name: asdict(verdict) for name, verdict in self.outcome.verdicts.items()},
                "flips": [
                    {
                        "candidate": found.candidate,
                        "baseline": found.baseline,
                        "n_fixed": len(found.fixed),
                        "n_broken": len(found.broken),
                        "fixed": list(found.fixed[:MAX_FLIPS_KEPT]),
                        "broken": list(found.broken[:MAX_FLIPS_KEPT]),
                    }
                    for found in self.flips
                ],
                "health": asdict(self.health) if self.health else None,
                "detectable": self.detectable,
                "leaks": [asdict(found) for found in self.leaks],
                "n_unpaired": self.n_unpaired,
                **({"judged": self.judged} if self.judged is not None else {}),
            }
        )


def as_json(value: Any) -> Any:
    """Return nested facts as JSON types: what is no number becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return value


def summarise(
    matrix: ScoreMatrix,
    table: MetricTable,
    claim: Claim | None,
    settings: dict[str, Any],
    judging: Judging | None = None,
) -> Summary:
    """Return the summary of a run; `settings` names mode, candidates, baseline and how many were ever scored.

    Items of `settings[exclude]` count only in the scores with and without leaked rows; judged scores are corrected as
    `judging` says.

    Raises: ExperimentError when a guardrail names a metric that is not scored.
    """
    everything, matrix = matrix, matrix.without(set(settings["exclude"]))
    main, baseline = table.metrics[0], settings["baseline"]
    candidates = [name for name in settings["candidates"] if name != baseline]
    scored = [name for name in (*settings["candidates"], baseline) if matrix.has(name, main.name)]
    scored = list(dict.fromkeys(scored))
    guardrails = [
        (rail, table.get(rail.metric, f"claim.guardrails[{number}].metric"))
        for number, rail in enumerate(claim.guardrails if claim else [])
    ]
    outcome = compare_all(
        matrix,
        baseline,
        [name for name in candidates if name in scored and baseline in scored],
        table.metrics,
        smallest_effect=settings["smallest_effect"],
        guardrails=guardrails,
        claimed=claim.candidate if claim else None,
        mode=settings["mode"],
        correction=claim.correction if claim else "holm",
        judging=judging,
    )
    estimates = [
        estimate(matrix, name, metric, judging=judging)
        for name in scored
        for metric in table.metrics
        if matrix.has(name, metric.name)
    ]
    sliced = metric_of_items(table.metrics)
    slices = [
        SliceEstimate(where, estimate(matrix, name, sliced, picked, judging))
        for where, picked in slices_of(matrix)
        for name in scored
        if sliced
    ]
    counted: list[Flips] = []
    health: Health | None = None
    if sliced and sliced.rate and scored:
        better = sliced.higher_is_better
        counted = [
            flips(matrix, name, baseline, sliced.name, higher_is_better=better)
            for name in candidates
            if baseline in scored and name in scored
        ]
        health = item_health(matrix, scored, sliced.name, settings["k_history"], higher_is_better=better)
    leaks = [
        found
        for kind in ("leaked", "crossed", "similar")
        for name in settings["candidates"]
        if sliced
        # A part of the rows by a judge's own verdicts would stand alone.
        and not (judging is not None and judging.covers(sliced.name))
        and name in scored
        and (found := _leak_score(everything, name, sliced, kind, set(settings[kind]))) is not None
    ]
    pairs, n_unpaired = _pairs(matrix, [name for name in candidates if name in scored], main, settings, judging)
    return Summary(
        outcome,
        tuple(estimates),
        tuple(slices),
        tuple(counted),
        health,
        _detectable(outcome, settings["power"]),
        baseline,
        main,
        tuple(leaks),
        pairs,
        n_unpaired,
        {metric.name: metric.unit for metric in table.metrics},
        judged_facts(judging, estimates, [(one.slice, one.estimate) for one in slices], (*outcome.comparisons, *pairs))
        if judging
        else None,
    )


def _pairs(
    matrix: ScoreMatrix,
    names: Sequence[str],
    metric: Metric,
    settings: dict[str, Any],
    judging: Judging | None,
) -> tuple[tuple[Comparison, ...], int]:
    """Return the pairs of the best candidates beside the baseline, and how many candidates are in none of them."""
    chosen = best(matrix, names, metric)
    pairs = all_pairs(matrix, chosen[::-1], metric, smallest_effect=settings["smallest_effect"], judging=judging)
    if settings["mode"] == "exploring":
        pairs = tuple(replace(pair, verdict="EXPLORING") for pair in pairs)
    return pairs, len(names) - len(chosen) if pairs else 0


def _leak_score(matrix: ScoreMatrix, name: str, metric: Metric, kind: str, ids: set[str]) -> LeakScore | None:
    """Return a candidate's score with and without the rows of `ids`; None when there are none."""
    import numpy as np

    values = matrix.means(name, metric.name)
    near = np.array([example_id in ids for example_id in matrix.items.ids])
    seen = ~np.isnan(values)
    if not (near & seen).any() or not (~near & seen).any():
        return None
    return LeakScore(
        name,
        kind,
        float(values[near & seen].mean()),
        int((near & seen).sum()),
        float(values[~near & seen].mean()),
        int((~near & seen).sum()),
    )


def _detectable(outcome: Outcome, power: float) -> float | None:
    """Return what the observed spread and design effect let these items show with this power; the largest of all.

    With several candidates at the level that Holm demands of the first.
    """
    sizes: list[float] = []
    n_compared = sum(c.slice == "all" and c.metric == outcome.comparisons[0].metric for c in outcome.comparisons)
    for comparison in outcome.comparisons:
        d = comparison.difference
        if comparison.slice != "all" or comparison.metric != outcome.comparisons[0].metric or d is None:
            continue
        if d.sd_difference > 0 and d.design_effect > 0:
            try:
                sizes.append(
                    detectable_effect(
                        d.n,
                        sd_difference=d.sd_difference,
                        design_effect=d.design_effect,
                        alpha=0.05 / n_compared,
                        power=power,
                    )
                )
            except StatisticsError:
                continue
    return max(sizes, default=None)
