"""Decisions of an ensemble: who settles a tie, and weights that never come from the row they decide."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.ensembles import Record, best_member, elect, fold_of, ranked, settled, tie_counts, without_own_fold

BALLOTS = [{"x": "a", "y": "b", "z": "a"}, {"x": "a", "y": "b", "z": None}, {"x": None, "y": None, "z": None}]


def labels(election):
    return [decision.label for decision in election.decisions]


def test_a_majority_leaves_ties_and_empty_ballots_open():
    found = elect(BALLOTS, "majority")
    assert labels(found) == ["a", None, None]
    assert [one.reason for one in found.decisions] == ["", "tie", "nobody voted"]
    assert tie_counts(found) == {"undecided": 1}


@pytest.mark.parametrize(
    ("order", "label"), [(["y", "x"], "b"), (["z", "x"], "a"), (["x"], "a"), (["z"], None), ([], None)]
)
def test_the_first_in_order_who_voted_for_a_tied_answer_decides(order, label):
    found = settled(elect(BALLOTS, "majority"), BALLOTS, [order] * 3, "vote of {}".format)
    assert labels(found) == ["a", label, None]
    assert tie_counts(found) == {
        f"vote of {next(name for name in order if BALLOTS[1][name] == label)}" if label else "undecided": 1
    }


def test_each_ballot_is_counted_with_its_own_weights():
    heavy, light = {"x": 1, "y": 3, "z": 1}, {"x": 1, "y": 1, "z": 1}
    assert labels(elect(BALLOTS[:2], "weighted", [light, heavy], [1, 0])) == ["b", None]


def test_dawid_skene_without_any_vote_is_nobodys():
    found = elect(BALLOTS[2:], "dawid_skene")
    assert (labels(found), found.model) == ([None], None)


def test_records_add_up_and_an_unanswered_member_is_nobodys_best():
    assert Record(1, 2, 3) + Record(1, 1, 1) == Record(2, 3, 4)
    assert math.isnan(Record().accuracy)
    assert best_member({"x": Record()}) is None
    assert best_member({"x": Record(5, 9, 10), "y": Record(6, 7, 10), "z": Record()}) == "y"
    assert ranked({"x": Record(9, 10, 10), "y": Record(3, 3, 10), "z": Record()}) == ["x", "y", "z"]
    assert ranked({"b": Record(1, 2, 2), "a": Record(1, 2, 2)}) == ["a", "b"]
    assert Record().weight(3) == 0


def test_a_fold_never_informs_itself():
    folds = [{"x": Record(1, 1, 1)}, {"x": Record(2, 3, 3)}, {"x": Record(0, 5, 5)}]
    assert [one["x"] for one in without_own_fold(folds)] == [Record(2, 8, 8), Record(1, 6, 6), Record(3, 4, 4)]


@given(st.sets(st.text(min_size=1), min_size=2, max_size=120), st.integers(0, 9))
def test_folds_hold_whole_clusters_and_are_equally_large(clusters, seed):
    found = fold_of([*clusters, *clusters], seed)
    sizes = [list(found.values()).count(fold) for fold in set(found.values())]
    assert len(sizes) == (5 if len(clusters) >= 50 else 2)
    assert max(sizes) - min(sizes) <= 1
    assert found == fold_of(sorted(clusters), seed)
