import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from safetycatch.errors import StatisticsError
from safetycatch.judging.agreement import agreement
from safetycatch.judging.labels_needed import (
    ClassRate,
    labels_for_kappa,
    labels_for_rate,
    more_labels_for_j,
    more_labels_for_rate,
)


@pytest.mark.parametrize(("floor", "truth", "n"), [(0.8, 0.9, 94), (0.85, 0.95, 68), (0.8, 0.85, 398)])
def test_labels_of_a_class_as_in_the_facts(floor, truth, n):
    assert labels_for_rate(floor, truth) == n


def power(n, floor, truth):
    shown = [k for k in range(n + 1) if binomtest(k, n, floor, alternative="greater").pvalue <= 0.05]
    return binom.sf(shown[0] - 1, n, truth) if shown else 0.0


def test_the_exact_test_has_the_power_from_there_on():
    assert power(93, 0.8, 0.9) < 0.8
    assert min(power(n, 0.8, 0.9) for n in range(94, 130)) >= 0.8


@pytest.mark.parametrize(("half_width", "labels"), [(0.10, (323, 246, 139)), (0.05, (1291, 984, 554))])
def test_labels_for_kappa_as_in_the_facts(half_width, labels):
    assert tuple(labels_for_kappa(kappa, half_width) for kappa in (0.4, 0.6, 0.8)) == labels


def counted(tp, fn, fp, tn):
    human = ["pass"] * (tp + fn) + ["fail"] * (fp + tn)
    return agreement(human, ["pass"] * tp + ["fail"] * fn + ["pass"] * fp + ["fail"] * tn)


def rate(found):
    return ClassRate(found.estimate, found.lower, found.n)


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(0, 15))
def test_no_more_labels_are_needed_exactly_where_the_bound_is_there(hits, misses):
    found = counted(hits, misses, 1, 1).tpr
    more = more_labels_for_rate(rate(found), 0.8)
    assert (more == 0) == (found.lower >= 0.8)
    assert (more is None) == (found.lower < 0.8 and hits / (hits + misses) <= 0.8)


def test_one_hit_at_a_time_by_hand():
    # 9 of 9 bound .717; the bound of k of k is .05 ** (1 / k), above .8 from 14 on
    assert more_labels_for_rate(rate(counted(9, 0, 1, 1).tpr), 0.8) == 5


def test_labels_five_to_a_question_tell_a_fifth():
    human, judge = (["pass"] * 45 + ["fail"] * 45) * 5, (["pass"] * 40 + ["fail"] * 50) * 5
    alone = agreement(human[:90], judge[:90])
    found = agreement(human, judge, cluster=list(range(90)) * 5)
    assert (found.tpr.n, found.tpr.lower) == (225, pytest.approx(alone.tpr.lower, abs=0.005))
    few, many = (more_labels_for_rate(rate(one.tpr), 0.8) for one in (alone, found))
    assert few is not None
    assert many == pytest.approx(5 * few, rel=0.2)


def test_rare_labels_weigh_and_their_bound_counts():
    """Unweighted, 72 of 80 reach .80; weighted they do not, and it is not said that none are needed."""
    human, judge = ["fail"] * 80 + ["pass"] * 80, ["fail"] * 72 + ["pass"] * 88
    weights = [1.0] * 72 + [1.5] * 8 + [1.0] * 80
    plain, found = agreement(human, judge).tnr, agreement(human, judge, weights=weights).tnr
    assert plain.lower > 0.8 > found.lower
    assert (more_labels_for_rate(rate(found), 0.8) or 0) > 0


def test_j_gets_there_with_the_labels_said():
    found = counted(34, 6, 8, 32)
    assert found.j.lower < 0.5
    more = more_labels_for_j(rate(found.tpr), rate(found.tnr), 0.5)
    assert more is not None
    scale = (40 + more) / 40
    assert counted(*(round(count * scale) for count in (34, 6, 8, 32))).j.lower > 0.5
    there, never = counted(90, 10, 10, 90), counted(60, 40, 40, 60)
    assert more_labels_for_j(rate(there.tpr), rate(there.tnr), 0.5) == 0
    assert more_labels_for_j(rate(never.tpr), rate(never.tnr), 0.5) is None


def test_what_cannot_be_said_is_an_error():
    with pytest.raises(StatisticsError, match="expected 0 < floor < truth < 1"):
        labels_for_rate(0.9, 0.8)
    with pytest.raises(StatisticsError, match="more than 100,000"):
        labels_for_rate(0.8, 0.8001)
    with pytest.raises(StatisticsError, match="labels of the class"):
        more_labels_for_rate(ClassRate(0, 0, 0), 0.8)
    with pytest.raises(StatisticsError, match="labels of the class"):
        more_labels_for_j(ClassRate(1, 0.5, 5), ClassRate(float("nan"), float("nan"), 0), 0.5)
    with pytest.raises(StatisticsError, match="kappa 1"):
        labels_for_kappa(1, 0.1)
