"""What the plan says of the items: assumed or measured spread, and replicates against items."""

import math
from datetime import timedelta

import pytest

from flows.preview import preview
from safetycatch.stats import detectable_effect
from safetycatch.store import Store
from safetycatch.store.certificates import Certificates
from tasks.design import design_facts
from tasks.judge import judging_entry
from tasks.judge_errors import NO_CERTIFICATE
from tasks.start import read_inputs
from tests.judging.certified import NOW, certificate

SETTINGS = {
    "is_rate": True,
    "unit": "points",
    "n_compared": 1,
    "power": 0.8,
    "smallest_effect": 0.05,
    "replicates": 1,
    "discordance": 0.2,
    "icc": 0.05,
    "noise": 0.5,
    "sampled": False,
    "warm": False,
    "measured": None,
}
MEASURED = {
    "run_id": "2026-01-01-x-1",
    "candidate": "b",
    "baseline": "a",
    "between": 0.1,
    "of_candidate": 0.05,
    "of_baseline": 0.05,
    "n": 200,
    "n_different": 80,
    "df": math.inf,
}


def told(sizes=(1,) * 400, **changes):
    return design_facts(sizes, {**SETTINGS, **changes})


def test_without_a_run_the_spread_is_assumed_and_said():
    found = told()
    assert found["n_needed"] == 626  # Connor 1987
    assert found["told"] == [
        "a difference of 6.2 points or more can be shown (80 % power); the claim asks for 5: about 626 items",
        "assuming that 20 % of the items change sides",
        "if 35 % do, about 1,097 items are needed; a run on dev without the claim measures it",
    ]
    assert (found["measured_in"], found["replicates"]) == (None, None)


def test_clusters_ask_for_more_items():
    found = told(sizes=(5,) * 80)
    # 626 x (1 + 4 x 0.05) is 751; the t test of that many clusters asks for a little more
    assert 751 < found["n_needed"] < 1.02 * 751
    assert "intra-cluster correlation of 0.05" in found["told"][1]


def test_measured_spread_replaces_the_assumption():
    found = told(measured=MEASURED)
    # (1.96 + 0.84)^2 (0.1 + 0.05 + 0.05) / 0.05^2
    assert found["n_needed"] == 628
    assert found["told"][1] == "spread as measured in 2026-01-01-x-1, b against a on 200 items"


def test_a_small_pilot_asks_for_more_items():
    # 628 x (2.923 / 2.802)^2: the noncentral t with 20 degrees of freedom in place of the normal quantiles
    assert told(measured={**MEASURED, "df": 20})["n_needed"] == 684


def test_measured_noise_shows_what_runs_and_items_give_for_the_same_calls():
    found = told(measured=MEASURED, replicates=4)
    assert found["n_needed"] == 393  # 0.1 + 0.1 / 4
    # sd: sqrt(0.125 / 400) and sqrt(0.2 / 1600), times 2.80
    assert found["told"][2] == (
        "for the same calls 400 items x 4 runs can show 5.0 points, 1,600 items x 1 run 3.1 "
        "(noise between runs as measured in 2026-01-01-x-1)"
    )


def test_a_warm_model_shows_it_under_an_assumption_and_twice_the_calls():
    line = told(warm=True, sampled=True)["told"][3]
    assert line.startswith("for twice the calls 400 items x 2 runs")
    assert line.endswith("(assuming that 50 % of the spread is noise between runs)")


def test_replicates_at_temperature_0_are_not_counted_on():
    assert told(replicates=3)["detectable"] == told()["detectable"]
    assert told(replicates=3, sampled=True)["detectable"] < told()["detectable"]


def test_a_pilot_of_single_runs_keeps_its_whole_spread():
    single = {**MEASURED, "between": 0.2, "of_candidate": None, "of_baseline": None}
    assert told(measured=single)["n_needed"] == 628
    assert told(measured=single)["replicates"] is None


def test_a_metric_that_is_no_rate_is_planned_once_it_was_measured():
    assert told(is_rate=False, unit="usd")["told"] == [
        "what difference can be shown is not known for this metric before it was measured"
    ]
    found = told(is_rate=False, unit="s", measured=MEASURED, smallest_effect=0.1)
    assert found["told"][0] == (
        "a difference of 0.0628 s or more can be shown (80 % power); the claim asks for 0.1: about 159 items"
    )


@pytest.mark.parametrize("sizes", [(), (1,), (1,) * 12])
def test_too_few_items_show_nothing_and_say_so(sizes):
    found = told(sizes=sizes)
    assert (found["detectable"], found["n_needed"], found["replicates"]) == (None, None, None)
    assert len(found["told"]) >= 1


def test_without_a_claim_the_cost_of_a_wrong_assumption_is_told_as_an_effect():
    found = told(smallest_effect=None)
    assert found["told"][2].startswith("if 35 % do, only 8.3 points or more; the first run measures it")
    assert len(told(measured=MEASURED)["told"]) == 1 + 1 + 1  # a measured spread is no assumption


