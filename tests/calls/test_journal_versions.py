"""Journals of earlier versions: the first one had no claims, so that two processes could both pay for a key."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from safetycatch.calls import Endpoint, Journal, JournalReader, Reply, Request, Spent

if TYPE_CHECKING:
    from pathlib import Path

FIRST = """
CREATE TABLE journal (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE intent (
  intent_id BIGINT PRIMARY KEY, call_key TEXT NOT NULL, run_id TEXT NOT NULL, endpoint TEXT NOT NULL,
  model TEXT NOT NULL, candidate TEXT NOT NULL, example_id TEXT NOT NULL, replicate BIGINT NOT NULL,
  attempt BIGINT NOT NULL, max_cost_usd REAL, max_tokens BIGINT NOT NULL, sent_at REAL NOT NULL);
CREATE INDEX intent_run ON intent (run_id);
CREATE TABLE answer (
  intent_id BIGINT PRIMARY KEY, call_key TEXT NOT NULL, run_id TEXT NOT NULL, state TEXT NOT NULL, text TEXT,
  model_returned TEXT, n_tokens_in BIGINT, n_tokens_cached BIGINT, n_tokens_out BIGINT, cost_usd REAL, latency_s REAL,
  attempts BIGINT NOT NULL, error_class TEXT, error_text TEXT, answered_at REAL NOT NULL, raw BLOB);
CREATE INDEX answer_key ON answer (call_key);
CREATE INDEX answer_run ON answer (run_id);
CREATE TABLE fault (
  intent_id BIGINT PRIMARY KEY, call_key TEXT NOT NULL, run_id TEXT NOT NULL, kind TEXT NOT NULL,
  error_class TEXT NOT NULL, charge TEXT NOT NULL, text TEXT NOT NULL, at REAL NOT NULL);
INSERT INTO journal VALUES ('schema', '1');
"""
ASKED = Request(Endpoint("gpu", "direct", "http://gpu/v1"), {"model": "m", "messages": []}, "c", "1", 0, 5)


@pytest.fixture
def first_version(journal_path: Path) -> Path:
    """Three intents for one key, two of them answered, by the first version."""
    journal_path.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(journal_path)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.executescript(FIRST)
        for number, cost, text in ((1, 0.25, "yes"), (2, 0.25, "no"), (3, None, "")):
            row = (number, ASKED.key, "run", "direct:http://gpu/v1", "m", "c", "1", 0, 1, 0.5, 100, 1e9 + number)
            old.execute(f"INSERT INTO intent VALUES ({','.join('?' * 12)})", row)  # noqa: S608
            if text:
                row = (number, ASKED.key, "run", "answer", text, "m", 1, 0, 1, cost, 0.1, 1, None, None, 1e9, None)
                old.execute(f"INSERT INTO answer VALUES ({','.join('?' * 16)})", row)  # noqa: S608
        old.commit()
    return journal_path


@pytest.mark.parametrize("kind", [Journal, JournalReader])
def test_the_first_version_is_read_and_counted(first_version, kind) -> None:
    with kind.open(first_version) as journal:
        assert journal.lookup([ASKED.key])[ASKED.key].text == "yes"  # the first answer stays
        assert journal.spent("run") == Spent(1.0, 104, 3, 0.5, 1)
        assert len(journal.perhaps_paid("run")) == 1


def tables(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return sorted(sql for (sql,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))


def test_an_old_journal_becomes_what_a_new_one_is(first_version, tmp_path) -> None:
    Journal.open(first_version).close()
    Journal.open(tmp_path / "new.db").close()
    assert tables(first_version) == tables(tmp_path / "new.db")


def test_an_old_journal_is_written_like_a_new_one(first_version) -> None:
    other = Request(ASKED.endpoint, {**ASKED.body, "seed": 2}, "c", "2", 0, 5)

    async def go() -> None:
        with Journal.open(first_version) as journal:
            known = await journal.intent(ASKED, "run", max_cost_usd=0.5, max_tokens=100)
            assert isinstance(known, Reply)
            assert known.text == "yes"
            intent = await journal.intent(other, "run", max_cost_usd=0.5, max_tokens=100)
            assert isinstance(intent, int)
            await journal.answer(intent, other, "run", Reply("answer", "well"))
            assert journal.lookup([other.key])[other.key].text == "well"

    asyncio.run(go())
