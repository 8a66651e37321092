"""Dawid-Skene: confusion matrices from votes alone, deterministic, and honest about what it does not know."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetycatch.ensembles import dawid_skene, elect, majority_vote, n_unvoted
from safetycatch.errors import StatisticsError
from tests.ensembles.test_voting import frame, table, votes


def crowd(n=400, accuracies=(0.95, 0.6, 0.6, 0.6), seed=3):
    draw = random.Random(seed)
    truth = {str(number): draw.choice("abc") for number in range(n)}
    cast = {
        (item, f"v{voter}"): label if draw.random() < accuracy else draw.choice(sorted({*"abc"} - {label}))
        for item, label in truth.items()
        for voter, accuracy in enumerate(accuracies)
    }
    return truth, cast


def test_three_voters_who_agree_are_believed():
    found = dawid_skene(table("aaa", "bbb", "aab"))
    assert found.labels == ("a", "b", "a")
    assert found.converged
    assert found.confusion[2, 0, 1] > found.confusion[0, 0, 1]  # the third voter says b where a is true


def test_it_finds_who_knows_and_beats_the_majority():
    truth, cast = crowd()
    found = dawid_skene(frame(cast))
    skill = {name: found.confusion[at].diagonal().mean() for at, name in enumerate(found.annotators)}
    assert max(skill, key=skill.__getitem__) == "v0"
    assert skill["v0"] == pytest.approx(0.95, abs=0.05)
    majority = majority_vote(frame(cast)).winners
    right = {
        rule: np.mean([said[item] == label for item, label in truth.items()])
        for rule, said in (("model", found.winners), ("majority", majority))
    }
    assert right["model"] > right["majority"] + 0.1


def test_an_item_without_a_vote_has_no_label_and_no_posterior():
    found = dawid_skene(table("aaa", "---"))
    assert (found.labels[1], found.reasons[1]) == (None, "nobody voted")
    assert np.isnan(found.posterior[1]).all()


def test_two_voters_who_only_contradict_each_other_tie():
    assert dawid_skene(table("ab", "ba")).reasons == ("tie", "tie")


def test_one_class_and_one_voter_are_enough():
    found = dawid_skene(table("a", "a"))
    assert (found.labels, found.prior.tolist(), found.converged) == (("a", "a"), [1], True)


def test_too_few_rounds_are_said():
    found = dawid_skene(frame(crowd()[1]), max_rounds=1)
    assert (found.n_rounds, found.converged) == (1, False)


@pytest.mark.parametrize(
    ("cast", "options"), [({}, {}), ({("1", "v"): None}, {}), ({("1", "v"): "a"}, {"smoothing": 0})]
)
def test_nothing_to_estimate_from_is_refused(cast, options):
    with pytest.raises(StatisticsError):
        dawid_skene(frame(cast), **options)


@settings(deadline=None, max_examples=40)
@given(votes)
def test_probabilities_sum_to_one_and_reversed_votes_say_the_same(cast):
    found, other = dawid_skene(frame(cast)), dawid_skene(frame(dict(reversed(cast.items()))))
    assert found.posterior.sum(axis=1) == pytest.approx(1)
    assert found.confusion.sum(axis=2) == pytest.approx(1)
    assert found.prior.sum() == pytest.approx(1)
    for example, row in zip(found.examples, found.posterior, strict=True):
        assert row == pytest.approx(other.posterior[other.examples.index(example)], abs=1e-4)


def test_a_label_that_nobody_gave_an_example_may_be_its_most_probable_one():
    # The third says b whatever comes, and the others, where they can be read, say a.
    found = dawid_skene(table("aab", "aab", "aab", "aab", "aab", "--b"))
    assert found.winners["6"] == "a"


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=20),
    st.lists(st.sampled_from(["right", "wrong", "a", "missing", "half"]), min_size=2, max_size=5),
)
def test_bad_voters_leave_a_label_a_tie_or_nobody(truth, kinds):
    """Always right, always wrong, one label whatever comes, never there, every second time."""
    says = {
        "right": lambda _at, label: label,
        "wrong": lambda _at, label: "bca"["abc".index(label)],
        "a": lambda _at, _label: "a",
        "missing": lambda _at, _label: None,
        "half": lambda at, label: label if at % 2 else None,
    }
    ballots = [
        {f"v{number}": says[kind](at, label) for number, kind in enumerate(kinds)} for at, label in enumerate(truth)
    ]
    seen = {label for ballot in ballots for label in ballot.values()} - {None}
    found = elect(ballots, "dawid_skene")
    for ballot, decision in zip(ballots, found.decisions, strict=True):
        if set(ballot.values()) == {None}:
            assert (decision.label, decision.reason) == (None, "nobody voted")
        else:
            assert (decision.label in seen) != (decision.reason == "tie")
            assert len(decision.tied) != 1
            assert set(decision.tied) <= seen
    if found.model:
        voted = np.array([reason != "nobody voted" for reason in found.model.reasons])
        assert np.isfinite(found.model.posterior[voted]).all()
        assert np.isfinite(found.model.confusion).all()
    majority = elect(ballots, "majority")
    assert n_unvoted(majority, ballots) == 0
    assert 0 <= n_unvoted(found, ballots) <= len(truth)


def test_renamed_labels_get_the_same_posteriors():
    _, cast = crowd(60)
    to = dict(zip("abc", "cab", strict=True))
    found, other = dawid_skene(frame(cast)), dawid_skene(frame({key: to[label] for key, label in cast.items()}))
    for column, name in enumerate(found.classes):
        assert found.posterior[:, column] == pytest.approx(other.posterior[:, other.classes.index(to[name])], abs=1e-6)
