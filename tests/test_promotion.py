"""Before a candidate goes out: a named person's yes to this very report, and failures that somebody read."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from flows.promotion import covering, decided, record, seen_of
from safetycatch.catches import refuse
from safetycatch.cli.main import main
from safetycatch.errors import ApprovalNeededError, RefusedError, StoreError, UsageError
from safetycatch.identity import file_sha256, output_hash
from safetycatch.project import find_project
from safetycatch.store import manifest
from safetycatch.store.label_events import Label
from safetycatch.store.label_sets import LabelSet, SetSettings
from safetycatch.store.ledger import LEDGER, Consent
from safetycatch.tables import schema

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


def found(project, named=None, **options):
    """What the catches say of the promotion of the project's run."""
    made = decided(project.stored(), find_project(project.folder), named, **options)
    return {finding.code: finding for finding in made.findings}


def changed_report(project):
    """The run's report written again, as another version of safetycatch would write it."""
    stored = project.stored()
    (stored.folder / "report.html").write_text("<html>another</html>")
    body = manifest.parse((stored.folder / "manifest.json").read_bytes())
    body["files"]["report.html"]["sha256"] = file_sha256(stored.folder / "report.html")
    (stored.folder / "manifest.json").write_bytes(manifest.render(body))


def label_failures(project, n, folder="labels"):
    """Say of `n` of b's wrong answers that they are wrong."""
    rows = [
        {"example_id": row["id"], "candidate": "b", "output": output, "output_hash": output_hash(output), "input": "x"}
        for row in project.rows
        if (output := project.answers["b"]({"example_id": row["id"]})) != row["label"]
    ]
    (project.folder / folder).mkdir(exist_ok=True, parents=True)
    items = pa.Table.from_pylist(rows, schema=schema("label_items"))
    made = LabelSet.create(project.folder / folder / "first", items, SetSettings(), now=NOW)
    for row in rows[:n]:
        made.append("ada", Label(at=NOW, example_id=row["example_id"], output_hash=row["output_hash"], label="fail"))


def test_sc1101_refuses_a_claimed_winner_that_nobody_approved(project):
    project.run()
    one = found(project)["SC1101"]
    assert (one.status, one.level) == ("fired", "refuse")
    assert "verdict BETTER" in one.saw
    with pytest.raises(RefusedError, match="nobody approved the promotion"):
        refuse([one])


def test_sc1101_is_silent_once_a_named_person_approved_this_report(project):
    project.run()
    record(project.store, seen_of(project.stored(), None), Consent("Ada", "read it"))
    one = found(project)["SC1101"]
    assert one.status == "passed"
    assert "approved by Ada" in one.saw


def test_sc1101_a_changed_report_voids_the_approval(project):
    project.run()
    record(project.store, seen_of(project.stored(), None), Consent("Ada"))
    changed_report(project)
    one = found(project)["SC1101"]
    assert one.status == "fired"
    assert "which is another one" in one.saw


def test_a_report_that_was_altered_is_not_shown_to_anybody(project):
    project.run()
    (project.stored().folder / "report.html").write_text("<html>better</html>")
    with pytest.raises(StoreError):
        seen_of(project.stored(), None)


def test_the_approval_of_one_candidate_is_none_of_another(project):
    project.run()
    record(project.store, seen_of(project.stored(), None), Consent("Ada"))
    one = found(project, "a")["SC1101"]
    assert one.status == "fired"
    assert "approved b" in one.saw


def test_whoever_is_asked_and_says_yes_is_recorded(project):
    project.run()
    shown = []
    one = found(project, ask=lambda text: shown.append(text) or Consent("Bo", "y at the terminal"))["SC1101"]
    assert one.status == "passed"
    assert shown[0].startswith(f"b of {project.stored().run_id} · BETTER")
    promotion, _ = covering(project.store, seen_of(project.stored(), None))
    assert (promotion.name, promotion.note) == ("Bo", "y at the terminal")
    assert found(project, ask=lambda _text: pytest.fail("asked again"))["SC1101"].status == "passed"


def test_whoever_is_asked_and_says_no_stops_it(project):
    project.run()
    with pytest.raises(ApprovalNeededError, match="nothing was promoted"):
        found(project, ask=lambda _text: None)
    assert covering(project.store, seen_of(project.stored(), None)) == (None, "")


