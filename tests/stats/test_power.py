import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.stats import DifferenceNoise, detectable_effect, paired_difference, required_n
from safetycatch.stats.paired import EXACT_BELOW_PAIRS
from safetycatch.stats.power import least_clusters

EFFECTS = st.floats(0.005, 0.5)
SPREADS = st.one_of(
    st.floats(0.05, 1).map(lambda share: {"discordance": share}),
    st.floats(0.05, 2).map(lambda sd: {"sd_difference": sd}),
    st.tuples(st.floats(0.05, 2), st.floats(3, 300)).map(lambda both: {"sd_difference": both[0], "sd_df": both[1]}),
)


@pytest.mark.parametrize(("runs", "n"), [(1, 3876), (10, 1260), (math.inf, 969)])
def test_miller_reference(runs, n):
    # between-item variance 1/9, within-item 1/6 on either side, 3 points
    assert required_n(0.03, sd_difference=math.sqrt(1 / 9 + 2 / 6 / runs)) == n
    assert required_n(0.03, sd_difference=DifferenceNoise(1 / 9, 1 / 6, 1 / 6, 1).sd(runs)) == n


@pytest.mark.parametrize(
    ("effect", "discordance", "n"),
    # the first from the facts of this project, the others published worked examples of Connor's formula
    # (Open Power & Sample Size: p01 .45, p10 .05; clinicaltrials-tools: discordance .45, ratio 2)
    [(0.05, 0.2, 626), (0.40, 0.5, 23), (0.15, 0.45, 155)],
)
def test_connor_reference(effect, discordance, n):
    assert required_n(effect, discordance=discordance) == n


def test_by_hand():
    # z .975 + z .8 = 2.8016, squared 7.8489; sd = effect: n = 8; sd twice the effect, doubled by clusters: 62.8
    assert required_n(0.1, sd_difference=0.1) == 8
    assert required_n(0.1, sd_difference=0.2, design_effect=2) == 63


def test_the_exact_test_needs_a_little_more():
    """Power of the exact McNemar test at Connor's n, enumerated: .779 for a nominal .8."""
    from scipy.stats import binom

    n, discordance, effect = 626, 0.2, 0.05
    totals = np.arange(n + 1)
    power = 0.0
    for total, weight in zip(totals, binom.pmf(totals, n, discordance), strict=True):
        if weight < 1e-12:
            continue
        counts = np.arange(total + 1)
        p_values = np.minimum(1, 2 * binom.cdf(np.minimum(counts, total - counts), total, 0.5))
        power += weight * binom.pmf(counts, total, (1 + effect / discordance) / 2)[p_values <= 0.05].sum()
    assert power == pytest.approx(0.779, abs=5e-4)


def test_a_pilot_s_uncertainty_keeps_the_power_on_average():
    rng, truth, effect = np.random.default_rng(1), 1.0, 0.2
    pilots = np.sqrt(rng.chisquare(12, 2000) / 12) * truth
    from scipy.stats import norm

    n = np.array([required_n(effect, sd_difference=sd, sd_df=12) for sd in pilots])
    power = norm.sf(1.959964 - effect * np.sqrt(n) / truth)
    assert power.mean() == pytest.approx(0.8, abs=0.01)
    naive = norm.sf(1.959964 - effect * np.sqrt([required_n(effect, sd_difference=sd) for sd in pilots]) / truth)
    assert naive.mean() < 0.78


def test_with_many_degrees_of_freedom_a_pilot_is_the_truth():
    assert required_n(0.03, sd_difference=0.5, sd_df=1e6) == required_n(0.03, sd_difference=0.5)
    from scipy.stats import nct

    n = (nct.ppf(0.8, 20, 1.959964) * 0.5 / 0.03) ** 2
    assert required_n(0.03, sd_difference=0.5, sd_df=20) == math.ceil(n)
    assert required_n(0.1, sd_difference=0.5, sd_df=3) > 1.5 * required_n(0.1, sd_difference=0.5)


def test_agrees_with_statsmodels():
    power = pytest.importorskip("statsmodels.stats.power")
    n = power.NormalIndPower(ddof=0).solve_power(0.03 / 0.5, power=0.9, alpha=0.01, ratio=0)
    assert required_n(0.03, sd_difference=0.5, power=0.9, alpha=0.01) == math.ceil(n)


