"""Judges at work: asked about items, and in whole runs."""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from flows.bench_shots import run_bench
from flows.chain import as_function
from flows.preview import preview
from safetycatch.errors import DataError, ExperimentError
from safetycatch.store import Store, verify
from safetycatch.store.secret import SECRET
from tasks.bench import BenchSettings
from tasks.judge import judging_entry, verdicts_of
from tasks.session import session
from tasks.start import read_inputs
from tests.judging.loopback import block, check, grader, reply
from tests.wiring import Project

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


def whole(project, **judge):
    """Make the project's task to be judged by the sandbox's judge, who reads the rubric's rule."""
    (project.folder / "judge.md").write_text("- agrees with the reference\n")
    project.config |= {
        "task": "generate",
        "claim": {"metric": "judge", "smallest_effect": "20 points"},
        "judge": {"model": "sandbox/judge", "prompt": "judge.md", "reference": True, **judge},
        "catches": {"SC101": "warn", "SC102": "warn", "SC108": "warn"},
    }
    project.rows = project.rows[:60]
    return project


def estimates(result):
    return {row["id"]: round(row["estimate"], 3) for row in result["candidates"]}


def test_a_run_is_judged(project):
    result = whole(project).run()
    right = {
        name: sum(project.answers[name]({"example_id": row["id"]}) == row["label"] for row in project.rows) / 60
        for name in ("a", "b")
    }
    assert estimates(result) == {name: round(share, 3) for name, share in right.items()}
    verdicts = project.stored().table("verdicts")
    assert verdicts.num_rows == 2 * 60 + 8
    assert "verdicts" in result["artifacts"]
    assert verify(Store.open(project.store)) == []


def test_a_run_again_asks_no_judge_again(project):
    first = whole(project).run()
    sent = project.sent()
    again = project.run()
    assert (project.sent(), estimates(again)) == (sent, estimates(first))


def test_generate_is_judged_without_saying_so_and_needs_no_target(project):
    whole(project, reference=False)
    (project.folder / "judge.md").write_text('- mentions "refund"\n')
    del project.config["claim"]
    project.config["split"] = {"dev": 1}
    project.config["data"] |= {"target": None}
    project.rows = [{name: row[name] for name in ("id", "text", "lang")} for row in project.rows]
    del project.config["task"]
    result = project.run()
    assert result["candidates"][0]["n"] == 60
    assert 0 < result["candidates"][0]["estimate"] < 1


def test_criteria_are_metrics_of_their_own(project):
    whole(project, criteria={"right": "agrees with the reference", "short": "at most 20 words"})
    scores = project.run() and project.stored().table("scores").to_pylist()
    of = {name: [row["value"] for row in scores if row["metric"] == name] for name in ("judge.right", "judge.short")}
    assert set(of["judge.short"]) == {1.0}
    assert of["judge.right"] == [row["value"] for row in scores if row["metric"] == "judge"]


def test_pairs_are_won_and_the_baseline_is_one_half(project):
    whole(project, scale="pairwise", both_orders=True)
    project.run()
    scores = [row for row in project.stored().table("scores").to_pylist() if row["metric"] == "judge"]
    assert {row["value"] for row in scores if row["candidate"] == "a"} == {0.5}
    won = {row["example_id"]: row["value"] for row in scores if row["candidate"] == "b"}
    for row in project.rows:
        right = [project.answers[name]({"example_id": row["id"]}) == row["label"] for name in ("a", "b")]
        assert won[row["id"]] == {(True, False): 0.0, (False, True): 1.0}.get(tuple(right), 0.5)


def test_pairs_need_a_baseline_in_the_run(project):
    whole(project, scale="pairwise")
    project.config["claim"]["baseline"] = "last"
    with pytest.raises(ExperimentError, match="stored run"):
        project.run()


def test_grades_are_their_mean(project):
    whole(project, scale=[1, 2, 3])
    result = project.run()
    assert {row["value"] for row in project.stored().table("scores").to_pylist() if row["metric"] == "judge"} == {1, 3}
    assert result["candidates"][0]["estimate"] > 1


def test_grades_that_pass_are_a_rate(project):
    whole(project, scale=[1, 2, 3], passes=2)
    project.run()
    scores = project.stored().table("scores").to_pylist()
    assert {row["value"] for row in scores if row["metric"] == "judge"} == {0.0, 1.0}


def test_a_judge_of_its_own_beside_other_scorers(project):
    whole(project)
    project.config |= {"task": "classify", "scorers": ["accuracy", "judge"]}
    project.config["claim"]["metric"] = "accuracy"
    project.run()
    scores = project.stored().table("scores").to_pylist()
    of = {name: [row["value"] for row in scores if row["metric"] == name] for name in ("accuracy", "judge")}
    assert of["accuracy"] == of["judge"]


