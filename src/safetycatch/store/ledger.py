"""The ledger: what people decided, kept for good. Rows are added, never changed.

It holds approvals, the looks at test sets (`store.looks`) and promotions (`store.promotions`). Other lists that must
outlive a run join it as further versions of its schema.
"""

from __future__ import annotations

import contextlib
import getpass
import sqlite3
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Self

from safetycatch.catches.estimate import Estimate
from safetycatch.database import Kind, corrupt, open_database, refused, transaction
from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

LEDGER = "ledger.db"
MAX_NAME, MAX_NOTE = 100, 2000
KIND = Kind(
    name="ledger",
    what="the ledger",
    fix=f"restore {LEDGER} from a copy; or move it away on purpose: what was approved is then asked again, and looks "
    "at test sets are counted from the stored runs",
    versions=(
        """CREATE TABLE approval (
  approval_id BIGINT PRIMARY KEY, run_id TEXT NOT NULL, identity TEXT NOT NULL, name TEXT NOT NULL, note TEXT NOT NULL,
  approved_at TEXT NOT NULL, ceiling TEXT NOT NULL, n_calls BIGINT NOT NULL, n_from_journal BIGINT NOT NULL,
  expected_usd DOUBLE PRECISION, highest_usd DOUBLE PRECISION, highest_tokens BIGINT NOT NULL);
CREATE INDEX approval_run ON approval (run_id)""",
        """CREATE TABLE look (
  look_id BIGINT PRIMARY KEY, claim TEXT NOT NULL, content TEXT NOT NULL, purpose TEXT NOT NULL, run_id TEXT NOT NULL,
  who TEXT NOT NULL, looked_at TEXT NOT NULL, terms TEXT NOT NULL, candidates TEXT NOT NULL, n_items BIGINT NOT NULL,
  sketch TEXT NOT NULL);
CREATE UNIQUE INDEX look_content ON look (claim, content, purpose)""",
        """CREATE TABLE promotion (
  promotion_id BIGINT PRIMARY KEY, run_id TEXT NOT NULL, identity TEXT NOT NULL, candidate TEXT NOT NULL,
  report_sha256 TEXT NOT NULL, verdict TEXT NOT NULL, name TEXT NOT NULL, note TEXT NOT NULL,
  approved_at TEXT NOT NULL);
CREATE UNIQUE INDEX promotion_seen ON promotion (run_id, identity, candidate, report_sha256)""",
    ),
)
_COLUMNS = (
    "run_id, identity, name, note, approved_at, ceiling,"
    " n_calls, n_from_journal, expected_usd, highest_usd, highest_tokens"
)


class Consent(NamedTuple):
    """Who says yes, and what they add."""

    name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's yes to what a run would still pay, under the ceilings of that moment (in words)."""

    run_id: str
    identity: str
    name: str
    note: str
    approved_at: datetime
    ceiling: str
    estimate: Estimate


class LedgerFile:
    """The file of the ledger, opened by `open`; each list in it has a class of its own."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the ledger at `path`, made on first use (file 0600).

        Raises: StoreError when it is damaged, is no ledger, comes from a newer version, or cannot be written.
        """
        return cls(path, open_database(path, KIND))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class Ledger(LedgerFile):
    """The approvals in the ledger of one store."""

    def approve(self, approval: Approval) -> Approval:
        """Record an approval and return it; where an earlier one covers its estimate, return that and record nothing.

        Raises: StoreError when it could not be committed.
        """
        try:
            with transaction(self._connection):
                found = self._covering(approval.run_id, approval.identity, approval.estimate)
                if found is None:
                    self._insert(approval)
            # From here on the file alone holds it: a -wal that is lost takes nothing along.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise refused(self.path, KIND, error) from None
        return found or approval

    def covering(self, run_id: str, identity: str, estimate: Estimate) -> Approval | None:
        """Return the first approval of this run that is a yes to `estimate` too; None when nobody said yes to it.

        Raises: StoreError when the ledger cannot be read.
        """
        try:
            return self._covering(run_id, identity, estimate)
        except sqlite3.Error as error:
            raise refused(self.path, KIND, error) from None

    def approvals(self, run_id: str) -> list[Approval]:
        """Return the approvals of a run, the first one first.

        Raises: StoreError when the ledger cannot be read.
        """
        try:
            return self._approvals(run_id)
        except sqlite3.Error as error:
            raise refused(self.path, KIND, error) from None

    def _approvals(self, run_id: str) -> list[Approval]:
        statement = f"SELECT {_COLUMNS} FROM approval WHERE run_id = ? ORDER BY approval_id"  # noqa: S608 - a constant
        rows = self._connection.execute(statement, (run_id,)).fetchall()
        try:
            return [
                Approval(run, identity, name, note, datetime.fromisoformat(at), ceiling, Estimate(*estimate))
                for run, identity, name, note, at, ceiling, *estimate in rows
            ]
        except (TypeError, ValueError) as error:
            raise corrupt(self.path, KIND, f"an approval of {run_id}: {error}") from None

    def _covering(self, run_id: str, identity: str, estimate: Estimate) -> Approval | None:
        found = (one for one in self._approvals(run_id) if one.identity == identity and estimate.within(one.estimate))
        return next(found, None)

    def _insert(self, approval: Approval) -> None:
        newest = self._connection.execute("SELECT COALESCE(MAX(approval_id), 0) FROM approval").fetchone()[0]
        values = (
            newest + 1,
            approval.run_id,
            approval.identity,
            approval.name,
            approval.note,
            approval.approved_at.isoformat(),
            approval.ceiling,
            *astuple(approval.estimate),
        )
        marks = ", ".join("?" * len(values))
        self._connection.execute(f"INSERT INTO approval (approval_id, {_COLUMNS}) VALUES ({marks})", values)  # noqa: S608


def consent(name: str | None, note: str = "") -> Consent:
    """Return who says yes: `name`, by default the login name.

    Raises: UsageError for a name or note that is empty, too long or not printable, or when nobody is logged in.
    """
    if name is None:
        with contextlib.suppress(OSError, KeyError, ImportError):
            name = getpass.getuser()
    name = (name or "").strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(
            f"the name {name[: MAX_NAME + 1]!r}",
            expected=f"a person's name, 1 to {MAX_NAME} characters",
            fix="--as NAME",
        )
    if len(note) > MAX_NOTE or not note.isprintable():
        raise UsageError(f"a note of {len(note):,} characters", expected=f"one line, at most {MAX_NOTE:,}")
    return Consent(name, note.strip())
