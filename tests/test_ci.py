"""The workflows in deployments/ci: safe as written, and their gate step as a runner executes it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from safetycatch.configuration import parse_mapping
from safetycatch.report.comment import marker

CI = Path(__file__).parents[1] / "deployments" / "ci"
GITHUB = parse_mapping((CI / "github-actions.yml").read_text(encoding="utf-8"), "github-actions.yml")
GITLAB = parse_mapping((CI / "gitlab-ci.yml").read_text(encoding="utf-8"), "gitlab-ci.yml")
STEPS = [step for job in GITHUB["jobs"].values() for step in job["steps"]]
SCRIPTS = {step["name"]: step["run"] for step in STEPS if "run" in step}
PLAYED = """#!/bin/sh
[ -n "$COMMENT" ] && while [ $# -gt 0 ]; do [ "$1" = --comment ] && printf '%s' "$COMMENT" > "$2"; shift; done
exit "$CODE"
"""


def test_nothing_runs_with_more_rights_than_it_needs():
    assert set(GITHUB["on"]) == {"pull_request", "push"}
    assert GITHUB["permissions"] == {}
    assert {name: job["permissions"] for name, job in GITHUB["jobs"].items()} == {
        "gate": {"contents": "read"},
        "comment": {"pull-requests": "write"},
    }
    assert [step["uses"] for step in GITHUB["jobs"]["comment"]["steps"] if "uses" in step] == []
    (checkout,) = (step for step in STEPS if step.get("uses", "").startswith("actions/checkout"))
    assert checkout["with"]["persist-credentials"] is False


def test_a_fork_is_stopped_before_its_code_is_fetched_and_is_not_green(tmp_path):
    first = GITHUB["jobs"]["gate"]["steps"][0]
    assert "head.repo.full_name != github.repository" in first["if"]
    assert ran(first["run"], tmp_path)[0] == 1
    assert "not a pass" in (tmp_path / "summary").read_text()


def test_every_action_has_a_major_version():
    assert all(re.fullmatch(r"actions/[\w/-]+@v\d+", step["uses"]) for step in STEPS if "uses" in step)


@pytest.mark.parametrize("script", [*SCRIPTS.values(), "\n".join(GITLAB["safetycatch"]["script"])])
def test_scripts_are_bash_and_take_values_from_the_environment_only(script):
    assert "${{" not in script
    subprocess.run(["bash", "-n", "-c", script], check=True)


def test_gates_of_one_pull_request_do_not_overlap():
    assert "pull_request.number" in GITHUB["concurrency"]["group"]


CACHES = [step for step in STEPS if step.get("uses", "").startswith("actions/cache/")]


def cached(step, event, number):
    """A cache's path, key and the beginnings that it falls back to, as the runner reads them."""
    own = f"safetycatch-pr-{number}" if event == "pull_request" else "safetycatch-main"
    read = {"env.CACHE": own, "github.run_id": "7", "github.run_attempt": "1"}
    texts = [step["with"][name] for name in ("path", "key")] + step["with"].get("restore-keys", "").splitlines()
    found = [re.sub(r"\$\{\{ (\S+) \}\}", lambda match: read[match[1]], text) for text in texts]
    (there,) = set(re.findall(r"event_name == '(\w+)'", step.get("if", ""))) or {event}
    return found if there == event else []


def test_no_push_to_a_pull_request_hides_main_s_runs_from_last():
    steps = {step["name"]: cached(step, "pull_request", 5) for step in CACHES}
    path, key, *_ = steps["Keep paid answers"]
    assert steps["Keep main's runs"] == []
    newest, _, beginning = steps["Fetch the newest runs of main"]
    assert newest == f"{path}/runs"
    assert not key.startswith(beginning)
    names = [step["name"] for step in CACHES]
    assert names.index("Fetch paid answers") < names.index("Fetch the newest runs of main")
    kept = cached(CACHES[names.index("Keep main's runs")], "push", None)
    assert kept[0] == newest
    assert kept[1].startswith(beginning)


def test_a_pull_request_starts_from_its_own_answers_else_from_main_s():
    fetched = next(step for step in CACHES if step["name"] == "Fetch paid answers")
    assert cached(fetched, "pull_request", 5)[2:] == ["safetycatch-pr-5-", "safetycatch-main-"]
    assert cached(fetched, "push", None)[1].startswith("safetycatch-main-")
    assert "format('safetycatch-pr-{0}', github.event.pull_request.number)" in GITHUB["jobs"]["gate"]["env"]["CACHE"]


def test_what_was_merged_is_recorded_and_claims_nothing():
    assert SCRIPTS["Record what was merged"] == 'safetycatch run "$EXPERIMENT" --reference'


def test_gitlab_shows_an_inconclusive_gate_as_a_warning_and_nothing_else():
    assert GITLAB["safetycatch"]["allow_failure"] == {"exit_codes": [21]}


def ran(script, folder, **environment):
    """Exit code and `GITHUB_OUTPUT` of a step, run as GitHub's runner does."""
    files = {"GITHUB_OUTPUT": folder / "output", "GITHUB_STEP_SUMMARY": folder / "summary", "RUNNER_TEMP": folder}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GITHUB_"))}
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={**kept, **GITHUB["env"], **{name: str(file) for name, file in files.items()}, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    output = files["GITHUB_OUTPUT"].read_text() if files["GITHUB_OUTPUT"].exists() else ""
    found = re.fullmatch(r"comment<<(end-[0-9a-f]{32})\n(.*)\n\1\n", output, flags=re.DOTALL)
    return done.returncode, found[2].rstrip("\n") if found else "", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "setting", "ends"), [(0, "fail", 0), (20, "warn", 20), (21, "fail", 21), (21, "warn", 0), (40, "warn", 40)]
)
def test_the_step_ends_as_the_gate_did(tmp_path, code, setting, ends):
    (tmp_path / "safetycatch").write_text(PLAYED)
    (tmp_path / "safetycatch").chmod(0o755)
    text = "### told\n\nend-0\nEOF"
    found = ran(SCRIPTS["Gate"], tmp_path, CODE=str(code), COMMENT=text, INCONCLUSIVE=setting)
    assert found[:2] == (ends, text)
    assert ("::warning" in found[2]) == (ends != code)


