import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import mcnemar, tango_interval

COUNTS = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 60))


def pairs(n10, n01, same):
    return np.r_[np.ones(n10), np.zeros(n01), np.ones(same)], np.r_[np.zeros(n10), np.ones(n01), np.ones(same)]


def test_reference_figures():
    found = mcnemar(*pairs(42, 25, 433))
    assert (found.p_value, found.mid_p) == (pytest.approx(0.04980, abs=5e-6), pytest.approx(0.0385, abs=5e-5))
    limits = tango_interval(*pairs(42, 25, 433))
    assert (limits.low, limits.high) == (pytest.approx(0.00196, abs=5e-6), pytest.approx(0.06712, abs=5e-6))


def test_published_airway_study():
    # Fagerland, Lydersen & Laake 2013, BMC Med. Res. Methodol. 13:91 (1, 1, 7, 12): exact .0703, mid-p .0391;
    # Tango for the same table, Fagerland et al. 2014: -.517 to -.026
    a, b = np.r_[1, 1, np.zeros(7), np.zeros(12)], np.r_[1, 0, np.ones(7), np.zeros(12)]
    found, limits = mcnemar(a, b), tango_interval(a, b)
    assert (found.p_value, found.mid_p) == (pytest.approx(0.0703, abs=5e-5), pytest.approx(0.0391, abs=5e-5))
    assert (limits.low, limits.high) == (pytest.approx(-0.517, abs=5e-4), pytest.approx(-0.026, abs=5e-4))


def test_by_hand():
    # 3 against 0: 2 * (1/2)^3 = 1/4, mid-p 1/4 - 1/8; equal columns: Tango is +-z^2 / (n + z^2)
    assert (mcnemar(*pairs(3, 0, 5)).p_value, mcnemar(*pairs(3, 0, 5)).mid_p) == (0.25, 0.125)
    assert tango_interval(*pairs(0, 0, 100)).high == pytest.approx(3.841459 / 103.841459)


def test_1_against_1_has_mid_p_1_minus_the_middle():
    assert mcnemar(*pairs(1, 1, 5)).mid_p == 0.5
    assert mcnemar(*pairs(1, 1, 5)).p_value == 1


@given(COUNTS)
def test_mcnemar_agrees_with_statsmodels(counts):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    n10, n01, same = counts
    oracle = tables.mcnemar([[same, n10], [n01, 0]], exact=True)
    assert mcnemar(*pairs(*counts)).p_value == pytest.approx(oracle.pvalue, abs=1e-12)


@given(COUNTS)
def test_tango_limits_hold_the_estimate_and_mirror(counts):
    found, mirrored = tango_interval(*pairs(*counts)), tango_interval(*reversed(pairs(*counts)))
    assert -1 <= found.low < found.estimate + 1e-12 < found.high + 2e-12 <= 1 + 3e-12
    assert found.low == pytest.approx(-mirrored.high, abs=1e-9)
    assert found.high - found.low > 0.01


@given(COUNTS)
def test_tango_limits_solve_the_score_equation_on_a_likelihood_grid(counts):
    """The closed-form restricted estimate against a search for the maximum of the likelihood."""
    n10, n01, same = counts
    n = sum(counts)
    low = tango_interval(*pairs(*counts)).low
    if not -0.99 < low < 0.99:
        return
    p01 = np.linspace(max(0.0, -low), (1 - low) / 2, 200_001)[1:-1]
    likelihood = n01 * np.log(p01) + n10 * np.log(np.maximum(p01 + low, 1e-300)) + same * np.log(1 - 2 * p01 - low)
    best = p01[np.argmax(likelihood)]
    score = (n10 - n01 - n * low) / np.sqrt(n * (2 * best + low * (1 - low)))
    assert score == pytest.approx(1.959964, abs=0.01)


def test_missing_sides_are_counted():
    a, b = [1, 0, np.nan, 1, 1], [0, 0, 1, np.nan, 1]
    assert (mcnemar(a, b).n, mcnemar(a, b).n_missing) == (3, 2)
    assert tango_interval(a, b).n_missing == 2


@pytest.mark.parametrize("statistic", [mcnemar, tango_interval])
@pytest.mark.parametrize(
    ("a", "b"), [([], []), ([1, 0], [1]), ([0.5, 1], [0, 1]), ([np.nan], [1]), ([np.inf, 1], [0, 1])]
)
def test_refuses(statistic, a, b):
    with pytest.raises(StatisticsError):
        statistic(a, b)
