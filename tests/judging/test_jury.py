"""From verdicts to one ruling an item."""

import itertools

import pytest

from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.jury import combined, ruled


def settings(n_jurors=1, **more):
    jury = [{"model": "sandbox/judge"}] * (n_jurors - 1)
    return JudgeSettings.model_validate({"model": "sandbox/judge", "prompt": "judge.md", "jury": jury, **more})


def row(verdict, judge="judge", criterion="", order="as", status="answer", critique=""):
    return {
        "judge": judge,
        "candidate": "a",
        "example_id": "1",
        "replicate": 0,
        "criterion": criterion,
        "order": order,
        "status": status if verdict is None else "answer",
        "verdict": verdict,
        "critique": critique,
    }


def ruling(rows, **more):
    (found,) = combined(rows, settings(**more)).values()
    return found


def jury(*verdicts):
    return [row(verdict, judge=f"judge-{number}") for number, verdict in enumerate(verdicts)]


def test_one_judge_rules_alone():
    found = ruling([row("pass", critique="good")])
    assert (found.label, found.status, found.critique) == ("pass", "answer", "good")


def test_nothing_judged_is_nothing_ruled():
    assert combined([], settings()) == {}


@pytest.mark.parametrize("status", ["unparsed", "error", "length", "refusal", "filtered", "invalid"])
def test_a_missing_verdict_is_a_missing_ruling(status):
    found = ruling([row(None, status=status)])
    assert (found.label, found.status) == (None, status)


@pytest.mark.parametrize(
    ("rule", "votes", "label"),
    [
        (None, "ppf", "pass"),
        (None, "pff", "fail"),
        (None, "pf", "fail"),
        ("majority", "ppff", "fail"),
        ("all", "ppf", "fail"),
        ("all", "ppp", "pass"),
        ("any", "pff", "pass"),
        ("any", "fff", "fail"),
    ],
)
def test_jury_rules_on_pass_and_fail(rule, votes, label):
    votes = ["pass" if vote == "p" else "fail" for vote in votes]
    for order in set(itertools.permutations(votes)):
        assert ruling(jury(*order), n_jurors=len(votes), **({"rule": rule} if rule else {})).label == label


def test_median_of_grades_is_the_lower_of_two():
    known = settings(n_jurors=2, scale=[1, 2, 3, 10])
    assert ruled(["10", "2"], known) == "2"
    assert ruled(["10", "2", "3"], known) == "3"


def test_majority_of_grades_takes_the_lowest_of_a_tie():
    known = settings(n_jurors=3, scale=[1, 2, 10], rule="majority")
    assert ruled(["10", "2"], known) == ruled(["2", "10"], known) == "2"
    assert ruled(["10", "10", "2"], known) == "10"


def test_tied_classes_have_no_ruling():
    found = ruling(jury("good", "bad"), n_jurors=2, scale=["good", "bad", "ugly"], passes=["good"])
    assert (found.label, found.status) == (None, "split")


def test_tied_votes_on_a_pair_are_a_tie():
    assert ruled(["first", "second"], settings(n_jurors=2, scale="pairwise")) == "tie"
    assert ruled(["first", "second", "first"], settings(n_jurors=3, scale="pairwise")) == "first"


def test_a_juror_that_is_missing_leaves_no_ruling():
    assert ruling([*jury("pass", "pass"), row(None, judge="judge-9", status="error")], n_jurors=3).label is None


def test_orders_that_disagree_are_a_tie():
    both = [row("first"), row("second", order="swapped")]
    assert ruling(both, scale="pairwise", both_orders=True).label == "tie"
    assert ruling([row("first"), row("first", order="swapped")], scale="pairwise", both_orders=True).label == "first"


def test_one_of_two_orders_is_no_ruling():
    rows = [row("first"), row(None, order="swapped", status="unparsed")]
    assert ruling(rows, scale="pairwise", both_orders=True).label is None


CRITERIA = {"polite": "greets", "brief": "short"}


def test_an_answer_passes_that_passes_all_criteria():
    found = ruling([row("pass", criterion="polite"), row("fail", criterion="brief")], criteria=CRITERIA)
    assert (found.label, found.by_criterion) == ("fail", {"polite": "pass", "brief": "fail"})
    assert ruling([row("pass", criterion=name) for name in CRITERIA], criteria=CRITERIA).label == "pass"


def test_a_criterion_without_a_verdict_leaves_no_ruling_on_the_whole():
    found = ruling(
        [row("fail", criterion="polite"), row(None, criterion="brief", status="unparsed")], criteria=CRITERIA
    )
    assert (found.label, found.status) == (None, "unparsed")
    assert found.by_criterion == {"polite": "fail", "brief": None}


def test_a_criterion_nobody_was_asked_about_is_missing():
    found = ruling([row("pass", criterion="polite")], criteria=CRITERIA)
    assert (found.label, found.status) == (None, "unasked")


def test_critiques_name_judge_and_criterion():
    rows = [row("pass", criterion="polite", critique="greets", judge=name) for name in ("judge", "judge-2")]
    rows += [row("pass", criterion="brief", critique="ok", judge=name) for name in ("judge", "judge-2")]
    assert "judge-2, polite: greets" in ruling(rows, criteria=CRITERIA, n_jurors=2).critique
