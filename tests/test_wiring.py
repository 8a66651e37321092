"""Every catch is wired: a small fault in a real experiment makes it fire, and a clean one leaves all of them silent."""

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.chain import as_function
from flows.preview import preview
from safetycatch.catches import Policy
from safetycatch.catches.catalogue import CATCHES
from safetycatch.cli.main import main
from safetycatch.errors import (
    ApprovalNeededError,
    BudgetReachedError,
    DataError,
    ProviderUnusableError,
    RefusedError,
    TooManyErrorsError,
    UsageError,
)
from safetycatch.fewshot.selection import select
from safetycatch.store import manifest
from safetycatch.store.records import RunConflict, RunConflictError
from tasks.report import report
from tests.wiring import BOX, rows

# Of a judge, in whole runs: tests/test_judge_catches.py, SC107 in tests/test_corrected.py
JUDGES = {f"SC{number}" for number in range(101, 111)}
BUILT = {
    *JUDGES,
    *(
        "SC201",
        "SC202",
        "SC203",
        "SC204",
        "SC205",
        "SC206",
        "SC207",
        "SC208",
        "SC301",
        "SC303",
        "SC304",
        "SC307",
        "SC501",
    ),
    "SC502",
    *("SC505", "SC506", "SC509", "SC510", "SC511", "SC512", "SC701", "SC702", "SC703", "SC704", "SC901", "SC1201"),
    *("SC902", "SC903"),
    *("SC302", "SC306", "SC504", "SC801", "SC802", "SC1001", "SC1202"),
    *("SC1002", "SC1003", "SC1004"),
    *("SC1101", "SC1102"),  # of a promotion: tests/test_promotion.py
}
# -- the clean experiment ---------------------------------------------------------------------------------------------


def test_a_clean_claim_fires_nothing_and_looks_at_every_catch(project):
    found = project.findings()
    assert {code: row["saw"] for code, row in found.items() if row["status"] == "fired"} == {}
    assert set(found) == BUILT - {"SC204", "SC902", "SC903", "SC1101", "SC1102", "SC1202"}
    assert len(project.calls) == project.sent() == 200


def test_a_clean_given_split_with_groups_and_time_fires_nothing(project):
    project.given()
    order = {"train": 0, "dev": 1, "test": 2}
    for number, row in enumerate(project.rows):
        row |= {"customer": f"C{number}", "day": f"2024-0{1 + order[row['split']]}-01"}
    project.rows = [row for row in project.rows if row["split"] != "dev"]
    project.config["data"] |= {"group": "customer", "time": "day"}
    project.config["claim"]["smallest_effect"] = "50 points"
    found = project.check()
    assert {code: one.saw for code, one in found.items() if one.status == "fired"} == {}


def test_the_table_names_what_is_built():
    assert set(CATCHES) == BUILT
    assert {case.values[0] for case in [*BEFORE, *AFTER]} | ALONE == BUILT


# -- seen before the first call ---------------------------------------------------------------------------------------


def _no_effect(p):
    del p.config["claim"]["smallest_effect"]


def _small_effect(p):
    p.config["claim"]["smallest_effect"] = "3 points"


def _groups(p):
    p.rows = [{**row, "customer": f"C{number // 2}"} for number, row in enumerate(p.rows)]
    p.config["data"]["group"] = "customer"


def _all_at_once(p):
    p.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    p.config["catches"] = {"SC304": {"level": "warn", "calls": 299}}


def _few(p):
    p.rows = p.rows[:20]


def _warm(p):
    p.model(params={"temperature": 0.7})


def _no_budget(p):
    del p.config["budget"]


def _no_budget_unattended(p):
    del p.config["budget"], p.config["claim"]
    p.config["split"] = {"test": 0.5, "dev": 0.5}


def _asks(p):
    p.config["budget"]["ask_above"] = 0.19


def _unstated_cost(p):
    del p.config["candidates"][1]["max_cost_usd"]
    p.config["budget"] = "$1"


