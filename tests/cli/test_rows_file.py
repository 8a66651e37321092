import csv
import stat

import pytest

from safetycatch.cli.reviewing import _labels_there, _Source
from safetycatch.store import Runs
from tests.review.conftest import desk_in
from tests.stored_rows import NOW, row, write_run


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A run of four rows in this folder's store."""
    (tmp_path / "safetycatch.yaml").write_text("")
    monkeypatch.setenv("SAFETYCATCH_STORE", str(tmp_path / "store"))
    rows = [row(candidate, item, f"{candidate} says =1", float(item == "x")) for item in "xy" for candidate in "ab"]
    return write_run(tmp_path, rows)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_filtered_rows_become_a_file_for_me_alone(cli, stored, tmp_path):
    done = cli("review", "last", "--rows", "--filter", "score=wrong&candidate=b", "--csv", "wrong.csv", "--json")
    found = rows_of(tmp_path / "wrong.csv")
    assert done.code == 0
    assert done.document["rows"] == 1
    assert [(one["example_id"], one["output"]) for one in found] == [("y", "b says =1")]
    assert stat.S_IMODE((tmp_path / "wrong.csv").stat().st_mode) == 0o600


def test_labels_are_found_where_the_experiment_says(stored, tmp_path):
    kept = desk_in(tmp_path / "exp" / "kept").labels.folder
    (tmp_path / "exp" / "e.yaml").write_text("")
    found = []
    for labels in ("kept/labels/set", "kept/labels/other"):
        config = {"judge": {"labels": labels}}
        with Runs(stored[0]).begin("judged", "4" * 40, config=config, now=NOW) as run:
            run.finish("done", {"summary": {}, "command": "safetycatch run exp/e.yaml"}, now=NOW)
        found.append(_labels_there(_Source(None, None), Runs(stored[0]).load(run.run_id), None))
    assert (found[0].folder, found[1]) == (kept, None)


def test_no_file_is_overwritten(cli, stored, tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    assert cli("review", "last", "--rows", "--csv", "mine.csv").code == 2
    assert (tmp_path / "mine.csv").read_text() == "mine"


def test_a_filter_that_is_not_there_names_those_that_are(cli, stored, tmp_path):
    done = cli("review", "last", "--rows", "--filter", "colour=red", "--csv", "x.csv")
    assert done.code == 2
    assert "expected candidate, score, flip, status" in done.err
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("words", [("--filter", "score=wrong"), ("--csv", "x.csv")])
def test_filter_and_file_are_about_rows(cli, stored, words):
    done = cli("review", "last", *words)
    assert done.code == 2
    assert "--rows" in done.err
