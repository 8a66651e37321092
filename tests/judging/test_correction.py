import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.judging.correction import corrected_rate, rogan_gladen_from_counts
from safetycatch.stats import mean_interval, rate_interval


def labels(tp, fn, fp, tn):
    """Return the judge's verdicts and people's labels."""
    return np.r_[np.ones(tp), np.zeros(fn), np.ones(fp), np.zeros(tn)], np.r_[np.ones(tp + fn), np.zeros(fp + tn)]


# The reference study: 300 labels (189, 19, 15, 77) and 3,000 further rows, of which the judge passed 2,122.
JUDGE, HUMAN = labels(189, 19, 15, 77)
FURTHER = np.r_[np.ones(2122), np.zeros(878)]
ALL = np.r_[FURTHER, JUDGE]


def test_reference_post_stratified():
    found = corrected_rate(ALL, JUDGE, HUMAN)
    assert found.method == "post_stratified"
    assert (found.estimate, found.low, found.high) == pytest.approx((0.71089, 0.6743, 0.7475), abs=5e-5)
    assert found.raw.estimate == pytest.approx(0.7048, abs=5e-5)


def test_reference_rogan_gladen():
    found = corrected_rate(FURTHER, JUDGE, HUMAN, method="rogan_gladen")
    assert (found.estimate, found.se) == (pytest.approx(0.7300, abs=5e-5), pytest.approx(0.02648, abs=5e-6))
    assert (found.low, found.high) == pytest.approx((0.6769, 0.7832), abs=5e-5)
    drawn = rogan_gladen_from_counts(FURTHER, 189, 19, 15, 77, n_resamples=20_000, seed=1)
    assert (drawn.low, drawn.high) == pytest.approx((0.677, 0.783), abs=2e-3)


def test_reference_ppi():
    found = corrected_rate(FURTHER, JUDGE, HUMAN, method="ppi", labelled_among_judged=False)
    assert found.estimate == pytest.approx(0.71226, abs=1e-5)
    assert found.se == pytest.approx(0.01892, rel=4e-3)  # theirs divides by n, not n - 2
    among = corrected_rate(ALL, JUDGE, HUMAN, method="ppi")
    assert among.estimate == pytest.approx(found.estimate)


def test_reference_labels_only():
    found = corrected_rate(ALL, JUDGE, HUMAN, method="labels_only")
    assert found.estimate == pytest.approx(0.6933, abs=5e-5)
    assert (found.low, found.high) == (rate_interval(HUMAN).low, rate_interval(HUMAN).high)


def test_post_stratified_by_hand():
    # 10 of 20 rows passed; of 4 labels within passed 3 good: 3.5/5; of 4 within failed 1: 1.5/5; (.7 + .3) / 2
    judge, human = labels(3, 1, 1, 3)
    found = corrected_rate(np.r_[judge, np.ones(6), np.zeros(6)], judge, human)
    assert found.estimate == pytest.approx(0.5)
    assert found.se**2 == pytest.approx(2 * 0.25 * 0.21 / 4 + 0.16 * 0.25 / 20)
    assert found.effective_gain == pytest.approx((0.25 / 8) / found.se**2)


def test_rogan_gladen_by_hand():
    # TPR .9, TNR .8, 62 % passed: (.62 + .8 - 1) / .7
    found = rogan_gladen_from_counts(np.r_[np.ones(62), np.zeros(38)], 90, 10, 20, 80)
    assert found.estimate == pytest.approx(0.6)


@given(st.tuples(*[st.integers(1, 40)] * 4), st.integers(1, 300), st.integers(1, 300))
def test_properties_of_the_default(counts, passed, failed):
    judge, human = labels(*counts)
    rows = np.r_[judge, np.ones(passed), np.zeros(failed)]
    found = corrected_rate(rows, judge, human)
    assert 0 <= found.low < found.estimate < found.high <= 1
    turned = corrected_rate(1 - rows, 1 - judge, human)  # a judge that says the opposite knows as much
    assert (turned.estimate, turned.se) == (pytest.approx(found.estimate), pytest.approx(found.se))
    mirrored = corrected_rate(rows, judge, 1 - human)
    assert mirrored.estimate == pytest.approx(1 - found.estimate)
    order = np.random.default_rng(0).permutation(len(judge))
    assert corrected_rate(rows, judge[order], human[order]).estimate == pytest.approx(found.estimate)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(lambda counts: counts[0] + counts[1] and counts[2] + counts[3]))
def test_rogan_gladen_stays_within_0_and_1(counts):
    found = rogan_gladen_from_counts(np.r_[np.ones(50), np.zeros(50)], *counts)
    assert 0 <= found.low < found.high <= 1
    if not math.isnan(found.estimate):
        assert found.low <= found.estimate <= found.high


