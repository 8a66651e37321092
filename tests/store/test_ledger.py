import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from safetycatch import database
from safetycatch.catches.estimate import Estimate
from safetycatch.errors import StoreError, UsageError
from safetycatch.store import ledger as room
from safetycatch.store.ledger import LEDGER, Approval, Ledger, consent
from safetycatch.store.looks import Looks
from safetycatch.store.promotions import Promotion, Promotions

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SIX = Estimate(1200, 0, 6.0, 18.5, 400_000)
OUT = Promotion("2026-03-01-demo-1", "f" * 40, "b", "ab" * 32, "BETTER", "Ada", "read it", AT)
YES = Approval("2026-03-01-demo-1", "f" * 40, "Ada", "looks fine", AT, "$20", SIX)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store" / LEDGER


def write(path, *statements):
    with closing(sqlite3.connect(path)) as other, other:
        for statement in statements:
            other.execute(statement)


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_an_approval_comes_back_as_it_was_given(path):
    with Ledger.open(path) as ledger:
        assert ledger.approve(YES) == YES
    with Ledger.open(path) as ledger:
        assert ledger.approvals(YES.run_id) == [YES]
        assert ledger.covering(YES.run_id, YES.identity, SIX) == YES
        assert ledger.approvals("2026-03-01-demo-2") == []


def test_approving_twice_records_once_and_the_first_one_stays(path):
    with Ledger.open(path) as ledger:
        ledger.approve(YES)
        again = replace(YES, name="Bo", approved_at=AT + timedelta(hours=1))
        assert ledger.approve(again) == YES
        assert ledger.approvals(YES.run_id) == [YES]


def test_a_larger_estimate_needs_a_yes_of_its_own(path):
    grown = replace(YES, estimate=replace(SIX, expected_usd=6.1))
    with Ledger.open(path) as ledger:
        ledger.approve(YES)
        assert ledger.covering(YES.run_id, YES.identity, grown.estimate) is None
        assert ledger.approve(grown) == grown
        assert ledger.approvals(YES.run_id) == [YES, grown]


@pytest.mark.parametrize("other", [{"run_id": "2026-03-01-demo-2"}, {"identity": "e" * 40}])
def test_a_yes_is_to_one_run_of_one_content(path, other):
    asked = replace(YES, **other)
    with Ledger.open(path) as ledger:
        ledger.approve(YES)
        assert ledger.covering(asked.run_id, asked.identity, SIX) is None


def test_r46_only_the_owner_can_read_it(path):
    before = os.umask(0)
    try:
        with Ledger.open(path) as ledger:
            ledger.approve(YES)
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_waits_for_the_disk_and_leaves_no_stray_behind(path):
    with Ledger.open(path) as ledger:
        assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert [one.name for one in path.parent.iterdir()] == [LEDGER]


def test_what_was_approved_survives_the_loss_of_the_wal(path):
    with Ledger.open(path) as ledger:
        ledger.approve(YES)
        copied = path.with_name("copy.db")
        copied.write_bytes(path.read_bytes())
    with Ledger.open(copied) as ledger:
        assert ledger.approvals(YES.run_id) == [YES]


# -- damage -----------------------------------------------------------------------------------------------------------


def filled(path):
    with Ledger.open(path) as ledger:
        for number in range(200):
            ledger.approve(replace(YES, run_id=f"2026-03-01-demo-{number + 1}"))
    return path.read_bytes()


def _foreign(path, whole):
    path.unlink()
    write(path, "CREATE TABLE x (y)")


def _journal(path, whole):
    path.unlink()
    write(path, "CREATE TABLE journal (name TEXT, value TEXT)", "INSERT INTO journal VALUES ('schema', '1')")


def _no_version(path, whole):
    write(path, "DELETE FROM ledger")


def _odd_version(path, whole):
    write(path, "UPDATE ledger SET value = 'x'")


