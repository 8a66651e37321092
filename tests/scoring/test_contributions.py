import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from safetycatch.errors import StatisticsError, UsageError
from safetycatch.scoring import contributions, majority_share, quantile_contributions

NOTHING = "(unparsable)"

ORACLES = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "macro_f1": lambda true, read: f1_score(true, read, average="macro", labels=sorted(set(true)), zero_division=0),
}


def oracle(metric, true, read):
    return ORACLES[metric](true, [NOTHING if label is None else label for label in read])


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@pytest.mark.parametrize("metric", sorted(ORACLES))
@given(rows=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["a", "b", "c", "d", "e", None])), min_size=1))
def test_the_mean_is_scikit_learns_metric(metric, rows):
    true, read = zip(*rows, strict=True)
    assert contributions(metric, read, true).mean() == pytest.approx(oracle(metric, true, read), abs=1e-12)


def test_macro_f1_by_hand():
    """TP, predicted, true: a 1, 1, 2; b 1, 2, 1. F1 = 2/3 each. One reply is unparsable."""
    values = contributions("macro_f1", ["a", "b", "b", None], ["a", "b", "a", "a"])
    assert values.mean() == pytest.approx((2 / (1 + 3) + 2 / (2 + 1)) / 2)


def test_balanced_accuracy_by_hand():
    values = contributions("balanced_accuracy", ["a", "a", "a", "a"], ["a", "a", "a", "b"])
    assert values.tolist() == [0.5] * 4  # recalls 1 and 0, each without spread


def test_scikit_learn_would_average_in_an_unparsable_class():
    true, read = ["a", "a", "b", "b"], ["a", NOTHING, "b", "b"]
    ours = contributions("macro_f1", ["a", None, "b", "b"], true).mean()
    assert f1_score(true, read, average="macro", zero_division=0) == pytest.approx(ours * 2 / 3)


def drawn(n, seed):
    rng = np.random.default_rng(seed)
    true = rng.choice(list("abc"), n, p=[0.6, 0.3, 0.1])
    sure = rng.random(n) < np.select([true == "a", true == "b"], [0.9, 0.7], 0.5)
    guess = rng.choice([*"abcd"], n)
    return true, np.where(sure, true, guess)


def counted(metric, true, read):
    """The metric from counts, for many resamples at once: an implementation of its own."""
    parts = []
    for label in "abc":
        right = ((true == label) & (read == label)).sum(axis=1)
        if metric == "balanced_accuracy":
            parts.append(right / (true == label).sum(axis=1))
        else:
            parts.append(2 * right / ((true == label).sum(axis=1) + (read == label).sum(axis=1)))
    return np.mean(parts, axis=0)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
def test_the_spread_is_the_bootstraps(metric):
    true, read = drawn(400, 3)
    values = contributions(metric, read.tolist(), true.tolist())
    picks = np.random.default_rng(4).integers(0, 400, (4000, 400))
    bootstrap = counted(metric, true[picks], read[picks]).std(ddof=1)
    assert values.std(ddof=1) / math.sqrt(400) == pytest.approx(bootstrap, rel=0.1)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
def test_the_spread_of_a_paired_difference_is_the_bootstraps(metric):
    true, read = drawn(400, 5)
    other = np.where(np.random.default_rng(6).random(400) < 0.15, "a", read)
    difference = contributions(metric, read.tolist(), true.tolist()) - contributions(
        metric, other.tolist(), true.tolist()
    )
    picks = np.random.default_rng(7).integers(0, 400, (4000, 400))
    resampled = counted(metric, true[picks], read[picks]) - counted(metric, true[picks], other[picks])
    assert difference.std(ddof=1) / math.sqrt(400) == pytest.approx(resampled.std(ddof=1), rel=0.1)


@pytest.mark.parametrize(("share", "tolerance"), [(0.5, 0.15), (0.95, 0.25)])
def test_the_spread_of_a_quantile_is_that_of_repeated_draws(share, tolerance):
    draws = np.random.default_rng(8).lognormal(0, 0.5, (1500, 400))
    truth = np.quantile(draws, share, axis=1).std(ddof=1)
    claimed = [quantile_contributions(row, share).std(ddof=1) / math.sqrt(400) for row in draws[:300]]
    assert np.median(claimed) == pytest.approx(truth, rel=tolerance)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.sampled_from([0.5, 0.95]))
def test_the_mean_is_the_quantile(values, share):
    array = np.array(values)
    assert quantile_contributions(array, share).mean() == pytest.approx(np.quantile(array, share), abs=1e-9)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
def test_of_nothing_nothing_is_claimed(metric):
    with pytest.raises(StatisticsError):
        contributions(metric, [], [])
    with pytest.raises(StatisticsError):
        quantile_contributions(np.array([]), 0.5)


def test_an_unknown_metric_is_an_error():
    with pytest.raises(UsageError):
        contributions("auc", ["a"], ["a"])


def test_the_majority_class():
    assert majority_share(["b", "a", "b", "c"]) == ("b", 0.5, 4, 3)
    assert majority_share(["b", "a"]).label == "a"
    with pytest.raises(StatisticsError):
        majority_share([])
