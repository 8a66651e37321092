"""The deployments of the checkout: registered with a server, run by a worker."""

import subprocess
import sys
import urllib.error
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

pytestmark = pytest.mark.flow

LIMIT_S = 120


@pytest.fixture(scope="module")
def prefect(environment):
    """Run `prefect …` in a folder."""

    def run(*words, folder, **more):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *words],
            cwd=folder,
            env={**environment, "PREFECT_WORKER_QUERY_SECONDS": "1", **more},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def deployments(recorded, prefect, root):
    """What the server knows after a deploy as the first lines of `deployments/prefect.yaml` say."""
    recorded.post("work_pools/", name="safetycatch", type="process")
    prefect("--no-prompt", "deploy", "--prefect-file", "deployments/prefect.yaml", "--all", folder=root)
    return recorded.get("deployments/name/nightly/nightly"), recorded.get("deployments/name/evaluate/manual")


def test_the_nights_ahead_are_planned_in_their_time_zone(deployments, recorded, until):
    nightly, _manual = deployments

    def planned():
        found = recorded.post("flow_runs/filter", deployments={"id": {"any_": [nightly["id"]]}}, limit=50)
        return [datetime.fromisoformat(one["expected_start_time"]) for one in found if one["auto_scheduled"]]

    times = [time.astimezone(ZoneInfo("Europe/Berlin")) for time in until(planned, "nights ahead", 30)]
    assert {(time.hour, time.minute) for time in times} == {(2, 30)}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("calibrate", {"experiment", "digest", "probes", "sentinels", "unattended"}),
        ("refine", {"experiment", "digest", "refiner", "unattended"}),
    ],
)
def test_a_judge_is_calibrated_and_refined_by_a_form(deployments, recorded, name, fields):
    found = recorded.get(f"deployments/name/{name}/{name}")
    form = found["parameter_openapi_schema"]
    assert (form["required"], set(form["properties"])) == (["experiment"], fields)
    assert found["parameters"] == {"experiment": "experiments/judged.yaml"}
    assert found["enforce_parameter_schema"]


def test_both_deployments_are_registered_and_run_by_a_worker(deployments, project, api, prefect, until):
    """The worker starts in another folder than the deploy did."""
    nightly, manual = deployments
    (schedule,) = nightly["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("30 2 * * *", "Europe/Berlin")
    assert (schedule["slug"], schedule["active"]) == ("every-night", True)
    assert nightly["global_concurrency_limit"]["limit"] == 1
    assert nightly["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert nightly["parameters"] == {"experiment": "experiments/nightly.yaml"}

    form = manual["parameter_openapi_schema"]
    assert form["required"] == ["experiment"]
    fields = form["properties"]
    kinds = {name: field.get("type") or field["anyOf"][0]["type"] for name, field in fields.items()}
    assert kinds == {
        "experiment": "string",
        "digest": "string",
        "overrides": "object",
        "intersect": "boolean",
        "reference": "boolean",
        "unattended": "boolean",
    }
    assert all(field["description"] for field in fields.values())
    assert fields["digest"]["pattern"]
    assert manual["enforce_parameter_schema"]
    with pytest.raises(urllib.error.HTTPError, match="409"):
        api.post(f"deployments/{manual['id']}/create_flow_run", parameters={"experiment": 7})

    path = project.write(
        "candidates: [{id: zero}, {id: knn4, shots: {select: knn, k: 4}}]\n"
        "claim: {metric: accuracy, smallest_effect: 8 points}\nbudget: {usd: 1, calls: 2000}\n"
    )
    wanted = {
        "nightly": api.post(f"deployments/{nightly['id']}/create_flow_run", name="by hand")["id"],
        "manual": api.post(
            f"deployments/{manual['id']}/create_flow_run", parameters={"experiment": str(path), "unattended": True}
        )["id"],
        "refused": api.post(
            f"deployments/{manual['id']}/create_flow_run", parameters={"experiment": str(path), "digest": "0" * 8}
        )["id"],
    }
    worker = ("worker", "start", "--pool", "safetycatch", "--type", "process", "--run-once")
    prefect(*worker, folder=project.folder, SAFETYCATCH_STORE=str(project.store))

    def ended():
        found = {name: api.flow_run(run_id)["state"] for name, run_id in wanted.items()}
        return found if all(state["type"] in {"COMPLETED", "FAILED", "CRASHED"} for state in found.values()) else None

    states = until(ended, "three runs")
    assert {name: state["name"] for name, state in states.items()} == {
        "nightly": "Completed",
        "manual": "Completed",
        "refused": "Failed",
    }
    assert states["nightly"]["message"].startswith("INCONCLUSIVE · ")
    assert "as deployed" in states["refused"]["message"]
    assert {run.name for run in project.runs()} == {"nightly", "e"}
