"""`labels`: to a file and back, agreement, adjudication."""

import csv
import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from safetycatch.identity import output_hash
from safetycatch.store.label_events import Label
from safetycatch.store.label_sets import LabelSet, SetSettings
from safetycatch.tables import schema

AT = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
OUTPUTS = {"1": "Paris", "2": "=HYPERLINK(1)", "3": "line\r\nline", "4": "'tis"}


@pytest.fixture
def labels(tmp_path):
    """A set of four answers in labels/first; `say(annotator, example, label)` labels one of them."""
    rows = [
        {
            "example_id": example_id,
            "candidate": "",
            "output_hash": output_hash(output),
            "input": f"question {example_id}",
            "output": output,
            "sampling_probability": 0.5,
        }
        for example_id, output in OUTPUTS.items()
    ]
    (tmp_path / "labels").mkdir()
    items = pa.Table.from_pylist(rows, schema=schema("label_items"))
    made = LabelSet.create(tmp_path / "labels" / "first", items, SetSettings(criteria={"tone": "polite"}), now=AT)

    def say(annotator, example_id, label, **more):
        said = {"example_id": example_id, "output_hash": output_hash(OUTPUTS[example_id]), "label": label}
        made.append(annotator, Label(at=AT, **said, **more))
        return made

    made.say = say
    return made


def rows_of(table):
    return sorted(table.to_pylist(), key=lambda row: json.dumps(row, sort_keys=True))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "json"])
def test_a_set_goes_to_a_file_and_comes_back_as_another_set(cli, labels, tmp_path, kind):
    labels.say("ada", "1", "pass", critique="=fine", failure_modes=("rude", "off topic"))
    labels.say("ada", "1", "fail", criterion="tone")
    labels.say("bob", "2", "fail")
    assert cli("labels", "export", "first", f"out.{kind}").code == 0
    done = cli("labels", "import", "second", f"out.{kind}", "--json")
    assert (done.code, done.document["new"], done.document["created"]) == (0, 3, True)
    back = LabelSet.open(tmp_path / "labels" / "second")
    assert rows_of(back.labels()) == rows_of(labels.labels())
    assert rows_of(back.items()) == rows_of(labels.items())


def test_importing_what_was_exported_changes_nothing(cli, labels):
    labels.say("ada", "1", "pass")
    cli("labels", "export", "first", "out.csv")
    before = (labels.folder / "by-ada.jsonl").read_bytes()
    done = cli("labels", "import", "first", "out.csv")
    assert done.out.startswith("0 new labels, 1 there already · first")
    assert (labels.folder / "by-ada.jsonl").read_bytes() == before


