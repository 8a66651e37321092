"""Bootstrapped shots through whole runs: the model is asked about pool rows, and shown what it answers right."""

import json

import pyarrow.parquet as pq
import pytest

from flows.preview import preview
from safetycatch.errors import ExperimentError
from tests.wiring import Project


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two candidates of one model, one bootstrapped; rows split in thirds."""
    made = Project(tmp_path, monkeypatch)
    made.given()
    made.model()
    asked = {"prompt": "short.md", "model": "sandbox/in-context"}
    shots = {"select": "bootstrapped", "k": 4, "sample": 20}
    made.config["candidates"] = [{"id": "a", **asked}, {"id": "b", **asked, "shots": shots}]
    return made


def newest(project, stage):
    files = (project.store / "artifacts" / stage).glob("*.parquet")
    return max(files, key=lambda path: path.stat().st_mtime_ns)


def shots_of(project):
    path = newest(project, "fewshot")
    return pq.read_table(path).to_pylist(), json.loads(path.with_suffix(".json").read_text())


def test_the_model_is_shown_rows_that_it_answers_right(project):
    done = project.run()
    shots, manifest = shots_of(project)
    asked = (project.store / "artifacts" / "evaluate").glob("*.parquet")
    rows = {
        row["example_id"]: row
        for path in asked
        for row in pq.read_table(path).to_pylist()
        if project.splits()[row["example_id"]] == "train"
    }
    label = {row["id"]: row["label"] for row in project.rows}
    right = {name for name, row in rows.items() if row["parsed"] == label[name]}
    assert len(rows) == 20
    facts = {"n_asked": 20, "n_right": len(right), "n_filled": max(0, 4 - len(right)), "right": sorted(right)}
    assert manifest["facts"] == facts
    assert len(right & {shot["shot_id"] for shot in shots}) == min(4, len(right))
    assert any(f"answers {len(right)} of 20 pool rows right" in note for note in done["notes"])
    assert done["calls"]["answered"] == 2 * 33 + 20


def test_a_second_run_pays_nothing(project):
    project.run()
    again = project.run()
    assert again["calls"]["sent"] == 0
    assert again["calls"]["from_journal"] == 2 * 33 + 20


def test_the_plan_counts_the_calls_about_the_pool(project):
    planned = preview(project.path(), to_pay=True).facts["plan"]
    assert planned["n_calls"] == 2 * 33 + 20
    assert planned["to_pay"]["n_calls"] == 2 * 33 + 20
    project.run()
    assert preview(project.path(), to_pay=True).facts["plan"]["to_pay"]["n_calls"] == 0


def test_what_is_missing_is_filled_up_and_said(project):
    project.config["candidates"][1]["shots"] = {"select": "bootstrapped", "k": 16, "sample": 16}
    done = project.run()
    _, manifest = shots_of(project)
    facts = manifest["facts"]
    assert 0 < facts["n_right"] < 16
    assert facts["n_filled"] == 16 - facts["n_right"]
    assert any(f"so {facts['n_filled']} others are shown besides" in note for note in done["notes"])


def test_in_a_race_the_pool_is_asked_once(project):
    project.config["candidates"].append({**project.config["candidates"][1], "id": "c", "prompt": "route.md"})
    project.config["runs"] = {"ladder": [20, "all"]}
    done = project.run()
    assert sum("pool rows right" in note for note in done["notes"]) == 2
    assert project.run()["calls"]["sent"] == 0


def test_without_a_metric_of_right_and_wrong_nothing_is_asked(project, tmp_path):
    (tmp_path / "own.py").write_text("def score(output, target, row):\n    return 0.5\n")
    project.config |= {"task": "answer", "scorers": ["own:score"]}
    project.config["claim"]["metric"] = "own:score"
    for name in ("short.md", "route.md"):
        (tmp_path / name).write_text("Answer.")
    with pytest.raises(ExperimentError, match="whether it is right"):
        project.run()
    assert project.sent() == 0
