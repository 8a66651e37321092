import json
import os
import signal
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import DataError, InputError, StoreError, UsageError
from safetycatch.identity import output_hash
from safetycatch.store import label_sets
from safetycatch.store import manifest as manifests
from safetycatch.store.disk import Tree
from safetycatch.store.label_events import Label, Rename, Skip, Undo, from_line, mode_name, to_line
from safetycatch.store.label_sets import LabelSet, SetSettings
from safetycatch.tables import schema

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def items(n=4, candidates=("",)):
    rows = [
        {"example_id": f"e{i}", "candidate": c, "output_hash": output_hash(f"answer {i}"), "input": f"q{i}",
         "output": f"answer {i}", "reference": None, "sampling_probability": 0.5 if i else None}
        for i in range(n) for c in candidates
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema("label_items"))


@pytest.fixture
def made(tmp_path):
    def make(n=4, candidates=("",), **settings):
        return LabelSet.create(tmp_path / "labels" / "first", items(n, candidates), SetSettings(**settings), now=NOW)

    return make


def label(i, verdict="pass", *, after=0, **more):
    return Label(at=NOW + timedelta(seconds=after), example_id=f"e{i}", output_hash=output_hash(f"answer {i}"),
                 label=verdict, **more)  # fmt: skip


def said(labels):
    return {(row["annotator"], row["example_id"]): row["label"] for row in labels.labels().to_pylist()}


def test_what_was_said_is_read_again_by_another(made, tmp_path):
    made().append("ann", label(1, "fail", critique="too long", failure_modes=("too long", "rude"), rubric_hash="r"))
    again = LabelSet.open(tmp_path / "labels" / "first")
    row = again.labels().to_pylist()[0]
    assert row == {
        "example_id": "e1", "candidate": "", "output_hash": output_hash("answer 1"), "annotator": "ann",
        "criterion": "", "label": "fail", "critique": "too long", "failure_mode": "too long; rude",
        "rubric_hash": "r", "labelled_at": NOW.isoformat(), "sampling_probability": 0.5,
    }  # fmt: skip
    assert again.items().equals(items())
    assert again.notes == []


def _line(**changed):
    return (json.dumps({**json.loads(to_line(label(1))), "id": "1" * 32, **changed}) + "\n").encode()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (_line(label="Pass"), "line 2 of by-ann.jsonl was left out: the label 'Pass', expected pass, fail"),
        (_line(criterion="nope"), "line 2 of by-ann.jsonl was left out: criterion 'nope'"),
        (_line(critique="\ud800"), "line 2 of by-ann.jsonl is cut or damaged"),
        (_line(example_id=["a"]), "line 2 of by-ann.jsonl is cut or damaged"),
        (_line(at="0001-01-01T00:00:00+14:00"), "line 2 of by-ann.jsonl is cut or damaged"),
        (_line(critique="x" * (1 << 16)), "line 2 of by-ann.jsonl is cut or damaged"),
        (b"[" * 200_000 + b"\n", "line 2 of by-ann.jsonl is cut or damaged"),
    ],
)
def test_a_line_of_another_hand_is_told_with_its_place_and_the_others_count(made, line, told):
    labels = made()
    labels.append("ann", label(0))
    with (labels.folder / "by-ann.jsonl").open("ab") as file:
        file.write(line + to_line(label(2, "fail")))
    again = LabelSet.open(labels.folder)
    assert said(again) == {("ann", "e0"): "pass", ("ann", "e2"): "fail"}
    assert [note.startswith(told) for note in again.notes] == [True]


@pytest.mark.parametrize("name", ["by-Bob.jsonl", "by-ann copy.jsonl", "by-.jsonl", "by-dir.jsonl", "by-link.jsonl"])
def test_a_stray_file_is_told_and_blocks_nothing(made, tmp_path, name):
    labels = made()
    labels.append("ann", label(0))
    path = labels.folder / name
    if "dir" in name:
        path.mkdir()
    elif "link" in name:
        (tmp_path / "elsewhere").write_bytes(to_line(label(1)))
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(to_line(label(1)))
    again = LabelSet.open(labels.folder)
    assert said(again) == {("ann", "e0"): "pass"}
    assert ["was left out" in note and name in note for note in again.notes] == [True]
    again.append("bo", label(1))


