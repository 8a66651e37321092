import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.experiment import Guardrail as GuardrailSettings
from safetycatch.results.comparing import Metric, compare, compare_all, estimate, guardrail, metric_of_items, slices_of
from safetycatch.results.matrix import MOST_SLICES, OTHER, common_slices
from safetycatch.stats import (
    benjamini_hochberg,
    check_guardrail,
    detectable_effect,
    holm,
    max_t,
    mean_interval,
    paired_difference,
    rate_interval,
)

ACCURACY = Metric("accuracy")
SCORE = Metric("score", unit="score", rate=False)
COST = Metric("cost_usd", unit="usd", higher_is_better=False, rate=False)
P95 = Metric("latency_p95", unit="s", higher_is_better=False, rate=False, corpus=True)
F1 = Metric("macro_f1", rate=False, corpus=True)


def rail(metric, worse_by):
    return GuardrailSettings.model_validate({"metric": metric, "worse_by": worse_by})


@pytest.mark.parametrize("clusters", [None, [f"k{number // 3}" for number in range(400)]])
def test_an_estimate_is_the_statistics_of_the_column(matrix, answers, clusters):
    values = answers(a=0.7)
    found = estimate(matrix(values, clusters), "a", ACCURACY)
    own = rate_interval(values["a"], clusters)
    assert (found.estimate, found.low, found.high, found.n) == (own.estimate, own.low, own.high, 400)
    assert (found.n_clusters, found.method) == (own.n_clusters, own.method)


def test_a_score_that_is_no_rate_has_a_mean_interval(matrix):
    values = np.random.default_rng(1).normal(3, 1, 50)
    found = estimate(matrix({("a", "score"): values}), "a", SCORE)
    assert (found.low, found.high) == (mean_interval(values).low, mean_interval(values).high)


def test_replicates_are_averaged_and_do_not_count_as_items(matrix):
    values = np.repeat(np.random.default_rng(1).integers(0, 2, 60), 4).reshape(60, 4)
    once, four = estimate(matrix({"a": values[:, :1]}), "a", ACCURACY), estimate(matrix({"a": values}), "a", ACCURACY)
    assert (four.n, four.estimate) == (60, values.mean())
    assert four.high - four.low > 0.9 * (once.high - once.low)


def test_a_slice_is_the_estimate_of_its_rows(matrix, answers):
    values, picked = answers(a=0.7), np.arange(400) % 4 == 0
    found = estimate(matrix(values), "a", ACCURACY, picked)
    assert (found.estimate, found.n) == (values["a"][picked].mean(), 100)


def test_a_slice_of_replicates_counts_items(matrix):
    values = np.array([[1, 1], [0, 0], [1, 1], [0, 0]] * 10)
    found = estimate(matrix({"a": values}), "a", ACCURACY, np.arange(40) % 2 == 0)
    assert (found.estimate, found.n) == (1, 20)


def test_rare_slice_values_are_one_slice():
    values = [f"v{number}" for number in range(60)] + ["v0"] * 3
    assert len(set(common_slices(values).tolist())) == MOST_SLICES + 1
    assert common_slices(values).tolist().count(OTHER) == 10


def test_below_five_clusters_there_is_a_reason_and_no_interval(matrix):
    clusters = [f"k{number % 4}" for number in range(40)]
    found = estimate(matrix({"a": [1, 0, 1, 1] * 10}, clusters), "a", ACCURACY)
    assert (found.estimate, found.n, found.n_clusters) == (0.75, 40, 4)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.method.startswith("no interval: ")
    compared = compare(matrix({"a": [1, 0] * 20, "b": [1, 1] * 20}, clusters), "a", "b", ACCURACY)
    assert (compared.difference, compared.row()["estimate"], compared.row()["low"], compared.n) == (
        None,
        -0.5,
        None,
        40,
    )
    assert "5" in compared.row()["method"]


def test_nothing_scored_is_no_zero(matrix):
    found = estimate(matrix({"a": [math.nan] * 3}), "a", ACCURACY)
    assert (found.n, found.n_missing) == (0, 3)
    assert math.isnan(found.estimate)