def _unknown_model(p):
    p.patch.setenv("SAFETYCATCH_ENDPOINT_BOX", "http://127.0.0.1:9/v1")
    p.model(model=BOX)
    p.config["budget"] = "$1"


def _leak(p):
    p.given()
    p.rows[2]["text"] = p.rows[0]["text"] + "!"


def _near_leak(p):
    p.given()
    p.rows[2]["text"] = p.rows[0]["text"] + " s"


def _prompt_leak(p):
    p.model()
    text = (p.folder / "route.md").read_text()
    (p.folder / "route.md").write_text(f"{text}\nFor example: {p.rows[4]['text']}\n")


def _group_leak(p):
    p.given()
    p.rows = [{**row, "customer": f"C{number // 3}"} for number, row in enumerate(p.rows)]
    p.config["data"]["group"] = "customer"


def _future(p):
    p.given()
    p.rows = [{**row, "day": f"2024-01-{1 + number % 28:02d}"} for number, row in enumerate(p.rows)]
    p.config["data"]["time"] = "day"


def _broken_selector(p):
    p.given()
    p.rows[2]["text"] = p.rows[0]["text"]
    p.model(shots={"select": "knn", "k": 1})
    p.config["catches"] = {"SC501": "off"}

    def broken(pool, queries, settings, *, clusters):
        chosen = select(pool, queries, settings, clusters=clusters)
        shown = [{**row, "shot_id": "R000"} if row["example_id"] == "R002" else row for row in chosen.to_pylist()]
        return pa.Table.from_pylist(shown, schema=chosen.schema)

    p.patch.setattr("tasks.fewshot.select", broken)


def _no_slices(p):
    p.config["data"]["slices"] = []


def _token(p):
    p.rows = rows(450)
    for row in p.rows[::2]:
        row["text"] = f"zax{row['text'][3:]}"


def _field(p):
    p.rows = [{**row, "queue": row["label"][:3]} for row in rows(300)]
    p.config["data"]["slices"] = ["queue"]


def _dirty(p):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *words], cwd=p.folder, check=True)

    p.patch.delenv("GIT_CEILING_DIRECTORIES")
    p.path()
    git("init", "-q")
    git("add", "safetycatch.yaml", "e.yaml")
    git("commit", "-q", "-m", "x")
    (p.folder / "safetycatch.yaml").write_text("prices: {}\n")


def _floating(p):
    p.model(model="openai/gpt-4o-mini")


def _pool(p):
    p.write("pool.csv", p.rows[:3])
    p.config["data"]["pool"] = "pool.csv"


def _no_tie(p):
    p.config["aggregate"] = {"members": ["a", "b"]}


def _best_of_nothing(p):
    p.config["aggregate"] = {"members": ["a", "b"], "tie": "best"}


def _votes_for_little(p):
    p.config["aggregate"] = {"members": ["a", "b"], "tie": "b"}


def _stamp_first(p):
    p.model(model="sandbox/in-context-priced")
    rules = "\n".join(f"Rule {number}: what is about {number} goes to team {number}." for number in range(120))
    template = f"Asked at {{{{ asked }}}}.\n{rules}\n{{{{ labels | join(', ') }}}}\n{{{{ text }}}}\n"
    for name in ("short.md", "route.md"):
        (p.folder / name).write_text(template)
    for number, row in enumerate(p.rows):
        row["asked"] = f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}"
    p.config["data"]["input"] = ["asked", "text"]


def _dropped(p):
    p.model(model="anthropic/claude-sonnet-4-5", params={"response_format": {"type": "json_object"}})


def _ending(p):
    p.model(model="anthropic/claude-sonnet-4-5")


def case(code, level, plant):
    return pytest.param(code, level, plant, id=f"{code}-{plant.__name__.strip('_')}")


