"""Reading the journal: the replies that need not be paid again, and what a run spent or may have spent."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from safetycatch.calls.budget import Spent
from safetycatch.calls.faults import UNSENT
from safetycatch.calls.journal_schema import HOLDER, JOURNAL, OPEN, REPLY, REUSED
from safetycatch.calls.request import Reply
from safetycatch.calls.writers import Writers
from safetycatch.database import open_database, refused

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

LOOKUP_ROWS = 512
MAX_RAW_BYTES = 64_000_000
UNBOUNDED = 2**62


@dataclass(frozen=True, slots=True)
class PerhapsPaid:
    """A request that was sent and whose bill is not known: it may have cost up to `max_cost_usd` (None: no price).

    `sent_at` is in seconds since 1970, UTC. `error_class` is None when nothing came back before the process ended.
    """

    call_key: str
    run_id: str
    endpoint: str
    model: str
    candidate: str
    example_id: str
    replicate: int
    attempt: int
    max_cost_usd: float | None
    max_tokens: int
    sent_at: float
    error_class: str | None


def unpacked(raw: bytes | None) -> bytes | None:
    """Return the bytes of a reply as they came, `MAX_RAW_BYTES` of them at most."""
    return None if raw is None else zlib.decompressobj().decompress(raw, MAX_RAW_BYTES)


class JournalReader:
    """A journal to look things up in, by as many threads as like; made by `JournalReader.open`."""

    def __init__(self, path: Path, reading: sqlite3.Connection) -> None:
        self.path = path
        self.writers = Writers(path)
        reading.execute("PRAGMA query_only = 1")
        self._reading, self._read_lock = reading, threading.Lock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the journal at `path` to read.

        Raises: StoreError when it is damaged, is no journal, comes from a newer version, or cannot be written.
        """
        return cls(path, open_database(path, JOURNAL))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close."""
        with self._read_lock:
            self._reading.close()

    def select(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """Return the rows of a SELECT.

        Raises: StoreError.
        """
        try:
            with self._read_lock:
                return self._reading.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise refused(self.path, JOURNAL, error) from None

    def each(self, statement: str, values: Sequence[object] = ()) -> Generator[Any]:
        """Yield the rows of a SELECT as they are needed; all of them are of one moment.

        Raises: StoreError.
        """
        try:
            yield from self._reading.execute(statement, values)
        except sqlite3.Error as error:
            raise refused(self.path, JOURNAL, error) from None

    def lookup(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Return the committed replies of those `keys` that have one; the first answer given stays the answer.

        Raises: StoreError.
        """
        wanted, found = list(keys), dict[str, Reply]()
        for start in range(0, len(wanted), LOOKUP_ROWS):
            part = wanted[start : start + LOOKUP_ROWS]
            marks = ",".join("?" * len(part))
            statement = (
                f"SELECT call_key, {REPLY} FROM answer WHERE call_key IN ({marks}) AND {REUSED}"  # noqa: S608 - only question marks are put in
                " ORDER BY answered_at DESC, intent_id DESC"
            )
            found.update((key, Reply(*fields, from_journal=True)) for key, *fields in self.select(statement, part))
        return found

    def asked(self, key: str) -> bool:
        """Whether a living writer asks for `key` now.

        Raises: StoreError.
        """
        holder = self.select(HOLDER, (key,))
        try:
            return bool(holder) and self.writers.lives(holder[0][0])
        except OSError as error:
            raise refused(self.path, JOURNAL, error) from None

    def raw(self, call_key: str) -> bytes | None:
        """Return the bytes that the provider sent for `call_key`, keys redacted; None when there is no answer."""
        rows = self.select(
            f"SELECT raw FROM answer WHERE call_key = ? ORDER BY {REUSED} DESC, answered_at, intent_id LIMIT 1",  # noqa: S608
            (call_key,),
        )
        return unpacked(rows[0][0]) if rows else None

    def spent(self, run_id: str) -> Spent:
        """Return what a run spent; perhaps-paid calls, and answers that state no usage, count at their highest cost.

        Calls are requests sent, refused ones too, but for those told to wait.
        """
        usd, tokens, calls, unpriced = self.select(
            "SELECT COALESCE(SUM(COALESCE(a.cost_usd, i.max_cost_usd, 0)), 0),"
            " COALESCE(SUM(COALESCE(a.n_tokens_in + a.n_tokens_out, i.max_tokens)), 0), COUNT(*),"
            " COUNT(*) - COUNT(COALESCE(a.cost_usd, i.max_cost_usd))"
            " FROM answer a JOIN intent i ON i.intent_id = a.intent_id WHERE a.run_id = ?",
            (run_id,),
        )[0]
        perhaps_usd, perhaps_tokens, perhaps, priced = self.select(
            "SELECT COALESCE(SUM(COALESCE(i.max_cost_usd, 0)), 0), COALESCE(SUM(i.max_tokens), 0), COUNT(*),"  # noqa: S608
            f" COUNT(i.max_cost_usd) FROM intent i WHERE {OPEN} AND i.run_id = ?",
            (run_id,),
        )[0]
        ((refused,),) = self.select(
            "SELECT COUNT(*) FROM fault f JOIN intent i ON i.intent_id = f.intent_id"  # noqa: S608 - only question marks are put in
            " WHERE i.run_id = ? AND f.charge = 'none' AND f.kind <> 'wait'"
            f" AND f.error_class NOT IN ({','.join('?' * len(UNSENT))})",
            (run_id, *UNSENT),
        )
        unpriced += perhaps - priced
        calls += perhaps + refused
        return Spent(usd + perhaps_usd, tokens + perhaps_tokens, calls, perhaps_usd, perhaps, unpriced)

    def perhaps_paid(self, run_id: str | None = None, limit: int | None = None) -> list[PerhapsPaid]:
        """Return the requests of a run (None: of all) that were sent and neither answered nor known to be free.

        Oldest first, those of killed attempts of the run among them; `limit` bounds the list (`spent` has the sums).
        """
        chosen = "" if run_id is None else " AND i.run_id = ?"
        rows = self.select(
            "SELECT i.call_key, i.run_id, i.endpoint, i.model, i.candidate, i.example_id, i.replicate, i.attempt,"  # noqa: S608
            " i.max_cost_usd, i.max_tokens, i.sent_at, e.error_class"
            " FROM intent i LEFT JOIN fault e ON e.intent_id = i.intent_id"
            f" WHERE {OPEN} {chosen} ORDER BY i.sent_at, i.intent_id LIMIT ?",
            (*(() if run_id is None else (run_id,)), UNBOUNDED if limit is None else limit),
        )
        return [PerhapsPaid(*row) for row in rows]
