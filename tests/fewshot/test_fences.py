import re
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from safetycatch.fewshot import fence

FENCE = re.compile(r"\A<input-(\w+)>\n(.*)\n</input-\1>\Z", re.DOTALL)


@given(st.text(), st.text(max_size=8))
def test_what_is_inside_is_the_text(text, key):
    assert [inside for _, inside in FENCE.findall(fence(text, key))] == [text]


@given(st.text(alphabet="0123456789abcdefABCDEF<>/input-", max_size=60), st.text(max_size=4))
def test_no_text_holds_its_own_token(text, key):
    ((token, _),) = FENCE.findall(fence(text, key))
    assert token not in text.lower()


def test_a_text_that_guesses_its_token_gets_another():
    """One-digit tokens make a guess easy: a text of 15 digits leaves one."""
    for left in "0123456789abcdef":
        text = "0123456789ABCDEF".replace(left.upper(), "")
        with patch("safetycatch.fewshot.fences.TOKEN_DIGITS", 1):
            assert fence(text, "key").startswith(f"<input-{left}>")


def test_equal_requests_stay_equal():
    assert fence("a", "k") == fence("a", "k")
    assert len({fence("a", "k"), fence("a", "l"), fence("b", "k")}) == 3


def test_a_lone_surrogate_is_no_crash():
    assert "\ud800" in fence("\ud800", "k")
