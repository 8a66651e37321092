import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import DataError
from safetycatch.tables import CONTRACTS, checked, empty, schema

SCORES = {
    "run_id": ["r", "r"],
    "candidate": ["a", "a"],
    "example_id": ["1", "2"],
    "replicate": [0, 0],
    "metric": ["accuracy", "accuracy"],
    "value": [1.0, None],
}


def scores(**changes):
    return pa.table({name: column for name, column in {**SCORES, **changes}.items() if column is not None})


@pytest.mark.parametrize("name", CONTRACTS)
def test_an_empty_table_keeps_its_contract(name):
    assert checked(empty(name), name).schema.equals(schema(name))


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_column_says_what_it_holds(name):
    assert all(field.metadata[b"description"] for field in schema(name))


def test_columns_are_put_in_order_and_typed():
    table = checked(scores().select(list(reversed(SCORES))), "scores")
    assert table.column_names == list(SCORES)
    assert table.schema.equals(schema("scores"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": None}, "scores: no column 'metric'"),
        ({"other": ["x", "y"]}, "unknown column 'other'"),
        ({"candidate": ["a", None]}, "row 1, column candidate: missing value"),
        ({"replicate": ["0", "one"]}, "row 1, column replicate: found 'one'"),
        ({"replicate": [0.0, 0.5]}, "row 1, column replicate: found '0.5'"),
        ({"value": ["0.5", "high"]}, "row 1, column value: found 'high'"),
        ({"example_id": [1, 2]}, "column 'example_id' is int64\n  expected text"),
        ({"example_id": [1.0, 2.0]}, "column 'example_id' is double\n  expected text"),
        ({"example_id": ["1", "1"]}, "rows 0 and 1 share run_id 'r', candidate 'a', example_id '1'"),
    ],
)
def test_a_broken_contract_is_named(changes, said):
    with pytest.raises(DataError) as caught:
        checked(scores(**changes), "scores")
    assert said in str(caught.value)


def test_a_column_that_stands_twice_is_refused():
    names = [*SCORES, "value"]
    table = pa.table([*SCORES.values(), [0.0, 0.0]], names=names)
    with pytest.raises(DataError, match="the column 'value' twice"):
        checked(table, "scores")


def test_the_place_is_named():
    with pytest.raises(DataError, match=r"^scores\.parquet: no column 'metric'"):
        checked(scores(metric=None), "scores", "scores.parquet")


def test_slices_may_follow_the_columns_of_examples():
    columns = {name: ["x"] for name in CONTRACTS["examples"].names}
    table = checked(pa.table({"language": ["de"], **columns}), "examples")
    assert table.column_names == [*CONTRACTS["examples"].names, "language"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_text_is_text(kind):
    table = checked(scores(example_id=pa.array(["007", "None"]).cast(kind)), "scores")
    assert table["example_id"].to_pylist() == ["007", "None"]
    assert table.schema.field("example_id").type == pa.string()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), max_size=8))
def test_keys_are_unique_or_refused(keys):
    table = scores(
        run_id=["r"] * len(keys),
        candidate=["a"] * len(keys),
        example_id=pa.array([example_id for example_id, _ in keys], pa.string()),
        replicate=pa.array([replicate for _, replicate in keys], pa.int64()),
        metric=["accuracy"] * len(keys),
        value=[0.0] * len(keys),
    )
    if len(set(keys)) == len(keys):
        assert checked(table, "scores").num_rows == len(keys)
    else:
        with pytest.raises(DataError, match="share"):
            checked(table, "scores")


@given(st.integers(1, 50), st.data())
def test_the_first_bad_row_is_named(n, data):
    bad = data.draw(st.integers(0, n - 1))
    column = ["0"] * bad + ["x"] * (n - bad)
    table = pa.table(
        {
            **{name: [str(row) for row in range(n)] for name in ("run_id", "candidate", "example_id", "metric")},
            "replicate": column,
            "value": [0.0] * n,
        }
    )
    with pytest.raises(DataError, match=f"row {bad}, column replicate"):
        checked(table, "scores")
