"""The rate that people would have given, from a judge's verdicts on all rows and people's labels of some."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.judging.clustering import INDEPENDENT, Clustering, clustering, joined_clusters
from safetycatch.judging.corrected import ASSUMPTIONS, Corrected, Method
from safetycatch.judging.post_stratified import post_stratified
from safetycatch.judging.prediction_powered import prediction_powered
from safetycatch.judging.rogan_gladen import rogan_gladen, rogan_gladen_from_counts
from safetycatch.stats.clusters import Floats, Values, as_numbers, checked_level, quantile, read_sample
from safetycatch.stats.intervals import Interval, mean_interval, rate_interval, wilson_limits

__all__ = ["Corrected", "Method", "corrected_rate", "rogan_gladen_from_counts"]

FEWEST_LABELS = 3  # a slope, a mean and one degree of freedom
FEW_PER_VERDICT = 5  # labels within a verdict of the judge below which a warning is given


@dataclass(frozen=True)
class _Labels:
    """Labelled rows that the judge has a verdict on."""

    judge: Floats
    human: Floats
    weights: Floats
    cluster: np.ndarray[Any, Any] | None
    notes: tuple[str, ...]

    @property
    def weighted(self) -> bool:
        return bool(np.ptp(self.weights) > 0)


def corrected_rate(
    judged: Values,
    labelled_judge: Values,
    labelled_human: Values,
    *,
    method: Method | None = None,
    sampling_probability: Values | None = None,
    cluster: Values | None = None,
    labelled_cluster: Values | None = None,
    labelled_among_judged: bool = True,
    level: float = 0.95,
) -> Corrected:
    """Return the rate or mean that people would give all judged rows, corrected by labels of some of them.

    `judged`: the judge's values (1 pass, 0 fail, or scores; NaN: none) of all rows, the labelled ones among them unless
    `labelled_among_judged` is false. `labelled_judge`, `labelled_human`: both values of the labelled rows, with the
    probability with which each was drawn (None: the same for all) and its cluster. Method by default: post-stratified,
    smoothed, where all values are 0 or 1, PPI++ otherwise; both assume labels drawn from these rows. `rogan_gladen` is
    for labels of other rows. Intervals are normal, Student's t with clusters or PPI++.
    Assumes what `assumption` says, and independent clusters. Raises: StatisticsError for columns of different length,
    under 3 labels (PPI++), no label at all, under 5 clusters of labels, or an unknown method.
    Source: facts in docs/statistics.md, "Judges".
    """
    checked_level(level)
    if method is not None and method not in get_args(Method):
        raise StatisticsError(f"the method is {method!r}, expected one of {', '.join(get_args(Method))}")
    rows, labels = (
        as_numbers(judged, "judged"),
        _labels(labelled_judge, labelled_human, sampling_probability, labelled_cluster),
    )
    seen = ~np.isnan(rows)
    if not seen.any():
        raise StatisticsError(f"none of the {len(rows)} judged rows has a verdict")
    if method != "rogan_gladen" and (cluster is None) != (labelled_cluster is None):
        raise StatisticsError("give the clusters of both, the judged rows and the labels, or of neither")
    if labelled_among_judged and method != "rogan_gladen" and len(labels.human) > seen.sum():
        raise StatisticsError(
            f"{len(labels.human)} labels among {int(seen.sum())} judged rows: labels of other rows need "
            "labelled_among_judged=False, or method='rogan_gladen' where they come from elsewhere"
        )
    binary = all(bool(np.isin(part, (0.0, 1.0)).all()) for part in (rows[seen], labels.judge, labels.human))
    chosen: Method = method or ("post_stratified" if binary else "ppi")
    if chosen in {"post_stratified", "rogan_gladen"} and not binary:
        raise StatisticsError(f"{chosen} needs verdicts and labels that are 0 or 1; 'ppi' takes scores")
    raw = rate_interval(rows, cluster, level) if binary else mean_interval(rows, cluster, level)
    if chosen == "rogan_gladen":
        return _rogan_gladen(raw, labels, level)
    if chosen == "labels_only":
        return _labels_only(raw, labels, binary=binary, level=level)
    kept = rows[seen]
    names = None if cluster is None else np.asarray(cluster, dtype=object)[seen]
    if chosen == "post_stratified" and not labelled_among_judged and not labels.weighted:
        # Labels drawn evenly beside the rows tell the judge's share as well as the rows do.
        kept = np.concatenate([kept, labels.judge])
        names = None if names is None or labels.cluster is None else np.concatenate([names, labels.cluster])
    if chosen == "post_stratified":
        return _post_stratified(kept, names, raw, labels, level)
    return _ppi(kept, names, raw, labels, level, labelled_among_judged=labelled_among_judged, binary=binary)


def _labels(judge: Values, human: Values, probability: Values | None, cluster: Values | None) -> _Labels:
    first, second = as_numbers(judge, "labelled_judge"), as_numbers(human, "labelled_human")
    if len(first) != len(second):
        raise StatisticsError(f"{len(first)} verdicts and {len(second)} labels of the labelled rows: one of each a row")
    both = ~np.isnan(first) & ~np.isnan(second)
    weights = np.ones(len(first))
    if probability is not None:
        chance = as_numbers(probability, "sampling_probability")
        bad = ~((chance > 0) & (chance <= 1)) & both[: len(chance)] if len(chance) == len(first) else None
        if bad is None or bad.any():
            found = f"{len(chance)} for {len(first)} labels" if bad is None else f"{chance[bad][0]:g}"
            raise StatisticsError(
                f"sampling_probability: {found}; expected one above 0 and up to 1 for each label. What was picked "
                "rather than drawn has none, and is no part of an estimate"
            )
        weights = 1 / chance
    if not both.any():
        raise StatisticsError(f"none of the {len(first)} labelled rows has both a label and a verdict")
    names = None
    if cluster is not None:
        names = np.asarray(cluster, dtype=object)
        if names.shape != first.shape:
            raise StatisticsError(f"labelled_cluster has shape {names.shape}, expected a name for each label")
        names = names[both]
    lost = int((~np.isnan(second) & np.isnan(first)).sum())
    notes = (f"{lost} labelled rows have no verdict of the judge and are left out",) if lost else ()
    weights = weights[both]
    return _Labels(first[both], second[both], weights * (weights.sum() / np.square(weights).sum()), names, notes)


def _clustering(row_names: Any, rows: Floats, parts: Floats, labels: _Labels, events: float) -> Clustering:
    if row_names is None or labels.cluster is None:
        return INDEPENDENT
    codes = joined_clusters(row_names, labels.cluster)
    sample = read_sample(labels.human, labels.cluster, least=1, name="labels")
    return clustering([rows, parts], codes, sample, codes[1], events)


def _post_stratified(rows: Floats, names: Any, raw: Interval, labels: _Labels, level: float) -> Corrected:
    found = post_stratified(rows, labels.judge, labels.human, labels.weights)
    clusters = _clustering(names, found.rows, found.labels, labels, found.events)
    se = math.sqrt(found.variance * clusters.design_effect)
    half = quantile((1 + level) / 2, clusters.df) * se
    passed, failed = found.per_verdict
    few = [f"{n:.3g} where it says {what}" for n, what in ((passed, "pass"), (failed, "fail")) if n < FEW_PER_VERDICT]
    return Corrected(
        estimate=found.estimate,
        low=max(0.0, found.estimate - half),
        high=min(1.0, found.estimate + half),
        se=se,
        df=clusters.df,
        method="post_stratified",
        assumption=ASSUMPTIONS["post_stratified"],
        raw=raw,
        effective_gain=found.variance_labels_only / found.variance,
        n_labels=len(labels.human),
        n_judged=raw.n,
        n_missing=raw.n_missing,
        design_effect=clusters.design_effect,
        level=level,
        warnings=(*labels.notes, *((f"few labels for a verdict of the judge: {', '.join(few)}",) if few else ())),
    )


def _ppi(
    rows: Floats, names: Any, raw: Interval, labels: _Labels, level: float, *, labelled_among_judged: bool, binary: bool
) -> Corrected:
    if len(labels.human) < FEWEST_LABELS:
        raise StatisticsError(f"{len(labels.human)} labels: at least {FEWEST_LABELS} are needed to correct a mean")
    found = prediction_powered(
        rows, labels.judge, labels.human, labels.weights, labelled_among_judged=labelled_among_judged
    )
    if math.isnan(found.variance):
        note = "the judge's errors are all equal on the labels, so their spread cannot be measured: labels alone"
        return _labels_only(raw, replace(labels, notes=(*labels.notes, note)), binary=binary, level=level)
    error = np.sign(found.labels)
    clusters = _clustering(names, found.rows, found.labels, labels, float(min((error > 0).sum(), (error < 0).sum())))
    df = min(found.df, clusters.df)
    se = math.sqrt(found.variance * clusters.design_effect)
    half = quantile((1 + level) / 2, df) * se
    shares = all(bool(((part >= 0) & (part <= 1)).all()) for part in (rows, labels.judge, labels.human))
    least, most = (0.0, 1.0) if shares else (-math.inf, math.inf)
    return Corrected(
        estimate=min(most, max(least, found.estimate)),
        low=max(least, found.estimate - half),
        high=min(most, found.estimate + half),
        se=se,
        df=df,
        method="ppi",
        assumption=ASSUMPTIONS["ppi"],
        raw=raw,
        effective_gain=found.variance_labels_only / found.variance,
        n_labels=len(labels.human),
        n_judged=raw.n,
        n_missing=raw.n_missing,
        design_effect=clusters.design_effect,
        level=level,
        warnings=labels.notes,
    )


def _labels_only(raw: Interval, labels: _Labels, *, binary: bool, level: float) -> Corrected:
    """Return the interval of the labels alone; unequal weights divide their number by what they cost (Kish 1965)."""
    human, share = labels.human, labels.weights / labels.weights.sum()
    if labels.weighted:
        mean, n = float(share @ human), float(labels.weights.sum())
        influence = share * (human - mean)
        events = n * min(mean, 1 - mean) if binary else n
        clusters = _clustering(np.array([], dtype=object), np.array([]), influence, labels, events)
        if binary:
            n = min(n, mean * (1 - mean) / float(np.square(influence).sum())) if 0 < mean < 1 else n
            z = quantile((1 + level) / 2, clusters.df)
            low, high = wilson_limits(mean, n / clusters.design_effect, z)
            se = math.sqrt(mean * (1 - mean) / n * clusters.design_effect) or math.nan
        else:
            se = math.sqrt(float(np.square(influence).sum()) * n / (n - 1) * clusters.design_effect) or math.nan
            half = quantile((1 + level) / 2, min(clusters.df, n - 1)) * se
            low, high = mean - half, mean + half
        df, effect, notes = clusters.df, clusters.design_effect, ()
    else:
        plain = (rate_interval if binary else mean_interval)(human, labels.cluster, level)
        mean, low, high, se, df, effect = plain.estimate, plain.low, plain.high, plain.se, plain.df, plain.design_effect
        notes = plain.warnings
    return Corrected(
        estimate=mean,
        low=low,
        high=high,
        se=se,
        df=df,
        method="labels_only",
        assumption=ASSUMPTIONS["labels_only"],
        raw=raw,
        effective_gain=1.0,
        n_labels=len(human),
        n_judged=raw.n,
        n_missing=raw.n_missing,
        design_effect=effect,
        level=level,
        warnings=(*labels.notes, *notes),
    )


def _rogan_gladen(raw: Interval, labels: _Labels, level: float) -> Corrected:
    cells = [
        float(labels.weights[(labels.human == human) & (labels.judge == judge)].sum())
        for human, judge in ((1, 1), (1, 0), (0, 1), (0, 0))
    ]
    effect = 1.0
    if labels.cluster is not None:
        wrong = (labels.human != labels.judge).astype(np.float64)
        effect = rate_interval(wrong, labels.cluster, level).design_effect
    tp, fn, fp, tn = (cell / effect for cell in cells)
    found = rogan_gladen(raw, tp, fn, fp, tn, level, n_labels=len(labels.human))
    return replace(found, warnings=(*labels.notes, *found.warnings))
