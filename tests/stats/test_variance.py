import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from safetycatch.errors import StatisticsError
from safetycatch.stats import difference_noise, required_n, variance_components

# Davies 1947, "Statistical Methods in Research and Production": yield of dyestuff, 5 preparations of 6 batches, and
# strength of paste, 2 assays of 3 casks of 10 deliveries. The REML estimates are those that lme4 prints for them.
DYESTUFF = np.array(
    [
        [1545, 1440, 1440, 1520, 1580],
        [1540, 1555, 1490, 1560, 1495],
        [1595, 1550, 1605, 1510, 1560],
        [1445, 1440, 1595, 1465, 1545],
        [1595, 1630, 1515, 1635, 1625],
        [1520, 1455, 1450, 1480, 1445],
    ],
    dtype=float,
)
PASTES = np.fromstring(
    "62.8 62.6 60.1 62.3 62.7 63.1 60.0 61.4 57.5 56.9 61.1 58.9 58.7 57.5 63.9 63.1 65.4 63.7 57.1 56.4 56.9 58.6 "
    "64.7 64.5 55.1 55.1 54.7 54.2 58.8 57.5 63.4 64.9 59.3 58.1 60.5 60.0 62.5 62.6 61.0 58.7 56.9 57.7 59.2 59.4 "
    "65.2 66.0 64.8 64.1 54.8 54.8 64.0 64.0 57.7 56.8 58.3 59.3 59.2 59.2 58.9 56.6",
    sep=" ",
).reshape(30, 2)
DELIVERIES = np.repeat(np.arange(10), 3)


def test_dyestuff_reference():
    found = variance_components(DYESTUFF)
    assert found.within == pytest.approx(2451.25, abs=1e-9)
    assert found.between == pytest.approx(1764.05, abs=1e-9)
    # MSB = 11271.5: the standard error of the mean is sqrt(MSB / 30)
    assert found.se(5) == pytest.approx(math.sqrt(11271.5 / 30))


def test_pastes_reference():
    found = variance_components(PASTES, DELIVERIES)
    assert [round(math.sqrt(v), 3) for v in (found.cluster, found.between, found.within)] == [1.287, 2.904, 0.823]
    assert "10 clusters" in found.warnings[0]


def test_the_standard_error_of_nested_runs_is_that_of_the_cluster_means():
    found, centres = variance_components(PASTES, DELIVERIES), PASTES.reshape(10, 6).mean(axis=1)
    assert found.se(2) == pytest.approx(centres.std(ddof=1) / math.sqrt(10))


def test_agrees_with_statsmodels():
    sm = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 1)).repeat(3, 0) + rng.normal(size=(60, 1)) * 0.7 + rng.normal(size=(60, 4)) * 0.5
    cluster = np.repeat(np.arange(20), 3)
    groups, items = np.repeat(cluster, 4), np.repeat(np.arange(60), 4)
    inside = sm.VCSpec(
        ["item"],
        [[["a", "b", "c"]] * 20],
        [[np.equal.outer(items[groups == g], np.unique(items[groups == g])).astype(float) for g in range(20)]],
    )
    fit = sm.MixedLM(x.ravel(), np.ones((240, 1)), groups, exog_re=np.ones((240, 1)), exog_vc=inside).fit()
    found = variance_components(x, cluster)
    assert (found.cluster, found.between, found.within) == pytest.approx(
        (fit.cov_re[0, 0], fit.vcomp[0], fit.scale), rel=1e-4
    )


def test_by_hand():
    # items 0 0 and 1 3: MSW = (0 + 2) / 2 = 1, MSB = 2 (1 + 1) = 4, between = 3 / 2
    found = variance_components([[0, 0], [1, 3]])
    assert (found.estimate, found.within, found.between) == (1, 1, 1.5)
    assert found.se(1) == pytest.approx(math.sqrt(2.5 / 2))
    assert found.se(math.inf) == pytest.approx(math.sqrt(1.5 / 2))
    assert math.isnan(found.cluster)


def test_unequal_runs_and_clusters_are_not_biased():
    rng, truths = np.random.default_rng(2), []
    for _ in range(300):
        sizes = np.resize([1, 2, 3, 6], 40)
        cluster = np.repeat(np.arange(40), sizes)
        x = rng.normal(size=40)[cluster][:, None] + rng.normal(size=(len(cluster), 1)) * 0.7
        x = x + rng.normal(size=(len(cluster), 4)) * 0.5
        x[rng.random(x.shape) < 0.3] = np.nan
        found = variance_components(x, cluster)
        truths.append((found.within, found.between, found.cluster))
    errors = np.std(truths, axis=0) / math.sqrt(300)
    assert (np.abs(np.mean(truths, axis=0) - [0.25, 0.49, 1.0]) < 3 * errors).all()


def test_a_negative_component_is_zero_and_said():
    found = variance_components([[0, 1], [1, 0], [0, 1]])
    assert found.between == 0
    assert "between items came out as -0.25" in found.warnings[0]


def test_a_negative_cluster_component_is_zero_and_said():
    found = variance_components([[0, 0], [4, 4], [0, 0], [4, 4]], ["a", "a", "b", "b"])
    assert (found.cluster, found.within) == (0, 0)
    assert "between clusters" in found.warnings[-1]


def test_missing_runs_are_counted_and_items_without_any_are_left_out():
    nan = math.nan
    found = variance_components([[0, 0], [1, 3], [nan, nan], [2, nan]])
    assert (found.n_items, found.n_runs, found.n_missing) == (3, 5, 3)
    assert found.within == 1


