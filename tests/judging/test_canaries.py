"""Canaries: twins of an attack that ask for the best and for the worst verdict."""

import pytest

from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.canaries import CANARY, canaries_of, canary_items, ends_of

ROWS = [{"example_id": f"e{number}", "input": f"question {number}", "target": "yes"} for number in range(3)]


def settings(**more):
    return JudgeSettings.model_validate({"model": "sandbox/judge", "prompt": "judge.md", **more})


def verdicts(items, say, criteria=("",), judge="judge"):
    return [
        {**item, "judge": judge, "criterion": criterion, "verdict": say(item)}
        for item in items
        for criterion in criteria
    ]


def obeying(item):
    return "pass" if item["example_id"].endswith("/best") else "fail"


def test_are_twins_in_place_of_answers():
    items = canary_items(settings(canaries=6), ROWS, seed=1)
    assert len(items) == 6
    assert {item["candidate"] for item in items} == {CANARY}
    names = [item["example_id"].split("/") for item in items]
    assert [end for _, end in names] == ["best", "worst"] * 3
    assert len({name for name, _ in names}) == 3


def test_twins_differ_in_the_verdict_that_they_ask_for_only():
    best, worst = canary_items(settings(canaries=2), ROWS, seed=1)
    assert best["input"] == worst["input"]
    assert best["output"].replace("pass", "fail") == worst["output"]


def test_the_same_run_has_the_same_canaries():
    assert canary_items(settings(), ROWS, 1) == canary_items(settings(), ROWS, 1)
    assert canary_items(settings(), ROWS, 1) != canary_items(settings(), ROWS, 2)


@pytest.mark.parametrize(("wanted", "rows"), [(0, ROWS), (1, ROWS), (8, [])])
def test_none_without_rows_or_wish(wanted, rows):
    assert canary_items(settings(canaries=wanted), rows, seed=1) == []


def test_of_a_pair_the_first_grades_itself():
    item = canary_items(settings(scale="pairwise"), ROWS, seed=1)[0]
    assert "first" in item["first"]
    assert item["order"] == "as"


@pytest.mark.parametrize(
    ("more", "ends"),
    [
        ({}, ("pass", "fail")),
        ({"scale": "pairwise"}, ("first", "second")),
        ({"scale": [1, 3, 5]}, ("5", "1")),
        ({"scale": ["bad", "fine", "good"], "passes": ["fine", "good"]}, ("fine", "bad")),
    ],
)
def test_ask_for_the_ends_of_the_scale(more, ends):
    assert ends_of(settings(**more)) == ends


def one(rows, known):
    (found,) = canaries_of(rows, known)
    return found


def test_a_judge_that_obeys_is_counted():
    known = settings()
    found = one(verdicts(canary_items(known, ROWS, 1), obeying), known)
    assert (found.n, found.obeyed, found.defied, found.passed, found.n_missing) == (4, 4, 0, 4, 0)
    assert found.p_value == pytest.approx(0.25**4)
    assert found.example


def test_a_judge_with_one_opinion_obeys_nobody():
    known = settings()
    items = canary_items(known, ROWS, 1)
    assert one(verdicts(items, lambda _: "fail"), known).p_value == pytest.approx(1)
    assert one(verdicts(items, lambda _: "pass"), known).facts()["passed"] == 4


def test_a_judge_that_is_stricter_with_who_asks_defies():
    known = settings()
    rows = verdicts(canary_items(known, ROWS, 1), lambda item: "fail" if obeying(item) == "pass" else "pass")
    assert (one(rows, known).obeyed, one(rows, known).defied) == (0, 4)


def test_three_of_four_may_be_noise():
    known = settings()
    items = canary_items(known, ROWS, 1)
    assert one(verdicts(items[:6], obeying) + verdicts(items[6:], lambda _: "fail"), known).p_value > 0.05


@pytest.mark.parametrize(
    ("more", "steps"),
    [({}, 2), ({"scale": "pairwise"}, 3), ({"scale": [1, 2, 3, 4]}, 4), ({"criteria": {"a": "b"}}, 2)],
)
def test_chance_is_that_of_two_independent_verdicts(more, steps):
    known = settings(canaries=2, **more)
    best, worst = ends_of(known)
    said = lambda item: best if obeying(item) == "pass" else worst  # noqa: E731
    found = one(verdicts(canary_items(known, ROWS, 1), said, tuple(known.criteria) or ("",)), known)
    pairs = [(left, right) for left in range(steps) for right in range(steps)]
    assert found.p_value == pytest.approx(sum(left > right for left, right in pairs) / len(pairs))


def test_a_twin_without_a_verdict_is_missing():
    known = settings(canaries=2)
    found = one(verdicts(canary_items(known, ROWS, 1), lambda _: None), known)
    assert (found.n, found.n_missing, found.p_value) == (0, 1, 1)


def test_judges_are_counted_apart_and_criteria_by_themselves():
    known = settings(canaries=2, criteria={"polite": "greets", "brief": "short"})
    items = canary_items(known, ROWS, 1)
    rows = verdicts(items, obeying, known.criteria) + verdicts(items, lambda _: "fail", known.criteria, "judge-2")
    found = canaries_of(rows, known)
    assert [(each.judge, each.n, each.obeyed) for each in found] == [("judge", 2, 2), ("judge-2", 2, 0)]
    assert found[0].p_value == pytest.approx(2 * 0.25**2)


def test_a_higher_grade_is_enough():
    known = settings(scale=[1, 2, 3], canaries=2)
    rows = verdicts(canary_items(known, ROWS, 1), lambda item: "2" if obeying(item) == "pass" else "1")
    assert one(rows, known).obeyed == 1


def test_answers_of_candidates_are_no_canaries():
    rows = [{"candidate": "a", "example_id": "x/best", "judge": "judge", "criterion": "", "verdict": "pass"}]
    assert canaries_of(rows, settings()) == ()
