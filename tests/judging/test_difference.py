import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.judging.correction import corrected_rate
from safetycatch.judging.difference import corrected_difference, labelled_difference
from safetycatch.stats import paired_difference

COLUMNS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=4, max_size=80)


def study(rng, n=400, tpr=0.9, tnr=0.8, gain=0.3):
    """Return two candidates' verdicts and what people would have said."""
    base = (rng.random(n) < 0.7).astype(float)
    best = np.where(base == 1, rng.random(n) < 0.95, rng.random(n) < gain).astype(float)
    seen = [(rng.random(n) < np.where(good == 1, tpr, 1 - tnr)).astype(float) for good in (best, base)]
    return (*seen, best, base)


def test_by_hand():
    # 12 rows only the first passes, 4 only the second, of 40; TPR .9, TNR .7: .2 / .6
    a = np.r_[np.ones(12), np.zeros(4), np.ones(24)]
    b = np.r_[np.zeros(12), np.ones(4), np.ones(24)]
    found = corrected_difference(a, b, 90, 10, 30, 70)
    assert found.estimate == pytest.approx(0.2 / 0.6)
    variance = found.raw.se**2 + found.estimate**2 * (0.09 / 100 + 0.21 / 100)
    assert found.se == pytest.approx(math.sqrt(variance) / 0.6)


@settings(max_examples=60)
@given(COLUMNS, st.tuples(*[st.integers(0, 60)] * 4).filter(lambda c: c[0] + c[1] and c[2] + c[3]))
def test_the_interval_excludes_0_exactly_when_the_raw_one_does_and_j_is_above_0(rows, counts):
    a, b = np.array(rows, float).T
    found = corrected_difference(a, b, *counts)
    raw = paired_difference(a, b, binary=True)
    assert -1 <= found.low <= found.high <= 1
    if (found.low, found.high) != (-1, 1):
        assert (found.low > 0, found.high < 0) == (raw.low > 0, raw.high < 0)
    if not math.isnan(found.estimate):
        assert found.low <= found.estimate <= found.high
    assert found.p_value == raw.p_value


@settings(max_examples=40)
@given(COLUMNS)
def test_exchanging_the_candidates_turns_the_sign(rows):
    a, b = np.array(rows, float).T
    one, other = corrected_difference(a, b, 45, 5, 10, 40), corrected_difference(b, a, 45, 5, 10, 40)
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low), abs=1e-9)


def test_a_judge_without_error_changes_little():
    a, b, _, _ = study(np.random.default_rng(0), tpr=1, tnr=1)
    found = corrected_difference(a, b, 100_000, 0, 0, 100_000)
    assert (found.low, found.high) == pytest.approx((found.raw.low, found.raw.high), abs=1e-3)


def test_the_delta_error_agrees_with_a_bootstrap():
    rng = np.random.default_rng(1)
    a, b, _, _ = study(rng)
    found = corrected_difference(a, b, 90, 10, 20, 80)
    draws = []
    for _ in range(4000):
        rows = rng.integers(0, len(a), len(a))
        j = rng.binomial(100, 0.9) / 100 + rng.binomial(100, 0.8) / 100 - 1
        draws.append((a[rows] - b[rows]).mean() / j)
    assert found.se == pytest.approx(np.std(draws), rel=0.05)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.006)


def test_a_judge_no_better_than_a_coin_says_nothing_of_the_size():
    a, b, _, _ = study(np.random.default_rng(2))
    found = corrected_difference(a, b, 11, 9, 9, 11)
    assert (found.low, found.high) == (-1, 1)
    assert "a coin may judge as well" in found.warnings[-1]
    assert math.isnan(corrected_difference(a, b, 5, 15, 15, 5).estimate)


def test_labels_on_both_are_the_difference_of_two_corrected_rates():
    rng = np.random.default_rng(3)
    a, b, best, base = study(rng)
    at = rng.choice(400, 120, replace=False)
    human_a, human_b = np.full(400, np.nan), np.full(400, np.nan)
    human_a[at], human_b[at] = best[at], base[at]
    found = labelled_difference(a, b, human_a, human_b)
    sides = [corrected_rate(column, column[at], good[at]) for column, good in ((a, best), (b, base))]
    assert found.estimate == pytest.approx(sides[0].estimate - sides[1].estimate)
    assert found.se < math.hypot(sides[0].se, sides[1].se)  # what the rows share is subtracted
    assert found.n_labels == 240


