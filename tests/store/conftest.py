from datetime import UTC, datetime

import pyarrow as pa
import pytest

from safetycatch.store import Ref, Runs, Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def outside_any_repository(tmp_path, monkeypatch):
    """What a run notes about its surroundings must not depend on the checkout that the tests run in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def now():
    return NOW


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


@pytest.fixture
def runs(store):
    return Runs(store)


@pytest.fixture
def table():
    return pa.table({"example_id": ["a", "b", "c"], "value": [1.5, None, 3.0]})


@pytest.fixture
def put(table):
    def put(store, number=0, data=None, **more) -> Ref:
        given = {"settings": {"k": number}, "parents": [], "version": "1", **more}
        return store.write("split", f"{number:064x}", table if data is None else data, **given)

    return put
