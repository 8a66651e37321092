"""`calibrate` from the shell: a recorded judge to a certificate, its page, and what doctor says of it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from safetycatch.cli.calibrating import next_steps
from safetycatch.store import Store
from safetycatch.store.certificates import Certificates
from tasks.calibrate import read_people
from tasks.start import read_inputs
from tests.judging.certified import certificate, texts

pytestmark = pytest.mark.flow


@pytest.fixture
def judged(tmp_path):
    """120 labelled answers with recorded verdicts, of which 6 are wrong; one answer is hostile."""
    answers = ["<script>alert(1)</script> \x1b[31m", *texts(119)]
    said = [("pass", "fail")[at % 2] for at in range(120)]
    verdicts = [said[at] if at % 20 else "fail" for at in range(120)]
    labels = [{"example_id": f"e{at}", "output": answers[at], "label": said[at]} for at in range(120)]
    for name, rows in (
        ("labels", labels),
        ("verdicts", [{"example_id": f"e{at}", "verdict": one} for at, one in enumerate(verdicts)]),
        ("rows", [{"id": f"e{at}", "input": "q", "target": "t", "output": "o"} for at in range(120)]),
    ):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "safetycatch.yaml").write_text("")
    (tmp_path / "judged.yaml").write_text(
        json.dumps(
            {
                "data": {"path": "rows.jsonl", "id": "id", "input": "input", "target": "target"},
                "task": "generate",
                "split": {"test": 1},
                "candidates": [{"id": "a", "outputs": "rows.jsonl"}],
                "scorers": ["judge"],
                "judge": {"verdicts": "verdicts.jsonl", "labels": "labels.jsonl"},
            }
        )
    )
    return tmp_path


def test_a_recorded_judge_is_certified_without_a_call(command, judged):
    ended = command("calibrate", "judged.yaml", "--json", cwd=judged)
    assert ended.code == 0, ended.err
    found = ended.document
    assert (found["state"], found["calls"]["sent"], found["agreed"]) == ("certified", 0, [114, 120])
    page = (judged / found["page"]).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    again = command("calibrate", "judged.yaml", cwd=judged)
    assert "CERTIFIED" in again.out
    assert "114 of 120" in again.out
    assert len(list((judged / ".safetycatch" / "certificates").glob("*.json"))) == 1
    assert command("calibrate", "judged.yaml", "--sentinels", cwd=judged).code == 2


def test_an_inverted_judge_of_contested_labels(command, judged):
    """Verdicts are the reverse of ann's labels; bob differs from her on 10 of 30."""
    labels = [json.loads(line) for line in (judged / "labels.jsonl").read_text().splitlines()]
    other = {"pass": "fail", "fail": "pass"}
    said = [{**row, "annotator": "ann"} for row in labels]
    said += [
        {**row, "annotator": "bob", "label": other[row["label"]] if at < 10 else row["label"]}
        for at, row in enumerate(labels[:30])
    ]
    (judged / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    verdicts = [{"example_id": row["example_id"], "verdict": other[row["label"]]} for row in labels]
    (judged / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in verdicts))
    ended = command("calibrate", "judged.yaml", cwd=judged)
    told = ended.out
    contested = "people themselves disagree on the whole answer: 10 of 30 shared items"
    assert 0 < told.index(contested) < told.index("J -1.00")
    assert "REFUSED  it says the opposite of people" in told
    assert "without 10 disputed items" in told
    assert "self preference: not checked" in told
    assert "--refine" not in told
    assert "next      read the rubric" in told
    page = next((judged / ".safetycatch" / "certificates").glob("*.html")).read_text()
    assert page.index(contested) < page.index('id="figures"')
    assert "rates are those of settled items" in page
    assert '<p class="sentence">it says the opposite of people' in page
    assert ">-1" in page  # the axis


def test_what_comes_next_can_be_typed():
    def told(**found):
        least = {"state": "refused", "reasons": [], "labels_needed": [], "judge": {"recorded_sha256": ""}}
        return next_steps({**least, **found}, "a/b.yaml")

    assert told(state="certified") == []
    assert told(reasons=[{"code": "looks"}])[0].startswith("safetycatch review a/b.yaml")
    (refine,) = told(labels_needed=["TPR is 0.70, not above 0.80: more labels will not certify it"])
    assert refine.startswith("safetycatch calibrate a/b.yaml --refine")
    assert "more labels" in told(labels_needed=["about 9 more sealed labels 'pass'"])[0]


def test_without_labels_it_says_what_to_type(cli, judged):
    body = json.loads((judged / "judged.yaml").read_text())
    del body["judge"]["labels"]
    (judged / "judged.yaml").write_text(json.dumps(body))
    ended = cli("calibrate", "judged.yaml")
    assert ended.code == 2
    assert "safetycatch review" in ended.err


def test_who_settles_the_criteria_settles_the_answer(judged):
    """Two people differ on the whole and on one of two criteria, which an adjudicator decides."""
    said = [("ann", "", "pass"), ("bob", "", "fail"), ("ann", "tone", "pass"), ("bob", "tone", "fail")]
    said += [("ann", "facts", "pass"), ("bob", "facts", "pass"), ("adjudicator", "tone", "fail")]
    rows = [
        {"example_id": "e1", "output": "o", "annotator": who, "criterion": of, "label": one} for who, of, one in said
    ]
    (judged / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (judged / "judge.md").write_text("Passes when kind and true.\n")
    body = json.loads((judged / "judged.yaml").read_text())
    criteria = {"tone": "kind", "facts": "true"}
    body["judge"] = {"model": "sandbox/judge", "prompt": "judge.md", "labels": "labels.jsonl", "criteria": criteria}
    (judged / "judged.yaml").write_text(json.dumps(body))
    people = read_people(read_inputs(judged / "judged.yaml", "", alone=True))
    assert [item.label for item in people.items] == ["fail"]
    assert people.disputed == ()


def test_doctor_says_what_ends_when(cli, tmp_path):
    kept, now = Certificates(Store.open(tmp_path / ".safetycatch")), datetime.now(UTC)
    for name, more in (
        ("lasting", {}),
        ("ending", {"valid_until": now + timedelta(days=9, hours=1)}),
        ("ended", {"valid_until": now - timedelta(days=1)}),
        ("adrift", {"drift": {"alarm": True, "detail": "9 of 100 changed"}}),
        ("weak", {"counts": (60, 40, 45, 55)}),
    ):
        kept.save(certificate(more.pop("counts", (97, 3, 3, 97)), experiment=name, **more))
    told = {
        one["text"].split(":")[0]: one for one in cli("doctor", "--json").document["checks"] if one["area"] == "judges"
    }
    assert {name: one["state"] for name, one in told.items()} == {
        "lasting": "ok",
        "ending": "note",
        "ended": "wrong",
        "adrift": "wrong",
        "weak": "note",
    }
    assert "in 9 days" in told["ending"]["text"]
