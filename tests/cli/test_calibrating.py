"""`calibrate` from the shell: a recorded judge to a certificate, its page, and what doctor says of it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

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
