import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import benjamini_hochberg, holm, luck_of_best

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_published_holm():
    # the usual textbook example (.01, .04, .03, .005): R's p.adjust(method = "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_by_hand():
    # .02 * 3, max(.06, .02 * 2), max(.06, .5)
    assert holm([0.02, 0.5, 0.02]) == pytest.approx([0.06, 0.5, 0.06])


@given(P_VALUES)
def test_holm_agrees_with_statsmodels(p):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


@given(P_VALUES)
def test_holm_only_raises_and_keeps_order(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


def test_undefined_p_values_stay_undefined_and_leave_the_family():
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert np.isnan(holm([None, math.nan])).all()


@pytest.mark.parametrize("p", [[], [1.2], [-0.1, 0.5], [math.inf], ["0.1"]])
def test_holm_refuses(p):
    with pytest.raises(StatisticsError):
        holm(p)


@pytest.mark.parametrize(("k", "best"), [(1, 0.8), (10, 0.8426), (100, 0.8679)])
def test_luck_reference(k, best):
    assert luck_of_best(k, 200, 0.8) == pytest.approx(best, abs=5e-5)


def test_luck_by_hand():
    # two coins on one item: the best is 1 unless both are 0
    assert luck_of_best(2, 1, 0.5) == 0.75


def test_luck_agrees_with_drawing():
    best = np.random.default_rng(0).binomial(50, 0.7, size=(20_000, 8)).max(axis=1).mean() / 50
    assert luck_of_best(8, 50, 0.7) == pytest.approx(best, abs=0.002)


@given(st.integers(1, 50), st.integers(1, 300), st.floats(0, 1))
def test_luck_lies_between_the_rate_and_1(k, n, p):
    assert p - 1e-9 <= luck_of_best(k, n, p) <= 1


@pytest.mark.parametrize("bad", [(0, 10, 0.5), (3, 0, 0.5), (3, 10, 1.5), (3, 10, math.nan)])
def test_luck_refuses(bad):
    with pytest.raises(StatisticsError):
        luck_of_best(*bad)


@given(P_VALUES)
def test_benjamini_hochberg_agrees_with_both_libraries(p):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    stats = pytest.importorskip("scipy.stats")
    assert benjamini_hochberg(p) == pytest.approx(multitest.multipletests(p, method="fdr_bh")[1], rel=1e-8)
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p), rel=1e-8)


def test_benjamini_hochberg_by_hand():
    # .005 * 4/1, .01 * 4/2, .03 * 4/3, .04 * 4/4
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])


@given(P_VALUES)
def test_benjamini_hochberg_lies_between_the_p_value_and_holm(p):
    adjusted = benjamini_hochberg(p)
    assert (adjusted >= np.array(p) - 1e-15).all()
    assert (adjusted <= holm(p) + 1e-15).all()


def test_benjamini_hochberg_leaves_undefined_ones_out():
    assert benjamini_hochberg([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)


@pytest.mark.parametrize("p", [[], [1.2], [-0.1, 0.5], ["0.1"]])
def test_benjamini_hochberg_refuses(p):
    with pytest.raises(StatisticsError):
        benjamini_hochberg(p)
