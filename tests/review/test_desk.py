import json
import uuid
from datetime import UTC, datetime

import pytest

from safetycatch.errors import InputError, UsageError
from safetycatch.identity import canonical_json, output_hash
from safetycatch.review.desk import CHUNK, FOLDED, Desk, verdict_keys
from safetycatch.store.label_sets import LabelSet
from tests.review.conftest import desk_in, items, ticking


def act(do="label", **more):
    return {"id": uuid.uuid4().hex, "do": do, **more}


def passing(*numbers):
    return [act(item=number, label="pass") for number in numbers]


def rows(desk):
    return {(row["annotator"], row["example_id"], row["criterion"]): row for row in desk.labels.labels().to_pylist()}


def test_a_label_goes_from_the_page_to_the_file(opened):
    client = opened()
    label = act(item=1, label="fail", critique=" too long ", modes=["too  long"])
    status, _, text = client.post([label])
    assert (status, json.loads(text)) == (200, {"saved": 1, "modes": [{"name": "too long", "n": 1}]})
    row = rows(client.desk)["ann", "e1", ""]
    assert (row["label"], row["critique"], row["failure_mode"]) == ("fail", "too long", "too long")


def test_the_same_label_sent_again_is_one(opened):
    client, label = opened(), passing(0)
    assert client.post(label)[0] == client.post(label)[0] == 200
    assert client.json("/api/state?as=ann")["saved"] == 1


@pytest.mark.parametrize("path", ["/api/state?as=ann", "/api/items?n=0", "/api/text?n=0&part=output&from=0"])
def test_a_page_of_another_set_is_told_and_shown_nothing(client, path):
    status, _, text = client.get(f"{path}&set={'0' * 64}")
    assert (status, "another label set" in json.loads(text)["error"]) == (409, True)
    assert client.get(f"{path}&set={client.desk.labels.identity}")[0] == 200


def test_labels_of_another_set_are_refused_and_nothing_is_written(opened, tmp_path):
    client, other = opened(), desk_in(tmp_path / "other", rubric="another one").labels
    assert other.items_sha256 == client.desk.labels.items_sha256
    for path in ("/api/begin", "/api/acts"):
        status, _, _ = client.ask("POST", path, {"as": "ann", "set": other.identity, "acts": passing(0)})
        assert status == 409
    assert client.desk.labels.annotators() == []


def test_of_several_acts_all_are_saved_or_none(opened):
    client = opened()
    status, _, text = client.post([*passing(0), act(item=7, label="pass")])
    assert status == 400
    assert "no answer 7" in json.loads(text)["error"]
    assert client.desk.labels.labels().num_rows == 0


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"as":"ann"}', b'{"as":1,SET,"acts":[]}', b'{"as":"ann",SET,"acts":{}}', b"\xff",
        b"[" * 60_000, b'{"as":"ann",SET,"acts":[1]}', b'{"as":"ann",SET,"acts":[{}]}', b'{"as":"../x",SET,"acts":[]}',
        b'{"as":"ann",SET,"acts":[{"do":"drop","id":"x"}]}', b'{"as":"ann","acts":[]}', b'{"as":"ann",SET}',
        b'{"as":"ann",SET,"acts":[{"do":"undo","id":"1","of":"2"}]}',
    ],
)  # fmt: skip
def test_what_is_no_act_is_refused_and_told(client, body):
    body = body.replace(b"SET", b'"set":"%s"' % client.desk.labels.identity.encode())
    status, _, text = client.ask("POST", "/api/acts", body)
    assert status == 400
    assert json.loads(text)["error"]


@pytest.mark.parametrize(
    "said",
    [
        {"item": True, "label": "pass"}, {"item": -1, "label": "pass"}, {"item": "0", "label": "pass"},
        {"item": 0, "label": "maybe"}, {"item": 0}, {"item": 0, "label": "fail", "modes": "x"},
        {"item": 0, "label": "fail", "modes": ["a;b"]}, {"item": 0, "label": "fail", "critique": "x" * 4001},
        {"item": 0, "label": "pass", "id": "short"}, {"item": 0, "label": "pass", "criterion": "none"},
    ],
)  # fmt: skip
def test_a_label_that_cannot_be_is_refused(desk, said):
    made = desk()
    with pytest.raises(InputError):
        made.act("ann", [{"id": uuid.uuid4().hex, "do": "label", **said}])
    assert made.labels.labels().num_rows == 0


