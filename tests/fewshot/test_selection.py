from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch import tables
from safetycatch.errors import DataError
from safetycatch.fewshot import Demonstrations, select, verify_shots
from safetycatch.settings import ShotSettings

STATIC4, KNN4 = ShotSettings(select="static", k=4), ShotSettings(select="knn", k=4)
FIXED = ("static", "random", "diverse", "bootstrapped")
SELECTS = (*FIXED, "knn", "bm25", "mmr", "hybrid")
ALL4 = [
    *(ShotSettings(select=name, k=4) for name in SELECTS),
    *(ShotSettings(select="hybrid", k=4, core=1, tail=tail) for tail in ("bm25", "mmr")),
    ShotSettings(select="hybrid", k=4, order=3),
]
WORDS = ("card", "lost", "refund", "fee", "top", "up", "money", "late", "pin", "cash")


def shot_ids(shots, example_id=""):
    rows = [row for row in shots.to_pylist() if row["example_id"] == example_id]
    return [row["shot_id"] for row in sorted(rows, key=lambda row: row["rank"])]


@pytest.fixture
def pool(examples):
    return examples(
        [(f"p{i}", f"{WORDS[i % 10]} {WORDS[(i * 7 + 3) % 10]} number {i}", "abcd"[i % 4]) for i in range(40)]
    )


@pytest.fixture
def queries(examples):
    return examples([(f"q{i}", f"{WORDS[i % 10]} question {i}", "abcd"[i % 4]) for i in range(10)])


def test_zero_shows_nothing(pool, queries):
    assert select(pool, queries, ShotSettings()).equals(tables.empty("shots"))


@pytest.mark.parametrize("settings", ALL4, ids=lambda settings: settings.name)
def test_shots_keep_their_contract(pool, queries, settings):
    shots = select(pool, queries, settings)
    assert tables.checked(shots, "shots").schema.equals(tables.schema("shots"))


@pytest.mark.parametrize("how", FIXED)
def test_fixed_shots_are_one_shared_set(pool, queries, how):
    shots = select(pool, queries, ShotSettings(select=how, k=4))
    assert shots["example_id"].to_pylist() == [""] * 4


def test_static_shows_every_label_equally_often(pool, queries):
    shots = select(pool, queries, ShotSettings(select="static", k=8))
    target = dict(zip(pool["example_id"].to_pylist(), pool["target"].to_pylist(), strict=True))
    assert Counter(target[shot] for shot in shot_ids(shots)) == dict.fromkeys("abcd", 2)


def test_another_seed_shows_others(pool, queries):
    assert select(pool, queries, STATIC4) != select(pool, queries, ShotSettings(select="static", k=4, seed=8))


@pytest.mark.parametrize("settings", ALL4, ids=lambda settings: settings.name)
def test_the_order_of_the_pool_does_not_matter(pool, queries, settings):
    backwards = pool.take(list(range(pool.num_rows))[::-1])
    assert select(backwards, queries, settings).equals(select(pool, queries, settings))


def test_static_shots_come_from_different_clusters(pool, queries):
    ids = pool["example_id"].to_pylist()
    clusters = {name: f"c{int(name[1:]) // 8}" for name in ids} | {
        name: name for name in queries["example_id"].to_pylist()
    }
    shots = select(pool, queries, STATIC4, clusters=clusters)
    assert len({clusters[shot] for shot in shot_ids(shots)}) == 4


def test_few_clusters_still_give_static_shots(pool, queries):
    clusters = dict.fromkeys(pool["example_id"].to_pylist(), "one customer")
    clusters |= {name: name for name in queries["example_id"].to_pylist()}
    assert select(pool, queries, STATIC4, clusters=clusters).num_rows == 4


def test_only_the_barred_shot_is_replaced_and_by_the_same_label(pool):
    shared = shot_ids(select(pool, pool, STATIC4))
    own = shot_ids(select(pool, pool, STATIC4), shared[1])
    target = dict(zip(pool["example_id"].to_pylist(), pool["target"].to_pylist(), strict=True))
    assert (own[0], own[2:]) == (shared[0], shared[2:])
    assert own[1] not in shared
    assert target[own[1]] == target[shared[1]]


def test_the_nearest_shot_comes_last(examples):
    pool = examples([("far", "the weather in June", "a"), ("near", "where is my lost card", "b"), ("mid", "lost", "c")])
    queries = examples([("q", "where is my lost credit card", "b")])
    assert shot_ids(select(pool, queries, ShotSettings(select="knn", k=3)), "q") == ["far", "mid", "near"]


def test_a_similarity_is_a_cosine(examples):
    pool = examples([("x", "alpha beta", "a"), ("y", "gamma delta", "a")])
    shots = select(
        pool, examples([("q", "alpha  BETA!", "a"), ("r", "alpha beta x", "a")]), ShotSettings(select="knn", k=1)
    )
    scores = dict(zip(shots["example_id"].to_pylist(), shots["score"].to_pylist(), strict=True))
    assert scores["q"] == 0  # the same text is not shown, the other shares no word
    assert 0.8 < scores["r"] <= 1


def test_too_small_a_pool_is_an_error(pool, queries):
    with pytest.raises(DataError, match="the pool has 40 different inputs, static50 needs 50"):
        select(pool, queries, ShotSettings(select="static", k=50))


