import math
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safetycatch import tables
from safetycatch.errors import DataError, ExperimentError
from safetycatch.scoring import (
    RESOURCE_SCORERS,
    SCORERS,
    default_scorers,
    infer_task,
    row_values,
    scorer,
)


def value(name, output, target, **settings):
    chosen = scorer(name, **settings)
    return chosen.score(chosen.parse(output), target, {"example_id": "e1"})


@pytest.mark.parametrize(
    ("name", "output", "target", "expected"),
    [
        ("exact", " Paris\n", "Paris", 1),
        ("exact", "paris", "Paris", 0),
        ("normalised", "paris!", "Paris", 1),
        ("normalised", "[ ]", "( )", 0),
        ("normalised", "", "", 0),
        ("numeric", "So 1,000.0 in all", "1000", 1),
        ("numeric", "no idea", "1000", 0),
        ("contains", "It is in New York, I think", "new york", 1),
        ("contains", "It is in Newark", "new", 0),
        ("final_answer", "Hence the answer is (B).", "(B)", 1),
        ("json_fields", '{"a": 1.0, "b": " x "}', '{"a": 1, "b": "x"}', 1),
        ("json_fields", '{"a": 1, "b": "y"}', '{"a": 1, "b": "x"}', 0.5),
        ("json_fields", '{"a": 1, "b": "x", "c": 2}', '{"a": 1, "b": "x"}', 2 / 3),
        ("json_fields", '{"a": 1, "a": 1}', '{"a": 1}', 0),
        ("json_fields", '{"a": null}', "{}", 1),
        ("json_fields", '[{"a": 1}]', '{"a": 1}', 0),
        ("json_fields", '{"a": true}', '{"a": 1}', 0),
    ],
)
def test_a_reply_is_scored(name, output, target, expected):
    assert value(name, output, target) == pytest.approx(expected)


@pytest.mark.parametrize(("name", "target"), [("numeric", "many"), ("json_fields", "[1]"), ("contains", " ")])
def test_a_target_that_cannot_be_met_is_an_error_and_names_the_row(name, target):
    with pytest.raises(DataError, match="example e1, column target"):
        value(name, "x", target)


def test_a_target_that_is_no_label_is_an_error():
    with pytest.raises(DataError, match="example e1"):
        value("accuracy", "a", "z", labels=["a", "b"])


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_knows_its_name(name):
    assert scorer(name, labels=["a", "b"]).name == name


@pytest.mark.parametrize("name", RESOURCE_SCORERS)
def test_less_is_better_for_what_costs(name):
    assert not scorer(name).higher_is_better


def test_an_unknown_scorer_is_named_with_the_nearest():
    with pytest.raises(ExperimentError) as caught:
        scorer("acuracy")
    assert caught.value.fix == "accuracy"


def test_accuracy_needs_labels():
    with pytest.raises(ExperimentError, match="task: answer has none"):
        scorer("accuracy", task="answer", labels=["a"])


STATUSES = {"answer": 1, "refusal": 0, "length": 0, "filtered": 0, "invalid": None, "error": None}


@pytest.mark.parametrize(("status", "expected"), STATUSES.items())
def test_what_a_user_would_get_counts_and_what_infrastructure_broke_does_not(reply, status, expected):
    values = row_values(scorer("accuracy", labels=["a", "b"]), [reply("a", status)], ["a"]).value
    assert (None if math.isnan(values[0]) else values[0]) == expected


def test_corpus_metrics_leave_missing_rows_out(reply):
    rows = [reply("a"), reply("b"), reply(None, "error"), reply("?")]
    read = row_values(scorer("balanced_accuracy", labels=["a", "b"]), rows, ["a", "b", "a", "a"])
    assert math.isnan(read.value[2])
    assert np.nanmean(read.value) == pytest.approx((0.5 + 1) / 2)
    assert read.parsed == ["a", "b", None, None]


def test_percentiles_are_means_of_their_contributions(reply):
    rows = [reply("a", latency_s=float(i)) for i in range(101)] + [reply(None, "error", latency_s=None)]
    targets = ["a"] * 102
    means = {name: np.nanmean(row_values(scorer(name), rows, targets).value) for name in RESOURCE_SCORERS[1:4]}
    assert means == pytest.approx({"latency_s": 50, "latency_p50": 50, "latency_p95": 95})