def test_nothing_that_would_sway_a_verdict_reaches_the_page(opened):
    client = opened(items_=items(["one", "two"]))
    told = "".join(
        client.get(path)[2] for path in ("/label", "/summary", "/api/state?as=ann", "/api/items?as=ann&n=0,1")
    )
    assert "one" in told
    assert "secret-candidate" not in told
    assert "0.5" not in told


def test_a_pass_has_no_failure_modes(desk):
    made = desk()
    made.act("ann", [act(item=0, label="pass", modes=["rude"])])
    assert rows(made)["ann", "e0", ""]["failure_mode"] is None


def test_undo_brings_an_answer_back(desk):
    made, label = desk(), passing(0)[0]
    made.act("ann", [label])
    assert made.queue("ann") == [1, 2]
    made.act("ann", [act("undo", of=label["id"])])
    assert made.queue("ann") == [0, 1, 2]
    assert made.saved("ann") == 0


def test_what_was_skipped_does_not_come_again(desk):
    made = desk()
    made.act("ann", [act("skip", item=0)])
    assert made.queue("ann") == [1, 2]
    assert made.state("ann")["done"] == 1
    assert made.saved("ann") == 0


def test_who_comes_second_begins_with_a_fifth_of_the_firsts_answers(desk):
    made = desk([f"answer {i}" for i in range(1000)])
    made.begin("ann")
    made.begin("bo")
    made.act("ann", passing(*range(40)))
    shared = {n for n in range(1000) if list(made.answers)[n] in made._shared}
    assert 150 < len(shared) < 250
    queue = made.queue("bo")
    assert set(queue[: len(shared)]) == shared
    assert queue[: len(shared)] == sorted(shared)
    assert set(queue[len(shared) :]) == set(range(40, 1000)) - shared


def test_who_came_first_goes_as_the_set_is_ordered_without_what_others_did(desk):
    made = desk([f"answer {i}" for i in range(100)])
    made.begin("ann")
    made.begin("bo")
    theirs = made.queue("bo")[-10:]
    made.act("bo", passing(*theirs))
    assert made.queue("ann") == [n for n in range(100) if n not in theirs]


def test_the_order_is_the_same_after_a_restart(desk):
    made = desk([f"answer {i}" for i in range(100)])
    made.begin("ann")
    made.begin("bo")
    again = Desk(LabelSet.open(made.labels.folder), annotator="ann", again="", now=ticking())
    assert again.queue("bo") == made.queue("bo")


def test_every_criterion_is_judged_before_an_answer_is_done(desk):
    made = desk(criteria={"short": "at most 20 words", "polite": "no insult"})
    made.act("ann", [act(item=0, label="pass", criterion="short")])
    assert (made.queue("ann")[0], made.saved("ann")) == (0, 0)
    made.act("ann", [act(item=0, label="fail", criterion="polite", modes=["rude"])])
    assert (made.queue("ann")[0], made.saved("ann")) == (1, 1)
    assert rows(made)["ann", "e0", ""]["label"] == "fail"


def pairs(n):
    return [canonical_json({"first": f"candidate {i}", "second": f"baseline {i}"}).decode() for i in range(n)]


def test_sides_of_a_pair_are_drawn_by_a_key_and_labels_are_about_the_items_own(desk):
    made = desk(pairs(200), scale="pairwise")
    shown = [made.shown("ann", n)["parts"]["first"]["text"].startswith("candidate") for n in range(200)]
    assert 70 < sum(shown) < 130
    assert shown != [made.shown("bo", n)["parts"]["first"]["text"].startswith("candidate") for n in range(200)]
    # Whoever always prefers the candidate says "first" or "second", as it is shown.
    said = [act(item=n, label="first" if shown[n] else "second") for n in range(40)]
    made.act("ann", said)
    made.act("ann", [act(item=40, label="tie")])
    found = [row["label"] for row in rows(made).values()]
    assert (found.count("first"), found.count("tie")) == (40, 1)


