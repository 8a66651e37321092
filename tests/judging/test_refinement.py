import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.calibration import JudgedItem
from safetycatch.judging.refinement import (
    agreement_values,
    measure,
    parse_proposal,
    quoted,
    refine_messages,
    shown_disagreements,
)
from safetycatch.judging.sealing import ItemKey

SETTINGS = JudgeSettings.model_validate({"model": "sandbox/judge", "prompt": "judge.md"})
SECRET = b"s" * 32


def item(number, label="pass", verdict="pass", critiques=(), output="fine", status="answer"):
    return JudgedItem(
        ItemKey(f"R{number}", "", f"{number:016x}"),
        "dev",
        label,
        verdict,
        "a question",
        output,
        critiques=critiques,
        judge_critique="",
        status=status,
    )


def reply(**changed):
    return json.dumps({"check": "c" * 16, "changes": "one more", "rubric": "- is short", **changed})


def test_a_proposal_in_form_is_read():
    assert parse_proposal(reply(rubric=" - is short\r\n- is kind "), "c" * 16) == ("- is short\n- is kind", "one more")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        reply() + "x",
        "```json\n" + reply() + "\n```",
        reply(check="d" * 16),
        reply(rubric=""),
        reply(rubric=3),
        reply(rubric="- {{ input }}"),
        reply(rubric="- {% if x %}"),
        reply(rubric="- \u202eabc"),
        reply(rubric="x" * 20_001),
        reply(more=1),
        '{"check": "cccccccccccccccc", "check": "cccccccccccccccc", "changes": "", "rubric": "a"}',
        "[" * 5000,
    ],
)
def test_any_other_reply_is_no_proposal(text):
    assert parse_proposal(text, "c" * 16) is None


@given(st.text(max_size=200))
def test_no_text_can_close_its_fence(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    asked = refine_messages("- is kind", [item(1, "fail", critiques=(f"ann: {text}",), output=text)], SECRET)
    assert asked.messages[1]["content"].count(f"</output-{asked.check}>") == 1
    assert asked.check not in text


def test_equal_requests_are_equal_and_the_fence_depends_on_the_secret():
    one = refine_messages("- is kind", [item(1, "fail")], SECRET)
    assert refine_messages("- is kind", [item(1, "fail")], SECRET) == one
    assert refine_messages("- is kind", [item(1, "fail")], b"t" * 32).check != one.check


def test_draws_differ_and_those_with_a_critique_come_first():
    items = [item(number, "fail", critiques=("ann: too long",) if number < 4 else ()) for number in range(40)]
    draws = [shown_disagreements(items, SETTINGS, draw=draw) for draw in range(4)]
    assert [len(draw) for draw in draws] == [8, 12, 4, 8]
    assert draws[0] != draws[3]
    assert all({one.key for one in draw[:4]} == {one.key for one in items[:4]} for draw in draws)


def test_what_comes_up_again_and_again_is_shown_first():
    odd = [item(number, "fail", critiques=(f"ann: odd{number}",)) for number in range(5)]
    again = [item(number, "fail", critiques=(f"bob: no order number {number}",)) for number in range(5, 15)]
    assert {one.key for one in shown_disagreements([*odd, *again], SETTINGS, draw=0)} <= {one.key for one in again}


def test_agreement_is_balanced_over_peoples_verdicts():
    items = [item(number) for number in range(90)] + [item(number, "fail") for number in range(90, 100)]
    assert np.mean(agreement_values(items, SETTINGS)) == pytest.approx(0.5)


def test_no_verdict_is_no_agreement_and_a_failed_call_is_missing():
    items = [item(1, verdict=None, status="unparsed"), item(2, verdict=None, status="error"), item(3)]
    found = agreement_values(items, SETTINGS)
    assert (found[0], np.isnan(found[1]), found[2]) == (0, True, 1)


def test_a_real_gain_goes_on():
    parent = [item(n, "fail" if n % 2 else "pass", "pass") for n in range(60)]
    child = [item(n, "fail" if n % 2 else "pass", "fail" if n % 2 and n > 20 else "pass") for n in range(60)]
    found = measure(parent, [("v2", child), ("v3", parent)], SETTINGS)
    assert found.kept is not None
    assert found.kept.name == "v2"
    assert found.kept.difference.estimate == pytest.approx(20 / 60)


def test_a_gain_inside_the_noise_stops():
    parent = [item(n, "fail" if n % 2 else "pass", "pass") for n in range(60)]
    child = [*parent[:-1], item(59, "fail", "fail")]
    found = measure(parent, [("v2", child)], SETTINGS)
    assert found.kept is None
    assert "inside the noise" in found.reason


def test_the_same_verdicts_show_nothing():
    parent = [item(n, "fail" if n % 2 else "pass", "pass") for n in range(60)]
    found = measure(parent, [("v2", parent)], SETTINGS)
    assert found.kept is None
    assert "exactly the same dev items" in found.reason
    assert measure(parent, [], SETTINGS).reason == "no proposal that could be used"


def test_a_rubric_that_quotes_its_examples_is_found():
    items = [item(1, output="Your parcel will arrive on Friday."), item(2, output="ok")]
    assert quoted("- passes: your parcel will  arrive on friday.", items) == [items[0]]
    assert quoted("- ok is fine", items) == []
    assert quoted("- your parcel will arrive on friday.", items, before="Your parcel will arrive on Friday.") == []
