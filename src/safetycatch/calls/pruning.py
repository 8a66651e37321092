"""Removing calls from the journal: never under a living writer, in one transaction, and only what nothing keeps."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safetycatch.calls.journal_schema import JOURNAL, OPEN
from safetycatch.calls.writers import Writers
from safetycatch.database import SIDES, open_database, refused, transaction
from safetycatch.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator
    from pathlib import Path

TABLES = ("answer", "fault", "intent")
RECORD_BYTES = 300  # an intent and what ended it, without texts


@dataclass(frozen=True, slots=True)
class Old:
    """What may go: what was sent before `before` (seconds since 1970), by the run `run_id`; None: any."""

    before: float | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays all the same: these keys, everything of these runs, and requests whose bill is not known.

    `beginnings` of run ids keep everything of the runs that are named so.
    """

    call_keys: Collection[str] = ()
    run_ids: Collection[str] = ()
    beginnings: Collection[str] = ()
    perhaps_paid: bool = True


@dataclass(frozen=True, slots=True)
class Pruned:
    """What goes, or went: answered calls and their price, perhaps-paid requests, all requests.

    `kept` requests are old enough but stay. `freed_bytes` is an estimate before, and None when the disk is too full to
    give the space back.
    """

    answered: int
    answered_usd: float
    perhaps_paid: int
    requests: int
    kept: int
    freed_bytes: int | None


def outlook(path: Path, old: Old, kept: Kept) -> Pruned:
    """Return what `prune` would remove now; nothing is locked or changed.

    Raises: StoreError when the journal cannot be read.
    """
    with _opened(path) as journal:
        journal.execute("BEGIN")
        return _choose(journal, old, kept)


def prune(path: Path, old: Old, kept: Callable[[], Kept]) -> Pruned:
    """Remove what is old and not kept, whole or not at all, and give the space back; return what went.

    `kept` is asked while nobody can write. Who opens the journal to write becomes a writer before it waits for this
    transaction: so either it is seen here, or it reads what is left; no run can rely on an answer that goes.
    Raises: StoreError when a process writes to the journal or it cannot be read, and what `kept` raises.
    """
    writers, before = Writers(path), _size(path)
    with _opened(path) as journal:
        with transaction(journal):
            alive = sum(writers.lives(name) for name in writers.names())
            if alive:
                processes = "1 process uses" if alive == 1 else f"{alive} processes use"
                raise StoreError(f"{path}: {processes} the journal; nothing was removed\n  fix      wait until it ends")
            chosen = _choose(journal, old, kept())
            for table in TABLES:
                journal.execute(f"DELETE FROM {table} WHERE intent_id IN (SELECT intent_id FROM gone)")  # noqa: S608
            journal.execute("DELETE FROM claim")
            for name in writers.names():
                writers.bury(name)
        given_back = not chosen.requests or _give_back(journal)
    return replace(chosen, freed_bytes=max(0, before - _size(path)) if given_back else None)


@contextlib.contextmanager
def _opened(path: Path) -> Generator[sqlite3.Connection]:
    journal = open_database(path, JOURNAL)
    try:
        yield journal
    except (OSError, sqlite3.Error) as error:
        raise refused(path, JOURNAL, error) from None
    finally:
        journal.close()


def _choose(journal: sqlite3.Connection, old: Old, kept: Kept) -> Pruned:
    """Put the numbers of the intents to remove into the temporary table `gone`; return what they are."""
    journal.execute("CREATE TEMP TABLE kept_key (call_key TEXT PRIMARY KEY)")
    journal.executemany("INSERT INTO kept_key VALUES (?) ON CONFLICT DO NOTHING", ((key,) for key in kept.call_keys))
    journal.execute("CREATE TEMP TABLE kept_run (run_id TEXT PRIMARY KEY)")
    journal.executemany("INSERT INTO kept_run VALUES (?) ON CONFLICT DO NOTHING", ((one,) for one in kept.run_ids))
    journal.execute("CREATE TEMP TABLE kept_beginning (beginning TEXT PRIMARY KEY)")
    beginnings = ((one,) for one in kept.beginnings)
    journal.executemany("INSERT INTO kept_beginning VALUES (?) ON CONFLICT DO NOTHING", beginnings)
    given = {"i.sent_at < ?": old.before, "i.run_id = ?": old.run_id}
    chosen = {condition: value for condition, value in given.items() if value is not None}
    where, values = " AND ".join(chosen) or "1 = 1", tuple(chosen.values())
    stays = [
        "i.call_key IN (SELECT call_key FROM kept_key)",
        "i.run_id IN (SELECT run_id FROM kept_run)",
        "EXISTS (SELECT 1 FROM kept_beginning WHERE SUBSTR(i.run_id, 1, LENGTH(beginning)) = beginning)",
        *([f"({OPEN})"] if kept.perhaps_paid else []),
    ]
    journal.execute(
        f"CREATE TEMP TABLE gone AS SELECT i.intent_id FROM intent i WHERE {where} AND NOT ({' OR '.join(stays)})",  # noqa: S608
        values,
    )
    old_requests = journal.execute(f"SELECT COUNT(*) FROM intent i WHERE {where}", values).fetchone()[0]  # noqa: S608
    requests, perhaps = journal.execute(
        f"SELECT COUNT(*), COUNT(CASE WHEN {OPEN} THEN 1 END) FROM gone g JOIN intent i ON i.intent_id = g.intent_id"  # noqa: S608
    ).fetchone()
    answered, usd, n_bytes = journal.execute(
        "SELECT COUNT(*), COALESCE(SUM(a.cost_usd), 0),"
        " COALESCE(SUM(COALESCE(LENGTH(a.raw), 0) + COALESCE(LENGTH(a.text), 0)), 0)"
        " FROM gone g JOIN answer a ON a.intent_id = g.intent_id"
    ).fetchone()
    return Pruned(answered, usd, perhaps, requests, old_requests - requests, n_bytes + RECORD_BYTES * requests)


def _size(path: Path) -> int:
    return sum(one.stat().st_size for side in ("", *SIDES) if (one := path.with_name(path.name + side)).exists())


def _give_back(journal: sqlite3.Connection) -> bool:
    """Give freed space back to the disk; return whether there was space enough to do so."""
    try:
        journal.execute("VACUUM")
        journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError:
        return False  # what went is gone all the same, and its space is used again
    return True
