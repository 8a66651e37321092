"""Lines of a run that are told as they are: what a judge costs beside the answers, and what a split is balanced by."""

import re

import pytest

from tests.test_judging import whole


def lines(project):
    told = []
    project.say = lambda stage, text: told.append(f"{stage}: {text}")
    project.run()
    return told


@pytest.mark.parametrize(("recorded", "answers"), [(False, 120), (True, 0)])
def test_a_judges_calls_are_told_besides_the_answers(project, recorded, answers):
    whole(project)
    if recorded:
        project.record()
    told = " ".join(lines(project))
    assert f"2 candidates x 60 rows · {answers} calls, and 128 of the judge" in told
    assert re.search(r"judge: \S+ · 128 calls", told)


@pytest.mark.parametrize(
    ("target", "how"),
    [(None, "balanced by label"), ("the same", "balanced in size"), ("answer {}", "balanced in size")],
)
def test_a_split_is_balanced_by_labels_where_there_are_some(project, target, how):
    whole(project)
    project.config["split"] = {"test": 0.5, "dev": 0.5}
    if target:
        project.rows = [{**row, "label": target.format(row["id"])} for row in project.rows]
    assert how in " ".join(lines(project))
