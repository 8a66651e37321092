"""The databases of a store: whole from their first moment, checked at every opening, refused when damaged or newer.

SQLite in WAL mode. A damaged database is never replaced by an empty one: what it held is money, or a person's word.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from safetycatch.errors import StoreError
from safetycatch.folders import make_private

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

BUSY_MS = 60_000
SIDES = ("-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a database is for.

    `name` is the table (name, value) that makes it ours and holds the schema version; `what` names it in messages and
    `fix` says what to do when it is damaged. `versions[n]` holds the statements, split by semicolons, that lead from
    version n to n + 1: tables are added there, and no entry ever changes. SQL that Postgres speaks too.
    """

    name: str
    what: str
    fix: str
    versions: tuple[str, ...]
    synchronous: Literal["NORMAL", "FULL"] = "FULL"


def open_database(path: Path, kind: Kind) -> sqlite3.Connection:
    """Return a connection to the database at `path`, made on first use (file 0600) and brought to today's version.

    Transactions are the caller's: `with transaction(connection)`.
    Raises: StoreError when it is damaged, is another database, comes from a newer version, or cannot be written.
    """
    try:
        if not os.path.lexists(path):
            # Looked for in this order, since another process may be making both just now.
            if any(os.path.lexists(f"{path}{side}") for side in SIDES) and not os.path.lexists(path):
                raise corrupt(path, kind, f"the file is gone, its {SIDES[0]} is still there")
            _create(path, kind)
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise corrupt(path, kind, "it is not a plain file")
        if not found.st_size:
            raise corrupt(path, kind, "the file is empty")
        connection = _connect(path, kind)
    except (OSError, sqlite3.Error) as error:
        raise refused(path, kind, error) from None
    try:
        _check(path, kind, connection)
    except (OSError, sqlite3.Error) as error:
        connection.close()
        raise refused(path, kind, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Hold the only right to write inside the block, which is committed whole or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a commit that failed may have ended the transaction
            connection.execute("ROLLBACK")
        raise


def refused(path: Path, kind: Kind, error: OSError | sqlite3.Error) -> StoreError:
    """Return the error to raise for one of the system's; tells a damaged file from one out of reach just now."""
    unreachable = isinstance(error, OSError | sqlite3.OperationalError) and "no such table" not in str(error)
    return StoreError(f"{path}: {kind.what} cannot be used: {error}") if unreachable else corrupt(path, kind, error)


def corrupt(path: Path, kind: Kind, why: object) -> StoreError:
    """Return the error to raise for a damaged database, with what was seen of it."""
    return StoreError(f"{path}: {kind.what} is damaged ({why}); nothing was sent\n  fix      {kind.fix}")


def _connect(path: Path, kind: Kind) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute(f"PRAGMA synchronous = {kind.synchronous}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _create(path: Path, kind: Kind) -> None:
    """Put a whole database without rows in place in one step, so that one without tables is never a new one."""
    make_private(path.parent)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with contextlib.closing(_connect(fresh, kind)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            with transaction(connection):
                connection.execute(f"CREATE TABLE {kind.name} (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
                connection.execute(f"INSERT INTO {kind.name} VALUES ('schema', '0')")  # noqa: S608 - a constant's name
                _upgrade(connection, kind, 0)
        # Another process may have been first; its database stays.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        for leftover in (fresh, *(fresh.with_name(fresh.name + side) for side in SIDES)):
            leftover.unlink(missing_ok=True)


def _check(path: Path, kind: Kind, connection: sqlite3.Connection) -> None:
    """Raise unless the database is whole, ours, writable and of this version, to which an older one is brought."""
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise corrupt(path, kind, problem)
    with transaction(connection):
        row = connection.execute(f"SELECT value FROM {kind.name} WHERE name = 'schema'").fetchone()  # noqa: S608
        if row is None or not str(row[0]).isdecimal():
            raise corrupt(path, kind, "no schema version")
        if int(row[0]) > len(kind.versions):
            raise StoreError(
                f"{path}: schema {row[0]} of {kind.what}, this version of safetycatch reads {len(kind.versions)}"
                "\n  fix      use the version of safetycatch that wrote it"
            )
        _upgrade(connection, kind, int(row[0]))
    path.chmod(0o600)


def _upgrade(connection: sqlite3.Connection, kind: Kind, version: int) -> None:
    for statements in kind.versions[version:]:
        for statement in statements.split(";"):
            connection.execute(statement)
    if version < len(kind.versions):
        newest = str(len(kind.versions))
        connection.execute(f"UPDATE {kind.name} SET value = ? WHERE name = 'schema'", (newest,))  # noqa: S608
