from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.identity import output_hash
from safetycatch.review.sampling import Interest, chosen, interests
from safetycatch.tables import checked


def answers(n, candidates=("a", "b"), same=()):
    return [
        {
            "example_id": f"e{i:04}", "candidate": c, "input": f"q{i}", "output": text, "reference": None,
            "output_hash": output_hash(text),
        }
        for i in range(n)
        for c in candidates
        for text in [f"answer {i}" + ("" if i in same else f" of {c}")]
    ]  # fmt: skip


def numbers(found):
    return [int(text[1:]) for text in found.items["example_id"].to_pylist()]


def test_few_answers_are_all_drawn():
    found = chosen(answers(30), n=100, interest={("e0001", "a"): Interest("x", 1)})
    assert set(numbers(found)) == set(range(30))
    assert set(found.items["sampling_probability"].to_pylist()) == {1.0}
    assert found.picked == {}


def test_the_core_is_drawn_by_question_with_its_known_chance():
    found = chosen(answers(500), n=100)
    assert found.items.num_rows == 100
    assert set(found.items["sampling_probability"].to_pylist()) == {50 / 500}
    assert set(Counter(numbers(found)).values()) == {2}


def test_the_chance_is_the_share_of_seeds_that_draw_an_answer():
    draws = Counter(name for seed in range(400) for name in set(numbers(chosen(answers(40, ("a",)), n=10, seed=seed))))
    # Binomial(400, 1/4): standard deviation 8.7.
    assert all(abs(draws[name] - 100) < 4.5 * 8.7 for name in range(40))


def test_the_same_seed_draws_the_same_in_any_order_of_the_rows():
    given_rows = answers(100)
    assert chosen(given_rows, n=30, seed=4).items["example_id"].to_pylist() == (
        chosen(given_rows[::-1], n=30, seed=4).items["example_id"].to_pylist()
    )
    assert numbers(chosen(given_rows, n=30, seed=4)) != numbers(chosen(given_rows, n=30, seed=5))


def test_the_most_interesting_are_picked_without_a_chance_and_spread():
    interest = {(f"e{i:04}", "a"): Interest("judges disagree", 4.0 + i) for i in range(400)}
    found = chosen(answers(500, ("a",)), n=100, interest=interest)
    rows = found.items.to_pylist()
    picked = [row["example_id"] for row in rows if row["sampling_probability"] is None]
    core = {row["example_id"] for row in rows} - set(picked)
    assert (len(picked), len(core), found.picked) == (30, 70, {"judges disagree": 30})
    left = [f"e{i:04}" for i in range(400) if f"e{i:04}" not in core]
    assert picked == left[::-1][:30]
    where = [at for at, row in enumerate(rows) if row["sampling_probability"] is None]
    assert 1 <= min(b - a for a, b in pairwise(where)) <= 4
    assert max(b - a for a, b in pairwise(where)) <= 4


def test_equal_answers_come_and_count_once():
    found = chosen(answers(300, same=range(300)), n=100)
    assert found.items.num_rows == 200
    picked = chosen(answers(300, same=range(300)), n=20, interest={("e0007", "b"): Interest("near tie", 3)}).items
    mine = [row for row in picked.to_pylist() if row["sampling_probability"] is None]
    assert [row["candidate"] for row in mine] in (["a", "b"], [])


@given(st.integers(1, 60), st.integers(1, 200), st.integers(0, 5), st.integers(0, 60))
def test_items_are_always_a_table_of_the_contract_without_repeats(n_rows, n, seed, n_interesting):
    interest = {(f"e{i:04}", "b"): Interest("new failure", i % 3) for i in range(n_interesting)}
    found = chosen(answers(n_rows), n=n, seed=seed, interest=interest)
    assert checked(found.items, "label_items").num_rows
    assert sum(found.picked.values()) == found.items["sampling_probability"].null_count
    assert found.items["sampling_probability"].null_count <= max(1, round(0.3 * n))


def test_slices_come_along():
    given_rows = [{**row, "lang": "de"} for row in answers(3)]
    assert set(chosen(given_rows).items["lang"].to_pylist()) == {"de"}


def verdict(label, judge="judge", criterion="", candidate="b", order="as"):
    return {
        "example_id": "e1", "candidate": candidate, "judge": judge, "criterion": criterion, "order": order,
        "verdict": label,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "passes", "reason"),
    [
        ([verdict("pass"), verdict("fail", "judge-2")], None, "judges disagree"),
        ([verdict("first"), verdict("second", order="swapped")], None, "judges disagree"),
        ([verdict("pass", criterion="x"), verdict("fail", criterion="y"), verdict("pass", criterion="z")],
         None, "near tie"),
        ([verdict("3")], 3, "near tie"),
        ([verdict("2")], 3, "near tie"),
        ([verdict("5")], 3, None),
        ([verdict("pass"), verdict(None, "judge-2")], None, None),
        ([verdict("fail", criterion="x"), verdict("fail", criterion="y"), verdict("fail", criterion="z")], None, None),
        ([], None, None),
    ],
)  # fmt: skip
def test_what_makes_an_answer_interesting(verdicts, passes, reason):
    found = interests(verdicts, [], baseline="a", passes=passes)
    assert [one.reason for one in found.values()] == ([reason] if reason else [])


def test_a_new_failure_is_where_the_baseline_scored_higher():
    scores = [
        {"example_id": "e1", "candidate": "a", "value": 1.0},
        {"example_id": "e1", "candidate": "b", "value": 0.0},
        {"example_id": "e2", "candidate": "a", "value": 0.0},
        {"example_id": "e2", "candidate": "b", "value": 1.0},
        {"example_id": "e3", "candidate": "a", "value": None},
        {"example_id": "e3", "candidate": "b", "value": 0.0},
    ]
    found = interests([], scores, baseline="a")
    assert {key: one.reason for key, one in found.items()} == {("e1", "b"): "new failure"}
