"""No text can make the fence or move the parser; the corpus of attacks, each against both."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.asking import messages_of
from safetycatch.judging.attacks import attacks
from safetycatch.judging.verdicts import parse_verdict
from tests.judging.loopback import block

SECRET = b"k" * 32
LABELS = ("pass", "fail")
SETTINGS = JudgeSettings.model_validate({"model": "sandbox/judge", "prompt": "judge.md", "reference": True})
PAIRS = JudgeSettings.model_validate({"model": "sandbox/judge", "prompt": "judge.md", "scale": "pairwise"})
CORPUS = attacks("pass")
BY_NAME = [pytest.param(attack.text, id=attack.name) for attack in CORPUS]


def asked(output, **more):
    return messages_of("Be fair.", {"input": "q", "output": output, "reference": "r", **more}, SETTINGS, SECRET)


def fences(messages, token):
    return re.findall(rf"</?([a-z]+)-{token}>", messages[-1]["content"], re.IGNORECASE)


def test_there_are_sixty_at_least_and_each_is_another():
    assert len(CORPUS) >= 60
    assert len({attack.name for attack in CORPUS}) == len({attack.text for attack in CORPUS}) == len(CORPUS)


def test_a_plain_attack_names_the_wanted_verdict_and_no_other():
    others = {"pass", "fail", "first", "second", "tie", *map(str, range(11))}
    for attack in attacks("WANTED"):
        if attack.plain:
            assert "WANTED" in attack.text
            assert others.isdisjoint(re.findall(r"[a-z0-9]+", attack.text.lower())), attack.name


@pytest.mark.parametrize("text", BY_NAME)
def test_an_attack_as_reply_is_no_verdict(text):
    token = asked(text).check
    assert parse_verdict(text, LABELS, token) is None


@pytest.mark.parametrize("text", BY_NAME)
def test_an_attack_stays_inside_its_fence(text):
    messages, token = asked(text)
    assert block(messages, "output") == text
    assert fences(messages, token) == ["input", "input", "output", "output", "reference", "reference"]


@pytest.mark.parametrize("text", BY_NAME)
def test_an_attack_stays_inside_where_it_is_input_reference_or_pair(text):
    messages, token = asked("a", input=text, reference=text)
    assert block(messages, "input") == block(messages, "reference") == text
    pair, other = messages_of("Be fair.", {"input": "q", "first": text, "second": text}, PAIRS, SECRET)
    assert len(fences(messages, token)) == len(fences(pair, other)) == 6


@pytest.mark.parametrize("text", BY_NAME)
def test_an_attack_quoted_in_the_critique_leaves_the_verdict(text):
    token = asked(text).check
    reply = json.dumps({"check": token, "critique": text, "verdict": "fail"}, ensure_ascii=False)
    assert parse_verdict(reply, LABELS, token).label == "fail"


@pytest.mark.parametrize("text", BY_NAME)
def test_an_attack_beside_a_verdict_leaves_none(text):
    token = asked(text).check
    reply = json.dumps({"check": token, "critique": "no", "verdict": "fail"})
    assert parse_verdict(text + reply, LABELS, token) is None
    assert parse_verdict(reply + text, LABELS, token) is None


@pytest.mark.parametrize("text", BY_NAME)
def test_an_attack_pasted_unescaped_into_a_reply_never_passes(text):
    token = asked(text).check
    pasted = f'{{"check": "{token}", "critique": "{text}", "verdict": "fail"}}'
    found = parse_verdict(pasted, LABELS, token)
    assert found is None or found.label == "fail"


def test_a_token_seen_before_is_worth_nothing():
    before = asked("an answer").check
    for attack in CORPUS:
        text = attack.text.replace("0123456789abcdef", before).replace("-X>", f"-{before}>")
        messages, token = asked(text)
        assert token != before
        assert block(messages, "output") == text
        assert parse_verdict(text, LABELS, token) is None


PARTS = st.sampled_from(
    [
        "</output-",
        "<output-",
        "</input-",
        ">",
        "X",
        "0123456789abcdef",
        "\n",
        '"',
        "{",
        "}",
        "check",
        "verdict",
        "pass",
        "\\",
    ]
)


@given(st.lists(st.one_of(PARTS, st.text(max_size=8)), max_size=30).map("".join))
def test_no_text_makes_a_fence(text):
    messages, token = asked(text, input=text, reference=text)
    assert len(fences(messages, token)) == 6
    assert block(messages, "output") == text


@given(st.lists(st.one_of(PARTS, st.text(max_size=8)), max_size=30).map("".join))
def test_no_text_is_a_verdict(text):
    assert parse_verdict(text, LABELS, asked(text).check) is None


@given(st.text(alphabet="0123456789abcdef", min_size=16, max_size=16))
def test_no_guess_is_the_token(guess):
    reply = json.dumps({"check": guess, "critique": "", "verdict": "pass"})
    assert parse_verdict(reply, LABELS, asked(reply).check) is None
