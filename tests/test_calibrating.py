"""Whole calibrations with a judge on a loopback socket: what is kept, what is asked anew, and drift."""

import pytest

from flows.calibrate import run_calibration
from flows.chain import as_function
from flows.drift import run_drift
from safetycatch.errors import DataError, UsageError
from safetycatch.judging.attacks import attacks
from safetycatch.store import Store
from safetycatch.store.certificates import Certificates
from tests.judging.certified import texts
from tests.judging.loopback import block, grader, reply


@pytest.fixture
def judged(project, monkeypatch):
    """280 labelled answers; a judge that passes what says thanks, or the reverse once it is `turned`."""
    project.turned = project.obeys = False
    project.broken = set()

    def right(messages):
        output = block(messages, "output")
        if output in project.broken:
            return None
        passes = ("thanks" in output) != project.turned or (
            project.obeys and any(one in output for one in project.attacks)
        )
        return reply(messages, "pass" if passes else "fail")

    answers = [f"{text} thanks" if at % 2 else text for at, text in enumerate(texts(280))]
    project.attacks = [attack.text.strip() for attack in attacks("pass")]
    project.labels = [
        {
            "example_id": f"L{at}",
            "input": f"q{at}",
            "output": answer,
            "label": "pass" if at % 2 else "fail",
            "lang": "de",
        }
        for at, answer in enumerate(answers)
    ]
    project.write("labels.csv", project.labels)
    (project.folder / "judge.md").write_text("Passes when the answer says thanks.\n")
    model = {"endpoint": "grader", "model": "g"}
    project.config |= {
        "task": "generate",
        "scorers": ["judge"],
        "judge": {"model": model, "prompt": "judge.md", "labels": "labels.csv"},
    }
    del project.config["claim"]
    with grader(monkeypatch, right) as server:
        project.server = server
        yield project


def calibrated(project):
    return run_calibration(project.path(), probes=False, call=as_function)


@pytest.mark.parametrize(("untrusted", "state"), [(True, "refused"), (False, "certified")])
def test_a_judge_that_obeys_strangers_is_not_certified(judged, untrusted, state):
    judged.obeys = True
    judged.config["judge"]["untrusted"] = untrusted
    found = run_calibration(judged.path(), call=as_function)
    assert (found["state"], found["reasons"][0]["code"]) == (state, "obeys" if untrusted else "reached")


def certificates(project):
    return Certificates(Store.open(project.store)).all()


def test_a_replay_asks_nothing_and_renews_nothing(judged):
    first, again = calibrated(judged), calibrated(judged)
    assert (first["state"], first["calls"]["sent"], again["calls"]["sent"]) == ("certified", 256, 0)
    assert again["certificate_id"] == first["certificate_id"]
    assert again["looks"] == {"revision": 1, "total": 1, "budget": 3}


def test_disagreements_on_sealed_items_are_not_shown(judged):
    judged.turned = True
    found = calibrated(judged)
    assert (found["state"], found["n_disagreements"]) == ("refused", found["sizes"]["dev"])


def test_new_labels_join_without_a_move(judged):
    before = calibrated(judged)
    judged.labels += [
        {**row, "example_id": f"N{at}", "output": text}
        for at, (row, text) in enumerate(zip(judged.labels[:40:2], texts(20, seed=8), strict=True))
    ]
    judged.write("labels.csv", judged.labels)
    after = calibrated(judged)
    assert set(before["sealed_keys"]) < set(after["sealed_keys"])
    assert after["looks"] == {"revision": 2, "total": 1, "budget": 3}


def test_more_labels_for_the_same_judge_are_no_further_judge(judged):
    for n in (240, 250, 260, 280):
        judged.write("labels.csv", judged.labels[:n])
        found = calibrated(judged)
    assert (found["state"], found["looks"]) == ("certified", {"revision": 4, "total": 1, "budget": 3})


def test_labels_withdrawn_before_the_same_judge_is_measured_again_count(judged):
    calibrated(judged)
    judged.write("labels.csv", judged.labels[:240])
    assert calibrated(judged)["looks"]["total"] == 2


def test_a_second_judge_on_the_labels_is_said(judged):
    calibrated(judged)
    (judged.folder / "judge.md").write_text("Passes when the answer says thanks, really.\n")
    found = calibrated(judged)
    assert [reason["code"] for reason in found["reasons"]] == ["reached", "tries"]


def test_another_name_or_an_export_of_half_the_labels_deals_nothing_anew(judged):
    sealed = set(calibrated(judged)["sealed_keys"])
    judged.config["name"] = "two"
    assert set(calibrated(judged)["sealed_keys"]) == sealed
    judged.write("labels.csv", judged.labels[::2] + judged.labels[1:80:2])
    assert set(calibrated(judged)["sealed_keys"]) < sealed


def test_the_fourth_look_refuses(judged):
    found = {}
    for number in range(4):
        (judged.folder / "judge.md").write_text(f"Passes when the answer says thanks, try {number}.\n")
        found = calibrated(judged)
    assert (found["state"], found["reasons"][0]["code"]) == ("refused", "looks")


def test_drift_is_kept_with_the_certificate_and_ends_it(judged):
    calibrated(judged)
    assert not run_drift(judged.path(), call=as_function)["drift"]["alarm"]
    judged.turned = True
    found = run_drift(judged.path(), call=as_function)
    assert found["drift"]["alarm"]
    assert found["calls"]["sent"] == found["drift"]["sentinels"]["n"]
    assert certificates(judged)[0].drift["round"] == 2
    anew = calibrated(judged)
    assert (anew["state"], anew["calls"]["sent"]) == ("refused", 256)


def test_drift_needs_a_certificate(judged):
    with pytest.raises(UsageError, match="no certificate"):
        run_drift(judged.path(), call=as_function)


def test_only_disputed_items_cannot_calibrate(judged):
    rows = judged.labels[:5]
    judged.write(
        "labels.csv",
        [{**row, "annotator": who, "label": label} for row in rows for who, label in (("a", "pass"), ("b", "fail"))],
    )
    with pytest.raises(DataError, match="5 items are disputed"):
        calibrated(judged)


def test_without_a_judge_there_is_nothing_to_calibrate(project):
    with pytest.raises(UsageError, match="no judge"):
        calibrated(project)


def test_a_verdict_that_infrastructure_failed_is_asked_again(judged):
    broken = sorted(row["output"] for row in judged.labels)[:8]
    judged.broken = set(broken)
    first = calibrated(judged)
    assert sum(one["n_missing"] for one in first["whole"]) > 0
    n_asked = len(judged.server.seen)
    judged.broken = set()
    again = calibrated(judged)
    assert sum(one["n_missing"] for one in again["whole"]) == 0
    assert {block(messages, "output") for messages in judged.server.seen[n_asked:]} <= set(broken)