def test_a_useless_judge_adds_nothing_and_a_perfect_one_much():
    rng = np.random.default_rng(2)
    good = (rng.random(2000) < 0.8).astype(float)
    coin = (rng.random(2000) < 0.5).astype(float)
    assert corrected_rate(coin, coin[:200], good[:200]).effective_gain == pytest.approx(1, abs=0.05)
    assert corrected_rate(good, good[:200], good[:200]).effective_gain > 4
    assert rogan_gladen_from_counts(good, 99, 1, 1, 99).effective_gain > 1


def test_a_judge_no_better_than_a_coin_leaves_everything_possible():
    found = rogan_gladen_from_counts(np.r_[np.ones(60), np.zeros(40)], 12, 8, 9, 11)
    assert (found.low, found.high) == (0, 1)
    assert "a coin may judge as well" in found.warnings[0]
    worse = rogan_gladen_from_counts(np.r_[np.ones(60), np.zeros(40)], 5, 15, 15, 5)
    assert math.isnan(worse.estimate)
    assert (worse.low, worse.high) == (0, 1)


def test_enriched_labels_are_weighted_back():
    # within each verdict 1 of 10 and 1 of 2 rows are labelled; hard rows (bad more often) more: weights undo it
    human = np.r_[np.ones(90), np.zeros(10), np.ones(10), np.zeros(40)]
    judge = np.r_[np.ones(100), np.zeros(50)]
    rows = np.r_[np.ones(1000), np.zeros(100)]
    even = corrected_rate(rows, judge, human, sampling_probability=np.r_[np.full(100, 0.1), np.full(50, 0.5)])
    assert even.estimate == pytest.approx((1000 * 90.5 / 101 + 100 * 10.5 / 51) / 1100)
    hard = np.r_[np.full(90, 0.05), np.full(10, 0.25), np.full(50, 0.5)]
    found = corrected_rate(rows, judge, human, sampling_probability=hard)
    assert found.estimate > even.estimate  # the good were drawn less often, so there are more of them
    alone = corrected_rate(rows, judge, human, sampling_probability=hard, method="labels_only")
    assert alone.estimate == pytest.approx((90 * 20 + 10 * 2) / (90 * 20 + 10 * 4 + 50 * 2))


def test_equal_probabilities_change_nothing():
    plain = corrected_rate(ALL, JUDGE, HUMAN)
    found = corrected_rate(ALL, JUDGE, HUMAN, sampling_probability=np.full(300, 0.1))
    assert (found.estimate, found.se) == (pytest.approx(plain.estimate), pytest.approx(plain.se))


def test_clusters_widen_and_singletons_do_not():
    rng = np.random.default_rng(3)
    own = np.repeat(rng.beta(2, 0.5, 100), 5)
    good = (rng.random(500) < own).astype(float)
    judge = np.where(rng.random(500) < 0.9, good, 1 - good)
    names = np.repeat(np.arange(100), 5)
    plain = corrected_rate(judge, judge[:150], good[:150])
    wide = corrected_rate(judge, judge[:150], good[:150], cluster=names, labelled_cluster=names[:150])
    assert wide.estimate == plain.estimate
    assert wide.high - wide.low > plain.high - plain.low
    assert wide.df < 40
    single = corrected_rate(judge, judge[:150], good[:150], cluster=np.arange(500), labelled_cluster=np.arange(150))
    assert single.se == pytest.approx(plain.se, rel=0.02)


def test_scores_are_corrected_by_ppi_and_their_gain_is_the_correlation():
    rng = np.random.default_rng(4)
    truth = rng.normal(3, 1, 5000)
    judge = truth + 0.5 + rng.normal(0, 0.5, 5000)
    found = corrected_rate(judge, judge[:250], truth[:250])
    assert found.method == "ppi"
    assert found.low < truth.mean() < found.high
    assert found.raw.low > truth.mean()
    # with endless rows the labels' variance shrinks by 1 - rho²: here to a fifth
    assert found.effective_gain == pytest.approx(1 / (0.2 + 0.8 * 250 / 5000), rel=0.2)


def test_a_constant_judge_leaves_the_labels_mean():
    human = np.array([1.0, 2, 3, 4, 5, 5])
    found = corrected_rate(np.full(50, 3.0), np.full(6, 3.0), human)
    assert found.estimate == pytest.approx(human.mean())
    assert found.effective_gain == pytest.approx(0.8)  # n - 2 instead of n - 1 degrees of freedom


def test_errors_without_spread_leave_the_labels_alone():
    human = np.array([1.0, 2, 3, 4, 5, 5])
    found = corrected_rate(np.r_[human, 1.0, 2, 3, 3], human, human)
    assert found.method == "labels_only"
    assert (found.low, found.high) == (mean_interval(human).low, mean_interval(human).high)
    assert "cannot be measured" in " ".join(found.warnings)


