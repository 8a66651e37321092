"""A data file with further rows: old cells stay to the letter in every format."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.data.extension import extended
from safetycatch.data.reading import read_columns
from safetycatch.errors import DataError

CELL = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
NEW = [{"input": 'new, "one"\n', "target": "x"}]


def read(data, kind, *names):
    return read_columns(data, kind, names, "f").cells


def parquet(**columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize("kind", [".csv", ".tsv"])
@given(cells=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=4))
def test_old_cells_of_a_table_stay(kind, cells):
    first = extended(b"input,target\n" if kind == ".csv" else b"input\ttarget\n", kind, [
        {"input": a, "target": b} for a, b in cells
    ], {}, place="f")  # fmt: skip
    made = read(extended(first, kind, NEW, {"from": ["a"] * len(cells)}, place="f"), kind, "input", "target", "from")
    assert made["input"] == [*(a for a, _ in cells), NEW[0]["input"]]
    assert made["target"] == [*(b for _, b in cells), "x"]
    assert made["from"] == [*("a" for _ in cells), ""]


def test_numbers_of_json_lines_keep_their_digits():
    data = b'{"input": "a", "n": 0.10000000000000000001}\n{"input": "b", "n": 1e400}\n'.replace(b"1e400", b"1.50")
    made = extended(data, ".jsonl", NEW, {"split": ["train", "test"]}, place="f")
    assert b'"n": 0.10000000000000000001, "split": "train"}' in made
    assert read(made, ".jsonl", "split", "input")["input"][2] == NEW[0]["input"]


def test_an_empty_object_takes_a_column():
    assert extended(b'{"input": "a"}\n{}\n', ".jsonl", [], {"s": ["x", "y"]}, place="f").endswith(b'{"s": "y"}\n')


def test_parquet_keeps_its_types():
    made = extended(parquet(input=["a"], n=[7]), ".parquet", [{"input": "b", "n": "8"}], {}, place="f")
    assert pq.read_table(io.BytesIO(made)).to_pydict() == {"input": ["a", "b"], "n": [7, 8]}


def test_a_text_that_a_column_cannot_hold_is_refused():
    with pytest.raises(DataError, match="column 'n' holds int64"):
        extended(parquet(input=["a"], n=[7]), ".parquet", [{"input": "b", "n": "many"}], {}, place="f")


def test_a_column_that_is_there_is_not_added():
    with pytest.raises(DataError, match="there is a column 'input' already"):
        extended(b"input\na\n", ".csv", [], {"input": ["x"]}, place="f")


def test_rows_can_be_left_out():
    made = extended(b"input\na\nb\nc\n", ".csv", [], {"s": ["1", "2", "3"]}, place="f", left_out=frozenset({1}))
    assert made == b"input,s\na,1\nc,3\n"
