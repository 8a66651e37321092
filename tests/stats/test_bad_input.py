"""Whatever comes in: a statistic, NaN with a reason, or StatisticsError; no RuntimeWarning, no invented 0."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import (
    check_guardrail,
    cluster_bootstrap,
    decide,
    equivalence,
    max_t,
    mcnemar,
    mean_interval,
    noninferiority,
    paired_difference,
    rate_interval,
    sign_flip,
    tango_interval,
)

ANY = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, math.nan, 1e-320, -1e99, 0.3]))
ROWS = st.lists(st.tuples(ANY, ANY, st.integers(0, 7)), max_size=25)


def columns(rows):
    return [np.array(column, float) for column in zip(*rows, strict=True)] if rows else [np.array([])] * 3


@given(ROWS, st.booleans())
def test_intervals_are_defined_or_say_why_not(rows, clustered):
    x, _, cluster = columns(rows)
    for maker in (rate_interval, mean_interval):
        try:
            found = maker(x, cluster if clustered else None)
        except StatisticsError:
            continue
        assert math.isfinite(found.estimate)
        assert found.n + found.n_missing == len(x)
        assert found.low < found.high or (math.isnan(found.low) and found.warnings)
        assert found.se != 0


@given(ROWS, st.booleans())
def test_comparisons_are_defined_or_say_why_not(rows, clustered):
    a, b, cluster = columns(rows)
    try:
        found = paired_difference(a, b, cluster if clustered else None)
    except StatisticsError:
        return
    assert found.low < found.high or (math.isnan(found.low) and found.warnings)
    assert math.isnan(found.p_value) == math.isnan(found.low)
    assert found.se != 0
    assert decide(found, 0.03).sentence
    for test in (noninferiority, equivalence):
        assert test(a, b, 0.1, cluster if clustered else None).n == found.n


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_class_is_a_bound_not_a_point(value):
    found = rate_interval([value] * 30)
    assert found.high - found.low > 0.1
    assert tango_interval([value] * 30, [value] * 30).high > 0.1
    assert mcnemar([value] * 30, [value] * 30).p_value == 1


@settings(max_examples=40)
@given(ROWS, st.booleans(), st.sampled_from(["percentile", "bca"]))
def test_a_bootstrap_is_defined_or_says_why_not(rows, clustered, method):
    x, _, cluster = columns(rows)
    try:
        (found,) = cluster_bootstrap(x, cluster if clustered else None, 100, seed=1, method=method).intervals
    except StatisticsError:
        return
    assert math.isfinite(found.estimate)
    assert found.n + found.n_missing == len(x)
    assert found.low < found.high or (math.isnan(found.low) and found.warnings)


@settings(max_examples=40)
@given(ROWS, st.booleans())
def test_sign_flips_are_a_probability_or_an_error(rows, clustered):
    x, y, cluster = columns(rows)
    try:
        found = sign_flip(x, cluster if clustered else None, 100, seed=1)
        adjusted = max_t(np.column_stack([x, y]), cluster if clustered else None, 100, seed=1)
    except StatisticsError:
        return
    assert 0 < found.p_value <= 1
    assert found.n + found.n_missing == len(x)
    assert 0 < adjusted[0] <= 1
    assert math.isnan(adjusted[1]) == bool(np.isnan(y).all())


ONE = np.arange(20.0) % 2
UNDEFINED = {
    "empty": ([], [], None),
    "all missing": ([math.nan] * 20, ONE, None),
    "never a pair": ([1.0, math.nan], [math.nan, 1.0], None),
    "one cluster": (ONE, 1 - ONE, ["k"] * 20),
    "a cluster is missing": (ONE, 1 - ONE, [None, *"abcdefghij" * 2][:20]),
}
COMPARED = {
    "paired": paired_difference,
    "noninferiority": lambda a, b, cluster: noninferiority(a, b, 0.1, cluster),
    "equivalence": lambda a, b, cluster: equivalence(a, b, 0.1, cluster),
    "guardrail": lambda a, b, cluster: check_guardrail(a, b, metric="cost", worse_by=0, cluster=cluster),
}


@pytest.mark.parametrize("case", UNDEFINED)
@pytest.mark.parametrize("test", COMPARED)
def test_undefined_comparisons_are_errors(test, case):
    with pytest.raises(StatisticsError):
        COMPARED[test](*UNDEFINED[case])


@pytest.mark.parametrize("case", ["empty", "all missing", "one cluster", "a cluster is missing"])
@pytest.mark.parametrize("maker", [rate_interval, mean_interval, lambda x, c: cluster_bootstrap(x, c, 100, seed=1)])
def test_undefined_intervals_are_errors(maker, case):
    x, _, cluster = UNDEFINED[case]
    with pytest.raises(StatisticsError):
        maker(x, cluster)


def test_one_class_decides_nothing_about_graded_scores():
    """Equal scores that are no right and wrong: no interval, no margin passed, no verdict."""
    half = np.full(20, 0.5)
    assert noninferiority(half, half, 0.1).status == "undecided"
    assert not equivalence(half, half, 0.1).equivalent
    assert decide(paired_difference(half, half), 0.1).kind == "INCONCLUSIVE"


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.001, 0.3), st.floats(0, 0.3))
def test_a_wider_margin_never_takes_a_pass_away(n10, n01, margin, more):
    a, b = np.r_[np.ones(n10), np.zeros(n01), np.ones(140)], np.r_[np.zeros(n10), np.ones(n01 + 140)]
    assert noninferiority(a, b, margin).passed <= noninferiority(a, b, margin + more).passed
    assert equivalence(a, b, margin).equivalent <= equivalence(a, b, margin + more).equivalent
    near, far = (decide(paired_difference(a, b), size).kind for size in (margin, margin + more))
    assert near != "EQUIVALENT" or far == "EQUIVALENT"


@settings(max_examples=40)
@given(st.integers(5, 30), st.integers(0, 30), st.integers(1, 20))
def test_a_further_win_never_hurts(n10, n01, more):
    def p_better(wins):
        a, b = np.r_[np.ones(wins), np.zeros(n01), np.ones(99)], np.r_[np.zeros(wins), np.ones(n01 + 99)]
        found = paired_difference(a, b)
        return found.estimate, noninferiority(a, b, 0.1).p_value

    (less, worse), (greater, better) = p_better(n10), p_better(n10 + more)
    assert greater > less
    assert better <= worse + 1e-12
