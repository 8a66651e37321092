import pytest

from safetycatch.stats.race_forecast import forecast

SINGLE = [[1] * 25] * 4


def test_it_is_repeatable():
    assert forecast(5, [SINGLE, SINGLE], [None, None], seed=1) == forecast(5, [SINGLE, SINGLE], [None, None], seed=1)


def test_a_cap_bounds_who_goes_on_and_saves_items():
    free = forecast(16, [SINGLE, SINGLE * 9], [None, None], seed=1)
    capped = forecast(16, [SINGLE, SINGLE * 9], [4, None], seed=1)
    assert capped.challenger_items < free.challenger_items < free.baseline_items <= 1000
    assert capped.share_on <= 4 / 15 < 1


def test_the_expected_share_lies_near_the_published_simulation():
    """16 even candidates x 1,000 items: 44 % of all calls without caps (Ville bound on the mean e-value)."""
    found = forecast(16, [SINGLE * 10], [None], seed=1)
    share = (found.baseline_items + 15 * found.challenger_items) / 16_000
    assert share == pytest.approx(0.44, abs=0.06)


def test_large_clusters_need_more_items():
    clustered = [[[5] * 5] * 40]
    single = [[[1] * 25] * 40]
    alike = [forecast(6, looks, [None], seed=1).challenger_items for looks in (single, clustered)]
    assert alike[0] < alike[1]


def test_two_candidates_need_no_race():
    assert forecast(2, [SINGLE], [None], seed=1).challenger_items == 0
