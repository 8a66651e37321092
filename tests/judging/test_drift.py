import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom

from safetycatch.errors import StatisticsError
from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.drift import FreshLabel, choose_sentinels, entering, label_drift, log_e_value, sentinel_drift

PASS_FAIL = JudgeSettings(model="sandbox/judge", prompt="judge.md")


def expected(n, bound, share):
    """The exact expectation of the e-value after n labels of which each agrees with chance `share`."""
    return sum(binom.pmf(k, n, share) * math.exp(log_e_value(k, n - k, bound)) for k in range(n + 1))


@pytest.mark.parametrize("bound", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("n", [1, 7, 120])
def test_at_the_bound_the_expectation_is_one_and_above_it_less(n, bound):
    assert expected(n, bound, bound) == pytest.approx(1, abs=1e-9)
    assert expected(n, bound, bound + 0.04) < 1
    assert expected(n, bound, bound - 0.04) > 1


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.05, 0.95))
def test_the_closed_form_is_the_mixture(agreed, differed, bound):
    ratio = quad(lambda p: (p / bound) ** agreed * ((1 - p) / (1 - bound)) ** differed, 0, bound)[0] / bound
    assert math.exp(log_e_value(agreed, differed, bound)) == pytest.approx(ratio, rel=1e-6)


@given(st.integers(0, 80), st.integers(0, 80), st.floats(0.05, 0.95))
def test_the_next_label_is_a_fair_bet_at_the_bound(agreed, differed, bound):
    now = math.exp(log_e_value(agreed, differed, bound))
    yes, no = (math.exp(log_e_value(agreed + a, differed + 1 - a, bound)) for a in (1, 0))
    assert bound * yes + (1 - bound) * no == pytest.approx(now, rel=1e-9)


def drawn(rng, n, share):
    return ["pass"] * n, ["pass" if right else "fail" for right in rng.random(n) < share]


def test_a_judge_at_its_bound_alarms_seldom_however_often_one_looks():
    rng = np.random.default_rng(1)
    alarms = sum(label_drift(*drawn(rng, 150, 0.85), {"pass": 0.85}).alarm for _ in range(200))
    assert alarms <= 0.05 * 200 + 3 * math.sqrt(200 * 0.05 * 0.95)


def test_a_judge_that_got_worse_is_found():
    rng = np.random.default_rng(2)
    found = [label_drift(*drawn(rng, 200, 0.65), {"pass": 0.85}) for _ in range(40)]
    assert sum(one.alarm for one in found) >= 38
    assert (found[0].alarm_at or 0) in range(1, found[0].n + 1)


def test_classes_have_bounds_of_their_own_and_share_one_alarm():
    human = ["pass", "fail"] * 60
    judge = ["pass"] * 120
    found = label_drift(human, judge, {"pass": 0.9, "fail": 0.9})
    assert found.alarm
    assert found.agreement == {"pass": 1.0, "fail": 0.0}
    assert not label_drift(human, judge, {"pass": 0.9}).alarm
    assert label_drift(human, judge, {"pass": 0.9}).n_missing == 60


def test_one_bound_for_all_takes_every_label():
    assert label_drift(["a", "b"], ["a", "c"], {"": 0.9}).agreement == {"": 0.5}


def test_the_mean_of_two_processes_is_the_mean_of_their_e_values():
    human, judge = ["pass"] * 3 + ["fail"] * 2, ["pass", "fail", "pass", "fail", "pass"]
    found = label_drift(human, judge, {"pass": 0.8, "fail": 0.7})
    each = math.exp(log_e_value(2, 1, 0.8)), math.exp(log_e_value(1, 1, 0.7))
    assert found.e_value == pytest.approx(sum(each) / 2)


def test_labels_without_a_verdict_are_missing():
    found = label_drift(["pass", "pass"], [None, None], {"pass": 0.8})
    assert (found.alarm, found.n, found.n_missing, found.e_value) == (False, 0, 2, 1.0)
    assert found.detail == "no fresh label has a verdict to compare with"


def test_very_many_labels_neither_overflow_nor_alarm():
    assert label_drift(["pass"] * 20_000, ["pass"] * 20_000, {"pass": 0.8}).e_value < 1e-3
    assert label_drift(["pass"] * 3_000, ["fail"] * 3_000, {"pass": 0.9}).alarm


@pytest.mark.parametrize(
    ("human", "judge", "bounds", "alpha"),
    [
        (["pass"], [], {"pass": 0.8}, 0.05),
        ([], [], {"pass": 1.0}, 0.05),
        ([], [], {"pass": 0.0}, 0.05),
        ([], [], {"pass": 0.8}, 0.0),
    ],
)
def test_what_makes_no_sense_is_an_error(human, judge, bounds, alpha):
    with pytest.raises(StatisticsError):
        label_drift(human, judge, bounds, alpha=alpha)


