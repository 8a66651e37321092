import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from safetycatch.fewshot import select
from safetycatch.fewshot.retrieval import bm25, cosines, diversified, nearest
from safetycatch.settings import ShotSettings

WORDS = ("card", "lost", "refund", "fee", "top", "up", "money", "late", "pin", "cash")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)


def shot_ids(shots, example_id=""):
    rows = [row for row in shots.to_pylist() if row["example_id"] == example_id]
    return [row["shot_id"] for row in sorted(rows, key=lambda row: row["rank"])]


@pytest.fixture
def pool(examples):
    return examples(
        [(f"p{i}", f"{WORDS[i % 10]} {WORDS[(i * 7 + 3) % 10]} number {i}", "abcd"[i % 4]) for i in range(40)]
    )


def okapi(query, pool):
    """BM25 term by term, as in the paper."""
    documents = [text.split() for text in pool]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for words in documents:
        score = 0.0
        for word in query.split():
            n = sum(word in other for other in documents)
            f = words.count(word)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            score += idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * len(words) / mean))
        scores.append(score)
    return scores


@given(st.lists(texts, min_size=1, max_size=8), texts)
def test_bm25_is_the_formula_of_the_paper(pool, query):
    ((positions, scores),) = bm25(pool, [query], len(pool), [[]])
    expected = okapi(query, pool)
    assert scores == pytest.approx([expected[position] for position in positions], abs=1e-8)
    assert sorted(positions) == list(range(len(pool)))
    assert scores == sorted(scores, reverse=True)


def test_bm25_by_hand():
    # N = 2, both of length 2: the norm is 1.2; `card` is in both: log(1 + .5/2.5); `lost` in one: log(1 + 1.5/1.5).
    ((positions, scores),) = bm25(["card fee", "lost card"], ["lost card card"], 2, [[]])
    assert positions == [1, 0]
    assert scores == pytest.approx([math.log(2) + 2 * math.log(1.2), 2 * math.log(1.2)], abs=1e-9)


def test_bm25_of_texts_without_words():
    ((positions, scores),) = bm25(["?!", "..."], ["#"], 1, [[0]])
    assert (positions, scores) == ([1], [0.0])


def test_mmr_that_looks_at_nearness_alone_is_knn():
    pool = [f"{a} {b} {i}" for i, (a, b) in enumerate(zip(WORDS * 3, WORDS[3:] * 4, strict=False))]
    near = list(nearest(pool, ["lost card fee", "money"], 6, [[], [2]]))
    assert list(diversified(pool, ["lost card fee", "money"], 6, [[], [2]], 1.0)) == near


def test_mmr_passes_over_a_copy_of_what_it_showed():
    pool = ["where is my lost card", "where is my lost card?", "my card is lost abroad"]
    ((near, _),) = nearest(pool, ["where is my lost card please"], 2, [[]])
    ((spread, _),) = diversified(pool, ["where is my lost card please"], 2, [[]], 0.4)
    assert (near, spread) == ([0, 1], [0, 2])


@settings(max_examples=40)
@given(st.lists(texts, min_size=3, max_size=12, unique=True), texts, st.floats(0, 1))
def test_mmr_is_its_definition(pool, query, balance):
    ((picked, _),) = diversified(pool, [query], 3, [[]], balance)
    ((order, scores),) = nearest(pool, [query], len(pool), [[]])
    relevance = dict(zip(order, scores, strict=True))
    like = cosines(pool)
    chosen = []
    for _ in range(3):
        value = {
            i: round(balance * relevance[i] - (1 - balance) * max([like[i, j] for j in chosen], default=0.0), 9)
            for i in range(len(pool))
            if i not in chosen
        }
        chosen.append(max(value, key=lambda i: (value[i], -i)))
    assert picked == chosen


def test_cosines_are_those_of_the_library():
    pool = ["lost card", "card lost again", "a refund"]
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+", sublinear_tf=True).fit_transform(pool)
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True).fit_transform(pool)
    expected = (words @ words.T).toarray() / 2 + (grams @ grams.T).toarray() / 2
    assert np.abs(cosines(pool) - expected).max() < 1e-8


def test_random_is_a_fair_draw(examples):
    pool = examples([(f"p{i}", f"text {i}", "a" if i < 15 else "b") for i in range(20)])
    drawn = Counter(
        shot
        for seed in range(400)
        for shot in shot_ids(select(pool, pool.slice(0, 0), ShotSettings(select="random", k=5, seed=seed)))
    )
    # 400 draws of 5 of 20: 100 each, standard deviation 8.7.
    assert len(drawn) == 20
    assert all(abs(n - 100) < 4 * 8.7 for n in drawn.values())


