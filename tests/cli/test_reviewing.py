import contextlib
import http.client
import json
import signal

import pytest

from safetycatch.cli.reviewing import _Source
from safetycatch.store.label_sets import LabelSet
from tests.review.conftest import desk_in
from tests.wiring import Project


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("question,answer\n" + "".join(f"q{i},a{i}\n" for i in range(30)))
    return path


def begin(process):
    """What the command says when it serves."""
    return json.loads(process.stdout.readline())


def end(process):
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_plain_file_is_served_until_ctrl_c(started, answers, tmp_path):
    process = started("review", str(answers), "--as", "ann", "-n", "10", "--json")
    told = begin(process)
    address, _, query = told["url"].removeprefix("http://").partition("/?")
    with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        connection.request("GET", f"/?{query}")
        assert connection.getresponse().status == 303
    code, out, err = end(process)
    assert (code, out) == (0, "")
    assert "10 answers drawn at random of 30" in err
    assert "saved     none" in err
    labels = LabelSet.open(tmp_path / "labels" / "answers")
    assert (told["set"], told["answers"], told["run"]) == ("answers", 10, None)
    assert set(labels.items()["sampling_probability"].to_pylist()) == {1 / 3}


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("labels/anwsers", "labels/anwsers: no label set or file"),
        ("nowhere/at/all", "nowhere/at/all: no label set or file"),
        ("anwsers", "no run, label set or file 'anwsers'"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest_name(cli, tmp_path, what, told):
    desk_in(tmp_path).labels.folder.rename(tmp_path / "labels" / "answers")
    done = cli("review", what)
    assert (done.code, told in done.err) == (2, True)
    assert ("safetycatch review labels/answers" in done.err) == ("anwsers" in what)


def test_a_claim_without_labels_explores_first(cli, tmp_path):
    (tmp_path / "safetycatch.yaml").write_text("")
    rows = [{"id": str(n), "input": "q", "target": "t", "output": "o"} for n in range(9)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "verdicts.jsonl").write_text(
        "".join(json.dumps({"example_id": str(n), "verdict": "pass"}) + "\n" for n in range(9))
    )
    (tmp_path / "judged.yaml").write_text(json.dumps({
        "data": {"path": "rows.jsonl", "id": "id", "input": "input", "target": "target"}, "task": "generate",
        "split": {"test": 1}, "candidates": [{"id": name, "outputs": "rows.jsonl"} for name in "ab"],
        "scorers": ["judge"], "claim": {"baseline": "a", "candidate": "b", "metric": "judge"},
        "judge": {"verdicts": "verdicts.jsonl"},
    }))  # fmt: skip
    done = cli("review", "judged.yaml")
    assert done.code == 2
    assert "take `claim:` out of it for now, so that it explores, then safetycatch run judged.yaml" in done.err


def test_a_set_that_is_there_goes_on(started, answers, tmp_path):
    first = started("review", str(answers), "--as", "ann", "--json")
    begin(first)
    end(first)
    before = (tmp_path / "labels" / "answers" / "items.jsonl").read_bytes()
    for words in (["review", str(answers)], ["review", "labels/answers"], ["review", "--set", "answers"]):
        process = started(*words, "--as", "ann", "--json")
        assert begin(process)["answers"] == 30
        assert end(process)[0] == 0
    assert (tmp_path / "labels" / "answers" / "items.jsonl").read_bytes() == before


def test_sigterm_ends_it_too(started, answers):
    process = started("review", str(answers), "--as", "ann", "--json")
    begin(process)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["review"], "there is no run yet"),
        (["review", "nothing.csv"], "no such file"),
        (["review", "nothing.yaml"], "no such file"),
        (["review", "nothing"], "there is no run yet"),
        (["review", "--set", "nothing"], "no label set 'nothing'"),
        (["review", "answers.csv", "--as", "../x"], "not a usable name"),
        (["review", "answers.csv", "--set", "A b"], "not a usable name"),
        (["review", "answers.csv", "--output", "nothing"], "no column 'nothing'"),
        (["review", "answers.csv", "--rows"], "no run whose rows could be read"),
        (["review", "answers.csv", "--port", "70000"], "port"),
    ],
)
def test_what_cannot_be_reviewed_is_told(cli, answers, tmp_path, words, message):
    ended = cli(*words)
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "labels").exists()


def test_a_taken_port_is_told(cli, started, answers):
    process = started("review", str(answers), "--as", "ann", "--json")
    port = begin(process)["url"].partition("/?")[0].rpartition(":")[2]
    ended = cli("review", str(answers), "--as", "ann", "--port", port)
    assert (ended.code, "is not free" in ended.err) == (2, True)
    end(process)


def test_an_experiment_means_its_newest_run(cli, started, tmp_path, monkeypatch):
    project = Project(tmp_path, monkeypatch)
    project.add("a", 80)
    project.add("b", 55)
    path = project.path()
    ended = cli("review", str(path))
    assert (ended.code, "has no finished run" in ended.err) == (2, True)
    project.run()
    run = project.stored().run_id
    assert _Source(str(path), None).run()[1].run_id == run
    process = started("review", str(path), "--as", "ann", "--json", "-n", "50")
    told = begin(process)
    assert (told["run"], told["set"]) == (run, run)
    code, _, err = end(process)
    assert code == 0
    assert "answers drawn at random of 125, 15 picked (new failure 15)" in err
    labels = LabelSet.open(tmp_path / "labels" / run)
    assert labels.settings.source["run"] == run
    assert {"a", "b"} == set(labels.items()["candidate"].to_pylist())
