import hashlib
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safetycatch.errors import DataError, InputError, StoreError
from safetycatch.identity import NAME_PATTERN
from safetycatch.store import Ref, Store
from safetycatch.store.disk import Disk
from safetycatch.store.parquet import ROW_GROUP_ROWS

FINGERPRINT = "0" * 64


def parquet_of(store, ref) -> Path:
    return store.root / ref.uri


def manifest_of(store, ref) -> Path:
    return parquet_of(store, ref).with_suffix(".json")


def quarantined_files(store) -> list[str]:
    return sorted(path.name for path in (store.root / "quarantine").iterdir())


def test_what_was_written_is_found_and_read_back(store, put, table):
    ref = put(store)
    assert store.find("split", FINGERPRINT) == ref
    assert store.read(ref).equals(table)
    assert ref == Ref("split", FINGERPRINT, f"artifacts/split/{FINGERPRINT}.parquet", ref.sha256, 3)


def test_the_reference_states_the_sha256_of_the_file(store, put):
    ref = put(store)
    assert hashlib.sha256(parquet_of(store, ref).read_bytes()).hexdigest() == ref.sha256


def test_nothing_is_found_before_it_is_written(store):
    assert store.find("split", FINGERPRINT) is None


def test_a_reference_survives_json(store, put):
    ref = put(store)
    assert Ref.from_dict(json.loads(json.dumps(ref.as_dict()))) == ref


@pytest.mark.parametrize(
    "change",
    [
        {"uri": "../../etc/passwd"},
        {"uri": "artifacts/split/../../x.parquet"},
        {"rows": "3"},
        {"rows": True},
        {"stage": "../up"},
        {"more": 1},
    ],
)
def test_a_forged_reference_is_refused(store, put, change):
    with pytest.raises(InputError):
        Ref.from_dict(put(store).as_dict() | change)


def test_the_manifest_says_what_made_the_table(store, put):
    parent = put(store, 1)
    made = datetime(2026, 3, 1, tzinfo=UTC)
    mine = Store.open(store.root, clock=lambda: made)
    ref = put(mine, 2, parents=[parent], facts={"n_clusters": 7}, version="split-3")
    body = mine.manifest(ref)
    assert body["parents"] == [parent.as_dict()]
    assert body["settings"] == {"k": 2}
    assert body["version"] == "split-3"
    assert (body["rows"], body["bytes"]) == (3, parquet_of(store, ref).stat().st_size)
    assert [column["name"] for column in body["columns"]] == ["example_id", "value"]
    assert body["created_at"] == "2026-03-01T00:00:00+00:00"
    assert body["versions"].keys() == {"safetycatch", "python", "pyarrow"}
    assert mine.facts(ref) == {"n_clusters": 7}


def test_settings_without_a_json_form_are_refused_and_nothing_is_visible(store, put):
    with pytest.raises(InputError):
        put(store, settings={"x": float("nan")})
    assert list((store.root / "artifacts" / "split").iterdir()) == []


def test_an_artifact_that_is_there_is_kept(store, put):
    ref = put(store)
    before = parquet_of(store, ref).stat()
    again = put(store, data=pa.table({"example_id": ["other"], "value": [0.0]}))
    assert again == ref
    assert parquet_of(store, ref).stat().st_ino == before.st_ino


