"""Each kind of leak is found where it was planted, and nothing is found between texts that only look alike."""

from __future__ import annotations

import itertools

import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetycatch.data import find_leaks, leak_matrix
from safetycatch.data.clusters import near_duplicate_clusters
from safetycatch.data.crossings import group_crossings, time_crossings
from safetycatch.data.leakage import prompt_leaks
from safetycatch.data.normalisation import Frame, normalise, token_bag
from safetycatch.data.similarity import similarity
from safetycatch.errors import DataError
from safetycatch.settings import LeakSettings

BASE = (
    "I am still waiting for the refund of my last transfer to my account in Spain, which I made a week ago, "
    "what happened?"
)
PARAGRAPH = (
    "The tower on the hill above the harbour was begun in the ninth century by monks who had come over the sea and "
    "wanted a place from which to see the ships of their brothers early in the morning. "
)


def kinds(leaks):
    return [(row["left_id"], row["right_id"], row["kind"]) for row in leaks.to_pylist()]


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (BASE, "exact"),
        (BASE.upper(), "normalised"),
        (f"<p>{BASE}</p>", "normalised"),
        (BASE.replace("e", "e\u200b"), "normalised"),
        (
            "which I made a week ago, what happened? " + BASE.partition(", which")[0],
            "bag",
        ),
        (BASE.replace("waiting", "waitng"), "near"),
        (BASE.replace("still ", ""), "near"),
        (BASE.replace("what", "tell me what"), "near"),
        (BASE.replace("Spain", "Norway"), "template"),
        (BASE.replace("which I made a week ago, what happened?", "where is it now?"), "similar"),
    ],
)
def test_planted_leak_has_its_kind(examples, other, kind):
    leaks = find_leaks(examples([BASE, "something else entirely"]), examples(["no relation", other]))
    assert kinds(leaks) == [("r0", "r1", kind)]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("what is the square root of 8814", "what is the square root of 80"),
        (
            "please transfer 50 euros from account 20 to my savings",
            "please transfer 20 euros from account 50 to my savings",
        ),
        (
            PARAGRAPH + "Who built the tower there?",
            PARAGRAPH + "When did all visitors leave?",
        ),
    ],
)
def test_same_form_about_something_else_is_a_template(examples, left, right):
    settings = LeakSettings(near=0.6, similar=0.6)
    assert [kind for *_, kind in kinds(find_leaks(examples([left]), examples([right]), settings))] == ["template"]


def test_unrelated_texts_do_not_leak(examples):
    assert find_leaks(examples(["where is my card"]), examples(["how do I close the account"])).num_rows == 0


def test_an_instruction_around_every_input_is_no_leak(examples):
    frame = "Classify the sentiment of this customer message as positive or negative. Message: {} Answer in a word:"
    words = ["refund", "parcel", "lovely", "broken", "late", "quick", "staff", "phone"]
    texts = [frame.format(" ".join(pair)) for pair in itertools.permutations(words, 3)]
    assert set(find_leaks(examples(texts[:160]), examples(texts[160:]))["kind"].to_pylist()) <= {"bag", "similar"}
    assert Frame.of(map(normalise, texts)).strip(normalise(texts[0])) == "refund parcel lovely"


def test_json_inputs_are_compared_by_their_values(examples):
    left = examples(['{"body":"where is my card","subject":"card"}'], kind="json")
    right = examples(['{"text":"where is my card","title":"Card"}'], kind="json")
    assert kinds(find_leaks(left, right)) == [("r0", "r0", "normalised")]


def test_messages_are_compared_by_what_users_said(examples):
    chat = '[{{"content":"{}","role":"system"}},{{"content":"where is my card","role":"user"}}]'
    left, right = (examples([chat.format(system)], kind="messages") for system in ("be brief", "be kind and verbose"))
    assert kinds(find_leaks(left, right)) == [("r0", "r0", "exact")]


def test_a_text_repeated_on_both_sides_names_each_row_once(examples):
    leaks = find_leaks(examples(["ok"] * 30 + ["OK"]), examples(["ok"] * 40))
    assert len(set(leaks["left_id"].to_pylist())) == 31
    assert len(set(leaks["right_id"].to_pylist())) == 40
    assert leaks.num_rows < 100
    assert leaks["kind"].to_pylist().count("normalised") == 1


sentences = st.lists(
    st.lists(
        st.sampled_from(
            ["my", "card", "is", "lost", "not", "the", "a", "transfer", "of", "12", "34", "Paris", "London"]
        ),
        max_size=7,
    ).map(" ".join),
    max_size=10,
)


@settings(max_examples=100, deadline=None)
@given(sentences, sentences)
def test_leaks_are_those_of_comparing_every_pair(examples, left, right):
    found = {(row["left_id"], row["right_id"]) for row in find_leaks(examples(left), examples(right)).to_pylist()}
    expected = set()
    for (i, a), (j, b) in itertools.product(enumerate(map(normalise, left)), enumerate(map(normalise, right))):
        if similarity(a, b) >= 0.6 or token_bag(a) == token_bag(b):
            expected.add((f"r{i}", f"r{j}"))
    assert {left for left, _ in found} == {left for left, _ in expected}
    assert found <= expected


