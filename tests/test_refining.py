"""`calibrate --refine` over a whole project, with the sandbox's judge and refiner on real sockets."""

import re

import pytest

from benchmarks.refinement import write
from flows.calibrate import run_calibration
from flows.chain import as_function
from flows.refine import run_refinement
from safetycatch.errors import UsageError
from tasks.session import WATCHER, Watcher


def refined(path):
    return run_refinement(path, refiner="sandbox/judge-refiner", unattended=False, call=as_function)


@pytest.fixture
def fixable(tmp_path):
    return write(tmp_path, "fixable", 3, 240)


def test_a_missing_criterion_is_found_written_down_and_shown_on_sealed_labels(fixable):
    found = refined(fixable)
    assert found["gain"]
    assert "order number" in (fixable.parent / "judge.v2.md").read_text()
    assert "prompt: judge.v2.md" in found["use"]
    kept = [row for row in found["revisions"] if row["kept"]]
    assert [row["parent"] for row in kept][:2] == [None, "v1"]
    assert found["sealed"]["low"] > 0


def test_refining_again_sends_nothing_and_writes_no_other_file(fixable):
    first = refined(fixable)
    names = sorted(path.name for path in fixable.parent.glob("judge*"))
    again = refined(fixable)
    assert again["revisions"] == first["revisions"]
    assert again["spent_usd"] == first["spent_usd"] == 0
    assert sorted(path.name for path in fixable.parent.glob("judge*")) == names


def test_a_file_that_is_there_is_never_written_over(fixable):
    (fixable.parent / "judge.v2.md").write_text("mine\n")
    found = refined(fixable)
    assert (fixable.parent / "judge.v2.md").read_text() == "mine\n"
    assert "judge.v3.md" in found["use"]


def plan_of(path):
    """The calls at most that refining a project tells before the first one, and its result."""
    lines = []
    token = WATCHER.set(Watcher(say=lambda stage, text: lines.append((stage, text))))
    try:
        found = refined(path)
    finally:
        WATCHER.reset(token)
    (whole,) = (text for stage, text in lines if stage == "plan" and text.startswith("refinement"))
    (most,) = re.findall(r"up to ([\d,]+) call", whole)
    return int(most.replace(",", "")), found


def test_the_plan_is_an_upper_bound_also_of_what_was_calibrated_with_probes(fixable):
    run_calibration(fixable, unattended=False, call=as_function)
    most, found = plan_of(fixable)
    assert 0 < found["calls"]["sent"] <= most


def test_beyond_the_look_budget_the_sealed_labels_stay_shut(fixable):
    given = (fixable.parent / "judge.md").read_text()
    for number in range(3):
        (fixable.parent / "judge.md").write_text(f"{given}\nTry {number}.\n")
        run_calibration(fixable, probes=False, unattended=False, call=as_function)
    found = refined(fixable)
    assert (found["gain"], found["sealed"]) == (False, None)
    assert "judge 4 on these sealed labels, their budget is 3" in found["use"]
    again = run_calibration(fixable, probes=False, unattended=False, call=as_function)
    assert again["looks"]["total"] == 3


def test_where_nothing_is_to_be_gained_the_rubric_stays(tmp_path):
    found = refined(write(tmp_path, "none", 1, 240))
    assert not found["gain"]
    assert found["use"].startswith("keep the rubric")


def test_few_dev_labels_are_too_few(tmp_path):
    with pytest.raises(UsageError, match="dev labels"):
        refined(write(tmp_path, "fixable", 1, 30))