@pytest.mark.parametrize("clusters", [None, [f"k{number // 3}" for number in range(400)]])
def test_a_comparison_is_the_paired_difference(matrix, answers, clusters):
    values = answers(a=0.7, b=0.6)
    values["a"][:5] = math.nan
    found = compare(matrix(values, clusters), "a", "b", ACCURACY)
    assert found.difference == paired_difference(values["a"], values["b"], clusters)
    assert (found.n, found.n_missing, found.row()["n_clusters"]) == (395, 5, found.difference.n_clusters)


def test_replicates_are_averaged_before_they_are_paired(matrix):
    rng = np.random.default_rng(2)
    ours, theirs = rng.integers(0, 2, (100, 3)), rng.integers(0, 2, (100, 3))
    found = compare(matrix({"a": ours, "b": theirs}), "a", "b", ACCURACY)
    assert found.difference == paired_difference(ours.mean(axis=1), theirs.mean(axis=1), binary=True)


@given(st.integers(0, 2**32 - 1))
def test_swapping_sides_swaps_the_sign(matrix, answers, seed):
    found = matrix(answers(n=60, seed=seed, a=0.7, b=0.5))
    there, back = (compare(found, *pair, ACCURACY).row() for pair in (("a", "b"), ("b", "a")))
    assert there["estimate"] == pytest.approx(-back["estimate"])
    assert there["low"] == pytest.approx(-back["high"])
    assert there["p_value"] == pytest.approx(back["p_value"])


def test_p_values_are_holm_adjusted_over_the_candidates(matrix, answers):
    found = matrix(answers(base=0.6, a=0.7, b=0.63, c=0.6))
    outcome = compare_all(found, "base", ["a", "b", "c"], [ACCURACY], smallest_effect=0.03)
    raw = [compare(found, name, "base", ACCURACY).difference.p_value for name in "abc"]
    assert [row.p_adjusted for row in outcome.comparisons] == holm(raw).tolist()
    assert [outcome.verdicts[name].p_adjusted for name in "abc"] == holm(raw).tolist()


def test_a_difference_may_not_survive_its_family(matrix, answers):
    values = answers(base=0.6, a=0.67, seed=3, n=600)
    one = compare_all(matrix(values), "base", ["a"], [ACCURACY], smallest_effect=0.03)
    crowd = {f"c{number}": values["base"].copy() for number in range(30)}
    for number, column in enumerate(crowd.values()):
        column[number] = 1 - column[number]
    many = compare_all(matrix({**values, **crowd}), "base", ["a", *crowd], [ACCURACY], smallest_effect=0.03)
    assert (one.verdicts["a"].kind, many.verdicts["a"].kind) == ("BETTER", "INCONCLUSIVE")


def test_the_headline_is_the_best_and_says_selected(matrix, answers):
    found = matrix(answers(base=0.5, a=0.6, b=0.8))
    outcome = compare_all(found, "base", ["a", "b"], [ACCURACY], smallest_effect=0.03)
    assert (outcome.headline, outcome.selected) == ("b", True)


def test_the_headline_is_the_claimed_one(matrix, answers):
    found = matrix(answers(base=0.5, a=0.6, b=0.8))
    outcome = compare_all(found, "base", ["a", "b"], [ACCURACY], smallest_effect=0.03, claimed="a")
    assert (outcome.headline, outcome.selected) == ("a", False)


def test_one_candidate_is_not_selected(matrix, answers):
    outcome = compare_all(matrix(answers(base=0.5, a=0.8)), "base", ["a"], [ACCURACY], smallest_effect=0.03)
    assert (outcome.headline, outcome.selected, outcome.verdicts["a"].kind) == ("a", False, "BETTER")


