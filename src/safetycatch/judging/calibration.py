"""A judge against people: from labelled items with verdicts to the counts, figures and slices of a certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safetycatch.judge_settings import FAIL, PASS
from safetycatch.judging.agreement import Agreement, Estimate, agreement, class_agreement, ordinal_agreement
from safetycatch.judging.certificate import Counts, Figure
from safetycatch.judging.sealing import LabelledItem, clusters_of
from safetycatch.stats.clusters import MIN_CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safetycatch.judge_settings import JudgeSettings
    from safetycatch.judging.sealing import ItemKey, Part

BINARY_FIGURES = ("tpr", "tnr", "j", "accuracy", "kappa", "ac1", "mcc", "alpha")
CLASS_FIGURES = ("accuracy", "kappa", "ac1", "mcc", "alpha")
ORDINAL_FIGURES = ("quadratic_kappa", "linear_kappa", "spearman", "tau_b")
SMALLEST_SLICE = 30


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """A labelled item and what the judge says of it (`verdict` None: nothing that could be read).

    `probability` is None where the item was picked, or where none of a set has one (`drawn` says which). `critiques`
    are people's.
    """

    key: ItemKey
    part: Part
    label: str
    verdict: str | None
    input: str
    output: str
    reference: str = ""
    probability: float | None = None
    drawn: bool = True
    slices: dict[str, str] = field(default_factory=dict[str, str])
    critiques: tuple[str, ...] = ()
    judge_critique: str = ""
    status: str = "answer"


@dataclass(frozen=True, slots=True)
class SliceFinding:
    """One class's rate in a slice against the rest: shares with their n, Fisher's p, and Holm's over all of them."""

    slice: str
    figure: str
    n: int
    estimate: float
    n_rest: int
    rest: float
    p_value: float
    p_adjusted: float

    @property
    def gap(self) -> float:
        """How much worse the slice is, in shares."""
        return self.rest - self.estimate


def folded(label: str | None, settings: JudgeSettings) -> str | None:
    """Return a verdict as what is certified: pass or fail where the scale has passes, else itself."""
    if label is None or not settings.is_rate:
        return label
    return PASS if settings.passed(label) else FAIL


def related(items: Sequence[JudgedItem]) -> list[int]:
    """Return a cluster for each item: answers to one question, and near-duplicates, are not independent.

    Equal inputs are one question, unless there are fewer than 5 of them: then they are the task's own words.
    """
    from safetycatch.data.clusters import components, group_edges

    if not items:
        return []
    same = clusters_of([LabelledItem(item.key, item.label, (item.input, item.output)) for item in items])
    asked = {item.input for item in items if item.input}
    groups = [
        [f"item {same[item.key]}", *([f"input {item.input}"] if item.input and len(asked) >= MIN_CLUSTERS else [])]
        for item in items
    ]
    return components(group_edges(groups), len(items)).tolist()


def counts_of(
    items: Sequence[JudgedItem], settings: JudgeSettings, cluster: Sequence[int] | None = None
) -> tuple[Counts, ...]:
    """Return the counts of `items` with their figures: one for pass and fail, else one a verdict against the rest.

    Of grades without a passing one, each cut: at least this grade against less. Items drawn with different
    probabilities are weighted by their inverse; the counts are of items all the same. With `cluster` (`related`) items
    that are alike count less; without it they are taken as independent.
    """
    weights, cluster = weights_of(items), _several(cluster)
    human, judge = _sides(items, settings)
    if settings.is_rate:
        return (_counts(PASS, agreement(human, judge, positive=PASS, weights=weights, cluster=cluster)),)
    if settings.grades:
        return tuple(
            _counts(
                f"at least {grade}",
                agreement(_cut(human, grade), _cut(judge, grade), positive=PASS, weights=weights, cluster=cluster),
            )
            for grade in settings.grades[1:]
        )
    found = class_agreement(human, judge, settings.verdict_labels, weights=weights, cluster=cluster).by_class
    return tuple(_counts(name, one) for name, one in found.items())


def _several(cluster: Sequence[int] | None) -> Sequence[int] | None:
    """Return `cluster`; None where each item is its own, which are independent items."""
    return None if cluster is None or len(set(cluster)) == len(cluster) else cluster


def overall_of(
    items: Sequence[JudgedItem], settings: JudgeSettings, cluster: Sequence[int] | None = None
) -> dict[str, Figure]:
    """Return the figures over all verdicts of the scale: accuracy, kappa …, and of grades the ordinal ones."""
    weights, cluster = weights_of(items), _several(cluster)
    human, judge = [item.label for item in items], [item.verdict for item in items]
    found = class_agreement(human, judge, settings.verdict_labels, weights=weights, cluster=cluster)
    figures = {name: figure_of(getattr(found, name)) for name in CLASS_FIGURES}
    if settings.grades:
        ordinal = ordinal_agreement(human, judge, settings.grades, weights=weights, cluster=cluster)
        figures |= {name: figure_of(getattr(ordinal, name)) for name in ORDINAL_FIGURES}
        figures["ordinal_alpha"] = figure_of(ordinal.alpha)
    return figures