def _half(path, whole):
    path.write_bytes(whole[: len(whole) // 2 + 100])


def _zeroed(path, whole):
    path.write_bytes(bytes(len(whole)))


def _zero_page(path, whole):
    path.write_bytes(whole[:8192] + bytes(4096) + whole[12288:])


def _text(path, whole):
    path.write_text("hello\n" * 1000)


def _empty(path, whole):
    path.write_bytes(b"")


def _link(path, whole):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _only_the_wal(path, whole):
    path.unlink()
    path.with_name(f"{LEDGER}-wal").write_bytes(b"x")


DAMAGE = (
    *(_foreign, _journal, _no_version, _odd_version, _half, _zeroed, _zero_page, _text, _empty, _link),
    _only_the_wal,
)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__.strip("_"))
def test_r10_a_damaged_ledger_is_refused_and_left_alone(path, damage):
    damage(path, filled(path))

    def state():
        return {one.name: one.read_bytes() for one in path.parent.iterdir() if not one.name.endswith("-shm")}

    before = state()
    with pytest.raises(StoreError, match=rf"(?s){LEDGER}: the ledger is damaged.*\n  fix      restore {LEDGER}"):
        Ledger.open(path)
    assert state() == before


def test_a_ledger_of_a_newer_version_is_refused(path):
    filled(path)
    write(path, "UPDATE ledger SET value = '99'")
    with pytest.raises(StoreError, match=r"(?s)schema 99.*reads 3.*fix      use the version"):
        Ledger.open(path)


def test_a_row_that_is_no_approval_is_damage(path):
    filled(path)
    write(path, "UPDATE approval SET approved_at = 'yesterday' WHERE approval_id = 1")
    with Ledger.open(path) as ledger, pytest.raises(StoreError, match="damaged"):
        ledger.approvals("2026-03-01-demo-1")


def test_a_place_that_cannot_be_written_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be used"):
        Ledger.open(tmp_path / "file" / LEDGER)


def test_a_full_disk_records_nothing_and_says_so(path):
    with Ledger.open(path) as ledger:
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="full"):
            ledger.approve(replace(YES, note="x" * 10_000))
        assert ledger.approvals(YES.run_id) == []


# -- versions ---------------------------------------------------------------------------------------------------------


def test_an_older_ledger_gets_the_newer_tables_and_keeps_its_rows(path, monkeypatch):
    filled(path)
    newer = replace(room.KIND, versions=(*room.KIND.versions, "CREATE TABLE spend (run_id TEXT PRIMARY KEY)"))
    monkeypatch.setattr(room, "KIND", newer)
    for _ in range(2):
        with Ledger.open(path) as ledger:
            assert len(ledger.approvals("2026-03-01-demo-1")) == 1
            assert ledger._connection.execute("SELECT value FROM ledger").fetchall() == [("4",)]
            assert ledger._connection.execute("SELECT count(*) FROM spend").fetchone() == (0,)


def test_an_upgrade_that_fails_changes_nothing(path):
    whole = filled(path)
    broken = replace(room.KIND, versions=(*room.KIND.versions, "CREATE TABLE spend (a TEXT); CREATE TABLE look (a)"))
    with pytest.raises(StoreError, match="already exists"):
        database.open_database(path, broken)
    assert path.read_bytes() == whole


def test_a_ledger_of_each_earlier_version_takes_promotions_and_keeps_its_approvals(path):
    for version in (1, 2):
        older = replace(room.KIND, versions=room.KIND.versions[:version])
        database.open_database(path, older).close()
        with Ledger.open(path) as ledger:
            ledger.approve(YES)
        with Promotions.open(path) as promotions:
            assert promotions.approve(OUT) == OUT
        with Ledger.open(path) as ledger:
            assert ledger.approvals(YES.run_id) == [YES]
        path.unlink()


# -- promotions -------------------------------------------------------------------------------------------------------


def test_a_promotion_comes_back_as_it_was_given(path):
    with Promotions.open(path) as promotions:
        assert promotions.approve(OUT) == OUT
    with Promotions.open(path) as promotions:
        assert promotions.of(OUT.run_id) == [OUT]
        assert promotions.of("2026-03-01-demo-2") == []


