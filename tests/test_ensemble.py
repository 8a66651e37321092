"""Whole runs with an ensemble: its row beside the others, what it asks, ties, resumption, and the catches."""

import shutil

import pyarrow.parquet as pq
import pytest

from safetycatch.ensembles import vote_weight
from safetycatch.errors import BudgetReachedError, ExperimentError, SafetycatchError, TooManyErrorsError
from tasks.bench import BenchSettings, bench_inputs
from tasks.start import read_inputs
from tests.wiring import rows

DIFFER = ["run_id", "latency_s", "cost_usd"]


@pytest.fixture
def votes(project):
    """Three members of about equal accuracy whose errors differ, on dev and test."""
    project.rows = rows(120)
    project.config["split"] = {"dev": 0.5, "test": 0.5, "train": 0}
    project.config["candidates"] = [
        {"id": name, "call": f"wired:{name}", "max_cost_usd": 0.001} for name in ("a", "b", "c")
    ]
    project.config["aggregate"] = {"members": ["a", "b", "c"]}
    for number, name in enumerate("abc"):
        project.answers[name] = wrong_at(number)
    return project


def wrong_at(*remainders, of=5):
    """Wrong where the row's number leaves one of `remainders`."""

    def answer(row):
        number = int(row["example_id"][1:])
        right = number % of not in remainders
        return "refund" if bool(number % 2) == right else "delivery"

    return answer


def candidates(result):
    return {row["id"]: row for row in result["candidates"]}


def report(votes, kind="html"):
    return (votes.store / "runs" / votes.stored().run_id / f"report.{kind}").read_text()


def test_a_majority_corrects_errors_that_differ(votes):
    found = votes.run()
    scored = candidates(found)
    assert scored["ensemble"]["estimate"] == 1
    assert max(scored[name]["estimate"] for name in "abc") < 0.9
    assert scored["ensemble"]["cost_usd"] == pytest.approx(sum(scored[name]["cost_usd"] for name in "abc"))
    assert {row["candidate"] for row in found["comparisons"]} >= {"b", "c", "ensemble"}
    assert found["ensemble"]["rho"] < 0
    assert found["ensemble"]["effective_voters"] > 3
    text = report(votes)
    assert "Errors of two members" in text
    assert "3 voters are worth" in text
    assert "- Ensemble: `+" in report(votes, "md")


def test_weights_come_from_dev_rows_which_are_asked_first_and_once(votes):
    votes.answers |= {"a": votes.right(100), "b": wrong_at(0, 1), "c": wrong_at(0, 1)}
    votes.config["aggregate"]["rule"] = "weighted"
    votes.config["catches"] = {"SC505": "off"}
    planned = votes.check()
    assert planned["SC1004"].status == "passed"
    found = votes.run()["ensemble"]
    assert len(votes.calls) == 2 * 3 * 60
    (weights,) = found["weights"]
    assert weights["a"] > weights["b"] + weights["c"]
    assert weights["b"] == weights["c"]
    assert (found["best"], found["chosen_on"], found["n_dev"], found["gain"]) == ("a", "dev", 60, 0)
    votes.config["name"] = "again"
    again = votes.run()
    assert len(votes.calls) == 2 * 3 * 60
    assert candidates(again)["ensemble"]["estimate"] == 1


def test_the_better_of_two_on_dev_decides_their_ties(votes):
    votes.config["aggregate"]["members"] = ["a", "b"]
    votes.answers |= {"a": wrong_at(0, 1), "b": wrong_at(2)}
    found = votes.run()
    assert found["ensemble"]["ties"] == {"best on dev: b": found["ensemble"]["n_ties"]}
    assert candidates(found)["ensemble"]["estimate"] == candidates(found)["b"]["estimate"]
    assert found["ensemble"]["tied"][0]["tied"] == ["delivery", "refund"]
    assert "best on dev: b" in report(votes)


def test_a_named_member_decides_without_any_dev_answer(votes):
    votes.config["aggregate"] |= {"members": ["a", "b"], "tie": "a"}
    found = votes.run()
    assert len(votes.calls) == 3 * 60
    assert set(found["ensemble"]["ties"]) == {"vote of a"}
    assert found["ensemble"]["chosen_on"] == "the scored rows"