def test_exploring_only_warns(project):
    project.config["split"] = {"dev": 0.5, "test": 0.5, "train": 0}
    del project.config["claim"]
    project.run()
    assert (found(project, "b")["SC1101"].level, found(project, "b")["SC1102"].status) == ("warn", "not_applicable")


def test_switched_off_nobody_is_asked(project):
    project.config["catches"] = {"SC1101": "off"}
    project.run()
    assert found(project, ask=lambda _text: pytest.fail("asked"))["SC1101"].status == "not_checked"


def test_an_override_is_kept_with_its_reason(project):
    project.run()
    one = found(project, overrides={"SC1101": "rollback drill"})["SC1101"]
    assert (one.status, one.reason) == ("overridden", "rollback drill")


def test_a_run_without_a_winner_promotes_nobody_unnamed(project):
    project.answers["b"] = project.answers["a"]
    project.run()
    with pytest.raises(UsageError, match="favours no candidate"):
        found(project)


@pytest.mark.parametrize(("n", "status"), [(None, "fired"), (19, "fired"), (20, "passed")])
def test_sc1102_wants_twenty_of_the_winners_failures_read(project, n, status):
    project.run()
    if n is not None:
        label_failures(project, n)
    one = found(project)["SC1102"]
    assert (one.status, one.level) == (status, "warn")
    assert f"{n or 0} of the 20 failures of b" in one.saw


def test_sc1102_a_damaged_set_counts_for_nothing(project):
    project.run()
    label_failures(project, 20)
    (project.folder / "labels" / "first" / "items.jsonl").write_text("{}")
    assert found(project)["SC1102"].status == "fired"


def test_sc1102_counts_labels_wherever_judge_labels_lie(project):
    project.config["judge"] = {"model": "sandbox/judge", "prompt": "judge.md", "labels": "kept/by/people/first"}
    (project.folder / "judge.md").write_text("Is it right?\n")
    label_failures(project, 20, "kept/by/people")
    project.run()
    assert found(project)["SC1102"].status == "passed"


# -- at the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def here(project, monkeypatch, capsys):
    project.run()
    monkeypatch.chdir(project.folder)

    def call(*words):
        capsys.readouterr()
        code = main(words)
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_approve_promotion_says_what_was_seen_by_whom(here, project):
    stored = project.stored()
    code, out, _ = here("approve", "last", "--promotion", "--as", "Ada", "--note", "see 12")
    sha = stored.manifest["files"]["report.html"]["sha256"]
    assert code == 0
    assert out.startswith(f"b of {stored.run_id} may go out · by Ada, 20")
    assert sha[:12] in out
    assert "SC1102 warning" in out
    code, out, _ = here("approve", stored.run_id, "--promotion", "--as", "Bo")
    assert "was approved already · by Ada" in out


def test_who_approves_recorded_answers_is_told_that_pin_cannot_write_them(project, monkeypatch, capsys):
    project.record()
    project.run()
    monkeypatch.chdir(project.folder)
    assert main(("approve", "last", "--promotion", "--as", "Ada")) == 0
    assert "pin       cannot write it: its answers were recorded in old.csv" in capsys.readouterr().out


def test_approving_a_promotion_needs_a_name_and_a_winner(here):
    code, _, err = here("approve", "last", "--promotion")
    assert (code, "--promotion --as NAME" in err) == (2, True)
    assert here("approve", "last", "--candidate", "b", "--as", "Ada")[0] == 2
    assert here("approve", "last", "--promotion", "--candidate", "z", "--as", "Ada")[0] == 2


def test_a_finished_run_waits_for_nobody_but_its_winner_may(here):
    code, _, err = here("approve", "last", "--as", "Ada")
    assert code == 2
    assert "--promotion --as NAME approves that its winner goes out" in err


def test_a_calibration_is_approved_by_its_own_command(here):
    code, _, err = here("approve", "calibrate-0123456789abcdef", "--as", "Ada")
    assert (code, "safetycatch calibrate FILE --yes --as NAME" in err) == (2, True)


def test_a_damaged_ledger_approves_nothing(here, project):
    here("approve", "last", "--promotion", "--as", "Ada")
    (project.store / LEDGER).write_bytes(b"x" * 5000)
    assert here("approve", "last", "--promotion", "--as", "Ada")[0] == 10
