"""The fast path equals a slow reference written from the definition, and the joins equal comparing every pair."""

from __future__ import annotations

import html
import itertools
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safetycatch.data.normalisation import normalise, token_bag
from safetycatch.data.similarity import (
    character_grams,
    grams,
    jaccard_pairs,
    near_pairs,
    near_pairs_between,
    similarity,
    word_grams,
)

WORDS = [
    "card",
    "my",
    "Lost",
    "the",
    "a",
    "transfer",
    "Zürich",
    "is",
    "not",
    "<b>",
    "&amp;",
    "naïve",
    "日本",
    "42",
    "7",
    "!",
]
sentences = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
texts = st.lists(st.one_of(sentences, st.text(max_size=12)), max_size=12)


def plain(text):
    """Return the normal form of a text without markup and operators, character by character."""
    kept = ""
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", html.unescape(text)).casefold())
    for character in unicodedata.normalize("NFC", "".join(c for c in decomposed if not dropped(c))):
        category = unicodedata.category(character)
        kept += character if character.isalnum() or category[0] == "M" else " "
    return re.sub(" +", " ", kept).strip()


def dropped(character):
    marks = [(0x300, 0x36F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F)]
    marks.append((0xE0100, 0xE01EF))
    return unicodedata.category(character) == "Cf" or any(low <= ord(character) <= high for low, high in marks)


def slow_grams(normal):
    if len(normal) < 5:
        return {normal}
    padded = f" {normal} "
    return {padded[place : place + 5] for place in range(len(padded) - 4)}


def slow_similarity(left, right):
    a, b = normalise(left), normalise(right)
    if min(len(a.split()), len(b.split())) > 200:
        x, y = ({tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (a.split(), b.split()))
    else:
        x, y = slow_grams(a), slow_grams(b)
    return len(x & y) / len(x | y)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="<>&=+-*/()[]{}^%~", exclude_categories=["Cs"])))
@example("ﬁancée İstanbul ß Å \uff46\uff55\uff4c\uff4c\uff11")
@example("สวัสดี हिन्दी مرحبا \u200bzero\u200dwidth")
def test_normal_form_equals_reference(text):
    assert normalise(text) == (plain(text) or " ".join(unicodedata.normalize("NFC", strip(text)).split()))


def strip(text):
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", html.unescape(text)).casefold())
    return "".join(character for character in decomposed if not dropped(character))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Where is my card?", "  where IS my card "),
        ("<p>Where is&nbsp;my <b>card</b></p>", "where is my card"),
        ("&lt;p&gt;card&lt;/p&gt; lost", "card lost"),
        ("\uff43\uff41\uff52\uff44", "card"),
        ("ca\u200brd", "card"),
        ("café", "cafe\u0301"),
        ("Straße", "STRASSE"),
        ("- one\n- two\n- three\n- four", "one two three four"),
    ],
)
def test_equal_texts_have_one_normal_form(left, right):
    assert normalise(left) == normalise(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("3 + 4", "3 * 4"),
        ("+", "-"),
        ("?", "!"),
        ("close [ ( {", "close { ( ["),
        ("👍", "👎"),
        ("vector<int>", "vector"),
    ],
)
def test_different_symbols_stay_different(left, right):
    assert normalise(left) != normalise(right)


def test_unknown_tags_are_content():
    assert normalise("call <PERSON> now") == "call person now"


def test_bag_ignores_word_order():
    assert token_bag(normalise("my card, lost")) == token_bag(normalise("lost my card"))


@settings(max_examples=100, deadline=None)
@given(texts)
@example(["", "a", "abcd", "abcde", "abcdefgh"])
def test_hashed_grams_count_as_many_as_the_reference(sample):
    normals = [normalise(text) for text in sample]
    assert character_grams(normals).sizes.tolist() == [len(slow_grams(normal)) for normal in normals]
    assert [len(grams(normal)) for normal in normals] == [len(slow_grams(normal)) for normal in normals]


