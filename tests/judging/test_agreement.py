import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.judging.agreement import agreement, by_class, class_agreement, ordinal_agreement

COEFFICIENTS = ("tpr", "tnr", "j", "accuracy", "kappa", "ac1", "mcc", "alpha")
WORDS = st.sampled_from(["pass", "fail"])
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=80)
GRADES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=8, max_size=60)


def verdicts(tp, fn, fp, tn):
    return ["pass"] * (tp + fn) + ["fail"] * (fp + tn), ["pass"] * tp + ["fail"] * fn + ["pass"] * fp + ["fail"] * tn


def test_figures_of_the_facts():
    found = agreement(*verdicts(189, 19, 15, 77))
    assert (found.tpr.low, found.tpr.high) == (pytest.approx(0.862, abs=5e-4), pytest.approx(0.941, abs=5e-4))
    assert (found.tnr.low, found.tnr.high) == (pytest.approx(0.748, abs=5e-4), pytest.approx(0.899, abs=5e-4))
    estimates = [getattr(found, name).estimate for name in COEFFICIENTS]
    assert estimates == pytest.approx([0.909, 0.837, 0.746, 0.887, 0.7367, 0.8011, 0.7370, 0.7371], abs=5e-4)
    assert found.kappa.se == pytest.approx(0.0423, abs=5e-5)
    assert (found.tp, found.fn, found.fp, found.tn, found.n) == (189, 19, 15, 77, 300)


def test_published_paradox_of_kappa():
    # Gwet 2008: 118 and 5 and 2 and 0 of 125
    found = agreement(*verdicts(118, 5, 2, 0))
    assert found.kappa.estimate == pytest.approx(-0.0234, abs=5e-5)
    assert found.ac1.estimate == pytest.approx(0.9408, abs=5e-5)


def test_by_hand():
    # 4, 1 / 1, 4: agreement .8, chance .5, kappa (.8 - .5) / .5; J = .8 + .8 - 1
    found = agreement(*verdicts(4, 1, 1, 4))
    assert found.kappa.estimate == found.ac1.estimate == found.j.estimate == pytest.approx(0.6)
    assert found.alpha.estimate == pytest.approx(1 - 0.2 / (0.5 * 20 / 19))


@settings(max_examples=40)
@given(PAIRS)
def test_agrees_with_scikit_learn(pairs):
    from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

    human, judge = zip(*pairs, strict=True)
    found = agreement(human, judge)
    if not math.isnan(found.mcc.estimate):
        assert found.mcc.estimate == pytest.approx(matthews_corrcoef(human, judge), abs=1e-9)
    if not math.isnan(found.kappa.estimate):
        assert found.kappa.estimate == pytest.approx(cohen_kappa_score(human, judge), abs=1e-9)


@settings(max_examples=40)
@given(st.tuples(*[st.integers(1, 60)] * 4))
def test_kappa_agrees_with_statsmodels(counts):
    oracle = pytest.importorskip("statsmodels.stats.inter_rater")
    theirs = oracle.cohens_kappa(np.array(counts).reshape(2, 2))
    found = agreement(*verdicts(*counts)).kappa
    assert (found.estimate, found.se) == (pytest.approx(theirs.kappa, abs=1e-9), pytest.approx(theirs.std_kappa))


@settings(max_examples=40)
@given(GRADES)
def test_ordinal_coefficients_agree_with_their_libraries(pairs):
    import krippendorff
    from scipy.stats import kendalltau, spearmanr
    from sklearn.metrics import cohen_kappa_score

    human, judge = (list(column) for column in zip(*[*pairs, (1, 1), (4, 3)], strict=True))
    found = ordinal_agreement(human, judge, [1, 2, 3, 4])
    for weights, ours in (("quadratic", found.quadratic_kappa), ("linear", found.linear_kappa)):
        theirs = cohen_kappa_score(human, judge, weights=weights, labels=[1, 2, 3, 4])
        assert ours.estimate == pytest.approx(theirs, abs=1e-9)
    assert found.spearman.estimate == pytest.approx(spearmanr(human, judge).statistic, abs=1e-9)
    assert found.tau_b.estimate == pytest.approx(kendalltau(human, judge).statistic, abs=1e-9)
    theirs = krippendorff.alpha(reliability_data=[human, judge], level_of_measurement="ordinal")
    assert found.alpha.estimate == pytest.approx(theirs, abs=1e-9)


def test_the_delta_error_of_spearman_is_that_of_many_samples():
    rng = np.random.default_rng(0)
    cells = np.array([[0.2, 0.05, 0.01], [0.06, 0.25, 0.08], [0.02, 0.08, 0.25]]).ravel()
    drawn = [np.divmod(rng.choice(9, 200, p=cells), 3) for _ in range(300)]
    found = [ordinal_agreement(human, judge, [0, 1, 2]).spearman for human, judge in drawn]
    assert np.mean([one.se for one in found]) == pytest.approx(np.std([one.estimate for one in found]), rel=0.12)


@settings(max_examples=40)
@given(PAIRS)
def test_intervals_hold_their_estimates_within_bounds(pairs):
    found = agreement(*zip(*pairs, strict=True))
    for name in COEFFICIENTS:
        one = getattr(found, name)
        if math.isnan(one.estimate):
            assert one.reason
        else:
            assert -1 <= one.low <= one.estimate <= one.high <= 1
            assert one.lower <= one.estimate
            assert one.high > one.low


