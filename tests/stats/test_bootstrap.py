import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import cluster_bootstrap

MC = 3 * math.sqrt(2) * 0.0267  # three Monte Carlo errors of the difference of two 2.5 % points, in standard errors


def clustered(n_clusters=300, size=10, seed=0):
    rng = np.random.default_rng(seed)
    rates = rng.beta(3, 1, n_clusters)
    return (rng.random((n_clusters, size)) < rates[:, None]).astype(float).ravel(), np.repeat(
        np.arange(n_clusters), size
    )


@pytest.mark.parametrize(("method", "named"), [("percentile", "percentile"), ("bca", "BCa")])
@pytest.mark.parametrize("graded", [False, True])
def test_agrees_with_scipy_on_cluster_sums(method, named, graded):
    stats = pytest.importorskip("scipy.stats")
    x, cluster = clustered()
    if graded:  # no two clusters alike: drawn one by one
        x = np.random.default_rng(1).lognormal(0, 1, len(x))
    sums = x.reshape(-1, 10).sum(axis=1)
    found = cluster_bootstrap(x, cluster, seed=1, method=method).interval
    oracle = stats.bootstrap(
        (sums,), np.mean, n_resamples=10_000, batch=100, method=named, rng=np.random.default_rng(2)
    )
    ends = oracle.confidence_interval
    assert found.se == pytest.approx(oracle.standard_error / 10, rel=0.03)
    assert found.low == pytest.approx(ends.low / 10, abs=MC * found.se)
    assert found.high == pytest.approx(ends.high / 10, abs=MC * found.se)


def test_five_unequal_clusters_by_all_3125_resamples():
    values = [[1, 1, 1], [0], [1, 0], [2, 5], [0, 0, 1, 4]]
    means = [
        sum(sum(values[g]) for g in drawn) / sum(len(values[g]) for g in drawn)
        for drawn in itertools.product(range(5), repeat=5)
    ]
    found = cluster_bootstrap(
        [x for group in values for x in group], [g for g, group in enumerate(values) for _ in group], 40_000, seed=1
    ).intervals[0]
    assert found.estimate == pytest.approx(16 / 12)
    assert found.se == pytest.approx(np.std(means), rel=0.02)
    # The resampled means are discrete: the end has at most its share below, up to three Monte Carlo errors.
    for end, share in ((found.low, 0.025), (found.high, 0.975)):
        slack = 3 * math.sqrt(share * (1 - share) / 40_000)
        assert np.mean(np.array(means) < end - 1e-9) <= share + slack
        assert np.mean(np.array(means) <= end + 1e-9) >= share - slack


def test_one_item_a_cluster_by_hand():
    # 0/1 in 200 clusters of one: the resampled count is binomial(200, .9), whose 2.5 and 97.5 % points are 171 and 188
    x = np.r_[np.ones(180), np.zeros(20)]
    found = cluster_bootstrap(x, None, 40_000, seed=3).intervals[0]
    assert (found.low, found.high) == (0.855, 0.94)


def test_columns_share_the_resamples():
    x, cluster = clustered()
    found = cluster_bootstrap(np.column_stack([x, 1 - x, 2 * x]), cluster, 500, seed=1).intervals
    assert found[1].low == pytest.approx(1 - found[0].high)
    assert found[2].high == pytest.approx(2 * found[0].high)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_missing_values_are_carried_column_by_column(method):
    x, cluster = clustered()
    gaps = np.where(np.random.default_rng(4).random(len(x)) < 0.3, math.nan, x)
    together = cluster_bootstrap(np.column_stack([x, gaps]), cluster, seed=1, method=method).intervals
    assert [(one.n, one.n_missing) for one in together] == [
        (3000, 0),
        (3000 - np.isnan(gaps).sum(), np.isnan(gaps).sum()),
    ]
    assert together[1].estimate == pytest.approx(np.nanmean(gaps))
    alone = cluster_bootstrap(gaps, cluster, seed=2, method=method).intervals[0]
    assert together[1].low == pytest.approx(alone.low, abs=MC * alone.se)
    assert "are missing" in together[1].warnings[0]


def test_a_resample_without_a_value_is_left_out_and_said():
    x = np.full((40, 2), 1.0)
    x[:, 0], x[5:, 1], x[:5, 1] = np.arange(40), math.nan, np.arange(5)
    found = cluster_bootstrap(x, None, 5000, seed=1).intervals[1]
    assert any("hold no observed value" in said for said in found.warnings)
    assert found.low < found.estimate < found.high