def test_lower_may_be_better(matrix):
    rng = np.random.default_rng(1)
    cost = {("base", "cost_usd"): rng.normal(5, 1, 200), ("a", "cost_usd"): rng.normal(3, 1, 200)}
    cost |= {("b", "cost_usd"): rng.normal(7, 1, 200)}
    outcome = compare_all(matrix(cost), "base", ["b", "a"], [COST], smallest_effect=0.5)
    assert (outcome.headline, outcome.verdicts["a"].kind, outcome.verdicts["b"].kind) == ("a", "BETTER", "WORSE")


def test_exploring_gives_no_verdict(matrix, answers):
    found = matrix(answers(base=0.5, a=0.8))
    outcome = compare_all(found, "base", ["a"], [ACCURACY], smallest_effect=None, mode="exploring")
    assert outcome.verdicts == {}
    assert [row.verdict for row in outcome.comparisons] == ["EXPLORING"]


def test_no_difference_is_inconclusive_with_a_reason(matrix):
    clusters = [f"k{number % 3}" for number in range(30)]
    found = matrix({"base": [0, 1] * 15, "a": [1, 1] * 15}, clusters)
    outcome = compare_all(found, "base", ["a"], [ACCURACY], smallest_effect=0.03)
    assert (outcome.verdicts, outcome.headline) == ({}, None)
    assert "clusters" in outcome.undecided
    assert [row.verdict for row in outcome.comparisons] == ["INCONCLUSIVE"]


def test_without_candidates_nothing_is_compared(matrix):
    outcome = compare_all(matrix({"base": [1, 0, 1]}), "base", [], [ACCURACY], smallest_effect=0.03)
    assert (outcome.comparisons, outcome.headline) == ((), None)


def test_other_metrics_are_compared_without_a_verdict(matrix, answers):
    values = {**{(name, "accuracy"): column for name, column in answers(base=0.5, a=0.8).items()}}
    values |= {("base", "score"): np.arange(400.0), ("a", "score"): np.arange(400.0) % 7}
    outcome = compare_all(matrix(values), "base", ["a"], [ACCURACY, SCORE, COST], smallest_effect=0.03)
    assert [(row.metric, row.verdict) for row in outcome.comparisons] == [("accuracy", "BETTER"), ("score", None)]


def test_slices_are_compared_without_a_verdict(matrix, answers):
    values, language = answers(base=0.5, a=0.8), ["de", "en", None, "en"] * 100
    found = matrix(values, slices={"language": language})
    outcome = compare_all(found, "base", ["a"], [ACCURACY], smallest_effect=0.03)
    sliced = {row.slice: row for row in outcome.comparisons[1:]}
    assert list(sliced) == ["language=None", "language=de", "language=en"]
    assert sliced["language=en"].n == 200
    english = np.array(language) == "en"
    assert sliced["language=en"].difference == paired_difference(values["a"][english], values["base"][english])
    assert {row.verdict for row in sliced.values()} == {None}


def test_slices_of_a_metric_of_all_rows_show_a_rate_or_nothing(matrix, answers):
    assert metric_of_items([F1, ACCURACY]) is ACCURACY
    assert metric_of_items([F1, COST]) is None
    values = {(name, "macro_f1"): column for name, column in answers(base=0.5, a=0.8).items()}
    found = matrix(values, slices={"language": ["de", "en"] * 200})
    outcome = compare_all(found, "base", ["a"], [F1], smallest_effect=0.03)
    assert {row.slice for row in outcome.comparisons} == {"all"}


def test_slices_cover_every_item_once(matrix):
    found = slices_of(matrix({"a": [1, 0, 1]}, slices={"x": ["p", "q", "p"], "y": [1, 1, 1]}))
    assert [(name, rows.tolist()) for name, rows in found] == [
        ("x=p", [True, False, True]),
        ("x=q", [False, True, False]),
        ("y=1", [True, True, True]),
    ]


def costs(base, a):
    return {("base", "cost_usd"): base, ("a", "cost_usd"): a}