@settings(max_examples=40)
@given(PAIRS)
def test_symmetric_coefficients_do_not_ask_who_is_the_judge(pairs):
    human, judge = zip(*pairs, strict=True)
    one, other = agreement(human, judge), agreement(judge, human)
    for name in ("accuracy", "kappa", "ac1", "mcc", "alpha"):
        assert getattr(one, name).estimate == pytest.approx(getattr(other, name).estimate, nan_ok=True)


@settings(max_examples=40)
@given(PAIRS, st.integers(2, 50))
def test_equal_weights_change_nothing(pairs, weight):
    human, judge = zip(*pairs, strict=True)
    plain, weighed = agreement(human, judge), agreement(human, judge, weights=[weight] * len(human))
    for name in COEFFICIENTS:
        for part in ("estimate", "low", "lower"):
            ours, theirs = getattr(getattr(plain, name), part), getattr(getattr(weighed, name), part)
            assert theirs == pytest.approx(ours, nan_ok=True)


def test_weights_undo_enriched_sampling():
    # of 900 passed by the judge 90 were labelled, of 100 failed 50: TPR is 80 x 10 / (80 x 10 + 10 x 2)
    human, judge = verdicts(80, 10, 10, 40)
    weights = [10.0] * 80 + [2.0] * 10 + [10.0] * 10 + [2.0] * 40
    found = agreement(human, judge, weights=weights)
    assert found.tpr.estimate == pytest.approx(800 / 820)
    assert found.tnr.estimate == pytest.approx(80 / 180)
    # within the labels the odds are 80 to 10, and weights only scale them: limits of 80 of 90, times 5
    plain = agreement(human, judge).tpr
    assert found.tpr.low == pytest.approx(plain.low * 5 / (plain.low * 5 + 1 - plain.low))
    assert sum(found.effective) == pytest.approx(sum(weights) ** 2 / sum(weight**2 for weight in weights))


def test_the_lower_bound_is_the_exact_one():
    from scipy.stats import binomtest

    theirs = binomtest(47, 50, alternative="greater").proportion_ci(0.95, method="exact").low
    assert agreement(*verdicts(47, 3, 5, 45)).tpr.lower == pytest.approx(theirs)


def test_a_perfect_judge_is_not_certain():
    found = agreement(*verdicts(30, 0, 0, 30))
    for name in COEFFICIENTS:
        one = getattr(found, name)
        assert one.estimate == one.high == 1
        assert one.low < 0.97


def test_missing_verdicts_are_counted_not_wrong():
    found = agreement(["pass", "pass", "fail", None], ["pass", None, "fail", "pass"])
    assert (found.n, found.n_missing, found.n_unlabelled, found.accuracy.estimate) == (2, 1, 1, 1.0)


@pytest.mark.parametrize(
    ("human", "judge", "name", "reason"),
    [
        ([], [], "accuracy", "no item"),
        (["pass"] * 5, ["pass"] * 5, "kappa", "0/0"),
        (["pass"] * 5, ["pass"] * 5, "tnr", "no labelled item is 'not pass'"),
        (["pass"] * 5, ["pass"] * 5, "j", "not pass"),
        (["yes"] * 5, ["no"] * 5, "tpr", "no labelled item is 'pass'"),
        ([None] * 5, ["pass"] * 5, "ac1", "no item"),
    ],
)
def test_undefined_is_nan_with_a_reason(human, judge, name, reason):
    found = getattr(agreement(human, judge), name)
    assert math.isnan(found.estimate)
    assert math.isnan(found.lower)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("human", "judge", "settings", "message"),
    [
        (["pass"], [], {}, "1 labels and 0 verdicts"),
        (["pass"], [1], {}, "expected a verdict as text"),
        (["pass"], ["pass"], {"weights": [0.0]}, "a weight is 0"),
        (["pass"], ["pass"], {"weights": [1.0, 2.0]}, "2 weights for 1"),
        (["pass"], ["pass"], {"level": 95}, "level is 95"),
    ],
)
def test_bad_input_says_what_is_wrong(human, judge, settings, message):
    with pytest.raises(StatisticsError, match=message):
        agreement(human, judge, **settings)


def test_classes_are_taken_one_against_the_rest():
    human, judge = ["a", "a", "b", "b", "c", "c"], ["a", "b", "b", "b", "c", None]
    found = by_class(human, judge, ["a", "b", "c"])
    assert [found[name].tpr.estimate for name in "abc"] == [0.5, 1.0, 1.0]
    assert found["b"].tnr.estimate == pytest.approx(2 / 3)
    assert class_agreement(human, judge, ["a", "b", "c"]).confusion == ((1, 1, 0), (0, 2, 0), (0, 0, 1))
    with pytest.raises(StatisticsError, match="none of the classes"):
        by_class(human, judge, ["a", "b"])


def test_a_class_that_nobody_gave_has_no_rate():
    found = by_class(["a", "b"], ["a", "b"], ["a", "b", "c"])
    assert "no labelled item is 'c'" in found["c"].tpr.reason


def test_labels_that_are_alike_within_a_cluster_count_less():
    human, judge = verdicts(80, 20, 20, 80)
    clusters = np.repeat(np.arange(40), 5)  # whole clusters are right or wrong
    plain, clustered = agreement(human, judge), agreement(human, judge, cluster=clusters)
    for name in COEFFICIENTS:
        one, other = getattr(plain, name), getattr(clustered, name)
        assert other.estimate == pytest.approx(one.estimate)
        assert other.high - other.low > 1.5 * (one.high - one.low)
        assert other.lower < one.lower


def test_under_five_clusters_have_no_interval():
    found = agreement(*verdicts(8, 2, 2, 8), cluster=[0] * 10 + [1] * 10)
    assert math.isnan(found.kappa.lower)
    assert "clusters" in found.tpr.reason
