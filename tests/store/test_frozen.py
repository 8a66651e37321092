import pyarrow as pa
import pytest

from safetycatch.errors import StoreError
from safetycatch.store import Store, verify
from safetycatch.store.frozen import FOLDER, FrozenSplit, read_frozen, write_frozen

KEY = "a" * 64


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


@pytest.fixture
def frozen(store):
    table = pa.table({"example_id": ["a"], "split": ["test"]})
    ledger = store.write("split-ledger", "1" * 64, table, settings={}, parents=[], version="1")
    made = FrozenSplit(ledger, ledger, "b" * 64)
    write_frozen(store, KEY, made)
    return made


def test_the_first_run_has_no_frozen_split(store):
    assert read_frozen(store, KEY) is None


def test_what_was_frozen_is_read_back(store, frozen):
    assert read_frozen(store, KEY) == frozen


def test_a_changed_pointer_is_an_error_and_not_a_new_split(store, frozen):
    path = store.root / FOLDER / f"{KEY}.json"
    path.write_bytes(path.read_bytes().replace(b"b" * 64, b"c" * 64))
    with pytest.raises(StoreError, match="damaged"):
        read_frozen(store, KEY)
    assert [problem.path for problem in verify(store)] == [f"{FOLDER}/{KEY}.json"]


def test_a_missing_ledger_is_an_error_and_not_a_new_split(store, frozen):
    store.path(frozen.ledger).unlink()
    with pytest.raises(StoreError, match="missing or damaged"):
        read_frozen(store, KEY)