BEFORE = [
    case("SC201", "refuse", _no_effect),
    case("SC202", "warn", _small_effect),
    case("SC203", "warn", _groups),
    case("SC206", "warn", _warm),
    case("SC208", "warn", _few),
    case("SC301", "refuse", _no_budget),
    case("SC304", "warn", _all_at_once),
    case("SC302", "pause", _asks),
    case("SC306", "warn", _stamp_first),
    case("SC307", "refuse", _unstated_cost),
    case("SC307", "refuse", _unknown_model),
    case("SC501", "refuse", _leak),
    case("SC501", "refuse", _near_leak),
    case("SC501", "refuse", _prompt_leak),
    case("SC502", "refuse", _group_leak),
    case("SC502", "refuse", _future),
    case("SC509", "refuse", _broken_selector),
    case("SC510", "warn", _no_slices),
    case("SC511", "warn", _token),
    case("SC511", "refuse", _field),
    case("SC701", "warn", _dirty),
    case("SC704", "warn", _floating),
    case("SC801", "refuse", _dropped),
    case("SC802", "warn", _ending),
    case("SC901", "refuse", _pool),
    case("SC1002", "refuse", _no_tie),
    case("SC1002", "refuse", _best_of_nothing),
]


@pytest.mark.parametrize(("code", "level", "plant"), BEFORE)
def test_a_planted_fault_is_found_before_any_call(project, code, level, plant):
    plant(project)
    found = project.check()[code]
    assert (found.status, found.level) == ("fired", level), found.saw
    if level == "refuse":
        assert code in project.refused()
        assert project.stored().status == "refused"
    if level == "pause":
        with pytest.raises(ApprovalNeededError, match=code):
            project.run()
        assert project.stored().status == "waits"
    assert project.calls == []
    assert project.sent() == 0


def test_sc301_refuses_an_unattended_exploring_run(project):
    _no_budget_unattended(project)
    assert set(project.refused()) == {"SC301"}
    assert project.calls == []


# -- seen in the answers ----------------------------------------------------------------------------------------------


def _three(p):
    p.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0})


def _missing_few(p):
    """Too few calls to stop at; the verdict refuses."""
    p.rows = p.rows[:40]
    p.answers["b"] = p.failing(25)


def _missing_recorded(p):
    p.record(lost=10)


def _unequal(p):
    """Within its limit, and clearly more than the other's."""
    p.rows = rows(500)
    p.record(lost=15)
    p.config["catches"] = {"SC207": {"rate": 0.05}}


def _perfect(p):
    p.answers["b"] = p.right(100)


def _saturated(p):
    p.answers["a"] = p.answers["b"]


def _majority(p):
    p.rows = [{**row, "label": "delivery" if number >= 12 else "refund"} for number, row in enumerate(p.rows)]
    p.answers["a"] = p.answers["b"] = lambda row: "delivery"


def _edits_data(p):
    def answer(row):
        with (p.folder / "rows.csv").open("a") as file:
            file.write("R999,more,refund,de\n")
        return p.right(80)(row)

    p.answers["b"] = answer


AFTER = [
    case("SC205", "warn", _three),
    case("SC207", "refuse", _missing_few),
    case("SC207", "refuse", _missing_recorded),
    case("SC207", "refuse", _unequal),
    case("SC505", "warn", _perfect),
    case("SC506", "warn", _saturated),
    case("SC512", "warn", _majority),
    case("SC703", "warn", _edits_data),
    case("SC1003", "warn", _votes_for_little),
]
ALONE = {
    *JUDGES,
    *("SC204", "SC303", "SC504", "SC902", "SC903", "SC1001", "SC1004", "SC702", "SC1101", "SC1102", "SC1201", "SC1202"),
}


@pytest.mark.parametrize(("code", "level", "plant"), AFTER)
def test_a_planted_fault_is_found_in_the_answers(project, code, level, plant):
    plant(project)
    if level == "refuse":
        found = project.refused()[code].row()
        assert code in {row["code"] for row in project.stored().summary["findings"]}
    else:
        found = project.findings()[code]
    assert (found["status"], found["level"]) == ("fired", level), found["saw"]


