import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import DifferenceNoise, replicates_or_items, required_n, simulated_power

VARIANCES = st.floats(0.001, 1)


def noise(between, within):
    return DifferenceNoise(between, within / 2, within / 2, 100)


@given(VARIANCES, VARIANCES, st.integers(4, 5000))
def test_where_items_are_free_one_run_each_is_best(between, within, calls):
    found = replicates_or_items(noise(between, within), calls)
    assert (found.runs, found.n_items, found.best_runs) == (1, calls // 2, 1)


@given(VARIANCES, VARIANCES, st.integers(2, 200), st.integers(1, 9))
def test_where_items_run_out_the_calls_go_into_runs(between, within, n, runs):
    found = replicates_or_items(noise(between, within), 2 * n * runs, most_items=n)
    assert (found.runs, found.n_items, found.calls) == (runs, n, 2 * n * runs)


def test_dear_items_are_run_as_often_as_the_closed_form_says():
    # sqrt(0.4 / 0.1 * 18 / 2) = 6 runs: (18 + 12) calls an item
    found = replicates_or_items(noise(0.1, 0.4), 3000, item_calls=18)
    assert (found.best_runs, found.runs, found.n_items, found.calls) == (6, 6, 100, 1200)
    assert found.se == pytest.approx(math.sqrt((0.1 + 0.4 / 6) / 100))


@given(VARIANCES, VARIANCES, st.floats(0, 50), st.integers(20, 3000))
def test_no_other_whole_numbers_do_better(between, within, item_calls, calls):
    assume(calls >= 2 * (item_calls + 2))
    given_noise = noise(between, within)
    found = replicates_or_items(given_noise, calls, item_calls=item_calls)
    for runs in range(1, 40):
        n_items = int(calls / (item_calls + 2 * runs))
        if n_items >= min(30, found.n_items):
            assert given_noise.sd(runs) / math.sqrt(n_items) >= found.se * (1 - 1e-9)


def test_without_noise_between_runs_more_of_them_are_waste():
    assert replicates_or_items(noise(0.1, 0), 600, most_items=100).runs == 1
    assert replicates_or_items(noise(0.1, 0), 600, item_calls=10).best_runs == 1


@pytest.mark.parametrize(("calls", "n_items"), [(4000, 30), (400, 33), (100, 8)])
def test_without_spread_between_items_thirty_are_asked_or_all_that_can_be_paid(calls, n_items):
    found = replicates_or_items(noise(0, 0.4), calls, item_calls=10)
    assert found.best_runs == math.inf
    assert found.n_items == pytest.approx(n_items, abs=2)
    assert found.n_items >= min(30, n_items)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calls": 3}, "3 calls do not pay two items on both sides: 4 or more"),
        ({"calls": math.nan}, "finite"),
        ({"item_calls": -1}, "finite"),
        ({"most_items": 1}, "most_items is 1"),
        ({"noise": DifferenceNoise(0.1, math.nan, 0.1, 9)}, "not known"),
    ],
)
def test_refuses(changes, message):
    with pytest.raises(StatisticsError, match=message):
        replicates_or_items(**({"noise": noise(0.1, 0.4), "calls": 100} | changes))


# -- simulation -------------------------------------------------------------------------------------------------------


def normal(effect):
    def draw(rng, n):
        return rng.normal(effect, 1, n), np.zeros(n), None

    return draw


def test_the_simulation_agrees_with_the_formula():
    found = simulated_power(normal(0.2), required_n(0.2, sd_difference=1), smallest_effect=0.2, repetitions=500, seed=1)
    assert found.better == pytest.approx(0.8, abs=3 * found.se(0.8))
    assert found.width == pytest.approx(2 * 1.96 * found.sd, rel=0.1)
    assert found.better + found.worse + found.equivalent + found.inconclusive == pytest.approx(1)


def test_no_difference_is_seldom_better_and_often_equivalent():
    found = simulated_power(normal(0.0), 400, smallest_effect=0.2, repetitions=300, seed=2)
    assert found.better <= 0.025 + 3 * found.se(0.025)
    assert found.equivalent > 0.9


def test_clusters_reach_the_verdict():
    def draw(rng, n):
        shared = np.repeat(rng.normal(size=n // 5), 5)
        return rng.normal(0.2, 1, n) + shared, np.zeros(n), np.repeat(np.arange(n // 5), 5)

    n = required_n(0.2, sd_difference=1)
    found = simulated_power(draw, n - n % 5, smallest_effect=0.2, repetitions=200, seed=3)
    assert found.better < 0.6


def test_the_same_seed_gives_the_same_shares():
    first, second = (simulated_power(normal(0.1), 50, smallest_effect=0.2, repetitions=20, seed=4) for _ in range(2))
    assert first == second


def test_one_repetition_is_refused():
    with pytest.raises(StatisticsError, match="1 repetitions"):
        simulated_power(normal(0), 50, smallest_effect=0.2, repetitions=1)