def test_unchanged_sentinels_are_quiet():
    found = sentinel_drift(["pass", "fail"] * 50, ["pass", "fail"] * 50, PASS_FAIL)
    assert (found.alarm, found.changed, found.n, found.p_value) == (False, 0, 100, 1.0)


@pytest.mark.parametrize(("up", "down", "alarm"), [(8, 0, True), (7, 0, False), (5, 5, True), (4, 5, False)])
def test_sentinels_alarm_when_flips_go_one_way_or_are_many(up, down, alarm):
    """8 of 8 one way: p = .0078. 10 of 100: at least 5.5 %; 9 of 100: at least 4.8 %."""
    now = ["pass"] * up + ["fail"] * (50 - up) + ["fail"] * down + ["pass"] * (50 - down)
    found = sentinel_drift(["fail"] * 50 + ["pass"] * 50, now, PASS_FAIL)
    assert (found.up, found.down, found.alarm) == (up, down, alarm)


def test_a_reply_without_a_verdict_is_a_changed_verdict():
    found = sentinel_drift(["pass", "fail"] * 15, [None] * 30, PASS_FAIL)
    assert (found.alarm, found.checked, found.changed, found.unread) == (True, True, 30, 30)
    assert "30 without a verdict that can be read" in found.detail
    assert not sentinel_drift(["pass"] * 100, ["pass"] * 95 + [None] * 5, PASS_FAIL).alarm


@pytest.mark.parametrize(
    ("n", "n_missing", "checked"), [(90, 10, True), (89, 11, False), (0, 30, False), (0, 0, False)]
)
def test_what_was_not_answered_was_not_checked(n, n_missing, checked):
    found = sentinel_drift(["pass"] * n, ["pass"] * n, PASS_FAIL, n_missing=n_missing)
    assert (found.alarm, found.checked, found.n, found.n_missing) == (False, checked, n, n_missing)
    assert math.isnan(found.rate) == (n == 0)


def test_sentinels_are_compared_one_by_one():
    assert sentinel_drift([], [], PASS_FAIL).detail == "there are no sentinels"
    with pytest.raises(StatisticsError):
        sentinel_drift(["pass"], [], PASS_FAIL)


def fresh(question, at, verdict=None):
    return FreshLabel(question, f"{question} {at}", at, "pass", verdict)


def test_each_question_enters_once_in_the_order_labelled():
    before = [fresh("q1", "2026-11-02", "fail")]
    found = [fresh("q3", "2026-11-05"), fresh("q2", "2026-11-04"), fresh("q1", "2026-11-01"), fresh("q2", "2026-11-03")]
    assert [(one.question, one.at) for one in entering(before, found)] == [("q2", "2026-11-03"), ("q3", "2026-11-05")]


def test_26_weekly_checks_alarm_no_oftener_than_one():
    """A judge at its bound, 25 labels a week: verdicts once taken make one path, of which each check sees more."""
    rng = np.random.default_rng(3)
    paths = [drawn(rng, 26 * 25, 0.85) for _ in range(60)]
    found = [label_drift(*path, {"pass": 0.85}) for path in paths]
    assert sum(one.alarm for one in found) <= 0.05 * 60 + 3 * math.sqrt(60 * 0.05 * 0.95)
    human, judge = drawn(rng, 26 * 25, 0.8)
    weekly = [label_drift(human[: 25 * week], judge[: 25 * week], {"pass": 0.85}) for week in range(1, 27)]
    assert {one.alarm_at for one in weekly} <= {None, weekly[-1].alarm_at}


def test_classes_that_pass_alike_change_but_lean_nowhere():
    settings = JudgeSettings(model="sandbox/judge", prompt="p", scale=["good", "fine", "bad"], passes=["good", "fine"])
    found = sentinel_drift(["good"], ["fine"], settings)
    assert (found.changed, found.up, found.down) == (1, 0, 0)


def question(number):
    keeps = number % 10 == 0
    return {
        "example_id": f"e{number}",
        "candidate": "",
        "replicate": 0,
        "input": "?",
        "output": f"The order number is {number}." if keeps else f"Nothing of {number}.",
        "reference": None,
    }


def test_the_rarer_verdict_is_kept_whole():
    items = [question(number) for number in range(300)]
    verdicts = ["pass" if number % 10 == 0 else "fail" for number in range(300)]
    chosen = choose_sentinels(items, verdicts)
    assert [sum(one["verdict"] == word for one in chosen) for word in ("pass", "fail")] == [30, 70]
    assert chosen == choose_sentinels(items, verdicts)
    assert choose_sentinels(items[:3], [None] * 3) == []
    assert len(choose_sentinels(items[:20], verdicts[:20])) == 20
