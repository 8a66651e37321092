"""A suggestion of columns names columns of the file, and can be pasted."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.data.loading import load_examples
from safetycatch.data.naming import data_line
from safetycatch.errors import DataError
from safetycatch.experiment import parse_experiment
from safetycatch.settings import DataSettings

REST = "\nname: x\nprompts: [p.md]\nmodels: [sandbox/echo]\n"


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (["ticket", "body", "queue"], ("body", "queue")),
        (["id", "inputs", "targets"], ("inputs", "targets")),
        (["Label", "Text", "lang"], ("Text", "Label")),
        (["question_id", "question", "created_at", "answer"], ("question", "answer")),
        (["a", "b"], ("a", "b")),
        (["input", "group: x"], ("input", "group: x")),
    ],
)
def test_the_likely_columns_are_named(names, meant):
    read = parse_experiment(data_line("../t.csv", names) + REST, "x.yaml", "x").data
    assert (read.path, read.input, read.target) == ("../t.csv", *meant)


@pytest.mark.parametrize("names", [[], ["id"], ["id", "text"], ["", "text"]])
def test_too_few_columns_make_no_suggestion(names):
    assert data_line("t.csv", names) == ""


@given(st.lists(st.text(min_size=1), unique=True, max_size=6), st.text(min_size=1))
def test_any_names_stay_what_they_are(names, path):
    line = data_line(path, names)
    if line:
        read = yaml.safe_load(line)["data"]
        assert read["path"] == path
        assert {read["input"], read["target"]} <= set(names)
        assert read["input"] != read["target"]


@pytest.mark.parametrize(
    ("chosen", "suggests"), [({}, True), ({"input": "body"}, False), ({"target": None}, False), ({"id": "x"}, False)]
)
def test_only_a_file_that_names_no_column_gets_the_line(tmp_path, chosen, suggests):
    (tmp_path / "t.csv").write_text("ticket,body,queue\n1,a,b\n")
    with pytest.raises(DataError) as caught:
        load_examples(DataSettings(path="t.csv", **chosen), root=tmp_path)
    assert caught.value.fix.startswith("data: {path: t.csv, input: body, target: queue}") is suggests
