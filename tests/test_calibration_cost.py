"""The yes that a calibration waits for: verdicts and probes together, told before the first call."""

import pytest

from flows.calibrate import run_calibration
from flows.chain import as_function
from flows.watching import failed
from safetycatch.errors import ApprovalNeededError
from safetycatch.store.ledger import Consent
from tasks.session import WATCHER, Watcher
from tests.judging.certified import texts
from tests.judging.loopback import block, grader, reply


@pytest.fixture
def judged(project, monkeypatch):
    """120 labelled answers, and a judge with a price that is right."""

    def right(messages):
        return reply(messages, "pass" if "thanks" in block(messages, "output") else "fail")

    project.write(
        "labels.csv",
        [
            {"output": f"{text} thanks" if at % 2 else text, "label": "pass" if at % 2 else "fail"}
            for at, text in enumerate(texts(120))
        ],
    )
    (project.folder / "judge.md").write_text("Passes when the answer says thanks.\n")
    model = {"endpoint": "grader", "model": "g"}
    project.config |= {
        "task": "generate",
        "scorers": ["judge"],
        "prices": {"grader/g": {"input_per_m": 1, "output_per_m": 4}},
        "judge": {"model": model, "prompt": "judge.md", "labels": "labels.csv"},
    }
    del project.config["claim"]
    with grader(monkeypatch, right) as server:
        project.server = server
        yield project


def calibrated(project, *, ask_above=0.0, probes=True):
    """What was asked (None: nothing), and what came of it once somebody said yes."""
    project.config["budget"] = {"usd": 5, "calls": 5000, "ask_above": ask_above}
    asked = []
    token = WATCHER.set(Watcher(ask=lambda text, _stop: asked.append(text) or Consent("Ada")))
    try:
        return asked, run_calibration(project.path(), probes=probes, call=as_function)
    finally:
        WATCHER.reset(token)


def waits(project, **options):
    with pytest.raises(ApprovalNeededError) as caught:
        run_calibration(project.path(), call=as_function, **options)
    return caught.value


def test_what_is_asked_is_the_verdicts_and_the_probes(judged):
    judged.config["budget"] = {"usd": 5, "calls": 5000, "ask_above": 0.0}
    whole, verdicts = (waits(judged, probes=probes).asked["estimate"] for probes in (True, False))
    assert judged.server.seen == []
    assert whole["n_calls"] > 3 * verdicts["n_calls"]
    between = (verdicts["expected_usd"] + whole["expected_usd"]) / 2
    asked, found = calibrated(judged, ask_above=between, probes=False)
    assert asked == []
    assert found["calls"]["sent"] <= verdicts["n_calls"]
    asked, found = calibrated(judged, ask_above=between - found["spent_usd"] / 2)
    assert len(asked) == 1
    assert found["spent_usd"] <= whole["highest_usd"]
    assert found["calls"]["sent"] <= whole["n_calls"]
    assert calibrated(judged)[0] == []


def test_who_waits_is_told_what_to_type(judged):
    judged.config["budget"] = {"usd": 5, "calls": 5000, "ask_above": 0.0}
    error, command = waits(judged, probes=False), "safetycatch calibrate e.yaml --no-probes --yes --as NAME"
    assert command in str(error)
    assert failed(error).message == f"SC302: {command}"
