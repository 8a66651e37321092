"""Two candidates under one judge on the same rows: the difference people would have found, first minus second."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from safetycatch.errors import StatisticsError
from safetycatch.judging.clustering import INDEPENDENT, Clustering, clustering, joined_clusters
from safetycatch.judging.post_stratified import PostStratified, post_stratified
from safetycatch.judging.rates import sum_limits
from safetycatch.stats.clusters import Floats, Values, as_numbers, checked_level, quantile, read_sample, upper_tail
from safetycatch.stats.discordance import paired_columns
from safetycatch.stats.intervals import wilson_limits
from safetycatch.stats.paired import PairedDifference, paired_difference

Side: TypeAlias = tuple[PostStratified, NDArray[np.intp]]
DifferenceMethod = Literal["common_error", "labels_on_both"]

ASSUMPTIONS: dict[DifferenceMethod, str] = {
    "common_error": "the judge errs on both candidates' answers as often as on the labelled ones, on good and on bad "
    "answers each: a judge who likes one candidate's style needs labels on both",
    "labels_on_both": "each candidate's labels were drawn at random, with known probabilities, from its own rows",
}


@dataclass(frozen=True)
class CorrectedDifference:
    """Candidate `a` minus `b` (shares), with the judge's errors paid for; `low`, `high` hold the truth at `level`.

    `raw` is the judge's own paired difference. `p_value` is two-sided for "no difference"; with a common error it is
    the raw one's, for then the judge sees no difference where there is none. `effective_gain` is the variance of the
    labels alone over this one, NaN for a common error, where no labels of these rows are used. Undefined numbers are
    NaN, with the reason in `warnings`.
    """

    estimate: float
    low: float
    high: float
    se: float
    df: float
    p_value: float
    method: DifferenceMethod
    assumption: str
    raw: PairedDifference
    effective_gain: float
    n_labels: int
    n_judged: int
    n_missing: int
    level: float
    warnings: tuple[str, ...]


def corrected_difference(
    a: Values,
    b: Values,
    tp: float,
    fn: float,
    fp: float,
    tn: float,
    *,
    cluster: Values | None = None,
    level: float = 0.95,
) -> CorrectedDifference:
    """Return the paired difference of two candidates' pass rates from a judge's verdicts, over J = TPR + TNR - 1.

    `a`, `b`: verdicts (1, 0, or means over runs; NaN: none) on the same rows; counts of the labelled answers as in
    `rogan_gladen_from_counts`. The judge shows J times the true difference, so this is the raw one over J; limits of
    both are joined for the ratio, so that it excludes 0 exactly when the raw interval does. Where J's interval comes
    near 0 the limits go to -1 or 1.
    Assumes one error of the judge for both candidates, and independent clusters. Raises: StatisticsError as
    `paired_difference`, for negative counts, and where people pass all or none of the labelled answers.
    Source: Rogan & Gladen 1978; limits of a ratio: Donner & Zou 2012, Stat. Methods Med. Res. 21:347 (Fieller's form).
    """
    raw = paired_difference(a, b, cluster, checked_level(level), binary=True)
    if min(tp, fn, fp, tn) < 0 or not all(math.isfinite(count) for count in (tp, fn, fp, tn)):
        raise StatisticsError(f"counts {tp:g}, {fn:g}, {fp:g}, {tn:g}: expected numbers of labels from 0 up")
    good, bad = tp + fn, fp + tn
    if not good or not bad:
        raise StatisticsError(
            f"{good:g} labelled answers that people pass and {bad:g} that they fail: both are needed to know the judge"
        )
    z = quantile((1 + level) / 2, math.inf)
    tpr, tnr = tp / good, tn / bad
    both, least, most = sum_limits((tpr, *wilson_limits(tpr, good, z)), (tnr, *wilson_limits(tnr, bad, z)))
    j = (both - 1, least - 1, most - 1)
    low, high = _ratio_limits((raw.estimate, raw.low, raw.high), j)
    estimate = se = math.nan
    warnings = raw.warnings
    if j[0] > 0:
        estimate = min(1.0, max(-1.0, raw.estimate / j[0]))
        spread = tpr * (1 - tpr) / good + tnr * (1 - tnr) / bad
        se = math.sqrt(raw.se**2 + estimate**2 * spread) / j[0]
    if j[1] <= 0:
        warnings = (*warnings, f"J is {j[0]:.2f}, its interval starts at {j[1]:.2f}: a coin may judge as well")
    return CorrectedDifference(
        estimate=estimate,
        low=low,
        high=high,
        se=se,
        df=raw.df,
        p_value=raw.p_value,
        method="common_error",
        assumption=ASSUMPTIONS["common_error"],
        raw=raw,
        effective_gain=math.nan,
        n_labels=round(good + bad),
        n_judged=raw.n,
        n_missing=raw.n_missing,
        level=level,
        warnings=warnings,
    )


def _ratio_limits(top: tuple[float, float, float], bottom: tuple[float, float, float]) -> tuple[float, float]:
    """Return the limits of top / bottom within -1 to 1, from (estimate, low, high) of two independent ones.

    The ratios R are kept for which the interval of top - R bottom, distances in quadrature, holds 0.
    """
    value, least, most = bottom
    if least <= 0:
        return -1.0, 1.0

    def limit(end: float, sign: float) -> float:
        """Return one end (sign -1: low) from top's limit on that side: a root of the quadratic in R."""
        distance = end - top[0]
        # The bottom's own limit that takes the ratio farther out: its upper one where the ratio lies towards 0.
        reach = most - value if sign * end < 0 else value - least
        product = top[0] * value
        rest = (top[0] - distance) * (top[0] + distance)
        root = math.sqrt(max(0.0, product**2 - (value**2 - reach**2) * rest))
        return min(1.0, max(-1.0, rest / (product - sign * root))) if rest else 0.0

    return limit(top[1], -1.0), limit(top[2], 1.0)


def labelled_difference(
    a: Values,
    b: Values,
    human_a: Values,
    human_b: Values,
    *,
    probability_a: Values | None = None,
    probability_b: Values | None = None,
    known_a: Values | None = None,
    known_b: Values | None = None,
    cluster: Values | None = None,
    level: float = 0.95,
) -> CorrectedDifference:
    """Return the difference of two post-stratified pass rates on the same rows, each with labels of its own answers.

    Columns row by row: the judge's verdicts `a`, `b` (1, 0; NaN: none), people's labels `human_a`, `human_b` (NaN: not
    labelled), the probabilities with which those were drawn (None: one for all). What the rows share, verdicts and
    labels, is subtracted with their covariance. Here the judge may err more on one candidate. `known_a`, `known_b`: the
    values of rows that need no judge (NaN: judged), which `a` and `b` hold too; no label counts there.
    Assumes labels drawn at random from each candidate's rows, and independent clusters. Raises: StatisticsError for
    columns of different length, values other than 0 and 1, a side without labels, under 5 clusters with labels.
    Source: Cochran 1977, sections 2.11 and 5A.9.
    """
    raw = paired_difference(a, b, cluster, checked_level(level), binary=True)
    first, second = paired_columns(a, b)
    seen = ~np.isnan(first)
    sides = [
        _side(column[seen], as_numbers(human, name), probability, known, seen, name)
        for column, human, probability, known, name in (
            (first, human_a, probability_a, known_a, "human_a"),
            (second, human_b, probability_b, known_b, "human_b"),
        )
    ]
    (one, at_one), (other, at_other) = sides
    clusters = INDEPENDENT if cluster is None else _clustering(sides, np.asarray(cluster, dtype=object)[seen])
    shares = one.variance_of_share + other.variance_of_share - 2 * float(one.rows @ other.rows)
    labels = one.variance_of_labels + other.variance_of_labels
    drawn = np.zeros((2, int(seen.sum())))
    drawn[0, at_one], drawn[1, at_other] = one.labels, other.labels
    size = math.sqrt(float(np.square(drawn[0]).sum() * np.square(drawn[1]).sum()))
    if size:
        common = float(drawn[0] @ drawn[1]) / size
        labels -= 2 * common * math.sqrt(one.variance_of_labels * other.variance_of_labels)
        # Labels that never differ do not prove that none would: by the rule of three up to 3 of n might.
        labels = max(labels, 3 / min(len(one.labels), len(other.labels)) ** 2)
    variance = (max(0.0, shares) + labels) * clusters.design_effect
    estimate, se = one.estimate - other.estimate, math.sqrt(variance)
    half = quantile((1 + level) / 2, clusters.df) * se
    return CorrectedDifference(
        estimate=estimate,
        low=max(-1.0, estimate - half),
        high=min(1.0, estimate + half),
        se=se,
        df=clusters.df,
        p_value=min(1.0, 2 * upper_tail(abs(estimate) / se, clusters.df)),
        method="labels_on_both",
        assumption=ASSUMPTIONS["labels_on_both"],
        raw=raw,
        effective_gain=(one.variance_labels_only + other.variance_labels_only) / (one.variance + other.variance),
        n_labels=len(one.labels) + len(other.labels),
        n_judged=raw.n,
        n_missing=raw.n_missing,
        level=level,
        warnings=raw.warnings,
    )


def _side(
    judged: Floats,
    human: Floats,
    probability: Values | None,
    known: Values | None,
    seen: np.ndarray[tuple[int], np.dtype[np.bool_]],
    name: str,
) -> Side:
    """Return one candidate's post-stratified rate, and which of the judged rows its labels belong to."""
    if len(human) != len(seen):
        raise StatisticsError(f"{name} has {len(human)} values for {len(seen)} rows: NaN where a row is not labelled")
    human = human[seen]
    fixed = np.full(len(human), math.nan) if known is None else as_numbers(known, "known")[seen]
    asked = np.isnan(fixed)
    there = ~np.isnan(human) & asked
    if not there.any():
        raise StatisticsError(f"{name} has no label on a judged row: both candidates need labels of their own")
    for column, what in ((judged, "a verdict"), (human[there], name)):
        odd = ~np.isin(column, (0.0, 1.0))
        if odd.any():
            raise StatisticsError(f"{what} is {column[odd][0]:g}: labels on both sides need 0 and 1 only")
    weights = np.ones(int(there.sum()))
    if probability is not None:
        chance = as_numbers(probability, "probability")
        if len(chance) != len(seen) or not ((chance[seen][there] > 0) & (chance[seen][there] <= 1)).all():
            raise StatisticsError(f"probabilities of {name}: expected one above 0 and up to 1 for each labelled row")
        weights = 1 / chance[seen][there]
    found = post_stratified(judged[asked], judged[there], human[there], weights)
    return (found if asked.all() else _with_known(found, fixed)), np.flatnonzero(there)


def _with_known(found: PostStratified, known: Floats) -> PostStratified:
    """Return the rate of all rows from that of the judged ones; `known` are the others' values, NaN where judged."""
    asked = np.isnan(known)
    share, n = float(asked.mean()), len(known)
    filled = np.where(asked, found.estimate, known)
    rows = (filled - filled.mean()) / n
    mixing = float(np.square(rows).sum())
    rows[asked] += share * found.rows
    return replace(
        found,
        estimate=float(filled.mean()),
        variance_of_labels=share**2 * found.variance_of_labels,
        variance_of_share=share**2 * found.variance_of_share + mixing,
        variance_labels_only=share**2 * found.variance_labels_only + mixing,
        rows=rows,
        labels=share * found.labels,
    )


def _clustering(
    sides: list[Side],
    names: NDArray[np.object_],
) -> Clustering:
    (one, at_one), (other, at_other) = sides
    total = one.rows - other.rows
    np.add.at(total, at_one, one.labels)
    np.add.at(total, at_other, -other.labels)
    labelled = np.union1d(at_one, at_other)
    codes = joined_clusters(names, names[labelled])
    sample = read_sample(total[labelled], names[labelled], least=1, name="labels")
    return clustering([total], codes[:1], sample, codes[1], min(one.events, other.events))