def test_no_cell_of_the_csv_is_a_formula(cli, labels, tmp_path):
    assert "1 cells began like a formula" in cli("labels", "export", "first", "out.csv").out
    with (tmp_path / "out.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


def test_no_file_is_overwritten(cli, labels, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    assert cli("labels", "export", "first", "out.csv").code == 2
    assert (tmp_path / "out.csv").read_text() == "mine"


def filled(tmp_path, *rows, name="in.csv"):
    lines = ["example_id,output,annotator,label", *(",".join(row) for row in rows)]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    return name


def test_what_contradicts_the_set_is_listed_and_nothing_is_written(cli, labels, tmp_path):
    labels.say("ada", "1", "pass")
    name = filled(tmp_path, ("1", "Paris", "ada", "no"), ("1", "Paris", "bob", "no"))
    done = cli("labels", "import", "first", name)
    assert done.code == 2
    assert "ada on 1: pass in the set, fail in the file" in done.out
    assert labels.annotators() == ["ada"]


def test_keep_mine_imports_the_rest(cli, labels, tmp_path):
    labels.say("ada", "1", "pass")
    name = filled(tmp_path, ("1", "Paris", "ada", "no"), ("1", "Paris", "bob", "no"))
    done = cli("labels", "import", "first", name, "--keep-mine", "--json")
    assert (done.code, done.document["new"], len(done.document["conflicts"])) == (0, 1, 1)
    assert {row["annotator"]: row["label"] for row in labels.labels().to_pylist()} == {"ada": "pass", "bob": "fail"}


def test_another_person_of_that_name_is_given_another_one(cli, labels, tmp_path):
    labels.say("ada", "1", "pass")
    name = filled(tmp_path, ("1", "Paris", "ada", "no"))
    assert cli("labels", "import", "first", name, "--rename", "ada=ada-2").code == 0
    assert labels.annotators() == ["ada", "ada-2"]


def test_a_name_that_is_none_comes_with_the_option_that_changes_it(cli, labels, tmp_path):
    done = cli("labels", "import", "first", filled(tmp_path, ("1", "Paris", "Ada L", "no")))
    assert done.code == 2
    assert "--rename 'Ada L'=ada-l" in done.err
    assert labels.annotators() == []


def test_a_rename_of_nobody_is_refused(cli, labels, tmp_path):
    name = filled(tmp_path, ("1", "Paris", "ada", "no"))
    assert "no annotator 'bob' in the file" in cli("labels", "import", "first", name, "--rename", "bob=b").err
    assert cli("labels", "import", "first", name, "--rename", "bob").code == 2


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (("1", "Rome", "ada", "no"), "1 answers are not those of the set: 1"),
        (("9", "Paris", "ada", "no"), "1 examples are not in the set: 9"),
        (("1", "Paris", "ada", "perhaps"), "the label 'perhaps'"),
    ],
)
def test_what_is_not_of_the_set_is_refused(cli, labels, tmp_path, row, told):
    done = cli("labels", "import", "first", filled(tmp_path, row))
    assert done.code == 2
    assert told in done.err
    assert labels.annotators() == []


def test_a_misspelt_label_makes_no_class(cli, tmp_path):
    name = filled(tmp_path, ("1", "a", "ada", "good"), ("2", "b", "ada", "baad"))
    done = cli("labels", "import", "graded", name)
    assert done.code == 2
    assert "row 2, column label: the label 'baad'" in done.err
    assert "'bad', if that was meant" in done.err
    assert "--scale 1,2,3" in done.err
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(("scale", "verdicts"), [("4,2,3", ("2", "3", "4")), ("4,2,x y", ("4", "2", "x y"))])
def test_a_set_of_grades_or_classes_is_made_of_their_file(cli, tmp_path, scale, verdicts):
    name = filled(tmp_path, ("1", "a", "ada", "4"), ("2", "b", "ada", "2"))
    done = cli("labels", "import", "graded", name, "--scale", scale)
    assert done.code == 0, done.err
    assert LabelSet.open(tmp_path / "labels" / "graded").settings.verdicts == verdicts
    assert cli("labels", "import", "graded", name, "--scale", scale).code == 2
    assert cli("labels", "import", "graded", name).code == 0


@pytest.mark.parametrize("scale", ["1", "1,1", "a,,b", ""])
def test_a_scale_of_less_than_two_is_none(cli, tmp_path, scale):
    assert cli("labels", "import", "graded", filled(tmp_path, ("1", "a", "ada", "1")), "--scale", scale).code == 2


def test_equal_answers_of_several_candidates_are_told(cli, tmp_path):
    (tmp_path / "in.csv").write_text(
        "example_id,candidate,output,annotator,label\n1,a,hi,ada,yes\n1,b,hi,ada,yes\n1,c,ho,ada,no\n"
    )
    done = cli("labels", "import", "new", "in.csv")
    assert "2 new labels" in done.out
    assert "1 labels are of an answer that another candidate gave too: labelled once" in done.out
    assert LabelSet.open(tmp_path / "labels" / "new").labels().num_rows == 3


@pytest.mark.parametrize("verb", ["agreement", "adjudicate"])
def test_a_set_that_is_not_there_is_told_with_the_nearest_name(cli, labels, verb):
    done = cli("labels", verb, "frist")
    assert done.code == 2
    assert "no label set" in done.err
    assert "labels/first, if that was meant" in done.err