def test_every_pair_of_sets_is_compared_the_scored_one_first(examples):
    same = examples([BASE])
    sets = dict.fromkeys(("pool", "judge", "train", "dev", "test", "tuning"), same)
    pairs = {(row["left_split"], row["right_split"]) for row in leak_matrix(sets).to_pylist()}
    fed = ("pool", "train", "tuning")
    assert pairs == {
        ("test", "dev"), ("test", "judge"), ("dev", "judge"),
        *itertools.product(("test", "dev", "judge"), fed),
    }  # fmt: skip


def test_prompt_that_quotes_a_row_is_found(examples):
    rows = examples([BASE, "how do I close my account please", "ok"])
    prompt = f"Route the message. Example: {BASE.upper()} -> refunds\nBe ok with it."
    leaks = leak_matrix({"test": rows}, prompts={"route.md": prompt})
    assert kinds(leaks) == [("r0", "route.md", "prompt")]


def test_words_scattered_over_a_prompt_are_no_quote(examples):
    words = BASE.split()
    prompt = " and then there comes quite a lot of other text in between them all ".join(words)
    assert prompt_leaks(examples([BASE]), {"p": prompt}).num_rows == 0


def test_short_row_leaks_only_as_a_whole_line(examples):
    assert prompt_leaks(examples(["refund"]), {"p": "labels: refund, card"}).num_rows == 0
    assert prompt_leaks(examples(["refund"]), {"p": "for instance\nRefund!\n"}).num_rows == 1


def test_table_without_ids_is_refused(examples):
    with pytest.raises(DataError, match="no column 'example_id'"):
        find_leaks(examples(["a"]).drop(["example_id"]), examples(["a"]))


def test_group_on_both_sides_crosses(examples):
    sets = {
        "train": examples(["a", "b"], groups=["g1", None]),
        "test": examples(["c", "d", "e"], groups=["g1", None, "g2"]),
    }
    assert kinds(group_crossings(sets)) == [("r0", "r0", "group")]


def test_one_of_several_group_columns_is_enough_to_cross(examples):
    train = examples(["a"], groups=['[["user","u1"],["thread","t1"]]'])
    test = examples(["b", "c"], groups=['[["user","u2"],["thread","t1"]]', '[["user","t1"],["thread","t2"]]'])
    assert kinds(group_crossings({"train": train, "test": test})) == [("r0", "r0", "group")]


def test_training_row_newer_than_a_scored_one_crosses(examples):
    sets = {
        "train": examples(["a", "b"], times=["2024-01-01T00:00:00Z", "2024-01-03T00:00:00Z"]),
        "dev": examples(["d"], times=["2024-01-09T00:00:00Z"]),
        "test": examples(["e", "f", "g"], times=["2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z", None]),
    }
    assert kinds(time_crossings(sets)) == [("r0", "r1", "time")]


def test_banking77_has_25_test_rows_normalised_equal_to_a_train_row(public_sets):
    sets = public_sets("banking77/banking77", "text", "label")
    leaks = find_leaks(sets["test"], sets["train"]).to_pylist()
    assert len({row["left_id"] for row in leaks if row["kind"] in {"exact", "normalised"}}) == 25
    assert not any(row["kind"] == "exact" for row in leaks)


def test_snips_has_18_test_rows_repeated_in_train(public_sets):
    sets = public_sets("snips/snips", "text", "label")
    leaks = find_leaks(sets["test"], sets["train"]).to_pylist()
    assert len({row["left_id"] for row in leaks if row["kind"] in {"exact", "normalised"}}) == 18


def test_row_wise_split_of_irc_leaks_conversations_users_and_time(public, examples):
    import numpy as np

    rows = public("irc_threads/messages")
    keep = [row for row, annotated in enumerate(rows["annotated"]) if annotated]
    in_train = np.random.default_rng(0).random(len(keep)) < 0.8
    for column, expected in (("conversation_id", 12215), ("user", 12739)):
        sets = {}
        for name, mask in (("train", in_train), ("test", ~in_train)):
            chosen = [row for row, wanted in zip(keep, mask, strict=True) if wanted]
            sets[name] = examples(
                ["-"] * len(chosen),
                groups=[rows[column][row] for row in chosen],
                times=[rows["timestamp"][row].isoformat() for row in chosen],
                ids=[rows["message_id"][row] for row in chosen],
            )
        assert sets["test"].num_rows == 13162
        assert group_crossings(sets).num_rows == expected
        assert time_crossings(sets).num_rows == 13162


def test_thousands_of_word_orders_are_connected_and_each_is_named(examples):
    words = ["true", "false", "or", "and", "not", "nor", "xor"]
    texts = [" ".join(order) for order in itertools.permutations(words)][:1500]
    assert set(near_duplicate_clusters(texts).tolist()) == {0}
    leaks = find_leaks(examples(texts[:750]), examples(texts[750:]))
    bags = leaks.filter(pc.field("kind") == "bag")
    assert len(set(leaks["left_id"].to_pylist())) == len(set(leaks["right_id"].to_pylist())) == 750
    assert bags.num_rows == leaks.num_rows < 100_000
