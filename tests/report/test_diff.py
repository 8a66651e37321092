import time

from markupsafe import Markup

from safetycatch.report import diff


def test_changed_words_are_marked_on_both_sides():
    sides = diff.changed("the quick brown fox", "the slow brown fox")
    assert sides.left == Markup("the <del>quick</del> brown fox")
    assert sides.right == Markup("the <ins>slow</ins> brown fox")


def test_shared_words_are_marked_whatever_their_case():
    sides = diff.overlap("Hello, My card", "my card now")
    assert sides.left == Markup("Hello, <mark>My card</mark>")
    assert sides.right == Markup("<mark>my card</mark> now")


def test_markup_in_a_text_stays_text():
    assert "<b>" not in diff.changed("<b>x</b>", "<b>y</b>").left


def test_equal_texts_have_no_mark():
    assert diff.changed("same", "same").left == Markup("same")


def test_long_texts_are_shown_without_a_diff_and_quickly():
    start = time.monotonic()
    sides = diff.changed("a b " * 300, "b a " * 300)
    assert not sides.compared
    assert "<del>" not in sides.left
    assert time.monotonic() - start < 1