def test_an_ensemble_is_judged_too(project):
    whole(project)
    project.add("c", 70)
    project.config["task"] = "answer"
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    project.config["aggregate"] = {"members": ["a", "b", "c"], "tie": "b"}
    result = project.run()
    assert {row["id"] for row in result["candidates"]} == {"a", "b", "c", "ensemble"}
    assert all(row["n"] == 60 for row in result["candidates"])


@pytest.mark.parametrize("rule", ["any", "all"])
def test_a_jury_rules_in_a_run(project, rule):
    whole(project, jury=[{"model": "sandbox/judge", "prompt": "lax.md"}], rule=rule)
    (project.folder / "lax.md").write_text("- at most 20 words\n")
    result = project.run()
    assert project.stored().table("verdicts").num_rows == 2 * (120 + 8)
    assert (estimates(result) == {"a": 1.0, "b": 1.0}) == (rule == "any")


def test_a_judged_metric_does_not_race(project):
    whole(project)
    project.given()
    project.add("c", 70)
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    project.config["runs"] = {"ladder": [10, "all"]}
    told = []
    project.say = lambda stage, text: told.append(text)
    result = project.run()
    assert any("no race" in note and "judged" in note for note in result["notes"])


def test_an_answer_that_did_not_come_is_missing(project):
    whole(project)
    project.config["catches"]["SC207"] = "off"
    project.answers["b"] = project.failing(20)
    result = project.run()
    lost = sum(int(row["id"][1:]) * 37 % 100 >= 80 for row in project.rows)
    assert {row["id"]: row["n_missing"] for row in result["candidates"]} == {"a": 0, "b": lost}


def test_verdicts_that_cannot_be_read_are_missing_and_told(project, monkeypatch):
    whole(project, model={"endpoint": "grader", "model": "g"})

    def garbled(messages):
        found = reply(messages, "pass")
        return f"Sure: {found}" if hash_of(messages) < 6 else found

    with grader(monkeypatch, garbled):
        result = project.run()
    assert sum(row["n_missing"] for row in result["candidates"]) > 10
    assert any("could not be read, e.g. 'Sure:" in note for note in result["notes"])


def hash_of(messages):
    """A number from 0 to 15 that depends on the question."""
    return int(check(messages)[0], 16)


def test_recorded_verdicts_score_a_run_without_a_call(project):
    whole(project)
    project.record()
    verdicts = [
        {"example_id": row["id"], "candidate": name, "verdict": "pass" if name == "b" else "fail"}
        for name in ("a", "b")
        for row in project.rows[5:]
    ]
    project.write("verdicts.csv", verdicts)
    project.config["judge"] = {"verdicts": "verdicts.csv"}
    del project.config["budget"]
    result = project.run()
    assert estimates(result) == {"a": 0.0, "b": 1.0}
    assert [row["n_missing"] for row in result["candidates"]] == [5, 5]
    assert any(
        "10 of 120 verdicts are not recorded: missing, such as a: R000, a: R001" in note for note in result["notes"]
    )
    assert project.sent() == 0


@pytest.mark.parametrize(
    "row", [{"example_id": "R001", "verdict": "good"}, {"example_id": "nobody", "verdict": "pass"}]
)
def test_broken_recorded_verdicts_cost_no_call(project, row):
    whole(project)
    recorded(project, [row])
    with pytest.raises(DataError, match=r"good|none of its 1 ids"):
        project.run()
    assert project.calls == []


def test_a_bench_by_a_judge_is_refused(project):
    whole(project).model()
    project.config["split"] = {"dev": 1}
    with pytest.raises(ExperimentError, match="a bench by a judge"):
        run_bench(project.path(), BenchSettings(), call=as_function)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"example_id": "e1", "verdict": "good"}], "the verdict 'good'"),
        ([{"example_id": "e1", "verdict": "pass"}] * 2, "two verdicts on 'e1'"),
        ([{"number": "e1", "verdict": "pass"}], "no column"),
        ([{"example_id": "e1", "verdict": "pass", "replicate": "x"}], "found 'x'"),
    ],
)
def test_broken_recorded_verdicts_say_what_is_wrong(judged, rows, message):
    recorded(judged, rows)
    with pytest.raises(DataError, match=message):
        asked(judged, ITEMS)


def test_a_recorded_verdict_on_another_output_is_missing(judged):
    recorded(judged, [{"example_id": "e1", "verdict": "pass", "output": "something else"}])
    assert asked(judged, ITEMS[:1])[0]["error_class"] == "other_output"


