"""What a run cost, as it is told: what nobody knows is no zero."""

import re

import pytest

from flows.preview import preview
from safetycatch.cli.main import main
from safetycatch.cli.running import calls_line
from safetycatch.errors import BudgetReachedError
from tests.wiring import BOX


@pytest.fixture
def cli_in(project, capfd):
    """Calls the command line in the project's folder; returns what it prints."""

    def call(*words):
        project.patch.chdir(project.folder)
        capfd.readouterr()
        assert main(words) == 0
        return capfd.readouterr().out

    return call


def _report(project):
    run = project.stored()
    return run.text("report.md"), run.text("report.html")


def test_a_price_that_nobody_knows_is_told_as_such(project, cli_in):
    project.rows = project.rows[:12]
    for candidate in project.config["candidates"]:
        del candidate["max_cost_usd"]
    told = project.run()
    assert (told["spent_usd"], told["spent_at_least_usd"], told["calls"]["unpriced"]) == (None, 0.0, 24)
    assert told["calls"]["spent_usd"] is None
    assert {row["cost_usd"] for row in told["candidates"]} == {None}
    markdown, html = _report(project)
    shown = [calls_line(told), cli_in("ls"), cli_in("show", "last"), markdown, html]
    for text in shown:
        assert "price unknown" in text
        assert "$0.00" not in text


def test_a_partly_known_sum_is_at_least_so_much(project, cli_in):
    project.rows = project.rows[:12]
    del project.config["candidates"][1]["max_cost_usd"]
    told = project.run()
    assert (told["spent_usd"], round(told["spent_at_least_usd"], 9)) == (None, 0.012)
    for text in (calls_line(told), cli_in("ls"), *_report(project)):
        assert "at least $0.012" in text


def test_a_run_from_the_journal_costs_nothing_whatever_the_price(project):
    project.rows = project.rows[:12]
    for candidate in project.config["candidates"]:
        del candidate["max_cost_usd"]
    project.run()
    again = project.run()
    assert (again["spent_usd"], again["calls"]["from_journal"]) == (0, 24)
    assert re.search(r"saved by the journal\W.*?—", _report(project)[1], re.DOTALL)


# -- ceilings: what they do not bound, and where they are too low


def _ceiling(project):
    return preview(project.path()).facts["plan"]["ceiling"]


def test_a_ceiling_that_holds_and_suffices_says_nothing(project):
    assert _ceiling(project) == {"told": [], "unbounded": [], "too_low": []}


@pytest.mark.parametrize(
    ("budget", "unit", "expected", "enough"),
    [({"usd": 0.1, "calls": 300}, "usd", 0.2, 0.2), ({"usd": 1, "calls": 150}, "calls", 200, 200)],
)
def test_a_ceiling_below_what_is_expected_is_told_before_money_is_spent(project, budget, unit, expected, enough):
    project.config["budget"] = budget
    (short,) = _ceiling(project)["too_low"]
    assert (short["unit"], short["expected"], short["enough"]) == (unit, pytest.approx(expected), enough)
    told = []
    project.say = lambda stage, text: told.append((stage, text, len(project.calls)))
    with pytest.raises(BudgetReachedError):
        project.run()
    (_, first, n_calls), (_, second, _) = [one for one in told if one[0] == "ceiling"]
    assert first.startswith("TOO LOW")
    others = {**budget, unit: enough}
    assert second == f"enough, if nothing is sent twice: budget: {{usd: {others['usd']:g}, calls: {others['calls']}}}"
    assert n_calls == 0


def test_the_sum_that_would_do_does(project):
    project.config["budget"] = {"usd": 0.1, "calls": 150}
    with pytest.raises(BudgetReachedError):
        project.run()
    project.config["budget"] = {one["unit"]: one["enough"] for one in _ceiling(project)["too_low"]}
    assert _ceiling(project)["told"] == []
    told = project.run()
    assert told["calls"]["sent"] + told["calls"]["sent_before"] == len(project.calls) == 200
    assert "100 sent now, 100 before it was resumed" in calls_line(told)
    assert calls_line(told).endswith("$0.20 for the whole run")


def test_what_the_journal_answers_needs_no_ceiling(project):
    project.run()
    project.config["budget"] = {"usd": 0.01, "calls": 20}
    assert _ceiling(project)["too_low"] == []


def test_tokens_are_expected_and_not_the_most_that_there_can_be(project, box):
    box()
    project.model(model=BOX)
    project.config["budget"] = {"tokens": 2_000}
    (short,) = _ceiling(project)["too_low"]
    assert short["expected"] < short["enough"]
    project.config["budget"] = {"tokens": int(short["expected"]) + 1}
    assert _ceiling(project)["too_low"] == []


def test_models_that_no_ceiling_in_dollars_bounds_are_named(project):
    project.patch.setenv("SAFETYCATCH_ENDPOINT_OPENAI", "http://127.0.0.1:9/v1")
    project.model(model="openai/gpt-4o-mini")
    found = _ceiling(project)
    assert found["unbounded"] == ["openai/gpt-4o-mini"]
    first, second = found["told"]
    assert first.startswith("$1.00 does not bound openai/gpt-4o-mini: SAFETYCATCH_ENDPOINT_OPENAI moves it")
    assert second == "what bounds it: 2,000 calls"
    passed = project.check()["SC307"]
    assert (passed.status, passed.saw) == (
        "passed",
        "the price of openai/gpt-4o-mini is not known: 2,000 calls bound them, $1 do not",
    )


def test_a_rerun_tells_its_own_calls_where_a_row_fails_again(project):
    def flaky(row):
        if row["example_id"] == "R003":
            raise ValueError("planted")
        return project.right(80)(row)

    project.answers["b"] = flaky
    first, second = project.run()["calls"], project.run()["calls"]
    assert (first["sent"], first["errors"], first["from_journal"]) == (200, 1, 0)
    assert (second["sent"], second["errors"], second["from_journal"]) == (1, 1, 199)
    assert len(project.calls) == 201
    assert second["spent_usd"] == pytest.approx(project.stored().summary["result"]["spent_usd"]) == pytest.approx(0.001)
