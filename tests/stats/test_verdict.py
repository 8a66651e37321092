import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import check_guardrail, decide, paired_difference


def pairs(n10, n01, n):
    same = n - n10 - n01
    return np.r_[np.ones(n10), np.zeros(n01), np.ones(same)], np.r_[np.zeros(n10), np.ones(n01), np.ones(same)]


def verdict(n10, n01, n, effect=0.03, **settings):
    return decide(paired_difference(*pairs(n10, n01, n)), effect, candidate="knn8", baseline="zero", **settings)


COST = np.random.default_rng(0).lognormal(0, 0.2, 300)
CHEAPER = check_guardrail(0.5 * COST, COST, metric="cost_usd", worse_by=0)
DEARER = check_guardrail(2 * COST, COST, metric="cost_usd", worse_by=0)
OPEN = check_guardrail(COST[:150], COST[150:], metric="cost_usd", worse_by=0)


@pytest.mark.parametrize(
    ("n10", "n01", "n", "kind", "lean"),
    [
        (80, 20, 1000, "BETTER", "candidate"),
        (20, 80, 1000, "WORSE", "baseline"),
        (20, 20, 2000, "EQUIVALENT", "neither"),
        (12, 8, 200, "INCONCLUSIVE", "candidate"),
        (8, 12, 200, "INCONCLUSIVE", "baseline"),
    ],
)
def test_the_four_kinds(n10, n01, n, kind, lean):
    found = verdict(n10, n01, n)
    assert (found.kind, found.lean) == (kind, lean)


def test_actions():
    assert verdict(80, 20, 1000).default_action == "switch to knn8"
    assert verdict(12, 8, 200).default_action == "keep zero"
    assert verdict(20, 80, 1000).default_action == "keep zero"
    assert verdict(20, 20, 2000).default_action == "keep zero, unless knn8 is preferable for another reason"


@pytest.mark.parametrize(("added", "words"), [(0.002, "keep zero, which costs less"), (-0.002, "such as cost")])
def test_cost_speaks_for_the_cheaper_of_equals_only(added, words):
    assert verdict(20, 20, 2000, added_usd=added).default_action.endswith(words)


def test_a_real_but_small_gain_is_equivalent_and_says_so():
    found = verdict(60, 20, 4000)
    assert found.p_value < 0.001
    assert found.kind == "EQUIVALENT"
    assert "really ahead, but by less than the 3 points" in found.sentence


def test_better_says_whether_the_effect_asked_for_is_shown():
    assert "whether the gain reaches the 3 points asked for is open" in verdict(60, 20, 1000).sentence
    assert "3 points asked for is shown" in verdict(120, 20, 1000).sentence


def test_the_managers_sentence():
    assert verdict(120, 20, 1000, metric="accuracy").sentence == (
        "knn8 is better than zero: accuracy +10.0 points (95 % interval +7.8 to +12.3) on 1,000 items; "
        "a gain of the 3 points asked for is shown."
    )


def test_the_statisticians_check_names_method_and_margin():
    found = verdict(12, 8, 200, n_compared=3, p_adjusted=0.9).check
    for part in ("tango", "SE", "200 pairs", "Holm over 3", "90 % interval", "±0.03", "difference +0.02, tango"):
        assert part in found


def test_inconclusive_says_what_would_settle_it():
    # discordance .1, difference .02, so sd^2 = .1 - .0004 (n/(n-1)); TOST factor (1.6449 + 1.2816)^2 = 8.5640
    found = verdict(12, 8, 200)
    assert found.n_to_settle
    assert found.n_to_settle == math.ceil(8.563847 * (0.1 - 0.0004) * 200 / 199 / 0.03**2)
    assert found.n_to_settle - (found.n_additional or 0) == 200
    assert f"About {found.n_to_settle:,} items" in found.sentence


def test_runs_turn_rows_into_items():
    a, b = (np.repeat(column, 4) for column in pairs(12, 8, 200))
    found = decide(paired_difference(a, b, np.repeat(np.arange(200), 4)), 0.03, runs=4)
    assert found.n == 200
    assert found.n_to_settle == pytest.approx(verdict(12, 8, 200).n_to_settle, rel=0.05)


def test_enough_items_but_a_truth_in_between_asks_for_more():
    found = verdict(130, 105, 2000, 0.025)
    assert found.kind == "INCONCLUSIVE"
    assert (found.n_to_settle or 0) > 2000


