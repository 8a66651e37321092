"""Majority and weighted votes; a tie is told, never broken by the order in which labels or voters stand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safetycatch.ensembles.ballots import Ballots, Ints, read_ballots
from safetycatch.errors import StatisticsError

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

# Sums of the same weights in another order differ in the last bits: that is still a tie.
SAME = 1e-9
TIE, NOBODY = "tie", "nobody voted"


@dataclass(frozen=True)
class Vote:
    """What the voters said, one entry an example: the `labels` that won; None with its reason in `reasons`.

    `tied` holds the labels with equally many votes (or weight), sorted, where there are several; `share` the leader's
    part of all votes or of all weight, NaN where nobody voted.
    """

    examples: tuple[str, ...]
    labels: tuple[str | None, ...]
    tied: tuple[tuple[str, ...], ...]
    reasons: tuple[str, ...]
    n_votes: Ints
    share: Floats

    @property
    def n_ties(self) -> int:
        """How many examples are tied."""
        return sum(reason == TIE for reason in self.reasons)

    @property
    def winners(self) -> dict[str, str | None]:
        """The label of each example."""
        return dict(zip(self.examples, self.labels, strict=True))


def majority_vote(labels: Any) -> Vote:
    """Return the label that most voters gave each example.

    `labels` is a frame or mapping with the columns `example_id`, `annotator`, `label` (text; None: no vote).
    Raises: StatisticsError for votes that cannot be read.
    """
    ballots = read_ballots(labels)
    return _counted(ballots, np.ones(len(ballots.label)))


def weighted_vote(labels: Any, weights: Mapping[str, float]) -> Vote:
    """Return the label with the largest sum of its voters' `weights`, among the labels that somebody gave.

    With weights of `vote_weight` it is the most probable label where voters err independently and wrong labels are
    equally likely (Nitzan & Paroush 1982, Optimal Decision Rules in Uncertain Dichotomous Choice Situations).
    Raises: StatisticsError for a voter without a finite weight.
    """
    ballots = read_ballots(labels)
    for name in ballots.annotators:
        if not math.isfinite(weights.get(name, math.nan)):
            raise StatisticsError(f"the voter {name!r} has no finite weight")
    by_annotator = np.array([weights[name] for name in ballots.annotators], dtype=float)
    return _counted(ballots, by_annotator[ballots.annotator])


def vote_weight(n_right: int, n_cast: int, n_classes: int) -> float:
    """Return log((C - 1) a / (1 - a)) of a voter who was right in `n_right` of `n_cast` votes among C classes.

    `a` is add-one smoothed, (right + 1) / (cast + C): without a vote the weight is 0, below chance it is negative.
    Raises: StatisticsError for impossible counts or fewer than 2 classes.
    """
    if n_classes < 2 or not 0 <= n_right <= n_cast:
        raise StatisticsError(f"{n_right} right of {n_cast} votes among {n_classes} classes: no weight")
    return math.log((n_classes - 1) * (n_right + 1) / (n_cast - n_right + n_classes - 1))


def _counted(ballots: Ballots, weight: Floats) -> Vote:
    """Return the outcome; sums are kept for the (example, label) pairs that occur only, since labels may be many."""
    n, n_classes = len(ballots.examples), max(1, len(ballots.classes))
    pairs, of_pair = np.unique(ballots.example * n_classes + ballots.label, return_inverse=True)
    example, label = np.divmod(pairs, n_classes)
    totals = np.bincount(of_pair, weights=weight, minlength=len(pairs))
    best = np.full(n, -np.inf)
    np.maximum.at(best, example, totals)
    leads = totals >= best[example] - SAME * np.maximum(1.0, np.abs(best[example]))
    leaders: list[list[str]] = [[] for _ in range(n)]
    for at in np.flatnonzero(leads):
        leaders[example[at]].append(ballots.classes[label[at]])
    whole = np.bincount(ballots.example, weights=np.abs(weight), minlength=n)
    share = np.divide(best, whole, out=np.full(n, np.nan), where=whole > 0)
    return Vote(
        examples=ballots.examples,
        labels=tuple(found[0] if len(found) == 1 else None for found in leaders),
        tied=tuple(tuple(sorted(found)) if len(found) > 1 else () for found in leaders),
        reasons=tuple("" if len(found) == 1 else TIE if found else NOBODY for found in leaders),
        n_votes=ballots.n_votes,
        share=share,
    )
