"""A user's own metric that is broken is told after the first answers, before the others are paid."""

import sqlite3
from contextlib import closing

import pytest

from safetycatch.errors import ExperimentError
from tasks.evaluate import FIRST_SCORED


def _percent(output, target, row):
    return 100.0 if output == target else 0.0


def _crash(output, target, row):
    return row["no such column"]


def _length(output, target, row):
    return float(len(output))


setattr(_percent, "unit", "points")  # noqa: B010 - as a user's module has it, and typed


@pytest.fixture
def scored(project):
    """A project whose claim is on a function of the test's own, `wired:own`."""

    def claim(function):
        project._module.own = function
        project.config["claim"] = {"metric": "wired:own", "smallest_effect": 0.3}
        return project

    return claim


@pytest.mark.parametrize(
    ("function", "told"), [(_percent, r"(?s)wired:own, example R\d+.*between 0 and 1"), (_crash, "KeyError")]
)
def test_a_broken_metric_costs_a_few_calls_and_no_look(scored, function, told):
    project = scored(function)
    with pytest.raises(ExperimentError, match=told):
        project.run()
    assert project.calls == ["a"] * FIRST_SCORED
    with closing(sqlite3.connect(project.store / "ledger.db")) as ledger:
        assert ledger.execute("SELECT count(*) FROM look").fetchone() == (0,)


def test_once_it_is_mended_nothing_is_paid_twice(scored):
    project = scored(_crash)
    with pytest.raises(ExperimentError):
        project.run()
    scored(lambda output, target, row: float(output == target))
    told = project.run()
    assert len(project.calls) == project.sent() == 200
    assert told["verdict"] in {"BETTER", "WORSE", "EQUIVALENT", "INCONCLUSIVE"}


def test_a_score_may_have_any_range(scored):
    assert scored(_length).run()["calls"]["sent"] == 200


def test_on_the_ladder_a_metric_outside_0_to_1_never_sees_test(scored):
    project = scored(_length)
    project.config |= {"split": {"dev": 0.5, "test": 0.5}, "runs": {"ladder": [20, "all"]}}
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    with pytest.raises(ExperimentError, match="a metric between 0 and 1 to race on"):
        project.run()
    assert len(project.calls) <= 60
