"""Whatever comes in: a statistic, NaN with a reason, or StatisticsError; no RuntimeWarning, no invented 0."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import (
    decide,
    equivalence,
    mcnemar,
    mean_interval,
    noninferiority,
    paired_difference,
    rate_interval,
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