def test_sc204_other_items_than_the_stored_baseline_are_refused(project):
    project.config["claim"]["baseline"] = "last"
    first = project.findings()
    assert "SC204" not in first
    assert project.findings()["SC204"]["status"] == "passed"
    calls = len(project.calls)
    project.rows[3]["text"] += " changed"
    assert set(project.refused()) == {"SC204"}
    assert len(project.calls) == calls


def test_sc207_stops_a_run_that_fails_too_often(project):
    project.answers["a"] = project.failing(10)
    with pytest.raises(TooManyErrorsError) as caught:
        project.run()
    assert caught.value.exit_code == 50
    (row,) = project.stored().summary["findings"]
    assert (project.stored().status, row["code"], row["level"]) == ("provider", "SC207", "refuse")
    assert "b" not in project.calls


def test_sc303_stops_at_the_ceiling_and_a_larger_one_resumes(project):
    project.config["budget"] = {"usd": 1, "calls": 50}
    with pytest.raises(BudgetReachedError) as caught:
        project.run()
    assert caught.value.exit_code == 40
    (row,) = project.stored().summary["findings"]
    assert (row["code"], row["level"], row["status"]) == ("SC303", "stop", "fired")
    assert len(project.calls) == 50
    project.config["budget"]["calls"] = 200
    assert project.findings()["SC303"]["status"] == "passed"
    assert len(project.calls) == 200


def test_sc504_refuses_the_fourth_look_before_any_call_and_a_replay_never(project):
    shares = (80, 82, 84, 86)
    for number, share in enumerate(shares):
        project.add("b", share)
        project.config["candidates"][1]["version"] = str(number)
        if number < 3:
            assert project.findings()["SC504"]["status"] == "passed"
            assert project.findings()["SC504"]["status"] == "passed"
    calls = len(project.calls)
    found = project.refused()
    assert set(found) == {"SC504"}
    assert found["SC504"].saw.count(" UTC by ") == 3
    assert len(project.calls) == calls
    project.config["candidates"][1]["version"] = "0"
    assert "replay" in project.findings()["SC504"]["saw"]


def test_sc504_lets_a_gate_go_on_and_says_so(project):
    project.config["catches"] = {"SC504": {"looks": 1}}
    assert project.findings(purpose="gate")["SC504"]["status"] == "passed"
    project.config["candidates"][1]["version"] = "2"
    found = project.findings(purpose="gate")["SC504"]
    assert (found["status"], found["level"]) == ("fired", "warn")


def test_sc1001_refuses_another_metric_once_results_exist(project):
    project.run()
    calls = len(project.calls)
    project.config["claim"]["metric"] = "balanced_accuracy"
    found = project.refused()
    assert set(found) == {"SC1001"}
    assert "metric was accuracy, now balanced_accuracy" in found["SC1001"].saw
    assert len(project.calls) == calls
    project.config["name"] = "e-2"
    assert project.findings()["SC1001"]["status"] == "passed"


def test_an_ensemble_whose_ties_and_weights_come_from_dev_fires_nothing(project):
    project.config["split"] = {"dev": 0.5, "test": 0.5, "train": 0}
    for number, name in enumerate("abc"):
        project.answers[name] = lambda row, own=number: wrong_at(row, own)
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    project.config["aggregate"] = {"members": ["a", "b", "c"], "rule": "weighted"}
    project.config["claim"] |= {"smallest_effect": "10 points", "candidate": "ensemble"}
    found = project.findings()
    assert {code: found[code]["status"] for code in ("SC1002", "SC1003", "SC1004")} == dict.fromkeys(
        ("SC1002", "SC1003", "SC1004"), "passed"
    )


