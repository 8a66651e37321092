"""The journal of every paid call: an intent before it is sent, an answer or a fault after. It is the only cache.

One SQLite file in WAL mode, one writer thread, group commits. Several processes may share it: a key is claimed in the
transaction that commits its first intent, so one of them pays; the others wait and read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import secrets
import sqlite3
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from safetycatch.calls.journal_reading import JournalReader
from safetycatch.calls.journal_schema import (
    ANSWER,
    CLAIM,
    FAULT,
    FIRST_REPLY,
    FORGET,
    HOLDER,
    INTENT,
    JOURNAL,
    RELEASE,
)
from safetycatch.calls.request import Reply
from safetycatch.calls.writers import Writers
from safetycatch.database import BUSY_MS, open_database, refused, transaction
from safetycatch.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from safetycatch.calls.faults import Fault
    from safetycatch.calls.request import Request
    from safetycatch.calls.writers import Writer

GROUP_ROWS = 256
GROUP_S = 0.002
FIRST_POLL_S = 0.05
LONGEST_POLL_S = 0.25


class _Entry(NamedTuple):
    """One record to commit, and who waits for it."""

    statement: str
    values: tuple[Any, ...]
    asker: int
    done: asyncio.Future[Any] | None
    urgent: bool


class Journal(JournalReader):
    """The calls of all runs of one store; made by `Journal.open`."""

    def __init__(self, path: Path, reading: sqlite3.Connection, writing: sqlite3.Connection, writer: Writer) -> None:
        super().__init__(path, reading)
        self._writing, self._writer = writing, writer
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._failed: StoreError | None = None
        self._closed = False
        # Unique without asking the database: a random start for each writer, then counting up.
        self._ids = itertools.count(secrets.randbits(38) << 24)
        self._askers = itertools.count(1)
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the journal at `path`, made on first use (file 0600), and sweep what dead writers left.

        Raises: StoreError when it is damaged, is no journal, comes from a newer version, or cannot be written.
        """
        writers = Writers(path)
        with contextlib.ExitStack() as undo:
            try:
                # First of all: whoever prunes looks for writers inside a transaction, and `open_database` waits for it.
                writer = writers.enter()
                undo.callback(writer.leave)
                writing = open_database(path, JOURNAL)
                undo.callback(writing.close)
                cls._sweep(writing, writers)
                # One of its own, so that who reads never waits for a commit.
                reading = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
                undo.callback(reading.close)
            except (OSError, sqlite3.Error) as error:
                raise refused(path, JOURNAL, error) from None
            undo.pop_all()
        return cls(path, reading, writing, writer)

    @staticmethod
    def _sweep(writing: sqlite3.Connection, writers: Writers) -> None:
        claiming = writing.execute("SELECT DISTINCT writer FROM claim").fetchall()
        for name in {*writers.names(), *(name for (name,) in claiming)}:
            if not writers.lives(name):
                with transaction(writing):
                    if writers.bury(name):
                        writing.execute(FORGET, (name,))

    def close(self) -> None:
        """Commit what is queued and close."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        super().close()
        self._writing.close()
        # Claims that nobody released are void from here on.
        self._writer.leave()

    # -- the writer thread --------------------------------------------------------------------------------------

    def _write(self) -> None:
        last = False
        while not last:
            entry = self._queue.get()
            if entry is None:
                return
            group, until = [entry], time.monotonic() + GROUP_S
            while len(group) < GROUP_ROWS:
                # An answer waits for company; an intent, which holds up a call, only takes what is there.
                left = 0.0 if group[-1].urgent else until - time.monotonic()
                try:
                    entry = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
                except queue.Empty:
                    break
                if entry is None:
                    last = True
                    break
                group.append(entry)
            self._commit(group)

    def _commit(self, group: list[_Entry]) -> None:
        results: list[object] = [None] * len(group)
        try:
            if self._failed is None:
                with transaction(self._writing):
                    results = [self._record(entry) for entry in group]
        except (sqlite3.Error, OSError, OverflowError, ValueError) as error:
            # A journal that missed one record cannot vouch for the next: nothing more is sent through it.
            self._failed = StoreError(f"{self.path}: the journal of paid calls cannot be written: {error}")
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], object]]] = {}
        for entry, result in zip(group, results, strict=True):
            if entry.done is not None:
                by_loop.setdefault(entry.done.get_loop(), []).append((entry.done, result))
        for loop, futures in by_loop.items():
            # A closed loop has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._tell, futures, self._failed)

    def _record(self, entry: _Entry) -> int | Reply | None:
        statement, values = entry.statement, entry.values
        if statement is INTENT:
            return self._ask(values, entry.asker)
        if statement is ANSWER:
            raw = values[-1]
            # Packed here, off the event loop.
            self._writing.execute(ANSWER, (*values[:-1], zlib.compress(raw, 1) if raw else None))
            self._writing.execute(RELEASE, (values[1], self._writer.name, entry.asker))
        elif statement is RELEASE:
            self._writing.execute(RELEASE, (*values, self._writer.name, entry.asker))
        elif statement:
            self._writing.execute(statement, values)
        return None

    def _ask(self, values: tuple[Any, ...], asker: int) -> int | Reply | None:
        """Record an intent unless its key is answered (returns the reply) or another asks for it (returns None)."""
        write, (intent_id, key), writer = self._writing.execute, values[:2], self._writer.name
        claim = (key, writer, asker, values[-1], key)
        if not write(CLAIM, claim).rowcount:
            answered = write(FIRST_REPLY, (key,)).fetchone()
            if answered is not None:
                return Reply(*answered, from_journal=True)
            holder = write(HOLDER, (key,)).fetchone()
            if holder != (writer, asker):
                if holder[0] == writer or not self.writers.bury(holder[0]):
                    return None
                write(FORGET, holder[:1])
                write(CLAIM, claim)
        write(INTENT, values)
        return intent_id

    @staticmethod
    def _tell(futures: list[tuple[asyncio.Future[Any], object]], failed: StoreError | None) -> None:
        for future, result in futures:
            if future.done():
                continue
            if failed is None:
                future.set_result(result)
            else:
                future.set_exception(failed)

    # -- writing ------------------------------------------------------------------------------------------------

    def _put(
        self, statement: str, values: tuple[Any, ...], asker: int = 0, *, urgent: bool = False
    ) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreError(f"{self.path}: the journal is closed")
        future = asyncio.get_running_loop().create_future()
        self._queue.put(_Entry(statement, values, asker, future, urgent))
        return future

    def asker(self) -> int:
        """Return a number for one who asks each key once at a time; claims of different askers exclude each other."""
        return next(self._askers)

    async def intent(
        self,
        request: Request,
        run_id: str,
        *,
        asker: int = 0,
        attempt: int = 1,
        max_cost_usd: float | None,
        max_tokens: int,
    ) -> int | Reply | None:
        """Commit that `request` is about to be sent and what it may cost; return the intent's number.

        The key is the asker's until it is answered or released. Nothing may be sent when the reply comes back instead,
        committed meanwhile by another; nor on None, while another living asker has the key: see `settled`.
        Raises: StoreError when it could not be committed: then the call must not be sent.
        """
        values = (
            next(self._ids),
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
        return await self._put(INTENT, values, asker, urgent=True)

    async def settled(self, key: str) -> Reply | None:
        """Wait while another asks for `key`; return the reply it got, or None when it is free to be asked."""
        pause = FIRST_POLL_S
        while self.asked(key):
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, LONGEST_POLL_S)
        return self.lookup([key]).get(key)

    def release(self, request: Request, asker: int) -> None:
        """Let others ask for a request that ended without an answer."""
        if not self._closed:
            self._queue.put(_Entry(RELEASE, (request.key,), asker, None, urgent=False))

    def answer(
        self, intent_id: int, request: Request, run_id: str, reply: Reply, raw: bytes = b"", *, asker: int = 0
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
            reply.cache_saved_usd,
            raw,
        )
        return self._put(ANSWER, values, asker)

    def fault(self, intent_id: int, request: Request, run_id: str, fault: Fault) -> asyncio.Future[None]:
        """Record that an intent failed, and whether it may be billed all the same."""
        values = (intent_id, request.key, run_id, fault.kind, fault.error_class, fault.charge, fault.text, time.time())
        return self._put(FAULT, values)

    async def flush(self) -> None:
        """Wait until everything recorded so far is committed.

        Raises: StoreError when it could not be.
        """
        await self._put("", (), urgent=True)