@pytest.mark.parametrize("k", [5, 6, 8, 12, 20])
def test_few_clusters_have_the_noncentral_t(k):
    from scipy.stats import nct, t

    effect = detectable_effect(40 * k, sd_difference=0.5, cluster_size=40)
    critical, ncp = t.ppf(0.975, k - 1), effect * math.sqrt(40 * k) / 0.5
    assert nct.sf(critical, k - 1, ncp) == pytest.approx(0.8, abs=1e-6)
    n = required_n(effect * (1 + 1e-9), sd_difference=0.5, cluster_size=40)
    assert n == 40 * k


def test_fewer_than_five_clusters_have_no_interval():
    with pytest.raises(StatisticsError, match="no interval below 5 clusters"):
        detectable_effect(100, sd_difference=0.5, cluster_size=30)
    assert required_n(10.0, sd_difference=0.5, cluster_size=30) == 150


@pytest.mark.parametrize(("effect", "discordance"), [(0.15, 0.3), (0.2, 0.35), (0.12, 0.2)])
def test_few_independent_answers_have_the_power_that_was_asked_for(effect, discordance):
    """Power of the exact McNemar test at the planned n, enumerated."""
    from scipy.stats import binom

    n = required_n(effect, discordance=discordance, exact=True)
    assert n < EXACT_BELOW_PAIRS
    power = 0.0
    for total in range(1, n + 1):
        counts = np.arange(total + 1)
        p_values = np.minimum(1, 2 * binom.cdf(np.minimum(counts, total - counts), total, 0.5))
        shown = binom.pmf(counts, total, (1 + effect / discordance) / 2)[p_values <= 0.05].sum()
        power += binom.pmf(total, n, discordance) * shown
    assert power >= 0.78


def test_the_exact_test_is_planned_where_a_run_takes_it():
    rng = np.random.default_rng(1)
    for n in (EXACT_BELOW_PAIRS - 1, EXACT_BELOW_PAIRS):
        a, b = (rng.random((2, n)) < 0.5).astype(float)
        assert (paired_difference(a, b).p_method == "exact McNemar") is (n < EXACT_BELOW_PAIRS)


@pytest.mark.parametrize(("alpha", "k"), [(0.05, 6), (0.0125, 8), (2.0**-7, 8), (0.5, 5)])
def test_the_fewest_clusters_that_can_have_a_p_value_so_small(alpha, k):
    assert least_clusters(alpha) == k
    right = np.repeat(np.arange(k), 40)
    rng = np.random.default_rng(2)
    a, b = (rng.random(40 * k) < 0.95).astype(float), (rng.random(40 * k) < 0.2).astype(float)
    assert paired_difference(a, b, right).p_value >= min(2.0 ** (1 - k), alpha)


@given(EFFECTS, SPREADS, st.floats(0.5, 5), st.floats(0.6, 0.95))
def test_the_two_invert_each_other(effect, spread, design_effect, power):
    assume(effect < 0.95 * spread.get("discordance", 1))
    n = required_n(effect, design_effect=design_effect, power=power, **spread)
    assume(n > 2)
    found = detectable_effect(n, design_effect=design_effect, power=power, **spread)
    assert found <= effect * (1 + 1e-9)
    assert required_n(found * (1 - 1e-9), design_effect=design_effect, power=power, **spread) >= n


def test_sign_does_not_matter():
    assert required_n(-0.03, sd_difference=0.4) == required_n(0.03, sd_difference=0.4)


def test_too_few_items_for_any_effect_say_how_many_are_needed():
    with pytest.raises(StatisticsError, match="more are needed"):
        detectable_effect(20, discordance=0.1)


@pytest.mark.parametrize(
    "bad",
    [
        {"effect": 0.0},
        {"effect": math.nan},
        {"effect": math.inf},
        {"effect": 0.3},
        {"discordance": 0.0},
        {"discordance": 1.2},
        {"discordance": None},
        {"sd_difference": 0.5},
        {"discordance": None, "sd_difference": 0.0},
        {"discordance": None, "sd_difference": 0.5, "sd_df": 0.5},
        {"sd_df": 20},
        {"design_effect": 0.0},
        {"power": 1.0},
        {"alpha": 0.0},
    ],
)
def test_refuses(bad):
    arguments = {"effect": 0.05, "discordance": 0.2} | bad
    with pytest.raises(StatisticsError):
        required_n(arguments.pop("effect"), **arguments)


@pytest.mark.parametrize("n", [0, 1, -5, math.nan, math.inf])
def test_detectable_effect_refuses_n(n):
    with pytest.raises(StatisticsError, match="n is"):
        detectable_effect(n, sd_difference=0.5)
