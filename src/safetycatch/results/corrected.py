"""Judged scores corrected for the judge's errors: which labels or counts correct what, and what is left as it is.

A rate that a judge gave is corrected from one of two sources, the first where it is there:

1. Labels that people gave to answers of this very run, drawn at random with known probability: post-stratified over
   the verdicts (grades: prediction-powered). Holds whatever the judge is worth. Needs 30 labels.
2. The sealed counts of the judge's certificate: Rogan and Gladen. Assumes that it errs here as it did there.

The difference of two candidates under one judge is corrected likewise, its interval carrying the judge's own error.
Answers that fail without being judged, and those that the judge was shown, count as what is known of them: the judge's
errors are corrected on its own verdicts only.
With neither source the raw figure stays, marked; under a provisional certificate it is withheld, and under a refused
one no difference is decided. Grades without a pass mark know source 1 only, pairwise verdicts none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.judging.correction import corrected_rate, rogan_gladen_from_counts
from safetycatch.judging.difference import corrected_difference, labelled_difference
from safetycatch.judging.known import Scored, difference_with_known, rate_with_known
from safetycatch.scoring.judged import is_judged
from safetycatch.stats import Interval, PairedDifference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safetycatch.judging.corrected import Corrected
    from safetycatch.judging.difference import CorrectedDifference
    from safetycatch.results.comparing import Comparison, Estimate
    from safetycatch.results.matrix import Floats, ScoreMatrix

RATE, GRADES, PAIRWISE = "rate", "grades", "pairwise"
LEAST_LABELS = 30  # drawn from one candidate's answers; with fewer, the certificate corrects, where there is one
PROVISIONAL, REFUSED, USABLE = "provisional", "refused", frozenset({"certified", "provisional"})
COMMON_ERROR = "common_error"

Scale = Literal["rate", "grades", "pairwise"]
Figure = TypeVar("Figure", Interval, PairedDifference)


class Label(NamedTuple):
    """What people say of one answer that was drawn at random, beside what the judge says: 1 and 0, or grades."""

    example_id: str
    judge: float | None
    people: float
    probability: float


class Counts(NamedTuple):
    """Sealed labels: passed by both, by people only, by the judge only, by neither."""

    tp: float
    fn: float
    fp: float
    tn: float


@dataclass(frozen=True, slots=True)
class Judged(Generic[Figure]):
    """A judged rate, or the difference of two: as it is `shown`, and `raw`, what the judge's verdicts alone say.

    `method` is empty where nothing is corrected, and `reason` says why. `gain`: how many labels one label is worth
    thanks to the judge (NaN: not known). `withheld`: the raw figure is not to be shown; `undecided`: nothing may rest
    on this one, for the judge's certificate does not let its own figure count and nothing corrects it.
    """

    shown: Figure
    raw: Figure
    method: str = ""
    assumption: str = ""
    gain: float = math.nan
    n_labels: int = 0
    reason: str = ""
    withheld: bool = False
    undecided: bool = False

    def facts(self) -> dict[str, Any]:
        """Return both figures as JSON facts, a withheld raw one as null."""
        raw = (None, None, None) if self.withheld else (self.raw.estimate, self.raw.low, self.raw.high)
        return {
            "estimate": self.shown.estimate,
            "low": self.shown.low,
            "high": self.shown.high,
            **dict(zip(("raw", "raw_low", "raw_high"), raw, strict=True)),
            "n": self.shown.n,
            "n_labels": self.n_labels,
            "method": self.method,
            "assumption": self.assumption,
            "gain": self.gain,
            "reason": self.reason,
            "withheld": self.withheld,
        }


@dataclass(frozen=True, slots=True)
class Judging:
    """What is known of a judge's errors: its certificate, and people's labels of answers of this run.

    `labels` are by metric and candidate; `known` the values of answers that need no judge, by metric, candidate, and
    example and replicate (of `replicates`); `counts` the certificate's, by metric, where its state lets them correct;
    `facts` is what a report shows of all this.
    """

    scale: Scale
    state: str
    counts: Mapping[str, Counts] = field(default_factory=dict[str, Counts])
    labels: Mapping[tuple[str, str], tuple[Label, ...]] = field(
        default_factory=dict[tuple[str, str], tuple[Label, ...]]
    )
    known: Mapping[tuple[str, str], Mapping[tuple[str, int], float]] = field(
        default_factory=dict[tuple[str, str], "Mapping[tuple[str, int], float]"]
    )
    replicates: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> Judging | None:
        """Return what the JSON of `flows.corrected` says; None without a judge."""
        if settings is None:
            return None
        certificate = settings["certificate"]
        state = certificate["state"] if certificate else ""
        return cls(
            scale=settings["scale"],
            state=state,
            counts={name: Counts(*found) for name, found in settings["counts"].items()} if state in USABLE else {},
            labels={
                (metric, candidate): tuple(Label(*one) for one in found)
                for metric, by_candidate in settings["labels"].items()
                for candidate, found in by_candidate.items()
            },
            known={
                (metric, candidate): {(example_id, replicate): value for example_id, replicate, value in found}
                for metric, by_candidate in settings.get("known", {}).items()
                for candidate, found in by_candidate.items()
            },
            replicates=settings.get("replicates", 1),
            facts={name: value for name, value in settings.items() if name not in {"labels", "counts", "known"}},
        )

    def covers(self, metric: str) -> bool:
        """Whether a judge gave this metric's values."""
        return is_judged(metric)

    def rate(
        self, matrix: ScoreMatrix, candidate: str, metric: str, raw: Interval, rows: np.ndarray | None = None
    ) -> Judged[Interval]:
        """Return a candidate's rate (or mean grade), corrected where that can be; `rows` picks the items of a slice."""
        values, clusters = _flat(matrix, candidate, metric, rows)
        known = self._known(matrix, candidate, metric)
        known = (known if rows is None else known[rows]).reshape(-1)
        judged = np.where(np.isnan(known), values, math.nan)
        labels = self._labels_of(matrix, candidate, metric, rows)
        if not np.isnan(known).all() and np.isnan(judged).all():
            return Judged(raw, raw, reason="none of these answers needed the judge")
        reason = self._why_raw(metric, len(labels))
        for source in (self._by_labels, self._by_counts):
            try:
                found = source(matrix, metric, judged, clusters, labels, raw.level)
                if found is not None:
                    if not np.isnan(known).all():
                        found = rate_with_known(found, known, judged, clusters)
                    return self._judged(_interval(raw, found), raw, found)
            except StatisticsError as error:
                reason = f"it cannot be corrected: {error}"
        return self._uncorrected(raw, reason, len(labels))

    def _by_labels(
        self, matrix: ScoreMatrix, metric: str, judged: Floats, clusters: np.ndarray | None,
        labels: tuple[Label, ...], level: float,
    ) -> Corrected | None:  # fmt: skip
        """Return the rate by labels of these answers; None with too few."""
        del metric
        if len(labels) < LEAST_LABELS:
            return None
        return corrected_rate(
            judged,
            [math.nan if one.judge is None else one.judge for one in labels],
            [one.people for one in labels],
            sampling_probability=[one.probability for one in labels],
            cluster=clusters,
            labelled_cluster=None if clusters is None else _clusters_of(matrix, labels),
            level=level,
        )

    def _by_counts(
        self, matrix: ScoreMatrix, metric: str, judged: Floats, clusters: np.ndarray | None,
        labels: tuple[Label, ...], level: float,
    ) -> Corrected | None:  # fmt: skip
        """Return the rate by the certificate's counts; None without."""
        del matrix, labels
        counts = self.counts.get(metric)
        if counts is None or self.scale != RATE:
            return None
        return rogan_gladen_from_counts(judged, *counts, cluster=clusters, level=level)

    def difference(
        self,
        matrix: ScoreMatrix,
        names: tuple[str, str],
        metric: str,
        raw: PairedDifference,
        rows: np.ndarray | None = None,
    ) -> Judged[PairedDifference]:
        """Return candidate - baseline (`names`) with the judge's error in the interval, where that can be.

        With the certificate's counts the p-value stays that of the raw difference, where all answers were judged: an
        error that both share makes no difference where there is none. Else it is that of the corrected one.
        """
        n_labels = min(len(self._labels_of(matrix, name, metric, rows)) for name in names)
        try:
            found = self.corrected_difference(matrix, names, metric, rows, raw.level)
            narrow = self.corrected_difference(matrix, names, metric, rows, 2 * raw.level - 1)
        except StatisticsError as error:
            return self._uncorrected(raw, f"it cannot be corrected: {error}", n_labels)
        if found is None or narrow is None:
            return self._uncorrected(raw, self._why_raw(metric, n_labels, of_two=True), n_labels)
        shared = found.method == COMMON_ERROR and not self._some_known(matrix, names, metric, rows)
        shown = replace(
            _interval(raw, found),
            lower_bound=narrow.low,
            upper_bound=narrow.high,
            p_value=found.p_value,
            p_method=raw.p_method if shared else "corrected",
            # What the labels add to the spread does not shrink with more items.
            sd_difference=raw.sd_difference * _stretch(raw, found) if shared else math.nan,
        )
        return self._judged(shown, raw, found)

    def corrected_difference(
        self, matrix: ScoreMatrix, names: tuple[str, str], metric: str, rows: np.ndarray | None, level: float
    ) -> CorrectedDifference | None:
        """Return candidate - baseline corrected at one level; None where nothing corrects it.

        Raises: StatisticsError where no interval can be given.
        """
        if self.scale != RATE:
            return None
        picked = slice(None) if rows is None else rows
        clusters = matrix.items.clusters[picked] if matrix.items.clustered else None
        labels = [self._labels_of(matrix, name, metric, rows) for name in names]
        known = [self._known(matrix, name, metric)[picked] for name in names]
        single = self.replicates == 1 and all(matrix.rows(name, metric).shape[1] == 1 for name in names)
        ours, theirs = (matrix.means(name, metric)[picked] for name in names)
        if single and min(map(len, labels)) >= LEAST_LABELS:
            ids = [matrix.items.ids[row] for row in np.arange(len(matrix.items.ids))[picked]]
            (mine, chance), (other, other_chance) = (_by_row(one, ids) for one in labels)
            return labelled_difference(
                ours, theirs, mine, other, probability_a=chance, probability_b=other_chance, known_a=known[0][:, 0],
                known_b=known[1][:, 0], cluster=clusters, level=level,
            )  # fmt: skip
        if (counts := self.counts.get(metric)) is None:
            return None
        if self._some_known(matrix, names, metric, rows):
            first, second = (self._scored(matrix, name, metric, picked) for name in names)
            return difference_with_known(first, second, counts, clusters, level)
        return corrected_difference(
            ours, theirs, counts.tp, counts.fn, counts.fp, counts.tn, cluster=clusters, level=level
        )

    def rests_on_nothing(self, metric: str) -> str:
        """Return why nothing may rest on the judge's own uncorrected figures; empty where they may count."""
        if self.state in {PROVISIONAL, REFUSED}:
            return f"its certificate is {self.state}, and nothing corrects {metric}: {self._why_raw(metric, 0)}"
        return ""

    def _known(self, matrix: ScoreMatrix, candidate: str, metric: str) -> Floats:
        """Return what is known without the judge, in the shape of the scores; NaN where it judged."""
        shape = matrix.rows(candidate, metric).shape
        found = np.full(shape, math.nan)
        values = self.known.get((metric, candidate))
        if not values:
            return found
        place = {example_id: row for row, example_id in enumerate(matrix.items.ids)}
        seen = ~np.isnan(matrix.rows(candidate, metric))
        for (example_id, replicate), value in values.items():
            row = place.get(example_id)
            if row is not None and replicate < shape[1] and seen[row, replicate]:
                found[row, replicate] = value
        return found

    def _some_known(self, matrix: ScoreMatrix, names: tuple[str, str], metric: str, rows: np.ndarray | None) -> bool:
        picked = slice(None) if rows is None else rows
        return any(bool((self._scored(matrix, name, metric, picked).judged < 1).any()) for name in names)

    def _scored(self, matrix: ScoreMatrix, candidate: str, metric: str, picked: slice | np.ndarray) -> Scored:
        """Return an item's verdicts, the share of its answers that was judged, and what is known of the others."""
        values, known = matrix.rows(candidate, metric), self._known(matrix, candidate, metric)
        seen, fixed = ~np.isnan(values), ~np.isnan(known)
        n = np.where(seen.any(axis=1), seen.sum(axis=1), math.nan)
        judged, sums = (seen & ~fixed).sum(axis=1) / n, np.where(seen & fixed, known, 0.0).sum(axis=1) / n
        if values.shape[1] == 1 < self.replicates:  # a gate's means: what is known is a part of each
            of = self.known.get((metric, candidate), {})
            place = {example_id: row for row, example_id in enumerate(matrix.items.ids)}
            share, sums = np.zeros(len(place)), np.zeros(len(place))
            for (example_id, _), value in of.items():
                if (row := place.get(example_id)) is not None:
                    share[row] += 1 / self.replicates
                    sums[row] += value / self.replicates
            judged = np.where(seen[:, 0], 1 - share, math.nan)
        return Scored((matrix.means(candidate, metric) - sums)[picked], judged[picked], sums[picked])

    def _labels_of(
        self, matrix: ScoreMatrix, candidate: str, metric: str, rows: np.ndarray | None
    ) -> tuple[Label, ...]:
        """Return the labels of a candidate's scored answers."""
        labels = self.labels.get((metric, candidate), ())
        if not labels:
            return ()
        # A label of an answer that needed no judge tells nothing of its errors.
        known = self._known(matrix, candidate, metric)
        seen = (~np.isnan(matrix.rows(candidate, metric)) & np.isnan(known)).any(axis=1)
        there = {matrix.items.ids[row] for row in np.flatnonzero(seen if rows is None else seen & rows)}
        return tuple(label for label in labels if label.example_id in there)

    def _why_raw(self, metric: str, n_labels: int, *, of_two: bool = False) -> str:
        """Return why a figure (or the difference of two) is left as the judge gave it."""
        few = f"{n_labels} labels drawn at random from these answers ({LEAST_LABELS} are needed)"
        if n_labels >= LEAST_LABELS and of_two:
            few = "labels on both correct the difference of single answers only, not of means over replicates"
        few = few if n_labels else ""
        if self.scale == PAIRWISE:
            return "verdicts on pairs have no correction"
        if self.scale == GRADES and of_two:
            return "the difference of grades without a pass mark has no correction"
        if self.scale == GRADES:
            elsewhere = "grades without a pass mark have no correction from labels of other answers"
            return (
                f"{few}, and {elsewhere}" if few else f"{elsewhere}, and none of these answers was drawn and labelled"
            )
        if self.state == REFUSED:
            why = "its certificate is refused, so its counts correct nothing"
        elif self.state:
            why = f"its certificate has no counts of {metric}"
        else:
            why = "this judge has no certificate" if n_labels else "nobody checked this judge against people"
        return f"{why}; {few}" if few else why

    def _uncorrected(self, raw: Figure, reason: str, n_labels: int) -> Judged[Figure]:
        """Return the raw figure as it is, or nothing of it where a provisional certificate withholds it."""
        hidden = self.state == PROVISIONAL
        shown = _nothing_of(raw) if hidden else raw
        return Judged(
            shown,
            raw,
            n_labels=n_labels,
            reason=reason,
            withheld=hidden,
            undecided=self.state in {PROVISIONAL, REFUSED},
        )

    def _judged(self, shown: Figure, raw: Figure, found: Corrected | CorrectedDifference) -> Judged[Figure]:
        return Judged(
            shown,
            raw,
            found.method,
            found.assumption,
            found.effective_gain,
            found.n_labels,
            withheld=self.state == PROVISIONAL,
        )