def test_diverse_shows_every_theme(examples):
    themes = ("lost card", "refund of money", "pin is late", "top up fee")
    pool = examples([(f"p{i}", f"{themes[i % 4 if i > 4 else 0]} {i}", "a") for i in range(40)])
    of = dict(zip(pool["example_id"].to_pylist(), pool["input"].to_pylist(), strict=True))
    for seed in range(5):
        shown = shot_ids(select(pool, pool.slice(0, 0), ShotSettings(select="diverse", k=4, seed=seed)))
        assert len({of[shot].rsplit(" ", 1)[0] for shot in shown}) == 4


def test_diverse_shows_every_label_equally_often(pool):
    shots = shot_ids(select(pool, pool.slice(0, 0), ShotSettings(select="diverse", k=8)))
    target = dict(zip(pool["example_id"].to_pylist(), pool["target"].to_pylist(), strict=True))
    assert Counter(target[shot] for shot in shots) == dict.fromkeys("abcd", 2)


@pytest.mark.parametrize("tail", ["knn", "bm25", "mmr"])
def test_a_hybrid_is_the_static_core_and_then_what_is_near(pool, examples, tail):
    queries = examples([("q", "lost card fee", "a"), ("r", "pin is late", "b")])
    hybrid = select(pool, queries, ShotSettings(select="hybrid", k=6, core=2, tail=tail))
    core = shot_ids(select(pool, queries, ShotSettings(select="static", k=2)))
    near = select(pool, queries, ShotSettings(select=tail, k=6))
    for query in ("q", "r"):
        shown = shot_ids(hybrid, query)
        assert shown[:2] == core
        expected = [shot for shot in shot_ids(near, query) if shot not in core]
        assert shown[-1] == expected[-1]
        if tail != "mmr":
            assert shown[2:] == expected[-4:]


@pytest.mark.parametrize("how", ["static", "random", "diverse", "knn", "bm25", "mmr", "hybrid"])
def test_an_order_permutes_the_same_shots(pool, examples, how):
    queries = examples([("q", "lost card fee", "a")])
    for_query = "q" if how in {"knn", "bm25", "mmr", "hybrid"} else ""
    plain = shot_ids(select(pool, queries, ShotSettings(select=how, k=8)), for_query)
    orders = [
        shot_ids(select(pool, queries, ShotSettings(select=how, k=8, order=seed)), for_query) for seed in range(4)
    ]
    assert all(sorted(order) == sorted(plain) for order in orders)
    assert len({tuple(order) for order in (plain, *orders)}) == 5


@pytest.mark.parametrize("how", ["static", "random", "diverse", "hybrid"])
def test_only_the_barred_shot_gives_way(pool, how):
    settings = ShotSettings(select=how, k=4)
    shots = select(pool, pool, settings)
    shared = shot_ids(shots) if how != "hybrid" else shot_ids(shots, "p0")[:2]
    own = shot_ids(shots, shared[1])
    assert own[0] == shared[0]
    assert shared[1] not in own


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"select": "static", "k": 8}, "static8"),
        ({"select": "knn", "k": 8, "seed": 3}, "knn8-seed3"),
        ({"select": "hybrid", "k": 8, "core": 4}, "hybrid8"),
        ({"select": "hybrid", "k": 8, "core": 2, "tail": "mmr", "balance": 0.5}, "hybrid8-core2-mmr-balance0.5"),
        ({"select": "bootstrapped", "k": 4, "sample": 40, "order": 2}, "bootstrapped4-sample40-order2"),
        ({"select": "mmr", "k": 4, "balance": 0.7}, "mmr4"),
    ],
)
def test_names_tell_strategies_apart(settings, name):
    assert ShotSettings(**settings).name == name


def test_what_was_stored_before_the_options_keeps_its_settings():
    assert ShotSettings(select="static", k=8).model_dump(mode="json") == {"select": "static", "k": 8, "seed": 7}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"select": "zero", "order": 1}, "two examples or more"),
        ({"select": "knn", "k": 4, "balance": 0.5}, "`balance` is for `select: mmr`"),
        ({"select": "mmr", "k": 4, "core": 2}, "`core` is for `select: hybrid`"),
        ({"select": "hybrid", "k": 4, "core": 4}, "`core` from 1 to k - 1"),
        ({"select": "hybrid", "k": 1}, "shows 0 fixed of 1"),
        ({"select": "static", "k": 4, "sample": 40}, "`sample` is for `select: bootstrapped`"),
        ({"select": "bootstrapped", "k": 4, "sample": 3}, "cannot give 4 examples"),
        ({"select": "static", "k": 1, "order": 3}, "two examples or more"),
    ],
)
def test_options_of_another_strategy_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        ShotSettings(**settings)
