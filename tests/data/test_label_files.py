"""Label files: what is read, what is refused, and that what was exported comes back exactly."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch import tables
from safetycatch.data.label_files import LABEL_COLUMNS, Labelled, content_id, read_labels
from safetycatch.data.label_writing import WRITTEN_KINDS, label_file
from safetycatch.data.loading import load_examples
from safetycatch.data.spreadsheet import defused, restored
from safetycatch.errors import DataError
from safetycatch.identity import output_hash
from safetycatch.judge_settings import JudgeSettings
from safetycatch.settings import DataSettings


def read(tmp_path, text, settings=None, name="labels.csv"):
    path = tmp_path / name
    path.write_text(text, newline="")
    return read_labels(path, settings)


def scale(**settings):
    return JudgeSettings.model_validate({"model": "sandbox/judge", "prompt": "judge.md", **settings})


# -- what is read ----------------------------------------------------------------------------------------------------


def test_output_and_label_are_enough(tmp_path):
    found = read(tmp_path, "output,label\nParis,yes\nRome,no\n")
    assert found.labels["label"].to_pylist() == ["pass", "fail"]
    assert found.labels["annotator"].to_pylist() == ["unnamed"] * 2
    assert found.items["output_hash"].to_pylist() == [output_hash("Paris"), output_hash("Rome")]


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("true", "false"), ("Good", "Bad"), ("pass", "fail"), ("Y", "n")])
def test_ways_to_write_pass_and_fail(tmp_path, yes, no):
    found = read(tmp_path, f"output,label\na,{yes}\nb,{no}\n")
    assert found.labels["label"].to_pylist() == ["pass", "fail"]


def test_how_labels_were_spelled_is_told(tmp_path):
    assert "labels are read so: 'yes' as pass" in read(tmp_path, "output,label\na,yes\n").notes
    assert not any("labels are read" in note for note in read(tmp_path, "output,label\na,pass\n").notes)


def test_other_labels_stay_as_written_without_a_scale_and_it_is_told(tmp_path):
    found = read(tmp_path, "output,label\na,1\nb,4\n")
    assert found.labels["label"].to_pylist() == ["1", "4"]
    assert "labels are classes, as they are written: '1', '4'" in found.notes


def test_a_file_that_is_not_there_is_told_with_the_nearest_name(tmp_path):
    (tmp_path / "labels.csv").write_text("output,label\na,yes\n")
    with pytest.raises(DataError, match="no label set or file") as told:
        read_labels(tmp_path / "lables")
    assert "labels.csv, if that was meant" in told.value.fix


def test_a_label_that_the_scale_does_not_have_is_refused_with_its_row(tmp_path):
    with pytest.raises(DataError, match=r"row 2, column label: the label 'maybe'"):
        read(tmp_path, "output,label\na,yes\nb,maybe\n", scale())
    with pytest.raises(DataError, match="the label '6'"):
        read(tmp_path, "output,label\na,6\n", scale(scale=[1, 2, 3, 4, 5]))


def test_grades_and_classes_as_the_scale_has_them(tmp_path):
    assert read(tmp_path, "output,label\na,4.0\nb,2\n", scale(scale=[1, 2, 3, 4, 5])).labels["label"].to_pylist() == [
        "4",
        "2",
    ]
    classes = scale(scale=["Helpful", "evasive"], passes=["Helpful"])
    assert read(tmp_path, "output,label\na,helpful\n", classes).labels["label"].to_pylist() == ["Helpful"]


def test_a_criterion_is_passed_or_failed_whatever_the_scale(tmp_path):
    text = "output,criterion,label\na,tone,yes\na,facts,0\n"
    found = read(tmp_path, text).labels.to_pylist()
    assert {row["criterion"]: row["label"] for row in found} == {"tone": "pass", "facts": "fail"}


def test_ids_from_content_are_those_of_the_experiment(tmp_path):
    (tmp_path / "data.csv").write_text("input,target\n2+2?,4\n")
    rows = load_examples(DataSettings(path="data.csv"), root=tmp_path).table
    found = read(tmp_path, "input,target,output,label\n2+2?,4,four,1\n")
    assert found.items["example_id"].to_pylist() == rows["example_id"].to_pylist() == [content_id("2+2?", "4", "four")]


def test_other_columns_are_slices_where_they_belong_to_the_item(tmp_path):
    text = "example_id,output,annotator,label,language,seconds\n1,a,ada,yes,de,3\n1,a,bob,no,de,9\n"
    found = read(tmp_path, text)
    assert found.items["language"].to_pylist() == ["de"]
    assert "seconds" not in found.items.column_names
    assert "no slices, for they differ within an item: seconds" in found.notes


def test_a_row_without_a_label_is_an_item_nobody_labelled(tmp_path):
    found = read(tmp_path, "example_id,output,label\n1,a,\n2,b,pass\n")
    assert (found.items.num_rows, found.labels.num_rows) == (2, 1)


def test_the_probability_of_an_item_goes_with_its_labels(tmp_path):
    found = read(tmp_path, "output,label,sampling_probability\na,1,0.25\nb,1,\n")
    assert found.labels["sampling_probability"].to_pylist() == [0.25, None]


# -- what is refused -------------------------------------------------------------------------------------------------


def test_two_labels_of_one_annotator_are_listed(tmp_path):
    text = "example_id,output,annotator,label\n1,a,ada,yes\n1,a,bob,no\n1,a,ada,no\n"
    with pytest.raises(DataError, match="ada on 1: pass in row 1, fail in 3"):
        read(tmp_path, text)


def test_the_same_label_twice_counts_once(tmp_path):
    found = read(tmp_path, "output,annotator,label\na,ada,yes\na,ada,1\n")
    assert found.labels.num_rows == 1
    assert "1 rows repeat an earlier label and count once" in found.notes


def test_an_output_that_was_edited_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"row 1, column output: the output is not the one that was exported"):
        read(tmp_path, f"example_id,output,output_hash,label\n1,Pariss,{output_hash('Paris')},yes\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("label\nyes\n", "no column 'output'"),
        ("output\na\n", "no column 'label'"),
        ("output,label\n", "no rows"),
        ("output,label,sampling_probability\na,1,0\n", "row 1, column sampling_probability: '0'"),
        ("output,label,sampling_probability\na,1,nan\n", "column sampling_probability: 'nan'"),
        ("output,label,labelled_at\na,1,yesterday\n", "the time 'yesterday'"),
        ("example_id,input,output,label\n1,x,a,1\n1,y,a,0\n", "another input than in row 1"),
    ],
)
def test_what_else_is_refused(tmp_path, text, told):
    with pytest.raises(DataError, match=told):
        read(tmp_path, text)


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"\.xlsx extension"):
        read(tmp_path, "", name="labels.xlsx")


# -- the round trip --------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "=1+1",
        "'=1+1",
        "''tis",
        "'tis",
        "@a",
        "-3",
        "\t",
        "\r\n",
        'a"b',
        "a,b\nc",
        " x ",
        "\uff1d1",
        "null",
        "007",
        "nan",
    ]
)
SAID = TEXT.filter(bool)
NAME = TEXT.map(str.strip).filter(bool)


@st.composite
def labelled(draw):
    keys = draw(st.lists(st.tuples(SAID, TEXT, TEXT), min_size=1, max_size=4, unique=True))
    items, labels = [], []
    for example_id, candidate, output in keys:
        key = {"example_id": example_id, "candidate": candidate, "output_hash": output_hash(output)}
        drawn = draw(st.none() | st.floats(1e-6, 1))
        items.append(
            {
                **key,
                "input": draw(TEXT),
                "output": output,
                "reference": draw(st.none() | SAID),
                "sampling_probability": drawn,
                "language": draw(SAID),
            }
        )
        for annotator, criterion in draw(st.sets(st.tuples(NAME, st.sampled_from(["", "tone", "facts"])), max_size=3)):
            labels.append(
                {
                    **key,
                    "annotator": annotator,
                    "criterion": criterion,
                    "label": draw(st.sampled_from(["pass", "fail"])),
                    "critique": draw(st.none() | SAID),
                    "failure_mode": draw(st.none() | st.sampled_from(["rude", "rude; wrong", "=cmd"])),
                    "rubric_hash": draw(st.none() | st.just("ab" * 32)),
                    "labelled_at": draw(st.none() | st.just("2026-11-23T04:00:00+00:00")),
                    "sampling_probability": drawn,
                }
            )
    schema = tables.schema("label_items").append(pa.field("language", pa.string()))
    return Labelled(
        pa.Table.from_pylist(items, schema=schema), pa.Table.from_pylist(labels, schema=tables.schema("labels"))
    )


def rows_of(table):
    return sorted(table.to_pylist(), key=lambda row: json.dumps(row, sort_keys=True))


@pytest.mark.parametrize("kind", WRITTEN_KINDS)
@given(one=labelled())
def test_what_was_exported_comes_back_exactly(kind, one, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"round{kind}"
    path.write_bytes(label_file(one, kind).content)
    back = read_labels(path)
    assert rows_of(back.labels) == rows_of(one.labels)
    assert rows_of(back.items) == rows_of(one.items)


@given(TEXT)
def test_a_defused_cell_comes_back(text):
    assert restored(defused(text)) == text
    assert not defused(text).startswith(tuple("=+-@\t\r"))


def test_a_foreign_file_keeps_its_apostrophes(tmp_path):
    assert read(tmp_path, "output,label\n'=1,yes\n").items["output"].to_pylist() == ["'=1"]


# -- Label Studio ----------------------------------------------------------------------------------------------------


def studio(tmp_path, *tasks):
    return read(tmp_path, json.dumps(tasks), name="project.json")


def choice(value, name="verdict"):
    return {"from_name": name, "to_name": "x", "type": "choices", "value": {"choices": [value]}}


def test_annotations_of_a_project_of_their_own(tmp_path):
    comment = {"from_name": "why", "to_name": "x", "type": "textarea", "value": {"text": ["too rude", "and long"]}}
    task = {
        "id": 7,
        "data": {"input": "hello", "output": "go away"},
        "annotations": [
            {"completed_by": {"id": 1, "email": "ada@x.org"}, "result": [choice("Bad"), comment]},
            {"completed_by": 12, "result": [choice("good")]},
            {"completed_by": 13, "result": [choice("good")], "was_cancelled": True},
        ],
        "predictions": [{"model_version": "m", "result": [choice("good")]}],
    }
    found = studio(tmp_path, task)
    said = {row["annotator"]: (row["label"], row["critique"]) for row in found.labels.to_pylist()}
    assert said == {"ada@x.org": ("fail", "too rude\nand long"), "user-12": ("pass", None)}
    assert "1 cancelled annotations are left out" in found.notes
    assert "1 predictions are a model's, and left out" in found.notes


def test_several_controls_are_criteria(tmp_path):
    task = {
        "data": {"output": "x"},
        "annotations": [{"result": [choice("good", "label"), choice("bad", "tone")]}],
    }
    found = studio(tmp_path, task).labels.to_pylist()
    assert {row["criterion"]: row["label"] for row in found} == {"": "pass", "tone": "fail"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "expected a list of tasks"),
        ("[{}]", r"task 1: no data\.output"),
        ("[", "Expecting value"),
        ('[{"data": {"output": "a", "output": "b"}}]', "appears twice"),
        ('[{"data": {"output": "a"}, "annotations": [{"result": 3}]}]', "no list of objects"),
    ],
)
def test_what_label_studio_never_writes_is_refused(tmp_path, content, told):
    with pytest.raises(DataError, match=told):
        read(tmp_path, content, name="project.json")


def test_two_choices_in_one_control_are_refused(tmp_path):
    both = {"from_name": "verdict", "type": "choices", "value": {"choices": ["a", "b"]}}
    with pytest.raises(DataError, match="task 1: 2 verdicts"):
        studio(tmp_path, {"data": {"output": "x"}, "annotations": [{"result": [both]}]})


def test_the_export_says_what_label_studio_reads(tmp_path):
    found = read(tmp_path, "example_id,input,output,annotator,label,critique\n1,q,a,ada,yes,fine\n")
    (task,) = json.loads(label_file(found, ".json").content)
    assert task["data"]["output"] == "a"
    (annotation,) = task["annotations"]
    assert "completed_by" not in annotation
    assert [(one["from_name"], one["type"]) for one in annotation["result"]] == [
        ("label", "choices"),
        ("critique", "textarea"),
    ]
    assert set(LABEL_COLUMNS).isdisjoint(task["data"])