@pytest.mark.parametrize(
    ("scale", "verdicts", "keys"),
    [
        ("pass_fail", ("pass", "fail"), ["p", "f"]),
        ("pairwise", ("first", "second", "tie"), ["a", "b", "t"]),
        ((1, 2, 3, 4, 5), ("1", "2", "3", "4", "5"), ["1", "2", "3", "4", "5"]),
        ((0, 5, 10), ("0", "5", "10"), ["1", "2", "3"]),
        (("good", "bad"), ("good", "bad"), ["1", "2"]),
    ],
)
def test_every_verdict_has_a_key(scale, verdicts, keys):
    assert list(verdict_keys(scale, verdicts).values()) == keys


def test_twenty_grades_have_twenty_keys_that_do_nothing_else():
    verdicts = tuple(f"grade {n}" for n in range(20))
    keys = list(verdict_keys(verdicts, verdicts).values())
    assert len(set(keys)) == 20
    assert not set("cemnorsu?") & set(keys)


def test_long_texts_are_folded_and_given_in_pieces(opened):
    whole = "".join(chr(ord("a") + n % 26) for n in range(5_000_000))
    client = opened([whole])
    part = client.json("/api/items?n=0")[0]["parts"]["output"]
    assert (part["text"], part["more"]) == (whole[:FOLDED], len(whole) - FOLDED)
    more = client.json(f"/api/text?n=0&part=output&from={FOLDED}")
    assert (more["text"], more["more"]) == (whole[FOLDED : FOLDED + CHUNK], len(whole) - FOLDED - CHUNK)


@pytest.mark.parametrize(
    "asked", ["n=0&part=candidate&from=0", "n=9&part=output&from=0", "n=0&part=output&from=-1", "n=0"]
)
def test_other_parts_of_an_answer_do_not_exist(client, asked):
    assert client.get(f"/api/text?{asked}")[0] == 400


def test_what_cannot_be_seen_is_shown_as_text(opened):
    client = opened(["\x1b[31mred\x00 \u202egnp.exe \u200b<script>alert(1)</script>"])
    assert client.json("/api/items?n=0")[0]["parts"]["output"]["text"] == (
        "\\u001b[31mred\\u0000 \\u202egnp.exe \\u200b<script>alert(1)</script>"
    )


def test_a_name_that_could_leave_the_folder_is_refused(opened):
    client = opened()
    assert client.get("/api/state?as=..%2Fx")[0] == 400
    assert client.post(passing(0), who="../x")[0] == 400


def test_a_disk_that_refuses_is_told_and_nothing_counts_as_saved(opened):
    client = opened()
    (client.desk.labels.folder / "by-ann.jsonl").mkdir()
    status, _, text = client.post(passing(0))
    assert status == 500
    assert "cannot" in json.loads(text)["error"]


def test_pages_of_two_servers_see_each_others_labels(desk):
    made = desk()
    other = Desk(LabelSet.open(made.labels.folder), annotator="bo", again="", now=lambda: datetime.now(UTC))
    made.act("ann", [act(item=0, label="fail", modes=["rude"])])
    assert other.modes() == [{"name": "rude", "n": 1}]
    other.act("bo", [act("rename", old="rude", new="impolite")])
    assert made.modes() == [{"name": "impolite", "n": 1}]


def test_too_many_acts_at_once_are_refused(desk):
    with pytest.raises(UsageError, match="at most"):
        desk().act("ann", passing(*[0] * 51))


def test_equal_answers_to_one_question_are_judged_once(desk):
    table = items(["one", "two"]).to_pylist()
    twice = items(["one", "two"]).from_pylist(
        [table[0], {**table[0], "candidate": "other"}, table[1]], schema=items(["x"]).schema
    )
    made = desk(items_=twice)
    assert len(made.answers) == 2
    made.act("ann", passing(0))
    assert {row["candidate"] for row in made.labels.labels().to_pylist()} == {"secret-candidate", "other"}
    assert output_hash("one") == table[0]["output_hash"]
