"""What a run cost, as it is told: what nobody knows is no zero."""

import re

import pytest

from safetycatch.cli.main import main
from safetycatch.cli.running import calls_line


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