@given(st.integers(0, 60), st.integers(0, 60), st.integers(150, 3000), st.floats(0.005, 0.2))
def test_every_inconclusive_one_asks_for_more_than_there_is(n10, n01, n, effect):
    found = verdict(n10, n01, n, effect)
    if found.kind == "INCONCLUSIVE" and n10 + n01:
        assert (found.n_additional or 0) > 0
    else:
        assert found.n_to_settle is None


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.005, 0.2))
def test_swapping_the_sides_swaps_the_verdict(n10, n01, effect):
    swap = {"BETTER": "WORSE", "WORSE": "BETTER"}
    kind, mirrored = verdict(n10, n01, 400, effect).kind, verdict(n01, n10, 400, effect).kind
    assert mirrored == swap.get(kind, kind)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.005, 0.2))
def test_lower_is_better_mirrors(n10, n01, effect):
    swap = {"BETTER": "WORSE", "WORSE": "BETTER"}
    kind = verdict(n10, n01, 400, effect).kind
    assert verdict(n10, n01, 400, effect, higher_is_better=False).kind == swap.get(kind, kind)


def test_a_cheaper_candidate_is_better_in_its_own_unit():
    found = decide(paired_difference(0.9 * COST, COST), 0.05, metric="cost", unit="USD", higher_is_better=False)
    assert found.kind == "BETTER"
    assert found.estimate < 0
    assert "cost -0.1" in found.sentence


def test_without_a_number_of_items_there_is_no_then():
    assert "would settle it. Until then: keep zero." in verdict(12, 8, 200).sentence
    unknown = verdict(12, 8, 200, effect=None).sentence
    assert unknown.endswith("no size was asked for. Until it is settled: keep zero.")


def test_holm_can_take_a_win_away():
    alone = verdict(40, 21, 500)
    assert alone.kind == "BETTER"
    among = verdict(40, 21, 500, n_compared=4, p_adjusted=0.08)
    assert among.kind == "INCONCLUSIVE"
    assert "does not survive correction for 4 candidates" in among.sentence


def test_guardrails():
    assert verdict(80, 20, 1000, guardrails=[CHEAPER]).kind == "BETTER"
    worse = verdict(80, 20, 1000, guardrails=[CHEAPER, DEARER])
    assert worse.kind == "WORSE"
    assert worse.sentence.startswith("knn8 cannot replace zero, for a guardrail is broken: score +6.0 points")
    assert "cost_usd is worse than its guardrail allows" in worse.sentence
    undecided = verdict(80, 20, 1000, guardrails=[OPEN])
    assert undecided.kind == "INCONCLUSIVE"
    assert undecided.n_to_settle == max(1001, OPEN.n_to_settle)
    assert "not shown to keep its guardrail" in undecided.sentence


def test_an_open_guardrail_does_not_change_a_worse_or_equivalent():
    assert verdict(20, 80, 1000, guardrails=[OPEN]).kind == "WORSE"
    assert verdict(20, 20, 2000, guardrails=[OPEN]).kind == "EQUIVALENT"


def test_too_few_differences_for_any_p_value():
    found = verdict(5, 0, 2000, 0.001)
    assert found.p_value == 2.0**-4
    assert found.kind == "INCONCLUSIVE"
    assert "the exact test (p 0.062) does not" in found.sentence
    a, b = (np.repeat(column, 2) for column in pairs(5, 0, 1000))
    clustered = decide(paired_difference(a, b, np.repeat(np.arange(1000), 2)), 0.0005)
    assert (clustered.kind, clustered.p_value) == ("INCONCLUSIVE", 2.0**-4)
    assert "too few items make a difference" in clustered.sentence


def test_no_interval_is_inconclusive_with_the_reason():
    found = decide(paired_difference(np.full(40, 0.5), np.full(40, 0.4)), 0.03)
    assert found.kind == "INCONCLUSIVE"
    assert found.n_to_settle is None
    assert "on every item" in found.sentence


def test_missing_pairs_reach_the_check():
    a, b = pairs(30, 10, 400)
    a[:7] = math.nan
    found = decide(paired_difference(a, b), 0.03)
    assert found.n_missing == 7
    assert "7 of 400 pairs are missing" in found.check


@pytest.mark.parametrize(
    "bad", [{"effect": 0}, {"effect": math.nan}, {"n_compared": 3}, {"n_compared": 0}, {"runs": 0}]
)
def test_refuses(bad):
    with pytest.raises(StatisticsError):
        verdict(30, 10, 400, **bad)


def test_the_sign_flip_test_may_leave_an_interval_without_0_open():
    found = verdict(40, 21, 500, correction="max_t", p_adjusted=0.06)
    assert found.kind == "INCONCLUSIVE"
    assert "the sign-flip test (p 0.06) does not" in found.sentence
    assert "max-T over 1 candidate: p 0.06" in found.check


def test_items_beyond_reach_are_no_number_to_aim_at():
    found = verdict(11, 10, 100, effect=0.001)
    assert (found.n_to_settle or 0) > 100 * 100
    assert "More than 100 times as many items" in found.sentence
