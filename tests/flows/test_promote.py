"""Flow `promote` on a real server: paused until a named person says yes, and carried by the ledger over any death."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from flows.promote import promote
from flows.promotion import covering, record, seen_of
from safetycatch.store.ledger import Consent

pytestmark = pytest.mark.flow

TEXT = """\
candidates: [{id: zero}, {id: knn4, shots: {select: knn, k: 4}}]
claim: {metric: accuracy, smallest_effect: 8 points}
budget: {usd: 1, calls: 1000}
"""
FLOW = "import json, sys; from flows.promote import promote; print(json.dumps(promote(**json.loads(sys.argv[1]))))"


@pytest.fixture
def done(project):
    """A finished claim in the project."""
    project.run(project.write(TEXT)).result()
    (stored,) = project.runs()
    return stored


def parameters(project, stored, **more):
    return {"run": stored.run_id, "candidate": "knn4", "project": str(project.folder), **more}


@pytest.fixture
def started(project, done, environment, root):
    """Starts the flow in a process of its own; those that are left are killed, by their ids."""
    left = []

    def start():
        own = {name: text for name, text in os.environ.items() if name.startswith("SAFETYCATCH_")}
        words = [sys.executable, "-c", FLOW, json.dumps(parameters(project, done))]
        process = subprocess.Popen(
            words, cwd=root, env=environment | own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        left.append(process)
        return process

    yield start
    for process in left:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def paused(api, done, until):
    """Waits for the flow of this run to be paused at its `number`th question; returns the flow run's id."""

    def wait(process, number=1, but=()):
        def found():
            assert process.poll() is None, process.communicate()
            runs = api.post("flow_runs/filter", flow_runs={"state": {"type": {"any_": ["PAUSED"]}}}, limit=50)
            for one in runs:
                keys = one["state"]["state_details"].get("run_input_keyset") or {}
                own = one["parameters"]["run"] == done.run_id and one["id"] not in but
                if own and f"promotion-{number}" in str(keys):
                    return one["id"]
            return None

        return until(found, f"question {number}")

    return wait


def resume(api, flow_run, **said):
    return api.post(f"flow_runs/{flow_run}/resume", run_input=said)


def test_the_form_decides_also_after_a_kill_and_only_with_the_hash_of_the_report(project, done, api, started, paused):
    sha = seen_of(done, "knn4").report_sha256
    first = started()
    dead = paused(first)
    first.kill()
    first.wait()
    assert not (project.folder / "production").exists()

    process = started()
    flow_run = paused(process, but=(dead,))
    assert resume(api, flow_run, report=sha[:8])["status"] == "REJECT"  # no name
    assert resume(api, flow_run, name="Ada", report="not hexadecimal")["status"] == "REJECT"
    assert resume(api, flow_run, name="Ada", report="0" * 8)["status"] == "ACCEPT"
    assert paused(process, 2, but=(dead,)) == flow_run
    assert covering(project.store, seen_of(done, "knn4"))[0] is None
    shown = api.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [flow_run]}}, limit=9)
    assert any(one["data"].startswith("**`the report's hash does not begin with") for one in shown)
    assert resume(api, flow_run, name="Ada", report=sha[:12], note="read it")["status"] == "ACCEPT"
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert json.loads(out)["approved_by"] == "Ada"
    assert (project.folder / "production" / "winner.py").exists()

    again: Any = promote(**parameters(project, done))  # pyright: ignore[reportCallIssue] - the values differ in kind
    assert set(again["written"].values()) == {"unchanged"}
    promotion, _ = covering(project.store, seen_of(done, "knn4"))
    assert (promotion.name, promotion.note, promotion.report_sha256) == ("Ada", "read it", sha)


def test_an_approval_that_came_by_another_way_is_not_asked_for_again(project, done):
    record(project.store, seen_of(done, "knn4"), Consent("Bo"))
    told: Any = promote(**parameters(project, done))  # pyright: ignore[reportCallIssue] - the values differ in kind
    assert told["approved_by"] == "Bo"
    assert told["findings"][0] == {"code": "SC1101", "status": "passed", "level": "refuse"}


def test_nobody_comes_and_nothing_goes_out(project, done):
    state = promote(**parameters(project, done, wait_s=1), return_state=True)
    assert state.type.value == "FAILED"
    assert covering(project.store, seen_of(done, "knn4"))[0] is None
    assert not (project.folder / "production").exists()


def test_what_cannot_be_promoted_ends_as_such_before_anybody_is_asked(project, done):
    state = promote(**parameters(project, done, candidate="nobody"), return_state=True)
    assert "no such candidate" in state.message