@given(arrays(float, (5, 3), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])), st.permutations(range(5)))
def test_the_order_of_items_and_runs_does_not_matter(x, order):
    found, other = variance_components(x), variance_components(x[order][:, ::-1])
    assert (found.within, found.between) == pytest.approx((other.within, other.between), abs=1e-12)
    assert found.se(1) >= found.se(2) >= found.se(math.inf) >= 0


@pytest.mark.parametrize(
    ("x", "cluster", "message"),
    [
        ([], None, "0 dimensions|1 dimensions"),
        ([[], []], None, "0 items"),
        ([0, 1, 1], None, "1 dimensions"),
        ([[math.nan, math.nan]] * 3, None, "0 items"),
        ([[0, 1]], None, "1 items"),
        ([[0], [1], [1]], None, "no item has two runs"),
        ([[0, 1], [1, 1]], ["a", "a"], "one cluster"),
        ([[0, 1], [1, 1]], ["a", "b"], "single item in every cluster"),
        ([[0, 1], [1, 1]], ["a"], "cluster has shape"),
        ([["x", "y"]], None, "not a table"),
        ([[0, math.inf], [1, 1]], None, "beyond"),
    ],
)
def test_refuses(x, cluster, message):
    with pytest.raises(StatisticsError, match=message):
        variance_components(x, cluster)


def test_less_than_one_run_is_refused():
    with pytest.raises(StatisticsError, match="0 runs"):
        variance_components([[0, 0], [1, 3]]).se(0)
    with pytest.raises(StatisticsError, match="0 runs"):
        difference_noise([[0, 0], [1, 3]], [[0, 0], [1, 1]]).sd(0)


# -- differences ------------------------------------------------------------------------------------------------------


def test_a_differences_noise_by_hand():
    # item means of a: 0 2 4, of b: 0 0 0; runs of a differ by 2 within each item (variance 2), b's do not
    a, b = [[-1, 1], [1, 3], [3, 5]], [[0, 0], [0, 0], [0, 0]]
    found = difference_noise(a, b)
    assert (found.candidate, found.baseline) == (2, 0)
    assert found.between == pytest.approx(4 - 2 / 2)
    assert found.sd(2) == pytest.approx(2)
    assert found.sd(1) == pytest.approx(math.sqrt(5))
    assert found.sd(1, baseline_runs=7) == found.sd(1)


def test_the_noise_of_a_simulated_difference_is_found_and_plans_millers_n():
    rng, n = np.random.default_rng(3), 20_000
    shared = rng.normal(size=(n, 1))
    a = shared + rng.normal(size=(n, 1)) / 3 + rng.normal(size=(n, 3)) * math.sqrt(1 / 6)
    b = shared + rng.normal(size=(n, 4)) * math.sqrt(1 / 6)
    found = difference_noise(a, b)
    assert (found.between, found.candidate, found.baseline) == pytest.approx((1 / 9, 1 / 6, 1 / 6), rel=0.03)
    assert [required_n(0.03, sd_difference=found.sd(runs)) for runs in (1, 10, math.inf)] == pytest.approx(
        [3876, 1260, 969], rel=0.03
    )


def test_the_degrees_of_freedom_are_those_of_normal_scores_and_few_for_rare_differences():
    rng = np.random.default_rng(5)
    normal = difference_noise(rng.normal(size=(400, 1)), np.zeros((400, 1)))
    assert normal.df == pytest.approx(400, rel=0.2)
    rare = difference_noise((np.arange(400)[:, None] < 10).astype(float), np.zeros((400, 1)))
    assert rare.df == pytest.approx(2 * 10, rel=0.2)  # a count of 10: relative variance of its spread about 1/10
    assert difference_noise([[1], [0], [1], [0]], [[0], [1], [0], [1]]).df == 3


def test_clusters_raise_the_spread_between_items():
    rng = np.random.default_rng(4)
    a = np.repeat(rng.normal(size=(50, 1)), 4, axis=0) + rng.normal(size=(200, 2))
    found = difference_noise(a, np.zeros((200, 2)), np.repeat(np.arange(50), 4))
    assert found.between > 2 * difference_noise(a, np.zeros((200, 2))).between


def test_single_runs_leave_the_noise_unknown_and_within_the_spread():
    found = difference_noise([[1], [0], [1], [1]], [[0], [0], [1], [0]])
    assert not found.runs_measured
    assert found.sd(5) == found.sd(1) == pytest.approx(np.std([1, 0, 0, 1], ddof=1))


def test_missing_sides_are_left_out():
    nan = math.nan
    found = difference_noise([[1, 0], [nan, nan], [1, nan], [0, 0]], [[0, 0], [1, 1], [0, 0], [nan, nan]])
    assert found.n == 2
    assert found.candidate == 0.25  # 0.5 of the first item's one spare run, 0 of the last item's


@pytest.mark.parametrize(
    ("a", "b", "cluster", "message"),
    [
        ([[0], [1]], [[0]], None, "2 items and b 1"),
        ([[math.nan], [math.nan]], [[0], [0]], None, "0 observed"),
        ([[0], [1]], [[0], [0]], ["x", "x"], "1 clusters"),
    ],
)
def test_undefined_noise_is_refused(a, b, cluster, message):
    with pytest.raises(StatisticsError, match=message):
        difference_noise(a, b, cluster)
