"""The gate's decision on plain arrays."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.results.comparing import Metric
from safetycatch.results.gate import decide_gate
from safetycatch.stats import noninferiority

ACCURACY = Metric("accuracy")
COST = Metric("cost_usd", "usd", higher_is_better=False, rate=False)
ORDER = {"failed": 0, "inconclusive": 1, "passed": 2}


def gate(ours, theirs, margin=0.05, metric=ACCURACY, **more):
    named = {"candidate": "b", "against": "a", **more}
    return decide_gate(np.array(ours, dtype=float), np.array(theirs, dtype=float), metric, margin, **named)


def rail(status, *, p_value=0.001, p_violated=0.999):
    return {"metric": "cost_usd", "status": status, "p_value": p_value, "p_violated": p_violated, "reason": "as seen"}


def pairs(better=0, worse=0, n=200):
    """Scores of n items of which the candidate fixes some and breaks some."""
    ours, theirs = np.ones(n), np.ones(n)
    theirs[:better] = 0
    ours[better : better + worse] = 0
    return ours, theirs


def test_the_bound_is_that_of_the_noninferiority_test():
    ours, theirs = pairs(better=30, worse=12)
    found = gate(ours, theirs)
    assert (found.status, found.estimate, found.level) == ("passed", pytest.approx(0.09), 0.95)
    assert found.bound == noninferiority(ours, theirs, 0.05).bound
    assert (found.n, found.n_clusters, found.n_missing) == (200, 200, 0)


@pytest.mark.parametrize(("worse", "status"), [(1, "passed"), (10, "inconclusive"), (40, "failed")])
def test_three_endings(worse, status):
    assert gate(*pairs(worse=worse)).status == status


def test_lower_is_better_for_costs():
    draw = np.random.default_rng(1)
    cheap = draw.uniform(1, 2, 60)
    assert gate(cheap - 0.5, cheap + draw.normal(0, 0.1, 60), 0.1, COST).status == "passed"
    assert gate(cheap + 0.5, cheap + draw.normal(0, 0.1, 60), 0.1, COST).status == "failed"


@pytest.mark.parametrize(
    ("guardrail", "status"),
    [
        (rail("passed"), "passed"),
        (rail("undecided", p_value=0.4), "inconclusive"),
        (rail("violated", p_value=1.0, p_violated=0.001), "failed"),
        (rail("passed", p_value=None, p_violated=None), "passed"),
        (rail("violated", p_value=None, p_violated=None), "failed"),
        (rail("undecided", p_value=None, p_violated=None), "inconclusive"),
    ],
)
def test_a_guardrail_must_be_kept(guardrail, status):
    found = gate(*pairs(better=20), guardrails=[guardrail])
    assert found.status == status
    assert ("cost_usd" in found.sentence) == (status != "passed")


def test_the_best_of_several_needs_more_of_metric_and_guardrails():
    ours, theirs = pairs(better=6, worse=9)
    assert gate(ours, theirs).status == "passed"
    found = gate(ours, theirs, picked=8)
    assert (found.status, found.level) == ("inconclusive", 1 - 0.05 / 8)
    assert gate(*pairs(better=20), guardrails=[rail("passed", p_value=0.03)], picked=2).status == "inconclusive"


def test_of_several_guardrails_one_broken_by_luck_alone_does_not_fail():
    lucky = [rail("violated", p_value=0.99, p_violated=0.03)] + [rail("passed")] * 3
    assert gate(*pairs(better=20), guardrails=lucky).status == "inconclusive"


@pytest.mark.parametrize(("lost", "status"), [(4, "passed"), (5, "inconclusive")])
def test_the_share_that_may_be_missing_is_the_catch_s(lost, status):
    ours, theirs = pairs(better=40)
    ours[-lost:] = math.nan
    assert gate(ours, theirs, 0.1).status == status


def test_missing_rows_neither_pass_nor_fail():
    ours, theirs = pairs(worse=80)
    ours[-60:] = math.nan
    found = gate(ours, theirs)
    assert (found.status, found.n_missing) == ("inconclusive", 60)
    assert "run the same command again" in found.sentence


def test_the_same_requests_with_the_same_scores_are_no_matter_of_statistics():
    same = [1.0, 0.0] * 10
    assert gate(same, same, 0.001).status == "inconclusive"
    found = gate(same, same, 0.001, same_system=True)
    assert (found.status, found.unchanged) == ("passed", True)
    assert math.isnan(found.bound)
    assert gate([*same, 0.0], [*same, 1.0], 0.001, same_system=True).status == "inconclusive"


@pytest.mark.parametrize(
    ("ours", "theirs", "more"),
    [
        ([], [], {}),
        ([1.0], [1.0], {}),
        ([math.nan] * 40, [1.0] * 40, {}),
        ([1.0] * 40, [1.0, 0.0] * 20, {"clusters": np.array([0] * 40)}),
        ([1.0] * 40, [1.0, 0.0] * 20, {"clusters": np.arange(40) % 4}),
    ],
    ids=["empty", "one item", "all missing", "one cluster", "four clusters"],
)
def test_where_nothing_can_be_tested_the_gate_is_inconclusive(ours, theirs, more):
    found = gate(ours, theirs, **more)
    assert found.status == "inconclusive"
    assert math.isnan(found.bound)
    assert "bound" in found.sentence or "no score" in found.sentence


def test_a_difference_that_is_the_same_everywhere_is_decided_by_its_value():
    costs = np.linspace(1, 2, 40)
    assert gate(costs + 0.25, costs, 0.5, COST).status == "passed"
    assert gate(costs + 0.75, costs, 0.5, COST).status == "failed"
    assert "decided by its value" in gate(costs + 0.25, costs, 0.5, COST).sentence


@pytest.mark.parametrize("clusters", [None, np.arange(100) // 2])
@pytest.mark.parametrize("metric", [ACCURACY, Metric("fields", rate=False), Metric("judge", "score", rate=False)])
def test_both_wrong_everywhere_does_not_pass_a_margin_of_nothing(metric, clusters):
    wrong, right = (gate([value] * 100, [value] * 100, 0.0, metric, clusters=clusters) for value in (0, 1))
    assert (wrong.status, right.status) == ("inconclusive", "inconclusive")
    assert gate([0.5] * 100, [0.5] * 100, 0.0, Metric("judge", "score", rate=False)).status == "inconclusive"


def test_equal_prices_pass_a_margin_of_nothing():
    assert gate([0.0] * 100, [0.0] * 100, 0.0, COST).status == "passed"


@pytest.mark.parametrize(("unreadable", "name"), [((0.95, 0.0), "b"), ((0.0, 1.0), "a")])
def test_replies_that_nobody_could_read_are_no_evidence(unreadable, name):
    for scores in (pairs(better=30), pairs(worse=90)):
        found = gate(*scores, unreadable=unreadable)
        assert found.status == "inconclusive"
        assert f"of the replies of {name} could not be read" in found.sentence
    assert gate(*pairs(better=30), unreadable=(0.9, 0.5)).status == "passed"


def test_a_margin_that_is_none_is_told():
    assert gate([1.0, 0.0] * 20, [1.0] * 40, math.nan).status == "inconclusive"


scores = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=5, max_size=60)


@given(scores, st.floats(0, 0.5), st.floats(0, 0.5), st.randoms())
def test_a_wider_margin_or_another_order_never_makes_it_worse(pair, first, second, random):
    narrow, wide = sorted((first, second))
    ours, theirs = zip(*pair, strict=True)
    ending = gate(ours, theirs, narrow).status
    assert ORDER[gate(ours, theirs, wide).status] >= ORDER[ending]
    ours, theirs = zip(*random.sample(pair, len(pair)), strict=True)
    assert gate(ours, theirs, narrow).status == ending


@given(scores, st.floats(0, 0.3), st.integers(2, 20))
def test_a_correction_or_a_lost_row_never_turns_another_ending_into_a_pass(pair, margin, picked):
    ours, theirs = (np.array(column) for column in zip(*pair, strict=True))
    if gate(ours, theirs, margin).status != "passed":
        assert gate(ours, theirs, margin, picked=picked).status != "passed"
        won = np.flatnonzero(ours > theirs)
        ours[won[:1]] = math.nan
        assert gate(ours, theirs, margin, most_missing=1.0).status != "passed"
