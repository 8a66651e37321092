"""What a real run stores is what the browser shows."""

import pytest

from safetycatch.review.browser.query import Query
from safetycatch.review.browser.rows import RowIndex
from safetycatch.store import Runs, Store


@pytest.fixture
def index(project):
    """A run of two functions on given splits, one scored row of which leaks."""
    project.given()
    test = next(row for row in project.rows if row["split"] == "test")
    train = next(row for row in project.rows if row["split"] == "train")
    train["text"], train["label"] = test["text"], test["label"]
    project.config["data"]["slices"] = ["lang"]
    project.leaked = test["id"]
    project.answered = project.run(overrides={"SC501": "planted"})
    store = Store.open(project.store)
    made = RowIndex(Runs(store).load("last"), store)
    made.project = project
    return made


def n(index, query):
    return len(index.select(Query.parse(query)).rows)


def test_rights_are_the_estimates_and_flips_the_report_s(index):
    result, summary = index.project.answered, index.run.summary["summary"]
    for row in result["candidates"]:
        assert n(index, f"candidate={row['id']}&score=right") == round(row["estimate"] * row["n"])
    (flips,) = summary["flips"]
    assert n(index, "flip=fixed") == flips["n_fixed"]
    assert n(index, "flip=broken") == flips["n_broken"]


def test_the_leaked_row_is_named_with_the_row_it_resembles(index):
    found = index.select(Query.parse("catch=leaked"))
    assert index.names_of(found.items.tolist()) == [index.project.leaked]
    (pair,) = index.leaks_of(int(found.items[0]))
    assert index.example_text(pair["right_id"]) == index.texts_of(found.items.tolist())[0]["input"]


def test_slices_inputs_and_targets_are_there(index):
    parts = [n(index, [("slice:lang", lang)]) for lang in ("de", "en")]
    assert sum(parts) == index.n_rows
    texts = index.texts_of([0])[0]
    row = next(one for one in index.project.rows if one["id"] == index.names_of([0])[0])
    assert (texts["input"], texts["target"]) == (row["text"], row["label"])
