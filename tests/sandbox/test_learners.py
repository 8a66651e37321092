import json
from itertools import permutations

import pytest

from safetycatch.errors import DataError
from safetycatch.sandbox import SandboxSettings, running
from safetycatch.sandbox.features import Features, similarity
from safetycatch.sandbox.learners import CentroidLearner, LinearLearner, PromptLearner
from safetycatch.sandbox.prompt import Example, Label, ReadPrompt

SYSTEM = ("system", "Answer with one of: alpha, beta, gamma")
SHOTS = ("the kettle boils over", "a violin out of tune", "rain on the harbour")
QUERIES = ("my kettle always boils", "who can tune a violin", "harbour in the rain")


def answers(chat, server, model, labels):
    shots = [turn for text, label in zip(SHOTS, labels, strict=True) for turn in (("user", text), ("assistant", label))]
    return tuple(
        chat(server, model, SYSTEM, *shots, ("user", q))[1]["choices"][0]["message"]["content"] for q in QUERIES
    )


@pytest.mark.parametrize("model", ["in-context", "in-context-small", "small", "large"])
def test_swapped_labels_in_the_shots_swap_the_answers(plain, chat, model):
    """The answer follows the examples in the prompt, so nothing else was known."""
    for labels in permutations(["alpha", "beta", "gamma"]):
        assert answers(chat, plain, model, labels) == labels


def test_without_shots_the_names_of_the_labels_decide(plain, chat):
    system = ("system", "One of: refund, delivery, login")
    said = chat(plain, "in-context", system, ("user", "was my parcel delivered?"))[1]["choices"][0]["message"][
        "content"
    ]
    assert said == "delivery"


def test_a_description_helps(plain, chat):
    system = ("system", "Labels:\n- a: kettles and tea\n- b: violins and tuning")
    said = chat(plain, "in-context", system, ("user", "tuning a violin"))[1]["choices"][0]["message"]["content"]
    assert said == "b"


def test_the_order_of_labels_and_shots_changes_nothing():
    learner = PromptLearner(Features())
    labels = [Label(name) for name in "abcdef"]
    examples = [Example(text, name) for text, name in zip(SHOTS, "abc", strict=True)]
    for query in (*QUERIES, "", "nothing in common"):
        given = {
            learner.answer(ReadPrompt(tuple(order), tuple(shots), query))
            for order in (labels, labels[::-1])
            for shots in (examples, examples[::-1])
        }
        assert len(given) == 1


def test_without_labels_it_says_so(plain, chat):
    said = chat(plain, "in-context", ("user", "hello"))[1]["choices"][0]["message"]["content"]
    assert said == "The prompt lists no labels and shows no examples."


def test_vectors_have_length_one_and_ignore_case_accents_and_small_words():
    features = Features()
    assert similarity(features("Crème brûlée"), features("creme BRULEE")) == pytest.approx(1)
    assert features("!?") == {}
    assert similarity(features("the violin"), features("violin")) > 0.8
    assert similarity(features("the a of"), features("violin")) < 0.05


@pytest.mark.parametrize("learner", [CentroidLearner, LinearLearner])
def test_a_fitted_learner_knows_its_rows_and_not_the_shots(learner):
    fitted = learner(Features())
    fitted.fit(SHOTS * 5, ["alpha", "beta", "gamma"] * 5)
    misleading = tuple(Example(text, "beta") for text in QUERIES)
    assert [fitted.answer(ReadPrompt((), misleading, query)) for query in QUERIES] == ["alpha", "beta", "gamma"]


@pytest.mark.parametrize("learner", [CentroidLearner, LinearLearner])
@pytest.mark.parametrize("labels", [["only"], ["one", "two"]])
def test_one_and_two_labels_are_enough(learner, labels):
    fitted = learner(Features())
    fitted.fit(SHOTS[: len(labels)], labels)
    assert [fitted.answer(ReadPrompt((), (), text)) for text in SHOTS[: len(labels)]] == labels


@pytest.mark.parametrize("learner", [CentroidLearner, LinearLearner])
def test_no_rows_are_refused(learner):
    with pytest.raises(DataError, match="0 inputs"):
        learner(Features()).fit([], [])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_server_trains_from_a_file(tmp_path, chat, suffix):
    import pandas as pd

    path = tmp_path / f"rows.{suffix}"
    rows = pd.DataFrame({"input": SHOTS * 4, "target": ["alpha", "beta", "NA"] * 4, "other": 1})
    {
        "csv": lambda: rows.to_csv(path, index=False),
        "jsonl": lambda: rows.to_json(path, orient="records", lines=True),
        "parquet": lambda: rows.to_parquet(path),
    }[suffix]()
    with running(SandboxSettings(train=path)) as server:
        for model in ("small", "large"):
            said = [chat(server, model, ("user", q))[1]["choices"][0]["message"]["content"] for q in QUERIES]
            assert said == ["alpha", "beta", "NA"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"input,target\n", "no rows"),
        ("a.csv", b"input,label\nx,y\n", "no 'target'"),
        ("a.csv", b"input,target\nx\n", "row 1"),
        ("a.csv", b"input,target\n\xff,y\n", "UTF-8"),
        ("a.jsonl", b'{"input": "x", "target": "y"}\n[]\n', "line 2"),
        ("a.parquet", b"not parquet", "a Parquet file"),
        ("a.txt", b"", "'.txt'"),
        ("a.csv", None, "no such file"),
    ],
)
def test_an_unreadable_training_file_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught, running(SandboxSettings(train=path)):
        pass
    assert str(path) in str(caught.value)


def test_replay_answers_by_candidate_and_example(tmp_path, chat):
    path = tmp_path / "recorded.jsonl"
    rows = [("zero", "e1", "a"), ("zero", "e2", ""), ("knn8", "e1", "b")]
    keys = ("candidate", "example_id", "output")
    path.write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows))
    with running(SandboxSettings(replay=path)) as server:
        for candidate, example_id, output in rows:
            metadata = {"candidate": candidate, "example_id": example_id}
            status, body = chat(server, "replay", ("user", "same text"), metadata=metadata)
            assert (status, body["choices"][0]["message"]["content"]) == (200, output)
        missing = chat(server, "replay", ("user", "x"), metadata={"candidate": "zero", "example_id": "e9"})
        unnamed = chat(server, "replay", ("user", "x"))
    for status, body in (missing, unnamed):
        assert (status, body["error"]["code"]) == (404, "replay_missing")
    assert "'e9'" in missing[1]["error"]["message"]


def test_two_recorded_outputs_of_one_key_are_refused(tmp_path):
    path = tmp_path / "recorded.csv"
    path.write_text("candidate,example_id,output\nzero,e1,a\nzero,e1,b\n")
    with pytest.raises(DataError, match="two outputs"), running(SandboxSettings(replay=path)):
        pass