def weights_of(items: Sequence[JudgedItem]) -> list[float] | None:
    """Return inverse sampling probabilities; None where they are all equal, or not known."""
    known = [item.probability for item in items if item.probability is not None]
    if len(known) < len(items) or len(set(known)) < 2:
        return None
    return [1 / probability for probability in known]


def agreed(items: Sequence[JudgedItem]) -> tuple[int, int]:
    """Return on how many items judge and people agree, and how many have a verdict."""
    judged = [item for item in items if item.verdict is not None]
    return sum(item.label == item.verdict for item in judged), len(judged)


def slices_of(items: Sequence[JudgedItem], settings: JudgeSettings) -> list[SliceFinding]:
    """Return TPR and TNR of every slice with at least 30 items against the rest, worst first, Holm over all.

    Fisher's exact test, one-sided: is the slice worse? Several classes: the share agreed, as `accuracy`. Assumes
    independent items; slices overlap, which Holm allows.
    """
    from scipy.stats import hypergeom

    from safetycatch.stats import holm

    tables = list(_slice_tables(items, settings))
    p_values = [
        float(hypergeom.cdf(hits, sum((hits, misses, *rest)), hits + rest[0], hits + misses))
        for _, _, (hits, misses), rest in tables
    ]
    adjusted: list[float] = holm(p_values).tolist() if p_values else []
    found = [
        SliceFinding(
            name,
            figure,
            hits + misses,
            hits / (hits + misses),
            rest_hits + rest_misses,
            rest_hits / (rest_hits + rest_misses),
            p_value,
            p_adjusted,
        )
        for (name, figure, (hits, misses), (rest_hits, rest_misses)), p_value, p_adjusted in zip(
            tables, p_values, adjusted, strict=True
        )
    ]
    return sorted(found, key=lambda one: (one.p_adjusted, -one.gap, one.slice))


def _slice_tables(
    items: Sequence[JudgedItem], settings: JudgeSettings
) -> Iterator[tuple[str, str, tuple[int, int], tuple[int, int]]]:
    judged = [item for item in items if item.verdict is not None]
    columns = dict.fromkeys(name for item in judged for name in item.slices)
    for column in columns:
        for value in dict.fromkeys(item.slices.get(column, "") for item in judged):
            inside = [item for item in judged if item.slices.get(column, "") == value]
            rest = [item for item in judged if item.slices.get(column, "") != value]
            if len(inside) < SMALLEST_SLICE or not rest:
                continue
            for figure, wanted in (("tpr", PASS), ("tnr", FAIL)) if settings.is_rate else (("accuracy", None),):
                own, other = _hits(inside, wanted, settings), _hits(rest, wanted, settings)
                if sum(own) and sum(other):
                    yield f"{column}={value}", figure, own, other


def _hits(items: Sequence[JudgedItem], wanted: str | None, settings: JudgeSettings) -> tuple[int, int]:
    of = [item for item in items if wanted is None or folded(item.label, settings) == wanted]
    hits = sum(folded(item.label, settings) == folded(item.verdict, settings) for item in of)
    return hits, len(of) - hits


def disagreements(items: Sequence[JudgedItem], settings: JudgeSettings) -> list[JudgedItem]:
    """Return the items on which judge and people differ, the worst first.

    A pass that people fail comes before the reverse (it is what a judge lets through), far grades before near ones,
    then what people explained. A missing verdict is no disagreement.
    """
    apart = [item for item in items if item.verdict is not None and item.verdict != item.label]
    grade = {name: place for place, name in enumerate(settings.verdict_labels)}

    def badness(item: JudgedItem) -> tuple[float, ...]:
        human, judge = folded(item.label, settings), folded(item.verdict, settings)
        distance = abs(grade[item.label] - grade[item.verdict or ""]) if settings.grades else 0
        return (-(human == FAIL and judge == PASS), -(human != judge), -distance, -bool(item.critiques))

    return sorted(apart, key=badness)


def _sides(items: Sequence[JudgedItem], settings: JudgeSettings) -> tuple[list[str | None], list[str | None]]:
    return [folded(item.label, settings) for item in items], [folded(item.verdict, settings) for item in items]


def _cut(verdicts: Sequence[str | None], grade: int) -> list[str | None]:
    return [None if one is None else PASS if int(one) >= grade else FAIL for one in verdicts]


def _counts(positive: str, found: Agreement) -> Counts:
    figures = {name: figure_of(getattr(found, name)) for name in BINARY_FIGURES}
    return Counts(
        positive,
        found.tp,
        found.fn,
        found.fp,
        found.tn,
        found.n_missing,
        figures,
        found.effective,
        found.design_effects,
    )


def figure_of(found: Estimate) -> Figure:
    """Return an estimate as a certificate holds it."""
    return Figure(
        _known(found.estimate), _known(found.low), _known(found.high), _known(found.lower), found.n, found.method
    )


def _known(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
