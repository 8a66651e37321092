"""Judges at work: asked about items, and in whole runs."""

import json

import pytest

from safetycatch.store.secret import SECRET
from tasks.judge import judging_entry, verdicts_of
from tasks.session import session
from tasks.start import read_inputs
from tests.judging.loopback import block, grader, reply

JUDGE = {"model": {"endpoint": "grader", "model": "g"}, "prompt": "judge.md"}


def polite(messages):
    """Passes what says please."""
    return reply(messages, "pass" if "please" in block(messages, "output") else "fail")


@pytest.fixture
def judged(project, monkeypatch):
    """The project with a judge on a loopback socket, which passes what says please."""
    (project.folder / "judge.md").write_text("Passes when it is polite.\n")
    project.config["judge"] = dict(JUDGE)
    with grader(monkeypatch, polite) as server:
        project.server = server
        yield project


def asked(project, items, **options):
    inputs = read_inputs(project.path())
    place = inputs.place("r1")
    with session(place, inputs.experiment, inputs.project):
        return verdicts_of(place, judging_entry(inputs), items, "judge", **options)


def item(number, output, **more):
    return {
        "example_id": f"e{number}",
        "candidate": "a",
        "replicate": 0,
        "input": "q",
        "output": output,
        "reference": None,
        **more,
    }


ITEMS = [item(1, "yes please"), item(2, "no")]


def test_every_item_gets_a_verdict_in_order(judged):
    rows = asked(judged, ITEMS)
    assert [(row["example_id"], row["verdict"], row["critique"]) for row in rows] == [
        ("e1", "pass", "because"),
        ("e2", "fail", "because"),
    ]


def test_nothing_is_asked_twice(judged):
    first = asked(judged, ITEMS)
    assert asked(judged, ITEMS) == first
    assert len(judged.server.seen) == 2


def test_equal_answers_are_one_call(judged):
    rows = asked(judged, [*ITEMS, item(2, "no", candidate="b")])
    assert [row["verdict"] for row in rows] == ["pass", "fail", "fail"]
    assert len(judged.server.seen) == 2


def test_repeats_ask_again(judged):
    rows = asked(judged, ITEMS, replicates=2)
    assert [row["replicate"] for row in rows] == [0, 1, 0, 1]
    assert len(judged.server.seen) == 4


def test_criteria_are_asked_one_at_a_time(judged):
    judged.config["judge"]["criteria"] = {"polite": "says please", "brief": "is short"}
    rows = asked(judged, ITEMS)
    assert [row["criterion"] for row in rows] == ["polite", "brief"] * 2
    assert len(judged.server.seen) == 4


def test_jurors_are_asked_each(judged):
    judged.config["judge"]["jury"] = [{"model": {"endpoint": "grader", "model": "h"}}]
    rows = asked(judged, ITEMS)
    assert [(row["example_id"], row["judge"]) for row in rows] == [
        ("e1", "judge"),
        ("e1", "judge-2"),
        ("e2", "judge"),
        ("e2", "judge-2"),
    ]


def test_what_cannot_be_read_is_missing(judged):
    judged.server.say = lambda messages: "pass"
    rows = asked(judged, ITEMS)
    assert [(row["status"], row["verdict"], row["output"]) for row in rows] == [("unparsed", None, "pass")] * 2


def pairs(n=40):
    return [
        {
            "example_id": f"e{number}",
            "candidate": "a",
            "replicate": 0,
            "input": str(number),
            "first": "please",
            "second": "no",
            "reference": None,
        }
        for number in range(n)
    ]


def shown_first(messages):
    return reply(messages, "first")


def better(messages):
    return reply(messages, "first" if "please" in block(messages, "first") else "second")


def test_a_verdict_on_a_pair_is_about_the_item_in_either_order(judged):
    judged.config["judge"]["scale"] = "pairwise"
    judged.server.say = better
    rows = asked(judged, pairs())
    assert {row["verdict"] for row in rows} == {"first"}
    assert {row["order"] for row in rows} == {"as", "swapped"}


def test_both_orders_show_a_judge_that_takes_the_first(judged):
    judged.config["judge"] |= {"scale": "pairwise", "both_orders": True}
    judged.server.say = shown_first
    rows = asked(judged, pairs(3))
    assert [(row["order"], row["verdict"]) for row in rows] == [("as", "first"), ("swapped", "second")] * 3


def test_the_secret_is_the_owners(judged):
    asked(judged, ITEMS)
    path = judged.store / SECRET
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() not in json.dumps(judged.server.seen)


def recorded(project, rows, name="verdicts.csv", **judge):
    project.config["judge"] = {"verdicts": name, **judge}
    project.write(name, rows)


def test_recorded_verdicts_need_no_call(judged):
    recorded(judged, [{"example_id": "e1", "verdict": "pass", "critique": "nice"}])
    rows = asked(judged, ITEMS)
    assert [(row["verdict"], row["critique"], row["error_class"]) for row in rows] == [
        ("pass", "nice", None),
        (None, None, "not_recorded"),
    ]
    assert judged.server.seen == []
