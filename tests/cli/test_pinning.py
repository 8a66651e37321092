import os
import pty
import select
import subprocess
import time

import pytest
import yaml

from flows.promotion import covering, seen_of
from tests.cli.conftest import COMMAND
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


# -- who says that it goes out ----------------------------------------------------------------------------------------


@pytest.fixture
def claimed(tmp_path, monkeypatch):
    """A claimed run whose verdict favours the prompt that says what the labels are."""
    made = Project(tmp_path, monkeypatch)
    made.given()
    made.model()
    (tmp_path / "short.md").write_text("Say anything.")
    made.config["budget"] = {"usd": 1, "calls": 500}
    made.run()
    return made


def test_sc1101_unattended_nobody_pins_what_nobody_approved(claimed, cli, tmp_path):
    done = cli("pin", "last", "--candidate", "b")
    assert done.code == 10
    assert "SC1101 refused" in done.err
    assert not list(tmp_path.glob("winner.*"))


def test_an_approval_in_the_ledger_lets_an_unattended_pin_go_on_and_stands_in_the_lock(claimed, cli, tmp_path):
    assert cli("approve", "last", "--promotion", "--candidate", "b", "--as", "Ada").code == 0
    done = cli("pin", "last", "--candidate", "b", "--json")
    assert done.code == 0, done.err
    approved = done.document["lock"]["approved"]
    assert approved["by"] == "Ada"
    assert approved["report_sha256"] == done.document["lock"]["evidence"]["report_sha256"]
    assert cli("pin", "last", "--candidate", "b").out.count("unchanged") == 2


def test_yes_with_a_name_is_the_approval(claimed, cli):
    done = cli("pin", "last", "--candidate", "b", "--yes", "--as", "release bot of Ada")
    assert done.code == 0
    assert "approved  by release bot of Ada" in done.out


def test_an_override_pins_and_says_why(claimed, cli):
    done = cli("pin", "last", "--candidate", "b", "--override", "SC1101", "--because", "rollback drill")
    assert done.code == 0
    assert "rollback drill" in done.err


def test_a_name_that_is_none_is_refused_before_anything_is_made(claimed, cli):
    assert cli("pin", "last", "--yes", "--as", "").code == 2


@pytest.mark.parametrize(("keys", "code"), [("y\n", 0), ("\n", 30)], ids=["yes", "enter"])
def test_at_a_terminal_pin_shows_the_verdict_and_asks(claimed, environment, tmp_path, keys, code):
    main, side = pty.openpty()
    own = {name: text for name, text in environment.items() if name != "CI"} | {"LOGNAME": "ada"}
    words = [*COMMAND, "pin", "last", "--candidate", "b"]
    with subprocess.Popen(words, stdin=side, stdout=side, stderr=side, env=own, cwd=tmp_path) as process:
        os.close(side)
        shown, end = b"", time.monotonic() + 90
        while b"[y/N]" not in shown and process.poll() is None and time.monotonic() < end:
            if select.select([main], [], [], 0.1)[0]:
                shown += os.read(main, 65536)
        assert b"promote it, as ada? [y/N]" in shown, shown
        os.write(main, keys.encode())
        assert process.wait(60) == code
    os.close(main)
    promotion, _ = covering(claimed.store, seen_of(claimed.stored(), "b"))
    assert (promotion and (promotion.name, promotion.note)) == (("ada", "y at the terminal") if code == 0 else None)
    assert (tmp_path / "winner.py").exists() is (code == 0)