@given(st.integers(0, 2**32 - 1), st.permutations(range(12)))
def test_names_and_order_of_clusters_do_not_matter_to_the_estimate(seed, order):
    x, cluster = clustered(12, 5, seed % 1000)
    names = np.array([f"k{place}" for place in order])[cluster]
    here, there = (cluster_bootstrap(x, c, 200, seed=seed).intervals[0] for c in (cluster, names))
    assert there.estimate == here.estimate
    assert (there.n_clusters, there.n) == (12, 60)
    if not math.isnan(here.low):
        assert 0 <= here.low <= here.high <= 1


def test_the_same_seed_gives_the_same_interval():
    x, cluster = clustered()
    assert cluster_bootstrap(x, cluster, 500, seed=7) == cluster_bootstrap(x, cluster, 500, seed=7)
    assert cluster_bootstrap(x, cluster, 500, seed=7).intervals != cluster_bootstrap(x, cluster, 500, seed=8).intervals


def test_a_higher_level_is_wider():
    x, cluster = clustered()
    narrow, wide = (cluster_bootstrap(x, cluster, 2000, seed=1, level=level).intervals[0] for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("x", [np.ones(60), np.tile([0.1, 0.3], 30)])
def test_no_spread_is_no_interval_of_width_0(x, method):
    found = cluster_bootstrap(x, np.arange(60) // 2, 200, seed=1, method=method).intervals[0]
    assert math.isnan(found.low)
    assert math.isnan(found.se)
    assert "sees no spread" in found.warnings[-1]


def test_few_clusters_warn_and_rates_below_200():
    x, cluster = clustered(20)
    said = cluster_bootstrap(x, cluster, 200, seed=1).intervals[0].warnings
    assert "only 20 clusters" in said[0]
    assert "use rate_interval" in said[1]
    x, cluster = clustered(200)
    assert cluster_bootstrap(x, cluster, 200, seed=1).intervals[0].warnings == ()


@pytest.mark.parametrize(
    ("x", "cluster", "said"),
    [
        ([], None, "empty"),
        (np.empty((0, 2)), None, "at least one value"),
        ([[1, 2], [3]], None, "neither one column"),
        ([math.nan] * 9, None, "0 observed values"),
        ([1.0, 2.0] * 4, [1] * 8, "1 clusters of x"),
        (np.full((8, 2), math.nan), None, r"x\[:, 0\]"),
        ([1, 0, 1, 0], list("abcd"), "no interval below 5"),
        ([1, 0, 1, 0, 1], list("abcd"), "expected one cluster name"),
    ],
)
def test_refuses(x, cluster, said):
    with pytest.raises(StatisticsError, match=said):
        cluster_bootstrap(x, cluster, 200, seed=1)


@pytest.mark.parametrize("bad", [{"n_resamples": 99}, {"level": 95}, {"method": "wild"}])
def test_refuses_settings(bad):
    with pytest.raises(StatisticsError):
        cluster_bootstrap(np.arange(10.0), None, **{"n_resamples": 200, "seed": 1, **bad})


def test_a_column_without_values_or_clusters_leaves_the_others_theirs():
    x, nothing = np.random.default_rng(1).normal(size=40), np.full(40, np.nan)
    few = np.where(np.arange(40) < 8, x, np.nan)  # 4 clusters of 2
    cluster = np.arange(40) // 2
    found = cluster_bootstrap(np.column_stack([x, nothing, few]), cluster, 500, seed=3).intervals
    assert (found[0].low, found[0].high) == (
        pytest.approx((alone := cluster_bootstrap(x, cluster, 500, seed=3).interval).low, abs=0.1),
        pytest.approx(alone.high, abs=0.1),
    )
    assert [np.isnan(one.low) for one in found] == [False, True, True]
    assert (found[1].n, found[1].n_missing, found[2].n, found[2].n_clusters) == (0, 40, 8, 4)
    assert found[2].estimate == pytest.approx(x[:8].mean())
    assert "no interval: 0 observed values of x[:, 1]" in found[1].warnings[0]
    assert "4 clusters of x[:, 2]" in found[2].warnings[0]
    with pytest.raises(StatisticsError, match="4 clusters"):
        cluster_bootstrap(few, cluster, 500)
