"""The verb `gate`: exit codes, one line of JSON, and a comment whatever happens."""

import json

import pytest

EXPLORING = "data: rows.csv\ncandidates: [{id: a, call: 'm:f'}]\n"


@pytest.fixture
def here(tmp_path):
    (tmp_path / "rows.csv").write_text("input,target\nx,y\n")
    (tmp_path / "m.py").write_text("def f(row):\n    return 'y'\n")
    (tmp_path / "e.yaml").write_text(EXPLORING)
    return tmp_path


@pytest.mark.flow
def test_a_gate_that_failed_says_so_to_people_machines_and_the_pull_request(project, command, own_prefect):
    project.record()
    project.config["claim"] |= {"baseline": "b", "candidate": "a"}
    project.path()
    more = {**own_prefect, "GITHUB_STEP_SUMMARY": str(project.folder / "summary.md")}
    ended = command(
        *("gate", "e.yaml", "--noninferior", "2 points", "--json", "--comment", "c.md"),
        *("--override", "SC510", "--because", "known"),
        cwd=project.folder,
        **more,
    )
    assert (ended.code, ended.out.count("\n")) == (20, 1), ended.err
    told = json.loads(ended.out)
    assert told | {"gate": "failed", "passed": False, "against": "b", "exit_code": 20, "n": 100} == told
    comment = (project.folder / "c.md").read_text()
    assert "### ▼ gate FAILED: `e`" in comment
    assert (project.folder / "summary.md").read_text() == comment


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "smallest_effect: 3 points"),
        (["--budget", "five"], "such as '$1'"),
        (["--override", "SC501"], "--because"),
        (["--as", ""], "name"),
    ],
)
def test_what_stops_a_gate_before_it_starts_is_one_line_of_json_and_a_comment(here, cli, words, says, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    ended = cli("gate", "e.yaml", "--json", "--comment", "c.md", *words)
    assert (ended.code, ended.out.count("\n")) == (2, 1)
    assert ended.document | {"gate": "stopped", "passed": False, "exit_code": 2} == ended.document
    assert says in ended.err
    assert "This is not a pass" in (here / "c.md").read_text()


def test_a_comment_that_cannot_be_written_is_told_before_a_call(here, cli):
    ended = cli("gate", "e.yaml", "--comment", "nowhere/c.md")
    assert ended.code == 2
    assert "--comment" in ended.err


@pytest.mark.parametrize("words", [["--comment", "."], []])
def test_a_folder_in_the_place_of_a_file_is_told_before_the_gate_starts(here, cli, monkeypatch, words):
    if not words:
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here))
    monkeypatch.setattr("safetycatch.cli.gating._ended", lambda *_: pytest.fail("started"))
    ended = cli("gate", "e.yaml", "--json", *words)
    assert (ended.code, "cannot be written" in ended.err) == (2, True)


PASSED = {"gate": "passed", "passed": True, "sentence": "s", "exit_code": 0, "settle": None, "unit": "points"}


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_comment_lost_at_the_end_hides_no_outcome_and_is_no_pass(here, cli, monkeypatch, words):
    def ended(*_):
        (here / "c.md").unlink()
        (here / "c.md").mkdir()
        return PASSED

    monkeypatch.setattr("safetycatch.cli.gating._ended", ended)
    monkeypatch.setattr("safetycatch.cli.gating._show", lambda found, output: output.line(found["sentence"]))
    monkeypatch.setattr("safetycatch.report.comment.gate_comment", lambda *_: "text")
    told = cli("gate", "e.yaml", "--comment", "c.md", *words)
    assert (told.code, told.out.count("\n")) == (2, 1)
    assert "--comment" in told.err
    if words:
        assert told.document | {"gate": "passed", "exit_code": 2} == told.document
        assert "cannot be written" in told.document["comment_error"]


def test_a_gate_that_is_killed_leaves_a_comment_that_is_no_pass(here, cli, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("safetycatch.cli.gating._ended", killed)
    cli("gate", "e.yaml", "--comment", "c.md")
    text = (here / "c.md").read_text()
    assert text.startswith("<!-- safetycatch-gate: e -->\n### ✕ gate did not decide")
    assert "This is not a pass" in text
