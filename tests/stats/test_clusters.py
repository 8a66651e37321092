"""The variance of a mean under clusters, against matrices, statsmodels and paper."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.stats.clusters import Sample, as_numbers, mean_variance, read_sample, steady_design_effect


def sample(values, cluster=None):
    return read_sample(as_numbers(values, "x"), cluster, least=2, name="x")


def by_matrices(values, cluster):
    """Bell and McCaffrey with the hat matrix, square roots and traces written out."""
    x, names = np.asarray(values, float), np.asarray(cluster)
    n = len(x)
    rest = np.eye(n) - np.ones((n, n)) / n
    residuals = rest @ x
    variance, columns = 0.0, []
    for name in np.unique(names):
        inside = names == name
        eigenvalues, vectors = np.linalg.eigh(rest[np.ix_(inside, inside)])
        weights = vectors @ np.diag(eigenvalues**-0.5) @ vectors.T @ np.ones(inside.sum()) / n
        variance += (weights @ residuals[inside]) ** 2
        columns.append(rest[:, inside] @ weights)
    gram = np.stack(columns, 1).T @ np.stack(columns, 1)
    return variance, np.trace(gram) ** 2 / np.trace(gram @ gram)


def test_by_hand():
    # 1 1 | 3 3 | 2: mean 2, residual sums -2, 2, 0; CR2 = (4 + 4) / (1 - 2/5) / 25 = 8 / 15
    # df = 25 / (9 + (4/3 + 4/3 + 1/4)^2 - (16/9 + 16/9 + 1/16)) = 25 / (9 + 704/144) = 1.8
    found = mean_variance(
        Sample(np.array([1.0, 1, 3, 3, 2]), np.array([0, 0, 1, 1, 2]), np.array([2.0, 2, 1]), 0, True)
    )
    assert found.variance == pytest.approx(8 / 15)
    assert found.df == pytest.approx(25 / (9 + 704 / 144))
    # without clusters the variance is s^2 / n = 1 / 5
    assert found.design_effect == pytest.approx(8 / 3)


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 6)), min_size=7, max_size=30),
)
def test_closed_form_equals_matrices(rows):
    values = np.array([value for value, _ in rows] + list(range(7)))
    names = np.array([name for _, name in rows] + list(range(7)))
    found = mean_variance(sample(values, names))
    variance, df = by_matrices(values, names)
    assert found.variance == pytest.approx(variance, rel=1e-6, abs=1e-12)
    assert found.df == pytest.approx(df)


def test_equal_clusters_have_g_minus_1_df():
    assert mean_variance(sample(np.arange(24.0), np.arange(24) % 8)).df == pytest.approx(7)


def test_independent_values_give_the_textbook_variance():
    values = np.array([0.3, 1.9, -2.0, 5.5, 4.0])
    assert mean_variance(sample(values)).variance == pytest.approx(values.var(ddof=1) / 5)
    assert mean_variance(sample(values)).df == pytest.approx(4)


def test_equal_clusters_agree_with_statsmodels_cr1():
    linear_model = pytest.importorskip("statsmodels.regression.linear_model")
    rng = np.random.default_rng(3)
    names = np.repeat(np.arange(12), 5)
    values = rng.normal(size=60) + rng.normal(size=12)[names]
    fit = linear_model.OLS(values, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": names})
    # with equal clusters CR2 and CR1 are one: CR0 G / (G - 1)
    assert math.sqrt(mean_variance(sample(values, names)).variance) == pytest.approx(fit.bse[0])


def test_singletons_agree_with_statsmodels_hc2():
    linear_model = pytest.importorskip("statsmodels.regression.linear_model")
    values = np.random.default_rng(4).normal(size=30)
    fit = linear_model.OLS(values, np.ones(30)).fit(cov_type="HC2")
    assert math.sqrt(mean_variance(sample(values)).variance) == pytest.approx(fit.bse[0])


def test_worst_case_rules_without_events():
    ten_items = sample(np.repeat(np.arange(10.0), 100), np.repeat(np.arange(10), 100))
    assert steady_design_effect(math.nan, 1.0, ten_items, least=1.0) == 20  # 1,000 values count as 50, not fewer
    hundred = sample(np.repeat(np.arange(100.0), 4), np.repeat(np.arange(100), 4))
    assert steady_design_effect(math.nan, 1.0, hundred, least=1.0) == 4


@pytest.mark.parametrize(
    "names", [list("aabbccddee"), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5], [("x", i // 2) for i in range(10)]]
)
def test_cluster_names_may_be_anything_hashable(names):
    if isinstance(names[0], tuple):
        column = np.empty(10, dtype=object)
        column[:] = names
        names = column
    assert sample(np.arange(10.0), names).n_clusters == 5
