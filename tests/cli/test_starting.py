from pathlib import Path

import pytest

from safetycatch.cli.starting import EXPERIMENT
from safetycatch.experiment import parse_experiment


def test_init_then_check_works_from_an_empty_folder(command, tmp_path):
    assert command("init", cwd=tmp_path).code == 0
    ended = command("check", "experiments/example.yaml", "--json", cwd=tmp_path)
    assert (ended.code, ended.document["refused"]) == (0, False)
    assert ended.document["facts"]["n_scored"] > 0


def test_init_never_overwrites(cli, tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "example.yaml").write_text("mine")
    ended = cli("init", "--json")
    assert ended.document["kept"] == ["experiments/example.yaml"]
    assert (tmp_path / "experiments" / "example.yaml").read_text() == "mine"
    assert cli("init", "--json").document["written"] == []


def test_init_makes_a_folder(cli, tmp_path):
    assert "cd new/one && safetycatch check" in cli("init", "new/one").out
    assert (tmp_path / "new" / "one" / "safetycatch.yaml").is_file()


def test_init_where_it_cannot_write_exits_2(cli, tmp_path):
    (tmp_path / "experiments").write_text("a file")
    ended = cli("init")
    assert ended.code == 2
    assert "a file is where a folder is needed" in ended.err


def test_with_flows_copies_what_deployments_name(cli, tmp_path):
    cli("init", "--with-flows")
    assert (tmp_path / "flows" / "evaluate.py").is_file()
    assert (tmp_path / "tasks" / "stage.py").is_file()
    deployed = (tmp_path / "deployments" / "prefect.yaml").read_text()
    named = [Path(line.split()[-1]) for line in deployed.splitlines() if "experiment:" in line]
    assert named
    assert all((tmp_path / path).is_file() for path in named)


def test_with_ci_writes_the_workflow_once(cli, tmp_path):
    path = tmp_path / ".github" / "workflows" / "safetycatch.yml"
    assert str(path.relative_to(tmp_path)) in cli("init", "--with-ci", "--json").document["written"]
    ours = Path(__file__).parents[2] / "deployments" / "ci" / "github-actions.yml"
    assert path.read_bytes() == ours.read_bytes()
    path.write_text("mine")
    assert str(path.relative_to(tmp_path)) in cli("init", "--with-ci", "--json").document["kept"]
    assert path.read_text() == "mine"


def test_without_ci_there_is_no_workflow(cli, tmp_path):
    cli("init")
    assert not (tmp_path / ".github").exists()


@pytest.mark.parametrize("claim", [False, True])
def test_the_example_explores_and_claims_when_uncommented(claim):
    text = EXPERIMENT.replace("# claim:", "claim:") if claim else EXPERIMENT
    assert parse_experiment(text, "example.yaml", "example").claiming is claim
