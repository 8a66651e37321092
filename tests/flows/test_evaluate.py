"""The main path: what a run leaves in its folder and in Prefect, and what a second one computes again."""

import json
import os
import signal
from collections import Counter

import pytest
from prefect import flow, task

from flows.chain import as_task
from safetycatch.errors import DataError
from safetycatch.tables import CONTRACTS, checked
from tasks.stage import transient

pytestmark = pytest.mark.flow

CLAIM = """\
candidates:
  - {id: zero}
  - {id: knn4, shots: {select: knn, k: 4}}
claim: {metric: accuracy, smallest_effect: 8 points}
budget: {usd: 1, calls: 2000}
"""
PROMISED = {
    *("run_id", "mode", "verdict", "candidates", "comparisons", "findings", "calls", "spent_usd", "wall_s"),
    *("report", "artifacts"),
}


def test_a_run_leaves_valid_tables_the_promised_json_and_five_artifacts(project, api):
    state = project.run(project.write(CLAIM, "routing.yaml"))
    result = state.result()
    assert set(result) >= PROMISED
    assert set(result["calls"]) >= {"sent", "answered", "from_journal", "perhaps_paid", "errors"}
    assert {"id", "split", "n", "n_missing", "estimate", "low", "high", "cost_usd", "status"} <= set(
        result["candidates"][0]
    )
    assert result["calls"]["sent"] == result["calls"]["answered"] > 100
    json.dumps(result, allow_nan=False)
    for name in ("rows", "scores", "comparisons", "findings"):
        table = checked(project.table(name, result), name)
        assert table.num_rows
        assert set(table.column_names) == set(CONTRACTS[name].names)
    (stored,) = project.runs()
    assert (stored.status, stored.run_id) == ("done", result["run_id"])

    run_id = state.state_details.flow_run_id
    found = api.artifacts(run_id)
    types = {key: found[key]["type"] for key in found}
    assert types == {
        "verdict": "markdown",
        "leaderboard": "table",
        "catches": "table",
        "calls": "progress",
        "report": "markdown",
    }
    assert float(found["calls"]["data"]) == 100.0
    assert result["verdict"] in found["verdict"]["data"]
    assert "report.html" in found["report"]["data"]
    assert {row["id"] for row in json.loads(found["leaderboard"]["data"])} == {"zero", "knn4"}
    assert api.flow_run(run_id)["name"] == "evaluate routing"
    assert sorted(one["name"] for one in api.task_runs(run_id)) == sorted(
        [
            *("load tickets.csv", "split", "leakage test", "fewshot knn 4", "plan test"),
            *("evaluate zero 1/1", "evaluate knn4 1/1", "score zero", "score knn4", "compare test"),
            f"report {result['run_id']}",
        ]
    )


def states_of(api, state):
    return {one["name"]: one["state"]["name"] for one in api.task_runs(state.state_details.flow_run_id)}


def test_a_second_run_sends_nothing_and_a_deleted_artifact_is_computed_again(project, api):
    path = project.write(CLAIM)
    first = project.run(path).result()
    second = project.run(path)
    result = second.result()
    assert result["calls"]["sent"] == 0
    assert result["calls"]["from_journal"] == first["calls"]["sent"]
    assert result["run_id"] != first["run_id"]
    assert result["comparisons"] == first["comparisons"]
    states = states_of(api, second)
    cached = {name for name, found in states.items() if found == "Cached"}
    # The split asks its ledger each time, the plan knows the first run's noise, the report belongs to the run.
    assert cached == set(states) - {"split", "plan test", f"report {result['run_id']}"}

    (artifact,) = (project.store / "artifacts" / "leakage").glob("*.parquet")
    whole = artifact.read_bytes()
    artifact.unlink()
    for shard in (project.store / "artifacts" / "evaluate").glob("*.parquet"):
        shard.write_bytes(shard.read_bytes()[:-7])
    third = project.run(path)
    assert third.result()["calls"]["sent"] == 0
    states = states_of(api, third)
    recomputed = {name for name, found in states.items() if found == "Completed"}
    assert {"leakage test", "evaluate zero 1/1", "evaluate knn4 1/1"} <= recomputed
    assert states["plan test"] == "Cached"
    assert artifact.read_bytes() == whole


def test_exploring_scores_dev_and_never_opens_test(project):
    text = "candidates: [{id: zero}, {id: knn4, shots: {select: knn, k: 4}}]\n"
    refused = project.run(project.write(text))
    assert (refused.name, refused.message) == ("Refused", "SC301")
    result = project.run(project.write(text), unattended=False).result()
    assert (result["mode"], result["verdict"]) == ("exploring", "EXPLORING")
    splits = project.table("split").to_pylist()
    dev = {row["example_id"] for row in splits if row["split"] == "dev"}
    assert set(project.table("rows", result)["example_id"].to_pylist()) == dev
    assert set(project.table("scores", result)["example_id"].to_pylist()) == dev

    sampled = project.run(project.write(f"{text}budget: {{calls: 24}}\n", "small.yaml"), unattended=False).result()
    rows = project.table("rows", sampled)
    assert rows.num_rows == 24
    assert set(rows["example_id"].to_pylist()) < dev
    assert sampled["calls"]["sent"] == 0
    assert any("12 of" in note for note in sampled["notes"])


