"""What is in the file is in the table, byte for byte, and what cannot be read is refused with its row and column."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from safetycatch.data import load_examples
from safetycatch.errors import DataError
from safetycatch.settings import DataSettings, LeakSettings, SplitSettings


@pytest.fixture
def load(tmp_path):
    """A function from a file's content and settings to the loaded examples."""

    def read(content, name="data.csv", **chosen):
        path = tmp_path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_examples(DataSettings(path=name, **chosen), root=tmp_path)

    return read


def column(loaded, name):
    return loaded.table[name].to_pylist()


@pytest.mark.parametrize(
    "cell", ["007", "None", "NA", "null", "nan", "9007199254740993", "1e5", "TRUE", " spaced ", "é\u200b"]
)
def test_csv_cells_stay_text(load, cell):
    loaded = load(f"input,target\n{cell},{cell}\n")
    assert column(loaded, "input") == column(loaded, "target") == [cell]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([("csv", ","), ("tsv", "\t")]),
)
def test_texts_survive_csv(load, cells, kind):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=kind[1], quoting=csv.QUOTE_ALL)
    writer.writerows([["input", "target"], *([cell, cell] for cell in cells)])
    loaded = load("\ufeff" + stream.getvalue(), f"data.{kind[0]}")
    assert column(loaded, "input") == column(loaded, "target") == cells


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip),
        min_size=1,
        max_size=5,
    )
)
def test_texts_survive_jsonl_and_parquet(load, cells):
    lines = "\n".join(json.dumps({"input": cell, "target": cell}) for cell in cells)
    for loaded in (load(lines, "data.jsonl"), load(pa.table({"input": cells, "target": cells}), "data.parquet")):
        assert column(loaded, "input") == column(loaded, "target") == cells


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("12345678901234567890123", "12345678901234567890123"),
        ("1.50", "1.50"),
        ("-0", "0"),
        ("true", "true"),
        ('[1, "b"]', '[1,"b"]'),
        ('{"b": 1, "a": 9007199254740993}', '{"a":9007199254740993,"b":1}'),
    ],
)
def test_json_values_become_text_exactly(load, written, read):
    assert column(load(f'{{"input": "x", "target": {written}}}', "d.jsonl"), "target") == [read]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([2**53 + 1]), "9007199254740993"),
        (pa.array([0.1], pa.float32()), "0.1"),
        (pa.array([1.0]), "1.0"),
        (pa.array([True]), "true"),
        (pa.array([datetime(2024, 1, 2, 3, 4, 5, 600, tzinfo=UTC)]), "2024-01-02T03:04:05.0006Z"),
        (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
        (pa.array([date(2024, 1, 2)]), "2024-01-02"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array(["x"], pa.large_string()), "x"),
        (pa.array([[1, 2]]), "[1,2]"),
    ],
)
def test_parquet_values_become_text_exactly(load, values, text):
    loaded = load(pa.table({"input": ["a"], "target": values}), "d.parquet")
    assert column(loaded, "target") == [text]