def wrong_at(row, remainder):
    """Wrong at a third of the rows, another third for another remainder."""
    number = int(row["example_id"][1:])
    return "refund" if bool(number % 2) == (number // 2 % 3 != remainder) else "delivery"


def test_sc1004_refuses_weights_of_a_run_that_holds_the_scored_rows(project):
    project.config["split"] = {"dev": 0.5, "test": 0.5, "train": 0}
    claim = project.config.pop("claim")
    explored = project.run()["run_id"]
    project.config |= {"name": "first", "claim": claim}
    looked = project.run()["run_id"]
    calls = len(project.calls)
    project.config |= {
        "name": "second",
        "aggregate": {"members": ["a", "b"], "rule": "weighted", "tie": "a", "weights": looked},
    }
    found = project.refused()
    assert set(found) == {"SC1004"}
    assert looked in found["SC1004"].saw
    assert len(project.calls) == calls
    project.config["aggregate"]["weights"] = explored
    assert project.check()["SC1004"].status == "passed"


def test_sc702_refuses_when_the_runs_id_holds_another_run(project):
    def swapped(stage, text):
        if stage == "run":
            path = project.store / "runs" / text / "manifest.json"
            path.write_bytes(manifest.render({**manifest.parse(path.read_bytes()), "identity": "f" * 40}))

    project.say = swapped
    assert set(project.refused()) == {"SC702"}
    assert project.calls == []
    assert project.stored().identity == "f" * 40


def test_sc702_is_what_a_run_conflict_ends_with(project):
    def conflicting(task, **parameters):
        if task is report:
            raise RunConflictError("other content", RunConflict("x", "x", "a", "b"))
        return as_function(task, **parameters)

    assert set(project.refused(call=conflicting)) == {"SC702"}
    (row,) = project.stored().summary["findings"]
    assert (row["code"], row["status"], row["level"]) == ("SC702", "fired", "refuse")


@pytest.mark.parametrize("look", ["check", "run"])
def test_sc1201_refuses_a_store_that_others_may_write(project, look):
    project.store.mkdir()
    project.store.chmod(0o777)
    with pytest.raises(RefusedError) as caught:
        getattr(project, look)()
    (found,) = caught.value.findings
    assert (found.code, found.status, found.level) == ("SC1201", "fired", "refuse")
    assert "others may write" in found.saw
    assert project.calls == []


def test_sc1202_is_what_verify_says_of_a_damaged_table(project, monkeypatch, capsys):
    run_id = project.run()["run_id"]
    monkeypatch.chdir(project.folder)
    assert main(["verify", "--json"]) == 0
    table = project.store / "runs" / run_id / "rows.parquet"
    table.write_bytes(table.read_bytes()[:-9])
    capsys.readouterr()
    assert main(["verify", "--json"]) == 10
    (row,) = json.loads(capsys.readouterr().out)["findings"]
    assert (row["code"], row["status"], row["level"]) == ("SC1202", "fired", "refuse")


# -- what went wrong once ---------------------------------------------------------------------------------------------


def test_sc501_sees_train_texts_that_became_copies_after_our_own_split(project):
    project.config["split"] = {}
    assert project.check()["SC501"].status == "passed"
    of = project.splits()
    text = {row["id"]: row["text"] for row in project.rows}
    tests = [text[row["id"]] for row in project.rows if of[row["id"]] == "test"]
    trains = [row for row in project.rows if of[row["id"]] == "train"]
    for row, copied in zip(trains[:5], tests, strict=False):
        row["text"] = copied + " s"
    found = project.check()["SC501"]
    assert (found.status, found.level) == ("fired", "refuse")
    assert found.evidence["rows"]["near"] == 5
    assert project.splits() == of


def test_groups_named_after_a_first_check_do_not_cross_and_are_counted(project):
    project.config["split"] = {}
    project.rows = [{**row, "customer": f"C{number // 10}"} for number, row in enumerate(project.rows)]
    assert project.check()["SC203"].status == "passed"
    project.config["data"]["group"] = "customer"
    found = project.check()
    assert found["SC502"].status == "passed"
    of = project.splits()
    sides = {(row["customer"], of[row["id"]]) for row in project.rows}
    assert len(sides) == 10
    tested = {customer for customer, split in sides if split == "test"}
    assert found["SC203"].evidence["n_clusters"] == found["SC208"].evidence["n_clusters"] == len(tested)
    assert (found["SC203"].status, found["SC208"].status) == ("fired", "fired")


@pytest.mark.parametrize("stated", [0.001, None])
def test_a_function_that_costs_more_than_it_said_is_called_once(project, stated):
    project.config["candidates"] = [{"id": key, "call": f"wired:{key}", "max_cost_usd": stated} for key in "ab"]
    project.answers["a"] = lambda row: {"output": "refund", "cost_usd": 0.5}
    with pytest.raises(UsageError, match=r"cost \$0\.5"):
        project.run()
    assert project.calls == ["a"]


def test_prices_of_the_project_cure_sc307(project, box):
    box()
    project.rows = project.rows[:12]
    project.model(model=BOX)
    project.config["budget"] = "$1"
    assert set(project.refused()) == {"SC307"}
    (project.folder / "safetycatch.yaml").write_text(
        "prices: {box/in-context: {input_per_m: 0.1, output_per_m: 0.4}}\n"
    )
    assert project.check()["SC307"].status == "passed"
    assert 0 < project.run()["spent_usd"] < 1


def test_rows_that_another_model_answered_stop_the_run_and_are_asked_again(project, box):
    served = box("wrong_model:0.2:attempts=1")
    project.model(model=BOX)
    project.config["budget"] = {"calls": 2000}
    project.config["runs"] = {"concurrency": 4}
    with pytest.raises(TooManyErrorsError) as caught:
        project.run()
    assert caught.value.exit_code == 50
    wrong = served.stats()["faults"]["wrong_model"]
    assert served.stats()["billed"] < 100
    # Each rerun meets first attempts that are still wrong, until all rows were asked.
    for _ in range(20):
        try:
            result = project.run()
            break
        except TooManyErrorsError:
            continue
    else:
        pytest.fail("never went on")
    assert wrong >= 2
    assert served.stats()["distinct"] == 200
    assert served.stats()["billed"] == 200 + served.stats()["faults"]["wrong_model"]
    assert [row["n_missing"] for row in result["candidates"]] == [0, 0]


def test_a_model_that_never_answers_stops_the_run_after_a_few_timeouts(project, box):
    served = box("hang")
    project.model(model=BOX)
    project.config["budget"] = {"calls": 2000}
    project.config["runs"] = {"timeout_s": 1}
    told = "never an answer; the last: hung: no whole reply after 1 s"
    with pytest.raises(ProviderUnusableError, match=told) as caught:
        project.run()
    assert caught.value.exit_code == 50
    assert served.stats()["received"] <= 16 + 4


def test_sc704_counts_the_rows_of_another_model(project, box):
    box("wrong_model:nth=7")
    project.model(model=BOX)
    project.config["budget"] = {"calls": 2000}
    found = project.findings()["SC704"]
    assert (found["status"], found["level"]) == ("fired", "warn")
    assert found["saw"].startswith("1 rows asked of box/in-context")


def test_recorded_outputs_that_change_during_the_run_are_refused(project):
    project.record()
    project.config["candidates"].insert(0, {"id": "c", "call": "wired:c", "max_cost_usd": 0})

    def answer(row):
        (project.folder / "old.csv").write_text("example_id,candidate,output\nR000,a,refund\n")
        return "refund"

    project.answers["c"] = answer
    with pytest.raises(DataError, match="changed while the run was starting"):
        project.run()


@pytest.mark.parametrize("own", ["off", {"level": "refuse", "rate": 0.2}, {"level": "warn"}])
def test_sc207_set_otherwise_lets_a_run_with_failed_rows_finish(project, own):
    project.answers["a"] = project.answers["b"] = project.failing(10)
    project.config["catches"] = {"SC207": own}
    result = project.run()
    assert [row["n_missing"] for row in result["candidates"]] == [10, 10]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        *(("cost_usd", "cheap"), ("cost_usd", "nan"), ("cost_usd", "-1"), ("cost_usd", "inf")),
        *(("replicate", "zz"), ("replicate", "nan"), ("replicate", "-1"), ("replicate", "0.5"), ("latency_s", "-1")),
    ],
)
def test_hostile_recorded_numbers_are_named_with_row_and_column(project, column, cell):
    project.record(**{column: cell})
    with pytest.raises(DataError, match=rf"old\.csv, row 1, column {column}: found '{cell}'"):
        project.run()


