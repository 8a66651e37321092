import pyarrow as pa
import pytest

from safetycatch.errors import StoreError
from safetycatch.store.references import References, references


@pytest.fixture
def write(runs, now):
    """Writes a run with the given tables of call keys (None: a table without that column)."""

    def write(name, status="done", **tables):
        run = runs.begin(name, f"id-{name}", config={}, now=now)
        for table, keys in tables.items():
            column = {"value": [1.0]} if keys is None else {"call_key": pa.array(keys, pa.string())}
            run.write_table(table, pa.table(column))
        if status == "running":
            run.close()
        else:
            run.finish(status, {}, now=now)
        return run

    return write


def test_every_table_with_keys_counts(store, write):
    write("one", rows=["a", "b", None], dev_rows=["c", "a"], scores=None)
    write("two", "refused", rows=["d"])
    assert references(store) == References(frozenset("abcd"), frozenset())


@pytest.mark.parametrize("status", ["running", "stopped", "budget", "provider", "failed"])
def test_an_unfinished_run_counts_with_its_tables(store, write, status):
    run = write("one", status, rows=["a"], scores=None)
    assert references(store) == References(frozenset("a"), frozenset([run.run_id]))


def test_a_store_without_runs_refers_to_nothing(store):
    assert references(store) == References(frozenset(), frozenset())


def cut(run):
    path = run.path("rows.parquet")
    path.write_bytes(path.read_bytes()[:-8])


def altered(run):
    path = run.path("rows.parquet")
    path.write_bytes(path.read_bytes().replace(b"a", b"b"))


def gone(run):
    run.path("rows.parquet").unlink()


def without_manifest(run):
    run.path("manifest.json").unlink()


def spoiled_manifest(run):
    run.path("manifest.json").write_text("{}")


def renamed(run):
    run.folder.rename(run.folder.with_name("kept for later"))


@pytest.mark.parametrize("status", ["done", "stopped"])
@pytest.mark.parametrize("damage", [cut, altered, gone, without_manifest, spoiled_manifest, renamed])
def test_a_run_that_cannot_be_read_is_named_and_never_guessed(store, write, status, damage):
    run = write("one", status, rows=["a"])
    write("two", rows=["b"])
    damage(run)
    with pytest.raises(StoreError, match=r"(?s)runs/(2026-03-01-one-1|kept for later).*fix"):
        references(store)


def test_an_empty_folder_of_a_dead_process_is_passed_over(store, write):
    write("one", rows=["a"])
    (store.root / "runs" / "2026-03-01-two-1").mkdir()
    assert references(store).call_keys == {"a"}
