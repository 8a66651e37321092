import math

import numpy as np
import pytest

from safetycatch.errors import StatisticsError
from safetycatch.stats import check_guardrail, noninferiority

RNG = np.random.default_rng(7)
BASE = RNG.lognormal(0, 0.3, 2000)


def test_absolute_margin_is_noninferiority():
    a, b = BASE[:200] + 0.01 * RNG.normal(size=200), BASE[:200]
    found, plain = (
        check_guardrail(a, b, metric="cost_usd", worse_by=0.01),
        noninferiority(a, b, 0.01, higher_is_better=False),
    )
    assert (found.status, found.p_value, found.bound) == (plain.status, plain.p_value, plain.bound)


def test_a_cheaper_candidate_passes_a_margin_of_zero():
    assert check_guardrail(0.5 * BASE, BASE, metric="cost_usd", worse_by=0).status == "passed"


def test_a_dearer_candidate_violates_it():
    found = check_guardrail(1.5 * BASE, BASE, metric="cost_usd", worse_by=0.1, relative=True)
    assert found.status == "violated"
    assert found.estimate == pytest.approx(0.5)


def test_noise_stays_undecided_and_says_how_many_would_do():
    found = check_guardrail(BASE[:40], BASE[:40][::-1], metric="latency_s", worse_by=0.05, relative=True)
    assert found.status == "undecided"
    assert found.n_to_settle is not None
    assert found.n_to_settle > 40


def test_relative_bound_by_hand():
    # a/b: means 1.05 and 1; the bound of a - 1.1 b, over mean b, plus .1
    b = np.tile([0.9, 1.1], 50)
    a = b + np.tile([0.04, 0.06, 0.06, 0.04], 25)
    found = check_guardrail(a, b, metric="latency_s", worse_by=0.1, relative=True)
    direct = noninferiority(a, 1.1 * b, 0, higher_is_better=False)
    assert found.estimate == pytest.approx(0.05)
    assert found.bound == pytest.approx(0.1 + direct.bound)
    assert found.status == "passed"
    assert found.bound < 0.1


def test_higher_is_better_may_lose_a_fraction():
    b = np.clip(0.8 + 0.1 * RNG.normal(size=400), 0, 1)
    noise = 0.01 * RNG.normal(size=400)
    rail = {"metric": "f1", "worse_by": 0.05, "relative": True, "higher_is_better": True}
    assert check_guardrail(0.99 * b + noise, b, **rail).status == "passed"
    assert check_guardrail(0.9 * b + noise, b, **rail).status == "violated"


def test_quantile_decides_clear_cases():
    noise = RNG.lognormal(0, 0.05, 2000)
    rail = {"metric": "latency_p95", "worse_by": 0.1, "relative": True, "quantile": 0.95}
    assert check_guardrail(0.8 * BASE * noise, BASE, **rail).status == "passed"
    assert check_guardrail(1.6 * BASE * noise, BASE, **rail).status == "violated"
    assert "above the limit" in check_guardrail(BASE, BASE, **rail).reason


def test_quantile_passes_wrongly_about_as_often_as_alpha_says():
    rng, passed = np.random.default_rng(1), 0
    for _ in range(400):
        item = rng.normal(size=400)
        a, b = (np.exp(0.4 * (item + rng.normal(size=400))) for _ in range(2))
        passed += (
            check_guardrail(1.1 * a, b, metric="p95", worse_by=0.1, relative=True, quantile=0.95).status == "passed"
        )
    assert 0.01 < passed / 400 < 0.08


def test_missing_values_are_carried():
    a, b = BASE[:50].copy(), 2 * BASE[:50]
    a[:3] = math.nan
    found = check_guardrail(a, b, metric="cost_usd", worse_by=0)
    assert (found.n, found.n_missing) == (47, 3)
    assert found.candidate_value == pytest.approx(BASE[3:50].mean())


@pytest.mark.parametrize(
    "bad",
    [
        {"worse_by": -0.1},
        {"worse_by": math.nan},
        {"quantile": 1.0},
        {"quantile": 0.9, "higher_is_better": True},
        {"b": np.zeros(50), "relative": True},
        {"b": np.full(50, math.nan)},
        {"b": np.ones(3)},
    ],
)
def test_refuses(bad):
    arguments = {"a": BASE[:50], "b": BASE[50:100], "metric": "cost_usd", "worse_by": 0.1} | bad
    with pytest.raises(StatisticsError):
        check_guardrail(arguments.pop("a"), arguments.pop("b"), **arguments)
