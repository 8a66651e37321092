"""The journal of every paid call: an intent before it is sent, an answer or a fault after. It is the only cache.

One SQLite file in WAL mode, one writer thread, group commits. `synchronous=NORMAL`: what was committed survives the
death of the process; a power cut may take the last moments. Two processes may write the same journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import queue
import secrets
import sqlite3
import threading
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from safetycatch.calls.budget import Spent
from safetycatch.calls.request import Reply
from safetycatch.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from safetycatch.calls.faults import Fault
    from safetycatch.calls.request import Request

SCHEMA_VERSION = 1
GROUP_ROWS = 256
GROUP_S = 0.002
BUSY_MS = 60_000
LOOKUP_ROWS = 512
MAX_RAW_BYTES = 64_000_000

# SQL that Postgres speaks too, but for the types BLOB and REAL (bytea, double precision).
SCHEMA = """
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
  error_class TEXT NOT NULL, charge TEXT NOT NULL, text TEXT NOT NULL, at REAL NOT NULL)
"""
_INTENT = "INSERT INTO intent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ANSWER = "INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FAULT = "INSERT INTO fault VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_REPLY = (
    "state, text, model_returned, n_tokens_in, n_tokens_cached, n_tokens_out, cost_usd, latency_s, attempts,"
    " error_class, error_text"
)
# An intent is settled by an answer, or by a fault that is known to cost nothing.
_OPEN = (
    " FROM intent i WHERE NOT EXISTS (SELECT 1 FROM answer a WHERE a.intent_id = i.intent_id) AND NOT EXISTS"
    " (SELECT 1 FROM fault f WHERE f.intent_id = i.intent_id AND f.charge = 'none')"
)


@dataclass(frozen=True, slots=True)
class PerhapsPaid:
    """A call that was sent and whose bill is not known: it may have cost up to `max_cost_usd` (None: no price)."""

    call_key: str
    run_id: str
    endpoint: str
    model: str
    candidate: str
    example_id: str
    replicate: int
    max_cost_usd: float | None
    max_tokens: int
    sent_at: float


_Row = tuple[str, tuple[Any, ...]]
_Done = tuple["asyncio.AbstractEventLoop", "asyncio.Future[None]"]


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Put a whole, empty journal in place in one step, so that a journal without tables is never a new one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with contextlib.closing(_connect(fresh)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute("INSERT INTO journal VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            connection.execute("COMMIT")
        # Another process may have been first; its journal stays.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _refused(path: Path, error: OSError | sqlite3.Error) -> StoreError:
    """Tell a damaged file from one that cannot be reached just now."""
    unreachable = isinstance(error, OSError | sqlite3.OperationalError) and "no such table" not in str(error)
    return StoreError(f"{path}: the journal cannot be opened: {error}") if unreachable else _corrupt(path, str(error))


def _corrupt(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{path}: the journal of paid calls is damaged ({why}); nothing was sent"
        f"\n  fix      restore {path.name} from a copy; or move it away and pay for its calls again"
    )


class Journal:
    """The calls of all runs of one store; made by `Journal.open`."""

    def __init__(self, path: Path, writing: sqlite3.Connection, reading: sqlite3.Connection) -> None:
        self.path = path
        self._writing, self._reading = writing, reading
        self._read_lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[list[_Row], _Done | None, bool] | None] = queue.SimpleQueue()
        self._failed: StoreError | None = None
        self._closed = False
        # Unique without asking the database: a random start for each writer, then counting up.
        self._ids = itertools.count(secrets.randbits(38) << 24)
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the journal at `path`, made on first use (file 0600).

        Raises: StoreError when it is damaged, is no journal, comes from a newer version, or cannot be written.
        """
        try:
            if not path.exists():
                _create(path)
            elif path.stat().st_size == 0:
                raise _corrupt(path, "the file is empty")
            writing = _connect(path)
        except (OSError, sqlite3.Error) as error:
            raise _refused(path, error) from None
        try:
            reading = cls._checked(path, writing)
        except BaseException:
            writing.close()
            raise
        return cls(path, writing, reading)

    @staticmethod
    def _checked(path: Path, writing: sqlite3.Connection) -> sqlite3.Connection:
        """Return a second, reading connection once the journal is known to be whole, ours and writable."""
        try:
            problem = writing.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise _corrupt(path, str(problem))
            row = writing.execute("SELECT value FROM journal WHERE name = 'schema'").fetchone()
            if row is None or not str(row[0]).isdecimal():
                raise _corrupt(path, "no schema version")
            if int(row[0]) != SCHEMA_VERSION:
                raise StoreError(
                    f"{path}: journal schema {row[0]}, this version reads {SCHEMA_VERSION}"
                    "\n  fix      use the version of safetycatch that wrote it"
                )
            path.chmod(0o600)
            writing.execute("BEGIN IMMEDIATE")
            writing.execute("ROLLBACK")
            reading = _connect(path)
            reading.execute("PRAGMA query_only = 1")
        except (OSError, sqlite3.Error) as error:
            raise _refused(path, error) from None
        return reading

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit what is queued and close."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        with self._read_lock:
            self._reading.close()
        self._writing.close()

    # -- writing ------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        last = False
        while not last:
            entry = self._queue.get()
            if entry is None:
                return
            group, until = [entry], time.monotonic() + GROUP_S
            while len(group) < GROUP_ROWS:
                # An answer waits for company; an intent, which holds up a call, only takes what is there.
                left = 0.0 if group[-1][2] else until - time.monotonic()
                try:
                    entry = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
                except queue.Empty:
                    break
                if entry is None:
                    last = True
                    break
                group.append(entry)
            self._commit(group)

    def _commit(self, group: list[tuple[list[_Row], _Done | None, bool]]) -> None:
        try:
            if self._failed is None:
                self._writing.execute("BEGIN IMMEDIATE")
                for rows, _, _ in group:
                    for statement, values in rows:
                        if statement is _ANSWER:
                            # Packed here, off the event loop.
                            raw = values[-1]
                            packed = (*values[:-1], zlib.compress(raw, 1) if raw else None)
                            self._writing.execute(statement, packed)
                        else:
                            self._writing.execute(statement, values)
                self._writing.execute("COMMIT")
        except (sqlite3.Error, OverflowError, ValueError) as error:
            # A journal that missed one record cannot vouch for the next: nothing more is sent through it.
            self._failed = StoreError(f"{self.path}: the journal of paid calls cannot be written: {error}")
            with contextlib.suppress(sqlite3.Error):
                self._writing.execute("ROLLBACK")
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for _, done, _ in group:
            if done is not None:
                by_loop.setdefault(done[0], []).append(done[1])
        for loop, futures in by_loop.items():
            # A closed loop has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._tell, futures, self._failed)

    @staticmethod
    def _tell(futures: list[asyncio.Future[None]], failed: StoreError | None) -> None:
        for future in futures:
            if future.done():
                continue
            if failed is None:
                future.set_result(None)
            else:
                future.set_exception(failed)

    def _put(self, rows: list[_Row], *, urgent: bool = False) -> asyncio.Future[None]:
        if self._closed:
            raise StoreError(f"{self.path}: the journal is closed")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._queue.put((rows, (loop, future), urgent))
        return future

    async def intent(
        self, request: Request, run_id: str, *, attempt: int = 1, max_cost_usd: float | None, max_tokens: int
    ) -> int:
        """Commit that `request` is about to be sent and what it may cost; return the intent's number.

        Raises: StoreError when it could not be committed: then the call must not be sent.
        """
        intent_id = next(self._ids)
        values = (
            intent_id,
            request.key,
            run_id,
            request.endpoint.identity,
            request.model,
            request.candidate,
            request.example_id,
            request.replicate,
            attempt,
            max_cost_usd,
            max_tokens,
            time.time(),
        )
        await self._put([(_INTENT, values)], urgent=True)
        return intent_id

    def answer(
        self, intent_id: int, request: Request, run_id: str, reply: Reply, raw: bytes = b""
    ) -> asyncio.Future[None]:
        """Record the reply to an intent and the bytes it came as; it counts once the returned future is done.

        The future raises: StoreError when it could not be committed.
        """
        values = (
            intent_id,
            request.key,
            run_id,
            reply.state,
            reply.text,
            reply.model_returned,
            reply.n_tokens_in,
            reply.n_tokens_cached,
            reply.n_tokens_out,
            reply.cost_usd,
            reply.latency_s,
            reply.attempts,
            reply.error_class,
            reply.error_text,
            time.time(),
            raw,
        )
        return self._put([(_ANSWER, values)])

    def fault(self, intent_id: int, request: Request, run_id: str, fault: Fault) -> asyncio.Future[None]:
        """Record that an intent failed, and whether it may be billed all the same."""
        values = (intent_id, request.key, run_id, fault.kind, fault.error_class, fault.charge, fault.text, time.time())
        return self._put([(_FAULT, values)])

    async def flush(self) -> None:
        """Wait until everything recorded so far is committed.

        Raises: StoreError when it could not be.
        """
        await self._put([], urgent=True)

    # -- reading ------------------------------------------------------------------------------------------------

    def _read(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            with self._read_lock:
                return self._reading.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _refused(self.path, error) from None

    def lookup(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Return the committed replies of those `keys` that have one; the first answer given stays the answer.

        Invalid replies (another model, no content) were paid for but are not reused: the call is asked again.
        """
        wanted, found = list(keys), dict[str, Reply]()
        for start in range(0, len(wanted), LOOKUP_ROWS):
            part = wanted[start : start + LOOKUP_ROWS]
            marks = ",".join("?" * len(part))
            statement = (
                f"SELECT call_key, {_REPLY} FROM answer WHERE call_key IN ({marks}) AND state <> 'invalid'"  # noqa: S608 - only question marks are put in
                " ORDER BY answered_at DESC, intent_id DESC"
            )
            found.update((key, Reply(*fields, from_journal=True)) for key, *fields in self._read(statement, part))
        return found

    def raw(self, call_key: str) -> bytes | None:
        """Return the bytes that the provider sent for `call_key`, keys redacted; None when there is no answer."""
        rows = self._read(
            "SELECT raw FROM answer WHERE call_key = ? ORDER BY answered_at, intent_id LIMIT 1", (call_key,)
        )
        if not rows or rows[0][0] is None:
            return None
        return zlib.decompressobj().decompress(rows[0][0], MAX_RAW_BYTES)

    def spent(self, run_id: str) -> Spent:
        """Return what a run spent; perhaps-paid calls, and answers that state no usage, count at their highest cost."""
        usd, tokens, calls = self._read(
            "SELECT COALESCE(SUM(COALESCE(a.cost_usd, i.max_cost_usd, 0)), 0),"
            " COALESCE(SUM(COALESCE(a.n_tokens_in + a.n_tokens_out, i.max_tokens)), 0), COUNT(*)"
            " FROM answer a JOIN intent i ON i.intent_id = a.intent_id WHERE a.run_id = ?",
            (run_id,),
        )[0]
        perhaps_usd, perhaps_tokens, perhaps = self._read(
            f"SELECT COALESCE(SUM(COALESCE(i.max_cost_usd, 0)), 0), COALESCE(SUM(i.max_tokens), 0), COUNT(*) {_OPEN}"
            " AND i.run_id = ?",
            (run_id,),
        )[0]
        return Spent(usd + perhaps_usd, tokens + perhaps_tokens, calls + perhaps, perhaps_usd, perhaps)

    def perhaps_paid(self, run_id: str | None = None) -> list[PerhapsPaid]:
        """Return the calls of a run (None: of all) that were sent and neither answered nor known to be free."""
        chosen = "" if run_id is None else " AND i.run_id = ?"
        rows = self._read(
            "SELECT i.call_key, i.run_id, i.endpoint, i.model, i.candidate, i.example_id, i.replicate, i.max_cost_usd,"
            f" i.max_tokens, i.sent_at {_OPEN} {chosen} ORDER BY i.sent_at, i.intent_id",
            () if run_id is None else (run_id,),
        )
        return [PerhapsPaid(*row) for row in rows]
