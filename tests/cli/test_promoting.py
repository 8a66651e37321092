"""`labels promote`: what joins the test set, what does not and why, and that the old file stays as it was."""

import csv
import json

import pytest

from safetycatch.identity import file_sha256, output_hash

HEAD = ("id", "text", "label", "customer", "split")
ROWS = [
    ("R1", "my parcel never came although it was sent on monday", "delivery", "C1", "train"),
    ("R2", "please give the money back for the broken kettle", "refund", "C2", "test"),
    ("R3", "where can the invoice of last december be found", "invoice", "C3", "dev"),
]
EXPERIMENT = """\
data: {path: tickets.csv, id: id, input: text, target: label, group: customer, slices: [language]}
split: {column: split}
task: classify
candidates: [{id: a, outputs: o.csv}]
"""
LABEL_HEAD = (
    "example_id",
    "input",
    "output",
    "reference",
    "annotator",
    "label",
    "customer",
    "language",
    "failure_mode",
)


@pytest.fixture
def project(tmp_path):
    """Tickets with a split column, an experiment, and `say` that writes a label file."""
    write(tmp_path / "tickets.csv", (*HEAD, "language"), [(*row, "en") for row in ROWS])
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    write(tmp_path / "o.csv", ("example_id", "candidate", "output"), [("R2", "a", "refund")])

    def say(*rows):
        write(tmp_path / "said.csv", LABEL_HEAD, [(*row, *[""] * (len(LABEL_HEAD) - len(row))) for row in rows])
        return tmp_path

    return say


def write(path, head, rows):
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


NEW = (
    "N1",
    "the app logs me out whenever i open my cart",
    "delivery",
    "account",
    "ada",
    "fail",
    "C9",
    "en",
    "slow; rude",
)


def test_a_reviewed_row_joins_a_new_file_with_a_manifest(project, cli):
    folder = project(NEW)
    before = (folder / "tickets.csv").read_bytes()
    done = cli("labels", "promote", "said.csv", "--to-test", "e.yaml")
    assert done.code == 0, done.err
    assert (folder / "tickets.csv").read_bytes() == before
    *old, new = rows_of(folder / "tickets-v2.csv")
    assert [{name: row[name] for name in HEAD} for row in old] == [dict(zip(HEAD, row, strict=True)) for row in ROWS]
    assert new == {
        "id": "N1", "text": NEW[1], "label": "account", "customer": "C9", "split": "test", "language": "en",
        "promoted_from": "said.csv",
    }  # fmt: skip
    told = json.loads((folder / "tickets-v2.csv.manifest.json").read_text())
    assert told["from"] == {"file": "tickets.csv", "sha256": file_sha256(folder / "tickets.csv")}
    assert told["to"] == {"file": "tickets-v2.csv", "sha256": file_sha256(folder / "tickets-v2.csv")}
    (one,) = told["added"]
    assert (one["labelled_by"], one["failure_modes"], one["target_from"]) == (["ada"], ["rude", "slow"], "reference")
    assert one["outputs"] == [{"candidate": "", "output_hash": output_hash("delivery"), "label": "fail"}]


def test_the_next_version_can_be_promoted_to_again(project, cli):
    folder = project(NEW)
    cli("labels", "promote", "said.csv", "--to-test", "e.yaml")
    (folder / "e.yaml").write_text(EXPERIMENT.replace("tickets.csv", "tickets-v2.csv"))
    project(("N2", "how do i change the colour of the menu bar", "x", "account", "ada", "fail", "C8", "en"))
    assert cli("labels", "promote", "said.csv", "--to-test", "e.yaml").code == 0
    assert [row["promoted_from"] for row in rows_of(folder / "tickets-v3.csv")] == ["", "", "", "said.csv", "said.csv"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (("N1", ROWS[0][1].upper() + "!", "x", "delivery", "ada", "fail", "C9"), "normalised of train row R1"),
        (("N1", ROWS[2][1], "x", "invoice", "ada", "fail", "C9"), "exact of dev row R3"),
        (("N1", ROWS[1][1] + ".", "x", "refund", "ada", "fail", "C9"), "the test set holds it as R2"),
        (("N1", NEW[1], "x", "account", "ada", "fail", "C1"), "group of train row R1"),
        (("R1", NEW[1], "x", "account", "ada", "fail", "C9"), "it is a train row already"),
        (("N1", NEW[1], "x", "", "ada", "fail", "C9"), "it has no expected answer"),
        (("N1", "", "x", "account", "ada", "fail", "C9"), "it has no input"),
    ],
)
def test_what_may_not_join_is_left_out_with_the_reason(project, cli, row, why):
    folder = project(row)
    done = cli("labels", "promote", "said.csv", "--to-test", "e.yaml")
    assert done.code == 2
    assert why in done.out
    assert not (folder / "tickets-v2.csv").exists()


def test_a_row_on_which_people_differ_does_not_join(project, cli):
    project(NEW, (*NEW[:4], "bob", "pass", *NEW[6:]))
    assert "people do not agree on it" in cli("labels", "promote", "said.csv", "--to-test", "e.yaml").out


def test_only_failures_where_that_is_asked(project, cli):
    other = ("N2", "how do i change the colour of the menu bar", "x", "account", "ada", "pass", "C8", "en")
    project(NEW, other)
    done = cli("labels", "promote", "said.csv", "--to-test", "e.yaml", "--only", "fail", "--json")
    assert [one["example_id"] for one in done.document["added"]] == ["N1"]


def test_the_corrected_answer_of_people_is_the_target(project, cli):
    folder = project(NEW)
    write(folder / "said.csv", (*LABEL_HEAD, "corrected"), [(*NEW, "login")])
    assert cli("labels", "promote", "said.csv", "--to-test", "e.yaml").code == 0
    assert rows_of(folder / "tickets-v2.csv")[-1]["label"] == "login"


def test_no_file_is_overwritten(project, cli):
    folder = project(NEW)
    (folder / "mine.csv").write_text("mine")
    assert cli("labels", "promote", "said.csv", "--to-test", "e.yaml", "--out", "mine.csv").code == 2
    assert (folder / "mine.csv").read_text() == "mine"


def test_a_split_by_hash_is_asked_for_until_it_is_known(project, cli):
    folder = project(NEW)
    (folder / "e.yaml").write_text(EXPERIMENT.replace("split: {column: split}\n", ""))
    done = cli("labels", "promote", "said.csv", "--to-test", "e.yaml")
    assert done.code == 2
    assert "fix      safetycatch plan e.yaml" in done.err
