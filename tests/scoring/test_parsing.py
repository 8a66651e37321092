from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.scoring import parse_answer, parse_json, parse_normalised, parse_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2 + 2 = 4\n#### 1,234", "1234"),
        ("First 3.\nA: 12 apples\n", "12"),
        ("The answer is 42 apples of 50.", "42"),
        ("The answer is 5 + 3 = 8", "8"),
        ("**Answer:** $1,234.50", "1234.5"),
        (r"so \boxed{-7} of 9", "-7"),
        ("The answer is:\n12", "12"),
        ("It costs 3 and then 4.", "4"),
        ("\u22124", "-4"),
        ("-$5", "-5"),
        ("The answer is\n\n12", "12"),
        ("$-5", "-5"),
        ("50%", "50"),
        ("7/14", "0.5"),
        ("1/3", "1/3"),
        ("1e3", "1000"),
        (".5", "0.5"),
        ("007", "7"),
        ("-0.0", "0"),
        ("1\u202f000\u202f000", "1000000"),
        ("pages 10-15", "15"),
        ("1.8 billion", "1.8"),
    ],
)
def test_the_final_number(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "none", "3,5", "1.2.3", "1/2/2024", "1/0", "x2", "A: unknown\nbut 7", "1e999", "9" * 101, "1,50,000"]
)
def test_no_number_is_guessed(text):
    assert parse_number(text) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12))
def test_a_number_reads_as_itself(number):
    read = parse_number(f"#### {number:,f}")
    assert read is not None
    assert Fraction(read) == Fraction(number)
    assert parse_number(read) == read


@given(st.text(alphabet="0123456789.,/-+eE$ #A:=", max_size=30))
def test_any_text_is_a_number_or_none(text):
    read = parse_number(text)
    assert read is None or Fraction(read) == Fraction(parse_number(read) or "x")


@pytest.mark.parametrize("text", ['{"a": 1}', ' {"a":1}\n', '```json\n{"a": 1}\n```', '```\n{"a": 1}```'])
def test_json_may_stand_in_a_code_block(text):
    assert parse_json(text) == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [
        '{"pass": 0, "pass": 1}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1} and more',
        'Here: {"a": 1}',
        '```\n{"a": 1}\n``` done',
        "{'a': 1}",
        '{"a": 1,}',
        '{"a": "\\ud800"}',
        "[" * 50_000,
        "1" * 10_000,
        "",
    ],
)
def test_careless_json_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is (A), or so. So the answer is (B).", "(B)"),
        ("True", "True"),
        ("first line\nsecond", "first line"),
        ("the answer is 3.5.", "3.5"),
        ("", None),
        ("the answer is .", None),
    ],
)
def test_the_final_answer(text, answer):
    assert parse_answer(text) == answer


@pytest.mark.parametrize(("left", "right"), [("The U.S.", "the u s"), ("caf\u00e9 ", "CAFE\u0301"), ("\uff21", "a")])
def test_normalised_texts_agree(left, right):
    assert parse_normalised(left) == parse_normalised(right)


def test_symbols_stay_when_there_is_nothing_else():
    assert parse_normalised(" [ ] ") == "[ ]"
    assert parse_normalised("+") != parse_normalised("-")
