"""A run as it lies on disk: manifest, tables and files, read only."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from safetycatch.errors import RefusedError, StoreError, UsageError
from safetycatch.store import manifest as manifests
from safetycatch.store.disk import named
from safetycatch.store.parquet import TableFile, read_parquet

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from safetycatch.store.disk import Tree

RUNS, QUARANTINE, INPUTS, MANIFEST = "runs", "quarantine", "inputs", "manifest.json"
MAX_FILE_BYTES = 256 << 20
RUN_ID = re.compile(r"(?P<day>\d{4}-\d{2}-\d{2})-(?P<name>[a-z0-9][a-z0-9._-]{0,63})-(?P<number>[1-9]\d{0,5})")

Status = Literal["running", "done", "refused", "waits", "stopped", "budget", "provider", "failed", "damaged"]
FINISHED = frozenset({"done", "refused"})
RESUMABLE = frozenset({"running", "waits", "stopped", "budget", "provider", "failed"})


@dataclass(frozen=True, slots=True)
class RunConflict:
    """What SC702 judges: a run (or one file of it) exists with other content."""

    run_id: str
    path: str
    stored: str
    given: str


class RunConflictError(RefusedError):
    """A run id or a finished run would have got other content; `conflict` holds the facts and nothing was changed."""

    def __init__(self, message: str, conflict: RunConflict) -> None:
        super().__init__(message)
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class ChangedInput:
    """What SC703 judges: an original that is no longer what was copied (`now_sha256` None: it is gone)."""

    name: str
    path: str
    snapshot_sha256: str
    now_sha256: str | None


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run on disk; `status` is `running` while it works or after a kill, `damaged` when its manifest is."""

    run_id: str
    folder: Path
    status: Status
    manifest: dict[str, Any]
    detail: str = ""
    _tree: Tree = field(kw_only=True, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The experiment's name."""
        match = RUN_ID.fullmatch(self.run_id)
        return match["name"] if match else ""

    @property
    def number(self) -> int:
        """The number at the end of the run id."""
        match = RUN_ID.fullmatch(self.run_id)
        return int(match["number"]) if match else 0

    @property
    def identity(self) -> str:
        """The fingerprint of what the run computes; empty when damaged."""
        return str(self.manifest.get("identity", ""))

    @property
    def started_at(self) -> datetime | None:
        """When the run was first begun (UTC)."""
        return _time(self.manifest.get("started_at"))

    @property
    def finished_at(self) -> datetime | None:
        """When it ended; None while unfinished."""
        return _time(self.manifest.get("finished_at"))

    @property
    def summary(self) -> dict[str, Any]:
        """What was passed to `Run.finish`."""
        return self.manifest.get("summary", {})

    @property
    def table_names(self) -> list[str]:
        """The names that `table` accepts."""
        listed = self.manifest.get("tables") or {}
        there = self._tree.names(RUNS, self.run_id)
        return sorted({*listed, *(name.removesuffix(".parquet") for name in there if name.endswith(".parquet"))})

    def path(self, file: str) -> Path:
        """Return where a file of the run lies, for links and foreign readers; `table` and `text` verify."""
        return self._tree.path(RUNS, self.run_id, file)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a table of the run, verified.

        Raises: UsageError for an unknown name; StoreError naming a missing or damaged file.
        """
        with self._table(name) as fd:
            return read_parquet(fd, self.path(f"{name}.parquet"), columns)

    def open_table(self, name: str) -> TableFile:
        """Return a table of the run, verified, whose columns are decoded when they are asked for.

        Raises: UsageError for an unknown name; StoreError naming a missing or damaged file.
        """
        with self._table(name) as fd:
            return TableFile(fd, self.path(f"{name}.parquet"))

    @contextlib.contextmanager
    def _table(self, name: str) -> Generator[int]:
        if name not in self.table_names:
            raise UsageError(
                f"no table {name!r}", where=f"run {self.run_id}", expected=", ".join(self.table_names) or "none"
            )
        file = f"{name}.parquet"
        with contextlib.ExitStack() as stack:
            with named("read", self.path(file)):
                fd = stack.enter_context(self._tree.opened(RUNS, self.run_id, file))
                self._check(fd, self.manifest.get("tables", {}).get(name), file)
            yield fd

    def text(self, file: str) -> str:
        """Return a text file of the run, verified.

        Raises: StoreError naming a missing or damaged file.
        """
        with named("read", self.path(file)):
            with self._tree.opened(RUNS, self.run_id, file) as fd:
                self._check(fd, self.manifest.get("files", {}).get(file), file)
            return self._tree.content(RUNS, self.run_id, file, limit=MAX_FILE_BYTES).decode()

    def input(self, name: str) -> bytes:
        """Return the last copy of an input.

        Raises: UsageError for an unknown name; StoreError for a missing or damaged copy.
        """
        versions = self.manifest.get("inputs", {}).get(name)
        if not versions:
            known = ", ".join(sorted(self.manifest.get("inputs", {})))
            raise UsageError(f"no input {name!r}", where=f"run {self.run_id}", expected=known or "none")
        parts = (RUNS, self.run_id, INPUTS, versions[-1]["file"])
        path = self._tree.path(*parts)
        with named("read", path):
            with self._tree.opened(*parts) as fd:
                self._check(fd, versions[-1], f"{INPUTS}/{parts[-1]}")
            return self._tree.content(*parts, limit=MAX_FILE_BYTES)

    def _check(self, fd: int, entry: dict[str, Any] | None, file: str) -> None:
        if entry is not None and self._tree.sha256(fd) != entry["sha256"]:
            raise StoreError(f"{self.folder / file} was altered: its SHA-256 is not the manifest's")


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def load_run(tree: Tree, run_id: str) -> StoredRun | None:
    """Return the run with exactly this id, None when its folder or manifest is missing.

    Raises: StoreError when the medium cannot be read.
    """
    folder = tree.path(RUNS, run_id)
    try:
        with named("read", folder / MANIFEST):
            body = manifests.load(tree, RUNS, run_id, MANIFEST)
    except manifests.ManifestError as error:
        return StoredRun(run_id, folder, "damaged", {}, f"the manifest {error}", _tree=tree)
    if body is None:
        return None
    if body.get("run_id") != run_id:
        return StoredRun(run_id, folder, "damaged", {}, f"the manifest describes {body.get('run_id')}", _tree=tree)
    return StoredRun(run_id, folder, body["status"], body, _tree=tree)


def in_utc(now: datetime) -> datetime:
    """Return an aware time in UTC.

    Raises: UsageError for a time without a zone.
    """
    if now.tzinfo is None:
        raise UsageError(f"the time {now} has no zone", expected="an aware time")
    return now.astimezone(UTC)