def test_what_nobody_decides_is_wrong_and_what_nobody_answers_is_missing(votes):
    def partly(fails, says):
        def answer(row):
            number = int(row["example_id"][1:])
            if number % 10 in fails:
                raise ValueError("planted")
            return says(row)

        return answer

    votes.config["aggregate"] |= {"tie": "c"}
    votes.config["catches"] = {"SC207": {"rate": 0.9, "gap": 1}}
    votes.answers |= {
        "a": partly({0, 1}, wrong_at()),
        "b": partly({0}, wrong_at(*range(5))),
        "c": partly({0, 1, 2, 3}, wrong_at(4)),
    }
    found = votes.run()
    (rows_,) = [pq.read_table(found["artifacts"]["rows"], filters=[("candidate", "=", "ensemble")]).to_pylist()]
    by = {digit: {row["status"] for row in rows_ if int(row["example_id"][1:]) % 10 == digit} for digit in range(5)}
    # 0: nobody answers · 1: only b, wrong · 2 and 3: a and b differ, and c is not there to decide · 4: two to one.
    assert by == {0: {"error"}, 1: {"answer"}, 2: {"refusal"}, 3: {"refusal"}, 4: {"answer"}}
    scores = pq.read_table(
        found["artifacts"]["scores"], filters=[("candidate", "=", "ensemble"), ("metric", "=", "accuracy")]
    ).to_pylist()
    values = {digit: {row["value"] for row in scores if int(row["example_id"][1:]) % 10 == digit} for digit in range(5)}
    assert values == {0: {None}, 1: {0}, 2: {0}, 3: {0}, 4: {0}}
    missing = sum(int(row["example_id"][1:]) % 10 == 0 for row in rows_)
    assert candidates(found)["ensemble"]["n_missing"] == missing
    assert found["ensemble"]["missing_votes"]["c"] > found["ensemble"]["missing_votes"]["b"] == missing


def test_dawid_skene_needs_no_dev_row_where_a_member_decides(votes):
    votes.config["aggregate"] |= {"rule": "dawid_skene", "tie": "a"}
    found = votes.run()
    assert len(votes.calls) == 3 * 60
    assert found["ensemble"]["model"]["converged"]
    assert candidates(found)["ensemble"]["n_missing"] == 0


def test_a_judge_is_asked_about_tied_rows_only(votes):
    (votes.folder / "tie.md").write_text("One of: {{ labels | join(', ') }}.\n")
    judge = {"model": "sandbox/in-context", "prompt": "tie.md"}
    votes.config["aggregate"] |= {"members": ["a", "b"], "tie": judge}
    found = votes.run()
    ensemble = found["ensemble"]
    assert ensemble["n_judged"] == ensemble["n_ties"] > 10
    assert len(votes.calls) == 3 * 60
    assert votes.sent() == 3 * 60 + ensemble["n_judged"]
    assert set(ensemble["ties"]) <= {"the judge", "undecided"}
    assert "A judge was asked" in report(votes)
    assert found["calls"]["sent"] == votes.sent()


def test_exploring_cross_fits_the_weights(votes):
    del votes.config["claim"]
    votes.config["aggregate"]["rule"] = "weighted"
    found = votes.run()
    assert len(votes.calls) == 3 * 60
    assert found["ensemble"]["n_folds"] == len(found["ensemble"]["weights"]) == 5
    assert found["ensemble"]["chosen_on"] == "the scored rows"
    assert "cross-fitted over 5 folds" in report(votes)


