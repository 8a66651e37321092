"""`judge.shots`: the examples that a judge is shown are part of it, and no sealed item may be among them."""

import hashlib

import pytest

from tasks.judge import judging_entry
from tasks.start import read_inputs
from tests.test_judge_catches import before, issue, judged, project, seal

__all__ = ["judged", "project"]


@pytest.fixture
def shown(judged):
    """The judge with one example that is no labelled item, certified, its labels sealed."""
    judged.write("shots.csv", [{"input": "q", "output": "another answer, thanks", "label": "pass"}])
    judged.config["judge"]["shots"] = "shots.csv"
    issue(judged)
    seal(judged)
    return judged


def test_the_file_is_among_the_inputs_with_its_hash(shown):
    content = (shown.folder / "shots.csv").read_bytes()
    assert read_inputs(shown.path()).sha256["shots.csv"] == hashlib.sha256(content).hexdigest()


def test_another_example_is_another_judge(shown):
    key = judging_entry(read_inputs(shown.path()))["key"]
    assert "SC103" not in before(shown)
    shown.write("shots.csv", [{"input": "q", "output": "another answer", "label": "fail"}])
    assert judging_entry(read_inputs(shown.path()))["key"] != key
    assert "SC103" in before(shown)


def test_a_sealed_item_among_the_examples_is_refused(shown):
    row = {name: shown.labels[1][name] for name in ("input", "output", "label")}
    shown.write("shots.csv", [row])
    issue(shown)
    assert before(shown).get("SC105") == "refuse"
