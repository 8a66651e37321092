"""Files named on the command line: what somebody else wrote stays as it is."""

import os
import threading

import pytest

from safetycatch.cli.overwriting import check_overwriting
from safetycatch.errors import UsageError
from safetycatch.report.comment import MARKER, stopped_comment, unfinished_comment

FILES = {"a.csv": "item,score\n" + "".join(f"e{n},{n % 2}\n" for n in range(40))}
FILES["b.csv"] = FILES["a.csv"].replace("e1,1", "e1,0")


@pytest.fixture
def files(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("option", ["--html", "--md --html"])
def test_a_comparison_never_replaces_one_of_its_files(cli, files, option):
    ended = cli("compare", "a.csv", "b.csv", *option.split(), "b.csv")
    assert ended.code == 2
    assert "b.csv is there and holds something else" in ended.err
    assert (files / "b.csv").read_text() == FILES["b.csv"]


def test_a_comparison_replaces_its_own_page_and_no_report(cli, project, files):
    (files / "x.html").write_text("")
    for _ in range(2):
        assert cli("compare", "a.csv", "b.csv", "--html", "x.html").code == 0
    report = project.run()["report"]
    assert "--html" in cli("compare", "a.csv", "b.csv", "--html", report).err
    assert cli("verify").code == 0


def test_a_gate_never_replaces_its_experiment(cli, project):
    path = project.path()
    held = path.read_text()
    ended = cli("gate", str(path), "--comment", str(path), "--json")
    assert ended.code == 2
    assert "--comment" in ended.err
    assert path.read_text() == held
    assert not project.calls


def test_a_gate_replaces_its_older_comment(tmp_path):
    for text in (unfinished_comment("e"), stopped_comment("e", ["x"], "y", 2)):
        (tmp_path / "c.md").write_text(text)
        check_overwriting(tmp_path / "c.md", MARKER, "--comment")


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = threading.Thread(target=check_overwriting, args=(tmp_path / "pipe", "mark", "--html"), daemon=True)
    done.start()
    done.join(5)
    assert not done.is_alive()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 300 + b"mark"])
def test_any_other_content_is_kept(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(UsageError, match="holds something else"):
        check_overwriting(tmp_path / "f", "mark", "--html")
