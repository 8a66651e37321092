"""A whole gate with plain functions: who is compared with whom, what passes, and what must never pass."""

import pytest

from flows.chain import as_function
from flows.gate import Wanted, run_gate
from safetycatch.errors import BudgetReachedError, ExperimentError, RefusedError, UsageError
from tests.wiring import BOX


@pytest.fixture
def gate(project):
    def run(against="baseline", noninferior="", max_usd=None, **options):
        return run_gate(project.path(), Wanted(against, noninferior, max_usd), call=as_function, **options)

    return run


def test_a_better_candidate_passes(gate):
    found = gate(noninferior="2 points")
    assert (found["gate"], found["passed"], found["exit_code"]) == ("passed", True, 0)
    assert (found["candidate"], found["against"], found["metric"], found["margin"]) == ("b", "a", "accuracy", 0.02)
    assert found["low"] < found["bound"] < found["estimate"] == pytest.approx(0.25)
    assert (found["n"], found["n_missing"], found["flips"]) == (100, 0, {"fixed": 25, "broken": 0})


def test_a_worse_candidate_fails(project, gate):
    project.answers["b"] = project.right(20)
    found = gate(noninferior="2 points")
    assert (found["gate"], found["passed"], found["exit_code"]) == ("failed", False, 20)


def test_what_is_not_shown_does_not_pass(project, gate):
    project.answers["b"] = project.right(56)
    found = gate(noninferior="0.5 points")
    assert (found["gate"], found["passed"], found["exit_code"]) == ("inconclusive", False, 21)
    assert found["n_to_settle"] > 100
    assert (found["settles_as"], found["missing_decides"]) == ("passed", False)


def test_just_beyond_the_margin_more_items_would_settle_it_as_failed(project, gate):
    project.answers |= {"a": project.right(60), "b": project.right(57)}
    found = gate(noninferior="2 points")
    assert (found["gate"], found["settles_as"]) == ("inconclusive", "failed")
    assert "would settle it, as FAILED" in found["settle"]


def test_without_a_margin_the_claims_smallest_effect_is_one(gate):
    found = gate()
    assert (found["margin"], found["margin_from"]) == (0.3, "claim.smallest_effect")


def test_a_guardrail_shown_to_be_broken_fails_a_better_candidate(project, gate):
    project.config["candidates"][1]["max_cost_usd"] = 0.002
    project.config["claim"]["guardrails"] = [{"metric": "cost_usd", "worse_by": 0}]
    found = gate()
    assert found["gate"] == "failed"
    assert "cost_usd" in found["sentence"]


def test_the_best_of_several_is_held_to_a_stricter_bound_and_says_so(project, gate):
    one = gate()
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    two = gate()
    assert (two["candidate"], two["picked_of"], two["level"]) == ("b", 2, 0.975)
    assert two["bound"] < one["bound"]
    assert "best of 2" in two["sentence"]


def test_who_was_named_beforehand_is_held_to_no_more_however_often(project, gate):
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    project.config["claim"]["candidate"] = "b"
    for _ in range(2):
        found = gate()
        assert (found["picked_of"], found["seen_besides"]) == (1, 0)


@pytest.mark.parametrize("purpose", ["claim", "gate"])
def test_losers_deleted_or_the_winner_named_after_a_look_still_count(project, gate, purpose):
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    project.run(purpose=purpose)
    project.config["claim"]["candidate"] = "b"
    assert gate()["picked_of"] == 2
    del project.config["candidates"][2], project.config["claim"]["candidate"]
    project.config["name"] = "another"
    found = gate()
    assert (found["picked_of"], found["level"], found["seen_besides"]) == (2, 0.975, 0)
    assert "best of 2" in found["sentence"]


def test_what_one_gate_after_another_showed_is_told_and_not_corrected(project, gate):
    found = gate()
    assert "earlier looks" not in found["sentence"]
    for version in "23":
        project.config["candidates"][1]["version"] = version
        found = gate()
    assert (found["picked_of"], found["seen_besides"]) == (1, 2)
    assert "earlier looks at these items showed 2 other candidates, which the bound does not count" in found["sentence"]


