import sqlite3
import time

import pytest

from safetycatch.store import Problem, verify


def problems(store) -> list[tuple[str, str]]:
    return [(problem.path, problem.kind) for problem in verify(store)]


def test_an_empty_store_is_fine(store):
    assert verify(store) == []


@pytest.fixture
def full(store, put, runs, now, table):
    put(store)
    with runs.begin("done", "i", config={}, now=now) as run:
        run.snapshot({"x.yaml": b"data"})
        run.write_table("rows", table)
        run.write_text("report.html", "text")
        run.finish("done", {})
    with runs.begin("open", "i", config={}, now=now) as run:
        run.snapshot({"x.yaml": b"data"})
        run.write_table("rows", table)
    sqlite3.connect(store.root / "calls.db").execute("CREATE TABLE calls (x)").connection.close()
    return store


def test_a_full_store_is_fine(full):
    assert verify(full) == []


ARTIFACT = "artifacts/split/" + "0" * 64
DONE, OPEN = "runs/2026-03-01-done-1", "runs/2026-03-01-open-1"


@pytest.mark.parametrize("path", [f"{DONE}/rows.parquet", f"{DONE}/report.html", f"{ARTIFACT}.parquet"])
def test_a_missing_file_is_told(full, path):
    (full.root / path).unlink()
    assert problems(full) == [(path, "missing")]


def test_a_file_without_its_manifest_is_unlisted(full):
    (full.root / f"{ARTIFACT}.json").unlink()
    assert problems(full) == [(f"{ARTIFACT}.parquet", "unlisted")]


def test_a_run_without_its_manifest_is_told(full):
    (full.root / DONE / "manifest.json").unlink()
    assert problems(full) == [(f"{DONE}/manifest.json", "missing")]


@pytest.mark.parametrize("path", ["artifacts/x/README", "artifacts/Odd", f"{DONE}/extra", "runs/notes.txt"])
def test_a_foreign_file_is_unlisted(full, path):
    (full.root / path).parent.mkdir(exist_ok=True)
    (full.root / path).write_text("hello")
    assert problems(full) == [(path, "unlisted")]


@pytest.mark.parametrize(
    "path",
    [f"{DONE}/rows.parquet", f"{DONE}/report.html", f"{DONE}/inputs/001-x.yaml", f"{ARTIFACT}.parquet"],
)
def test_a_shorter_file_is_truncated(full, path):
    (full.root / path).write_bytes((full.root / path).read_bytes()[:-1])
    assert problems(full) == [(path, "truncated")]


@pytest.mark.parametrize("path", [f"{DONE}/manifest.json", f"{OPEN}/manifest.json", f"{ARTIFACT}.json"])
def test_an_altered_manifest_is_told(full, path):
    (full.root / path).write_bytes((full.root / path).read_bytes().replace(b'"rows": 3', b'"rows": 4') + b" ")
    assert problems(full) == [(path, "manifest")]


def test_a_damaged_table_of_an_unfinished_run_is_told(full):
    path = full.root / OPEN / "rows.parquet"
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    assert problems(full) == [(f"{OPEN}/rows.parquet", "altered")]


@pytest.mark.parametrize("data", [b"", b"SQLite format 3\0" + bytes(80), b"x" * 5000])
def test_a_damaged_database_is_told(full, data):
    with (full.root / "calls.db").open("rb+") as stream:
        stream.truncate(0)
        stream.write(data)
    expected = [] if not data else [("calls.db", "altered")]  # SQLite takes an empty file for an empty database
    assert problems(full) == expected


def test_every_flipped_byte_is_detected_by_verify_and_find(store, put):
    ref = put(store)
    detected = 0
    for path in (store.root / ref.uri, (store.root / ref.uri).with_suffix(".json")):
        whole = path.read_bytes()
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            assert isinstance(store.inspect("split", ref.fingerprint, full=True), Problem), (path.name, place)
            if path.suffix == ".parquet":
                assert isinstance(store.inspect("split", ref.fingerprint), Problem), (path.name, place)
            detected += 1
        path.write_bytes(whole)
    assert detected > 1400
    assert store.find("split", ref.fingerprint) == ref


def test_every_truncation_is_detected_by_verify_and_find(store, put):
    ref = put(store)
    for path in (store.root / ref.uri, (store.root / ref.uri).with_suffix(".json")):
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert isinstance(store.inspect("split", ref.fingerprint), Problem), (path.name, length)
        path.write_bytes(whole)
    assert store.find("split", ref.fingerprint) == ref


def test_nothing_is_moved(full):
    (full.root / f"{ARTIFACT}.parquet").write_bytes(b"")
    verify(full)
    assert (full.root / f"{ARTIFACT}.parquet").exists()


def test_many_artifacts_take_little_time(store, table):
    for number in range(200):
        store.write("s", f"{number:04d}", table, settings={}, parents=[], version="1")
    began = time.process_time()
    assert verify(store) == []
    assert time.process_time() - began < 2
