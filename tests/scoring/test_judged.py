"""A judge's rulings as numbers."""

import math

import pytest

from safetycatch.errors import ExperimentError
from safetycatch.judge_settings import JudgeSettings
from safetycatch.scoring import reading, scorer
from safetycatch.scoring.judged import judged_metrics, unjudged_values, values_of


def settings(**more):
    return JudgeSettings.model_validate({"model": "sandbox/judge", "prompt": "judge.md", **more})


CRITERIA = {"polite": "greets", "brief": "short"}


def test_each_criterion_is_a_metric():
    assert judged_metrics(settings(criteria=CRITERIA)) == ("judge", "judge.polite", "judge.brief")
    assert judged_metrics(None) == ()


def test_pass_and_fail_are_a_rate():
    found = scorer("judge", judge=settings())
    assert (found.is_rate, found.unit) == (True, "points")
    assert found.score(None, "", {"judged": {"judge": 1.0}}) == 1.0


def test_a_row_without_a_ruling_is_missing():
    assert math.isnan(scorer("judge", judge=settings()).score("x", "", {}))


def test_pairs_count_a_tie_one_half():
    pairs = settings(scale="pairwise")
    assert [values_of(label, {}, pairs)["judge"] for label in ("first", "tie", "second")] == [1, 0.5, 0]
    assert scorer("judge", judge=pairs).is_rate is False


def test_grades_are_numbers_unless_some_pass():
    assert values_of("4", {}, settings(scale=[1, 4, 5]))["judge"] == 4
    assert scorer("judge", judge=settings(scale=[1, 4, 5])).unit == "score"
    assert values_of("4", {}, settings(scale=[1, 4, 5], passes=4))["judge"] == 1


def test_classes_pass_or_fail():
    known = settings(scale=["right", "vague", "wrong"], passes=["right", "vague"])
    assert [values_of(label, {}, known)["judge"] for label in ("right", "vague", "wrong")] == [1, 1, 0]


def test_a_missing_ruling_is_no_number():
    found = values_of(None, {"polite": "pass", "brief": None}, settings(criteria=CRITERIA))
    assert math.isnan(found["judge"])
    assert found["judge.polite"] == 1
    assert math.isnan(found["judge.brief"])


@pytest.mark.parametrize("status", ["refusal", "length", "filtered"])
def test_who_does_not_answer_fails_without_a_judge(status):
    assert unjudged_values(status, settings(criteria=CRITERIA)) == dict.fromkeys(
        judged_metrics(settings(criteria=CRITERIA)), 0
    )
    assert unjudged_values(status, settings(scale=[2, 3])) == {"judge": 2}


def test_who_answers_wins_against_who_does_not():
    pairs = settings(scale="pairwise")
    assert unjudged_values("refusal", pairs, "answer") == {"judge": 0}
    assert unjudged_values("answer", pairs, "refusal") == {"judge": 1}
    assert unjudged_values("length", pairs, "refusal") == {"judge": 0.5}
    assert unjudged_values("answer", pairs, "answer") is None


def test_an_answer_is_judged():
    assert unjudged_values("answer", settings()) is None


def test_a_metric_needs_its_judge_and_criterion():
    with pytest.raises(ExperimentError, match="without a judge"):
        scorer("judge")
    with pytest.raises(ExperimentError, match="without such a criterion"):
        scorer("judge.kind", judge=settings(criteria=CRITERIA))


def test_replies_are_read_by_another_metric_where_there_is_one():
    assert reading(["judge", "judge.polite", "accuracy", "cost_usd"]) == "accuracy"
    assert reading(["judge", "cost_usd"]) == "judge"
