"""Seeded verdicts where there is nothing, or next to it; the full tables: benchmarks/false_better.py."""

import math

import pytest

from benchmarks import false_better

SIMULATIONS = 120


def at_most(share, bar=0.05):
    return share <= bar + 3 * math.sqrt(bar * (1 - bar) / SIMULATIONS)


@pytest.mark.parametrize(("k", "rate"), [(1, 0.9), (4, 0.5)])
def test_equal_candidates_are_seldom_called_better(k, rate):
    assert all(map(at_most, false_better.equals(k, rate, SIMULATIONS)))


def test_equal_candidates_in_few_large_clusters_are_seldom_called_better():
    assert at_most(false_better.few_large(SIMULATIONS))


@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_a_gain_too_small_for_the_items_is_left_open(rate):
    shares = false_better.small_gain(rate, SIMULATIONS)
    assert at_most(1 - shares.get("INCONCLUSIVE", 0.0))
