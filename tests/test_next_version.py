"""A split by hash, once it is known, is written into the new version: the test set stays what it was."""

import csv
import io

from safetycatch.data.label_files import read_labels
from tasks.next_version import next_version


def test_the_new_version_says_the_split_that_was_frozen(project, tmp_path):
    project.config["split"] = {}
    project.check()
    of = project.splits()
    said = tmp_path / "said.csv"
    said.write_text("example_id,input,output,reference,label\nN1,a text that resembles nothing else,x,refund,fail\n")
    made = next_version(project.path(), read_labels(said), "said")
    rows = list(csv.DictReader(io.StringIO(made.content.decode())))
    assert {row["id"]: row["split"] for row in rows} == {**of, "N1": "test"}
    assert (made.split_column, made.left_out) == ("split", 0)
    with (tmp_path / "rows-v2.csv").open("wb") as file:
        file.write(made.content)
    project.config["data"]["path"] = "rows-v2.csv"
    project.config["split"] = {"column": "split"}
    project.check()
    assert project.splits()["N1"] == "test"
