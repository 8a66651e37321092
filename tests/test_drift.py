"""A judge that was certified and changed since: its sentinels, labels given since, and the run that claims by it."""

import pytest

from flows.calibrate import run_calibration
from flows.chain import as_function
from flows.drift import run_drift
from safetycatch.errors import ApprovalNeededError, RefusedError, UsageError
from tests.judging.certified import texts
from tests.judging.loopback import block, claim_by_judge, grader, reply

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
    claim_by_judge(project, "g")
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


def checked(project):
    return run_drift(project.path(), call=as_function)


def drifted(project):
    return checked(project)["drift"]


def unread(messages):
    return reply(messages, "pass").replace('"check": "', '"check": "0')


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


def test_the_first_verdict_on_a_fresh_label_stays(judged):
    label(judged, 420)
    judged.server.say = kind
    before = drifted(judged)
    judged.server.say, judged.server.seen[:] = right, []
    after = drifted(judged)
    assert len(judged.server.seen) == after["sentinels"]["n"]
    assert after["entered"] == before["entered"]
    assert (after["labels"], after["sentinels"]["changed"]) == (before["labels"], 0)
    assert after["alarm"]


def test_a_judge_whose_replies_hold_no_verdict_drifted(judged):
    judged.server.say = unread
    found = checked(judged)
    assert (found["state"], found["drift"]["sentinels"]["unread"]) == ("drifted", found["drift"]["sentinels"]["n"])
    assert found["next"].startswith("safetycatch calibrate e.yaml ")
    assert "SC103" in judged.refused()


def test_without_answers_nothing_was_checked_and_no_round_is_kept(judged):
    judged.config["catches"] = {"SC207": {"rate": 0.5}}
    failing = {text for at, text in enumerate(ANSWERS) if at % 5 == 0}
    judged.server.say = lambda messages: None if block(messages, "output") in failing else right(messages)
    found = checked(judged)
    assert (found["state"], found["drift"]["alarm"]) == ("not_checked", False)
    assert found["next"].startswith("safetycatch calibrate e.yaml --sentinels")
    judged.server.say, judged.server.seen[:] = right, []
    after = checked(judged)
    assert (after["state"], after["drift"]["round"]) == ("holds", 1)
    assert len(judged.server.seen) == found["drift"]["sentinels"]["n_missing"]


def test_after_another_calibration_its_sentinels_are_asked_anew(judged):
    drifted(judged)
    label(judged, 420)
    run_calibration(judged.path(), probes=False, call=as_function)
    judged.server.seen.clear()
    found = drifted(judged)
    assert (found["round"], len(judged.server.seen)) == (2, found["sentinels"]["n"])


def test_more_than_ask_above_waits_for_a_yes(judged):
    judged.config |= {
        "prices": {"grader/g": {"input_per_m": 1, "output_per_m": 4}},
        "budget": {"usd": 1, "calls": 2000, "ask_above": 0.0},
    }
    judged.server.seen.clear()
    with pytest.raises(ApprovalNeededError, match=r"calibrate e\.yaml --sentinels --yes --as NAME"):
        checked(judged)
    assert judged.server.seen == []


def test_a_price_that_nobody_knows_is_refused(judged):
    judged.config["budget"] = {"usd": 1}
    with pytest.raises(RefusedError, match="SC307"):
        checked(judged)


def test_a_judge_without_a_certificate_cannot_drift(judged):
    (judged.folder / "judge.md").write_text("Passes when the answer is polite.\n")
    with pytest.raises(UsageError, match="no certificate"):
        drifted(judged)
