"""Counts, slices and disagreements of labelled items."""

from dataclasses import replace

import pytest

from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.calibration import (
    JudgedItem,
    counts_of,
    disagreements,
    overall_of,
    related,
    slices_of,
    weights_of,
)
from safetycatch.judging.ceiling import human_ceiling
from safetycatch.judging.certificate import decide_state
from safetycatch.judging.sealing import ItemKey
from tests.judging.certified import PASS_FAIL, items, texts

GRADES = JudgeSettings.model_validate({"verdicts": "v.csv", "scale": [1, 2, 3]})
PASSING = JudgeSettings.model_validate({"verdicts": "v.csv", "scale": [1, 2, 3], "passes": 3})
PAIRS = JudgeSettings.model_validate({"verdicts": "v.csv", "scale": "pairwise"})


def graded(*pairs):
    return [replace(items(1, 0, 0, 0)[0], label=human, verdict=judge) for human, judge in pairs]


def cells(found):
    return [(one.positive, one.tp, one.fn, one.fp, one.tn, one.n_missing) for one in found]


def test_pass_and_fail_have_one_table():
    missing = replace(items(1, 0, 0, 0)[0], verdict=None)
    assert cells(counts_of([*items(5, 4, 3, 2), missing], PASS_FAIL)) == [("pass", 5, 4, 3, 2, 1)]


def test_grades_that_pass_are_folded():
    assert cells(counts_of(graded(("3", "3"), ("1", "3"), ("2", "1")), PASSING)) == [("pass", 1, 0, 1, 1, 0)]


def test_other_grades_are_cut():
    found = cells(counts_of(graded(("3", "3"), ("1", "3"), ("2", "1")), GRADES))
    assert found == [("at least 2", 1, 1, 1, 0, 0), ("at least 3", 1, 0, 1, 1, 0)]
    assert "quadratic_kappa" in overall_of(graded(("3", "3"), ("1", "3"), ("2", "1")), GRADES)


def test_pairs_are_one_against_the_rest():
    found = cells(counts_of(graded(("first", "first"), ("tie", "second")), PAIRS))
    assert found == [("first", 1, 0, 0, 1, 0), ("second", 0, 0, 1, 1, 0), ("tie", 0, 1, 0, 1, 0)]


def test_unequal_chances_are_weighed():
    rare, often = (replace(items(1, 0, 0, 0)[0], probability=p) for p in (0.1, 0.5))
    assert weights_of([rare, often]) == [10, 2]
    assert weights_of([rare, rare]) is weights_of([replace(rare, probability=None), often]) is None


@pytest.mark.parametrize(("wrong", "worse"), [(12, True), (2, False)])
def test_a_slice_is_worse_by_a_test_and_a_gap(wrong, worse):
    bad = items(40 - wrong, wrong, 0, 40, slices={"lang": "de"})
    rest = items(97, 3, 3, 97, slices={"lang": "en"})
    found = {(one.slice, one.figure): one for one in slices_of([*bad, *rest], PASS_FAIL)}
    one = found["lang=de", "tpr"]
    assert (one.p_adjusted < 0.05 and one.gap > 0.15) is worse
    assert found["lang=en", "tpr"].gap < 0
    assert found["lang=de", "tpr"].estimate == (40 - wrong) / 40


def test_small_slices_and_none_have_no_test():
    assert slices_of(items(10, 0, 0, 10, slices={"lang": "de"}), PASS_FAIL) == []
    assert slices_of([], PASS_FAIL) == []


def test_what_a_judge_lets_through_comes_first():
    found = disagreements(items(3, 1, 1, 3), PASS_FAIL)
    assert [(one.label, one.verdict) for one in found] == [("fail", "pass"), ("pass", "fail")]


def test_the_ceiling_tells_worse_no_worse_and_too_few():
    said = {f"e{at}": dict.fromkeys("ab", "pass" if at % 2 else "fail") for at in range(100)}
    said["e0"] = {"a": "pass", "b": "fail"}
    same = {item: by["a"] for item, by in said.items()}
    poor = {item: "pass" if at % 3 else "fail" for at, item in enumerate(said)}
    assert human_ceiling(said, same).verdict == "no_worse"
    assert human_ceiling(said, poor).verdict == "worse"
    assert human_ceiling(dict(list(said.items())[:10]), same).verdict == "not_checked"
    assert human_ceiling(said, dict.fromkeys(said)).n == 0


def test_the_ceiling_draws_answers_to_one_question_together():
    said = {f"e{at}": {"a": ("pass", "fail")[at % 2], "b": "pass" if at % 5 else "fail"} for at in range(100)}
    judge = {item: "pass" if at % 3 else "fail" for at, item in enumerate(said)}
    alone = human_ceiling(said, judge)
    assert human_ceiling(said, judge, cluster={item: at for at, item in enumerate(said)}) == alone
    again = {f"{item}-{n}": by for item, by in said.items() for n in range(4)}
    verdicts = {f"{item}-{n}": one for item, one in judge.items() for n in range(4)}
    together = human_ceiling(again, verdicts, cluster={item: int(item[1:].split("-")[0]) for item in again})
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    assert "4 questions" in human_ceiling(said, judge, cluster={item: at % 4 for at, item in enumerate(said)}).reason


def test_one_verdict_only_has_no_kappa():
    said = {f"e{at}": dict.fromkeys("ab", "pass") for at in range(40)}
    assert human_ceiling(said, dict.fromkeys(said, "pass")).verdict == "not_checked"


def answers(n_questions, n_answers, wrong, *, ids=True):
    """Items of which half pass, several to a question; the judge errs on the first `wrong` questions of each class."""
    return [
        JudgedItem(
            ItemKey(f"q{question}" if ids else f"q{question}-{at}", f"c{at}", f"{question}-{at}"),
            "sealed",
            label := ("pass" if question % 2 else "fail"),
            label if question // 2 >= wrong else {"pass": "fail", "fail": "pass"}[label],
            f"question {question}",
            text,
        )
        for question, group in enumerate(zip(*[iter(texts(n_questions * n_answers))] * n_answers, strict=True))
        for at, text in enumerate(group)
    ]


@pytest.mark.parametrize("ids", [True, False])
def test_equal_answers_to_one_question_count_once(ids):
    many, one = answers(80, 5, 6, ids=ids), answers(80, 1, 6)
    (found,), (alone,) = counts_of(many, PASS_FAIL, related(many)), counts_of(one, PASS_FAIL, related(one))
    assert (found.n, alone.n) == (400, 80)
    assert found.lower("tpr") == pytest.approx(alone.lower("tpr"), abs=0.01)
    assert found.lower("j") == pytest.approx(alone.lower("j"), abs=0.01)
    assert found.effective == pytest.approx(alone.effective, rel=0.06)
    assert alone == counts_of(one, PASS_FAIL)[0]


def test_without_an_error_each_question_counts_once():
    many = answers(80, 5, 0)
    (found,) = counts_of(many, PASS_FAIL, related(many))
    assert found.design_effects == (5, 5)
    assert found.lower("tpr") == pytest.approx(0.05 ** (1 / 40))


def test_too_few_questions_have_no_rate():
    many = answers(8, 40, 1)
    (found,) = counts_of(many, PASS_FAIL, related(many))
    assert found.figures["tpr"].estimate is None
    assert decide_state((found,))[0] == "refused"


def test_one_input_for_all_is_no_question():
    assert len(set(related(items(3, 0, 0, 3)))) == 6
    assert related([]) == []