def test_missing_verdicts_are_counted():
    found = corrected_rate(np.r_[ALL, [np.nan] * 7], np.r_[JUDGE, np.nan], np.r_[HUMAN, 1.0])
    assert (found.n_judged, found.n_missing, found.n_labels) == (3300, 7, 300)
    assert "1 labelled rows have no verdict" in found.warnings[0]


def test_no_label_within_a_verdict_is_wide_and_said():
    judge = np.r_[np.ones(80), np.zeros(20)]
    found = corrected_rate(judge, np.ones(30), np.ones(30))
    assert found.high - found.low > 0.3
    assert "0 where it says fail" in found.warnings[0]


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (([1, 0], [1], [1, 0]), {}, "1 verdicts and 2 labels"),
        (([np.nan], [1], [1]), {}, "none of the 1 judged rows"),
        (([1, 0], [np.nan], [1]), {}, "none of the 1 labelled rows"),
        (([1, 0], [1, 0, 1], [1, 0, 1]), {}, "3 labels among 2 judged rows"),
        (([1, 0, 1], [1, 0], [1, 0]), {"method": "judgy"}, "the method is 'judgy'"),
        (([1, 0, 0.5], [1, 0], [1, 0]), {"method": "post_stratified"}, "'ppi' takes scores"),
        (([1, 0, 0.5], [1, 0], [1, 0]), {}, "at least 3"),
        (([1, 0, 1], [1, 0], [1, 0]), {"sampling_probability": [0.5, np.nan]}, "picked"),
        (([1, 0, 1], [1, 0], [1, 0]), {"sampling_probability": [0.5]}, "1 for 2 labels"),
        (([1, 0, 1], [1, 0], [1, 0]), {"cluster": [1, 2, 3]}, "of both"),
        (([1] * 9, [1] * 9, [1] * 9), {"cluster": [1] * 9, "labelled_cluster": [1] * 9}, "no interval below 5"),
        (([1, 0, 1], [1, 1], [1, 1]), {"method": "rogan_gladen"}, "both are needed"),
    ],
)
def test_bad_input_says_what_is_wrong(arguments, settings, message):
    with pytest.raises(StatisticsError, match=message):
        corrected_rate(*arguments, **settings)


def test_bad_counts_say_what_is_wrong():
    with pytest.raises(StatisticsError, match="from 0 up"):
        rogan_gladen_from_counts([1, 0], -1, 2, 3, 4)
    with pytest.raises(StatisticsError, match="other values than 0 and 1"):
        rogan_gladen_from_counts([1, 0.5], 1, 2, 3, 4)


@pytest.mark.parametrize(("truth", "tpr", "tnr"), [(0.9, 0.9, 0.7), (0.3, 0.8, 0.9)])
def test_the_raw_rate_is_off_and_the_corrected_one_covers(truth, tpr, tnr):
    rng = np.random.default_rng(5)
    off, hits = [], 0
    for _ in range(200):
        good = (rng.random(1100) < truth).astype(float)
        judge = (rng.random(1100) < np.where(good == 1, tpr, 1 - tnr)).astype(float)
        found = corrected_rate(judge, judge[:100], good[:100])
        off.append(found.raw.estimate - truth)
        hits += found.low <= truth <= found.high
    assert np.mean(off) == pytest.approx(truth * tpr + (1 - truth) * (1 - tnr) - truth, abs=0.01)
    assert hits >= 182  # .95 of 200 less 2.6 standard errors


def test_labels_of_further_rows_join_the_judges_share():
    beside = corrected_rate(FURTHER, JUDGE, HUMAN, labelled_among_judged=False)
    assert beside.estimate == pytest.approx(corrected_rate(ALL, JUDGE, HUMAN).estimate)
    names = np.arange(3000) // 3
    found = corrected_rate(
        FURTHER, JUDGE, HUMAN, labelled_among_judged=False, cluster=names, labelled_cluster=np.arange(300) // 3 + 5000
    )
    assert found.estimate == pytest.approx(beside.estimate)
    assert found.df == pytest.approx(99)


def test_weighted_scores_of_labels_alone():
    human, chance = np.array([1.0, 2, 3, 4, 5, 5]), np.array([0.1, 0.1, 0.1, 0.5, 0.5, 0.5])
    found = corrected_rate(np.full(60, 3.0), np.full(6, 3.0), human, sampling_probability=chance, method="labels_only")
    assert found.estimate == pytest.approx((10 * 6 + 2 * 14) / 36)
    assert found.low < found.estimate < found.high


def test_clusters_of_elsewhere_widen_rogan_gladen():
    plain = corrected_rate(FURTHER, JUDGE, HUMAN, method="rogan_gladen")
    runs = np.arange(300) // 10  # the errors stand side by side
    wide = corrected_rate(FURTHER, JUDGE, HUMAN, method="rogan_gladen", labelled_cluster=runs)
    assert wide.estimate == pytest.approx(plain.estimate)
    assert wide.high - wide.low > 1.5 * (plain.high - plain.low)
