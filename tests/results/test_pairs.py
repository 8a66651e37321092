import math
from itertools import combinations

import numpy as np
import pytest

from safetycatch.results.comparing import Metric
from safetycatch.results.pairs import all_pairs, best
from safetycatch.stats import decide, holm, paired_difference

ACCURACY = Metric("accuracy")
COST = Metric("cost_usd", unit="usd", higher_is_better=False, rate=False)


def test_every_pair_once_and_holm_over_the_pairs(matrix, answers):
    values = answers(a=0.5, b=0.7, c=0.71)
    found = all_pairs(matrix(values), ["a", "b", "c"], ACCURACY, smallest_effect=0.03)
    assert [(pair.candidate, pair.baseline) for pair in found] == [("b", "a"), ("c", "a"), ("c", "b")]
    raw = [paired_difference(values[y], values[x]).p_value for x, y in combinations("abc", 2)]
    assert [pair.p_adjusted for pair in found] == holm(raw).tolist()
    assert [pair.verdict for pair in found] == ["BETTER", "BETTER", "INCONCLUSIVE"]


def test_the_order_of_two_turns_the_verdict(matrix, answers):
    found = matrix(answers(a=0.5, b=0.8))
    there, back = (all_pairs(found, names, ACCURACY, smallest_effect=0.03)[0] for names in ("ab", "ba"))
    assert (there.verdict, back.verdict) == ("BETTER", "WORSE")
    assert there.estimate == -back.estimate


def test_lower_may_be_better(matrix):
    rng = np.random.default_rng(1)
    cost = {(name, "cost_usd"): rng.normal(mean, 1, 200) for name, mean in (("a", 5), ("b", 3))}
    assert all_pairs(matrix(cost), ["a", "b"], COST, smallest_effect=0.5)[0].verdict == "BETTER"


def test_without_a_size_nothing_is_equivalent(matrix):
    same = np.r_[np.ones(3000), np.zeros(1000)]
    other = same.copy()
    other[:5], other[-5:] = 0, 1
    found = matrix({"a": same, "b": other})
    words = [all_pairs(found, ["a", "b"], ACCURACY, smallest_effect=size)[0].verdict for size in (0.03, None)]
    assert words == ["EQUIVALENT", "INCONCLUSIVE"]


def test_without_a_size_better_says_so():
    values = np.r_[np.ones(60), np.zeros(40)], np.r_[np.ones(20), np.zeros(80)]
    found = decide(paired_difference(*values), None)
    assert (found.kind, found.smallest_effect, found.n_to_settle) == ("BETTER", None, None)
    assert "no size was asked for" in found.sentence


@pytest.mark.parametrize("column", [[math.nan] * 40, [1.0] * 39 + [math.nan]])
def test_a_pair_without_an_interval_is_inconclusive_with_its_reason(matrix, column):
    clusters = [f"k{number % 4}" for number in range(40)]
    found = all_pairs(matrix({"a": [0, 1] * 20, "b": column}, clusters), ["a", "b"], ACCURACY, smallest_effect=0.03)
    assert (found[0].verdict, found[0].difference) == ("INCONCLUSIVE", None)
    assert "no interval" in found[0].reason
    assert math.isnan(found[0].p_adjusted)


@pytest.mark.parametrize("names", [[], ["a"]])
def test_fewer_than_two_have_no_pairs(matrix, answers, names):
    assert all_pairs(matrix(answers(a=0.5)), names, ACCURACY) == ()


def test_the_best_come_first_and_those_without_scores_never(matrix):
    found = matrix({"a": [0, 1, 1], "b": [1, 1, 1], "c": [math.nan] * 3, "d": [0, 0, 1]})
    assert best(found, "abcd", ACCURACY) == ["b", "a", "d"]
    assert best(found, "abcd", ACCURACY, most=1) == ["b"]
