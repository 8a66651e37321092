import json
from datetime import UTC, datetime

import pytest

from safetycatch.errors import DataError, UsageError
from safetycatch.identity import output_hash
from safetycatch.review.taking import from_file, from_run
from safetycatch.store import Runs, Store

UNCALIBRATED = {"SC101": "the labels come from this run", "SC102": "the labels come from this run"}


def write(folder, text, name="data.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_a_plain_file_of_inputs_and_outputs_is_enough(tmp_path):
    taken = from_file(write(tmp_path, "Question,Response,mood\nwhere?,here,x\nwhen?,\n".replace("when?,", "when?,,y")))
    assert [(row["input"], row["output"], row["reference"]) for row in taken.answers] == [
        ("where?", "here", None),
        ("when?", "", None),
    ]
    assert taken.answers[0]["output_hash"] == output_hash("here")
    assert taken.notes == ("columns read as output: Response, input: Question",)
    assert taken.settings.scale == "pass_fail"


def test_outputs_alone_are_enough(tmp_path):
    taken = from_file(write(tmp_path, "output\na\nb\na\n"))
    assert [row["output"] for row in taken.answers] == ["a", "b"]
    assert "1 rows equal another one and are shown once" in taken.notes[1]


def test_ids_candidates_and_references_are_taken(tmp_path):
    rows = [{"id": "7", "model": "m", "input": "q", "output": "o", "target": "t"}]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)), "data.jsonl")
    (row,) = from_file(path).answers
    assert (row["example_id"], row["candidate"], row["reference"]) == ("7", "m", "t")


def test_columns_of_other_names_can_be_named(tmp_path):
    path = write(tmp_path, "ask,said\nq,o\n")
    (row,) = from_file(path, input_column="ask", output_column="said").answers
    assert (row["input"], row["output"]) == ("q", "o")
    with pytest.raises(DataError, match="no column 'output'") as caught:
        from_file(path)
    assert caught.value.fix.startswith("--output said")
    with pytest.raises(DataError, match="no column 'sad'"):
        from_file(path, output_column="sad")


@pytest.mark.parametrize(("text", "name"), [("output\n", "data.csv"), ("", "data.csv"), ("x", "data.txt")])
def test_what_holds_no_answers_is_told(tmp_path, text, name):
    with pytest.raises(DataError):
        from_file(write(tmp_path, text, name))


@pytest.fixture
def finished(project):
    """A finished run of two functions, b better than a, and its store."""
    project.run()
    return Store.open(project.store), project.stored()


def test_a_runs_answers_come_with_inputs_targets_and_slices(finished, project):
    store, run = finished
    taken = from_run(store, run)
    assert len(taken.answers) == 200
    row = next(row for row in taken.answers if row["example_id"] == "R001" and row["candidate"] == "b")
    source = project.rows[1]
    assert (row["input"], row["reference"], row["lang"]) == (source["text"], source["label"], source["lang"])
    assert row["output_hash"] == output_hash(row["output"])
    assert taken.settings.source == {"run": run.run_id, "experiment": "e"}


def test_new_failures_of_a_run_are_interesting(finished, project):
    taken = from_run(*finished)
    right = {
        (row["id"], name): project.answers[name]({"example_id": row["id"]}) == row["label"]
        for row in project.rows
        for name in ("a", "b")
    }
    new = {(name, "b") for name, _ in right if right[name, "a"] and not right[name, "b"]}
    assert set(taken.interest) == new


def test_one_candidate_can_be_asked_for(finished):
    assert {row["candidate"] for row in from_run(*finished, candidate="a").answers} == {"a"}
    with pytest.raises(UsageError, match="no answers of 'zz'"):
        from_run(*finished, candidate="zz")


def test_a_run_that_did_not_end_has_no_answers_yet(tmp_path):
    store = Store.open(tmp_path / "store")
    with (
        Runs(store).begin("e", "1" * 64, config={}, now=datetime(2026, 3, 1, tzinfo=UTC)) as run,
        pytest.raises(UsageError, match="is running: it has no answers yet"),
    ):
        from_run(store, run.stored())


def test_a_judged_run_brings_its_rubric_and_its_doubts_but_no_verdict(project):
    (project.folder / "judge.md").write_text("Pass what agrees with the reference.\n")
    project.config["claim"]["metric"] = "judge"
    project.config["judge"] = {
        "model": "sandbox/judge",
        "prompt": "judge.md",
        "reference": True,
        "canaries": 0,
        "jury": [{"model": "sandbox/judge-lenient"}],
    }
    project.run(overrides=UNCALIBRATED)
    store, run = Store.open(project.store), project.stored()
    taken = from_run(store, run)
    assert taken.settings.rubric == "Pass what agrees with the reference.\n"
    doubted = {key for key, one in taken.interest.items() if one.reason == "judges disagree"}
    assert doubted
    assert not {"verdict", "critique", "judge"} & {name for answer in taken.answers for name in answer}


def test_pairs_are_the_candidates_answer_and_the_baselines(project):
    (project.folder / "judge.md").write_text("Prefer what agrees with the reference.\n")
    project.config["claim"]["metric"] = "judge"
    project.config["judge"] = {
        "model": "sandbox/judge",
        "prompt": "judge.md",
        "scale": "pairwise",
        "reference": True,
        "canaries": 0,
    }
    project.run(overrides=UNCALIBRATED)
    taken = from_run(Store.open(project.store), project.stored())
    assert {answer["candidate"] for answer in taken.answers} == {"b"}
    pair = json.loads(taken.answers[0]["output"])
    row = {"example_id": taken.answers[0]["example_id"]}
    assert (pair["first"], pair["second"]) == (project.answers["b"](row), project.answers["a"](row))
    verdicts = project.stored().table("verdicts").to_pylist()
    hashes = {row["example_id"]: row["output_hash"] for row in verdicts if row["candidate"] == "b"}
    assert {answer["example_id"]: answer["output_hash"] for answer in taken.answers}.items() <= hashes.items()