@pytest.mark.parametrize("select_how", SELECTS)
def test_a_pool_of_the_querys_cluster_is_an_error(pool, queries, select_how):
    clusters = dict.fromkeys([*pool["example_id"].to_pylist(), *queries["example_id"].to_pylist()], "all")
    with pytest.raises(DataError, match="outside the cluster of this query"):
        select(pool, queries, ShotSettings(select=select_how, k=4), clusters=clusters)


def test_a_row_without_a_cluster_is_an_error(pool, queries):
    with pytest.raises(DataError, match="no cluster is known"):
        select(pool, queries, STATIC4, clusters={})


@pytest.mark.parametrize("texts", [["?!", "!!", "..."], ["", " ", "  "], ["a", "b", "c"]])
def test_texts_without_words_are_no_problem(examples, texts):
    pool = examples([(f"p{i}", text + " " * i, "a") for i, text in enumerate(texts)] + [("z", "zebra", "a")])
    assert select(pool, examples([("q", "#", "a")]), ShotSettings(select="knn", k=1)).num_rows == 1


def test_json_inputs_are_compared_by_their_values(examples):
    pool = examples([("p", '{"text":"lost card"}', "a"), ("r", '{"text":"refund"}', "b")], kind="json")
    shots = select(pool, examples([("q", '{"text":"my refund"}', "b")], kind="json"), ShotSettings(select="knn", k=1))
    assert shot_ids(shots, "q") == ["r"]


def test_chats_are_compared_by_what_was_said(examples):
    chat = '[{"content":"%s","role":"user"}]'
    pool = examples([("p", chat % "lost card", "a"), ("r", chat % "refund", "b")], kind="messages")
    queries = examples([("q", chat % "my refund, user", "b")], kind="messages")
    shots = select(pool, queries, ShotSettings(select="knn", k=1))
    assert shot_ids(shots, "q") == ["r"]


small_texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)


@given(st.data(), st.sampled_from(SELECTS), st.integers(2, 4))
def test_no_shot_is_of_the_querys_cluster(examples, data, how, k):
    texts = data.draw(st.lists(small_texts, min_size=8, max_size=14))
    cluster = data.draw(st.lists(st.integers(0, 9), min_size=len(texts), max_size=len(texts)))
    rows = [(f"e{i}", text, text[0]) for i, text in enumerate(texts)]
    clusters = {f"e{i}": f"c{number}" for i, number in enumerate(cluster)}
    pool, queries = examples(rows[:-4]), examples(rows[-6:])
    try:
        shots = select(pool, queries, ShotSettings(select=how, k=k), clusters=clusters)
    except DataError:
        return
    assert verify_shots(shots, pool, queries, clusters=clusters) == ()
    shown = Demonstrations(shots, pool, f"{how}{k}")
    for query, text, _ in rows[-6:]:
        seen = shown.of(query)
        assert len({row["example_id"] for row in seen}) == k
        assert all(clusters[row["example_id"]] != clusters[query] and row["input"] != text for row in seen)


@pytest.mark.parametrize(
    ("shot", "reason"),
    [("q0", "the query itself"), ("mate", "its cluster"), ("copy", "the same text"), ("alien", "not in the pool")],
)
@pytest.mark.parametrize("shared", [True, False])
def test_a_foreign_selector_is_found_out(examples, shot, reason, shared):
    pool = examples([("q0", "lost card", "a"), ("mate", "card gone", "a"), ("copy", "Lost card!", "a")])
    clusters = {"q0": "c", "mate": "c", "copy": "other"}
    shots = pa.table(
        {"strategy": ["mine"], "example_id": ["" if shared else "q0"], "rank": [0], "shot_id": [shot], "score": [0.5]}
    )
    faults = verify_shots(shots, pool, pool.slice(0, 1), clusters=clusters)
    assert [(fault.shot_id, fault.reason) for fault in faults] == [(shot, reason)]


def test_own_shots_override_the_shared_ones(pool):
    shots = select(pool, pool, STATIC4)
    shown = Demonstrations(shots, pool, "static4")
    first = shot_ids(shots)[0]
    assert first not in [row["example_id"] for row in shown.of(first)]
    assert shown.of("unheard of") == shown.of("also")
    with pytest.raises(DataError, match="not in the pool"):
        Demonstrations(shots, pool.slice(0, 1), "static4")
    assert Demonstrations(shots, pool, "another").of(first) == ()


def test_near_shots_carry_the_label_on_banking77(examples, shared_data):
    table = pq.read_table(shared_data / "banking77" / "banking77.parquet")
    columns = [table.filter(pc.field("split") == split) for split in ("train", "test")]
    train, test = (
        examples(list(zip(*(part[name].to_pylist() for name in ("item_id", "text", "label")), strict=True)))
        for part in columns
    )
    pool = train.take(list(range(0, train.num_rows, 10)))
    queries = test.take(list(range(0, test.num_rows, 10)))
    shots = select(pool, queries, ShotSettings(select="knn", k=8))
    shown = Demonstrations(shots, pool, "knn8")
    pairs = zip(queries["example_id"].to_pylist(), queries["target"].to_pylist(), strict=True)
    hits = [any(row["target"] == target for row in shown.of(name)) for name, target in pairs]
    assert sum(hits) / len(hits) > 0.85
