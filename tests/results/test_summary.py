import json
import math

import numpy as np
import pytest

from safetycatch.errors import ExperimentError
from safetycatch.experiment import Claim
from safetycatch.results.comparing import Metric
from safetycatch.results.summary import MAX_FLIPS_KEPT, MetricTable, summarise
from safetycatch.scoring import scorer
from safetycatch.stats import detectable_effect, paired_difference

ACCURACY, F1 = Metric("accuracy"), Metric("macro_f1", rate=False, corpus=True)
COST = Metric("cost_usd", unit="usd", higher_is_better=False, rate=False)
TABLE = MetricTable((ACCURACY, COST))
CLAIM = Claim.model_validate({"metric": "accuracy", "smallest_effect": 0.03})


def settings(candidates, **changes):
    return {
        "candidates": candidates,
        "baseline": candidates[0],
        "smallest_effect": 0.03,
        "mode": "claiming",
        "k_history": 1,
        "leaked": [],
        "similar": [],
        "exclude": [],
        "power": 0.8,
        "crossed": [],
        **changes,
    }


def strict(facts):
    """Return facts as they come back from JSON, which has no NaN."""
    return json.loads(json.dumps(facts, allow_nan=False))


@pytest.fixture
def scored(matrix, answers):
    values = {(name, "accuracy"): column for name, column in answers(base=0.6, a=0.75, b=0.6).items()}
    values |= {(name, "cost_usd"): np.full(400, 0.001) for name in ("base", "a", "b")}
    return matrix(values, slices={"language": ["de", "en"] * 200})


def test_the_facts_of_a_claim(scored):
    facts = strict(summarise(scored, TABLE, CLAIM, settings(["base", "a", "b"])).facts())
    assert (facts["baseline"], facts["headline"], facts["selected"], facts["undecided"]) == ("base", "a", True, "")
    assert facts["verdicts"]["a"]["kind"] == "BETTER"
    assert [(one["candidate"], one["metric"]) for one in facts["estimates"]] == [
        (name, metric) for name in ("base", "a", "b") for metric in ("accuracy", "cost_usd")
    ]
    assert {(one["slice"], one["candidate"]) for one in facts["slices"]} == {
        (f"language={language}", name) for language in ("de", "en") for name in ("base", "a", "b")
    }
    assert facts["health"]["k"] == 3


def test_undefined_numbers_are_null(matrix):
    values = {("base", "accuracy"): [math.nan] * 6, ("a", "accuracy"): [1, 0, 1, 1, 0, 1]}
    facts = strict(summarise(matrix(values), TABLE, CLAIM, settings(["base", "a"])).facts())
    assert facts["estimates"][0]["estimate"] is None
    assert (facts["headline"], facts["detectable"]) == (None, None)
    assert facts["undecided"]


def test_no_scores_at_all_are_no_crash(matrix):
    facts = strict(summarise(matrix({("a", "other"): [1.0]}), TABLE, CLAIM, settings(["base", "a"])).facts())
    assert (facts["estimates"], facts["flips"], facts["health"]) == ([], [], None)


def test_a_candidate_without_scores_is_left_out(scored):
    facts = summarise(scored, TABLE, CLAIM, settings(["base", "a", "lost"])).facts()
    assert list(facts["verdicts"]) == ["a"]
    assert [one["candidate"] for one in facts["flips"]] == ["a"]


def test_flips_are_counted_whole_and_listed_capped(matrix):
    n = MAX_FLIPS_KEPT + 50
    found = matrix({"base": [0] * n + [1], "a": [1] * n + [0]})
    flips = summarise(found, MetricTable((ACCURACY,)), CLAIM, settings(["base", "a"])).facts()["flips"][0]
    assert (flips["n_fixed"], len(flips["fixed"]), flips["n_broken"]) == (n, MAX_FLIPS_KEPT, 1)


def test_the_detectable_effect_is_of_the_observed_spread(scored):
    found = summarise(scored, TABLE, CLAIM, settings(["base", "a"]))
    d = paired_difference(scored.means("a", "accuracy"), scored.means("base", "accuracy"))
    assert found.detectable == detectable_effect(400, sd_difference=d.sd_difference, design_effect=d.design_effect)