def test_cost_may_not_rise_at_all(matrix):
    base = np.full(100, 0.002)
    assert guardrail(matrix(costs(base, base)), "a", "base", rail("cost_usd", 0), COST).status == "passed"
    dearer = matrix(costs(base, base * 1.5))
    assert guardrail(dearer, "a", "base", rail("cost_usd", 0), COST).status == "violated"


def test_a_guardrail_is_the_statistics_of_the_column(matrix):
    rng = np.random.default_rng(1)
    base, a = rng.normal(5, 1, 200), rng.normal(5, 1, 200)
    found = guardrail(matrix(costs(base, a)), "a", "base", rail("cost_usd", "10%"), COST)
    assert found == check_guardrail(a, base, metric="cost_usd", worse_by=0.1, relative=True, unit="usd")


def test_a_percentile_reads_the_latencies(matrix):
    rng = np.random.default_rng(1)
    base = rng.lognormal(0, 0.5, 800)
    values = {("base", "latency_s"): base, ("a", "latency_s"): base * 1.5, ("b", "latency_s"): base * 0.9}
    found = matrix(values)
    slower, faster = (guardrail(found, name, "base", rail("latency_p95", "10%"), P95) for name in "ab")
    assert (slower.status, faster.status) == ("violated", "passed")
    assert slower.baseline_value == pytest.approx(np.quantile(base, 0.95))
    assert slower.estimate == pytest.approx(0.5)


def test_a_percentile_is_of_single_calls(matrix):
    """Every item is slow in one of two replicates: no item's mean is slow, every twentieth call is."""
    latencies = np.ones((200, 2))
    latencies[::5, 0] = 9.0
    values = {("base", "latency_s"): latencies, ("a", "latency_s"): latencies}
    assert guardrail(matrix(values), "a", "base", rail("latency_p95", "10%"), P95).baseline_value == 9.0


@pytest.mark.parametrize(
    ("base", "a", "worse_by", "said"),
    [
        ([math.nan] * 50, [0.1] * 50, 0, "no complete pair"),
        ([0.0] * 50, [0.1] * 50, "10%", "10% of a baseline of 0"),
    ],
)
def test_a_guardrail_that_cannot_be_tested_is_undecided(matrix, base, a, worse_by, said):
    found = guardrail(matrix(costs(base, a)), "a", "base", rail("cost_usd", worse_by), COST)
    assert found.status == "undecided"
    assert said in found.reason


def test_an_untested_guardrail_forbids_better(matrix, answers):
    values = {(name, "accuracy"): column for name, column in answers(base=0.5, a=0.8).items()}
    values |= costs([math.nan] * 400, [0.1] * 400)
    rails = [(rail("cost_usd", 0), COST)]
    outcome = compare_all(matrix(values), "base", ["a"], [ACCURACY, COST], smallest_effect=0.03, guardrails=rails)
    assert outcome.verdicts["a"].kind == "INCONCLUSIVE"
    assert "no complete pair" in outcome.verdicts["a"].reasons[0]


def test_a_violated_guardrail_makes_worse(matrix, answers):
    values = {(name, "accuracy"): column for name, column in answers(base=0.5, a=0.8).items()}
    values |= costs([0.1] * 400, [0.2] * 400)
    rails = [(rail("cost_usd", 0), COST)]
    outcome = compare_all(matrix(values), "base", ["a"], [ACCURACY], smallest_effect=0.03, guardrails=rails)
    assert outcome.verdicts["a"].kind == "WORSE"


