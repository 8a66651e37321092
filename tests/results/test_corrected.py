"""Judged scores: which source corrects them, what is withheld, and tests with the judge's errors paid for."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.results.comparing import Metric, compare, compare_all, estimate
from safetycatch.results.corrected import Judging, judged_facts
from safetycatch.results.judged_margin import judged_guardrail, judged_noninferiority
from safetycatch.results.matrix import Items, ScoreMatrix
from safetycatch.stats import noninferiority

METRIC = Metric("judge")
COUNTS = [90, 10, 30, 70]  # TPR .9, TNR .7
N = 400


def matrix(shares, n=N, clusters=None):
    """Candidates of whose `n` answers a judge passes these shares, at random; the same draw whatever the order."""
    ids = tuple(f"i{number:04d}" for number in range(n))
    own = np.asarray(ids if clusters is None else clusters, dtype=object)
    nothing = np.full(n, None, dtype=object)
    values = {}
    for seed, (name, share) in enumerate(shares.items()):
        passed = np.zeros(n)
        passed[np.random.default_rng(seed).permutation(n)[: round(share * n)]] = 1
        values[name, "judge"] = passed[:, None]
    lang = np.asarray(["de" if number % 2 else "en" for number in range(n)], dtype=object)
    return ScoreMatrix(Items(ids, own, {"lang": lang}, nothing, nothing), tuple(shares), ("judge",), values)


def judging(state: str | None = "certified", counts=COUNTS, labels=None, scale="rate"):
    certificate = None if state is None else {"state": state}
    return Judging.of(
        {
            "scale": scale,
            "judge_key": "k",
            "certificate": certificate,
            "counts": {"judge": counts} if counts else {},
            "labels": {"judge": labels or {}},
        }
    )


def labels_of(found, name, wrong=(), step=4, probability=0.25):
    """People's labels of every fourth answer: as the judge says, but for the rows in `wrong`."""
    values = found.rows(name, "judge")[:, 0]
    return [
        [
            found.items.ids[row],
            values[row],
            float(values[row]) if row not in wrong else 1 - float(values[row]),
            probability,
        ]
        for row in range(0, len(values), step)
    ]


def test_without_a_judge_there_is_nothing_to_correct():
    assert Judging.of(None) is None


