from dataclasses import asdict
from datetime import UTC, datetime

import pytest

from safetycatch.catches.estimate import Estimate
from safetycatch.store import Runs, Store
from safetycatch.store.ledger import LEDGER, Ledger

SIX = Estimate(1200, 40, 6.0, 18.5, 400_000)


@pytest.fixture
def waiting(tmp_path):
    """Writes a run that waits for a yes to an estimate; the same name again is the same run."""
    store = Store.open(tmp_path / ".safetycatch")

    def write(estimate=SIX, name="demo"):
        with Runs(store).begin(name, f"{name}-identity", config={}, now=datetime.now(UTC)) as run:
            asked = {"estimate": asdict(estimate), "ask_above": 5.0, "ceiling": "$20"}
            ended = {"error": "SC302 waits", "findings": [], "asked": asked, "command": f"safetycatch run {name}.yaml"}
            run.finish("waits", ended)
            return run.run_id

    return write


def test_nothing_waits_in_a_folder_without_a_store(cli, tmp_path):
    assert "no run waits" in cli("approve").out
    assert cli("approve", "--json").document == []
    assert not list(tmp_path.iterdir())


def test_what_waits_is_listed_and_looking_makes_no_ledger(cli, waiting, stored, tmp_path):
    stored({"zero": {"a": 1.0}})
    run = waiting()
    text = cli("approve").out
    assert text.startswith(f"{run}  waits  up to 1,200 calls (40 known or repeated), $6.00 expected, $18.50 at")
    assert "safetycatch approve RUN --as NAME" in text
    assert not (tmp_path / ".safetycatch" / LEDGER).exists()


def test_a_yes_says_who_to_what_and_what_to_type_next(cli, waiting):
    run = waiting()
    text = cli("approve", run[:-2], "--as", " Ada ", "--note", "for the launch").out.splitlines()
    assert text[0].startswith(f"{run} approved · by Ada, 20")
    assert text[1] == f"  pays      {SIX.text} · ceiling $20"
    assert text[2:] == ["  note      for the launch", "  go on     safetycatch run demo.yaml"]
    assert "was approved already · by Ada" in cli("approve", run, "--as", "Bo").out
    assert f"{run}  by Ada, 20" in cli("approve").out


def test_a_run_that_grew_dearer_waits_for_another_yes(cli, waiting):
    run = waiting()
    cli("approve", run, "--as", "Ada")
    assert waiting(Estimate(1200, 40, 7.0, 18.5, 400_000)) == run
    assert cli("approve", "--json").document[0]["approved_by"] is None
    assert cli("approve", run, "--as", "Bo", "--json").document["new"] is True


def test_an_unknown_run_names_the_nearest(cli, waiting):
    run = waiting()
    ended = cli("approve", run[:-1] + "7", "--as", "Ada")
    assert ended.code == 2
    assert run in ended.err


def test_a_run_that_waits_for_nobody_cannot_be_approved(cli, stored, tmp_path):
    run = stored({"zero": {"a": 1.0}})
    ended = cli("approve", run, "--as", "Ada")
    assert ended.code == 2
    assert f"run {run} is done: it waits for nobody" in ended.err
    assert not (tmp_path / ".safetycatch" / LEDGER).exists()


def test_a_yes_has_a_name(cli, waiting):
    run = waiting()
    ended = cli("approve", run)
    assert ended.code == 2
    assert f"fix      safetycatch approve {run} --as NAME" in ended.err
    assert cli("approve", run, "--as", "\x1b[31mred").code == 2


@pytest.mark.parametrize("words", [["--as", ""], ["--as", "a\nb"], ["--yes", "--as", " "]])
def test_a_run_refuses_a_name_that_is_none_before_anything_starts(cli, tmp_path, words):
    (tmp_path / "e.yaml").write_text("data: t.csv\nprompts: [p.md]\nmodels: [sandbox/echo]\n")
    ended = cli("run", "e.yaml", *words)
    assert ended.code == 2
    assert "--as NAME" in ended.err


def test_names_move_no_cursor_even_when_the_ledger_was_written_by_hand(cli, waiting, tmp_path):
    run = waiting()
    cli("approve", run, "--as", "Ada")
    with Ledger.open(tmp_path / ".safetycatch" / LEDGER) as ledger:
        ledger._connection.execute("UPDATE approval SET name = ?, note = ?", ("\x1b[31mred", "\x1b[2J"))
    assert "\x1b" not in cli("approve").out + cli("approve", run, "--as", "Bo").out


def test_show_says_that_a_run_waits(cli, waiting):
    run = waiting()
    text = cli("show", run).out
    assert text.startswith(f"{run} · waits")
    assert "safetycatch run demo.yaml" in text
