import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest

from safetycatch.errors import InputError, RefusedError, StoreError, UsageError
from safetycatch.store import RunConflictError, Runs, Store

MINUTE = timedelta(minutes=1)


@pytest.fixture
def begin(runs, now):
    def begin(name="tickets", identity="abc", **more):
        return runs.begin(name, identity, **{"config": {"budget": 5}, "now": now, **more})

    return begin


def test_the_id_is_day_name_and_number(begin):
    run = begin()
    assert (run.run_id, run.resumed, run.status) == ("2026-03-01-tickets-1", False, "running")
    assert run.folder.is_dir()


def test_the_day_is_that_of_utc(begin):
    late = datetime(2026, 3, 1, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert begin(now=late).run_id == "2026-03-02-tickets-1"


def test_a_time_without_zone_is_refused(begin):
    with pytest.raises(UsageError, match="zone"):
        begin(now=datetime(2026, 3, 1))  # noqa: DTZ001


@pytest.mark.parametrize("status", ["stopped", "budget", "provider", "failed"])
def test_an_unfinished_run_is_resumed(begin, now, status):
    begin().finish(status, {})
    again = begin(now=now + MINUTE)
    assert (again.run_id, again.resumed, again.started_at) == ("2026-03-01-tickets-1", True, now)
    assert again.status == "running"


def test_a_run_that_was_only_closed_is_resumed(begin):
    with begin() as run:
        pass
    assert begin().run_id == run.run_id


@pytest.mark.parametrize("status", ["done", "refused"])
def test_after_a_finished_run_comes_the_next_number(begin, now, status):
    begin().finish(status, {}, now=now)
    again = begin()
    assert (again.run_id, again.resumed) == ("2026-03-01-tickets-2", False)


def test_a_run_that_ended_after_this_one_was_asked_for_is_this_one(begin, now):
    begin().finish("done", {"by": "another"}, now=now + MINUTE)
    again = begin()
    assert (again.run_id, again.finished) == ("2026-03-01-tickets-1", True)


def test_another_identity_gets_another_number(begin):
    first, second = begin(identity="one"), begin(identity="two")
    assert [first.run_id, second.run_id] == ["2026-03-01-tickets-1", "2026-03-01-tickets-2"]


def test_names_that_end_in_numbers_do_not_mix(begin):
    begin("a-1").close()
    assert begin("a").run_id == "2026-03-01-a-1"
    assert begin("a-1").run_id == "2026-03-01-a-1-1"


def test_the_number_counts_as_a_number(begin):
    for number in range(11):
        begin(identity=f"i{number}").finish("done", {})
    assert begin(identity="new").run_id == "2026-03-01-tickets-12"


def test_an_empty_folder_of_a_dead_process_is_used(begin, store):
    (store.root / "runs" / "2026-03-01-tickets-1").mkdir(parents=True)
    assert begin().run_id == "2026-03-01-tickets-1"


def test_a_folder_with_foreign_files_is_left_alone(begin, store):
    foreign = store.root / "runs" / "2026-03-01-tickets-1"
    foreign.mkdir(parents=True)
    (foreign / "notes").write_text("mine")
    assert begin().run_id == "2026-03-01-tickets-2"


@pytest.mark.parametrize("name", ["../x", "A", "", "a/b"])
def test_r36_only_safe_names_are_taken(begin, name):
    with pytest.raises(InputError):
        begin(name)
    with pytest.raises(InputError):
        begin(identity=name)


def test_sc702_a_run_id_with_other_content_is_refused(begin):
    begin(identity="one").finish("done", {})
    with pytest.raises(RunConflictError) as caught:
        begin(identity="two", run_id="2026-03-01-tickets-1")
    assert isinstance(caught.value, RefusedError)
    assert (caught.value.conflict.stored, caught.value.conflict.given) == ("one", "two")


def test_an_asked_for_run_of_the_same_content_is_returned(begin):
    begin().finish("done", {})
    run = begin(run_id="2026-03-01-tickets-1")
    assert (run.finished, run.resumed) == (True, True)


def test_an_asked_for_run_id_must_fit_the_name(begin):
    with pytest.raises(UsageError):
        begin(run_id="2026-03-01-other-1")


def test_tables_and_texts_are_listed_with_hash_and_rows(begin, runs, table):
    run = begin()
    assert run.write_table("rows", table) == run.folder / "rows.parquet"
    run.write_text("report.html", "<p>ü")
    stored = run.finish("done", {"verdict": "BETTER"})
    assert stored.manifest["tables"]["rows"]["rows"] == 3
    assert len(stored.manifest["files"]["report.html"]["sha256"]) == 64
    assert stored.summary == {"verdict": "BETTER"}
    assert stored.table("rows").equals(table)
    assert stored.table("rows", ["value"]).column_names == ["value"]
    assert stored.text("report.html") == "<p>ü"
    assert stored.table_names == ["rows"]
    assert runs.load("last") == stored


def test_a_stream_of_batches_is_a_table(begin, table):
    run = begin()
    run.write_table("rows", iter(table.to_batches(max_chunksize=1)))
    assert run.finish("done", {}).table("rows").equals(table)


def test_an_unfinished_run_may_write_again(begin, table):
    run = begin()
    run.write_table("rows", table.slice(0, 1))
    run.write_table("rows", table)
    assert run.finish("done", {}).table("rows").equals(table)


def test_tables_of_an_earlier_attempt_are_listed_too(begin, table):
    with begin() as run:
        run.write_table("rows", table)
        run.write_text("notes.md", "x")
    entry = begin().finish("done", {}).manifest
    assert entry["tables"]["rows"]["rows"] == 3
    assert entry["tables"]["rows"]["columns"][0]["name"] == "example_id"
    assert "notes.md" in entry["files"]


def test_a_finished_run_keeps_its_content(begin, now, store, table):
    run = begin()
    run.write_text("report.html", "one")
    run.write_table("rows", table)
    run.finish("done", {})
    run.write_text("report.html", "one")
    run.write_table("rows", table)
    for write in (lambda: run.write_text("report.html", "two"), lambda: run.write_table("rows", table.slice(1))):
        with pytest.raises(RunConflictError, match="nothing was overwritten"):
            write()
    assert (run.folder / "report.html").read_text() == "one"
    with pytest.raises(RunConflictError):
        run.finish("failed", {})


def test_a_finished_run_takes_a_new_file_and_lists_it(begin, runs):
    run = begin()
    run.finish("done", {})
    run.write_text("export.csv", "a,b")
    assert runs.load("last").manifest["files"]["export.csv"]["bytes"] == 3


@pytest.mark.parametrize("name", ["../x", "manifest.json", "rows.parquet", "A"])
def test_texts_have_safe_names_of_their_own(begin, name):
    with pytest.raises(InputError):
        begin().write_text(name, "")


def test_a_run_cannot_end_as_running(begin):
    with pytest.raises(UsageError):
        begin().finish("running", {})


def test_a_summary_without_json_form_is_refused_and_the_run_stays_resumable(begin, runs):
    run = begin()
    with pytest.raises(InputError):
        run.finish("done", {"estimate": float("nan")})
    assert runs.load("last").status == "running"


def test_inputs_are_copied_once(begin, runs):
    run = begin()
    run.snapshot({"prompts/Route me.md": b"one", "../../odd name": b"two"})
    run.snapshot({"prompts/Route me.md": b"one"})
    run.finish("done", {})
    stored = runs.load("last")
    assert stored.input("prompts/Route me.md") == b"one"
    assert stored.input("../../odd name") == b"two"
    assert sorted(path.name for path in (run.folder / "inputs").iterdir()) == ["001-route-me.md", "002-odd-name"]
    with pytest.raises(UsageError):
        stored.input("other")


def test_a_newer_input_of_a_resumed_run_is_added(begin, runs):
    begin().snapshot({"x.yaml": b"budget: 1"})
    begin().snapshot({"x.yaml": b"budget: 5"})
    assert runs.load("last").input("x.yaml") == b"budget: 5"
    assert len(runs.load("last").manifest["inputs"]["x.yaml"]) == 2


def test_sc703_changed_originals_are_told(begin, tmp_path):
    kept, edited, gone = (tmp_path / name for name in ("kept", "edited", "gone"))
    run = begin()
    run.snapshot({str(path): b"one" for path in (kept, edited, gone)})
    kept.write_bytes(b"one")
    edited.write_bytes(b"two")
    changed = run.changed_inputs([kept, edited, gone, tmp_path / "never copied"])
    assert [(one.name, one.now_sha256 is None) for one in changed] == [(str(edited), False), (str(gone), True)]
    assert run.changed_inputs({str(edited): kept}) == []


def test_the_environment_lies_beside(begin):
    facts = json.loads((begin().folder / "environment.json").read_text())
    assert facts["packages"]["pyarrow"]
    assert facts.keys() == {"git", "python", "packages", "platform", "cpus", "command"}


def test_a_resume_in_another_environment_adds_one(begin, monkeypatch):
    begin().close()
    monkeypatch.setattr(sys, "argv", ["safetycatch", "run", "x"])
    run = begin()
    assert json.loads((run.folder / "environment-2.json").read_text())["command"] == "safetycatch run x"


def test_runs_are_listed_newest_first(begin, runs, now):
    for number in (3, 1, 2):
        begin(identity=f"i{number}", now=now + number * MINUTE).finish("done", {})
    begin("other", now=now - timedelta(days=1)).close()
    assert [run.run_id[11:] for run in runs.ls()] == ["tickets-1", "tickets-3", "tickets-2", "other-1"]
    assert [run.run_id[11:] for run in runs.ls(2)] == ["tickets-1", "tickets-3"]
    assert runs.load("last").run_id == "2026-03-01-tickets-1"


def test_a_unique_beginning_is_enough(begin, runs, now):
    begin().close()
    begin("other").close()
    assert runs.load("2026-03-01-o").name == "other"
    with pytest.raises(UsageError, match="2 runs begin with"):
        runs.load("2026-03-01")


def test_an_exact_id_wins_over_longer_ones(begin, runs):
    for number in range(10):
        begin(identity=f"i{number}").finish("done", {})
    assert runs.load("2026-03-01-tickets-1").number == 1


def test_an_unknown_id_names_the_nearest(begin, runs):
    with pytest.raises(UsageError, match="no run yet"):
        runs.load("last")
    begin().close()
    with pytest.raises(UsageError, match="2026-03-01-tickets-1"):
        runs.load("2026-03-01-tickts-1")
    with pytest.raises(UsageError, match="safetycatch ls"):
        runs.load("../../etc")


def test_a_damaged_manifest_is_listed_but_not_loaded(begin, runs):
    run = begin()
    run.close()
    (run.folder / "manifest.json").write_text("{}")
    assert [one.status for one in runs.ls()] == ["damaged"]
    with pytest.raises(StoreError, match=r"manifest\.json"):
        runs.load(run.run_id)
    assert begin().run_id == "2026-03-01-tickets-2"


def test_a_linked_run_folder_is_damaged(begin, runs, store, tmp_path):
    run = begin()
    run.close()
    run.folder.rename(tmp_path / "moved")
    run.folder.symlink_to(tmp_path / "moved")
    assert runs.ls()[0].status == "damaged"


def test_altered_files_are_refused(begin, table):
    run = begin()
    run.snapshot({"x": b"1"})
    run.write_table("rows", table)
    run.write_text("report.md", "fine")
    stored = run.finish("done", {})
    for path in (run.folder / "rows.parquet", run.folder / "report.md", run.folder / "inputs" / "001-x"):
        path.write_bytes(b"other")
    for read in (lambda: stored.table("rows"), lambda: stored.text("report.md"), lambda: stored.input("x")):
        with pytest.raises(StoreError, match="was altered"):
            read()
    with pytest.raises(UsageError, match="no table 'scores'"):
        stored.table("scores")


WORKER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from safetycatch.store import Runs, Store
runs = Runs(Store.open(Path(sys.argv[1])))
run = runs.begin("t", "same", config={}, now=datetime.now(UTC))
print(run.run_id, flush=True)
if sys.stdin.readline() == "finish\\n":
    run.finish("done", {"by": "first"})
"""


@pytest.fixture
def worker(store):
    command = [sys.executable, "-c", WORKER, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().endswith("t-1\n")
        yield process
        process.kill()


def test_r04_the_second_process_waits_and_gets_the_finished_run(worker, runs):
    messages = []

    def wait(message):
        messages.append(message)
        worker.stdin.write("finish\n")
        worker.stdin.flush()

    run = runs.begin("t", "same", config={}, now=datetime.now(UTC), wait=wait, timeout=30)
    assert run.run_id.endswith("t-1")
    assert run.finished
    assert run.stored().summary == {"by": "first"}
    assert "run t is in use by process" in messages[0]


def test_r05_the_second_process_resumes_what_a_killed_one_left(worker, runs):
    run = runs.begin("t", "same", config={}, now=datetime.now(UTC), wait=lambda _: worker.kill(), timeout=30)
    assert run.run_id.endswith("t-1")
    assert (run.resumed, run.finished) == (True, False)


def test_a_short_patience_ends_the_waiting(worker, runs):
    with pytest.raises(StoreError, match="in use"):
        runs.begin("t", "same", config={}, now=datetime.now(UTC), timeout=0)


def test_another_experiment_does_not_wait(worker, runs):
    assert runs.begin("t", "different", config={}, now=datetime.now(UTC), timeout=0).run_id.endswith("t-2")


def test_a_run_that_ended_before_it_was_asked_for_is_not_returned_to_a_waiter(store, now):
    mine = Store.open(store.root, clock=lambda: now)
    Runs(mine).begin("t", "same", config={}, now=now).finish("done", {})
    holding = Runs(mine).begin("t", "same", config={}, now=now + MINUTE)
    from threading import Thread

    result = []
    thread = Thread(
        target=lambda: result.append(
            Runs(mine).begin("t", "same", config={}, now=now + 2 * MINUTE, wait=lambda _: holding.close())
        )
    )
    thread.start()
    thread.join(30)
    assert (result[0].run_id, result[0].resumed) == (holding.run_id, True)


def test_tables_without_a_contract_are_fine(begin):
    assert begin().write_table("anything", pa.table({"x": [[1, 2], None]})).exists()


def test_an_asked_for_folder_with_foreign_files_is_refused(begin, store):
    foreign = store.root / "runs" / "2026-03-01-tickets-1"
    foreign.mkdir()
    (foreign / "notes").write_text("mine")
    with pytest.raises(RunConflictError, match="no manifest"):
        begin(run_id="2026-03-01-tickets-1")


def test_a_damaged_table_of_an_earlier_attempt_is_set_aside(begin, store, table):
    with begin() as run:
        run.write_table("rows", table)
        run.write_table("scores", table)
    (run.folder / "rows.parquet").write_bytes(b"noise")
    assert begin().finish("done", {}).table_names == ["scores"]
    assert (store.root / "quarantine" / f"{run.run_id}@1@rows.parquet").read_bytes() == b"noise"


def test_a_run_that_cannot_begin_gives_its_lock_back(begin, monkeypatch):
    def fail():
        raise StoreError("full")

    monkeypatch.setattr("safetycatch.store.run.environment", fail)
    with pytest.raises(StoreError) as caught:
        begin()
    monkeypatch.undo()
    assert begin(timeout=0).resumed
    del caught