APP = """\
from pathlib import Path

CALLS = Path(__file__).with_name("calls.txt")


def sync(row):
    assert "target" not in row
    with CALLS.open("a") as file:
        file.write("s")
    return {"output": "refund" if "money" in row["input"]["text"] else "delivery", "cost_usd": 0.001}


async def later(row):
    with CALLS.open("a") as file:
        file.write("a")
    return "refund"
"""


def test_functions_recorded_outputs_a_declared_pool_json_inputs_and_replicates(project, tickets):
    """Every other kind of candidate and input; a user's function is journaled like any call."""
    rows = tickets(160)
    project.write_rows(rows[:80])
    project.write_rows([{**row, "ticket_id": f"P{row['ticket_id']}"} for row in rows[80:]], "pool.csv")
    project.write_rows(
        [{"example_id": row["ticket_id"], "replicate": n, "output": row["label"]} for row in rows[:80] for n in (0, 1)],
        "old.csv",
    )
    (project.folder / "my_router.py").write_text(APP)
    (project.folder / "json.md").write_text("{{ language }}: {{ text }}\n{{ labels }}\n")
    path = project.write(
        """\
data: {path: tickets.csv, id: ticket_id, input: [language, text], target: label, group: customer_id, pool: pool.csv}
split: {test: 1}
candidates:
  - {id: prompted, prompt: json.md, model: sandbox/in-context, shots: {select: knn, k: 2}}
  - {id: sync, call: "my_router:sync", max_cost_usd: 0.001}
  - {id: later, call: "my_router:later"}
  - {id: old, outputs: old.csv}
claim: {metric: accuracy, smallest_effect: 8 points}
runs: {replicates: 2}
budget: {usd: 1, calls: 2000}
catches: {SC502: warn, SC505: warn}  # the pool knows the same customers
"""
    )
    result = project.run(path).result()
    table = project.table("rows", result).to_pylist()
    n = len({row["example_id"] for row in table})
    assert n == 80
    assert len(table) == 4 * 80 * 2
    assert {row["id"]: row["estimate"] for row in result["candidates"]}["old"] == 1.0
    assert result["calls"]["sent"] == result["calls"]["answered"] == 3 * 80 * 2
    # What `later` costs nobody said.
    assert (result["spent_usd"], result["spent_at_least_usd"]) == (None, pytest.approx(160 * 0.001))
    assert (project.folder / "calls.txt").read_text().count("s") == 160
    assert (project.folder / "calls.txt").read_text().count("a") == 160
    shots = project.table("fewshot").to_pylist()
    assert {row["shot_id"][:6] for row in shots} == {"pool:P"}
    again = project.run(path).result()
    assert again["calls"]["sent"] == 0
    assert len((project.folder / "calls.txt").read_text()) == 320


def test_two_processes_pay_once_and_both_get_the_result(project, processes, endpoint, until):
    with endpoint(latency="20ms") as box:
        path = project.write(CLAIM + "runs: {concurrency: 8}\n", model="{endpoint: box, model: in-context}")
        both = [processes.start(project, path)]
        until(project.n_answers, "first answers")
        os.kill(both[0], signal.SIGSTOP)
        both.append(processes.start(project, path))
        log = project.folder / "out" / f"{both[1]}.log"
        until(lambda: log.exists() and "waiting" in log.read_text(), "the second waits")
        os.kill(both[0], signal.SIGCONT)
        assert [processes.wait(pid) for pid in both] == [0, 0]
        first, second = (json.loads((project.folder / "out" / f"{pid}.json").read_text()) for pid in both)
        assert first["run_id"] == second["run_id"]
        assert first == second
        billed = box.stats()
    assert project.answered_twice() == []
    assert project.n_answers() == first["calls"]["sent"] == billed["billed"]
    assert [run.status for run in project.runs()] == ["done"]


def test_a_stage_is_tried_again_for_errors_of_the_machine_only(api):
    tried = Counter()

    @task(retries=2, retry_condition_fn=transient)
    def stage(kind):
        tried[kind] += 1
        if kind == "machine" and tried[kind] == 1:
            raise OSError("the disk is busy")
        if kind == "ours":
            raise DataError("found 'a row'")
        if kind == "bug":
            raise ValueError("a row")
        return {}

    @flow
    def chain():
        as_task(stage, kind="machine")
        with pytest.raises(DataError, match="a row"):
            as_task(stage, kind="ours")
        with pytest.raises(ValueError, match="a row"):
            as_task(stage, kind="bug")

    chain()
    assert tried == {"machine": 2, "ours": 1, "bug": 1}
