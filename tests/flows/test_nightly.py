"""The nightly flow: only a worse verdict is a failure."""

import pytest

pytestmark = pytest.mark.flow

NIGHTLY = """\
candidates:
  - {id: live, shots: {select: zero}}
claim: {metric: accuracy, smallest_effect: 3 points, baseline: last}
budget: {usd: 1, calls: 2000}
"""
GOOD = "def answer(row):\n    return row['known']\n"


def test_nights_complete_until_one_is_worse_and_changed_data_is_refused(project, api, tickets):
    from flows.nightly import nightly

    rows = tickets(200)
    project.write_rows(rows)
    knn = NIGHTLY.replace("{select: zero}", "{select: knn, k: 8}")
    path = project.write(knn, "night.yaml")
    first = project.run(path, nightly)
    assert first.is_completed()
    assert api.flow_run(first.state_details.flow_run_id)["name"] == "nightly night"
    same = project.run(path, nightly)
    assert same.is_completed()
    assert not same.message.startswith("WORSE")

    (project.folder / "route.md").write_text("Say hello.\n")
    project.write(NIGHTLY, "night.yaml")
    worse = project.run(path, nightly)
    assert worse.is_failed()
    assert worse.name == "Failed"
    assert worse.message.startswith("WORSE · ")

    rows[150]["text"] += " Please."
    rows[151]["text"] += " Please."
    project.write_rows([*rows[:199]])
    changed = project.run(path, nightly)
    assert (changed.name, changed.message) == ("Refused", "SC204")
