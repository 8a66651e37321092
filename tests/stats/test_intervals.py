import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import mean_interval, rate_interval

CLUSTERS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), max_size=60).map(
    lambda rows: (np.array([v for v, _ in rows] + [0] * 10, float), np.array([c for _, c in rows] + list(range(10))))
)
FRACTIONS = st.lists(st.floats(0, 1), min_size=2, max_size=40).map(np.array)


def answers(right, n):
    return np.r_[np.ones(right), np.zeros(n - right)]


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # facts of this project
        (45, 50, 0.7864, 0.9565),
        (50, 50, 0.9287, 1.0),
    ],
)
def test_published_wilson(right, n, low, high):
    found = rate_interval(answers(right, n))
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert found.method == "wilson"


def test_wilson_by_hand():
    # level with z = 1 (.6827), 2 of 4: (1/2 + 1/8 +- sqrt(1/16 + 1/64)) / (1 + 1/4) = 1/2 +- sqrt(5)/10
    found = rate_interval([1, 1, 0, 0], level=math.erf(1 / math.sqrt(2)))
    assert found.low == pytest.approx(0.5 - math.sqrt(5) / 10)
    assert found.high == pytest.approx(0.5 + math.sqrt(5) / 10)


@given(st.integers(1, 300), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_statsmodels(n, data, level):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    right = data.draw(st.integers(0, n))
    low, high = proportion.proportion_confint(right, n, alpha=1 - level, method="wilson")
    found = rate_interval(answers(right, n), level=level)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


@given(CLUSTERS)
def test_rate_interval_is_inside_0_and_1_and_never_of_zero_width(rows):
    found = rate_interval(*rows)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert found.high - found.low > 1e-3


@given(FRACTIONS)
def test_fractions_have_width_too(values):
    found = rate_interval(values)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert found.high > found.low


@given(CLUSTERS)
def test_rate_interval_is_symmetric_in_right_and_wrong(rows):
    values, cluster = rows
    found, mirrored = rate_interval(values, cluster), rate_interval(1 - values, cluster)
    assert found.low == pytest.approx(1 - mirrored.high)
    assert found.high == pytest.approx(1 - mirrored.low)


@given(CLUSTERS, st.randoms(use_true_random=False))
def test_order_of_rows_and_names_of_clusters_do_not_matter(rows, random):
    values, cluster = rows
    order = list(range(len(values)))
    random.shuffle(order)
    found, shuffled = rate_interval(values, cluster), rate_interval(values[order], [f"c{c}" for c in cluster[order]])
    assert found.low == pytest.approx(shuffled.low)
    assert found.high == pytest.approx(shuffled.high)


def test_runs_of_an_item_count_as_one_item():
    once = answers(45, 60)
    four = rate_interval(np.repeat(once, 4), np.repeat(np.arange(60), 4))
    assert four.n == 240
    assert four.design_effect == pytest.approx(4, rel=0.03)
    assert four.high - four.low == pytest.approx(rate_interval(once).high - rate_interval(once).low, rel=0.05)


def test_a_perfect_score_of_repeated_items_counts_items():
    # 100 items, 4 runs, no error: Wilson's lower limit is n / (n + t^2) with n = 100 and t(99) = 1.984
    found = rate_interval(np.ones(400), np.repeat(np.arange(100), 4))
    assert found.low == pytest.approx(100 / (100 + 1.98422**2), abs=1e-5)
    assert found.high == 1
    assert math.isnan(found.se)
    assert "no standard error" in found.warnings[-1]


def test_clusters_never_narrow_a_rate():
    # every cluster holds one of each: the observed design effect is 0, the used one 1
    found = rate_interval(np.tile([0.0, 1.0], 40), np.repeat(np.arange(40), 2))
    assert found.design_effect == pytest.approx(1, abs=1e-3)


def test_one_value_a_cluster_is_plain_wilson():
    values = answers(30, 40)
    assert rate_interval(values, np.arange(40)).low == rate_interval(values).low


def test_steady_fractions_beat_the_binary_width():
    values = np.tile([0.85, 0.95], 50)
    steady, binary = rate_interval(values), rate_interval(answers(90, 100))
    assert steady.high - steady.low < 0.5 * (binary.high - binary.low)


@pytest.mark.parametrize("maker", [rate_interval, mean_interval])
def test_missing_values_are_carried(maker):
    values = [1, 0, None, 1, math.nan, 0, 1, 1]
    found = maker(values)
    full = maker([1, 0, 1, 0, 1, 1])
    assert (found.n, found.n_missing) == (6, 2)
    assert (found.low, found.high) == (full.low, full.high)
    assert found.warnings[0].startswith("2 of 8 values are missing")


def test_mean_by_hand():
    # 1 2 3: mean 2, SE 1/sqrt(3), t(2) at .975 is 4.30265
    found = mean_interval([1, 2, 3])
    assert (found.estimate, found.df) == (2, 2)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3))