@pytest.mark.parametrize(
    ("content", "name", "chosen", "told"),
    [
        ("input,target\na,b\n,c\n", "d.csv", {}, r"d.csv, row 2, column input: no input"),
        ("input,target\na,b\nb,\n", "d.csv", {}, r"row 2, column target: no target"),
        ("input,target\na,b\n", "d.csv", {"input": "inptu"}, r"no column 'inptu'\n.*one of: input, target\n.*'input'"),
        ("input;target\na;b\n", "d.csv", {}, r"separated by ';'"),
        ("input,target\n", "d.csv", {}, r"d.csv: no rows"),
        ("", "d.csv", {}, r"d.csv: the file is empty"),
        ("id,input,target\n1,a,b\n2,c,d\n1,e,f\n", "d.csv", {"id": "id"}, r"row 3, column id: the id '1' .* row 1"),
        ("input,input\na,b\n", "d.csv", {}, r"column 'input' appears twice"),
        ("input,target\na,b\nc,d,e\n", "d.csv", {}, r"d.csv, row 2: 3 cells"),
        ('input,target\na,b\nc,"d\n', "d.csv", {}, r"row 2"),
        (b"input,target\na,b\n\nc,\xff\n", "d.csv", {}, r"row 2, column target: invalid UTF-8 at character 1"),
        (b"input,target\na,b\nc,d\0\n", "d.csv", {}, r"row 2, column target: a NUL"),
        ("input,target\na,b\n".encode("utf-16"), "d.csv", {}, r"UTF-16"),
        ('{"input": "a", "target": "b", "target": "c"}', "d.jsonl", {}, r"row 1: key 'target' appears twice"),
        ('{"input": "a", "target": NaN}', "d.jsonl", {}, r"row 1: NaN"),
        ('{"input": "a", "target": 1e999}', "d.jsonl", {}, r"row 1, column target: .*64-bit float"),
        ('{"input": {"x": 0.12345678901234567890}, "target": 1}', "d.jsonl", {}, r"row 1, column input: .*more digits"),
        ('{"input": "a\\ud800", "target": 1}', "d.jsonl", {}, r"row 1, column input: an unpaired surrogate"),
        (b'{"input": "a\xff", "target": 1}', "d.jsonl", {}, r"row 1, column input: invalid UTF-8"),
        ('{"input": "a\\u0000", "target": 1}', "d.jsonl", {}, r"row 1, column input: a NUL"),
        ('{"input": "a", "target": 1}\n{"input": "a"}', "d.jsonl", {}, r"row 2, column target: no target"),
        ('{"input": "a", "target": ' + "[" * 100 + "]" * 100 + "}", "d.jsonl", {}, r"row 1, column target: .*nested"),
        ('{"input": "a", "target": ' + "[" * 10**5 + "]" * 10**5 + "}", "d.jsonl", {}, r"row 1: nested too deeply"),
        ('[{"input": "a"}]', "d.jsonl", {}, r"row 1: a JSON list"),
        ("{", "d.jsonl", {}, r"row 1: "),
        ("PAR1", "d.parquet", {}, r"not a whole Parquet file"),
        ("{}", "d.json", {}, r"\.json extension"),
        ("input,target\n" + "a" * 1_000_001 + ",b", "d.csv", {}, r"row 1, column input: a cell of 1,000,001"),
        (",".join(f"c{number}" for number in range(2001)) + "\n", "d.csv", {}, r"2001 columns"),
        ("input,target,t\na,b,soon\n", "d.csv", {"time": "t"}, r"row 1, column t: the time 'soon'"),
        ("input,target,s\na,b,eval\n", "d.csv", {"split_column": "s"}, r"row 1, column s: the split 'eval'"),
        ("input,target,group_id\na,b,c\n", "d.csv", {"slices": ["group_id"]}, r"the slice 'group_id'"),
    ],
)
def test_broken_file_is_refused_with_its_place(load, content, name, chosen, told):
    with pytest.raises(DataError, match=f"(?s){told}"):
        load(content, name, **chosen)


def test_parquet_with_broken_values_is_refused_with_its_row(load):
    bad = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    )
    with pytest.raises(DataError, match=r"row 2, column target: invalid UTF-8"):
        load(pa.table({"input": ["a", "b"], "target": bad}), "d.parquet")
    with pytest.raises(DataError, match=r"row 2, column target: the number nan"):
        load(pa.table({"input": ["a", "b"], "target": [1.0, float("nan")]}), "d.parquet")
    with pytest.raises(DataError, match="column target: bytes"):
        load(pa.table({"input": ["a"], "target": [b"a"]}), "d.parquet")


def test_missing_file_names_what_is_there(load, tmp_path):
    load("input,target\na,b\n", "tickets.csv")
    with pytest.raises(DataError, match=r"no such file\n.*there: tickets.csv"):
        load_examples(DataSettings(path="ticket.csv"), root=tmp_path)


def test_file_above_the_limit_is_refused(load):
    with pytest.raises(DataError, match="1 MB at most"):
        load("input,target\n" + "a,b\n" * 300_000, max_file_mb=1)


def test_a_lone_quote_inside_a_cell_is_text(load):
    assert column(load('input,target\na 5" disk,b\n'), "input") == ['a 5" disk']