def test_against_a_stored_run_the_named_candidate_counts(project, gate):
    project.config["claim"]["candidate"] = "b"
    run_id = project.run()["run_id"]
    project.answers["b"] = project.right(30)
    project.config["candidates"][1]["version"] = "2"
    found = gate(against=run_id, noninferior="2 points")
    assert (found["gate"], found["against"]) == ("failed", f"{run_id}:b")
    assert gate(against=f"{run_id}:a", noninferior="40 points")["against"] == f"{run_id}:a"


def test_another_candidate_of_the_file_can_be_the_baseline(gate):
    found = gate(against="b")
    assert (found["candidate"], found["against"], found["passed"]) == ("a", "b", False)


def test_last_is_the_newest_run_and_no_gate(project, gate):
    with pytest.raises(UsageError, match="no finished run of e is stored"):
        gate(against="last")
    run_id = project.run()["run_id"]
    for version in "23":
        project.config["candidates"][1]["version"] = version
        assert gate(against="last", noninferior="5 points")["against"] == f"{run_id}:b"


def merge(project, gate, version):
    """A changed pull request's gate, then main's job after the merge."""
    project.config["candidates"][1]["version"] = str(version)
    return gate(against="last", noninferior="20 points"), project.run(purpose="reference")


def test_merge_after_merge_moves_last_and_is_never_refused(project, gate):
    project.config["catches"] = {"SC504": {"looks": 3}}
    merged = project.run(purpose="reference")
    for version in range(2, 8):
        before = merged["run_id"]
        found, merged = merge(project, gate, version)
        assert found["against"] == f"{before}:b"
    assert (merged["verdict"], merged["banner"]["kind"]) == ("REFERENCE", "REFERENCE")
    assert "BETTER" not in {row["verdict"] for row in merged["comparisons"]}
    for _ in range(2):
        told = gate(against="last", noninferior="20 points")
        assert (told["looks"], told["looks_note"]) == (
            7,
            "7 looks at this test set by this claim (budget 3): a pass means less",
        )
    project.config["candidates"][1]["version"] = "another"
    assert set(project.refused()) == {"SC504"}


def test_after_a_revert_last_is_the_older_state_again_and_free(project, gate):
    project.run(purpose="reference")
    merge(project, gate, 2)
    del project.config["candidates"][1]["version"]
    reverted = project.run(purpose="reference")
    assert reverted["calls"]["sent"] == 0
    assert gate(against="last", noninferior="20 points")["against"] == f"{reverted['run_id']}:b"


def test_a_reference_without_a_claim_is_refused(project):
    del project.config["claim"]
    with pytest.raises(UsageError, match="a reference needs a claim"):
        project.run(purpose="reference")


def test_equal_requests_with_equal_scores_pass_without_a_test(project, gate, box):
    box()
    project.rows = project.rows[:40]
    project.model(model=BOX, params={"max_tokens": 8})
    project.config["prices"] = {"box/in-context": {"input_per_m": 0, "output_per_m": 0}}
    project.config["claim"]["candidate"] = "b"
    run_id = project.run()["run_id"]
    found = gate(against=run_id, noninferior="0.1 points")
    assert (found["gate"], found["unchanged"], found["calls"]["sent"]) == ("passed", True, 0)
    assert "is the same as" in found["sentence"]


def test_other_items_refuse_before_a_call_unless_only_shared_ones_count(project, gate):
    project.config["claim"]["candidate"] = "b"
    run_id = project.run()["run_id"]
    project.rows = project.rows[:90]
    project.config["candidates"][1]["version"] = "2"
    sent = project.sent()
    with pytest.raises(RefusedError) as caught:
        gate(against=run_id)
    assert [finding.code for finding in caught.value.findings] == ["SC204"]
    assert project.sent() == sent
    assert gate(against=run_id, intersect=True)["n"] == 90


@pytest.mark.parametrize("share", [3, 30])
def test_missing_rows_never_pass_even_where_the_catch_is_overridden(project, gate, share):
    project.answers["b"] = project.failing(share)
    project.config["catches"] = {"SC207": "warn"}
    found = gate(noninferior="20 points")
    assert (found["gate"], found["n_missing"], found["missing_decides"]) == ("inconclusive", share, True)
    assert found["settle"] is None


