"""Majority and weighted votes: known answers, ties that are told, and what order must not change."""

import math
import time
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.ensembles import dawid_skene, majority_vote, vote_weight, weighted_vote
from safetycatch.errors import StatisticsError

CROWD = Path(__file__).parents[2] / "../shared/data/crowd_labels"
# Card of the data: majority with a tie counted as its chance to be right, and Dawid-Skene.
CARD = {
    "rte": (0.8969, 0.9275),
    "bluebird": (0.7593, 0.8981),
    "dog": (0.8222, 0.8426),
    "sentiment_sp": (0.8859, 0.9148),
}
votes = st.dictionaries(
    st.tuples(st.sampled_from("1234"), st.sampled_from("uvwx")), st.sampled_from("abc"), min_size=1, max_size=16
)


def frame(cast):
    rows = [(*key, label) for key, label in cast.items()]
    return pd.DataFrame(rows, columns=["example_id", "annotator", "label"])


def table(*items):
    """One string of labels an item, a letter a voter; '-' is no vote."""
    return frame(
        {
            (str(number), f"v{voter}"): None if label == "-" else label
            for number, item in enumerate(items, 1)
            for voter, label in enumerate(item)
        }
    )


@pytest.mark.parametrize(
    ("item", "winner", "tied", "reason"),
    [
        ("aab", "a", (), ""),
        ("ab", None, ("a", "b"), "tie"),
        ("bca", None, ("a", "b", "c"), "tie"),
        ("b--", "b", (), ""),
        ("---", None, (), "nobody voted"),
    ],
)
def test_an_item_is_won_tied_or_nobodys(item, winner, tied, reason):
    found = majority_vote(table(item))
    assert (found.labels, found.tied, found.reasons) == ((winner,), (tied,), (reason,))


def test_three_items_by_hand():
    found = majority_vote(table("aab", "bb-", "abc"))
    assert found.winners == {"1": "a", "2": "b", "3": None}
    assert found.n_votes.tolist() == [3, 2, 3]
    assert found.share.tolist() == pytest.approx([2 / 3, 1, 1 / 3])
    assert found.n_ties == 1


@pytest.mark.parametrize(("k", "right"), [(1, 0.7), (3, 0.784), (5, 0.837), (9, 0.901)])
def test_independent_voters_who_are_right_in_70_percent(k, right):
    patterns = ["".join(item) for item in product("rw", repeat=k)]
    found = majority_vote(table(*patterns))
    chance = [0.7 ** item.count("r") * 0.3 ** item.count("w") for item in patterns]
    assert sum(p for p, label in zip(chance, found.labels, strict=True) if label == "r") == pytest.approx(
        right, abs=5e-4
    )


@given(votes)
def test_the_winner_has_more_votes_than_anybody_and_a_tie_is_named(cast):
    found = majority_vote(frame(cast))
    for example, label, tied in zip(found.examples, found.labels, found.tied, strict=True):
        counts = Counter(given for (name, _), given in cast.items() if name == example).most_common()
        top = sorted(name for name, count in counts if count == counts[0][1])
        assert (label, list(tied)) == ((top[0], []) if len(top) == 1 else (None, top))


@given(votes, st.permutations("abc"), st.randoms(use_true_random=False))
def test_neither_names_nor_order_decide(cast, renamed, draw):
    to = dict(zip("abc", renamed, strict=True))
    rows = list(cast.items())
    draw.shuffle(rows)
    weights = {"u": 0.3, "v": 0.1, "w": 0.2, "x": 0.1}
    for vote in (majority_vote, lambda votes: weighted_vote(votes, weights)):
        first, second = vote(frame(cast)), vote(frame({key: to[label] for key, label in rows}))
        assert second.winners == {example: label and to[label] for example, label in first.winners.items()}
        assert dict(zip(second.examples, second.tied, strict=True)) == {
            example: tuple(sorted(to[label] for label in tied))
            for example, tied in zip(first.examples, first.tied, strict=True)
        }


