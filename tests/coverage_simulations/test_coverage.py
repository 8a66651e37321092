"""Seeded coverage of the default intervals; the full table is printed by benchmarks/coverage.py."""

import numpy as np
import pytest

from benchmarks.coverage import FEW, SIZES, Cell
from safetycatch.stats import paired_difference

SIMULATIONS = 500
SLACK = 3 * np.sqrt(0.95 * 0.05 / SIMULATIONS)


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("design", SIZES)
@pytest.mark.parametrize(("statistic", "rates"), [("rate", (0.9,)), ("paired", (0.9, 0.85))])
def test_95_percent_intervals_hold_the_truth(statistic, rates, design, n):
    share, _ = Cell(statistic, design, n, rates).simulate(SIMULATIONS, seed=2)
    # Wilson's exact coverage for 50 independent values at .9 is .9703; elsewhere 93-97 % is asked for
    high = 0.975 if n == 50 else 0.97
    assert 0.95 - SLACK <= share <= high + SLACK / 3


@pytest.mark.parametrize("design", ["clusters of 5", "4 runs an item"])
def test_near_perfect_scores_of_clusters_are_not_overclaimed(design):
    share, _ = Cell("rate", design, 200, (0.97,)).simulate(SIMULATIONS, seed=3)
    assert share >= 0.93


@pytest.mark.parametrize("design", ["iid", "unequal clusters"])
def test_equal_candidates_are_rarely_called_different(design):
    cell, sizes = Cell("paired", design, 300, (0.97, 0.97)), SIZES[design](300)
    rng, cluster = np.random.default_rng(4), np.repeat(np.arange(len(sizes)), sizes)
    claims = 0
    for _ in range(SIMULATIONS):
        a, b = cell.draw(rng, sizes)
        claims += paired_difference(a, b, cluster).p_value <= 0.05
    assert claims / SIMULATIONS <= 0.05 + SLACK


@pytest.mark.parametrize("n_clusters", FEW)
def test_a_few_large_clusters_are_covered(n_clusters):
    share, _ = Cell("paired", "few large clusters", n_clusters, (0.5, 0.5)).simulate(SIMULATIONS, seed=2)
    assert 0.95 - SLACK <= share <= 0.98 + SLACK / 3
