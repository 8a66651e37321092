import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import equivalence, mcnemar, noninferiority, paired_difference, tango_interval

# Student 1908, hours of sleep gained under two drugs by the same ten people
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=6, max_size=40).map(
    lambda rows: np.array(rows).T
)
ANSWERS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 8)), min_size=1, max_size=80)


def pairs(n10, n01, same):
    return np.r_[np.ones(n10), np.zeros(n01), np.ones(same)], np.r_[np.zeros(n10), np.ones(n01), np.ones(same)]


REFERENCE = pairs(42, 25, 433)


def test_published_sleep_study():
    # R's t.test(extra ~ group, paired = TRUE): difference -1.58, [-2.4598858, -0.7001142], p .002833
    found = paired_difference(SLEEP_1, SLEEP_2)
    assert (found.low, found.high) == (pytest.approx(-2.4598858), pytest.approx(-0.7001142))
    assert found.p_value == pytest.approx(0.002833, abs=5e-7)
    assert found.df == pytest.approx(9)


def test_candidate_comes_first():
    assert paired_difference([3, 4, 6], [1, 3, 2]).estimate == pytest.approx(7 / 3)


def test_by_hand():
    # differences 1 1 4: mean 2, s^2 3, SE 1, t(2) at .975 is 4.302653
    found = paired_difference([1, 2, 7], [0, 1, 3])
    assert (found.se, found.sd_difference) == (pytest.approx(1), pytest.approx(math.sqrt(3)))
    assert found.high == pytest.approx(2 + 4.302653)


def test_reference_figures():
    found = paired_difference(*REFERENCE)
    assert (found.lower_bound, found.upper_bound) == (
        pytest.approx(0.00720, abs=5e-6),
        pytest.approx(0.06158, abs=5e-6),
    )
    assert noninferiority(*REFERENCE, 0.02).p_value == pytest.approx(0.00063, abs=5e-6)
    assert equivalence(*REFERENCE, 0.02).p_value == pytest.approx(0.806, abs=5e-4)
    assert equivalence(*REFERENCE, 0.05).p_value == pytest.approx(0.166, abs=5e-4)
    assert not equivalence(*REFERENCE, 0.05).equivalent
    assert equivalence(*REFERENCE, 0.07).equivalent


@given(SCORES)
def test_equivalence_agrees_with_statsmodels(columns):
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    a, b = columns
    if np.ptp(a - b) < 1e-3 or set(a) | set(b) <= {0.0, 1.0}:
        return
    p_value, _, _ = weightstats.ttost_paired(a, b, -0.1, 0.1)
    found = equivalence(a, b, 0.1)
    assert found.p_value == pytest.approx(p_value, abs=1e-9)
    assert found.equivalent == (found.low > -0.1 and found.high < 0.1)


@given(SCORES)
def test_p_value_agrees_with_scipy(columns):
    from scipy import stats

    a, b = columns
    if np.ptp(a - b) < 1e-3 or set(a) | set(b) <= {0.0, 1.0}:
        return
    if np.count_nonzero(a - b) < len(a) / 2:
        return
    assert paired_difference(a, b).p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=1e-9)


def test_four_of_200_items_are_no_evidence():
    b = np.full(200, 0.5)
    a = b + np.r_[[0.3, 0.2, 0.25, 0.3], np.zeros(196)]
    assert paired_difference(a, b).p_value == 2.0**-3


def test_few_independent_answers_use_tango():
    columns = pairs(9, 3, 60)
    found, limits = paired_difference(*columns), tango_interval(*columns)
    assert (found.low, found.high, found.method) == (limits.low, limits.high, "tango")


@given(st.integers(0, 12), st.integers(0, 12))
def test_p_value_is_never_below_what_signs_can_show(n10, n01):
    columns = pairs(n10, n01, 80)
    found = paired_difference(*columns).p_value
    assert found >= min(1.0, 2.0 ** (1 - n10 - n01))
    if mcnemar(*columns).p_value < 0.2:
        # close to the mid-p, and hardly above the exact test
        assert mcnemar(*columns).mid_p - 0.03 < found < mcnemar(*columns).p_value + 0.001


@given(ANSWERS)
def test_swapping_the_sides_mirrors_everything(rows):
    a, b, cluster = (
        np.r_[column, np.arange(9) % 2 if i < 2 else np.arange(9)] for i, column in enumerate(zip(*rows, strict=True))
    )
    found, mirrored = paired_difference(a, b, cluster), paired_difference(b, a, cluster)
    assert found.low == pytest.approx(-mirrored.high, abs=1e-9)
    assert found.p_value == pytest.approx(mirrored.p_value)
    assert found.low < found.high