def test_every_threshold_is_read_by_a_run(project, monkeypatch):
    read, threshold = set(), Policy.threshold

    def reading(self, code, name):
        read.add((code, name))
        return threshold(self, code, name)

    monkeypatch.setattr(Policy, "threshold", reading)
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    project.run()
    elsewhere = {("SC902", "sds"), ("SC1102", "failures")}  # tests/test_bench.py, tests/test_promotion.py
    here = {(code, name) for code, catch in CATCHES.items() if code not in JUDGES for name in catch.thresholds}
    assert read == here - elsewhere


@pytest.mark.parametrize(("own", "bigger"), [({"power": 0.9}, True), ({"discordance": 0.1}, False)])
def test_the_thresholds_of_sc202_change_the_detectable_effect(project, own, bigger):
    before = preview(project.path()).facts["plan"]["detectable"]
    project.config["catches"] = {"SC202": own}
    after = preview(project.path()).facts["plan"]["detectable"]
    assert (after > before) is bigger


def test_sc205_counts_an_edited_prompt_as_another_candidate(project):
    project.rows = project.rows[:20]
    project.model()
    _three(project)

    def k():
        return json.loads(project.findings()["SC205"]["evidence"])["k_history"]

    assert (k(), k()) == (3, 3)
    (project.folder / "route.md").write_text("Choose: {{ labels | join(', ') }}.\n")
    assert k() == 4


