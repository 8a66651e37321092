"""The strict reader of a judge's reply."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.judging.verdicts import MAX_REPLY_CHARACTERS, Verdict, parse_verdict

CHECK, LABELS = "0123456789abcdef", ("pass", "fail")
GOOD = {"check": CHECK, "critique": "short", "verdict": "pass"}


def read(text, labels=LABELS, check=CHECK):
    return parse_verdict(text, labels, check)


def test_reads_the_form():
    assert read(json.dumps(GOOD)) == Verdict("pass", "short")


def test_reads_white_space_around_it_and_any_order_of_keys():
    assert read(" \n" + json.dumps(dict(reversed(GOOD.items())), indent=2) + "\n") == Verdict("pass", "short")


def test_reads_a_grade_as_text_or_number():
    for grade in (4, "4"):
        assert read(json.dumps({**GOOD, "verdict": grade}), ("1", "4")).label == "4"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pass",
        "[]",
        "null",
        json.dumps([GOOD]),
        json.dumps(GOOD) + " done",
        json.dumps(GOOD) + json.dumps(GOOD),
        "```json\n" + json.dumps(GOOD) + "\n```",
        "Verdict: " + json.dumps(GOOD),
        json.dumps({**GOOD, "verdict": "PASS"}),
        json.dumps({**GOOD, "verdict": "pass "}),
        json.dumps({**GOOD, "verdict": "maybe"}),
        json.dumps({**GOOD, "verdict": True}),
        json.dumps({**GOOD, "verdict": None}),
        json.dumps({**GOOD, "verdict": ["pass"]}),
        json.dumps({**GOOD, "check": "0123456789abcdee"}),
        json.dumps({**GOOD, "check": CHECK.upper()}),
        json.dumps({**GOOD, "critique": 7}),
        json.dumps({**GOOD, "note": ""}),
        json.dumps({"check": CHECK, "verdict": "pass"}),
        json.dumps(GOOD)[:-1] + ', "verdict": "fail"}',
        json.dumps(GOOD)[:-1] + ', "check": "' + CHECK + '"}',
        json.dumps({**GOOD, "critique": "\ud800"}),
        json.dumps({**GOOD, "critique": {"verdict": "pass"}}),
        json.dumps({**GOOD, "verdict": float("nan")}),
        "[" * 100_000,
        "9" * 5_000,
        json.dumps({**GOOD, "critique": "x" * MAX_REPLY_CHARACTERS}),
        "\ufeff" + json.dumps(GOOD),
    ],
)
def test_reads_nothing_else(text):
    assert read(text) is None


@given(st.text(), st.sampled_from(LABELS))
def test_a_critique_cannot_move_the_verdict(critique, label):
    found = read(json.dumps({**GOOD, "critique": critique, "verdict": label}))
    assert found == Verdict(label, critique)


@given(st.text(max_size=60), st.text(max_size=60))
def test_text_round_the_form_is_never_a_verdict(before, after):
    found = read(before + json.dumps(GOOD) + after)
    assert found is None or not (before + after).strip()


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5), lambda c: st.lists(c) | st.dictionaries(st.text(max_size=8), c)
    )
)
def test_no_other_json_is_a_verdict(value):
    assert read(json.dumps(value)) is None
