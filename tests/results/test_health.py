import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.results.health import flips, item_health
from safetycatch.stats import luck_of_best

# items:      0  1  2  3  4  5
BASE = [1, 1, 0, 0, 1, 0]
A = [1, 0, 1, 0, 1, math.nan]
B = [1, 1, 1, 0, 0, 1]


def test_flips_by_hand(matrix):
    found = flips(matrix({"base": BASE, "a": A}), "a", "base", "accuracy")
    assert (found.fixed, found.broken) == (("e2",), ("e1",))


def test_flips_where_lower_is_better(matrix):
    found = flips(matrix({"base": BASE, "a": A}), "a", "base", "accuracy", higher_is_better=False)
    assert (found.fixed, found.broken) == (("e1",), ("e2",))


def test_replicates_flip_by_their_majority(matrix):
    found = flips(matrix({"base": [[0, 0, 1], [1, 1, 0]], "a": [[1, 1, 0], [1, 1, 1]]}), "a", "base", "accuracy")
    assert (found.fixed, found.broken) == (("e0",), ())


def test_health_by_hand(matrix):
    """Over the five items that all answered: item 0 is solved by all, item 3 by none."""
    found = item_health(matrix({"base": BASE, "a": A, "b": B}), ["base", "a", "b"], "accuracy", k_history=1)
    assert (found.n, found.solved_by_all, found.solved_by_none, found.discordant, found.k) == (5, 1, 1, 3, 3)
    assert found.luck == pytest.approx(luck_of_best(3, 5, 0.6) - 0.6)


def test_health_where_lower_is_better(matrix):
    found = item_health(matrix({"a": [1, 1, 0]}), ["a"], "accuracy", 1, higher_is_better=False)
    assert (found.solved_by_all, found.solved_by_none) == (1, 2)


def test_luck_counts_what_was_ever_scored(matrix):
    scored = matrix({"base": BASE, "b": B})
    few, many = (item_health(scored, ["base", "b"], "accuracy", k).luck for k in (2, 50))
    assert few is not None
    assert many is not None
    assert 0 < few < many < 1 - 7 / 12


@pytest.mark.parametrize("values", [{"a": [1, 1], "b": [1, 1]}, {"a": [math.nan], "b": [1]}, {"a": [1, 0]}])
def test_luck_is_unknown_for_one_candidate_no_item_or_no_noise(matrix, values):
    assert item_health(matrix(values), list(values), "accuracy", 1).luck is None


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, math.nan]), min_size=3, max_size=3), min_size=1, max_size=12))
def test_items_are_solved_by_all_none_or_some(matrix, rows):
    columns = dict(zip("abc", map(list, zip(*rows, strict=True)), strict=True))
    found = item_health(matrix(columns), list("abc"), "accuracy", 1)
    assert found.solved_by_all + found.solved_by_none + found.discordant == found.n
    assert found.n == sum(not any(map(math.isnan, row)) for row in rows)
    swapped, kept = (flips(matrix(columns), *pair, "accuracy") for pair in (("a", "b"), ("b", "a")))
    assert (swapped.fixed, swapped.broken) == (kept.broken, kept.fixed)