def judged_facts(
    judging: Judging,
    estimates: Sequence[Estimate],
    slices: Sequence[tuple[str, Estimate]],
    comparisons: Sequence[Comparison],
) -> dict[str, Any]:
    """Return what a report shows of judged scores: every rate and difference, raw and corrected, and by what."""
    rates = [("all", found) for found in estimates]
    return {
        **judging.facts,
        "rates": [
            {"candidate": found.candidate, "metric": found.metric, "slice": where, **found.judged.facts()}
            for where, found in [*rates, *slices]
            if found.judged is not None
        ],
        "differences": [
            {"baseline": row.baseline, "candidate": row.candidate, "metric": row.metric, "slice": row.slice}
            | row.judged.facts()
            for row in comparisons
            if row.judged is not None
        ],
    }


def _interval(raw: Figure, found: Corrected | CorrectedDifference) -> Figure:
    return replace(
        raw,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        se=found.se,
        df=found.df,
        method=found.method,
        warnings=(*raw.warnings, *found.warnings),
    )


def _nothing_of(raw: Figure) -> Figure:
    nan = math.nan
    hidden = replace(raw, estimate=nan, low=nan, high=nan, se=nan, method="withheld")
    if isinstance(hidden, PairedDifference):
        return replace(hidden, p_value=nan, sd_difference=nan, lower_bound=nan, upper_bound=nan)
    return hidden