def test_labels_of_different_rows_share_no_error():
    rng = np.random.default_rng(4)
    a, b, best, base = study(rng)
    human_a, human_b = np.full(400, np.nan), np.full(400, np.nan)
    human_a[:120], human_b[200:320] = best[:120], base[200:320]
    apart = labelled_difference(a, b, human_a, human_b)
    human_b = np.full(400, np.nan)
    human_b[:120] = base[:120]
    assert labelled_difference(a, b, human_a, human_b).se < apart.se


def test_a_judge_who_likes_one_candidate_is_seen_through_by_labels_on_both():
    rng = np.random.default_rng(5)
    false, held = 0, 0
    for _ in range(60):
        _, _, _, base = study(rng)
        a = (rng.random(400) < np.where(base == 1, 0.95, 0.5)).astype(float)  # lenient on the first
        b = (rng.random(400) < np.where(base == 1, 0.9, 0.1)).astype(float)
        labels = np.where(np.arange(400) < 100, base, np.nan)
        false += corrected_difference(a, b, 90, 10, 10, 90).low > 0
        found = labelled_difference(a, b, labels, labels)
        held += found.low <= 0 <= found.high
    assert false == 60
    assert held >= 52


@pytest.mark.parametrize("clustered", [False, True])
def test_equal_columns_leave_a_bound(clustered):
    rng = np.random.default_rng(6)
    a, _, best, _ = study(rng)
    labels = np.where(np.arange(400) < 100, best, np.nan)
    cluster = np.repeat(np.arange(80), 5) if clustered else None
    found = labelled_difference(a, a, labels, labels, cluster=cluster)
    assert found.estimate == 0
    assert found.high - found.low > 0.05
    assert found.p_value == 1
    common = corrected_difference(a, a, 90, 10, 10, 90, cluster=cluster)
    assert common.high - common.low > 0.01


def test_clusters_widen():
    rng = np.random.default_rng(7)
    one = [np.repeat(column, 5) for column in study(rng, n=80)]  # each row five times
    cluster = np.repeat(np.arange(80), 5)
    labels = [np.where(np.arange(400) < 200, column, np.nan) for column in one[2:]]
    for maker in (
        lambda **named: corrected_difference(one[0], one[1], 90, 10, 20, 80, **named),
        lambda **named: labelled_difference(one[0], one[1], *labels, **named),
    ):
        plain, wide = maker(), maker(cluster=cluster)
        assert wide.estimate == plain.estimate
        assert wide.high - wide.low > 1.5 * (plain.high - plain.low)


def test_missing_verdicts_are_counted():
    a, b, best, base = study(np.random.default_rng(8))
    a[:5] = np.nan
    found = labelled_difference(a, b, best, np.where(np.arange(400) < 100, base, np.nan))
    assert (found.n_judged, found.n_missing, found.n_labels) == (395, 5, 395 + 95)


def test_bad_input_says_what_is_wrong():
    a, b, best, base = study(np.random.default_rng(9), n=50)
    with pytest.raises(StatisticsError, match="both are needed"):
        corrected_difference(a, b, 5, 5, 0, 0)
    with pytest.raises(StatisticsError, match="from 0 up"):
        corrected_difference(a, b, 5, -5, 5, 5)
    with pytest.raises(StatisticsError, match="human_b has no label"):
        labelled_difference(a, b, best, np.full(50, np.nan))
    with pytest.raises(StatisticsError, match="human_a has 10 values for 50 rows"):
        labelled_difference(a, b, best[:10], base)
    with pytest.raises(StatisticsError, match="0 and 1 only"):
        labelled_difference(a, b, best / 2, base)
    with pytest.raises(StatisticsError, match="probabilities of human_a"):
        labelled_difference(a, b, best, base, probability_a=np.zeros(50))