def test_promoting_twice_records_once_and_the_first_one_stays(path):
    with Promotions.open(path) as promotions:
        promotions.approve(OUT)
        assert promotions.approve(replace(OUT, name="Bo", note="me too")) == OUT
        assert promotions.of(OUT.run_id) == [OUT]


@pytest.mark.parametrize("other", [{"candidate": "c"}, {"report_sha256": "cd" * 32}, {"identity": "e" * 40}])
def test_a_promotion_is_of_one_candidate_and_one_report(path, other):
    changed = replace(OUT, **other)
    with Promotions.open(path) as promotions:
        promotions.approve(OUT)
        assert promotions.approve(changed) == changed
    assert not OUT.covers(changed.run_id, changed.identity, changed.candidate, changed.report_sha256)


def test_promotions_approvals_and_looks_share_a_file(path):
    with Promotions.open(path) as promotions, Ledger.open(path) as ledger, Looks.open(path):
        promotions.approve(OUT)
        ledger.approve(YES)
        assert (promotions.of(OUT.run_id), ledger.approvals(OUT.run_id)) == ([OUT], [YES])


@pytest.mark.parametrize("damage", [_half, _no_version, _only_the_wal], ids=lambda damage: damage.__name__.strip("_"))
def test_r10_promotions_in_a_damaged_ledger_are_refused(path, damage):
    with Promotions.open(path) as promotions:
        promotions.approve(OUT)
    damage(path, path.read_bytes())
    with pytest.raises(StoreError, match="the ledger is damaged"):
        Promotions.open(path)


def test_a_row_that_is_no_promotion_is_damage(path):
    with Promotions.open(path) as promotions:
        promotions.approve(OUT)
        write(path, "UPDATE promotion SET approved_at = 'soon'")
        with pytest.raises(StoreError, match="damaged"):
            promotions.of(OUT.run_id)


def test_a_full_disk_records_no_promotion_and_says_so(path):
    with Promotions.open(path) as promotions:
        pages = promotions._connection.execute("PRAGMA page_count").fetchone()[0]
        promotions._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="full"):
            promotions.approve(replace(OUT, note="x" * 10_000))
        assert promotions.of(OUT.run_id) == []


# -- several processes ------------------------------------------------------------------------------------------------

MANY = """
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from safetycatch.catches.estimate import Estimate
from safetycatch.store.ledger import Approval, Ledger

who = sys.argv[2]
yes = Approval("r", "f" * 40, who, "", datetime.now(UTC), "$20", Estimate(10, 0, 6.0, 9.0, 10))
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    with Ledger.open(Path(sys.argv[1])) as ledger:
        said = ledger.approve(replace(yes, run_id=f"run-{number}"))
    print(said.name, flush=True)
"""


def test_r11_processes_that_approve_at_once_make_one_row_each_time_and_agree_whose(path):
    """Four at one start line, the ledger not there yet: no error, one row a run, the same name for all."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, str(path), who], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for who in ("Ada", "Bo", "Cy", "Di")
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].split() for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert told == [told[0]] * 4
    with Ledger.open(path) as ledger:
        rows = [ledger.approvals(f"run-{number}") for number in range(50)]
    assert [len(row) for row in rows] == [1] * 50
    assert [row[0].name for row in rows] == told[0]


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "\x1b[31mred", "a\u202eb"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(UsageError, match="--as NAME"):
        consent(name)


@pytest.mark.parametrize("note", ["x" * 2001, "a\nb"])
def test_a_note_is_one_line(note):
    with pytest.raises(UsageError, match="one line"):
        consent("Ada", note)


def test_without_a_name_it_is_the_login_name(monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    assert consent(None) == ("ada", "")
    monkeypatch.setenv("LOGNAME", "")
    for name in ("USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(UsageError, match="--as NAME"):
        consent(None)
