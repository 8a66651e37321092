"""Scores of other tools. `promptfoo.json` was written by promptfoo 0.121.20: two providers, four tests, one error."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.data.foreign import (
    CLUSTER,
    CONTENT,
    ITEM,
    MAX_SIDES,
    METRIC,
    OUTPUT,
    RUN,
    SCORE,
    SYSTEM,
    Wanted,
    read_foreign,
    score_of,
)
from safetycatch.errors import DataError

PROMPTFOO = Path(__file__).parent / "promptfoo.json"


@pytest.fixture
def read(tmp_path):
    """Reads text as a file of this name."""

    def write(text, name="r.csv", **wanted):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8") if isinstance(text, str) else path.write_bytes(text)
        return read_foreign(path, Wanted(**wanted))

    return write


def only(file):
    (side,) = file.sides
    return side


def scores(file, metric=None):
    found = only(file).scores
    return found[metric or next(iter(found))]


# -- which columns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", ["id", "item", "item_id", "example_id", "question_id", "ID", "Item"])
@pytest.mark.parametrize("score", ["score", "correct", "accuracy", "value", "success", "Score"])
def test_common_column_names_are_found(read, item, score):
    assert scores(read(f"{item},{score}\nx,1\ny,0.5\n")) == {"x": [1.0], "y": [0.5]}


def test_named_columns_win(read):
    file = read("id,score,qid,points\n1,0,x,1\n", item=("qid",), score=("nope", "points"))
    assert scores(file) == {"x": [1.0]}


def test_a_second_score_column_is_told_with_the_option_that_reads_it(read):
    assert "--score correct does" in read("id,score,correct\nx,1,0\n").notes[0]


@pytest.mark.parametrize(
    ("text", "part"),
    [("a,score\nx,1\n", "--item COLUMN; the file has a, score"), ("id,b\nx,1\n", "--score COLUMN; the file has id, b")],
)
def test_a_missing_column_names_what_is_there(read, text, part):
    with pytest.raises(DataError) as caught:
        read(text)
    assert part in caught.value.fix


def test_a_named_column_that_is_missing_is_no_other_one(read):
    with pytest.raises(DataError, match="no column 'points'"):
        read("id,score\nx,1\n", score=("points",))


# -- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("true", 1),
        ("False", 0),
        ("YES", 1),
        ("no", 0),
        ("pass", 1),
        ("failed", 0),
        ("1", 1),
        (" 0.25 ", 0.25),
        (".5", 0.5),
    ],
)
def test_text_scores(cell, value):
    assert score_of(cell, "x") == value


@pytest.mark.parametrize("cell", [None, "", " ", "NaN", "null", "None", "n/a"])
def test_an_empty_score_is_missing_and_never_0(cell):
    assert math.isnan(score_of(cell, "x"))


@pytest.mark.parametrize(
    ("cell", "fix"),
    [("84 %", "write 0.84 for 84 %"), ("84%", "write 0.84 for 84%"), ("0,84", "write 0.84 for 0,84"), ("good", "")],
)
def test_other_texts_are_refused_with_the_fix(cell, fix):
    with pytest.raises(DataError) as caught:
        score_of(cell, "r.csv, row 2, column score")
    assert (caught.value.where, caught.value.fix) == ("r.csv, row 2, column score", fix)


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999", "\u0661", "1_000", "0x1", 10**400, [1], {"a": 1}])
def test_what_is_no_finite_number_is_refused(cell):
    with pytest.raises(DataError):
        score_of(cell, "x")


@given(
    st.one_of(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(-(10**6), 10**6), st.booleans())
)
def test_a_number_reads_back(value):
    assert score_of(str(value).lower(), "x") == score_of(value, "x") == value


def test_types_of_jsonl_and_parquet(read, tmp_path):
    lines = [{"id": 1, "score": True}, {"id": 2, "score": None}, {"id": 3, "score": 0.125}]
    found = scores(read("\n".join(map(json.dumps, lines)), "r.jsonl"))
    pq.write_table(
        pa.Table.from_pylist([{"id": 1, "score": 1.0}, {"id": 2, "score": None}, {"id": 3, "score": 0.125}]),
        tmp_path / "r.parquet",
    )
    assert str(found) == str(scores(read_foreign(tmp_path / "r.parquet"))) == "{'1': [1.0], '2': [nan], '3': [0.125]}"


# -- rows -------------------------------------------------------------------------------------------------------------


def test_several_rows_of_an_item_are_runs_and_told(read):
    file = read("id,score\nx,1\ny,0\nx,0\n")
    assert scores(file) == {"x": [1.0, 0.0], "y": [0.0]}
    assert "taken as runs" in file.notes[0]


def test_a_row_that_repeats_its_run_counts_once(read):
    file = read("id,score,epoch\nx,1,1\nx,1,1\nx,,2\nx,,2\n")
    assert str(scores(file)) == "{'x': [1.0, nan]}"
    assert "2 rows repeat" in file.notes[0]


@pytest.mark.parametrize("again", ["0", ""])
def test_two_scores_of_one_run_are_refused(read, again):
    with pytest.raises(DataError, match="has the score 1 in row 1"):
        read(f"id,score,replicate\nx,1,0\nx,{again},0\n")


def test_metrics_and_systems_in_long_form(read):
    text = "candidate,example_id,metric,value\na,x,acc,1\na,x,f1,0.5\nb,x,acc,0\na,y,acc,0\n"
    file = read(text)
    assert [side.name for side in file.sides] == ["a", "b"]
    assert str(file.sides[0].scores) == "{'acc': {'x': [1.0], 'y': [0.0]}, 'f1': {'x': [0.5], 'y': [nan]}}"


def test_one_model_in_all_rows_is_no_system(read):
    assert only(read("id,score,model\nx,1,m\ny,1,m\n")).name == ""


def test_clusters_slices_and_contents(read):
    text = "id,score,customer,lang,input,output\nx,1,c1,de,ask,yes\nx,0,c1,de,ask,no\ny,1,,en,b,\n"
    side = only(read(text, cluster=("customer",), slices=("lang",)))
    assert side.clusters == {"x": "c1"}
    assert side.slices == {"lang": {"x": "de", "y": "en"}}
    assert side.contents["input"]["x"] != side.contents["input"]["y"]
    assert side.texts["output"] == {"x": "yes", "y": ""}


@pytest.mark.parametrize("column", ["cluster", "input", "target"])
def test_an_item_with_two_of_what_it_has_once_is_refused(read, column):
    with pytest.raises(DataError, match="in row 1"):
        read(f"id,score,{column}\nx,1,p\nx,0,q\n")


@given(st.permutations(range(6)))
def test_the_order_of_rows_changes_no_score(tmp_path_factory, order):
    lines = ["x,1,0", "x,0,1", "y,0.5,0", "y,,1", "z,1,0", "w,0,0"]
    path = tmp_path_factory.mktemp("p") / "r.csv"
    path.write_text("id,score,run\n" + "\n".join(lines[at] for at in order))
    found = {name: sorted(map(str, runs)) for name, runs in only(read_foreign(path)).scores["score"].items()}
    assert found == {"x": ["0.0", "1.0"], "y": ["0.5", "nan"], "z": ["1.0"], "w": ["0.0"]}


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("", "r.csv"),
        ("id,score\n", "r.csv"),
        ("id,score\n,1\n", "r.csv"),
        ("id,score\nx,1,2\n", "r.csv"),
        ("id;score\nx;1\n", "r.csv"),
        (b"id,score\nx\xff,1\n", "r.csv"),
        (b"\xff\xfei\x00d\x00", "r.csv"),
        ("[1]", "r.jsonl"),
        ('{"id": "x", "score": NaN}', "r.jsonl"),
        (b"PAR1", "r.parquet"),
        ("id,score\nx,1\n", "r.xlsx"),
        ("[" * 100_000, "r.json"),
        ("{}", "r.json"),
        ("[]", "r.json"),
        ('{"results": {"results": [{"vars": {}}]}}', "r.json"),
        ('{"results": {"results": 3, "table": []}}', "r.json"),
        ('{"results": {"results": [{"success": true, "score": "80 %"}]}}', "r.json"),
        ('{"results": {"results": [{"success": true, "vars": {"a": "\\ud800"}}]}}', "r.json"),
    ],
)
def test_broken_files_are_refused_with_their_name(read, content, name):
    with pytest.raises(DataError, match="r\\."):
        read(content, name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_foreign(tmp_path / "no.csv")


def test_too_many_systems_are_refused(read):
    rows = "".join(f"x,1,m{number}\n" for number in range(MAX_SIDES + 1))
    with pytest.raises(DataError, match="systems at most"):
        read(f"id,score,model\n{rows}")


# -- promptfoo --------------------------------------------------------------------------------------------------------


def promptfoo(**changes):
    return {**json.loads(PROMPTFOO.read_text()), **changes}


def test_providers_are_sides_and_an_error_is_missing():
    file = read_foreign(PROMPTFOO)
    assert file.format == "promptfoo 0.121.20, summary 3, 8 results"
    weak, strong = file.sides
    assert [weak.name, strong.name] == ["weak", "strong"]
    assert str(list(weak.scores["pass"].values())) == "[[1.0], [0.0], [nan], [1.0]]"
    assert list(strong.scores["pass"].values()) == [[1.0]] * 4
    assert list(weak.scores) == ["pass", "score", "right", "style"]
    assert "1 of 8 results" in file.notes[0]
    assert weak.items == strong.items
    assert weak.contents == strong.contents


def test_a_variable_may_be_the_item():
    file = read_foreign(PROMPTFOO, Wanted(item=("sum",)))
    assert file.sides[0].items == ("2+2", "3*3", "10-7", "6/2")
    assert file.sides[0].texts["output"]["3*3"] == "six, I <b>think</b>"
    with pytest.raises(DataError, match="no variable 'nope'"):
        read_foreign(PROMPTFOO, Wanted(item=("nope",)))


def test_jsonl_holds_the_same(read):
    rows = promptfoo()["results"]["results"]
    found = read("\n".join(map(json.dumps, rows)), "o.jsonl")
    assert str(found.sides) == str(read_foreign(PROMPTFOO).sides)


def older():
    """An older summary, after its published type: a table whose cells hold what results hold now."""
    rows = promptfoo()["results"]["results"]
    at = {(row["testIdx"], row["promptIdx"]): row for row in rows}
    cell = ("score", "namedScores", "gradingResult", "failureReason", "error")
    body = [
        {
            "vars": [at[test, 0]["vars"]["sum"]],
            "test": at[test, 0]["testCase"],
            "outputs": [
                {
                    "pass": at[test, column]["success"],
                    "text": at[test, column].get("response", {}).get("output", ""),
                    "provider": at[test, column]["provider"]["label"],
                    **{name: at[test, column].get(name) for name in cell},
                }
                for column in (0, 1)
            ],
        }
        for test in range(4)
    ]
    prompts = [
        {"raw": "What is {{sum}}?", "label": "What is {{sum}}?", "provider": name} for name in ("weak", "strong")
    ]
    return {
        "results": {"version": 2, "results": [], "table": {"head": {"vars": ["sum"], "prompts": prompts}, "body": body}}
    }


def test_the_older_table_holds_the_same(read):
    old, new = read(json.dumps(older()), "o.json"), read_foreign(PROMPTFOO)
    assert str([side.scores for side in old.sides]) == str([side.scores for side in new.sides])
    assert [side.contents for side in old.sides] == [side.contents for side in new.sides]


def test_results_without_a_reason_of_failure_are_errors_when_nothing_was_graded(read):
    body = promptfoo()
    for row in body["results"]["results"]:
        del row["failureReason"], row["testIdx"], row["promptIdx"]
    found = read(json.dumps(body), "o.json")
    assert str(found.sides[0].scores) == str(read_foreign(PROMPTFOO).sides[0].scores)


def test_several_prompts_of_a_provider_are_numbered_and_equal_tests_are_runs(read):
    body = promptfoo()
    rows = body["results"]["results"]
    more = [{**row, "promptIdx": row["promptIdx"] + 2, "prompt": {"label": "other"}} for row in rows]
    body["results"]["results"] = [*rows, *more, *rows]
    file = read(json.dumps(body), "o.json")
    assert [side.name for side in file.sides] == ["weak#1", "strong#1", "weak#2", "strong#2"]
    assert [len(side.scores["pass"][side.items[0]]) for side in file.sides] == [2, 2, 1, 1]


def test_tests_with_other_assertions_are_other_items(read):
    body = promptfoo()
    rows = body["results"]["results"]
    body["results"]["results"] = [
        *rows,
        {**rows[0], "testCase": {**rows[0]["testCase"], "assert": [{"type": "is-json"}]}},
    ]
    file = read(json.dumps(body), "o.json")
    assert [len(side.items) for side in file.sides] == [5, 4]


def test_what_a_provider_adds_to_the_variables_is_no_new_item(read):
    body = promptfoo()
    for number, row in enumerate(body["results"]["results"]):
        row["vars"]["sessionId"] = str(number)
    assert read(json.dumps(body), "o.json").sides[0].items == read_foreign(PROMPTFOO).sides[0].items


def test_the_page_names_every_column_that_is_looked_for():
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    names = {
        *ITEM,
        *SCORE,
        *SYSTEM,
        *METRIC,
        *RUN,
        *CLUSTER,
        *OUTPUT,
        *(name for kind in CONTENT.values() for name in kind),
    }
    assert {name for name in names if f"`{name}`" not in page} == set()
