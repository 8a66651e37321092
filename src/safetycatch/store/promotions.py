"""Promotions: who said that a candidate may go out, of which run, with which report before their eyes."""

from __future__ import annotations

import sqlite3
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from safetycatch.database import corrupt, refused, transaction
from safetycatch.store.ledger import KIND, LedgerFile

_COLUMNS = "run_id, identity, candidate, report_sha256, verdict, name, note, approved_at"


@dataclass(frozen=True, slots=True)
class Promotion:
    """A person's yes to one candidate of a run, as the report with this hash showed it, under this verdict."""

    run_id: str
    identity: str
    candidate: str
    report_sha256: str
    verdict: str
    name: str
    note: str
    approved_at: datetime

    @property
    def who(self) -> str:
        """Who approved it, and when."""
        return f"{self.name}, {self.approved_at:%Y-%m-%d %H:%M} UTC"

    def covers(self, run_id: str, identity: str, candidate: str, report_sha256: str) -> bool:
        """Return whether this is a yes to that: another candidate, or another report, was not seen."""
        own = self.run_id, self.identity, self.candidate, self.report_sha256
        return own == (run_id, identity, candidate, report_sha256)


class Promotions(LedgerFile):
    """The promotions in the ledger of one store."""

    def approve(self, promotion: Promotion) -> Promotion:
        """Record a promotion and return it; where the same was approved before, return that and record nothing.

        Raises: StoreError when it could not be committed.
        """
        try:
            with transaction(self._connection):
                found = next((one for one in self._of(promotion.run_id) if _same(one, promotion)), None)
                if found is None:
                    self._insert(promotion)
            # From here on the file alone holds it: a -wal that is lost takes nothing along.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise refused(self.path, KIND, error) from None
        return found or promotion

    def of(self, run_id: str) -> list[Promotion]:
        """Return the promotions of a run, the first one first.

        Raises: StoreError when the ledger cannot be read.
        """
        try:
            return self._of(run_id)
        except sqlite3.Error as error:
            raise refused(self.path, KIND, error) from None

    def _of(self, run_id: str) -> list[Promotion]:
        statement = f"SELECT {_COLUMNS} FROM promotion WHERE run_id = ? ORDER BY promotion_id"  # noqa: S608 - a constant
        return [self._read(row) for row in self._connection.execute(statement, (run_id,)).fetchall()]

    def _read(self, row: tuple[Any, ...]) -> Promotion:
        run_id, identity, candidate, report_sha256, verdict, name, note, approved_at = row
        try:
            at = datetime.fromisoformat(approved_at)
            return Promotion(run_id, identity, candidate, report_sha256, verdict, name, note, at)
        except (TypeError, ValueError) as error:
            raise corrupt(self.path, KIND, f"a promotion of {run_id}: {error}") from None

    def _insert(self, promotion: Promotion) -> None:
        newest = self._connection.execute("SELECT COALESCE(MAX(promotion_id), 0) FROM promotion").fetchone()[0]
        values = newest + 1, *astuple(promotion)[:-1], promotion.approved_at.isoformat()
        marks = ", ".join("?" * len(values))
        self._connection.execute(f"INSERT INTO promotion (promotion_id, {_COLUMNS}) VALUES ({marks})", values)  # noqa: S608


def _same(one: Promotion, other: Promotion) -> bool:
    return one.covers(other.run_id, other.identity, other.candidate, other.report_sha256)