def test_self_consistency_stops_once_the_leader_cannot_be_caught(votes):
    asked = {}

    def wavering(row):
        """Right at two of three samples of an odd row, and always at an even one."""
        number = int(row["example_id"][1:])
        asked[number] = asked.get(number, 0) + 1
        right = number % 4 > 1 or asked[number] != 2
        return "refund" if bool(number % 2) == right else "delivery"

    votes.answers["a"] = wavering
    votes.config["aggregate"] = {"members": ["a"], "rule": "self_consistency", "samples": 3}
    votes.config["catches"] = {"SC505": "off"}
    found = votes.run()
    assert candidates(found)["ensemble"]["estimate"] == 1
    assert sorted(set(asked.values())) == [2, 3]
    assert found["ensemble"]["n_asked"] == sum(asked.values()) - 60
    assert len(votes.calls) == sum(asked.values()) + 2 * 60
    assert found["ensemble"]["rho"] is None
    assert "samples of one member" in report(votes)


def test_the_race_is_among_those_who_do_not_vote(votes):
    for number, name in enumerate("defg"):
        votes.add(name, 30 + 10 * number)
        votes.config["candidates"].append({"id": name, "call": f"wired:{name}", "max_cost_usd": 0.001})
    votes.config["candidates"].sort(key=lambda one: one["id"] != "g")
    votes.config["runs"] = {"ladder": [30, 60]}
    votes.config["claim"]["candidate"] = "ensemble"
    found = votes.run()
    assert found["banner"]["sentence"].startswith("ensemble ")
    assert set(candidates(found)) == set("abcdefg") | {"ensemble"}
    ladder = pq.read_table(found["artifacts"]["ladder"]).to_pylist()
    assert {row["candidate"] for row in ladder} == set("defg")
    assert candidates(found)["ensemble"]["split"] == "test"


def test_a_stopped_run_resumes_to_the_same_rows(votes):
    votes.config["aggregate"]["rule"] = "weighted"
    whole = votes.run()
    votes.config |= {"name": "other", "budget": {"usd": 1, "calls": 40}}
    (votes.store / "calls.db").unlink()
    for stage in ("evaluate", "aggregate"):
        shutil.rmtree(votes.store / "artifacts" / stage)
    with pytest.raises(BudgetReachedError):
        votes.run()
    votes.config["budget"]["calls"] = 2000
    resumed = votes.run()
    tables = [pq.read_table(found["artifacts"]["rows"]) for found in (whole, resumed)]
    assert tables[0].drop(DIFFER).equals(tables[1].drop(DIFFER))
    assert whole["ensemble"] == resumed["ensemble"]


def broken_on_dev(votes, n_answered):
    """The member c answers `n_answered` of 48 dev rows, too few for the engine to stop at, and all of test."""
    votes.config["split"] = {"dev": 0.4, "test": 0.6, "train": 0}
    votes.check()
    dev = sorted(name for name, split in votes.splits().items() if split == "dev")
    assert len(dev) == 48
    answer = votes.answers["c"]

    def failing(row):
        if row["example_id"] in dev[n_answered:]:
            raise ValueError("the endpoint is down")
        return answer(row)

    votes.answers["c"] = failing
    return answer


@pytest.mark.parametrize("n_answered", [0, 1, 46])
def test_a_member_whose_dev_calls_fail_ends_the_run_before_test_and_resumes(votes, n_answered):
    answer = broken_on_dev(votes, n_answered)
    with pytest.raises(TooManyErrorsError, match=f"no answer to {48 - n_answered} of 48 .*the endpoint is down") as end:
        votes.run()
    assert end.value.exit_code == 50
    stopped = votes.stored()
    assert (stopped.status, votes.sent()) == ("provider", len(votes.calls))
    votes.answers["c"] = answer
    found = votes.run()
    assert found["run_id"] == stopped.run_id
    assert found["ensemble"]["records"]["c"]["n_answered"] == 48


def test_a_member_with_few_dev_answers_is_named_where_sc207_lets_it_pass(votes):
    broken_on_dev(votes, 1)
    votes.config["catches"] = {"SC207": "warn"}
    assert any("'c' has no answer to 47 of 48 dev rows" in note for note in votes.run()["notes"])


