import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.report import numbers


@pytest.mark.parametrize(
    ("estimate", "low", "high", "text"),
    [
        (0.021, -0.006, 0.048, "+2.1 points [-0.6, +4.8]"),
        (0.141, -0.1, 0.4, "+14 points [-10, +40]"),
        (0.0213, 0.0198, 0.0228, "+2.13 points [+1.98, +2.28]"),
        (-0.0004, -0.05, 0.05, "0.0 points [-5.0, +5.0]"),
        (None, None, None, "—"),
        (math.nan, 0.1, 0.2, "—"),
        (0.1, None, None, "+10.0 points"),
    ],
)
def test_a_difference_has_sign_unit_and_the_digits_its_interval_allows(estimate, low, high, text):
    shown = numbers.shown(estimate, low, high, difference=True)
    assert (shown.text if estimate is None or math.isfinite(estimate) else shown.value) == text


def test_a_level_has_no_sign():
    assert numbers.shown(0.842, 0.801, 0.876).text == "84.2 % [80.1, 87.6]"


def test_the_sign_stands_before_the_dollar():
    assert numbers.shown(-0.02, -0.03, -0.01, "usd", difference=True).text == "-$0.020 [-0.030, -0.010]"


def test_an_unknown_unit_is_written_behind_the_number():
    assert numbers.shown(12.3, 11.0, 13.6, "words").text == "12.3 words [11.0, 13.6]"


@given(st.floats(-1, 1), st.floats(1e-9, 1))
def test_half_the_interval_has_at_most_three_digits(middle, half):
    text = numbers.decimals_for(middle - half, middle + half)
    assert round(half * 10**text) < 1000


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0.00"),
        (3.12, "$3.12"),
        (1234.5, "$1,234.50"),
        (0.0042, "$0.0042"),
        (0.09, "$0.090"),
        (0.0995, "$0.10"),
        (1e-9, "<$0.000001"),
        (-2, "-$2.00"),
        (None, "—"),
    ],
)
def test_money(usd, text):
    assert numbers.money(usd) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"),
        (0.0031, "3.1 ms"),
        (0.34, "340 ms"),
        (0.99951, "1.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (3661, "1 h 01 min"),
        (None, "—"),
    ],
)
def test_seconds(value, text):
    assert numbers.seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0004, "<0.001"), (0.013, "0.013"), (0.76, "0.76"), (None, "—")])
def test_p_values(value, text):
    assert numbers.p_value(value) == text


def test_a_stated_effect_reads_as_the_claim_wrote_it():
    assert [numbers.effect(0.03, "proportion"), numbers.effect(0.025, "proportion"), numbers.effect(0.2, "s")] == [
        "3 points",
        "2.5 points",
        "0.2 s",
    ]
