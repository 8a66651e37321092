"""Judged scores corrected for the judge's errors: which labels or counts correct what, and what is left as it is.

A rate that a judge gave is corrected from the better of two sources:

1. Labels that people gave to answers of this very run, drawn at random with known probability: post-stratified over
   the verdicts (grades: prediction-powered). Holds whatever the judge is worth.
2. The sealed counts of the judge's certificate: Rogan and Gladen. Assumes that it errs here as it did there.

The difference of two candidates under one judge is corrected likewise, its interval carrying the judge's own error.
With neither source the raw figure stays, marked. Grades without a pass mark know source 1 only, pairwise verdicts none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.judging.correction import corrected_rate, rogan_gladen_from_counts
from safetycatch.judging.difference import corrected_difference, labelled_difference
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
PROVISIONAL, USABLE = "provisional", frozenset({"certified", "provisional"})
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
    thanks to the judge (NaN: not known). `withheld`: the raw figure is not to be shown.
    """

    shown: Figure
    raw: Figure
    method: str = ""
    assumption: str = ""
    gain: float = math.nan
    n_labels: int = 0
    reason: str = ""
    withheld: bool = False

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
        }


@dataclass(frozen=True, slots=True)
class Judging:
    """What is known of a judge's errors: its certificate, and people's labels of answers of this run.

    `labels` are by metric and candidate; `counts` the certificate's, by metric, where its state lets them correct;
    `facts` is what a report shows of all this.
    """

    scale: Scale
    state: str
    counts: Mapping[str, Counts] = field(default_factory=dict[str, Counts])
    labels: Mapping[tuple[str, str], tuple[Label, ...]] = field(
        default_factory=dict[tuple[str, str], tuple[Label, ...]]
    )
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
            facts={name: value for name, value in settings.items() if name not in {"labels", "counts"}},
        )

    def covers(self, metric: str) -> bool:
        """Whether a judge gave this metric's values."""
        return is_judged(metric)

    def rate(
        self, matrix: ScoreMatrix, candidate: str, metric: str, raw: Interval, rows: np.ndarray | None = None
    ) -> Judged[Interval]:
        """Return a candidate's rate (or mean grade), corrected where that can be; `rows` picks the items of a slice."""
        values, clusters = _flat(matrix, candidate, metric, rows)
        labels = self._labels_of(matrix, candidate, metric, rows)
        counts = self.counts.get(metric)
        try:
            if len(labels) >= LEAST_LABELS:
                found = corrected_rate(
                    values,
                    [math.nan if one.judge is None else one.judge for one in labels],
                    [one.people for one in labels],
                    sampling_probability=[one.probability for one in labels],
                    cluster=clusters,
                    labelled_cluster=None if clusters is None else _clusters_of(matrix, labels),
                    level=raw.level,
                )
            elif counts is not None and self.scale == RATE:
                found = rogan_gladen_from_counts(values, *counts, cluster=clusters, level=raw.level)
            else:
                return Judged(raw, raw, n_labels=len(labels), reason=self._why_raw(len(labels)))
        except StatisticsError as error:
            return Judged(raw, raw, n_labels=len(labels), reason=f"it cannot be corrected: {error}")
        return self._judged(_interval(raw, found), raw, found)

    def difference(
        self,
        matrix: ScoreMatrix,
        names: tuple[str, str],
        metric: str,
        raw: PairedDifference,
        rows: np.ndarray | None = None,
    ) -> Judged[PairedDifference]:
        """Return candidate - baseline (`names`) with the judge's error in the interval, where that can be.

        With the certificate's counts the p-value stays that of the raw difference: an error that both share makes no
        difference where there is none. With labels on both it is that of the corrected one.
        """
        try:
            found = self.corrected_difference(matrix, names, metric, rows, raw.level)
            narrow = self.corrected_difference(matrix, names, metric, rows, 2 * raw.level - 1)
        except StatisticsError as error:
            return Judged(raw, raw, reason=f"it cannot be corrected: {error}")
        if found is None or narrow is None:
            n_labels = min(len(self._labels_of(matrix, name, metric, rows)) for name in names)
            return Judged(raw, raw, n_labels=n_labels, reason=self._why_raw(n_labels))
        shared = found.method == COMMON_ERROR
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
        ours, theirs = (matrix.means(name, metric)[picked] for name in names)
        clusters = matrix.items.clusters[picked] if matrix.items.clustered else None
        labels = [self._labels_of(matrix, name, metric, rows) for name in names]
        single = matrix.rows(names[0], metric).shape[1] == matrix.rows(names[1], metric).shape[1] == 1
        if single and min(map(len, labels)) >= LEAST_LABELS:
            ids = [matrix.items.ids[row] for row in np.arange(len(matrix.items.ids))[picked]]
            (mine, chance), (other, other_chance) = (_by_row(one, ids) for one in labels)
            return labelled_difference(
                ours, theirs, mine, other, probability_a=chance, probability_b=other_chance, cluster=clusters,
                level=level,
            )  # fmt: skip
        if (counts := self.counts.get(metric)) is None:
            return None
        return corrected_difference(
            ours, theirs, counts.tp, counts.fn, counts.fp, counts.tn, cluster=clusters, level=level
        )

    def _labels_of(
        self, matrix: ScoreMatrix, candidate: str, metric: str, rows: np.ndarray | None
    ) -> tuple[Label, ...]:
        """Return the labels of a candidate's scored answers."""
        labels = self.labels.get((metric, candidate), ())
        if not labels:
            return ()
        seen = ~np.isnan(matrix.means(candidate, metric))
        there = {matrix.items.ids[row] for row in np.flatnonzero(seen if rows is None else seen & rows)}
        return tuple(label for label in labels if label.example_id in there)

    def _why_raw(self, n_labels: int) -> str:
        """Return why a figure is left as the judge gave it."""
        few = f"{n_labels} labels drawn at random from these answers ({LEAST_LABELS} are needed)" if n_labels else ""
        if self.scale == PAIRWISE:
            return "verdicts on pairs have no correction"
        if self.scale == GRADES:
            elsewhere = "grades without a pass mark have no correction from labels of other answers"
            return (
                f"{few}, and {elsewhere}" if few else f"{elsewhere}, and none of these answers was drawn and labelled"
            )
        if self.state and self.state not in USABLE:
            why = "its certificate is refused, so its counts correct nothing"
        elif self.state:
            why = "its certificate has no counts of this"
        else:
            why = "nobody checked this judge against people"
        return f"{why}; {few}" if few else why

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