def _stretch(raw: PairedDifference, found: CorrectedDifference) -> float:
    """Return by how much a common error shrank the difference: 1 / J."""
    return found.estimate / raw.estimate if raw.estimate else found.se / raw.se


def _by_row(labels: Sequence[Label], ids: Sequence[str]) -> tuple[Floats, Floats]:
    """Return people's label and its probability for every row; NaN and 1 where there is none."""
    place = {example_id: row for row, example_id in enumerate(ids)}
    people, chance = np.full(len(ids), math.nan), np.ones(len(ids))
    for label in labels:
        people[place[label.example_id]] = label.people
        chance[place[label.example_id]] = label.probability
    return people, chance


def _flat(
    matrix: ScoreMatrix, candidate: str, metric: str, rows: np.ndarray | None
) -> tuple[Floats, np.ndarray | None]:
    """Return every verdict of a candidate and its cluster; several answers to one item share the item's cluster."""
    if rows is None:
        return matrix.flat(candidate, metric)
    values, clusters = matrix.rows(candidate, metric)[rows], matrix.items.clusters[rows]
    if values.shape[1] == 1 and not matrix.items.clustered:
        return values[:, 0], None
    return values.reshape(-1), np.repeat(clusters, values.shape[1])


def _clusters_of(matrix: ScoreMatrix, labels: Sequence[Label]) -> list[Any]:
    known = dict(zip(matrix.items.ids, matrix.items.clusters.tolist(), strict=True))
    return [known[label.example_id] for label in labels]
