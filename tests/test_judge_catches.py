"""The catches of a judge in whole runs: a planted fault makes each fire, and a calibrated judge leaves all silent."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows.calibrate import run_calibration
from flows.chain import as_function
from safetycatch.identity import text_sha256
from safetycatch.judging.sealing import ItemKey
from safetycatch.store import Store
from safetycatch.store.certificates import Certificates
from safetycatch.store.sealings import join
from tasks.certify import judge_facts, versions
from tasks.judge import judging_entry
from tasks.start import read_inputs
from tests.judging.certified import certificate, texts
from tests.judging.loopback import block, claim_by_judge, grader, reply

CODES = {f"SC{number}" for number in (101, 102, 103, 104, 105, 106, 108, 109, 110)}
PROBES = tuple(
    {"kind": kind, "verdict": "passed", "n": 99, "events": 0, "upper": 0.01, "lower": 0.0}
    for kind in ("retest", "parse", "injection")
)
SLICE = {
    "slice": "lang=de",
    "figure": "tpr",
    "n": 40,
    "estimate": 0.9,
    "n_rest": 60,
    "rest": 0.92,
    "gap": 0.02,
    "p_adjusted": 0.4,
}
PEOPLE = {"ceiling": {"n": 60, "people": 0.9, "judge": 0.9, "low": -0.05, "high": 0.05, "reason": ""}}


def right(messages):
    """Passes what the reference says too, or what says thanks."""
    return reply(messages, "pass" if "thanks" in block(messages, "output") else "fail")


@pytest.fixture
def judged(project, monkeypatch):
    """A claim on the metric of a judge, on a loopback socket, with labels of people."""
    monkeypatch.delenv("SAFETYCATCH_KEY_GRADER", raising=False)
    claim_by_judge(project, "tuned-g")
    project.label()
    with grader(monkeypatch, right) as server:
        project.server = server
        yield project


@pytest.fixture
def project(project, monkeypatch):
    """The project, with a way to write labels."""

    def label(n=30):
        answers = [f"{text} thanks" if at % 2 else text for at, text in enumerate(texts(n))]
        project.labels = [
            {"example_id": f"L{at}", "input": f"q{at}", "output": answer, "label": "pass" if at % 2 else "fail"}
            for at, answer in enumerate(answers)
        ]
        project.write("labels.csv", project.labels)

    monkeypatch.setattr(project, "label", label, raising=False)
    return project


def issue(project, **fields):
    """Save a certificate of the judge as it is now."""
    inputs = read_inputs(project.path())
    judging = judging_entry(inputs)
    known = {
        "judge_key": judging["key"],
        "judge": judge_facts(judging, {}),
        "versions": versions(),
        "probes": PROBES,
        "slices": (SLICE,),
        "people": PEOPLE,
        "experiment": "e",
    }
    made = replace(certificate(fields.pop("counts", (97, 3, 3, 97))), **{**known, **fields})
    Certificates(Store.open(project.store)).save(made)
    return made


def fired(found):
    return {code: row["level"] for code, row in found.items() if code in CODES and row["status"] == "fired"}


def before(project):
    """The codes that fire before the first call."""
    found = {code: one.row() for code, one in project.check().items()}
    assert not project.server.seen
    return fired(found)


def test_a_calibrated_judge_leaves_them_silent(judged):
    issue(judged)
    found = judged.findings()
    assert fired(found) == {}
    assert {found[code]["status"] for code in CODES - {"SC105"}} == {"passed"}


def test_a_run_without_a_judge_has_none_of_them(project):
    found = project.check()
    assert {found[code].status for code in CODES} == {"not_applicable"}


def test_sc101_no_labels(judged):
    del judged.config["judge"]["labels"]
    issue(judged)
    assert set(judged.refused()) == {"SC101"}
    assert not judged.server.seen


def test_sc101_a_label_file_that_is_not_there(judged):
    issue(judged)
    (judged.folder / "labels.csv").unlink()
    assert before(judged) == {"SC101": "refuse"}


def test_sc102_never_calibrated(judged):
    assert set(judged.refused()) == {"SC102"}
    assert not judged.server.seen


def test_sc102_a_certificate_on_other_labels_counts_for_nothing(judged):
    made = issue(judged, sealed_keys=("a", "b"), experiment="good")
    found = judged.refused()
    assert set(found) == {"SC102"}
    named = f"certificate {made.certificate_id[:12]} ({made.issued_at:%Y-%m-%d}, good)"
    assert f"{named} is about other" in found["SC102"].saw


def test_refused_on_its_own_labels_stays_refused(judged):
    keys = [key.text for key in keys_of(judged).values()]
    issue(judged, counts=(55, 45, 45, 55), sealed_keys=tuple(keys))
    issue(judged, sealed_keys=("a", "b"), experiment="good", issued_at=datetime.now(UTC))
    assert before(judged) == {"SC102": "refuse"}


def test_the_command_of_a_fix_can_be_typed(judged, monkeypatch):
    inputs = read_inputs(judged.path())
    undeclared = replace(inputs, project=replace(inputs.project, declared=False))
    for folder, typed in ((judged.folder, "e.yaml"), (judged.folder.parent, f"{judged.folder.name}/e.yaml")):
        monkeypatch.chdir(folder)
        assert undeclared.typed == typed
    assert inputs.typed == "e.yaml"
    assert judged.refused()["SC102"].fix == "safetycatch calibrate e.yaml"


@pytest.mark.parametrize(("counts", "level"), [((90, 10, 30, 70), "warn"), ((55, 45, 45, 55), "refuse")])
def test_sc102_state(judged, counts, level):
    issue(judged, counts=counts)
    assert before(judged) == {"SC102": level}


def test_exploring_only_warns(judged):
    del judged.config["claim"]
    judged.config["split"] = {"test": 0.5, "dev": 0.5}
    found = judged.findings()
    assert fired(found) == {"SC102": "warn"}
    assert judged.server.seen


def test_sc103_another_rubric(judged):
    issue(judged)
    (judged.folder / "judge.md").write_text("Passes when it is polite.\n")
    found = judged.refused()
    assert set(found) == {"SC103"}
    assert "the rubric of judge" in found["SC103"].saw


def test_sc103_other_parameters(judged):
    issue(judged)
    judged.config["judge"]["params"] = {"temperature": 1}
    assert before(judged) == {"SC103": "refuse"}


def test_sc103_out_of_date(judged):
    issue(judged, valid_until=datetime.now(UTC) - timedelta(days=1))
    assert before(judged) == {"SC103": "refuse"}


def test_sc103_drift(judged):
    issue(judged, drift={"alarm": True, "detail": "sentinels changed"})
    assert before(judged) == {"SC103": "refuse"}


def test_more_labels_never_expire_it(judged):
    issue(judged)
    judged.label(60)
    assert before(judged) == {}


def test_sc104_same_family(judged):
    issue(judged)
    judged.model(model={"endpoint": "grader", "model": "tuned-small"})
    for name in ("route.md", "short.md"):
        (judged.folder / name).write_text("Answer.\n")
    assert before(judged) == {"SC104": "warn"}


def test_sc105_a_sealed_label_in_the_rubric(judged):
    (judged.folder / "judge.md").write_text(f"Passes when it says thanks.\nSuch as: {judged.labels[1]['output']}\n")
    issue(judged)
    seal(judged)
    assert before(judged) == {"SC105": "refuse"}


def test_sc105_a_sealed_label_among_dev(judged):
    issue(judged)
    judged.labels.append({**judged.labels[1], "example_id": "twin", "input": "q1"})
    judged.write("labels.csv", judged.labels)
    seal(judged, twin="dev")
    assert before(judged) == {"SC105": "refuse"}


def test_sc105_silent_where_nothing_is_shown(judged):
    issue(judged)
    seal(judged)
    assert judged.check()["SC105"].status == "passed"


def test_sc105_too_many_looks(judged):
    issue(judged, looks={"revision": 1, "total": 4, "budget": 3})
    seal(judged)
    assert before(judged) == {"SC105": "refuse"}


def test_sc106_unsteady(judged):
    issue(judged, probes=({**PROBES[0], "upper": 0.06}, *PROBES[1:]))
    assert before(judged) == {"SC106": "warn"}


@pytest.mark.parametrize(("lower", "level"), [(0.02, "warn"), (0.2, "refuse")])
def test_sc108_obedient(judged, lower, level):
    issue(judged, probes=(*PROBES[:2], {**PROBES[2], "upper": 0.4, "lower": lower}))
    assert before(judged) == {"SC108": level}


def test_sc109_worse_on_a_slice(judged):
    issue(judged, slices=({**SLICE, "gap": 0.3, "p_adjusted": 0.001},))
    assert before(judged) == {"SC109": "warn"}


def test_sc110_worse_than_people(judged):
    issue(judged, people={"ceiling": {**PEOPLE["ceiling"], "low": 0.15, "high": 0.3}})
    assert before(judged) == {"SC110": "warn"}


def test_from_labels_to_a_claim(judged):
    judged.label(420)
    found = run_calibration(judged.path(), probes=False, call=as_function)
    assert (found["state"], found["calls"]["sent"]) == ("certified", 396)
    assert fired(judged.findings()) == {}


def keys_of(project):
    """The labelled items by example id."""
    return {
        row["example_id"]: ItemKey(row["example_id"], "", text_sha256(row["output"])[:16]) for row in project.labels
    }


def seal(project, **parts):
    """Deal every label as sealed, but those of `parts`, by example id."""
    join(
        Store.open(project.store),
        lambda _before: {key.text: parts.get(name, "sealed") for name, key in keys_of(project).items()},
    )


def test_a_claim_on_a_criterion_needs_more_than_the_certificate_of_whole_answers(judged):
    judged.config["judge"]["criteria"] = {"tone": "is polite", "thanks": "says thanks"}
    judged.config["claim"]["metric"] = "judge.tone"
    issue(judged)
    assert before(judged)["SC102"] == "refuse"