def test_switched_off_is_not_passed(project):
    _leak(project)
    project.config["catches"] = {"SC501": "off"}
    assert project.check()["SC501"].status == "not_checked"


def test_an_override_is_shown_with_its_reason(project):
    _leak(project)
    found = project.findings(overrides={"SC501": "known"})["SC501"]
    assert (found["status"], found["reason"]) == ("overridden", "known")


def test_the_tests_leave_the_checkout_alone():
    assert not (Path(__file__).parents[1] / "calls.db").exists()


def test_what_the_prompt_cache_saved_is_in_the_report_also_when_read_from_the_journal(project, box):
    box()
    project.model(model=BOX)
    for name in ("route.md", "short.md"):
        (project.folder / name).write_text("Route with care. " * 600 + "One of: {{ labels | join(', ') }}.\n")
    project.config |= {
        "candidates": [*project.config["candidates"][1:], {"id": "c", "call": "wired:c", "max_cost_usd": 0.001}],
        "runs": {"concurrency": 1},
        "prices": {"box/in-context": {"input_per_m": 10, "output_per_m": 10, "cached_input_per_m": 1}},
        "budget": {"usd": 50, "calls": 2000},
    }
    first = project.run()
    cached = sum(row["n_tokens_cached"] or 0 for row in pq.read_table(first["artifacts"]["rows"]).to_pylist())
    assert cached > 100_000
    assert first["calls"]["saved_by_prompt_cache_usd"] == pytest.approx(cached * 9e-6)
    assert f"{cached:,} of " in (project.stored().folder / "report.html").read_text()
    again = project.run()
    assert again["calls"]["sent"] == 0
    assert again["calls"]["saved_by_prompt_cache_usd"] == first["calls"]["saved_by_prompt_cache_usd"]


def test_exploring_stops_too_when_nothing_but_errors_comes_back(project):
    del project.config["claim"]
    project.config["split"] = {"train": 0.1, "dev": 0.9}
    project.answers["a"] = project.answers["b"] = project.failing(100)
    with pytest.raises(TooManyErrorsError, match=r"50 of 50 calls failed; the last: .*planted"):
        project.run()