@given(votes)
def test_equal_weights_are_a_majority(cast):
    found, same = weighted_vote(frame(cast), dict.fromkeys("uvwx", 0.7)), majority_vote(frame(cast))
    assert (found.labels, found.tied) == (same.labels, same.tied)


def test_sums_that_differ_in_the_last_bit_are_a_tie():
    assert 0.1 + 0.2 != 0.3
    assert weighted_vote(table("aab"), {"v0": 0.1, "v1": 0.2, "v2": 0.3}).tied == (("a", "b"),)


def test_one_good_voter_outweighs_two_poor_ones():
    assert weighted_vote(table("abb"), {"v0": 2.2, "v1": 0.4, "v2": 0.4}).labels == ("a",)


def test_a_voter_worse_than_chance_speaks_against_its_label():
    assert weighted_vote(table("ab"), {"v0": -1.0, "v1": 0.1}).labels == ("b",)


def test_weights_are_log_odds_against_chance_smoothed_by_one():
    assert vote_weight(89, 98, 2) == pytest.approx(math.log(9))
    assert vote_weight(0, 0, 5) == 0
    assert vote_weight(10, 100, 2) < 0 < vote_weight(30, 100, 5)
    assert math.isfinite(vote_weight(100, 100, 2))


@pytest.mark.parametrize("counts", [(1, 0, 2), (-1, 3, 2), (0, 0, 1)])
def test_a_weight_of_impossible_counts_is_refused(counts):
    with pytest.raises(StatisticsError, match="no weight"):
        vote_weight(*counts)


@pytest.mark.parametrize("weights", [{}, {"v0": math.nan}, {"v0": math.inf}])
def test_a_voter_without_a_weight_is_refused(weights):
    with pytest.raises(StatisticsError, match="'v0' has no finite weight"):
        weighted_vote(table("a"), weights)


def test_no_votes_at_all_is_an_empty_outcome():
    assert majority_vote({"example_id": [], "annotator": [], "label": []}).labels == ()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"example_id": ["1"], "annotator": ["v"]}, "no column 'label'"),
        ({"example_id": ["1"], "annotator": ["v"], "label": [3]}, "is a int"),
        ({"example_id": ["1", "1"], "annotator": ["v", "v"], "label": ["a", "b"]}, "two votes of 'v' on '1'"),
        ({"example_id": ["1", "1"], "annotator": ["v"], "label": ["a"]}, "different length"),
    ],
)
def test_votes_that_cannot_be_read_are_refused(columns, says):
    with pytest.raises(StatisticsError, match=says):
        majority_vote(columns)


def test_a_missing_vote_may_be_nan_as_pandas_writes_it():
    votes = pd.DataFrame({"example_id": ["1", "1"], "annotator": ["u", "v"], "label": ["a", np.nan]})
    assert majority_vote(votes).labels == ("a",)


@pytest.mark.skipif(not CROWD.is_dir(), reason="no crowd_labels in ../shared/data")
@pytest.mark.parametrize("name", CARD)
def test_crowd_labels_reach_the_cards_figures(name):
    labels, gold = (pd.read_parquet(CROWD / f"{kind}.parquet") for kind in ("labels", "gold"))
    labels, gold = labels[labels.dataset == name], gold[gold.dataset == name]
    truth = dict(zip(gold.item_id, gold.gold, strict=True))
    cast = labels.rename(columns={"item_id": "example_id", "worker_id": "annotator"})
    began = time.process_time()
    vote, model = majority_vote(cast), dawid_skene(cast)
    assert time.process_time() - began < 5
    right = [
        (truth[example] in tied) / len(tied) if tied else label == truth[example]
        for example, label, tied in zip(vote.examples, vote.labels, vote.tied, strict=True)
    ]
    majority, estimated = CARD[name]
    assert np.mean(right) == pytest.approx(majority, abs=0.01)
    assert np.mean([model.winners[item] == truth[item] for item in truth]) == pytest.approx(estimated, abs=0.01)
    assert model.converged