def test_a_file_above_the_limit_is_told_and_not_read(made, monkeypatch):
    labels = made()
    labels.append("ann", label(0), label(1))
    labels.append("bo", label(1))
    monkeypatch.setattr(label_sets, "MAX_LABELS_BYTES", 300)
    again = LabelSet.open(labels.folder)
    assert said(again) == {("bo", "e1"): "pass"}
    assert "at most 300 are read" in again.notes[0]
    with pytest.raises(StoreError, match="at most 300"):
        again.append("ann", label(2))


@pytest.mark.parametrize(
    "odd",
    [
        {"judged": None}, {"judged": {}}, {"judged.scale": 5}, {"judged.scale": []}, {"judged.scale": [[1]]},
        {"judged.scale": "other"}, {"judged.criteria": 5}, {"judged.rubric": 5}, {"judged.seed": "x"}, {"source": []},
        {"items": 5}, {"created_at": 5},
    ],
)  # fmt: skip
def test_odd_settings_are_told_with_their_file(made, odd):
    labels = made()
    body = manifests.load(Tree(labels.folder), "set.json") or {}
    for name, value in odd.items():
        *above, last = name.split(".")
        (body[above[0]] if above else body)[last] = value
    (labels.folder / "set.json").write_bytes(manifests.render(body))
    with pytest.raises(StoreError, match=r"set\.json does not say what is judged"):
        LabelSet.open(labels.folder)


def test_the_newest_label_of_a_person_counts(made):
    labels = made()
    labels.append("ann", label(1, "pass"), label(1, "fail", after=1))
    labels.append("bo", label(1, "pass"))
    assert said(labels) == {("ann", "e1"): "fail", ("bo", "e1"): "pass"}


def test_undo_takes_back_the_newest_and_gives_the_older_one_back(made):
    labels, second = made(), label(1, "fail", after=1)
    labels.append("ann", label(1, "pass"), second, Undo(at=NOW, of=second.id))
    assert said(labels) == {("ann", "e1"): "pass"}


def test_an_undo_of_nothing_is_refused(made):
    labels, first = made(), label(1)
    labels.append("ann", first)
    with pytest.raises(UsageError, match="nothing to undo"):
        labels.append("bo", Undo(at=NOW, of=first.id))


def test_the_same_event_sent_twice_is_one_line(made):
    labels, event = made(), label(1)
    labels.append("ann", event)
    LabelSet.open(labels.folder).append("ann", event)
    assert len((labels.folder / "by-ann.jsonl").read_bytes().splitlines()) == 1


def test_a_skip_is_no_label_and_hides_none(made):
    labels = made()
    skip = Skip(at=NOW, example_id="e2", output_hash=output_hash("answer 2"))
    labels.append("ann", label(1), skip, Skip(at=NOW, example_id="e1", output_hash=output_hash("answer 1")))
    assert said(labels) == {("ann", "e1"): "pass"}
    assert labels.marks("ann")["e2", output_hash("answer 2")] is None


def test_one_answer_of_two_candidates_is_judged_once(made):
    labels = made(candidates=("a", "b"))
    labels.append("ann", label(1, "fail"))
    assert [(row["candidate"], row["label"]) for row in labels.labels().to_pylist()] == [("a", "fail"), ("b", "fail")]


def test_criteria_together_are_the_whole(made):
    labels = made(criteria={"short": "at most 20 words", "polite": "no insult"})
    labels.append("ann", label(1, criterion="short"), label(1, "fail", criterion="polite", failure_modes=("rude",)))
    labels.append("ann", label(2, criterion="short"))
    found = {(row["example_id"], row["criterion"]): row["label"] for row in labels.labels().to_pylist()}
    assert found == {("e1", "short"): "pass", ("e1", "polite"): "fail", ("e1", ""): "fail", ("e2", "short"): "pass"}


def test_criteria_keep_their_order(made):
    assert list(made(criteria={"short": "x", "polite": "y"}).settings.criteria) == ["short", "polite"]


