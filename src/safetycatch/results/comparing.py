"""Estimates with intervals, paired comparisons, guardrails and the verdict of one run."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.results.judged_margin import judged_guardrail
from safetycatch.stats import (
    Guardrail,
    Interval,
    PairedDifference,
    Verdict,
    benjamini_hochberg,
    check_guardrail,
    decide,
    detectable_effect,
    holm,
    max_t,
    mean_interval,
    paired_difference,
    rate_interval,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safetycatch.experiment import Guardrail as GuardrailSettings
    from safetycatch.results.corrected import Judged, Judging
    from safetycatch.results.matrix import ScoreMatrix
    from safetycatch.stats.verdict import Correction

# A guardrail on a percentile compares the latencies themselves, not contributions to a percentile.
QUANTILES = {"latency_p50": 0.5, "latency_p95": 0.95}


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is shown and compared: `unit` is points, usd, s or score; `rate` holds 0/1 values."""

    name: str
    unit: str = "points"
    higher_is_better: bool = True
    rate: bool = True
    corpus: bool = False

    @property
    def amount(self) -> bool:
        """Whether it is money, seconds or the like: a difference that is the same everywhere is then known."""
        return not self.rate and self.unit not in {"points", "score"}

    @property
    def binary(self) -> bool | None:
        """Whether its values are rights and wrongs; None: where nothing but 0 and 1 is there."""
        return True if self.rate else False if self.amount else None


