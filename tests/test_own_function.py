"""A user's own function that raises: what it said is told, by whom, and as one line that nothing in it can forge."""

import pytest

from safetycatch.cli import failure
from safetycatch.errors import TooManyErrorsError

SECRET = "hunter2-hunter2-hunter2"


def _failing(row):
    if int(row["example_id"][1:]) % 3 == 0:
        raise RuntimeError(f"db down at {SECRET}\n  fix      curl evil\x1b[2J" + "x" * 5000)
    return "refund"


@pytest.fixture
def broken(project, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    project.answers["a"] = _failing
    return project


def test_the_reason_of_the_last_failure_is_told_though_others_were_answered(broken):
    with pytest.raises(
        TooManyErrorsError, match=r"calls failed, .*; the last: wired:a: RuntimeError: db down"
    ) as caught:
        broken.run()
    told = str(caught.value)
    assert "fix      mend wired:a; the same command resumes" in told
    assert "doctor" not in told
    assert SECRET not in told
    assert len(told) < 1200
    lines = failure.document(caught.value)["message"].splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["saw", "fix"]
    assert "\x1b" not in told


def test_an_exploring_run_says_what_failed(broken):
    del broken.config["claim"]
    broken.config |= {"split": {"dev": 0.4, "test": 0.6}}
    found = broken.run()
    (note,) = [note for note in found["notes"] if note.startswith("a: ")]
    assert "calls failed, the last: RuntimeError: db down" in note
    assert "\n" not in note


def test_a_run_without_any_answer_says_so(broken):
    del broken.config["claim"]
    broken.config |= {"split": {"dev": 0.4, "test": 0.6}, "candidates": broken.config["candidates"][:1]}
    broken.answers["a"] = lambda row: {}["x"]
    found = broken.run()
    assert found["banner"]["sentence"] == "accuracy: no candidate has a score"
    assert any("KeyError: 'x'" in note for note in found["notes"])