def test_only_judged_metrics_are_corrected():
    found = judging()
    assert [found.covers(name) for name in ("judge", "judge.tone", "accuracy", "judgement")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_rate_by_the_certificates_counts_is_rogan_gladens():
    row = estimate(matrix({"a": 0.84}), "a", METRIC, judging=judging())
    assert row.estimate == pytest.approx((0.84 + 0.7 - 1) / 0.6)
    assert row.low < 0.9 < row.high
    assert row.judged.raw.high < 0.9


def test_labels_of_these_answers_come_before_the_certificate():
    found = matrix({"a": 0.84})
    row = estimate(found, "a", METRIC, judging=judging(labels={"a": labels_of(found, "a")}))
    assert row.method == "post_stratified"


def test_fewer_labels_than_thirty_are_not_used():
    found = matrix({"a": 0.84})
    few = judging(labels={"a": labels_of(found, "a")[:29]}, state=None, counts=None)
    row = estimate(found, "a", METRIC, judging=few)
    assert row.method == "wilson"
    assert "29 labels" in row.judged.reason


def test_labels_of_other_items_are_not_used():
    found = matrix({"a": 0.84})
    foreign = [[f"x{number}", 1.0, 1.0, 0.5] for number in range(100)]
    assert estimate(found, "a", METRIC, judging=judging(labels={"a": foreign})).method == "rogan_gladen"


@pytest.mark.parametrize("state", ["refused", None])
def test_without_a_certificate_that_holds_the_raw_rate_stays_and_says_why(state):
    row = estimate(matrix({"a": 0.84}), "a", METRIC, judging=judging(state))
    assert (row.estimate, row.judged.method) == (0.84, "")
    assert row.judged.reason


def test_a_provisional_certificate_withholds_the_raw_rate():
    row = estimate(matrix({"a": 0.84}), "a", METRIC, judging=judging("provisional"))
    facts = row.judged.facts()
    assert (facts["raw"], facts["raw_low"], facts["raw_high"]) == (None, None, None)
    assert facts["estimate"] == row.estimate


def test_grades_have_no_correction_from_elsewhere():
    row = estimate(matrix({"a": 0.84}), "a", Metric("judge", "score", rate=False), judging=judging(scale="grades"))
    assert "grades without a pass mark" in row.judged.reason


def test_grades_are_corrected_by_labels_of_these_answers():
    found = matrix({"a": 0.5})
    grades = np.random.default_rng(1).integers(1, 6, (N, 1)).astype(float)
    found = ScoreMatrix(found.items, ("a",), ("judge",), {("a", "judge"): grades})
    draw = np.random.default_rng(2)
    labels = [
        [found.items.ids[row], grades[row, 0], float(grades[row, 0] - draw.integers(0, 2)), 0.25]
        for row in range(0, N, 4)
    ]
    known = judging(labels={"a": labels}, scale="grades", state=None, counts=None)
    row = estimate(found, "a", Metric("judge", "score", rate=False), judging=known)
    assert row.method == "ppi"
    assert row.estimate == pytest.approx(grades.mean() - 0.5, abs=0.15)


def test_pairs_have_none():
    row = estimate(matrix({"a": 0.84}), "a", METRIC, judging=judging(scale="pairwise"))
    assert row.judged.reason == "verdicts on pairs have no correction"


def test_clusters_widen_a_corrected_rate():
    alone = estimate(matrix({"a": 0.84}), "a", METRIC, judging=judging())
    named = [f"c{number // 8}" for number in range(N)]
    values = np.repeat((np.arange(N // 8) % 6 > 0).astype(float), 8)[:, None]
    found = matrix({"a": 0.84}, clusters=named)
    alike = estimate(
        ScoreMatrix(found.items, ("a",), ("judge",), {("a", "judge"): values}), "a", METRIC, judging=judging()
    )
    assert alike.high - alike.low > alone.high - alone.low


def test_a_slice_is_corrected_by_the_same_counts():
    found = matrix({"a": 0.84})
    rows = found.items.slices["lang"] == "de"
    raw = found.rows("a", "judge")[rows].mean()
    assert estimate(found, "a", METRIC, rows, judging()).estimate == pytest.approx(min(1, (raw - 0.3) / 0.6))


def test_a_difference_is_the_raw_one_over_j_with_its_p_value():
    found = matrix({"a": 0.7, "b": 0.8})
    raw, row = compare(found, "b", "a", METRIC), compare(found, "b", "a", METRIC, judging=judging())
    assert row.estimate == pytest.approx(raw.estimate / 0.6)
    assert row.difference.p_value == raw.difference.p_value
    assert row.difference.sd_difference == pytest.approx(raw.difference.sd_difference / 0.6)
    assert (
        row.difference.low
        < row.difference.lower_bound
        < row.estimate
        < row.difference.upper_bound
        < row.difference.high
    )


@given(first=st.integers(20, 380), second=st.integers(20, 380))
def test_the_corrected_interval_excludes_0_exactly_when_the_raw_one_does(first, second):
    found = matrix({"a": first / N, "b": second / N})
    raw, row = compare(found, "b", "a", METRIC), compare(found, "b", "a", METRIC, judging=judging())
    assert (row.difference.low > 0 or row.difference.high < 0) == (raw.difference.low > 0 or raw.difference.high < 0)


def test_with_labels_on_both_sides_the_p_value_is_the_corrected_ones_and_max_t_gives_way():
    found = matrix({"a": 0.7, "b": 0.8})
    known = judging(labels={name: labels_of(found, name, wrong={0, 40, 80}) for name in "ab"})
    outcome = compare_all(found, "a", ["b"], [METRIC], smallest_effect=0.05, correction="max_t", judging=known)
    row = outcome.comparisons[0]
    assert (row.judged.method, row.correction) == ("labels_on_both", "holm")
    assert row.difference.p_method == "corrected"
    assert math.isnan(row.difference.sd_difference)


def test_five_clusters_are_needed_as_for_any_score():
    found = matrix({"a": 0.84}, clusters=[f"c{number % 4}" for number in range(N)])
    assert "no interval" in estimate(found, "a", METRIC, judging=judging()).method


def test_a_candidate_without_a_verdict_has_no_rate():
    found = matrix({"a": 0.84})
    empty = ScoreMatrix(found.items, ("a",), ("judge",), {("a", "judge"): np.full((N, 1), np.nan)})
    assert math.isnan(estimate(empty, "a", METRIC, judging=judging()).estimate)


def test_labels_of_one_class_leave_the_rate_raw():
    row = estimate(matrix({"a": 0.84}), "a", METRIC, judging=judging(counts=[90, 10, 0, 0]))
    assert "both are needed" in row.judged.reason


def test_a_margin_is_tested_on_the_corrected_difference():
    found = matrix({"a": 0.8, "b": 0.8})
    raw = noninferiority(found.means("b", "judge"), found.means("a", "judge"), 0.08)
    test = judged_noninferiority(judging(), found, ("b", "a"), METRIC, 0.08)
    assert test.bound == pytest.approx(raw.bound / 0.6, rel=0.05)
    assert test.p_value > raw.p_value


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.2])
def test_the_p_value_of_a_margin_agrees_with_its_status(margin):
    found = matrix({"a": 0.75, "b": 0.8})
    test = judged_noninferiority(judging(), found, ("b", "a"), METRIC, margin)
    assert (test.p_value <= 0.05) == test.passed
    assert (test.p_violated <= 0.05) == (test.status == "violated")


def test_a_guardrail_in_points_is_decided_by_the_corrected_bound():
    found = matrix({"a": 0.8, "b": 0.6})
    rail = judged_guardrail(judging(), found, ("b", "a"), METRIC, 0.02, relative=False)
    assert rail.status == "violated"
    assert rail.estimate == pytest.approx(-0.2 / 0.6)


def test_a_guardrail_as_a_share_is_not_decided():
    with pytest.raises(StatisticsError, match="give points"):
        judged_guardrail(judging(), matrix({"a": 0.8, "b": 0.6}), ("b", "a"), METRIC, 0.02, relative=True)


def test_facts_hold_both_figures_of_every_rate_and_difference():
    found = matrix({"a": 0.7, "b": 0.8})
    known = judging()
    rows = [estimate(found, name, METRIC, judging=known) for name in "ab"]
    facts = judged_facts(known, rows, [("lang=de", rows[0])], [compare(found, "b", "a", METRIC, judging=known)])
    assert [(row["candidate"], row["slice"], row["raw"]) for row in facts["rates"]] == [
        ("a", "all", pytest.approx(0.7)),
        ("b", "all", pytest.approx(0.8)),
        ("a", "lang=de", pytest.approx(0.7)),
    ]
    assert facts["differences"][0]["raw"] == pytest.approx(0.1)
    assert facts["judge_key"] == "k"


def refusing(found, name, rows):
    """These rows of a candidate were refused: known to fail."""
    return {name: [[found.items.ids[row], 0, 0.0] for row in rows]}


def knowing(known, **more):
    base = judging(**more)
    values = {("judge", name): {(one, at): value for one, at, value in rows} for name, rows in known.items()}
    return replace(base, known=values)


def test_refusals_fail_for_certain_and_only_judged_answers_are_corrected():
    found = matrix({"a": 0.6})  # of 400, 80 refused
    rows = np.flatnonzero(found.rows("a", "judge")[:, 0] == 0)[:80]
    row = estimate(found, "a", METRIC, judging=knowing(refusing(found, "a", rows)))
    assert row.estimate == pytest.approx(0.8 * (0.6 / 0.8 + 0.7 - 1) / 0.6)
    assert row.low < row.estimate < row.high


def test_a_difference_with_refusals_has_a_p_value_of_its_own():
    rng, wrong, covered = np.random.default_rng(4), 0, 0
    for _ in range(100):
        refused, (good, better) = rng.random(N) < 0.2, (rng.random((2, N)) < [[0.64], [0.8]])
        said = {name: np.where(people, rng.random(N) < 0.9, rng.random(N) < 0.3) for name, people in
                (("a", good), ("b", better))}  # fmt: skip
        said["b"] &= ~refused
        plain = matrix({"a": 0.5, "b": 0.5})
        values = {(name, "judge"): one.astype(float)[:, None] for name, one in said.items()}
        found = ScoreMatrix(plain.items, ("a", "b"), ("judge",), values)
        tp, tn = rng.binomial(200, 0.9), rng.binomial(200, 0.7)
        known = knowing(refusing(found, "b", np.flatnonzero(refused)), counts=[tp, 200 - tp, 200 - tn, tn])
        row = compare(found, "b", "a", METRIC, judging=known)
        assert (row.difference.p_value < 0.05) == (row.difference.low > 0 or row.difference.high < 0)
        wrong, covered = (
            wrong + (row.difference.p_value < 0.05),
            covered + (row.difference.low <= 0 <= row.difference.high),
        )
    assert wrong <= 11
    assert covered >= 89


def test_with_labels_on_both_refusals_are_a_stratum_without_error():
    found = matrix({"a": 0.7, "b": 0.8})
    gone = set(np.flatnonzero(found.rows("b", "judge")[:, 0] == 0)[:40])
    labels = {name: labels_of(found, name) for name in "ab"}
    known = knowing(refusing(found, "b", gone), labels=labels)
    rates = [estimate(found, name, METRIC, judging=known).estimate for name in "ab"]
    row = compare(found, "b", "a", METRIC, judging=known)
    assert (row.judged.method, row.estimate) == ("labels_on_both", pytest.approx(rates[1] - rates[0]))


def test_a_provisional_judge_that_nothing_corrects_shows_no_figure():
    for known in (judging("provisional", scale="pairwise"), judging("provisional", counts=[90, 10, 0, 0])):
        found = matrix({"a": 0.7, "b": 0.9})
        rate, row = estimate(found, "b", METRIC, judging=known), compare(found, "b", "a", METRIC, judging=known)
        assert math.isnan(rate.estimate)
        assert rate.judged.facts()["raw"] is None
        assert (row.difference, math.isnan(row.estimate)) == (None, True)


def test_under_a_refused_certificate_no_difference_is_decided():
    found = matrix({"a": 0.6, "b": 0.9})
    outcome = compare_all(found, "a", ["b"], [METRIC], smallest_effect=0.05, judging=judging("refused"))
    assert outcome.comparisons[0].verdict == "INCONCLUSIVE"
    assert "refused" in outcome.comparisons[0].reason
    with pytest.raises(StatisticsError, match="refused"):
        judged_noninferiority(judging("refused"), found, ("b", "a"), METRIC, 0.1)


def test_labels_that_give_no_interval_leave_the_counts_to_correct():
    found = matrix({"a": 0.84}, clusters=[f"c{number // 2}" for number in range(N)])
    rows = [row for row in labels_of(found, "a", step=1) if int(row[0][1:]) < 8] * 5
    row = estimate(found, "a", METRIC, judging=judging("provisional", labels={"a": rows}))
    assert row.method == "rogan_gladen"


def test_a_difference_of_means_over_replicates_says_why_labels_do_not_correct_it():
    found = matrix({"a": 0.7, "b": 0.8})
    twice = {key: np.repeat(array, 2, axis=1) for key, array in found.values.items()}
    labels = {name: labels_of(found, name) for name in "ab"}
    known = judging(None, counts=None, labels=labels)
    row = compare(ScoreMatrix(found.items, ("a", "b"), ("judge",), twice), "b", "a", METRIC, judging=known)
    assert "replicates" in row.judged.reason
    assert "nobody" not in row.judged.reason
