"""What a run would still pay, against what it then does."""

import pytest

from flows.chain import as_function
from flows.preview import preview
from safetycatch.cli.main import main
from safetycatch.errors import BudgetReachedError
from tests.wiring import rows


def to_pay(project):
    return preview(project.path(), to_pay=True).facts["plan"]["to_pay"]


def test_answers_of_a_stopped_run_cost_nothing_more(project):
    assert to_pay(project) == {
        "n_calls": 200,
        "n_from_journal": 0,
        "expected_usd": pytest.approx(0.2),
        "highest_usd": pytest.approx(0.2),
        "highest_tokens": 0,
    }
    project.config["budget"]["calls"] = 150
    with pytest.raises(BudgetReachedError):
        project.run()
    left = to_pay(project)
    assert (left["n_calls"], left["n_from_journal"], left["expected_usd"]) == (50, 150, pytest.approx(0.05))
    assert len(project.calls) == 150
    project.config["budget"]["calls"] = 2000
    project.run()
    assert to_pay(project)["n_calls"] == 0
    assert len(project.calls) == 200


def test_equal_calls_are_made_once_and_replicates_are_not_equal(project):
    project.model()
    project.config["candidates"][1] |= {"prompt": "short.md"}
    project.config["runs"] = {"replicates": 2}
    found = to_pay(project)
    result = project.run()
    assert (found["n_calls"], found["n_from_journal"]) == (200, 200)
    assert (result["calls"]["sent"], result["calls"]["from_journal"]) == (200, 200)


def test_another_answer_of_a_failed_row_is_paid_for(project):
    project.answers["b"] = project.failing(10)
    project.config["catches"] = {"SC207": "off"}
    project.run()
    assert to_pay(project)["n_calls"] == 10


def test_a_race_that_is_over_made_its_other_calls_needless(project):
    project.rows = rows(400)
    for name, share in (("a", 60), ("b", 90), ("c", 30), ("d", 20)):
        project.add(name, share)
    project.config |= {
        "split": {"train": 0.1, "dev": 0.4, "test": 0.5},
        "runs": {"ladder": [50, "all"]},
        "candidates": [{"id": name, "call": f"wired:{name}", "max_cost_usd": 0.0001} for name in "abcd"],
    }
    before = to_pay(project)
    planned = preview(project.path()).facts["plan"]
    assert before["n_calls"] == planned["n_calls"]
    assert before["expected_usd"] == pytest.approx(planned["expected_usd"])
    assert before["expected_usd"] < before["highest_usd"] == pytest.approx(planned["highest_usd"])
    project.run()
    assert len(project.calls) < before["n_calls"]
    assert to_pay(project)["n_calls"] == 0
    project.config["budget"]["ask_above"] = 0
    assert project.findings()["SC302"]["status"] == "passed"


def test_exploring_with_a_race_expects_what_the_plan_expects(project):
    project.rows = rows(400)
    for name in "abcd":
        project.add(name, 60)
    del project.config["claim"]
    project.config |= {
        "split": {"train": 0.2, "dev": 0.8},
        "runs": {"ladder": [50, "all"]},
        "candidates": [{"id": name, "call": f"wired:{name}", "max_cost_usd": 0.0001} for name in "abcd"],
    }
    before = to_pay(project)
    assert before["expected_usd"] == pytest.approx(preview(project.path()).facts["plan"]["expected_usd"])


def test_plan_says_what_is_left_to_pay(project, monkeypatch, capsys):
    project.config["budget"]["ask_above"] = 0.1
    monkeypatch.chdir(project.folder)
    project.path()
    assert main(["plan", "e.yaml"]) == 0
    text = capsys.readouterr().out
    assert "  to pay    up to 200 calls, $0.20 expected, $0.20 at most" in text
    assert "SC302 waits" in text
    project.config["budget"]["ask_above"] = 1
    project.run(call=as_function)
    assert main(["plan", "e.yaml"]) == 0
    assert "  to pay    up to 0 calls (200 known or repeated), $0.00 expected" in capsys.readouterr().out
    assert len(project.calls) == 200