def test_leaked_rows_are_scored_apart(matrix):
    found = matrix({"base": [1, 1, 0, 0], "a": [1, 1, 1, 0]})
    summary = summarise(found, MetricTable((ACCURACY,)), None, settings(["base", "a"], leaked=["e0", "e1"]))
    assert [(one.candidate, one.near, one.n_near, one.far, one.n_far) for one in summary.leaks] == [
        ("base", 1, 2, 0, 2),
        ("a", 1, 2, 0.5, 2),
    ]


def test_excluded_rows_count_only_with_and_without_leaks(matrix):
    found = matrix({"base": [1, 1, 0, 0, 1, 0], "a": [1, 1, 1, 0, 1, 1]})
    chosen = settings(["base", "a"], leaked=["e0", "e1"], exclude=["e0", "e1"])
    summary = summarise(found, MetricTable((ACCURACY,)), None, chosen)
    assert [(one.n, one.estimate) for one in summary.estimates] == [(4, 0.25), (4, 0.75)]
    assert [(one.n_near, one.n_far) for one in summary.leaks] == [(2, 4), (2, 4)]


def test_a_metric_of_all_rows_has_no_slices_flips_or_health(matrix, answers):
    values = {(name, "macro_f1"): column for name, column in answers(base=0.5, a=0.8).items()}
    found = matrix(values, slices={"language": ["de", "en"] * 200})
    summary = summarise(found, MetricTable((F1,)), CLAIM, settings(["base", "a"], leaked=["e0"]))
    assert (summary.slices, summary.flips, summary.health, summary.leaks) == ((), (), None, ())
    assert summary.outcome.verdicts["a"].kind == "BETTER"


def test_a_guardrail_on_what_is_not_scored_is_refused(scored):
    claim = Claim.model_validate(
        {"metric": "accuracy", "smallest_effect": 0.03, "guardrails": [{"metric": "toxicity", "worse_by": 0}]}
    )
    with pytest.raises(ExperimentError, match=r"claim\.guardrails\[0\]\.metric: found 'toxicity'") as caught:
        summarise(scored, TABLE, claim, settings(["base", "a"]))
    assert caught.value.expected == "one of accuracy, cost_usd"


def test_metrics_are_those_of_the_scorers():
    scorers = [
        scorer(name, task="classify", labels=("a", "b"), aliases={}) for name in ("accuracy", "macro_f1", "cost_usd")
    ]
    found = MetricTable.of(scorers)
    assert [(m.name, m.unit, m.higher_is_better, m.rate, m.corpus) for m in found.metrics] == [
        ("accuracy", "points", True, True, False),
        ("macro_f1", "points", True, False, True),
        ("cost_usd", "usd", False, False, False),
    ]


def test_pairs_without_the_baseline_beside_the_claim(scored):
    summary = summarise(scored, TABLE, CLAIM, settings(["base", "a", "b"]))
    (pair,) = summary.pairs
    assert (pair.candidate, pair.baseline, pair.verdict, pair.correction) == ("a", "b", "BETTER", "holm_pairs")
    assert {found.baseline for found in summary.outcome.comparisons} == {"base"}
    assert summary.facts()["n_unpaired"] == 0


def test_while_exploring_pairs_have_no_verdict(scored):
    summary = summarise(scored, TABLE, None, settings(["base", "a", "b"], mode="exploring", smallest_effect=None))
    assert [pair.verdict for pair in summary.pairs] == ["EXPLORING"]


def test_one_candidate_has_no_pair(scored):
    assert summarise(scored, TABLE, CLAIM, settings(["base", "a"])).pairs == ()


def test_the_best_eight_are_paired_and_the_others_counted(matrix, answers):
    rates = {f"c{number}": 0.5 + number / 40 for number in range(11)}
    found = matrix(answers(n=200, base=0.5, **rates))
    summary = summarise(found, MetricTable((ACCURACY,)), CLAIM, settings(["base", *rates]))
    assert (len(summary.pairs), summary.n_unpaired) == (28, 3)
    assert all(pair.estimate >= 0 for pair in summary.pairs)