@given(SCORES, st.randoms(use_true_random=False))
def test_order_of_items_does_not_matter(columns, random):
    order = list(range(columns.shape[1]))
    random.shuffle(order)
    found, shuffled = paired_difference(*columns), paired_difference(*columns[:, order])
    assert found.high == pytest.approx(shuffled.high, nan_ok=True)


def test_clusters_widen():
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(40), 10)
    a, b = rng.normal(size=400) + rng.normal(size=40)[cluster], rng.normal(size=400)
    plain, clustered = paired_difference(a, b), paired_difference(a, b, cluster)
    assert clustered.design_effect > 3
    assert clustered.se == pytest.approx(plain.se * math.sqrt(clustered.design_effect))


def test_a_missing_side_makes_a_missing_pair():
    found = paired_difference([1, None, 3, 4, 9], [1, 2, math.nan, 2, 3])
    assert (found.n, found.n_missing) == (3, 2)
    assert found.estimate == pytest.approx(8 / 3)
    assert "2 of 5 pairs are missing" in found.warnings[0]


def test_equal_answers_give_a_bound_not_zero_width():
    found = paired_difference(np.ones(300), np.ones(300))
    assert found.high == pytest.approx(3.841459 / 303.841459)
    assert found.p_value == 1
    assert math.isnan(found.se)


def test_equal_answers_of_repeated_items_are_bounded_by_items():
    # 100 items of 4 runs count as 100
    found = paired_difference(np.ones(400), np.ones(400), np.repeat(np.arange(100), 4))
    assert found.high == pytest.approx(3.841459 / 103.841459)


@pytest.mark.parametrize(("a", "b"), [([0.3] * 40, [0.2] * 40), ([0.0] * 40, [0.0] * 40), ([0.5, 0.7], [0.3, 0.5])])
def test_equal_differences_of_other_scores_have_no_interval(a, b):
    found = paired_difference(a, b, binary=False)
    assert math.isnan(found.low)
    assert math.isnan(found.p_value)
    assert "no interval" in found.warnings[-1]


@pytest.mark.parametrize(
    ("gap", "margin", "higher", "status"),
    [
        (0.1, 0.0, True, "passed"),
        (0.1, 0.0, False, "violated"),
        (-0.1, 0.05, True, "violated"),
        (-0.1, 0.2, True, "passed"),
    ],
)
def test_a_constant_difference_is_decided_by_its_value(gap, margin, higher, status):
    b = np.linspace(1, 2, 40)
    found = noninferiority(b + gap, b, margin, higher_is_better=higher)
    assert found.status == status
    assert "on each of 40 items" in found.reason
    assert noninferiority((b + gap)[:10], b[:10], margin, higher_is_better=higher).status == "undecided"


def test_equal_zero_costs_pass_a_margin_of_zero():
    assert noninferiority(np.zeros(50), np.zeros(50), 0.0, higher_is_better=False, binary=False).passed


