"""How far a judge agrees with people: rates of each class, and the usual coefficients, with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.judging import contingency
from safetycatch.judging.clustering import INDEPENDENT, Clustering, clustering
from safetycatch.judging.rates import Estimate, undefined, weight_of_one, weighted_rate, youden
from safetycatch.stats.clusters import (
    Floats,
    Values,
    as_numbers,
    checked_level,
    cluster_codes,
    mean_variance,
    quantile,
    read_sample,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Texts: TypeAlias = "Sequence[Any] | NDArray[Any]"

SPREAD_LABELS = 2.0  # spread evenly over the cells of a table before an interval is taken: see _coefficient


@dataclass(frozen=True)
class Agreement:
    """A judge against people on items that pass or fail; TP: both pass, FN: people pass and the judge fails, and so on.

    Shares except the counts. `n` counts items with both verdicts, `n_missing` labelled items that the judge has no
    verdict on, `n_unlabelled` those without a label. `effective` holds TP, FN, FP, TN as independent labels drawn with
    equal probability would have given them (the counts themselves without weights and clusters). `design_effects` are
    the factors by which clusters make labels that people pass, and that they fail, count less.
    """

    tpr: Estimate
    tnr: Estimate
    j: Estimate
    accuracy: Estimate
    kappa: Estimate
    ac1: Estimate
    mcc: Estimate
    alpha: Estimate
    tp: int
    fn: int
    fp: int
    tn: int
    effective: tuple[float, float, float, float]
    design_effects: tuple[float, float]
    n: int
    n_missing: int
    n_unlabelled: int
    level: float


@dataclass(frozen=True)
class ClassAgreement:
    """Two raters who sort items into `classes`: `confusion` counts items, people in rows, the judge in columns.

    `by_class` takes each class against the rest. Coefficients are over all classes; `mcc` is Gorodkin's R_K.
    """

    accuracy: Estimate
    kappa: Estimate
    ac1: Estimate
    mcc: Estimate
    alpha: Estimate
    by_class: Mapping[str, Agreement]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    n: int
    n_missing: int
    n_unlabelled: int
    level: float


@dataclass(frozen=True)
class OrdinalAgreement:
    """Two raters who grade items: `grades` ascending, `confusion` counts items, people in rows, judge in columns."""

    accuracy: Estimate
    quadratic_kappa: Estimate
    linear_kappa: Estimate
    spearman: Estimate
    tau_b: Estimate
    alpha: Estimate
    grades: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    n: int
    n_missing: int
    n_unlabelled: int
    level: float


@dataclass(frozen=True)
class _Pairs:
    """Items with both verdicts, as positions in `classes`, and their weights."""

    human: NDArray[np.intp]
    judge: NDArray[np.intp]
    weights: Floats
    classes: tuple[str, ...]
    n_missing: int
    n_unlabelled: int
    cluster: NDArray[np.intp] | None

    def cells(self, values: Floats | None = None) -> Floats:
        """Return `values` (1 where none are given) summed by cell, people in rows."""
        size = len(self.classes)
        flat = np.bincount(self.human * size + self.judge, weights=values, minlength=size * size)
        return flat.reshape(size, size).astype(np.float64)

    def confusion(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(int(count) for count in row) for row in self.cells())


def agreement(
    human: Texts,
    judge: Texts,
    *,
    positive: str = "pass",
    weights: Values | None = None,
    cluster: Values | None = None,
    level: float = 0.95,
) -> Agreement:
    """Return how far `judge` agrees with `human`, verdict by verdict (texts; None: no verdict, counted as missing).

    `positive` is taken against the rest. `weights` are inverse sampling probabilities: what was drawn rarely counts
    more, and the intervals rest on the number of equally probable labels that would tell as much. Rates have Wilson's
    interval and Clopper and Pearson's lower bound, J adds both rates' distances in quadrature (Newcombe 1998), the
    coefficients use the delta method on the table with two more labels spread over its cells.
    With `cluster` (a name for each item: outputs for one input, say) labels count less as they are alike within one.
    Assumes labels drawn at random with the probabilities given, of independent items or clusters.
    Raises: StatisticsError for different lengths, verdicts that are not text, weights that are not positive.
    """
    found = _read(human, judge, weights, cluster, None)
    return _one_against_rest(found, positive, checked_level(level))


def by_class(
    human: Texts,
    judge: Texts,
    classes: Sequence[str],
    *,
    weights: Values | None = None,
    cluster: Values | None = None,
    level: float = 0.95,
) -> dict[str, Agreement]:
    """Return the agreement on each class against the rest. Assumes and raises as `class_agreement`."""
    return dict(class_agreement(human, judge, classes, weights=weights, cluster=cluster, level=level).by_class)


def class_agreement(
    human: Texts,
    judge: Texts,
    classes: Sequence[str],
    *,
    weights: Values | None = None,
    cluster: Values | None = None,
    level: float = 0.95,
) -> ClassAgreement:
    """Return how far two raters agree who sort items into `classes`, over all of them and one against the rest.

    Assumes as `agreement`. Raises: StatisticsError as `agreement`, and for a verdict that is none of the classes.
    """
    found = _read(human, judge, weights, cluster, classes)
    checked_level(level)
    return ClassAgreement(
        accuracy=_accuracy(found, level),
        kappa=_coefficient(contingency.kappa, found, level),
        ac1=_coefficient(contingency.ac1, found, level),
        mcc=_coefficient(contingency.matthews, found, level),
        alpha=_coefficient(contingency.nominal_alpha, found, level),
        by_class={name: _one_against_rest(found, name, level) for name in found.classes},
        classes=found.classes,
        confusion=found.confusion(),
        n=len(found.human),
        n_missing=found.n_missing,
        n_unlabelled=found.n_unlabelled,
        level=level,
    )


def ordinal_agreement(
    human: Texts,
    judge: Texts,
    grades: Sequence[Any],
    *,
    weights: Values | None = None,
    cluster: Values | None = None,
    level: float = 0.95,
) -> OrdinalAgreement:
    """Return how far two raters agree who give `grades` (ascending; verdicts as the grades or as their texts).

    Weighted kappas and Spearman take the grades' order, not the numbers on them; alpha has Krippendorff's ordinal
    distance. Assumes as `agreement`. Raises: StatisticsError as `class_agreement`.
    """
    found = _read(_as_texts(human), _as_texts(judge), weights, cluster, [str(grade) for grade in grades])
    checked_level(level)
    return OrdinalAgreement(
        accuracy=_accuracy(found, level),
        quadratic_kappa=_coefficient(contingency.quadratic_kappa, found, level),
        linear_kappa=_coefficient(contingency.linear_kappa, found, level),
        spearman=_coefficient(contingency.spearman, found, level),
        tau_b=_coefficient(contingency.tau_b, found, level),
        alpha=_coefficient(contingency.ordinal_alpha, found, level),
        grades=found.classes,
        confusion=found.confusion(),
        n=len(found.human),
        n_missing=found.n_missing,
        n_unlabelled=found.n_unlabelled,
        level=level,
    )


def _as_texts(verdicts: Texts) -> list[Any]:
    return [verdict if _missing(verdict) else str(verdict) for verdict in verdicts]


def _missing(verdict: Any) -> bool:
    return verdict is None or (isinstance(verdict, (float, np.floating)) and math.isnan(verdict))


def _read(
    human: Texts, judge: Texts, weights: Values | None, cluster: Values | None, classes: Sequence[str] | None
) -> _Pairs:
    if len(human) != len(judge):
        raise StatisticsError(
            f"{len(human)} labels and {len(judge)} verdicts: agreement needs the same items in one order"
        )
    for name, verdicts in (("human", human), ("judge", judge)):
        for place, verdict in enumerate(verdicts):
            if not (isinstance(verdict, str) or _missing(verdict)):
                raise StatisticsError(
                    f"{name}[{place}] is {verdict!r}, expected a verdict as text, such as 'pass' (none: None)"
                )
    labelled = np.array([not _missing(label) for label in human], dtype=bool)
    judged = np.array([not _missing(verdict) for verdict in judge], dtype=bool)
    both = labelled & judged
    pairs = [(str(one), str(other)) for one, other, there in zip(human, judge, both, strict=True) if there]
    given = {verdict for pair in pairs for verdict in pair}
    if classes is not None and (len(set(classes)) < len(classes) or len(classes) < 2):
        raise StatisticsError(f"classes {', '.join(classes)}: two or more different ones are needed")
    stray = sorted(given - set(classes)) if classes is not None else []
    if stray:
        raise StatisticsError(f"the verdict {stray[0]!r} is none of the classes {', '.join(classes or ())}")
    names = tuple(classes) if classes is not None else tuple(sorted(given))
    at = {name: place for place, name in enumerate(names)}
    return _Pairs(
        np.array([at[first] for first, _ in pairs], dtype=np.intp),
        np.array([at[second] for _, second in pairs], dtype=np.intp),
        _weights(weights, both),
        names,
        int((labelled & ~judged).sum()),
        int((~labelled).sum()),
        None if cluster is None else cluster_codes(cluster, len(human))[both],
    )


def _weights(weights: Values | None, both: NDArray[np.bool_]) -> Floats:
    if weights is None:
        return np.ones(int(both.sum()))
    values = as_numbers(weights, "weights") if len(both) else np.ones(0)
    if len(values) != len(both):
        raise StatisticsError(f"{len(values)} weights for {len(both)} items: one for each is needed")
    values = values[both]
    bad = ~(values > 0)
    if bad.any():
        raise StatisticsError(
            f"a weight is {values[bad][0]:g}: expected 1 over the probability with which the item was drawn"
        )
    # Scaled so that the weights and their squares add up to the same: the effective number of labels (Kish 1965).
    return values * (values.sum() / np.square(values).sum()) if len(values) else values


def _one_against_rest(found: _Pairs, positive: str, level: float) -> Agreement:
    place = found.classes.index(positive) if positive in found.classes else -1
    folded = _Pairs(
        (found.human != place).astype(np.intp),
        (found.judge != place).astype(np.intp),
        found.weights,
        (positive, f"not {positive}"),
        found.n_missing,
        found.n_unlabelled,
        found.cluster,
    )
    (tp, fn), (fp, tn) = folded.confusion()
    (tpr, good), (tnr, bad) = _class_rate(folded, 0, level), _class_rate(folded, 1, level)
    weighed = folded.cells(folded.weights) / np.array([[good], [bad]])
    return Agreement(
        tpr=tpr,
        tnr=tnr,
        j=youden(tpr, tnr, level),
        accuracy=_accuracy(folded, level),
        kappa=_coefficient(contingency.kappa, folded, level),
        ac1=_coefficient(contingency.ac1, folded, level),
        mcc=_coefficient(contingency.matthews, folded, level),
        alpha=_coefficient(contingency.nominal_alpha, folded, level),
        tp=tp,
        fn=fn,
        fp=fp,
        tn=tn,
        effective=(float(weighed[0, 0]), float(weighed[0, 1]), float(weighed[1, 0]), float(weighed[1, 1])),
        design_effects=(good, bad),
        n=len(found.human),
        n_missing=found.n_missing,
        n_unlabelled=found.n_unlabelled,
        level=level,
    )


def _class_rate(found: _Pairs, place: int, level: float) -> tuple[Estimate, float]:
    """Return how often the judge says what people said, of the items that people put into one class; the design effect.

    In fewer than 5 clusters the rate is undefined, and the effect the worst there can be.
    """
    inside, hit = found.human == place, found.judge == place
    if not inside.any():
        return undefined(0, level, "wilson", f"no labelled item is '{found.classes[place]}'"), 1.0
    clusters = INDEPENDENT
    if found.cluster is not None:
        own = found.cluster[inside]
        try:
            sample = read_sample(hit[inside].astype(np.float64), own, least=1, name="labels")
        except StatisticsError as error:
            worst = float(np.square(np.bincount(own)).sum()) / len(own)
            return undefined(len(own), level, "wilson", str(error)), worst
        spread, rate = mean_variance(sample), float(sample.values.mean())
        doubt = 1 / (1 + (sample.n * min(rate, 1 - rate)) ** 2)
        # Without an error nothing shows that answers to one question do not stand and fall together.
        effect = (
            doubt * sample.size_effect + (1 - doubt) * max(1.0, spread.design_effect)
            if doubt < 1
            else sample.size_effect
        )
        clusters = Clustering(effect, spread.df)
    typical = (weight_of_one(found.weights[hit], found.weights), weight_of_one(found.weights[~hit], found.weights))
    rate_of = weighted_rate(found.weights[inside & hit], found.weights[inside & ~hit], typical, level, clusters)
    return rate_of, clusters.design_effect


def _accuracy(found: _Pairs, level: float) -> Estimate:
    """Return the share of agreement: a plain rate by Wilson, a weighted one, or one in clusters, as a coefficient."""
    if found.cluster is not None or (len(found.weights) and np.ptp(found.weights) > 0):
        return _coefficient(contingency.accuracy, found, level)
    agreed = found.human == found.judge
    if not len(agreed):
        return undefined(0, level, "wilson", "no item has both a label and a verdict")
    return weighted_rate(found.weights[agreed], found.weights[~agreed], (1.0, 1.0), level)


def _coefficient(statistic: contingency.Statistic, found: _Pairs, level: float) -> Estimate:
    """Return a coefficient of the table; the interval is taken with two more labels spread evenly over its cells.

    Without them kappa was covered 86 to 94 % of the time instead of 95, and a perfect one had an interval of no width;
    with them 94 to 98 % (`python -m benchmarks corrected_rates`).
    """
    n, method = len(found.human), "delta, two labels added"
    if not n:
        return undefined(0, level, method, "no item has both a label and a verdict")
    counts, squares = found.cells(found.weights), found.cells(np.square(found.weights))
    value, se = contingency.standard_error(statistic, counts, squares, n)
    if math.isnan(value):
        return undefined(n, level, method, "people, the judge or both gave one verdict only: 0/0")
    value = min(1.0, max(-1.0, value))  # rounding
    clusters = INDEPENDENT
    if found.cluster is not None:
        wrong = (found.human != found.judge).astype(np.float64)
        try:
            sample = read_sample(wrong, found.cluster, least=1, name="labels")
        except StatisticsError as error:
            return undefined(n, level, method, str(error))
        moved = contingency.influence(statistic, counts, n)[1][found.human, found.judge] * found.weights
        clusters = clustering([moved], [sample.codes], sample, sample.codes, float(min(wrong.sum(), n - wrong.sum())))
    added = SPREAD_LABELS / counts.size
    middle, spread = contingency.standard_error(statistic, counts + added, squares + added, n + SPREAD_LABELS)
    spread *= math.sqrt(clusters.design_effect)
    half, side = (quantile(share, clusters.df) * spread for share in ((1 + level) / 2, level))
    return Estimate(
        value,
        min(value, max(-1.0, middle - half)),
        max(value, min(1.0, middle + half)),
        min(value, max(-1.0, middle - side)),
        se * math.sqrt(clusters.design_effect),
        n,
        method,
        level,
    )