def test_several_inputs_become_one_json_object(load):
    loaded = load("q,ctx,target\nwhy?,,yes\n", input={"question": "q", "context": "ctx"})
    assert column(loaded, "input") == ['{"context":"","question":"why?"}']
    assert column(loaded, "input_kind") == ["json"]
    loaded = load('{"q": "why?", "n": 3, "target": "yes"}', "d.jsonl", input=["q", "n"])
    assert column(loaded, "input") == ['{"n":3,"q":"why?"}']


def test_chat_messages_are_recognised(load):
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    loaded = load(json.dumps({"input": chat, "target": "x"}), "d.jsonl")
    assert column(loaded, "input_kind") == ["messages"]
    assert json.loads(column(loaded, "input")[0]) == chat
    nested = pa.table({"input": pa.array([chat]), "target": ["x"]})
    assert column(load(nested, "d.parquet"), "input") == column(loaded, "input")
    with pytest.raises(DataError, match="message 1 has the role 'human'"):
        load('{"input": [{"role": "human", "content": "hi"}], "target": "x"}', "d.jsonl")


def test_generate_tasks_have_no_target(load):
    assert column(load("input\na\n", target=None), "target") == [""]


def test_ids_depend_on_content_and_not_on_the_row_number(load):
    first = column(load("input,target\na,b\nc,d\na,b\n"), "example_id")
    second = column(load("input,target\nnew,row\nc,d\na,b\na,b\n"), "example_id")
    assert set(first) <= set(second)
    assert len({*first}) == 3
    assert all(len(name) == 16 for name in first)


def test_own_ids_are_kept(load):
    assert column(load("id,input,target\n007,a,b\n", id="id"), "example_id") == ["007"]


def test_times_become_utc_in_text_order(load):
    loaded = load("input,target,t\na,b,2024-01-02 03:04\nc,d,2024-01-02T03:04:00.5+02:00\ne,f,\n", time="t")
    assert column(loaded, "created_at") == ["2024-01-02T03:04:00.000000Z", "2024-01-02T01:04:00.500000Z", None]
    assert any("taken as UTC" in note for note in loaded.notes)


def test_groups_slices_and_splits_are_read(load):
    loaded = load(
        "input,target,user,thread,lang,fold\na,b,u1,t1,de,Validation\nc,d,,t2,,test\ne,f,,,fr,train\n",
        group=["user", "thread"], slices=["lang", "target"], split_column="fold",
    )  # fmt: skip
    assert column(loaded, "group_id") == ['[["user","u1"],["thread","t1"]]', '[["thread","t2"]]', None]
    assert column(loaded, "lang") == ["de", "", "fr"]
    assert column(loaded, "given_split") == ["dev", "test", "train"]


def test_path_hash_and_row_count_are_told(load, tmp_path):
    import hashlib

    loaded = load("input,target\na,b\na,b\n")
    assert loaded.source_sha256 == hashlib.sha256((tmp_path / "data.csv").read_bytes()).hexdigest()
    assert (loaded.path, loaded.n_rows) == (tmp_path / "data.csv", 2)
    assert any("1 rows repeat" in note for note in loaded.notes)


def test_public_set_loads_whole(public, load):
    rows = public("banking77/banking77")
    loaded = load(pa.table(rows), "d.parquet", id="item_id", input="text", target="label", split_column="split")
    assert column(loaded, "input") == rows["text"]
    assert column(loaded, "given_split") == rows["split"]


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (DataSettings, {"path": "a.csv", "traget": "x"}, "Extra inputs"),
        (SplitSettings, {"train": 0.5}, "sum to 0.5"),
        (SplitSettings, {"column": "split", "test": 1}, "not both"),
        (SplitSettings, {"by": "random"}, "'hash' or 'time'"),
        (LeakSettings, {"near": 0.6, "similar": 0.7}, "above near"),
    ],
)
def test_unusable_settings_are_refused(kind, given, told):
    with pytest.raises(ValidationError, match=told):
        kind.model_validate(given)


def test_a_bare_path_is_enough():
    assert DataSettings.model_validate("tickets.csv").input_columns == {"input": "input"}