def test_a_rename_reaches_every_label_and_onto_another_name_merges(made):
    labels = made()
    labels.append("ann", label(0, "fail", failure_modes=("long",)), label(1, "fail", failure_modes=("wordy",)))
    labels.append("bo", Rename(at=NOW, old="long", new="too long"))
    assert labels.failure_modes() == {"too long": 1, "wordy": 1}
    labels.append("ann", Rename(at=NOW + timedelta(seconds=1), old="wordy", new="too long"))
    assert labels.failure_modes() == {"too long": 2}
    assert {row["failure_mode"] for row in labels.labels().to_pylist()} == {"too long"}


def test_a_rename_can_be_undone(made):
    labels, rename = made(), Rename(at=NOW, old="long", new="short")
    labels.append("ann", label(0, "fail", failure_modes=("long",)), rename, Undo(at=NOW, of=rename.id))
    assert labels.failure_modes() == {"long": 1}


NAMES = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(st.tuples(NAMES, NAMES), max_size=8))
def test_renames_never_run_in_a_circle(tmp_path_factory, pairs):
    labels = LabelSet.create(tmp_path_factory.mktemp("set") / "s", items(), SetSettings(), now=NOW)
    events = [Rename(at=NOW + timedelta(seconds=i), old=old, new=new) for i, (old, new) in enumerate(pairs)]
    labels.append("ann", *events)
    today = labels.renamed()
    assert all(today[name] == name for name in today.values())
    assert not pairs or today[pairs[-1][1]] == pairs[-1][1]


TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@given(example=TEXT, critique=TEXT, verdict=TEXT)
def test_every_label_is_read_as_it_was_written(example, critique, verdict):
    event = Label(at=NOW, example_id=example, output_hash="0" * 16, label=verdict, critique=critique)
    line = to_line(event)
    assert line.count(b"\n") == 1
    assert from_line(line[:-1]) == event


@given(st.integers(0, 400))
def test_a_cut_line_is_left_out_and_told_and_the_next_label_is_whole(tmp_path_factory, cut):
    labels = LabelSet.create(tmp_path_factory.mktemp("set") / "s", items(), SetSettings(), now=NOW)
    labels.append("ann", label(0))
    path = labels.folder / "by-ann.jsonl"
    line = to_line(label(1, "fail"))
    with path.open("ab") as file:
        file.write(line[: cut % (len(line) - 1)])
    again = LabelSet.open(labels.folder)
    torn = cut % (len(line) - 1) > 0
    assert said(again) == {("ann", "e0"): "pass"}
    assert bool(again.notes) == torn
    again.append("ann", label(2))
    assert said(LabelSet.open(labels.folder)) == {("ann", "e0"): "pass", ("ann", "e2"): "pass"}
    assert any("line 2 of by-ann.jsonl" in note for note in again.notes) == torn


@pytest.mark.parametrize(
    "line",
    [b"[]", b"{}", b'{"event":"label"}', b"\xff", b"[" * 5000, b'{"event":"skip","at":3,"id":"' + b"0" * 32 + b'"}',
     b'{"event":"undo","at":"2026-03-01T12:00:00+00:00","id":"' + b"0" * 32 + b'","of":"x","more":"1"}'],
)  # fmt: skip
def test_a_foreign_line_is_left_out_and_told(made, line):
    labels = made()
    labels.append("ann", label(0))
    with (labels.folder / "by-ann.jsonl").open("ab") as file:
        file.write(line + b"\n")
    assert said(labels) == {("ann", "e0"): "pass"}
    assert "line 2 of by-ann.jsonl" in labels.notes[0]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (label(9), "no answer 'e9'"),
        (label(1, "maybe"), "the label 'maybe'"),
        (label(1, criterion="short"), "criterion 'short'"),
    ],
)
def test_what_the_set_does_not_have_is_refused(made, event, message):
    labels = made()
    with pytest.raises(UsageError, match=message):
        labels.append("ann", event)
    assert labels.annotators() == []


@pytest.mark.parametrize("name", ["", "Ann", "../x", "a/b", "a" * 65])
def test_an_annotator_is_a_safe_name(made, name):
    with pytest.raises(InputError):
        made().append(name, label(1))


