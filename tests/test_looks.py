"""Looks through whole runs: what counts as one, what never does, and what outlives a lost ledger."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from flows.chain import as_function
from safetycatch.cli.main import main
from safetycatch.errors import StoreError
from safetycatch.store import Runs, Store
from safetycatch.store.ledger import LEDGER
from safetycatch.store.looks import distinct, look_of_run, looker, looks_of, record_seen
from tasks.compare import compare
from tests.wiring import rows

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def change(project, version):
    """Make candidate b another one."""
    project.config["candidates"][1]["version"] = str(version)


def looks(project):
    """All looks at the newest run's test set."""
    store = Store.open(project.store)
    with looks_of(store) as ledger:
        return ledger.on(look_of_run(project.stored(), "show", "", NOW))


def counted(project):
    return distinct(looks(project), "e")


def history(project):
    return json.loads(project.findings()["SC205"]["evidence"])["k_history"]


# -- what is one look -------------------------------------------------------------------------------------------------


def test_a_run_and_its_replays_are_one_look_with_who_when_and_why(project, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTOR", "ada")
    first = project.run()["run_id"]
    project.config["budget"]["calls"] = 1999
    project.run()
    (look,) = looks(project)
    assert (look.claim, look.purpose, look.run_id, look.who, look.n_items) == ("e", "claim", first, "ada", 100)
    assert look.terms["metric"] == "accuracy"
    assert look.looked_at.utcoffset().total_seconds() == 0


def test_an_unchanged_night_is_no_look_and_a_changed_candidate_is(project):
    project.config["claim"]["baseline"] = "last"
    for _ in range(3):
        project.run()
    assert counted(project) == 1
    change(project, 2)
    project.run()
    assert counted(project) == 2


def test_dev_is_never_a_look(project):
    del project.config["claim"]
    project.config["split"] = {"train": 0.2, "dev": 0.4, "test": 0.4}
    project.config["catches"] = {"SC504": {"looks": 1}}
    for version in range(2):
        change(project, version)
        found = project.findings()
        assert [found[code]["status"] for code in ("SC504", "SC1001")] == ["not_applicable"] * 2
    assert not (project.store / LEDGER).exists()


def test_a_gate_and_a_claim_of_the_same_content_are_one_look(project):
    project.run(purpose="gate")
    assert "replay" in project.findings()["SC504"]["saw"]
    assert [look.purpose for look in looks(project)] == ["gate", "claim"]
    assert counted(project) == 1


def test_a_set_with_a_few_rows_changed_is_still_the_same_one(project):
    project.config["catches"] = {"SC504": {"looks": 2}}
    for number in range(2):
        project.rows[number]["text"] += " changed"
        assert project.findings()["SC504"]["status"] == "passed"
    project.rows[2]["text"] += " changed"
    assert set(project.refused()) == {"SC504"}
    project.rows = rows(320)[100:]
    assert "look 1 of 2" in project.findings()["SC504"]["saw"]


def test_another_draw_of_the_same_rows_is_the_set_looked_at_before(project):
    project.rows = rows(300)
    for seed, n in ((1, 1), (2, 2)):
        project.config["split"] = {"train": 0.1, "dev": 0.1, "test": 0.8, "seed": seed}
        assert f"look {n} of 3" in project.findings()["SC504"]["saw"]


def test_another_name_has_a_budget_of_its_own_and_all_claims_are_counted(project):
    project.config["catches"] = {"SC504": {"looks": 2, "all_looks": 3}}
    for number, name in enumerate(("e", "e", "f")):
        project.config["name"] = name
        change(project, number)
        assert project.findings()["SC504"]["status"] == "passed"
    change(project, 3)
    found = project.findings()["SC504"]
    assert (found["status"], found["level"]) == ("fired", "warn")
    assert "3 times over all claims" in found["saw"]


def test_more_replicates_are_another_look_and_the_budget_of_calls_is_none(project):
    project.run()
    project.config["runs"] = {"replicates": 2, "concurrency": 3}
    project.run()
    project.config["runs"]["concurrency"] = 4
    project.run()
    assert counted(project) == 2


# -- refused, stopped, killed -----------------------------------------------------------------------------------------


def test_a_refused_look_is_not_recorded_and_an_overridden_one_is(project):
    project.config["catches"] = {"SC504": {"looks": 1}}
    project.run()
    change(project, 2)
    for _ in range(2):
        assert set(project.refused()) == {"SC504"}
    assert "1 of 1 looks" in project.check()["SC504"].saw
    found = project.findings(overrides={"SC504": "the last one was a typo"})["SC504"]
    assert (found["status"], found["reason"]) == ("overridden", "the last one was a typo")
    assert counted(project) == 2
    assert project.findings()["SC504"]["status"] == "passed"


def test_a_run_stopped_before_the_scores_is_no_look_and_resumed_it_is_one(project):
    stop = [True]

    def stopping(task, **parameters):
        if task is compare and stop[0]:
            raise StoreError("planted")
        return as_function(task, **parameters)

    with pytest.raises(StoreError):
        project.run(call=stopping)
    stop[0] = False
    result = project.run()
    (look,) = looks(project)
    assert look.run_id == result["run_id"]


KILLED = """
import os, signal, sys
from pathlib import Path
from types import ModuleType

wired = ModuleType("wired")
wired.a = lambda row: "refund"
wired.b = lambda row: "delivery"
sys.modules["wired"] = wired
from flows.chain import as_function
from flows.evaluate import run_experiment
from tasks.compare import compare

def call(task, **parameters):
    if task is compare:
        os.kill(os.getpid(), signal.SIGKILL)
    return as_function(task, **parameters)

run_experiment(Path(sys.argv[1]), call=call)
"""


def test_a_kill_at_the_moment_of_the_scores_hides_no_look_and_makes_none_more(project):
    done = subprocess.run([sys.executable, "-c", KILLED, str(project.path())], env=os.environ, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert project.stored().status == "running"
    project.answers |= {"a": lambda row: "refund", "b": lambda row: "delivery"}
    project.run()
    (look,) = looks(project)
    assert (look.run_id, look.claim) == (project.stored().run_id, "e")


def test_a_look_that_another_process_took_meanwhile_leaves_none_to_this_one(project):
    """Two were asked while one look was left: the second one ends before its scores, its answers kept."""
    project.config["catches"] = {"SC504": {"looks": 2}}
    project.run()
    (first,) = looks(project)
    change(project, 2)

    def taken(stage, text):
        if stage == "score":
            with looks_of(Store.open(project.store)) as ledger:
                ledger.record(replace(first, content="of another process"))

    project.say = taken
    assert set(project.refused()) == {"SC504"}
    project.say, sent = None, project.sent()
    with looks_of(Store.open(project.store)) as ledger:
        assert [look.content for look in ledger.on(first)] == [first.content, "of another process"]
    assert project.findings(overrides={"SC504": "planted"})["SC504"]["status"] == "overridden"
    assert (project.sent(), sent) == (300, 300)


# -- with a race ------------------------------------------------------------------------------------------------------


@pytest.fixture
def race(project):
    """Four functions over 400 rows: b is better than the baseline a, the others are worse."""
    project.rows = rows(400)
    for name, share in (("a", 60), ("b", 90), ("c", 30), ("d", 20)):
        project.add(name, share)
    project.config |= {
        "split": {"train": 0.1, "dev": 0.4, "test": 0.5},
        "runs": {"ladder": [50, "all"]},
        "candidates": [{"id": name, "call": f"wired:{name}", "max_cost_usd": 0.0001} for name in "abcd"],
    }
    return project


def test_a_race_is_one_look_however_often_it_is_repeated_and_counts_whom_test_saw(race):
    race.run()
    race.run()
    (look,) = looks(race)
    assert len(look.candidates) == 2
    race.config["candidates"][3]["version"] = "2"
    race.run()
    assert counted(race) == 2


# -- terms ------------------------------------------------------------------------------------------------------------


def test_sc1001_overridden_stays_in_sight_and_the_first_terms_go_on(project):
    project.run()
    project.config["claim"]["metric"] = "macro_f1"
    for _ in range(2):
        assert project.findings(overrides={"SC1001": "macro was meant"})["SC1001"]["status"] == "overridden"
    project.config["claim"]["metric"] = "accuracy"
    assert project.findings()["SC1001"]["status"] == "passed"


def test_another_smallest_effect_is_no_replay_and_sc1001_warns_from_then_on(project):
    project.run()
    project.config["claim"] |= {"smallest_effect": 0.3, "correction": "holm", "candidate": "b"}
    assert project.check()["SC1001"].status == "passed"
    project.config["claim"]["smallest_effect"] = "31 points"
    for saw in ("look 2 of 3", "a replay is no look (2 of 3"):
        found = project.findings()
        assert saw in found["SC504"]["saw"]
        assert (found["SC1001"]["status"], found["SC1001"]["level"]) == ("fired", "warn")
        assert "smallest_effect was 0.3, now 0.31" in found["SC1001"]["saw"]
    assert counted(project) == 2
    project.config["claim"]["smallest_effect"] = "30 points"
    found = project.findings()
    assert ("replay" in found["SC504"]["saw"], found["SC1001"]["status"]) == (True, "passed")


def test_the_losers_left_out_after_a_look_are_told_and_counted(project):
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    assert project.findings()["SC1001"]["status"] == "passed"
    del project.config["candidates"][2]
    for _ in range(2):
        found = project.findings()
        assert (found["SC1001"]["level"], found["SC1001"]["status"]) == ("warn", "fired")
        assert "left out: c, whose scores were seen" in found["SC1001"]["saw"]
        assert (found["SC205"]["level"], found["SC205"]["status"]) == ("warn", "fired")
        assert "3 were ever scored" in found["SC205"]["saw"]
        assert "best of 3 equal ones would look" in found["SC205"]["matters"]


def test_edits_more_candidates_nights_and_gates_against_others_leave_sc1001_and_sc205_silent(project):
    for _ in range(2):
        found = project.findings()
        assert (found["SC205"]["status"], found["SC1001"]["status"]) == ("passed", "passed")
    change(project, 2)
    assert project.findings()["SC1001"]["status"] == "passed"
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    assert project.findings()["SC1001"]["status"] == "passed"
    project.config["claim"] |= {"baseline": "b", "candidate": "c"}
    assert project.findings(purpose="gate")["SC1001"]["status"] == "passed"


def test_whoever_lost_on_dev_may_be_left_out(race):
    race.run()
    seen = race.stored().summary["names"]
    race.config["candidates"] = [one for one in race.config["candidates"] if one["id"] in seen]
    race.config["runs"] = {"ladder": ["all"]}
    assert "left out" not in race.check()["SC1001"].saw


def test_looks_that_know_no_effect_are_the_replay_of_whatever_reads_their_scores(project):
    project.run()
    with closing(sqlite3.connect(project.store / LEDGER)) as ledger, ledger:
        content, terms = ledger.execute("SELECT content, terms FROM look").fetchone()
        known = {name: json.loads(terms)[name] for name in ("metric", "correction")}
        ledger.execute("UPDATE look SET content = ?, terms = ?", (content.partition(":")[0], json.dumps(known)))
    found = project.findings()
    assert "a replay is no look (1 of 3" in found["SC504"]["saw"]
    assert found["SC1001"]["status"] == "passed"
    assert (counted(project), len(looks(project))) == (1, 2)
    project.config["claim"]["smallest_effect"] = "31 points"
    found = project.check()
    assert "look 2 of 3" in found["SC504"].saw
    assert "smallest_effect was 0.3, now 0.31" in found["SC1001"].saw


def test_sc1001_fires_when_the_correction_changes(project):
    project.run()
    project.config["claim"]["correction"] = "max_t"
    found = project.check()["SC1001"]
    assert (found.status, "correction was holm, now max_t" in found.saw) == ("fired", True)


def test_sc1001_fires_when_the_rule_or_the_members_of_an_ensemble_change(project):
    project.config["split"] = {"dev": 0.5, "test": 0.5, "train": 0}
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    project.config["aggregate"] = {"members": ["a", "b", "c"]}
    project.run()
    project.config["aggregate"] = {"members": ["c", "b", "a"], "rule": "majority", "tie": "best"}
    assert project.findings()["SC1001"]["status"] == "passed"
    sent = project.sent()
    project.config["aggregate"] = {"members": ["a", "b"], "rule": "weighted"}
    found = project.refused()["SC1001"].saw
    for change in ("rule was majority, now weighted", "members was a, b, c, now a, b", "weights was not set, now dev"):
        assert change in found
    assert project.sent() == sent


# -- history ----------------------------------------------------------------------------------------------------------


def test_luck_counts_the_candidates_of_all_claims_on_the_set_and_no_p_value_does(project):
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    first = project.run()
    assert history(project) == 3
    project.config["name"] = "f"
    project.rows[0]["text"] += " changed"
    change(project, 2)
    second = project.run()
    assert history(project) == 4
    assert [row["p_adjusted"] for row in second["comparisons"] if not row["slice"]] == [
        row["p_adjusted"] for row in first["comparisons"] if not row["slice"]
    ]


def without_looks(project):
    """Make the store one that is older than looks: no ledger, and runs that do not name theirs."""
    for path in project.store.glob(f"{LEDGER}*"):
        path.unlink()


def test_a_ledger_moved_away_is_filled_from_the_stored_runs(project):
    project.config["catches"] = {"SC504": {"looks": 2}}
    for version in range(2):
        change(project, version)
        project.run()
    before = [(look.content, look.run_id, look.sketch, look.terms, set(look.candidates)) for look in looks(project)]
    without_looks(project)
    after = looks(project)
    assert [(look.content, look.run_id, look.sketch, look.terms, set(look.candidates)) for look in after] == before
    assert {look.who for look in after} == {""}
    change(project, 4)
    without_looks(project)
    assert set(project.refused()) == {"SC504"}


def test_runs_older_than_looks_count_and_repeated_they_are_replays(project, monkeypatch):
    result = project.run()
    (look,) = looks(project)
    run = project.stored()
    del run.manifest["summary"]["look"]
    assert look_of_run(run, "claim", look.who, look.looked_at) == look
    assert result["run_id"] == run.run_id


def test_a_damaged_ledger_stops_the_run_before_a_call(project):
    project.run()
    calls = len(project.calls)
    (project.store / LEDGER).write_bytes(b"x" * 9000)
    change(project, 2)
    with pytest.raises(StoreError, match="the ledger is damaged"):
        project.run()
    with pytest.raises(StoreError, match="the ledger is damaged"):
        project.check()
    assert len(project.calls) == calls


# -- shown ------------------------------------------------------------------------------------------------------------


def test_compare_of_a_stored_run_is_recorded_and_never_counted(project):
    project.run()
    store = Store.open(project.store)
    found = record_seen(store, project.stored(), "compare", looker(), NOW)
    assert [look.purpose for look in found] == ["claim", "compare"]
    assert record_seen(store, project.stored(), "compare", "somebody else", NOW) == found
    assert distinct(found) == 1


def test_compare_of_an_exploring_run_is_no_look(project):
    del project.config["claim"]
    project.config["split"] = {"train": 0.2, "dev": 0.4, "test": 0.4}
    project.run()
    store = Store.open(project.store)
    assert record_seen(store, Runs(store).load("last"), "compare", "ada", NOW) == []
    assert not (project.store / LEDGER).exists()


def test_show_and_the_report_tell_the_looks_so_far(project, monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_ACTOR", "<b>ada")
    project.run()
    change(project, 2)
    run = project.run()
    monkeypatch.chdir(project.folder)
    assert main(["show", "last"]) == 0
    assert "looks     2 by e, 2 over all claims" in capsys.readouterr().out
    assert main(["show", "last", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["looks"]
    assert (shown["claim"], shown["all"], [one["run_id"] for one in shown["list"]][-1]) == (2, 2, run["run_id"])
    report = (project.stored().folder / "report.html").read_text()
    assert "2 by e, 2 over all claims" in report
    assert "&lt;b&gt;ada" in report
    assert "<b>ada" not in report
    (project.store / LEDGER).write_bytes(b"x" * 9000)
    assert main(["show", "last"]) == 0
    assert "the ledger is damaged" in capsys.readouterr().out