OWN = """
async def later(output, target, row): return 1
def of_two(output, target): return 1
def length(output, target, row): return len(output) - len(target)
length.higher_is_better = False
def odd_unit(output, target, row): return 1
odd_unit.unit = "miles"
def percent(output, target, row): return 50
percent.unit = "points"
def flag(output, target, row): return row["status"] == "answer"
def nothing(output, target, row): return None
def word(output, target, row): return "1"
def infinite(output, target, row): return float("inf")
def crash(output, target, row): return row["no such column"]
NUMBER = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_scores_for_tests.py").write_text(OWN)
    (tmp_path / "own_scores_broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: scorer(f"own_scores_for_tests:{name}")
    sys.modules.pop("own_scores_for_tests", None)


def test_a_users_function_scores_in_any_range(own, reply):
    length = own("length")
    assert row_values(length, [reply("abc"), reply(None, "refusal"), reply(None, "error")], ["a"] * 3).value[
        :2
    ].tolist() == [2, -1]
    assert (length.is_rate, length.higher_is_better, length.unit) == (False, False, "score")


def test_a_users_function_sees_refusals(own, reply):
    assert row_values(own("flag"), [reply("a"), reply("b", "refusal")], ["a", "a"]).value.tolist() == [1, 0]


def test_undefined_stays_undefined(own, reply):
    assert math.isnan(row_values(own("nothing"), [reply("a")], ["a"]).value[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [("word", "returned '1'"), ("infinite", "inf"), ("crash", "KeyError"), ("percent", "returned 50")],
)
def test_what_a_function_does_wrong_names_the_row(own, reply, name, message):
    with pytest.raises(ExperimentError, match=message) as caught:
        row_values(own(name), [reply("a")], ["a"])
    assert caught.value.where == f"scorer own_scores_for_tests:{name}, example e1"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_scores_for_tests:lenght", "has no 'lenght'"),
        ("own_scores_for_tests:NUMBER", "not a function"),
        ("own_scores_for_tests:odd_unit", "unit 'miles' is unknown"),
        ("own_scores_for_tests:later", "async"),
        ("own_scores_for_tests:of_two", "too many positional arguments"),
        ("own_scores_for_tests:", "not a function's name"),
        ("no_such_module_here:f", "no module named 'no_such_module_here'"),
        ("own_scores_broken:f", "ZeroDivisionError"),
        ("../evil:f", "not a function's name"),
    ],
)
def test_a_function_that_is_not_there_is_found_out_at_load(own, name, message):
    with pytest.raises(ExperimentError, match=message):
        scorer(name)


def rows_table(outputs, statuses):
    n = len(outputs)
    values = {
        "run_id": ["r"] * n,
        "candidate": ["c"] * n,
        "example_id": [f"e{i}" for i in range(n)],
        "replicate": [0] * n,
        "status": statuses,
        "output": outputs,
    }
    names = tables.schema("rows").names
    return pa.table({name: values.get(name, [None] * n) for name in names}, schema=tables.schema("rows"))


def targets_table(targets):
    return pa.table({"example_id": [f"e{i}" for i in range(len(targets))], "target": targets})


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (["yes", "no"] * 10, "classify"),
        ([f"intent_{i % 77}" for i in range(400)], "classify"),
        (["1", "2", "3", "4", "5"] * 6, "classify"),
        ([str(i % 60) for i in range(400)], "answer"),
        ([f"text {i}" for i in range(50)], "answer"),
        (["Paris", "Rome", "Paris"], "answer"),
        (['{"a": 1}', '{"b": [2]}'], "extract"),
        (["", ""], "generate"),
        (["same"] * 9, "answer"),
        (["a long text " * 20, "another " * 20] * 10, "answer"),
    ],
)
def test_a_task_is_told_by_its_targets(targets, task):
    inferred = infer_task(targets_table(targets))
    assert inferred.task == task
    assert inferred.reason


@pytest.mark.parametrize(
    ("task", "targets", "names"),
    [
        ("classify", ["a"], ("accuracy", "macro_f1", "balanced_accuracy")),
        ("extract", ["{}"], ("json_fields",)),
        ("answer", ["1", "-2.5"], ("numeric",)),
        ("answer", ["1", "two"], ("normalised",)),
    ],
)
def test_every_task_has_its_scorers(task, targets, names):
    assert default_scorers(task, targets) == names


def test_an_unknown_task_is_an_error():
    with pytest.raises(ExperimentError, match="unknown task"):
        default_scorers("sort", [])


def test_generated_text_has_no_scorer_of_ours():
    with pytest.raises(ExperimentError, match="generate has no scorer"):
        default_scorers("generate", [])


def test_gsm8k_as_recorded(shared_data):
    """All 5,276 recorded verdicts are met by reading the solutions themselves."""
    folder = shared_data / "gsm8k"
    items = pq.read_table(folder / "items.parquet", columns=["item_id", "final_answer"]).to_pydict()
    answers = dict(zip(items["item_id"], items["final_answer"], strict=True))
    rows = pq.read_table(folder / "model_solutions.parquet").to_pylist()
    agree = sum(value("numeric", row["solution"], answers[row["item_id"]]) == row["is_correct"] for row in rows)
    assert (agree, len(rows)) == (5276, 5276)


def test_big_bench_hard_as_recorded(shared_data):
    folder = shared_data / "bbh_direct_vs_cot"
    items = pq.read_table(folder / "items.parquet", columns=["item_id", "target"]).to_pydict()
    targets = dict(zip(items["item_id"], items["target"], strict=True))
    correct = {"code-davinci-002-direct": 0.0, "code-davinci-002-cot": 0.0}
    for row in pq.read_table(folder / "model_outputs.parquet").to_pylist():
        correct[row["system"]] += value("final_answer", row["completion"], targets[row["item_id"]])
    assert list(correct.values()) == [3408, 4816]


@pytest.mark.parametrize(
    ("name", "column", "task"),
    [("banking77/banking77", "label", "classify"), ("gsm8k/items", "final_answer", "answer")],
)
def test_public_sets_are_what_they_are(shared_data, name, column, task):
    targets = pq.read_table(shared_data / f"{name}.parquet")[column]
    assert infer_task(pa.table({"target": targets})).task == task