def test_a_recorded_judge_who_is_silent_is_missing(judged):
    voices = [("e1", "x"), ("e1", "y"), ("e2", "x")]
    recorded(judged, [{"example_id": name, "judge": judge, "verdict": "pass"} for name, judge in voices])
    rows = asked(judged, ITEMS)
    assert [(row["example_id"], row["judge"], row["verdict"]) for row in rows] == [
        ("e1", "x", "pass"),
        ("e1", "y", "pass"),
        ("e2", "x", "pass"),
        ("e2", "y", None),
    ]


def test_the_plan_holds_what_judges_are_asked(project):
    whole(project, model="sandbox/judge-priced", criteria={"right": "agrees with the reference", "short": "ok"})
    plan = preview(project.path()).facts["plan"]
    judge = next(row for row in plan["candidates"] if row["candidate"] == "judge")
    assert judge["n_calls"] == (2 * 60 + 8) * 2
    assert 0 < judge["expected_usd"] < judge["highest_usd"]


def test_the_estimate_counts_what_is_left_to_judge(project):
    whole(project, model="sandbox/judge-priced")
    before = preview(project.path(), to_pay=True).facts["plan"]["to_pay"]
    project.run()
    after = preview(project.path(), to_pay=True).facts["plan"]["to_pay"]
    assert before["n_calls"] == 120 + 128
    assert after["n_calls"] == 0


def test_exploring_takes_as_many_rows_as_the_judge_leaves(project):
    whole(project)
    del project.config["claim"]
    project.config["split"] = {"dev": 1}
    project.config["budget"] = {"calls": 108}
    result = project.run()
    assert result["candidates"][0]["n"] == 25


def test_a_rubric_with_variables_is_refused(project):
    whole(project)
    (project.folder / "judge.md").write_text("Judge {{ output }}.\n")
    with pytest.raises(ExperimentError, match="the variable `output` in a judge's prompt"):
        project.run()


def test_a_judged_metric_needs_a_judge(project):
    del whole(project).config["judge"]
    project.config |= {"task": "answer", "scorers": ["judge"]}
    with pytest.raises(ExperimentError, match="without a judge"):
        project.run()


def test_a_changed_rubric_is_another_claim(project):
    whole(project).run()
    (project.folder / "judge.md").write_text("Be strict.\n- agrees with the reference\n")
    assert "judge was" in project.refused()["SC1001"].saw


def test_canaries_catch_a_judge_that_obeys(project):
    whole(project, model="sandbox/judge-gullible")
    found = {row["code"]: row for row in project.run()["findings"]}
    assert found["SC108"]["status"] == "fired"
    assert "4 of 4 canaries" in found["SC108"]["saw"]


def test_a_sound_judge_obeys_no_canary(project):
    result = whole(project).run()
    assert not any("canaries" in note for note in result["notes"])


def test_without_canaries_nothing_is_asked_of_them(project):
    whole(project, canaries=0).run()
    assert project.stored().table("verdicts").num_rows == 120


KILLED_AT = 23
RUN = """
from pathlib import Path
from flows.chain import as_function
from flows.evaluate import run_experiment
run_experiment(Path("e.yaml"), call=as_function)
"""


def judged_answers(project):
    """Recorded answers, judged over the socket: nothing of it needs this process."""
    whole(project, model={"endpoint": "grader", "model": "g"})
    project.record()
    project.rows = project.rows[:30]
    return project.path()


def told(project):
    """The verdicts without what two runs may differ in."""
    table = project.stored().table("verdicts")
    return table.drop_columns(["cost_usd", "latency_s", "n_tokens_cached"])


def test_killed_while_judging_it_resumes_to_the_same_bytes_and_asks_nothing_twice(
    project, tmp_path_factory, monkeypatch
):
    whole_folder = tmp_path_factory.mktemp("whole")
    other = Project(whole_folder, monkeypatch)
    for one in (project, other):
        judged_answers(one)
    child = []

    def agrees(messages):
        if len(server.seen) >= KILLED_AT:
            child[0].kill()
        return reply(messages, "pass" if block(messages, "output") == block(messages, "reference") else "fail")

    with grader(monkeypatch, agrees) as server:
        child.append(subprocess.Popen([sys.executable, "-c", RUN], cwd=project.folder))
        assert child[0].wait() == -signal.SIGKILL
        n_before = len(server.seen)
        project.run()
        in_flight = project.stored().summary["result"]["calls"]["perhaps_paid"]
        n_seen = len(server.seen)
        assert n_before < n_seen <= 30 * 2 + 8 + in_flight
        other.store.mkdir(exist_ok=True)
        shutil.copy(project.store / SECRET, other.store / SECRET)
        other.run()
    assert told(project).equals(told(other))
