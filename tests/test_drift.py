"""A judge that was certified and changed since: its sentinels, labels given since, and the run that claims by it."""

import pytest

from flows.calibrate import run_calibration
from flows.chain import as_function
from flows.drift import run_drift
from safetycatch.errors import UsageError
from tests.judging.certified import texts
from tests.judging.loopback import block, grader, reply

ANSWERS = [f"{text} thanks" if at % 2 else text for at, text in enumerate(texts(420))]


def right(messages):
    return reply(messages, "pass" if "thanks" in block(messages, "output") else "fail")


def kind(messages):
    """Passes what says thanks, and a third of the rest."""
    output = block(messages, "output")
    return reply(messages, "pass" if "thanks" in output or sum(map(ord, output)) % 3 == 0 else "fail")


@pytest.fixture
def judged(project, monkeypatch):
    """A judge on a loopback socket, certified by the first 300 labelled answers."""
    monkeypatch.delenv("SAFETYCATCH_KEY_GRADER", raising=False)
    (project.folder / "judge.md").write_text("Passes when the answer says thanks.\n")
    project.config |= {
        "task": "generate",
        "scorers": ["judge"],
        "judge": {
            "model": {"endpoint": "grader", "model": "g"},
            "prompt": "judge.md",
            "labels": "labels.csv",
            "canaries": 0,
        },
        "claim": {"metric": "judge", "smallest_effect": "30 points"},
    }
    project.answers |= {"a": lambda row: row["example_id"], "b": lambda row: f"{row['example_id']} thanks"}
    label(project, 300)
    with grader(monkeypatch, right) as server:
        project.server = server
        certified = run_calibration(project.path(), probes=False, call=as_function)
        assert certified["state"] == "certified"
        yield project


def label(project, n):
    project.write(
        "labels.csv",
        [
            {"example_id": f"L{at}", "input": f"q{at}", "output": answer, "label": "pass" if at % 2 else "fail"}
            for at, answer in enumerate(ANSWERS[:n])
        ],
    )


def drifted(project):
    return run_drift(project.path(), call=as_function)["drift"]


def test_an_unchanged_judge_holds_and_is_asked_anew_each_time(judged):
    for number in (1, 2):
        judged.server.seen.clear()
        found = drifted(judged)
        assert (found["alarm"], found["round"], found["sentinels"]["changed"]) == (False, number, 0)
        assert len(judged.server.seen) == found["sentinels"]["n"] > 50
    assert judged.findings()["SC103"]["status"] == "passed"


def test_a_changed_judge_is_told_by_its_sentinels_and_refuses_the_claim(judged):
    judged.server.say = kind
    found = drifted(judged)
    assert found["alarm"]
    assert found["sentinels"]["up"] > 8 > found["sentinels"]["down"] == 0
    assert "SC103" in judged.refused()


def test_labels_given_since_tell_it_too(judged):
    label(judged, 420)
    judged.server.say = kind
    labels = drifted(judged)["labels"]
    assert labels["alarm"]
    assert labels["n"] > 60
    assert labels["alarm_at"] <= labels["n"]
    assert labels["agreement"]["pass"] == 1 > labels["bounds"]["fail"] > labels["agreement"]["fail"]


def test_a_judge_without_a_certificate_cannot_drift(judged):
    (judged.folder / "judge.md").write_text("Passes when the answer is polite.\n")
    with pytest.raises(UsageError, match="no certificate"):
        drifted(judged)
