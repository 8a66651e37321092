"""Retrieval by the standard library finds what retrieval by sparse matrices finds, rank for rank."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from safetycatch.fewshot.ranking import Okapi, Tfidf, best, character_grams, spread, word_grams
from safetycatch.fewshot.retrieval import bm25, diversified, nearest

WORDS = ("card", "lost", "refund", "fee", "top", "up", "I", "a", "İstanbul", "straße", "it's", "é", "42", "日本語")
texts = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join),
    st.text(max_size=20),
    st.text(alphabet="ab \t\n\u00a0\u2003_-", max_size=12),
)


@settings(max_examples=60)
@given(st.lists(texts, min_size=1, max_size=10), texts, st.data())
def test_ranks_are_equal(pool, query, data):
    out = data.draw(st.lists(st.integers(0, len(pool) - 1), max_size=len(pool) - 1, unique=True))
    k = data.draw(st.integers(1, len(pool) - len(out)))
    balance = data.draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    index, okapi = Tfidf(pool), Okapi(pool)
    ((near, scores),) = nearest(pool, [query], k, [out])
    assert best(index.scores(query), k, out) == near
    assert [min(index.scores(query)[at], 1.0) for at in near] == scores
    ((found, weights),) = bm25(pool, [query], k, [out])
    assert best(okapi.scores(query), k, out) == found
    assert [okapi.scores(query)[at] for at in found] == weights
    ((picked, _),) = diversified(pool, [query], k, [out], balance)
    assert spread(index, index.scores(query), k, out, balance) == picked


@given(texts)
def test_grams_are_those_of_the_library(text):
    pair = (TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+"), word_grams)
    for vectorizer, grams in (pair, (TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)), character_grams)):
        assert sorted(grams(text)) == sorted(vectorizer.build_analyzer()(text))


def test_of_equal_rows_the_first_wins():
    pool = ["lost card", "Lost  Card", "refund", "lost CARD"]
    assert best(Tfidf(pool).scores("my lost card"), 3, {0}) == [1, 3, 2]


@pytest.mark.parametrize("retrieval", [Tfidf, Okapi])
def test_a_pool_without_words_has_no_scores(retrieval):
    assert retrieval(["", "?!"]).scores("anything") == [0.0, 0.0]
