import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.report import escaping

CASES = [
    ("a\u202eb", r"a\u202eb"),
    ("zero\u200bwidth", r"zero\u200bwidth"),
    ("\x1b[31mred\x1b[0m", r"\u001b[31mred\u001b[0m"),
    ("\x00", r"\u0000"),
    ("\r", r"\r"),
    ("\ud800", r"\ud800"),
    ("\U000e0041", r"\U000e0041"),
    ("\u3164", r"\u3164"),
    ("a\u0301\u0302\u0303\u0304", "a\u0301\u0302\u0303" + r"\u0304"),
    ("two\nlines\tand a tab", "two\nlines\tand a tab"),
    ("café 日本\u3000語", "café 日本\u3000語"),
]


@pytest.mark.parametrize(("text", "shown"), CASES)
def test_hidden_characters_are_shown(text, shown):
    assert escaping.visible(text) == shown


@given(st.text(st.characters(), max_size=60))
def test_no_format_or_control_character_survives(text):
    shown = escaping.html(text)
    assert all(unicodedata.category(c) not in {"Cf", "Cc", "Cs", "Zl", "Zp"} or c in "\n\t" for c in shown)
    shown.encode()
    assert not set("<>\"'") & set(shown)


@given(st.text(st.characters(), max_size=60))
def test_a_record_is_one_terminal_line(text):
    shown = escaping.terminal_safe(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


@given(st.text(max_size=60))
def test_markdown_text_is_one_code_span_without_pipes(text):
    shown = escaping.markdown_safe(text)
    assert shown == "(empty)" or (shown[0] == shown[-1] == "`" and "`" not in shown[1:-1])
    assert "|" not in shown
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["@everyone", "![x](http://e.example/p)", "<b>", "www.e.example", "#12", "a*b*", "$x$", "l\n# h"]
)
def test_prose_that_could_act_becomes_code(text):
    assert escaping.markdown_prose(text).startswith("`")


def test_prose_of_ours_stays_prose():
    assert escaping.markdown_prose("+2.1 points [-0.6, +4.8], n = 310") == "+2.1 points \\[-0.6, +4.8], n = 310"


def test_huge_text_is_cut_with_a_count():
    assert escaping.html("x" * 1_000_000).endswith("… [998,000 more characters]")


@pytest.mark.parametrize("value", [None, 1.5, True, ["a"]])
def test_only_text_and_whole_numbers_reach_the_page(value):
    with pytest.raises(TypeError):
        escaping.finalize(value)
