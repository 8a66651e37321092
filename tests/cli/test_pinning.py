import pytest
import yaml

from tests.wiring import Project


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A run of one prompt with two examples, in the current folder."""
    made = Project(tmp_path, monkeypatch)
    made.given()
    (tmp_path / "route.md").write_text("One of: {{ labels | join(', ') }}.")
    model = {"model": "sandbox/in-context", "prompt": "route.md"}
    knn = {**model, "id": "knn2", "shots": {"select": "knn", "k": 2}}
    made.config |= {"candidates": [{"id": "zero", **model}, knn], "budget": {"usd": 1, "calls": 500}}
    del made.config["claim"]
    made.run()
    return made


def test_pin_writes_what_it_says(finished, cli, tmp_path):
    done = cli("pin", "last", "--candidate", "knn2", "--out", "new/folder", "--json")
    assert done.code == 0
    told = done.document
    names = {"winner.py", "winner.index.json", "winner.lock.yaml"}
    assert told["written"] == dict.fromkeys(names, "written")
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == names
    assert yaml.safe_load((tmp_path / "new" / "folder" / "winner.lock.yaml").read_text()) == told["lock"]
    assert told["lock"]["checked"]["prompts_equal"] == told["lock"]["checked"]["rows"] == 33


def test_pinning_again_changes_nothing(finished, cli, tmp_path):
    first = cli("pin", "last", "--candidate", "zero")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("winner.*")}
    again = cli("pin", "last", "--candidate", "zero")
    assert (first.code, again.code) == (0, 0)
    assert "named by you" in first.out
    assert "unchanged" in again.out
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("winner.*")} == before


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_nothing_is_written_over_something_else(finished, cli, tmp_path, there):
    target = tmp_path / "out" / "winner.lock.yaml"
    target.parent.mkdir()
    if there == "file":
        target.write_text("mine")
    elif there == "link":
        target.symlink_to(tmp_path / "elsewhere")
    else:
        target.mkdir()
    done = cli("pin", "last", "--candidate", "zero", "--out", "out")
    assert done.code == 2
    assert "holds something else" in done.err
    assert list(target.parent.iterdir()) == [target]


def test_without_a_name_a_run_that_favours_nobody_is_not_pinned(finished, cli, tmp_path):
    done = cli("pin", "last")
    assert done.code == 2
    assert "favours no candidate" in done.err
    assert "--candidate" in done.err
    assert not list(tmp_path.glob("winner.*"))


def test_a_folder_that_cannot_be_made_is_named(finished, cli, tmp_path):
    (tmp_path / "taken").write_text("a file")
    done = cli("pin", "last", "--candidate", "zero", "--out", "taken/below")
    assert done.code == 2
    assert "taken/below" in done.err