def test_published_mean():
    # NIST e-Handbook 1.3.5.2, ZARR13: mean 9.261460, sd .0227, n 195 -> [9.258242, 9.264679]; values with these moments
    values = 9.261460 + 0.02278881 * np.r_[np.ones(97), -np.ones(97), 0]
    found = mean_interval(values)
    assert found.low == pytest.approx(9.258242, abs=2e-6)
    assert found.high == pytest.approx(9.264679, abs=2e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=50, unique=True))
def test_mean_agrees_with_scipy(values):
    from scipy import stats

    if np.ptp(values) < 1e-3:
        return
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    found = mean_interval(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_mean_scales_with_the_unit():
    values, cluster = np.random.default_rng(0).gamma(2, size=60), np.repeat(np.arange(12), 5)
    seconds, millis = mean_interval(values, cluster), mean_interval(1000 * values, cluster)
    assert millis.low == pytest.approx(1000 * seconds.low)


@pytest.mark.parametrize("values", [[0.1 + 0.2, 0.3, 0.3], [5.0] * 40, [0.0] * 40])
def test_equal_values_have_no_interval_and_say_why(values):
    found = mean_interval(values)
    assert math.isnan(found.low)
    assert math.isnan(found.se)
    assert "equal" in found.warnings[-1]


def test_long_tails_are_announced():
    assert "long-tailed" in mean_interval([1.0] * 39 + [50.0]).warnings[-1]
    assert not mean_interval(np.arange(40.0)).warnings


def test_few_clusters_warn_and_fewer_than_5_are_refused():
    values = answers(20, 40)
    assert "only 8 clusters" in rate_interval(values, np.arange(40) % 8).warnings[-1]
    assert not rate_interval(values, np.arange(40) % 30).warnings
    for maker in (rate_interval, mean_interval):
        with pytest.raises(StatisticsError, match="4 clusters"):
            maker(values, np.arange(40) % 4)


@pytest.mark.parametrize(
    "values", [[0.5, 1.2], [-0.1, 0.5], [0.5], [], [math.nan], [None, None], [math.inf, 1], ["1", "0"], [[1, 0]], [1j]]
)
def test_rate_refuses(values):
    with pytest.raises(StatisticsError):
        rate_interval(values)


@pytest.mark.parametrize(
    "values", [[3.0], [], [math.nan] * 9, [1.0, -math.inf], ["a", 1], [1e200, 1], 7, [object()] * 3]
)
def test_mean_refuses(values):
    with pytest.raises(StatisticsError):
        mean_interval(values)


@pytest.mark.parametrize("level", [0, 1, 95, -0.1, math.nan])
def test_level_is_a_fraction(level):
    for maker in (rate_interval, mean_interval):
        with pytest.raises(StatisticsError, match="level"):
            maker([0, 1, 1, 0, 1], level=level)


@pytest.mark.parametrize("cluster", [["a"] * 5, ["a", "b", "c", "d", "e", math.nan], [1, 2, 3, 4, 5, None], [[1]] * 6])
def test_clusters_must_fit_the_rows(cluster):
    with pytest.raises(StatisticsError, match="cluster"):
        rate_interval([0, 1, 1, 0, 1, 1], cluster)


def test_one_value_is_a_rate_with_a_wide_interval():
    # Wilson 1/1: 1 / (1 + z^2)
    assert rate_interval([1]).low == pytest.approx(1 / (1 + 1.959964**2), abs=1e-6)


def test_pandas_columns_are_welcome():
    pandas = pytest.importorskip("pandas")
    column = pandas.Series([1, 0, None, 1, 1, 0], dtype="Float64")
    assert rate_interval(column, pandas.Series(list("abcdef"))).n_missing == 1
