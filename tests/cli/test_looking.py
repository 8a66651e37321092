import os

import pytest

from safetycatch.cli.look import write_look
from safetycatch.errors import InputError
from safetycatch.experiment import load_experiment
from safetycatch.project import find_project


@pytest.fixture
def files(tmp_path, monkeypatch):
    # Undone at the end: a look outside a project names its store in the environment.
    monkeypatch.setenv("SAFETYCATCH_STORE", "x")
    monkeypatch.delenv("SAFETYCATCH_STORE")
    (tmp_path / "t.csv").write_text("input,target\na,b\n")
    (tmp_path / "p.md").write_text("answer")
    return tmp_path / "t.csv", tmp_path / "p.md"


def test_a_look_names_data_and_prompt_from_where_it_lies(files, tmp_path):
    file = write_look(files[0], files[1], "sandbox/echo", "$2")
    experiment = load_experiment(file)
    assert not experiment.claiming
    assert (file.parent / experiment.data.path).resolve() == files[0]
    assert (file.parent / str(experiment.candidates[0].prompt)).read_text() == "answer"
    assert experiment.budget.usd == 2
    assert file.is_relative_to(tmp_path / ".safetycatch" / "looks")


def test_the_same_options_give_the_same_file(files):
    assert write_look(files[0], files[1], "sandbox/echo", None) == write_look(files[0], files[1], "sandbox/echo", None)


def test_a_look_outside_a_project_keeps_the_folders_store(files, tmp_path):
    write_look(files[0], files[1], "sandbox/echo", None)
    assert os.environ["SAFETYCATCH_STORE"] == str(tmp_path / ".safetycatch")


def test_a_look_inside_a_project_belongs_to_it(files, tmp_path, monkeypatch):
    (tmp_path / "safetycatch.yaml").write_text("")
    monkeypatch.setenv("SAFETYCATCH_STORE", str(tmp_path / "elsewhere"))
    assert find_project(write_look(files[0], files[1], "sandbox/echo", None)).root == tmp_path


def test_other_column_names_are_told_with_a_file_that_names_them_before_there_is_a_run(files, cli, tmp_path):
    files[0].write_text("ticket,body,queue\n1,a,b\n")
    ended = cli("run", "--data", "t.csv", "--prompt", "p.md", "--model", "sandbox/echo")
    assert ended.code == 2
    fix = ended.err.partition("  fix ")[2].splitlines()
    assert fix[0].strip() == "as look.yaml, with: safetycatch run look.yaml"
    (tmp_path / "look.yaml").write_text("\n".join(line.strip() for line in fix[1:]))
    read = load_experiment(tmp_path / "look.yaml")
    assert (read.data.input, read.data.target) == ("body", "queue")
    assert read.candidates[0].prompt == "p.md"
    assert not (tmp_path / ".safetycatch").exists()


@pytest.mark.parametrize(("data", "prompt", "near"), [("tt.csv", "p.md", "t.csv"), ("t.csv", "pp.md", "p.md")])
def test_a_missing_file_is_told_with_the_nearest(files, cli, data, prompt, near):
    ended = cli("run", "--data", data, "--prompt", prompt, "--model", "sandbox/echo")
    assert ended.err.splitlines()[-1].split() == ["fix", near]


@pytest.mark.parametrize(
    ("data", "prompt", "model", "budget"),
    [
        ("nope.csv", "p.md", "sandbox/echo", None),
        ("t.csv", "nope.md", "sandbox/echo", None),
        ("t.csv", "p.md", "echo", None),
        ("t.csv", "p.md", "sandbox/echo", "a lot"),
        ("t.csv", "p.md", "sandbox/echo", '$1"\nclaim: {}'),
    ],
)
def test_what_is_wrong_on_the_command_line_exits_2(files, cli, data, prompt, model, budget):
    extra = ["--budget", budget] if budget else []
    ended = cli("run", "--data", data, "--prompt", prompt, "--model", model, *extra)
    assert (ended.code, ended.out) == (2, "")


def test_a_budget_beside_a_file_is_refused(cli, tmp_path):
    ended = cli("run", "x.yaml", "--budget", "$5")
    assert ended.code == 2
    assert "write 'budget: $5' into the file" in ended.err


def test_a_prompt_that_is_too_large_is_refused(files):
    files[1].write_text("x" * 300_000)
    with pytest.raises(InputError, match="at most"):
        write_look(files[0], files[1], "sandbox/echo", None)