@settings(max_examples=100, deadline=None)
@given(texts, texts, st.sampled_from([0.3, 0.5, 0.6, 0.8, 1.0]))
def test_join_between_equals_brute_force(left, right, threshold):
    found = near_pairs_between(left, right, threshold)
    expected = {
        (i, j): value
        for (i, a), (j, b) in itertools.product(enumerate(left), enumerate(right))
        if (value := slow_similarity(a, b)) >= threshold - 1e-9
    }
    assert dict(zip(zip(found.left.tolist(), found.right.tolist(), strict=True), found.similarity, strict=True)) == (
        pytest.approx(expected)
    )


@settings(max_examples=100, deadline=None)
@given(texts, st.sampled_from([0.3, 0.6, 0.8]))
def test_self_join_equals_brute_force(sample, threshold):
    found = near_pairs(sample, threshold)
    expected = {
        (i, j)
        for (i, a), (j, b) in itertools.combinations(enumerate(sample), 2)
        if slow_similarity(a, b) >= threshold - 1e-9
    }
    assert set(zip(found.left.tolist(), found.right.tolist(), strict=True)) == expected


def test_join_of_edited_real_texts_equals_brute_force(public):
    """Block boundaries and rare-gram ranks matter only with more rows than Hypothesis draws."""
    rows = public("banking77/banking77")["text"][:700]
    edited = [text[: len(text) // 2] + text[len(text) // 2 + 2 :] for text in rows[::2]]
    left, right = [normalise(text) for text in edited], [normalise(text) for text in rows]
    found = near_pairs_between(edited, rows, 0.6)
    expected = {(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if similarity(a, b) >= 0.6}
    assert set(zip(found.left.tolist(), found.right.tolist(), strict=True)) == expected


def test_small_blocks_change_nothing(monkeypatch, public):
    rows = public("banking77/banking77")["text"][:1500]
    whole = near_pairs(rows, 0.6)
    for name in ("BLOCK_CHARACTERS", "BLOCK_WORK", "VERIFY_GRAMS", "BLOCK_TEXTS"):
        monkeypatch.setattr(f"safetycatch.data.similarity.{name}", 500)
    monkeypatch.setattr("safetycatch.data.similarity.TILE_CHARACTERS", 20_000)
    parts = near_pairs(rows, 0.6)
    assert [part.tolist() for part in parts] == [part.tolist() for part in whole]


def test_long_texts_are_compared_by_words():
    rng = np.random.default_rng(5)
    vocabulary = [f"w{number}" for number in range(60)]
    one, other = (" ".join(rng.choice(vocabulary, 400)) for _ in range(2))
    edited = " ".join(one.split()[:-10])
    found = near_pairs([one, other, edited, "a short text"], 0.8)
    assert (found.left.tolist(), found.right.tolist()) == ([0], [2])
    assert similarity(one, other) < 0.1
    assert found.similarity[0] == pytest.approx(slow_similarity(one, edited))


def test_long_text_is_compared_with_a_short_one_by_characters():
    short = " ".join(f"word{number}" for number in range(199))
    longer = " ".join(f"word{number}" for number in range(203))
    found = near_pairs_between([short], [longer], 0.8)
    assert found.similarity.tolist() == [pytest.approx(slow_similarity(short, longer))]


def test_short_texts_are_compared_whole():
    assert near_pairs(["ab", "ab!", "abc", "a b"], 0.6).left.tolist() == [0]


def test_word_grams_share_a_vocabulary():
    vocabulary = {}
    left, right = (word_grams([" ".join("abcdefgh")], vocabulary) for _ in range(2))
    assert jaccard_pairs(left, right, 1.0).similarity.tolist() == [1.0]


def test_no_texts_no_pairs():
    assert len(near_pairs([], 0.8).left) == 0
    assert len(near_pairs_between(["a"], [], 0.8).left) == 0