def test_no_dev_answer_at_all_makes_no_weight_whatever_sc207_is(votes):
    broken_on_dev(votes, 0)
    votes.config["catches"] = {"SC207": "off"}
    with pytest.raises(TooManyErrorsError, match="48 of 48"):
        votes.run()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"members": ["a", "bb"]}, "did you mean 'b'"),
        ({"members": ["a"]}, "2 members or more"),
        ({"members": ["a", "a"]}, "distinct members"),
        ({"members": ["a", "b"], "rule": "dawid_skene"}, "3 members or more"),
        ({"id": "a"}, "'a' is a candidate"),
        ({"tie": "first"}, "one of best, a, b, c"),
        ({"weights": {"a": 1, "b": 1, "c": 1}}, "rule: weighted only"),
        ({"rule": "weighted", "weights": {"a": 1}}, "one weight for each member"),
        ({"rule": "weighted", "weights": {"a": 1, "b": 1, "c": -1}}, "'c' would vote against its own answers"),
        ({"rule": "weighted", "weights": {"a": 1, "b": 1, "c": 0}}, "'c' never counts; leave it out"),
        ({"rule": "weighted", "weights": "nowhere"}, "no finished run 'nowhere'"),
        ({"samples": 3}, "self_consistency only"),
        ({"rule": "self_consistency", "samples": 3}, "one member and the samples"),
        ({"rule": "self_consistency", "members": ["a"], "samples": 3, "tie": "best"}, "no best among them"),
        ({"id": "Not A Name"}, "aggregate.id"),
        ({"rule": "plurality"}, "aggregate.rule"),
    ],
)
def test_an_aggregate_that_cannot_be_says_why(votes, changes, says):
    votes.config["aggregate"] |= changes
    with pytest.raises(SafetycatchError, match=says):
        votes.check()
    assert votes.calls == []


def test_weights_that_dev_should_give_need_dev_rows(votes):
    votes.config["split"] = {"test": 1}
    votes.config["aggregate"] |= {"rule": "weighted", "tie": "a"}
    with pytest.raises(ExperimentError, match="no dev rows to fit weights on"):
        votes.check()


@pytest.mark.parametrize(("task", "rule"), [("generate", "majority"), ("answer", "dawid_skene")])
def test_answers_that_are_no_votes_are_refused(votes, task, rule):
    votes.config |= {"task": task, "scorers": ["normalised"]}
    votes.config["claim"]["metric"] = "normalised"
    votes.config["aggregate"]["rule"] = rule
    with pytest.raises(ExperimentError, match="aggregate"):
        votes.check()


def test_samples_at_temperature_0_are_refused(votes):
    votes.model(params={"temperature": 0})
    votes.config["aggregate"] = {"members": ["a"], "rule": "self_consistency", "samples": 3}
    with pytest.raises(ExperimentError, match="temperature 0"):
        votes.check()


def test_the_ensemble_is_no_baseline(votes):
    votes.config["claim"]["baseline"] = "ensemble"
    with pytest.raises(ExperimentError, match="the ensemble as the baseline"):
        votes.check()


def test_a_bench_of_the_same_file_leaves_the_ensemble_out(votes):
    votes.model()
    votes.config["aggregate"] = {"members": ["a", "b"]}
    inputs = read_inputs(votes.path())
    assert bench_inputs(inputs, BenchSettings()).experiment.aggregate is None


def test_another_tie_rule_after_results_is_another_claim(votes):
    votes.run()
    votes.config["aggregate"]["tie"] = "b"
    found = votes.refused()
    assert set(found) == {"SC1001"}
    assert len(votes.calls) == 2 * 3 * 60


def test_short_answers_vote_as_their_metric_reads_them(votes):
    votes.config |= {"task": "answer", "scorers": ["normalised"]}
    votes.config["claim"]["metric"] = "normalised"
    votes.config["aggregate"]["rule"] = "weighted"
    plain = votes.answers["a"]
    votes.answers["a"] = lambda row: f"  {plain(row).upper()}"
    found = votes.run()
    assert found["ensemble"]["n_ties"] == 0
    assert found["ensemble"]["rho"] < 0
    assert candidates(found)["ensemble"]["estimate"] == 1