@pytest.mark.parametrize("name", ["", " ", "a;b", "a" * 81, "a\u202eb"])
def test_names_of_failure_modes_are_short_and_visible(name):
    with pytest.raises(UsageError, match="names no failure mode"):
        mode_name(name)


def test_altered_items_are_refused(made):
    labels = made()
    path = labels.folder / "items.jsonl"
    path.write_text(path.read_text().replace("answer 1", "answer 7"))
    with pytest.raises(StoreError, match="was altered"):
        LabelSet.open(labels.folder).items()


def test_altered_settings_are_refused(made):
    path = made(rubric="be short").folder / "set.json"
    path.write_text(path.read_text().replace("be short", "be long"))
    with pytest.raises(StoreError, match="was altered"):
        LabelSet.open(path.parent)


def test_a_set_is_made_once(made):
    made()
    with pytest.raises(UsageError, match="there is a label set already"):
        made()


def test_no_set_and_no_items_are_told(tmp_path):
    with pytest.raises(UsageError, match="no label set"):
        LabelSet.open(tmp_path / "nothing")
    with pytest.raises(DataError, match="no items"):
        LabelSet.create(tmp_path / "s", schema("label_items").empty_table(), SetSettings(), now=NOW)


def test_an_item_whose_hash_is_another_outputs_is_refused(tmp_path):
    table = items().set_column(2, "output_hash", pa.array(["0" * 16] * 4))
    with pytest.raises(DataError, match="output_hash"):
        LabelSet.create(tmp_path / "s", table, SetSettings(), now=NOW)


def test_slices_stay_with_the_items(tmp_path):
    table = items().append_column("lang", pa.array(["de", None, "en", "en"]))
    labels = LabelSet.create(tmp_path / "s", table, SetSettings(), now=NOW)
    assert labels.items()["lang"].to_pylist() == ["de", None, "en", "en"]


def test_only_the_owner_may_read(made):
    before = os.umask(0)
    try:
        labels = made()
        labels.append("ann", label(1))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in labels.folder.iterdir()}
    assert modes == {"set.json": 0o600, "items.jsonl": 0o600, "by-ann.jsonl": 0o600}
    assert stat.S_IMODE(labels.folder.stat().st_mode) == 0o700


def test_a_link_is_not_followed(made, tmp_path):
    labels = made()
    (tmp_path / "elsewhere").write_text("")
    (labels.folder / "by-ann.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        labels.append("ann", label(1))
    assert (tmp_path / "elsewhere").read_text() == ""


def test_threads_with_a_set_each_lose_nothing(made):
    folder = made(n=200).folder

    def work(start):
        own = LabelSet.open(folder)
        for i in range(start, 200, 4):
            own.append("ann", label(i))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = LabelSet.open(folder)
    assert len(said(labels)) == 200
    assert labels.notes == []


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from safetycatch.store.label_events import Label
from safetycatch.identity import output_hash
from safetycatch.store.label_sets import LabelSet
labels = LabelSet.open(Path(sys.argv[1]))
for i in range(int(sys.argv[3]), 3000, int(sys.argv[4])):
    labels.append(sys.argv[2], Label(at=datetime.now(UTC), example_id=f"e{i}",
                  output_hash=output_hash(f"answer {i}"), label="fail", critique="long " * 50))
    print(i, flush=True)
"""


def test_kill_9_loses_no_label_that_was_confirmed(made):
    labels = made(n=3000)
    for go in range(3):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(labels.folder), "ann", str(number + 2 * go), "6"],
                stdout=subprocess.PIPE, text=True,
            )
            for number in range(2)
        ]  # fmt: skip
        confirmed = [writer.stdout.readline() for writer in writers for _ in range(10)]
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        # What was printed before the kill, though not yet read, was confirmed too.
        confirmed += [line for writer in writers for line in writer.communicate()[0].splitlines(keepends=True)]
        found = said(LabelSet.open(labels.folder))
        assert {("ann", f"e{int(line)}") for line in confirmed if line.endswith("\n")} <= found.keys()