def test_a_gate_that_died_without_a_word_is_no_pass(tmp_path):
    (tmp_path / "safetycatch").write_text(PLAYED)
    (tmp_path / "safetycatch").chmod(0o755)
    code, comment, _ = ran(SCRIPTS["Gate"], tmp_path, CODE="137", COMMENT="")
    assert code == 137
    assert "This is not a pass" in comment
    assert comment.splitlines()[0] == marker("gate")
    assert "This is not a pass" in (tmp_path / "summary").read_text()


def test_a_long_comment_is_cut_between_lines(tmp_path):
    (tmp_path / "safetycatch").write_text(PLAYED)
    (tmp_path / "safetycatch").chmod(0o755)
    lines = [f"{number} {'é▼' * 20}" for number in range(1000)]
    _, comment, _ = ran(SCRIPTS["Gate"], tmp_path, CODE="0", COMMENT="\n".join(lines))
    *kept, _, told = comment.split("\n")
    assert kept == lines[: len(kept)]
    assert 59_000 < len("\n".join(kept).encode()) <= 60_000
    assert "cut" in told


@pytest.mark.flow
def test_the_gate_step_decides_for_real(project, own_prefect):
    project.record()
    project.path()
    code, comment, log = ran(SCRIPTS["Gate"], project.folder, EXPERIMENT="e.yaml", **own_prefect)
    assert code == 0, log
    assert comment.splitlines()[:2] == ["<!-- safetycatch-gate: e -->", "### ✓ gate passed: `e`"]
    assert (project.folder / "summary").read_text().rstrip("\n") == comment
    assert '"gate": "passed"' in log