def test_there_is_no_set_to_export(cli, tmp_path):
    assert cli("labels", "export", "nowhere", "out.csv").code == 2


# -- people ----------------------------------------------------------------------------------------------------------


def disagreeing(labels):
    for number, example_id in enumerate(OUTPUTS):
        labels.say("ada", example_id, "pass")
        labels.say("bob", example_id, "pass" if number else "fail")


def test_agreement_is_shown_by_criterion_pair_and_annotator(cli, labels):
    disagreeing(labels)
    done = cli("labels", "agreement", "first", "--json").document
    (whole,) = done["criteria"]
    assert (whole["shared"], whole["split"], whole["agreed"], whole["contested"]) == (4, 1, 0.75, False)
    assert done["to_adjudicate"] == 1
    text = cli("labels", "agreement", "first").out
    assert "the whole answer  4        4       1      75%" in text
    assert "1 to adjudicate: safetycatch labels adjudicate first" in text


def test_disputes_in_a_file_are_imported_before_they_are_settled(cli, tmp_path):
    path = tmp_path / "said.csv"
    path.write_text("output,label,annotator\nhello,pass,ada\nhello,fail,bob\n")
    text = cli("labels", "agreement", str(path)).out
    assert f"1 to adjudicate: safetycatch labels import NAME {path}, then labels adjudicate NAME" in text


def test_a_dispute_is_decided_by_the_printed_command_or_the_hashs_first_digits(cli, labels):
    disagreeing(labels)
    listed = cli("labels", "adjudicate", "first").out
    item = f"1@{output_hash('Paris')}"
    assert f"safetycatch labels adjudicate first {item} " in listed
    assert cli("labels", "adjudicate", "first", item[:6], "pass", "--as", "eve").code == 0
    assert cli("labels", "adjudicate", "first", "1@0000", "pass", "--as", "eve").code == 2
    assert "nothing to adjudicate" in cli("labels", "adjudicate", "first").out


def test_a_contested_criterion_comes_first(cli, tmp_path):
    rows = [(str(n), f"o{n}", "ada", "yes" if n % 2 else "no") for n in range(12)]
    rows += [(str(n), f"o{n}", "bob", "yes" if n % 3 else "no") for n in range(12)]
    text = cli("labels", "agreement", filled(tmp_path, *rows)).out
    assert text.startswith("people disagree on the whole answer: settle what it means before a judge is measured by it")


def test_nobody_has_labelled_yet(cli, labels):
    assert cli("labels", "agreement", "first").out.startswith("no label yet")


def test_the_queue_lists_who_said_what_and_the_last_word_empties_it(cli, labels):
    disagreeing(labels)
    (open_item,) = cli("labels", "adjudicate", "first", "--json").document["disputes"]
    assert open_item["item"] == f"1@{output_hash('Paris')}"
    assert open_item["said"] == {"ada": "pass", "bob": "fail"}
    done = cli("labels", "adjudicate", "first", open_item["item"], "fail", "--as", "cleo", "--critique", "see 3.1")
    assert done.out.startswith("1: fail · by adjudicator-cleo")
    assert cli("labels", "adjudicate", "first").out.startswith("nothing to adjudicate")
    assert [row["critique"] for row in labels.labels().to_pylist() if row["annotator"] == "adjudicator-cleo"] == [
        "see 3.1"
    ]


def test_the_example_alone_names_the_answer_where_it_has_one(cli, labels):
    disagreeing(labels)
    done = cli("labels", "adjudicate", "first", "1", "pass", "--as", "ada")
    assert done.code == 0
    assert "ada labelled it before" in done.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["9", "pass", "--as", "cleo"], "no answer '9'"),
        (["1", "perhaps", "--as", "cleo"], "the label 'perhaps'"),
        (["1", "--as", "cleo"], "no label"),
        (["1", "pass", "--as", "Cleo B"], "fix      --as cleo-b"),
    ],
)
def test_a_last_word_that_is_none(cli, labels, words, told):
    done = cli("labels", "adjudicate", "first", *words)
    assert done.code == 2
    assert told in done.err