@pytest.mark.parametrize("binary", [True, None])
@pytest.mark.parametrize("cluster", [None, np.arange(60) // 2])
def test_all_wrong_is_as_much_evidence_as_all_right(binary, cluster):
    right, wrong = (
        (paired_difference(same, same, cluster, binary=binary), noninferiority(same, same, 0.0, cluster, binary=binary))
        for same in (np.ones(60), np.zeros(60))
    )
    assert right == wrong or str(right) == str(wrong)
    assert right[1].status == "undecided"
    assert right[0].low < 0 < right[0].high


def test_equal_scores_of_a_judge_are_not_decided_by_their_value():
    half = np.full(50, 0.5)
    assert noninferiority(half, half, 0.0).passed
    assert noninferiority(half, half, 0.0, by_value=False).status == "undecided"
    assert noninferiority(half, half, 0.0, binary=True).status == "undecided"
    assert noninferiority(half, half, 0.1, binary=True).passed  # averaged runs: at least what 50 equal answers show


def test_rights_and_wrongs_lie_from_0_to_1():
    with pytest.raises(StatisticsError, match=r"b holds 1\.5"):
        paired_difference([0, 1, 1], [0, 1, 1.5], binary=True)


def test_averaged_runs_count_as_less_noise_than_single_answers():
    # 20 items lose 1 of 4 runs, 20 win one
    gap = np.r_[np.full(20, 0.25), np.full(20, -0.25), np.zeros(160)]
    found, plain = paired_difference(0.5 + gap, np.full(200, 0.5), binary=True), paired_difference(gap, np.zeros(200))
    assert found.method == "tango_deff"
    assert found.high - found.low == pytest.approx(plain.high - plain.low, rel=0.05)


@pytest.mark.parametrize(("n", "margin", "alpha"), [(400, 0.05, 0.05), (400, 0.05, 0.0125), (1000, 0.02, 0.05)])
def test_a_candidate_that_only_breaks_passes_at_its_margin_as_rarely_as_said(n, margin, alpha):
    from scipy.stats import binom

    def passes(broken):
        return noninferiority(*pairs(0, broken, n - broken), margin, alpha=alpha).passed

    most = max(broken for broken in range(int(n * margin) + 1) if passes(broken))
    assert binom.cdf(most, n, margin) <= 1.15 * alpha


@pytest.mark.parametrize("n_clusters", [5, 8])
def test_few_clusters_have_students_quantile(n_clusters):
    rng, cluster = np.random.default_rng(1), np.repeat(np.arange(n_clusters), 50)
    a, b = (rng.random((2, len(cluster))) < 0.6).astype(float)
    found = paired_difference(a, b, cluster)
    assert (found.method, found.df) == ("tango_deff", pytest.approx(n_clusters - 1))


@given(SCORES, st.floats(0, 0.3), st.booleans())
def test_noninferiority_is_the_bound_against_the_margin(columns, margin, higher):
    found = noninferiority(columns[0], columns[1], margin, higher_is_better=higher)
    if math.isnan(found.bound):
        assert math.isnan(found.p_value)
        return
    inside = found.bound > -margin if higher else found.bound < margin
    assert found.passed == inside or found.p_value == pytest.approx(0.05, abs=1e-6)


@given(SCORES, st.floats(0, 0.3))
def test_lower_is_better_mirrors(columns, margin):
    a, b = columns
    lower, higher = noninferiority(a, b, margin, higher_is_better=False), noninferiority(-a, -b, margin)
    if set(a) | set(b) <= {0.0, 1.0}:
        return
    assert lower.status == higher.status
    assert lower.p_value == pytest.approx(higher.p_value, nan_ok=True)


def test_an_undecided_margin_says_how_many_pairs_would_do():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=50), rng.normal(size=50)
    found = noninferiority(a, b, 0.1)
    assert found.status == "undecided"
    assert found.n_to_settle is not None
    assert found.n_to_settle > 50


def test_a_large_margin_passes_and_a_large_loss_is_violated():
    rng = np.random.default_rng(2)
    b = rng.normal(size=100)
    assert noninferiority(b - 0.5 + 0.1 * rng.normal(size=100), b, 1.0).status == "passed"
    assert noninferiority(b - 0.5 + 0.1 * rng.normal(size=100), b, 0.1).status == "violated"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([], []),
        ([1], [0]),
        ([1, 2], [1]),
        ([math.nan, 1, 2], [1, math.nan, 2]),
        ([math.inf, 1], [0, 1]),
        (["1"], ["0"]),
    ],
)
def test_refuses(a, b):
    for test in (paired_difference, lambda x, y: noninferiority(x, y, 0.1), lambda x, y: equivalence(x, y, 0.1)):
        with pytest.raises(StatisticsError):
            test(a, b)


def test_refuses_fewer_than_5_clusters():
    with pytest.raises(StatisticsError, match="3 clusters"):
        paired_difference(np.arange(9), np.arange(9) ** 2, np.arange(9) % 3)


@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf])
def test_refuses_margins(margin):
    for test in (noninferiority, equivalence):
        with pytest.raises(StatisticsError, match="margin"):
            test(SLEEP_1, SLEEP_2, margin)


def test_equivalence_needs_a_margin_and_alpha_is_below_one_half():
    with pytest.raises(StatisticsError, match="margin"):
        equivalence(SLEEP_1, SLEEP_2, 0)
    with pytest.raises(StatisticsError, match="alpha"):
        noninferiority(SLEEP_1, SLEEP_2, 1, alpha=0.5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 400))
def test_few_independent_right_and_wrong_pairs_have_mcnemars_exact_p(n10, n01, same):
    a, b = np.r_[np.ones(n10), np.zeros(n01), np.ones(same)], np.r_[np.zeros(n10), np.ones(n01 + same)]
    if len(a) > 1:
        found = paired_difference(a, b)
        exact = len(a) < 200 or n10 + n01 < 10
        assert found.p_method == ("exact McNemar" if exact else "score")
        assert not exact or found.p_value == mcnemar(a, b).p_value


@pytest.mark.parametrize("cluster", [None, np.arange(300), np.arange(300) // 3])
def test_right_where_the_other_is_wrong_everywhere_has_an_interval(cluster):
    found = paired_difference(np.ones(300), np.zeros(300), cluster)
    assert found.method in {"tango", "tango_deff"}
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert 0.9 < found.low < 1
    assert found.p_value < 1e-6
