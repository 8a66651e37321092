"""Error correlation and what it makes of k voters; how early self-consistency may stop."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.ensembles import effective_voters, error_correlation, samples_to_ask
from safetycatch.errors import StatisticsError

nan = math.nan


@pytest.mark.parametrize(("k", "rho", "worth"), [(5, 0.6, 1.47), (9, 0.3, 2.65), (4, 0, 4), (7, 1, 1)])
def test_effective_voters(k, rho, worth):
    assert effective_voters(k, rho) == pytest.approx(worth, abs=5e-3)


def test_effective_voters_of_an_unknown_correlation_are_unknown():
    assert math.isnan(effective_voters(3, nan))


@pytest.mark.parametrize(("k", "rho"), [(0, 0.1), (3, -0.5), (2, 1.1)])
def test_a_correlation_that_k_voters_cannot_share_is_refused(k, rho):
    with pytest.raises(StatisticsError):
        effective_voters(k, rho)


def test_phi_by_hand():
    # 2 both wrong, 1 only the first, 1 only the second, 4 both right: (2*4 - 1*1) / sqrt(3*5*3*5).
    wrong = np.array([[1, 1], [1, 1], [1, 0], [0, 1], *[[0, 0]] * 4], dtype=float)
    found = error_correlation(wrong)
    assert found.mean == pytest.approx(7 / 15)
    assert found.n_pairs == 1


def test_members_with_the_same_errors_correlate_fully():
    wrong = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=float)
    assert error_correlation(wrong).phi[0].tolist() == pytest.approx([nan, 1, -1], nan_ok=True)


def test_items_that_one_of_a_pair_did_not_answer_are_left_out_of_it():
    both = np.array([[1, 1], [0, 0], [1, 0], [0, 1], [0, 0]], dtype=float)
    more = np.vstack([both, [[1, nan], [nan, 0]]])
    assert error_correlation(more).mean == error_correlation(both).mean


@pytest.mark.parametrize("wrong", [np.zeros((4, 2)), np.full((4, 2), nan), np.empty((0, 3))])
def test_without_right_and_wrong_answers_it_is_unknown_with_a_reason(wrong):
    found = error_correlation(wrong)
    assert math.isnan(found.mean)
    assert found.reason


@pytest.mark.parametrize("wrong", [np.zeros((4, 1)), np.full((4, 2), 0.5), np.zeros(4)])
def test_other_shapes_and_values_are_refused(wrong):
    with pytest.raises(StatisticsError):
        error_correlation(wrong)


def test_as_few_samples_as_could_decide():
    assert samples_to_ask({}, 0, 5) == 3
    assert samples_to_ask({"a": 1}, 1, 5) == 2
    assert samples_to_ask({"a": 3}, 3, 5) == 0
    assert samples_to_ask({"a": 2, "b": 1}, 3, 5) == 1
    assert samples_to_ask({"a": 2, "b": 2}, 4, 4) == 0  # a tie, and nothing left
    assert samples_to_ask({"a": 2}, 2, 4) == 1  # two more for another would tie


@pytest.mark.parametrize(("counts", "asked", "most"), [({"a": 1}, 6, 5), ({"a": 2}, 1, 5)])
def test_impossible_counts_are_refused(counts, asked, most):
    with pytest.raises(StatisticsError):
        samples_to_ask(counts, asked, most)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=12))
def test_stopping_early_gives_what_all_samples_give(samples):
    asked = 0
    while more := samples_to_ask(Counter(filter(None, samples[:asked])), asked, len(samples)):
        asked += more
    assert leaders(samples[:asked]) == leaders(samples)


def leaders(samples):
    counts = Counter(filter(None, samples))
    return {name for name, count in counts.items() if count == max(counts.values())}
