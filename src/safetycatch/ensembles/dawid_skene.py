"""Dawid-Skene: each voter's confusion matrix and each example's label, from the votes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from safetycatch.ensembles.ballots import Ballots, read_ballots
from safetycatch.ensembles.voting import NOBODY, SAME, TIE, Floats
from safetycatch.errors import StatisticsError

MAX_ROUNDS = 1_000
TOLERANCE = 1e-7  # of posteriors, between rounds
SMOOTHING = 0.01  # votes added to each cell, so that what a voter never said stays possible


@dataclass(frozen=True)
class DawidSkene:
    """One entry an example: `labels` (None with its reason) and `posterior` by class, NaN where nobody voted.

    `confusion[voter, true, said]` and the class shares `prior` are probabilities; `converged` says whether the
    posteriors stood still after `n_rounds`.
    """

    examples: tuple[str, ...]
    annotators: tuple[str, ...]
    classes: tuple[str, ...]
    labels: tuple[str | None, ...]
    tied: tuple[tuple[str, ...], ...]
    reasons: tuple[str, ...]
    posterior: Floats
    prior: Floats
    confusion: Floats
    n_rounds: int
    converged: bool

    @property
    def winners(self) -> dict[str, str | None]:
        """The label of each example."""
        return dict(zip(self.examples, self.labels, strict=True))


def dawid_skene(labels: Any, *, smoothing: float = SMOOTHING, max_rounds: int = MAX_ROUNDS) -> DawidSkene:
    """Return the most probable labels by expectation-maximisation, started from the shares of the votes.

    `labels` is a frame or mapping with the columns `example_id`, `annotator`, `label` (text; None: no vote). Assumes
    voters who err independently given the true label; shared errors make voters look better than they are. A label may
    be one that nobody gave its example, where those who voted are found to confuse it with theirs. Source:
    Dawid & Skene 1979, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm.
    Raises: StatisticsError without a vote, or for smoothing that is not above 0.
    """
    if not smoothing > 0:
        raise StatisticsError(f"smoothing is {smoothing}, not above 0")
    ballots = read_ballots(labels)
    if not len(ballots.label):
        raise StatisticsError("nobody voted: there is nothing to estimate from")
    seen = ballots.n_votes > 0
    posterior = _shares(ballots)
    n_rounds, moved = 0, np.inf
    prior, confusion = _maximised(ballots, posterior, seen, smoothing)
    while n_rounds < max_rounds and moved > TOLERANCE:
        previous, posterior = posterior, _expected(ballots, prior, confusion)
        prior, confusion = _maximised(ballots, posterior, seen, smoothing)
        moved, n_rounds = float(np.abs(posterior - previous).max()), n_rounds + 1
    leaders = [
        [ballots.classes[at] for at in np.flatnonzero(row >= row.max() - SAME)] if voted else []
        for row, voted in zip(posterior, seen, strict=True)
    ]
    return DawidSkene(
        examples=ballots.examples,
        annotators=ballots.annotators,
        classes=ballots.classes,
        labels=tuple(found[0] if len(found) == 1 else None for found in leaders),
        tied=tuple(tuple(found) if len(found) > 1 else () for found in leaders),
        reasons=tuple("" if len(found) == 1 else TIE if found else NOBODY for found in leaders),
        posterior=np.where(seen[:, None], posterior, np.nan),
        prior=prior,
        confusion=confusion,
        n_rounds=n_rounds,
        converged=moved <= TOLERANCE,
    )


def _shares(ballots: Ballots) -> Floats:
    n, n_classes = len(ballots.examples), len(ballots.classes)
    counts = np.bincount(ballots.example * n_classes + ballots.label, minlength=n * n_classes).reshape(n, n_classes)
    return counts / np.maximum(1, counts.sum(axis=1, keepdims=True))


def _maximised(
    ballots: Ballots, posterior: Floats, seen: np.ndarray[Any, np.dtype[np.bool_]], smoothing: float
) -> tuple[Floats, Floats]:
    n_classes, n_voters = len(ballots.classes), len(ballots.annotators)
    cell = ballots.annotator * n_classes + ballots.label
    counts = np.stack(
        [
            np.bincount(cell, weights=posterior[ballots.example, true], minlength=n_voters * n_classes)
            for true in range(n_classes)
        ],
        axis=1,
    )
    confusion = counts.reshape(n_voters, n_classes, n_classes).transpose(0, 2, 1) + smoothing
    prior = posterior[seen].sum(axis=0) + smoothing
    return prior / prior.sum(), confusion / confusion.sum(axis=2, keepdims=True)


def _expected(ballots: Ballots, prior: Floats, confusion: Floats) -> Floats:
    said = np.log(confusion).transpose(0, 2, 1)[ballots.annotator, ballots.label]
    logs = np.stack(
        [
            np.bincount(ballots.example, weights=said[:, true], minlength=len(ballots.examples))
            for true in range(len(ballots.classes))
        ],
        axis=1,
    ) + np.log(prior)
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
