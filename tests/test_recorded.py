"""Recorded answers in a run: whatever is wrong with them is told by `check`, and before a call is paid."""

import pytest

from safetycatch.errors import DataError
from tests.wiring import rows


@pytest.fixture
def recorded(project):
    """A function, and then a file of answers."""

    def record(id_column="example_id", of=None, **more):
        of = project.rows if of is None else of
        project.write("old.csv", [{id_column: row["id"], "output": row["label"]} | more for row in of])
        project.config["candidates"][1] = {"id": "b", "outputs": "old.csv"}
        return project

    return record


def test_the_datas_own_id_column_names_the_items(recorded):
    found = recorded("id").run()
    assert [(row["n"], row["n_missing"]) for row in found["candidates"]] == [(100, 0), (100, 0)]
    assert found["candidates"][1]["estimate"] == 1


def test_example_id_comes_before_the_datas_own_name(recorded, project):
    recorded()
    project.write("old.csv", [{"example_id": row["id"], "id": "x", "output": "refund"} for row in project.rows])
    assert project.run()["candidates"][1]["n_missing"] == 0


def _other_column(project):
    project.write("old.csv", [{"ticket": row["id"], "output": "refund"} for row in project.rows])


def _no_output(project):
    project.write("old.csv", [{"id": row["id"], "answer": "refund"} for row in project.rows])


def _twice(project):
    project.write("old.csv", [{"id": row["id"], "output": "refund"} for row in [*project.rows, project.rows[0]]])


def _other_items(project):
    project.write("old.csv", [{"id": f"X{row['id']}", "output": "refund"} for row in project.rows])


def _somebody_else(project):
    project.write("old.csv", [{"id": row["id"], "candidate": "z", "output": "refund"} for row in project.rows])


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (_other_column, "no column 'example_id' or 'id'"),
        (_no_output, "no column 'output'"),
        (_twice, "two outputs of 'R000'"),
        (_other_items, "none of its 100 ids, such as 'XR000', is in the data"),
        (_somebody_else, "no row of candidate 'b'"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_broken_file_is_told_before_a_call_is_sent(recorded, broken, says, verb):
    project = recorded()
    broken(project)
    with pytest.raises(DataError, match=says):
        getattr(project, verb)()
    assert project.calls == []


def test_too_few_recorded_answers_refuse_before_a_call_is_sent(recorded, project):
    recorded(of=project.rows[3:])
    found = project.refused()
    assert found["SC207"].saw.startswith("b has no answer for 3 of 100 rows")
    assert found["SC207"].fix.startswith("record the missing answers")
    assert project.calls == []
    assert project.check()["SC207"].status == "fired"


def test_replicates_that_were_not_recorded_refuse_before_a_call_is_sent(recorded, project):
    project.config["runs"] = {"replicates": 2}
    recorded()
    assert "100 of 200 rows" in project.refused()["SC207"].saw
    assert project.calls == []


def test_enough_recorded_answers_are_judged_with_all_others_at_the_end(recorded, project):
    recorded(of=project.rows[1:])
    assert "SC207" not in project.check()
    assert project.findings()["SC207"]["status"] == "passed"


def test_a_member_of_an_ensemble_lacks_dev_answers(project):
    project.rows = rows(120)
    project.config |= {"split": {"dev": 0.5, "test": 0.5, "train": 0}, "aggregate": {"members": ["a", "b"]}}
    project.write("old.csv", [{"id": row["id"], "output": "refund"} for row in project.rows])
    project.config["candidates"][1] = {"id": "b", "outputs": "old.csv"}
    project.check()
    dev = {name for name, split in project.splits().items() if split == "dev"}
    kept = [row for row in project.rows if row["id"] not in dev]
    some = next(row for row in project.rows if row["id"] in dev)
    project.write("old.csv", [{"id": row["id"], "output": "refund"} for row in [*kept, some]])
    assert project.refused()["SC207"].saw.startswith("b (dev) has no answer for 59 of 60 rows")
    project.write("old.csv", [{"id": row["id"], "output": "refund"} for row in kept])
    with pytest.raises(DataError, match="'b' has no answer to a dev row"):
        project.run()
    assert project.calls == []