def test_equal_tables_give_equal_bytes_however_they_are_cut(store, put):
    whole = pa.table({"i": range(40_000), "t": [f"text {i % 97}" for i in range(40_000)], "n": [None, 1.0] * 20_000})
    cut = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 20_000), whole.slice(20_007)])
    padded = pa.concat_tables([whole.slice(5, 3), whole]).slice(3)
    stream = iter(whole.to_batches(max_chunksize=1_234))
    with_pandas = pa.Table.from_pandas(whole.to_pandas(), schema=whole.schema)
    many = [whole, cut, padded, stream, with_pandas, whole.combine_chunks()]
    refs = [put(store, number, data) for number, data in enumerate(many)]
    assert len({ref.sha256 for ref in refs}) == 1
    assert pq.read_metadata(parquet_of(store, refs[0])).num_row_groups == -(-40_000 // ROW_GROUP_ROWS)


def test_other_tables_give_other_bytes(store, put):
    assert put(store, 0).sha256 != put(store, 1, pa.table({"example_id": ["a"], "value": [1.0]})).sha256


def test_an_empty_table_keeps_its_columns(store, put, table):
    ref = put(store, data=table.slice(0, 0))
    assert ref.rows == 0
    assert store.read(ref).schema.equals(table.schema)


def test_an_empty_stream_needs_a_schema(store, put, table):
    with pytest.raises(DataError, match="schema"):
        put(store, data=iter(()))
    ref = put(store, 1, iter(()), schema=table.schema)
    assert store.read(ref).schema.equals(table.schema)


def test_field_metadata_stays(store, put):
    schema = pa.schema([pa.field("x", pa.int64(), metadata={"unit": "s"})], metadata={"pandas": "noise"})
    read = store.read(put(store, data=pa.table({"x": [1]}, schema=schema))).schema
    assert read.field("x").metadata == {b"unit": b"s"}
    assert read.metadata is None


@pytest.mark.parametrize(
    ("data", "schema"),
    [
        (pa.table([[1], [2]], names=["x", "x"]), None),
        (pa.table({"x": ["text"]}), pa.schema([("x", pa.int64())])),
        (pa.table({"x": [1]}), pa.schema([("y", pa.int64())])),
        ([pa.record_batch({"x": [1]}), pa.record_batch({"y": [1]})], None),
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_leaves_nothing(store, put, data, schema):
    with pytest.raises(DataError):
        put(store, data=data, schema=schema)
    assert list((store.root / "artifacts" / "split").iterdir()) == []


def test_a_stream_that_fails_leaves_nothing_and_its_own_error(store, put, table):
    def failing():
        yield table.to_batches()[0]
        raise OSError("the source broke")

    with pytest.raises(OSError, match="the source broke"):
        put(store, data=failing())
    assert list((store.root / "artifacts" / "split").iterdir()) == []


def test_columns_come_in_the_order_asked_for(store, put):
    ref = put(store)
    assert store.read(ref, ["value", "example_id"]).column_names == ["value", "example_id"]
    assert next(iter(store.batches(ref, ["value", "example_id"]))).schema.names == ["value", "example_id"]


def test_an_unknown_column_is_an_error(store, put):
    with pytest.raises(DataError, match="no column 'nope'"):
        store.read(put(store), ["nope"])


def test_batches_are_the_rows_in_order(store, put, table):
    batches = list(store.batches(put(store), size=2))
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert pa.Table.from_batches(batches).equals(table)


def test_a_stream_is_written_and_read_with_flat_memory(tmp_path):
    script = """
import resource, sys, pyarrow as pa
from pathlib import Path
from safetycatch.store import Store
store = Store.open(Path(sys.argv[1]))
def stream(n):
    for i in range(n):
        yield pa.record_batch({"t": [f"{i}-{j}-" + "x" * 1000 for j in range(2048)]})
def use(n):
    ref = store.write("s", f"{n:064x}", stream(n), settings={}, parents=[], version="1")
    assert sum(batch.num_rows for batch in store.batches(ref)) == n * 2048
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small = use(16)
print(use(96) - small)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "s")], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 100  # MB; the longer table is 190 MB


def test_r08_an_altered_file_is_set_aside_and_recomputed(store, put, table):
    ref = put(store)
    path = parquet_of(store, ref)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert store.find("split", FINGERPRINT) is None
    assert quarantined_files(store) == [f"split@{FINGERPRINT}.1.json", f"split@{FINGERPRINT}.1.parquet"]
    assert (store.root / store.quarantined[0].path).read_bytes() == data
    assert store.quarantined[0].problem.kind == "altered"
    assert store.read(put(store)).equals(table)


def test_r08_damage_that_comes_back_stops_the_run(store, put):
    for attempt in range(2):
        parquet_of(store, put(store)).write_bytes(b"noise")
        if attempt == 0:
            assert store.find("split", FINGERPRINT) is None
    with pytest.raises(StoreError, match="damaged again"):
        store.find("split", FINGERPRINT)


def test_r08_two_valid_files_swapped_are_noticed(store, put):
    one, two = put(store, 0), put(store, 1, pa.table({"x": [1]}))
    swap(parquet_of(store, one), parquet_of(store, two))
    assert store.find("split", one.fingerprint) is None
    assert store.find("split", two.fingerprint) is None


def test_r08_two_valid_pairs_swapped_are_noticed(store, put):
    one, two = put(store, 0), put(store, 1, pa.table({"x": [1]}))
    swap(parquet_of(store, one), parquet_of(store, two))
    swap(manifest_of(store, one), manifest_of(store, two))
    assert store.find("split", one.fingerprint) is None
    assert store.find("split", two.fingerprint) is None


def test_a_run_manifest_in_the_place_of_an_artifacts_is_noticed(store, put, runs, now):
    ref = put(store)
    with runs.begin("x", "i", config={}, now=now) as run:
        manifest_of(store, ref).write_bytes((run.folder / "manifest.json").read_bytes())
    assert store.find("split", FINGERPRINT) is None
    assert store.quarantined[0].problem.kind == "manifest"


def swap(one: Path, two: Path) -> None:
    middle = one.with_name("middle")
    one.rename(middle)
    two.rename(one)
    middle.rename(two)


def test_r09_a_file_without_a_manifest_is_absent(store, put):
    ref = put(store)
    manifest_of(store, ref).unlink()
    assert store.find("split", FINGERPRINT) is None
    assert put(store) == ref
    assert store.find("split", FINGERPRINT) == ref


def test_r09_a_manifest_without_a_file_is_absent(store, put):
    ref = put(store)
    parquet_of(store, ref).unlink()
    assert store.find("split", FINGERPRINT) is None
    assert put(store) == ref
    assert store.find("split", FINGERPRINT) == ref


def test_reading_a_missing_file_names_it(store, put):
    ref = put(store)
    parquet_of(store, ref).unlink()
    with pytest.raises(StoreError, match=f"{FINGERPRINT}.parquet is missing"):
        store.read(ref)


def test_reading_an_altered_file_names_it(store, put):
    ref = put(store)
    parquet_of(store, ref).write_bytes(parquet_of(store, ref).read_bytes()[:-1])
    with pytest.raises(StoreError, match=f"{FINGERPRINT}.parquet was altered"):
        store.read(ref)
    with pytest.raises(StoreError, match="was altered"):
        list(store.batches(ref))


def test_page_checksums_catch_what_the_remembered_hash_would_miss(store, put):
    ref = put(store, data=pa.table({"x": list(range(1000))}))
    path = parquet_of(store, ref)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    status = path.stat()
    seen = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    store.tree._digests[status.st_dev, status.st_ino] = (seen, ref.sha256)
    with pytest.raises(StoreError, match=r"parquet is damaged"):
        store.read(ref)


def test_a_settled_file_is_hashed_once(store, put, monkeypatch):
    ref = put(store)
    os.utime(parquet_of(store, ref), (1, 1))
    later = parquet_of(store, ref).stat().st_ctime_ns + 10**9
    monkeypatch.setattr("safetycatch.store.disk.time.time_ns", lambda: later)
    assert store.find("split", FINGERPRINT) == ref
    reads = []
    monkeypatch.setattr("safetycatch.store.disk.os.pread", lambda *a: reads.append(a) or b"")
    assert store.find("split", FINGERPRINT) == ref
    assert reads == []


def test_a_change_with_restored_times_is_noticed(store, put):
    ref = put(store)
    path = parquet_of(store, ref)
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[50] ^= 255
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert store.find("split", FINGERPRINT) is None


def test_r46_folders_are_0700_and_files_0600_whatever_the_umask(tmp_path, put, now):
    script = """
import os, sys, pyarrow as pa
from datetime import UTC, datetime
from pathlib import Path
os.umask(int(sys.argv[2], 8))
from safetycatch.store import Runs, Store
store = Store.open(Path(sys.argv[1]) / "deep" / "store")
store.write("s", "f", pa.table({"x": [1]}), settings={}, parents=[], version="1")
(store.root / "artifacts/s/f.parquet").write_bytes(b"")
store.find("s", "f")
run = Runs(store).begin("x", "i", config={}, now=datetime.now(UTC))
run.snapshot({"a": b"b"})
run.write_table("rows", pa.table({"x": [1]}))
print(store.root)
for path in [store.root, *store.root.rglob("*")]:
    assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), (path, oct(path.stat().st_mode))
"""
    for umask in ("000", "177"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / umask), umask], check=True, capture_output=True)


def test_r37_a_linked_file_is_never_followed(store, put, tmp_path):
    ref = put(store)
    outside = tmp_path / "outside.parquet"
    parquet_of(store, ref).rename(outside)
    parquet_of(store, ref).symlink_to(outside)
    with pytest.raises(StoreError, match="link"):
        store.read(ref)
    assert store.find("split", FINGERPRINT) is None
    assert outside.exists()
    assert (store.root / store.quarantined[0].path).is_symlink()


def test_r37_a_linked_folder_is_never_followed(store, put, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (store.root / "artifacts" / "split").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="link"):
        put(store)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_r37_a_pipe_in_the_place_of_a_file_does_not_hang(store, put):
    ref = put(store)
    parquet_of(store, ref).unlink()
    os.mkfifo(parquet_of(store, ref))
    assert store.find("split", FINGERPRINT) is None


@given(st.text(max_size=80) | st.sampled_from(["..", ".", "a/b", "../x", "/abs", "a\0b", "", "CON", "a" * 65, "-a"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_r36_only_safe_names_reach_the_disk(store, name):
    table = pa.table({"x": [1]})
    if NAME_PATTERN.fullmatch(name):
        ref = store.write(name, name, table, settings={}, parents=[], version="1")
        assert (store.root / ref.uri).resolve().is_relative_to(store.root / "artifacts")
        return
    for stage, fingerprint in ((name, FINGERPRINT), ("split", name)):
        with pytest.raises(InputError):
            store.write(stage, fingerprint, table, settings={}, parents=[], version="1")
        with pytest.raises(InputError):
            store.find(stage, fingerprint)


def test_stray_temporary_files_go_once_their_writer_is_dead(store, put):
    folder = store.root / "artifacts" / "split"
    ref = put(store)
    stray = folder / ".tmp-dead"
    stray.write_bytes(b"half")
    with store.tree.temporary("artifacts", "split", "x") as live:
        live.write(b"working")
        Store.open(store.root)
        assert not stray.exists()
        assert (folder / live.name).exists()
    assert store.find("split", FINGERPRINT) == ref


def test_a_store_of_another_user_is_refused(tmp_path):
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    (tmp_path / "s").mkdir(mode=0o700)
    os.chown(tmp_path / "s", 12_345, -1)
    with pytest.raises(StoreError, match="belongs to user 12345"):
        Store.open(tmp_path / "s")


def test_a_store_that_others_may_write_to_is_refused(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s").chmod(0o770)
    with pytest.raises(StoreError, match="chmod go-w"):
        Store.open(tmp_path / "s")


def test_a_store_short_of_space_is_refused(tmp_path):
    with pytest.raises(StoreError, match="MB free"):
        Store.open(tmp_path / "s", min_free_bytes=1 << 60)


def test_a_file_in_the_place_of_the_store_is_refused(tmp_path):
    (tmp_path / "s").write_bytes(b"")
    with pytest.raises(StoreError, match="no folder"):
        Store.open(tmp_path / "s")


def test_r06_locks_that_lie_are_noticed(tmp_path):
    class Lying(Disk):
        def flock(self, fd, operation):
            pass

    with pytest.raises(StoreError, match="two holders"):
        Store.open(tmp_path / "s", disk=Lying())


def test_a_folder_without_locks_is_said_to_have_none(tmp_path):
    class Lockless(Disk):
        def flock(self, fd, operation):
            raise OSError(37, "No locks available")

    with pytest.raises(StoreError, match="has no locks"):
        Store.open(tmp_path / "s", disk=Lockless())


def test_the_health_is_a_fact(store):
    assert store.health.usable
    assert store.health.free_bytes > 0


def test_the_url_is_the_same_through_a_link(store, tmp_path):
    (tmp_path / "link").symlink_to(store.root)
    assert Store.open(tmp_path / "link").url == store.url == store.root.as_uri()


EIGHT = """
import os, sys, time, pyarrow as pa, pyarrow.parquet
from pathlib import Path
from safetycatch.store import Store
root, start = Path(sys.argv[1]), time.monotonic() + 0.2
children = []
for worker in range(8):
    if child := os.fork():
        children.append(child)
        continue
    store = Store.open(root)
    time.sleep(max(0, start - time.monotonic()))
    refs = []
    for n in range(10):
        table = pa.table({"x": list(range(1000)), "who": [worker if n % 2 else 0] * 1000})
        refs.append(store.write("s", f"{n:064x}", table, settings={}, parents=[], version="1"))
        store.read(refs[-1])
    assert not store.quarantined, store.quarantined
    os.write(1, f"{hash(tuple(ref.sha256 for ref in refs))}\\n".encode())
    sys.exit()
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def test_r04_eight_processes_write_the_same_artifact_and_get_one(tmp_path):
    done = subprocess.run(
        # Python 3.12 warns of a fork beside pyarrow's threads, which the children do not need.
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", EIGHT, str(tmp_path / "s")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 8
    assert len(set(done.stdout.splitlines())) == 1
    assert len(list((tmp_path / "s" / "artifacts" / "s").iterdir())) == 20
    assert list((tmp_path / "s" / "locks").iterdir()) == []


def test_threads_write_the_same_artifact_and_get_one(store, put):
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: put(store), range(32)))) == 1


def test_the_working_lock_lets_one_compute_and_the_other_find(store, put):
    messages = []

    def work(_):
        with store.lock("split", FINGERPRINT, wait=messages.append):
            found = store.find("split", FINGERPRINT)
            return (False, found) if found else (True, put(store))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    assert sum(computed for computed, _ in results) == 1
    assert len({ref for _, ref in results}) == 1


def test_everything_visible_is_a_regular_file_or_folder(store, put):
    put(store)
    modes = {stat.S_IFMT(path.lstat().st_mode) for path in store.root.rglob("*")}
    assert modes == {stat.S_IFREG, stat.S_IFDIR}