@pytest.mark.parametrize("mute", ["a", "b", "ab"])
def test_a_broken_parser_or_endpoint_is_not_green(project, gate, mute):
    for name in mute:
        project.answers[name] = lambda row: "<html>502 Bad Gateway</html>"
    found = gate(noninferior="20 points")
    assert (found["gate"], found["exit_code"], found["n_missing"]) == ("inconclusive", 21, 0)
    assert all(f"100 % of the replies of {name} could not be read" in found["sentence"] for name in mute)


def test_both_wrong_everywhere_is_not_shown_to_be_no_worse(project, gate):
    def wrong(row):
        return "delivery" if int(row["example_id"][1:]) % 2 else "refund"

    project.answers |= {"a": wrong, "b": wrong}
    assert gate(noninferior="0 points")["gate"] == "inconclusive"


def test_a_missing_row_counts_against_the_candidate(project, gate):
    def answer(row):
        if row["example_id"] == "R000":
            raise ValueError("planted")
        return project.right(80)(row)

    project.answers |= {"a": project.right(78), "b": answer}
    found = gate(noninferior="2 points")
    assert (found["gate"], found["n_missing"], found["missing_decides"]) == ("inconclusive", 1, True)
    assert found["bound"] > -0.02
    project.answers["b"] = lambda row: answer(row) if row["example_id"] == "R000" else project.right(77)(row)
    project.config["candidates"][1]["version"] = "worse"
    found = gate(noninferior="2 points")
    assert (found["gate"], found["n_missing"], found["missing_decides"]) == ("inconclusive", 1, False)
    del project.config["candidates"][1]["version"]
    project.answers["b"] = answer
    assert gate(noninferior="4 points")["gate"] == "passed"


def test_a_ceiling_of_nothing_lets_only_free_calls_through(project, gate):
    with pytest.raises(BudgetReachedError):
        gate(max_usd=0.0)
    assert project.calls == []
    del project.config["candidates"][1]["max_cost_usd"]
    with pytest.raises(RefusedError) as caught:
        gate(max_usd=0.0)
    assert [finding.code for finding in caught.value.findings] == ["SC307"]


def test_paid_answers_are_free_under_a_ceiling_of_nothing(project, gate):
    project.run()
    assert gate(max_usd=0.0)["calls"]["sent"] == 0


def test_a_smaller_ceiling_of_the_experiment_stays(project, gate):
    project.config["budget"] = {"usd": 0.05}
    with pytest.raises(BudgetReachedError, match=r"\$0\.05"):
        gate(max_usd=1.0)


def test_the_command_that_repeats_it_is_the_gates(gate):
    assert gate(noninferior="2 points")["command"] == (
        "safetycatch gate e.yaml --against baseline --noninferior '2 points'"
    )


def test_without_a_claim_the_lines_to_add_are_told(project, gate):
    del project.config["claim"]
    with pytest.raises(UsageError, match="smallest_effect: 3 points"):
        gate()
    assert project.calls == []


@pytest.mark.parametrize("text", ["10%", "2", "two", "-1 points", "nan"])
def test_a_margin_that_is_none_is_refused(gate, text):
    with pytest.raises((UsageError, ExperimentError)):
        gate(noninferior=text)


@pytest.mark.parametrize("against", ["nobody", "nobody:b"])
def test_an_unknown_baseline_is_refused(gate, project, against):
    with pytest.raises(UsageError, match="no run"):
        gate(against=against)
    assert project.calls == []


def test_the_runs_own_ensemble_is_no_baseline_and_a_stored_runs_is(project, gate):
    project.config["aggregate"] = {"members": ["a", "b"], "tie": "a"}
    with pytest.raises(UsageError, match="the experiment's ensemble") as told:
        gate(against="ensemble")
    assert told.value.fix.startswith("--against RUN:ensemble")
    assert project.calls == []
    stored = project.run()["run_id"]
    assert gate(against=f"{stored}:ensemble")["against"] == f"{stored}:ensemble"


def test_too_few_answers_for_any_bound_are_inconclusive(project, gate):
    project.record(lost=99)
    project.config["catches"] = {"SC207": "off"}
    found = gate()
    assert (found["gate"], found["n"], found["n_missing"], found["bound"]) == ("inconclusive", 1, 99, None)


def test_who_was_chosen_on_dev_is_not_held_to_more(project, gate):
    project.given()
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    project.config["runs"] = {"ladder": ["all"]}
    found = gate()
    assert (found["candidate"], found["picked_of"]) == ("b", 1)