@dataclass(frozen=True, slots=True)
class Estimate:
    """One candidate's score on one metric; NaN ends carry their reason in `method`.

    `judged` says, of a judge's score, what is corrected and what the raw one is.
    """

    candidate: str
    metric: str
    estimate: float
    low: float
    high: float
    n: int
    n_clusters: int
    n_missing: int
    method: str
    warnings: tuple[str, ...] = ()
    judged: Judged | None = None

    def facts(self) -> dict[str, Any]:
        """Return the estimate as JSON facts; what a judge's score is worth stands by itself."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "judged"}


def estimate(
    matrix: ScoreMatrix,
    candidate: str,
    metric: Metric,
    rows: np.ndarray | None = None,
    judging: Judging | None = None,
) -> Estimate:
    """Return a candidate's mean with its 95 % interval; `rows` picks the items of a slice.

    Replicates of an item are averaged first: n counts items, and an item is missing when no replicate has a score.
    A judged score is corrected as `judging` says.
    """
    values, clusters = matrix.means(candidate, metric.name), matrix.paired_clusters()
    if rows is not None:
        values, clusters = values[rows], None if clusters is None else clusters[rows]
    n_missing = int(np.isnan(values).sum())
    try:
        found: Interval = (rate_interval if metric.rate else mean_interval)(values, clusters)
        judged = None
        if judging is not None and judging.covers(metric.name):
            judged = judging.rate(matrix, candidate, metric.name, found, rows)
            found = judged.shown
    except StatisticsError as error:
        seen = values[~np.isnan(values)]
        mean = float(seen.mean()) if len(seen) else math.nan
        n_clusters = len(seen) if clusters is None else len(set(clusters[~np.isnan(values)].tolist()))
        return Estimate(
            candidate, metric.name, mean, math.nan, math.nan, len(seen), n_clusters, n_missing, f"no interval: {error}"
        )
    return Estimate(
        candidate,
        metric.name,
        found.estimate,
        found.low,
        found.high,
        found.n,
        found.n_clusters,
        found.n_missing,
        found.method,
        found.warnings,
        judged,
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """One candidate against the baseline on one metric and slice.

    `difference` is None where no interval can be given, and `reason` says why; `estimate` is NaN without a pair.
    `correction` says how `p_adjusted` came about; `detectable` (slices) is the true difference that so many items with
    this spread show in 4 of 5 repetitions, before any correction; `judged` as in `Estimate`.
    """

    baseline: str
    candidate: str
    metric: str
    slice: str
    difference: PairedDifference | None
    reason: str
    n: int
    n_missing: int
    estimate: float
    p_adjusted: float = math.nan
    verdict: str | None = None
    correction: str | None = None
    detectable: float = math.nan
    judged: Judged | None = None

    def row(self) -> dict[str, Any]:
        """The comparison as a row of the `comparisons` table."""
        d = self.difference
        return {
            "baseline": self.baseline,
            "candidate": self.candidate,
            "metric": self.metric,
            "slice": self.slice,
            "estimate": _number(self.estimate),
            "low": None if d is None else _number(d.low),
            "high": None if d is None else _number(d.high),
            "p_value": None if d is None else _number(d.p_value),
            "p_adjusted": _number(self.p_adjusted),
            "correction": self.correction,
            "n": self.n,
            "n_clusters": None if d is None else d.n_clusters,
            "n_missing": self.n_missing,
            "detectable": _number(self.detectable),
            "method": self.reason if d is None else d.method,
            "verdict": self.verdict,
        }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def compare(
    matrix: ScoreMatrix,
    candidate: str,
    baseline: str,
    metric: Metric,
    *,
    where: str = "all",
    rows: np.ndarray | None = None,
    judging: Judging | None = None,
) -> Comparison:
    """Return candidate - baseline, paired by item, clustered as the items are; corrected as `judging` says."""
    first, second = matrix.means(candidate, metric.name), matrix.means(baseline, metric.name)
    clusters = matrix.paired_clusters()
    if rows is not None:
        first, second = first[rows], second[rows]
        clusters = None if clusters is None else clusters[rows]
    missing = int((np.isnan(first) | np.isnan(second)).sum())
    try:
        found = paired_difference(first, second, clusters, binary=metric.binary)
        judged = None
        if judging is not None and judging.covers(metric.name):
            judged = judging.difference(matrix, (candidate, baseline), metric.name, found, rows)
            found = judged.shown
            if judged.undecided:
                return Comparison(
                    baseline, candidate, metric.name, where, None, f"no interval: {judged.reason}", found.n,
                    found.n_missing, found.estimate, judged=judged,
                )  # fmt: skip
    except StatisticsError as error:
        gains = (first - second)[~np.isnan(first - second)]
        mean = float(gains.mean()) if len(gains) else math.nan
        return Comparison(
            baseline, candidate, metric.name, where, None, f"no interval: {error}", len(gains), missing, mean
        )
    return Comparison(
        baseline,
        candidate,
        metric.name,
        where,
        found,
        "",
        found.n,
        found.n_missing,
        found.estimate,
        found.p_value,
        judged=judged,
    )


def added_usd(matrix: ScoreMatrix, candidate: str, baseline: str, metric: Metric) -> float:
    """Return how much more the candidate costs, US dollars an item; NaN where the price of a scored item is unknown."""
    if not (matrix.has(candidate, "cost_usd") and matrix.has(baseline, "cost_usd")):
        return math.nan
    more = matrix.means(candidate, "cost_usd") - matrix.means(baseline, "cost_usd")
    scored = ~np.isnan(matrix.means(candidate, metric.name) - matrix.means(baseline, metric.name))
    # Items whose unpriced answers failed have a price: alone they would stand for all.
    return float(more[scored].mean()) if scored.any() else math.nan


def guardrail(
    matrix: ScoreMatrix,
    candidate: str,
    baseline: str,
    settings: GuardrailSettings,
    metric: Metric,
    judging: Judging | None = None,
) -> Guardrail:
    """Return whether the candidate keeps a guardrail: undecided, with the reason, where it cannot be tested."""
    quantile = QUANTILES.get(metric.name)
    name = "latency_s" if quantile is not None else metric.name
    worse_by, relative = settings.worse_by.value, settings.worse_by.relative
    ours, theirs, clusters = matrix.means(candidate, name), matrix.means(baseline, name), matrix.paired_clusters()
    if quantile is not None and matrix.rows(candidate, name).shape == matrix.rows(baseline, name).shape:
        # A mean over replicates hides the slow ones: a percentile is of single calls.
        (ours, clusters), (theirs, _) = matrix.flat(candidate, name), matrix.flat(baseline, name)
    try:
        if judging is not None and judging.covers(metric.name):
            return judged_guardrail(judging, matrix, (candidate, baseline), metric, worse_by, relative=relative)
        return check_guardrail(
            ours,
            theirs,
            metric=metric.name,
            worse_by=worse_by,
            relative=relative,
            higher_is_better=metric.higher_is_better,
            quantile=quantile,
            cluster=clusters,
            binary=metric.binary,
            by_value=metric.amount,
            unit=metric.unit,
        )
    except StatisticsError as error:
        # An unknown price or a free baseline: the run is paid, and BETTER must not be said.
        nan = math.nan
        return Guardrail(
            metric.name, "undecided", worse_by, relative, nan, nan, nan, nan, nan, nan, 0, 0, len(matrix.items.ids),
            None, 0.05, str(error),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """All comparisons of a run, the verdict on each candidate, and which one is the headline."""

    comparisons: tuple[Comparison, ...]
    verdicts: Mapping[str, Verdict]
    headline: str | None
    selected: bool
    undecided: str = ""


def compare_all(
    matrix: ScoreMatrix,
    baseline: str,
    candidates: Sequence[str],
    metrics: Sequence[Metric],
    *,
    smallest_effect: float | None,
    guardrails: Sequence[tuple[GuardrailSettings, Metric]] = (),
    claimed: str | None = None,
    mode: str = "claiming",
    correction: Correction = "holm",
    seed: int = 0,
    judging: Judging | None = None,
) -> Outcome:
    """Return every comparison with the baseline; the first of `metrics` is the claimed one.

    P-values of the claimed metric are adjusted over `candidates` by `correction` (`seed` draws the sign flips of
    max-T), those of slices by Benjamini and Hochberg over all slices and candidates: to look around. The headline is
    `claimed`, else the candidate with the best estimate, and then `selected` says so.
    """
    main = metrics[0]
    raw = [compare(matrix, name, baseline, main, judging=judging) for name in candidates]
    if any(found.difference is not None and found.difference.p_method == "corrected" for found in raw):
        correction = "holm"  # max-T flips the signs of raw differences, which are not these
    adjusted = _adjusted(matrix, raw, correction, seed)
    verdicts: dict[str, Verdict] = {}
    rows: list[Comparison] = []
    for found, p_value in zip(raw, adjusted, strict=True):
        verdict = None
        if found.difference is not None and mode == "claiming" and smallest_effect:
            verdict = decide(
                found.difference,
                smallest_effect,
                candidate=found.candidate,
                baseline=baseline,
                metric=main.name,
                p_adjusted=float(p_value),
                n_compared=len(raw),
                correction=correction,
                guardrails=[
                    guardrail(matrix, found.candidate, baseline, rail, how, judging) for rail, how in guardrails
                ],
                higher_is_better=main.higher_is_better,
                unit="points" if main.unit == "points" else main.unit,
                added_usd=added_usd(matrix, found.candidate, baseline, main),
            )
            verdicts[found.candidate] = verdict
        word = verdict.kind if verdict else "EXPLORING" if mode == "exploring" else "INCONCLUSIVE"
        rows.append(replace(found, p_adjusted=float(p_value), verdict=word, correction=correction))
    for metric in metrics[1:]:
        pairs = [name for name in candidates if matrix.has(name, metric.name) and matrix.has(baseline, metric.name)]
        rows.extend(
            replace(compare(matrix, name, baseline, metric, judging=judging), p_adjusted=math.nan) for name in pairs
        )
    sliced = metric_of_items(metrics)
    if sliced is not None and candidates:
        rows.extend(compare_slices(matrix, baseline, candidates, sliced, judging))
    sign = 1 if main.higher_is_better else -1
    measured = [found for found in raw if found.difference is not None]
    best = max(measured, key=lambda found: sign * found.estimate, default=None)
    headline = claimed or (best.candidate if best else None)
    reasons = [found.reason for found in sorted(raw, key=lambda found: found.candidate != headline) if found.reason]
    reason = "" if headline in verdicts or mode == "exploring" or not reasons else reasons[0]
    return Outcome(tuple(rows), verdicts, headline, selected=claimed is None and len(raw) > 1, undecided=reason)


def _adjusted(matrix: ScoreMatrix, raw: Sequence[Comparison], correction: Correction, seed: int) -> np.ndarray:
    """Return the p-values adjusted for their number; NaN, outside the family, where there is none."""
    p_values = np.array([found.p_adjusted for found in raw])
    tested = ~np.isnan(p_values)
    if not tested.any() or correction == "holm":
        return holm(p_values) if len(p_values) else p_values
    gains = [
        matrix.means(found.candidate, found.metric) - matrix.means(found.baseline, found.metric)
        for found, there in zip(raw, tested, strict=True)
        if there
    ]
    p_values[tested] = max_t(np.column_stack(gains), matrix.paired_clusters(), seed=seed)
    return p_values


def compare_slices(
    matrix: ScoreMatrix,
    baseline: str,
    candidates: Sequence[str],
    metric: Metric,
    judging: Judging | None = None,
) -> tuple[Comparison, ...]:
    """Return every candidate against the baseline on every slice, p-values Benjamini-Hochberg-adjusted over them all.

    Exploratory: without a verdict, to be confirmed on other items.
    """
    raw = [
        compare(matrix, name, baseline, metric, where=where, rows=picked, judging=judging)
        for where, picked in slices_of(matrix)
        for name in candidates
    ]
    adjusted = benjamini_hochberg([found.p_adjusted for found in raw]) if raw else np.array([])
    return tuple(
        replace(found, p_adjusted=float(p), correction="benjamini_hochberg", detectable=_detectable(found))
        for found, p in zip(raw, adjusted, strict=True)
    )


def _detectable(found: Comparison) -> float:
    d = found.difference
    if d is None or not (d.sd_difference > 0 and d.design_effect > 0):
        return math.nan
    return detectable_effect(d.n, sd_difference=d.sd_difference, design_effect=d.design_effect)


def metric_of_items(metrics: Sequence[Metric]) -> Metric | None:
    """Return the metric to show for slices and single items: the first one, or a rate when that needs all rows.

    None when there is no such metric: what items contribute to F1, say, is no F1 of a slice.
    """
    main = metrics[0]
    return main if not main.corpus else next((m for m in metrics if m.rate and not m.corpus), None)


def slices_of(matrix: ScoreMatrix) -> list[tuple[str, np.ndarray]]:
    """Return every slice, `column=value`, and which items it holds."""
    found: list[tuple[str, np.ndarray]] = []
    for column, values in matrix.items.slices.items():
        texts = np.array([str(value) for value in values.tolist()], dtype=object)
        found.extend((f"{column}={value}", texts == value) for value in sorted(set(texts.tolist())))
    return found
