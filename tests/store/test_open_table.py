import pyarrow as pa
import pytest

from safetycatch.errors import DataError, StoreError, UsageError
from safetycatch.store.parquet import ROW_GROUP_ROWS

N = ROW_GROUP_ROWS + 10


@pytest.fixture
def many():
    return pa.table({"metric": ["a"] * ROW_GROUP_ROWS + ["b"] * 10, "value": list(range(N))})


def test_groups_are_the_table_in_parts(store, put, many):
    with_groups = store.open_table(put(store, data=many))
    assert with_groups.sizes == (ROW_GROUP_ROWS, 10)
    parts = [with_groups.read(["value"], number) for number in (0, 1)]
    assert pa.concat_tables(parts)["value"].to_pylist() == list(range(N))
    with_groups.close()


def test_statistics_say_which_groups_may_hold_a_text(store, put, many):
    opened = store.open_table(put(store, data=many))
    assert [opened.may_hold("metric", text) for text in ("a", "b", "c")] == [[0], [1], []]


def test_a_column_without_statistics_may_hold_anything(store, put):
    nothing = pa.table({"metric": pa.nulls(3, pa.string())})
    assert store.open_table(put(store, data=nothing)).may_hold("metric", "a") == [0]


def test_an_unknown_column_is_refused(store, put):
    with pytest.raises(DataError, match="no column 'x'"):
        store.open_table(put(store)).read(["x"])


def test_an_altered_table_is_not_opened(runs, now, table):
    with runs.begin("t", "same", config={}, now=now) as run:
        path = run.write_table("rows", table)
        stored = run.finish("done", {}, now=now)
    assert stored.open_table("rows").read(["value"])["value"].to_pylist() == [1.5, None, 3.0]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="altered"):
        stored.open_table("rows")
    with pytest.raises(UsageError, match="no table 'x'"):
        stored.open_table("x")


def test_a_table_that_is_replaced_stays_readable(store, put):
    ref = put(store)
    opened = store.open_table(ref)
    store.path(ref).unlink()
    assert opened.read(["example_id"], 0)["example_id"].to_pylist() == ["a", "b", "c"]


def test_a_table_without_rows_is_read_too(store, put):
    opened = store.open_table(put(store, data=pa.table({"metric": pa.array([], pa.string())})))
    assert opened.read(["metric"]).num_rows == 0


def test_missing_values_are_known_from_the_file_alone(store, put):
    opened = store.open_table(put(store))
    assert [opened.n_missing(column, 0) for column in ("example_id", "value")] == [0, 1]
