"""One ensemble's decisions: the rule applied to the members' votes, and ties settled by who was named for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safetycatch.ensembles.dawid_skene import dawid_skene
from safetycatch.ensembles.voting import NOBODY, TIE, majority_vote, weighted_vote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safetycatch.ensembles.dawid_skene import DawidSkene
    from safetycatch.ensembles.voting import Vote

Ballot = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the members of one row came to: the `label`, or None with its `reason`.

    `tied` holds the answers between which a tie was (or is) to be settled, `by` who settled it.
    """

    label: str | None
    tied: tuple[str, ...] = ()
    reason: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Election:
    """The decisions in the order of the ballots; `model` is what Dawid-Skene found, where that is the rule."""

    decisions: tuple[Decision, ...]
    model: DawidSkene | None = None


def elect(
    ballots: Sequence[Ballot], rule: str, weights: Sequence[Mapping[str, float]] = (), folds: Sequence[int] = ()
) -> Election:
    """Return the decision on each ballot, a mapping of members to their votes (None: no vote).

    Under rule `weighted`, `weights` holds the members' weights for each fold and `folds` the fold of each ballot. Any
    other rule but `dawid_skene` counts votes. Ties stay ties: `settled` decides them.
    """
    if rule == "weighted":
        decisions: list[Decision] = [Decision(None)] * len(ballots)
        for fold, own in enumerate(weights):
            rows = [at for at, its in enumerate(folds) if its == fold]
            found = weighted_vote(_frame([ballots[at] for at in rows]), own)
            for at, decision in zip(rows, _decisions(found), strict=True):
                decisions[at] = decision
        return Election(tuple(decisions))
    frame = _frame(ballots)
    if rule == "dawid_skene" and any(label is not None for label in frame["label"]):
        model = dawid_skene(frame)
        return Election(_decisions(model), model)
    return Election(_decisions(majority_vote(frame)))


def _frame(ballots: Sequence[Ballot]) -> dict[str, list[str | None]]:
    cast = [(str(at), name, label) for at, ballot in enumerate(ballots) for name, label in ballot.items()]
    examples, annotators, labels = zip(*cast, strict=True) if cast else ((), (), ())
    return {"example_id": list(examples), "annotator": list(annotators), "label": list(labels)}


def _decisions(found: Vote | DawidSkene) -> tuple[Decision, ...]:
    return tuple(
        Decision(label, tied, reason)
        for label, tied, reason in zip(found.labels, found.tied, found.reasons, strict=True)
    )


def settled(
    election: Election, ballots: Sequence[Ballot], orders: Sequence[Sequence[str]], word: Callable[[str], str]
) -> Election:
    """Return the election with each tie decided by the first member of its order whose vote is among the tied.

    `orders` holds the members who may decide each ballot, best first; `word` says in the result how a member came to
    decide. Where none of them voted for a tied answer, the tie stays.
    """
    decisions = list(election.decisions)
    for at, (decision, ballot, order) in enumerate(zip(decisions, ballots, orders, strict=True)):
        if decision.reason != TIE:
            continue
        decider = next((name for name in order if ballot.get(name) in decision.tied), None)
        if decider is not None:
            decisions[at] = replace(decision, label=ballot[decider], reason="", by=word(decider))
    return replace(election, decisions=tuple(decisions))


def tie_counts(election: Election) -> dict[str, int]:
    """Return how many ties each way of settling decided; those left open under `undecided`."""
    counts = Counter(one.by or "undecided" for one in election.decisions if one.tied)
    return dict(sorted(counts.items()))


def n_unvoted(election: Election, ballots: Sequence[Ballot]) -> int:
    """Return on how many rows the decision is a label that nobody gave the row, as only Dawid-Skene can decide."""
    return sum(
        one.label is not None and one.label not in ballot.values()
        for one, ballot in zip(election.decisions, ballots, strict=True)
    )


def n_nobody(election: Election) -> int:
    """Return on how many rows nobody's vote could be read."""
    return sum(one.reason == NOBODY for one in election.decisions)
