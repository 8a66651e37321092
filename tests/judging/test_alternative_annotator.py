import math

import numpy as np
import pytest

from safetycatch.errors import StatisticsError
from safetycatch.judging.alternative_annotator import alternative_annotator_test


def annotators(rng, skills, n=200, classes=3) -> list[list[str | None]]:
    truth = rng.integers(0, classes, n)
    return [
        [f"c{label}" for label in np.where(rng.random(n) < skill, truth, rng.integers(0, classes, n))]
        for skill in skills
    ]


def test_by_hand():
    # items 1-3: all three people say x; item 4: x, x, y. The judge says x, x, x, y.
    humans = {"one": list("xxxx"), "two": list("xxxx"), "three": list("xxxy")}
    found = alternative_annotator_test(list("xxxy"), humans)
    # against one: the others are two and three: item 4 the judge agrees with three only, one with two only: a tie
    # against three: the others say x, x: the judge agrees with neither, as three does: a tie
    assert found.advantages == (1.0, 1.0, 1.0)
    assert found.rho == 1.0


def test_leads_agree_with_scipy_and_its_correction():
    from scipy.stats import false_discovery_control, ttest_1samp

    judge, *people = annotators(np.random.default_rng(0), [0.85, 0.9, 0.8, 0.75])
    found = alternative_annotator_test(judge, dict(zip("abc", people, strict=True)), epsilon=0.1)
    p_values = []
    for place in range(3):
        others = [people[other] for other in range(3) if other != place]
        lead = []
        for item in range(200):
            ours, theirs = (np.mean([one[item] == other[item] for other in others]) for one in (judge, people[place]))
            lead.append(float(theirs >= ours) - float(ours >= theirs))
        p_values.append(ttest_1samp(lead, 0.1, alternative="less").pvalue)
    assert found.p_values == pytest.approx(p_values)
    assert found.adjusted == pytest.approx(false_discovery_control(p_values, method="by"))
    assert found.winning_rate == np.mean(np.array(found.adjusted) <= 0.05)


def test_a_judge_as_good_as_people_passes_and_a_bad_one_does_not():
    rng = np.random.default_rng(1)
    good, bad, *people = annotators(rng, [0.9, 0.4, 0.85, 0.85, 0.85], n=400)
    humans = dict(zip("abc", people, strict=True))
    assert alternative_annotator_test(good, humans).passed
    found = alternative_annotator_test(bad, humans)
    assert not found.passed
    assert found.winning_rate == 0
    assert found.rho < 0.75


def test_numbers_are_compared_by_their_distance():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=100)
    people = {name: list(truth + rng.normal(0, 0.5, 100)) for name in "abc"}
    close, far = list(truth), list(truth + rng.normal(0, 2, 100))
    assert alternative_annotator_test(close, people, scale="numeric").winning_rate == 1
    assert alternative_annotator_test(far, people, scale="numeric").winning_rate == 0


def test_gaps_leave_items_out():
    judge, *people = annotators(np.random.default_rng(3), [0.9, 0.9, 0.9, 0.9])
    people[0] = [None] * 50 + people[0][50:]
    judge = judge[:-10] + [None] * 10
    found = alternative_annotator_test(judge, dict(zip("abc", people, strict=True)))
    assert found.n_items == (140, 190, 190)


def test_few_items_are_ranked_and_said():
    judge, *people = annotators(np.random.default_rng(4), [0.9, 0.8, 0.8, 0.8], n=25)
    found = alternative_annotator_test(judge, dict(zip("abc", people, strict=True)))
    assert "25 items" in found.warnings[0]
    assert all(0 < p <= 1 for p in found.p_values)


def test_people_who_never_differ_leave_a_sign_test():
    column = list("xyxyxyxyxy")
    found = alternative_annotator_test(column, dict.fromkeys("abc", column))
    assert found.p_values == (0.5**10,) * 3
    assert not any(math.isnan(p) for p in found.adjusted)


def test_what_cannot_be_tested_is_an_error():
    with pytest.raises(StatisticsError, match="2 annotators"):
        alternative_annotator_test(["x"], {"a": ["x"], "b": ["x"]})
    with pytest.raises(StatisticsError, match="different length"):
        alternative_annotator_test(["x"], {"a": ["x"], "b": ["x"], "c": []})
    with pytest.raises(StatisticsError, match="epsilon is 10"):
        alternative_annotator_test(["x"], {name: ["x"] for name in "abc"}, epsilon=10)
    with pytest.raises(StatisticsError, match="annotator a shares 0 items"):
        alternative_annotator_test([None] * 5, {name: ["x"] * 5 for name in "abc"})
