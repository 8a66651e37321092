"""Seeded power of designs that the plan gives out; the full table is printed by benchmarks/power.py."""

import numpy as np
import pytest

from benchmarks.power import World, Z
from safetycatch.stats import simulated_power

SIMULATIONS = 300


@pytest.mark.parametrize(
    # discordance and intra-cluster correlation of the differences are what 600,000 items show
    ("rate", "gain", "discordance", "icc"),
    [(0.5, 0.05, 0.335, 0.100), (0.9, 0.03, 0.120, 0.070), (0.98, 0.01, 0.026, 0.042)],
)
def test_a_gain_as_large_as_stated_ends_better_in_four_of_five(rate, gain, discordance, icc):
    world = World(rate, gain)
    n = world.planned(discordance, icc)
    found = simulated_power(world.draw, n, smallest_effect=gain, repetitions=SIMULATIONS, seed=5)
    assert found.better >= 0.8 - 3 * found.se(0.8)
    assert found.worse <= 0.01
    truth, _ = world.noise(np.random.default_rng(1), 100_000)
    assert found.width <= 1.1 * 2 * Z * truth.sd() / np.sqrt(n)