def test_few_clusters_show_less_than_the_same_spread_in_many():
    few, many = (told(sizes=(m,) * k, icc=0.0)["detectable"] for k, m in ((6, 100), (600, 1)))
    # (t quantile with 5 degrees of freedom, noncentral t for the power) against 2.80
    assert few > 3.5 / 2.81 * many


@pytest.mark.parametrize(("k", "n_compared", "least"), [(5, 1, 6), (7, 4, 8), (9, 16, 10)])
def test_clusters_too_few_for_any_p_value_that_small_are_told_and_no_effect_is_promised(k, n_compared, least):
    found = told(sizes=(60,) * k, n_compared=n_compared)
    assert (found["detectable"], found["n_needed"]) == (None, None)
    assert found["told"][0] == found["impossible"]
    assert f"it takes {least} clusters or more" in found["impossible"]
    assert told(sizes=(60,) * least, n_compared=n_compared, icc=0.0)["detectable"] > 0


def test_averaged_runs_that_differ_have_no_such_floor():
    settings = {"sizes": (60,) * 7, "n_compared": 4, "replicates": 3, "icc": 0.0}
    assert told(**settings)["impossible"]
    assert told(**settings, sampled=True)["impossible"] is None


def test_below_five_clusters_there_is_no_interval_to_plan():
    assert "no interval below 5 clusters" in told(sizes=(100,) * 4)["impossible"]


def test_few_independent_answers_are_planned_for_the_exact_test():
    for n in (65, 100, 199):
        plain = detectable_effect(n, discordance=0.3)
        assert told(sizes=(1,) * n, discordance=0.3)["detectable"] == pytest.approx(plain + 1 / n, abs=0.3 / n)
    assert told(sizes=(1,) * 200, discordance=0.3)["detectable"] == pytest.approx(
        detectable_effect(200, discordance=0.3)
    )


def test_the_budget_s_calls_are_split_between_the_items_there_are_and_their_runs():
    found = told(measured=MEASURED, replicates=2, pair_calls=3200)
    assert found["replicates"]["best"]["runs"] == 4  # 400 items x 4 runs x 2 sides
    assert found["told"][2].endswith("; the budget's calls are best spent on 400 items x 4 runs: 5.0 points")
    assert told(measured=MEASURED, replicates=2, pair_calls=500)["replicates"]["best"]["n_items"] == 250
    assert told(measured=MEASURED, replicates=2, pair_calls=3)["replicates"]["best"] is None


# -- under a judge ----------------------------------------------------------------------------------------------------


def judged(*counts, why="", labels=None):
    return {"counts": list(counts) or None, "state": "", "why": why, "labels": labels}


def test_a_judge_s_errors_shrink_what_is_shown_and_make_its_verdicts_differ():
    found = told(judge=judged(180e6, 20e6, 60e6, 140e6))
    # verdicts differ on .2 x .66 + .8 x (.5 x .18 + .5 x .42) of the rows, and show .6 of the effect
    plain = told(discordance=0.372, smallest_effect=0.03)
    assert found["n_needed"] == pytest.approx(plain["n_needed"], rel=1e-3)
    assert found["detectable"] == pytest.approx(plain["detectable"] / 0.6, rel=1e-3)
    assert found["told"][1].startswith("the judge's errors cost a factor of 1.67: it passes 90 % of the good answers")
    assert found["told"][2].endswith("the judge errs on each answer by itself: 37 % of the pairs of verdicts differ")
    assert found["told"][1] in found["assumption"]


def test_what_is_not_known_of_the_judge_asks_for_more_items():
    few, many = (told(judge=judged(*(n * x for x in (9, 1, 3, 7))))["n_needed"] for n in (5, 1000))
    assert few > 1.05 * many


def test_a_measured_spread_of_verdicts_needs_the_shrinking_only():
    found = told(measured=MEASURED, judge=judged(180e6, 20e6, 60e6, 140e6))
    assert found["n_needed"] == pytest.approx(628 / 0.36, abs=3)


def test_a_perfect_judge_costs_next_to_nothing():
    assert told(judge=judged(1e8, 0, 0, 1e8))["n_needed"] == 626


def test_a_judge_no_better_than_a_coin_shows_nothing():
    found = told(judge=judged(60, 40, 55, 45))
    assert (found["detectable"], found["n_needed"]) == (None, None)
    assert "no number of items shows" in found["impossible"]
    assert "too few to show any" in told(sizes=(1,) * 20, judge=judged(60, 40, 20, 80))["impossible"]


def test_labels_to_come_are_told_not_counted():
    counts = (180, 20, 60, 140)
    with_labels, without = (told(judge=judged(*counts, labels=labels)) for labels in ("labels/x", None))
    assert with_labels["n_needed"] == without["n_needed"]
    assert "which nobody knows yet" in with_labels["told"][2]


