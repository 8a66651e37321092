from datetime import UTC, datetime

import pytest

from safetycatch.store import Runs, Store

A = {"zero": dict.fromkeys("abcdefghij", 0.0), "knn": dict.fromkeys("abcdefghij", 1.0)}
B = {"zero": {**A["zero"], "a": 1.0}, "knn": {**A["knn"], "j": 0.0}}


def test_ls_without_a_store_makes_none(cli, tmp_path):
    assert "no run yet" in cli("ls").out
    assert not list(tmp_path.iterdir())
    assert cli("ls", "--json").document == []


def test_ls_and_show_name_the_store_and_one_below(cli, tmp_path):
    assert f"no run yet in {tmp_path / '.safetycatch'}: safetycatch run FILE" in cli("ls").out
    Store.open(tmp_path / "exp" / ".safetycatch")
    assert "cd exp: a store lies there" in cli("ls").out
    assert "cd exp: a store lies there" in cli("show", "last").err
    Store.open(tmp_path / ".safetycatch")
    assert "cd exp: a store lies there" in cli("show", "last").err
    (tmp_path / "safetycatch.yaml").write_text("")
    assert "cd exp" not in cli("ls").out


def test_ls_lists_the_newest_first(cli, stored):
    first, second = stored(A), stored(B)
    assert [row["run_id"] for row in cli("ls", "--json").document] == [second, first]
    assert len(cli("ls", "--limit", "1").out.splitlines()) == 1


@pytest.mark.parametrize("verb", ["ls", "show"])
def test_stored_text_moves_no_cursor(cli, stored, verb):
    run = stored(A)
    ended = cli("ls") if verb == "ls" else cli("show", run)
    assert "\x1b" not in ended.out
    assert "\\u001b[31m" in ended.out


def test_show_has_verdict_command_candidates_and_files(cli, stored):
    stored(A)
    text = cli("show", "last").out
    for part in ("EXPLORING", "0 calls, all from the journal", "zero", "knn", "scores.parquet", "again"):
        assert part in text
    assert cli("show", "last", "--json").document["result"]["verdict"] == "EXPLORING"


def test_an_unknown_run_names_the_nearest(cli, stored):
    run = stored(A)
    ended = cli("show", run[:-1] + "7")
    assert ended.code == 2
    assert run in ended.err


def test_report_prints_the_path_or_the_markdown(cli, stored):
    run = stored(A)
    assert cli("report").out.strip() == f".safetycatch/runs/{run}/report.html"
    assert cli("report", run, "--md").out == "### EXPLORING: demo\n"


def test_a_changed_report_is_not_shown(cli, stored, tmp_path):
    run = stored(A)
    (tmp_path / ".safetycatch" / "runs" / run / "report.html").write_text("better!")
    ended = cli("report")
    assert ended.code == 10
    assert "altered" in ended.err


def test_verify_passes_a_whole_store(cli, stored):
    stored(A)
    assert cli("verify").code == 0
    assert cli("verify", "--json").document["whole"]


def test_verify_finds_a_truncated_file(cli, stored, tmp_path):
    run = stored(A)
    path = tmp_path / ".safetycatch" / "runs" / run / "scores.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    ended = cli("verify")
    assert ended.code == 10
    assert "SC1202 refused" in ended.out
    assert "scores.parquet" in ended.out
    assert cli("verify", "--json").document["findings"][0]["status"] == "fired"


def test_a_killed_run_is_stopped_and_one_at_work_runs(cli, tmp_path):
    now = datetime.now(UTC)
    run = Runs(Store.open(tmp_path / ".safetycatch")).begin("demo", "d" * 40, config={}, now=now)
    with run:
        assert cli("ls").out.split()[:2] == [run.run_id, "running"]
        assert cli("ls", "--json").document[0]["status"] == "running"
    # What the death of its process leaves: the manifest as it was, and no lock.
    assert "stopped (resumable)" in cli("ls").out
    assert cli("ls", "--json").document[0]["status"] == "stopped"
    assert f"{run.run_id} · stopped (resumable)" in cli("show", run.run_id).out
    assert cli("show", run.run_id, "--json").document["status"] == "stopped"
    for verb in ("report", "compare"):
        assert "stopped (resumable)" in cli(verb, run.run_id).err
    assert not list((tmp_path / ".safetycatch" / "locks").iterdir())
