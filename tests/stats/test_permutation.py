import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import holm, max_t, mcnemar, sign_flip

RIGHT = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60)


def by_hand(sums):
    """The share of all sign changes whose absolute sum is at least the observed one."""
    totals = np.array([abs(np.dot(sums, signs)) for signs in itertools.product([1, -1], repeat=len(sums))])
    return np.mean(totals >= abs(sum(sums)) - 1e-9)


@given(st.data())
def test_right_and_wrong_without_clusters_is_exact_mcnemar(data):
    a = data.draw(RIGHT)
    b = data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(a), max_size=len(a)))
    found = sign_flip(np.subtract(a, b), seed=1)
    assert found.method == "exact"
    assert found.p_value == pytest.approx(mcnemar(a, b).p_value, rel=1e-9)


@pytest.mark.parametrize(("n10", "n01"), [(42, 25), (1981, 573), (3000, 3000), (5, 0)])
def test_mcnemar_with_many_pairs(n10, n01):
    differences = np.r_[np.ones(n10), -np.ones(n01), np.zeros(50)]
    found = sign_flip(differences, seed=1).p_value
    assert found == pytest.approx(mcnemar(differences > 0, differences < 0).p_value, rel=1e-8)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_whole_numbered_clusters_by_enumeration(sums):
    assert sign_flip(sums, seed=1).p_value == pytest.approx(by_hand(sums), rel=1e-9)


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=9))
def test_other_clusters_by_enumeration(sums):
    sums = [round(one, 3) for one in sums]
    found = sign_flip(sums, seed=1)
    assert (found.method, found.p_value) == ("exact", pytest.approx(by_hand(sums)))


def test_clusters_change_their_sign_as_one():
    differences, cluster = [1, 1, 0, -1, 1, 1, 1, -1], list("aabbccdd")  # sums 2, -1, 2, 0
    found = sign_flip(differences, cluster, seed=1)
    assert found.p_value == by_hand([2, -1, 2])
    assert (found.n, found.n_clusters, found.n_flipped) == (8, 4, 3)


def test_monte_carlo_agrees_with_the_exact_distribution():
    rng = np.random.default_rng(0)
    sums = rng.integers(-3, 5, 60)
    exact, drawn = sign_flip(sums, seed=1), sign_flip(sums * math.pi, n_resamples=20_000, seed=1)
    assert (exact.method, drawn.method, drawn.n_resamples) == ("exact", "monte_carlo", 20_000)
    assert drawn.p_value == pytest.approx(exact.p_value, abs=3 * math.sqrt(exact.p_value / 20_000))


def test_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    gains = np.random.default_rng(2).normal(0.2, 1, 11)
    oracle = stats.permutation_test((gains,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(gains, seed=1).p_value == pytest.approx(oracle.pvalue, rel=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=14, max_size=40), st.randoms(use_true_random=False))
def test_sides_order_and_names_do_not_matter(gains, shuffle):
    gains = np.round(gains, 2)
    order = list(range(len(gains)))
    shuffle.shuffle(order)
    here = sign_flip(gains, n_resamples=400, seed=1).p_value
    assert sign_flip(-gains, n_resamples=400, seed=1).p_value == here
    moved = sign_flip(gains[order], n_resamples=400, seed=1).p_value
    assert moved == pytest.approx(here, abs=0.2)
    assert 0 < here <= 1


def test_more_evidence_never_raises_p():
    base = np.r_[np.ones(20), -np.ones(20)]
    found = [sign_flip(np.r_[base, np.ones(extra)], seed=1).p_value for extra in range(0, 40, 5)]
    assert found == sorted(found, reverse=True)


def test_missing_pairs_are_counted_and_nothing_else():
    found = sign_flip([1, 1, math.nan, None, 1], list("abcde"), seed=1)
    assert (found.p_value, found.n, found.n_missing, found.n_clusters) == (pytest.approx(0.25), 3, 2, 3)


@pytest.mark.parametrize("differences", [[0, 0, 0], [1, -1]])
def test_no_net_difference_is_p_1(differences):
    assert sign_flip(differences, seed=1).p_value == 1


def test_one_cluster_says_nothing():
    assert sign_flip([1, 1, 1], ["a"] * 3, seed=1).p_value == 1


@pytest.mark.parametrize("test", [sign_flip, max_t])
@pytest.mark.parametrize(
    ("differences", "cluster"), [([], None), ([math.nan] * 3, None), (["a"], None), ([1, 2, 3], ["a"])]
)
def test_refuses(test, differences, cluster):
    with pytest.raises(StatisticsError):
        test(differences, cluster, seed=1)


def test_refuses_a_table_and_few_resamples():
    with pytest.raises(StatisticsError, match="2 dimensions"):
        sign_flip(np.ones((4, 2)), seed=1)
    for test in (sign_flip, max_t):
        with pytest.raises(StatisticsError, match="99 resamples"):
            test(np.random.default_rng(0).normal(size=30), n_resamples=99, seed=1)


def candidates(gains, n=200, shared=0.7, seed=0):
    """Paired differences of candidates against one baseline: they share its errors."""
    rng = np.random.default_rng(seed)
    return (
        math.sqrt(shared) * rng.normal(size=(n, 1)) + math.sqrt(1 - shared) * rng.normal(size=(n, len(gains))) + gains
    )


def test_max_t_of_one_candidate_is_the_sign_flip():
    gains = candidates([0.2], n=11)
    assert max_t(gains, seed=1)[0] == sign_flip(gains[:, 0], seed=1).p_value


def test_max_t_by_hand():
    # The first two sum to 3: of 8 joint flips, the two of equal signs reach that, and two more in the third column.
    # The third sums to 1, which every flip reaches.
    table = [[1, 1, 1], [1, 1, -1], [1, 1, 1]]
    assert max_t(table, seed=1).tolist() == [0.5, 0.5, 1.0]


def test_max_t_is_sharper_than_holm_on_correlated_candidates():
    gains = candidates([0.17, 0.19, 0.2, 0.05, 0.0, 0.0, 0.01, 0.02])
    raw = [sign_flip(column, n_resamples=20_000, seed=1).p_value for column in gains.T]
    sharp = max_t(gains, n_resamples=20_000, seed=1)
    assert (sharp <= holm(raw) + 0.01).all()
    assert sharp[2] < 0.75 * holm(raw)[2]


@given(st.integers(0, 10**6), st.permutations(range(4)))
def test_max_t_bounds_order_and_columns(seed, order):
    gains = candidates([0.3, 0.0, 0.1, -0.2], n=10, seed=seed)
    found = max_t(gains, seed=1)
    alone = np.array([sign_flip(column, seed=1).p_value for column in gains.T])
    assert (found >= alone - 1e-12).all()
    assert (found <= 1).all()
    assert max_t(gains[:, order], seed=1).tolist() == found[list(order)].tolist()
    assert max_t(-gains, seed=1).tolist() == found.tolist()


def test_missing_and_equal_columns():
    gains = candidates([0.5, 0.0], n=10)
    gains = np.column_stack([gains, np.full(10, math.nan), np.zeros(10)])
    gains[:2, 1] = math.nan
    found = max_t(gains, seed=1)
    assert np.isnan(found).tolist() == [False, False, True, False]
    assert found[3] == 1
    assert found[:2].tolist() == max_t(gains[:, :2], seed=1).tolist()


def test_max_t_keeps_its_level_among_equals():
    false = sum(
        max_t(candidates([0.0] * 6, n=40, seed=seed), n_resamples=199, seed=seed).min() <= 0.05 for seed in range(300)
    )
    assert false / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