def test_chain_of_thought_on_big_bench_hard(shared_data, matrix):
    """Suzgun et al. 2022: 3,408 and 4,816 of 6,511 right; over 27 tasks the interval is far wider than over items."""
    import pyarrow.parquet as pq

    rows = pq.read_table(shared_data / "bbh_direct_vs_cot" / "model_outputs.parquet").to_pylist()
    right = {"direct": {}, "cot": {}}
    for row in rows:
        right[row["system"].rsplit("-", 1)[1]][row["item_id"]] = float(row["is_correct"])
    ids = list(right["direct"])
    values = {name: [column[item] for item in ids] for name, column in right.items()}
    tasks = {row["item_id"]: row["task"] for row in rows}
    found = matrix(values, clusters=[tasks[item] for item in ids], slices={"task": [tasks[item] for item in ids]})
    outcome = compare_all(found, "direct", ["cot"], [ACCURACY], smallest_effect=0.03)
    gain = outcome.comparisons[0].difference
    assert [sum(values[name]) for name in ("direct", "cot")] == [3408, 4816]
    assert (gain.n, gain.n_clusters) == (6511, 27)
    assert gain.estimate == pytest.approx(1408 / 6511)
    assert gain.design_effect > 10
    assert outcome.verdicts["cot"].kind == "BETTER"
    assert 0.12 < gain.low < gain.high < 0.31
    apart = {row.slice: row.estimate for row in outcome.comparisons[1:]}
    assert len(apart) == 27
    assert apart["task=navigate"] == pytest.approx(0.46)
    assert apart["task=word_sorting"] == pytest.approx(-0.10)


@pytest.mark.parametrize("clusters", [None, [f"k{number // 3}" for number in range(400)]])
def test_max_t_adjusts_by_joint_sign_flips(matrix, answers, clusters):
    values = answers(base=0.6, a=0.7, b=0.63, c=0.6)
    outcome = compare_all(
        matrix(values, clusters), "base", ["a", "b", "c"], [ACCURACY], smallest_effect=0.03, correction="max_t", seed=3
    )
    gains = np.column_stack([values[name] - values["base"] for name in "abc"])
    assert [row.p_adjusted for row in outcome.comparisons] == max_t(gains, clusters, seed=3).tolist()
    assert "max-T over 3 candidates" in outcome.verdicts["a"].check


def test_max_t_leaves_out_what_cannot_be_tested(matrix):
    gains = np.random.default_rng(1).normal(1, 1, 100)
    values = {("base", "score"): np.zeros(100), ("a", "score"): gains, ("b", "score"): np.full(100, 0.5)}
    found = matrix(values)
    outcome = compare_all(found, "base", ["a", "b"], [SCORE], smallest_effect=0.03, correction="max_t")
    assert [math.isnan(row.p_adjusted) for row in outcome.comparisons] == [False, True]
    assert outcome.verdicts["b"].kind == "INCONCLUSIVE"
    nobody = compare_all(found, "base", ["b"], [SCORE], smallest_effect=0.03, correction="max_t")
    assert math.isnan(nobody.comparisons[0].p_adjusted)


def test_max_t_of_nothing(matrix):
    found = compare_all(matrix({"base": [1, 0]}), "base", [], [ACCURACY], smallest_effect=0.03, correction="max_t")
    assert found.comparisons == ()


def test_slices_are_adjusted_together_and_say_what_they_detect(matrix, answers):
    values, language = answers(base=0.6, a=0.7, b=0.6), ["de", "en", "fr", "en"] * 100
    found = matrix(values, slices={"language": language})
    rows = compare_all(found, "base", ["a", "b"], [ACCURACY], smallest_effect=0.03).comparisons[2:]
    assert [row.p_adjusted for row in rows] == benjamini_hochberg([row.difference.p_value for row in rows]).tolist()
    assert {row.correction for row in rows} == {"benjamini_hochberg"}
    d = rows[0].difference
    assert rows[0].detectable == detectable_effect(d.n, sd_difference=d.sd_difference, design_effect=d.design_effect)
    small = next(row.detectable for row in rows if row.n == 100)
    assert small > next(row.detectable for row in rows if row.n == 200)


@pytest.mark.parametrize("column", [[1.0] * 40, [math.nan] * 40])
def test_a_slice_without_an_interval_detects_nothing(matrix, column):
    found = matrix({"base": [1.0] * 40, "a": column}, slices={"x": ["p", "q"] * 20})
    rows = compare_all(found, "base", ["a"], [ACCURACY], smallest_effect=0.03).comparisons[1:]
    assert [math.isnan(row.detectable) for row in rows] == [True, True]
    assert rows[0].row()["detectable"] is None