def test_the_order_of_members_changes_nothing(votes):
    del votes.config["claim"]
    votes.config["aggregate"]["rule"] = "weighted"
    votes.answers |= {"a": votes.right(60), "b": votes.right(75)}
    first = votes.run()
    votes.config["aggregate"]["members"].reverse()
    second = votes.run()
    assert first["run_id"] != second["run_id"]
    said = [
        pq.read_table(found["artifacts"]["rows"], filters=[("candidate", "=", "ensemble")])["parsed"].to_pylist()
        for found in (first, second)
    ]
    assert said[0] == said[1]
    assert first["ensemble"]["weights"] == second["ensemble"]["weights"]


def test_a_stored_run_without_a_member_says_whom_it_has(votes):
    claim, aggregate = votes.config.pop("claim"), votes.config.pop("aggregate")
    explored = votes.run()
    votes.config["candidates"].append({**votes.config["candidates"][0], "id": "d"})
    weighted = {**aggregate, "rule": "weighted", "tie": "a", "weights": explored["run_id"], "members": ["a", "b", "d"]}
    votes.config |= {"claim": claim, "aggregate": weighted}
    with pytest.raises(SafetycatchError, match=f"candidate 'd'[^$]*{explored['run_id']} has a, b, c"):
        votes.check()


@pytest.mark.parametrize("aggregate", [{}, {"members": ["a"], "rule": "self_consistency", "samples": 3}])
def test_members_who_are_never_right_leave_figures_open_and_say_why(votes, aggregate):
    votes.config |= {"task": "answer", "scorers": ["numeric"]}
    votes.rows = [{**row, "label": str(number)} for number, row in enumerate(votes.rows)]
    votes.answers |= dict.fromkeys("abc", lambda row: "-1")
    del votes.config["claim"]
    votes.config["aggregate"] = aggregate or votes.config["aggregate"]
    found = votes.run()["ensemble"]
    assert (found["gain"], found["rho"], found["effective_voters"]) == (0, None, None)
    assert found["no_rho"]
    assert (found["low"] is None) == (found["high"] is None) == bool(found["no_interval"])


def test_a_label_that_nobody_gave_is_kept_as_the_vote(votes):
    """The third says delivery whatever comes, and where the others cannot be read that means refund, as elsewhere."""
    votes.answers |= {name: lambda row: "refund" if int(row["example_id"][1:]) % 10 else "?" for name in "ab"}
    votes.answers["c"] = lambda _row: "delivery"
    votes.config["aggregate"] |= {"rule": "dawid_skene", "tie": "a"}
    votes.config["catches"] = {"SC505": "off", "SC205": "off"}
    found = votes.run()
    told = pq.read_table(found["artifacts"]["rows"], filters=[("candidate", "=", "ensemble")]).to_pylist()
    assert {(row["status"], row["parsed"], row["output"]) for row in told} == {("answer", "refund", "refund")}
    assert found["ensemble"]["n_unvoted"] == sum(int(row["example_id"][1:]) % 10 == 0 for row in told) > 0
    assert "a label that no member gave" in report(votes)


def test_answers_without_a_price_cost_no_zero(votes):
    for candidate in votes.config["candidates"]:
        del candidate["max_cost_usd"]
    votes.config["aggregate"]["rule"] = "weighted"
    votes.config["budget"] = {"calls": 2000}
    found = votes.run()["ensemble"]
    assert found["fit_usd"] is None
    assert found["added_usd_per_1000"] is None
    assert "price unknown once" in report(votes)


def test_weights_of_a_stored_run_are_those_of_its_scores(votes):
    claim = votes.config.pop("claim")
    aggregate = votes.config.pop("aggregate")
    votes.answers |= {"a": wrong_at(0), "b": wrong_at(0, 1)}
    explored = votes.run()
    shares = candidates(explored)
    votes.config |= {"claim": claim, "aggregate": {**aggregate, "rule": "weighted", "tie": "a"}}
    votes.config["aggregate"]["weights"] = explored["run_id"]
    found = votes.run()["ensemble"]
    assert found["weights"] == [
        {name: vote_weight(round(60 * shares[name]["estimate"]), 60, 2) for name in ("a", "b", "c")}
    ]
    assert found["n_dev"] == 0
    assert len(votes.calls) == 2 * 3 * 60