def test_without_counts_the_figure_is_said_to_hold_for_raw_verdicts():
    found = told(judge=judged(why=NO_CERTIFICATE))
    assert (found["n_needed"], found["told"][1]) == (626, NO_CERTIFICATE)
    assert found["assumption"].endswith(NO_CERTIFICATE)


# -- in a run ---------------------------------------------------------------------------------------------------------


def varying(project):
    """Answers that differ from run to run of an item, the same in every repetition of the test."""
    seen = {}

    def answer(row):
        number = int(row["example_id"][1:])
        seen[number] = seen.get(number, -1) + 1
        right = (number * 37 + 50 * seen[number] * (number % 3 == 0)) % 100 < 80
        return "refund" if bool(number % 2) == right else "delivery"

    project.answers["b"] = answer


def plan_of(project):
    return preview(project.path()).facts["plan"]


def test_a_run_s_own_noise_plans_the_next_one_and_fires_sc206(project):
    varying(project)
    project.config["runs"] = {"replicates": 2}
    assert plan_of(project)["measured_in"] is None
    run_id = project.run()["run_id"]
    assert plan_of(project)["measured_in"] == run_id
    # The plan of the same design is what the run itself could show, allowing for the roughness of its spread.
    observed = project.stored().summary["summary"]["detectable"]
    assert observed < plan_of(project)["detectable"] < 1.1 * observed
    assert project.check()["SC206"].status == "passed"
    project.config["runs"] = {"replicates": 1}
    planned, found = plan_of(project), project.check()["SC206"]
    assert 0 < planned["replicates"]["share_of_noise"] < 1
    assert (found.status, found.level) == ("fired", "warn")
    assert run_id in found.saw
    assert "100 items x 2 runs" in found.fix


def test_replicates_that_agree_leave_sc206_silent(project):
    project.config["runs"] = {"replicates": 2}
    project.run()
    project.config["runs"] = {"replicates": 1}
    assert plan_of(project)["measured_in"]
    assert project.check()["SC206"].status == "not_checked"


def test_a_claim_that_no_p_value_can_reach_fires_sc202(project):
    project.rows = [{**row, "group": f"g{number % 5}"} for number, row in enumerate(project.rows)]
    project.config["data"]["group"] = "group"
    found = project.check()["SC202"]
    assert (found.status, found.level) == ("fired", "warn")
    assert "it takes 6 clusters or more" in found.saw


def test_the_calls_of_the_budget_reach_the_plan(project):
    varying(project)
    project.config["runs"] = {"replicates": 2}
    project.run()
    project.config["budget"] = {"usd": 1, "calls": 100}
    assert plan_of(project)["replicates"]["best"]["n_items"] == 50


def test_a_pilot_on_dev_plans_the_claim_and_another_file_does_not(project):
    project.config["split"] = {"dev": 0.6, "test": 0.4}
    claim = project.config.pop("claim")
    pilot = project.run(unattended=False)
    project.config["claim"] = claim
    planned = plan_of(project)
    assert planned["measured_in"] == pilot["run_id"]
    assert planned["assumption"].startswith(f"spread as measured in {pilot['run_id']}, b against a on")
    project.rows = [{**row, "text": f"{row['text']} x"} for row in project.rows]
    project.config["name"] = "another"
    assert plan_of(project)["measured_in"] is None


def test_of_runs_that_repeat_each_other_the_first_is_named(project):
    first = project.run()["run_id"]
    project.run()
    assert plan_of(project)["measured_in"] == first


def test_a_comparison_with_few_differences_is_no_measure(project):
    project.answers["b"] = project.right(58)
    project.run()
    assert plan_of(project)["measured_in"] is None


def test_the_judge_s_certificate_reaches_the_plan_and_sc202(project):
    verdicts = [
        {"example_id": row["id"], "candidate": name, "output": f"{row['id']} {name}", "verdict": "pass"}
        for name in "ab"
        for row in project.rows
    ]
    project.write("old.csv", [{key: row[key] for key in ("example_id", "candidate", "output")} for row in verdicts])
    project.write("verdicts.csv", verdicts)
    project.config |= {
        "task": "generate",
        "candidates": [{"id": name, "outputs": "old.csv"} for name in "ab"],
        "scorers": ["judge"],
        "judge": {"verdicts": "verdicts.csv"},
        "claim": {"metric": "judge", "smallest_effect": "30 points"},
    }
    raw = plan_of(project)
    assert raw["assumption"].endswith(NO_CERTIFICATE)
    key = judging_entry(read_inputs(project.path()))["key"]
    kept = Certificates(Store.open(project.store))
    kept.save(certificate((90, 10, 30, 70), judge_key=key))
    planned = plan_of(project)
    assert planned["detectable"] > raw["detectable"] / 0.6
    assert "the judge's errors cost a factor of 1." in project.check()["SC202"].saw
    kept.save(certificate((60, 40, 55, 45), judge_key=key, issued_at=NOW + timedelta(days=1)))
    assert "refused and corrects nothing" in plan_of(project)["assumption"]
