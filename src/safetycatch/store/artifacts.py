"""Tables named by the fingerprint of what made them; one that can be opened is whole and is what its manifest says."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetycatch.errors import InputError, StoreError
from safetycatch.identity import checked_name
from safetycatch.store import manifest as manifests
from safetycatch.store.disk import DISK, Disk, Tree, named
from safetycatch.store.environment import git_commit
from safetycatch.store.health import MIN_FREE_BYTES, StoreHealth, probe
from safetycatch.store.locks import lock
from safetycatch.store.parquet import TableFile, check_pages, columns_of, read_batches, read_parquet, write_parquet
from safetycatch.store.records import QUARANTINE, RUNS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    import pyarrow as pa

ARTIFACTS, LOCKS = "artifacts", "locks"
BATCH_ROWS = 4096

ProblemKind = Literal["missing", "altered", "truncated", "unlisted", "manifest"]


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Problem:
    """A file of the store that is not what its manifest says; `path` is relative to the store's root."""

    path: str
    kind: ProblemKind
    detail: str


@dataclass(frozen=True, slots=True)
class Ref:
    """What tasks hand to each other in place of a table; `uri` is relative to the store's root."""

    stage: str
    fingerprint: str
    uri: str
    sha256: str
    rows: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Ref:
        """Return the reference that `as_dict` described.

        Raises: InputError for missing or unknown keys, wrong types, or a uri that is not the artifact's own.
        """
        kinds = {"stage": str, "fingerprint": str, "uri": str, "sha256": str, "rows": int}
        if fields.keys() != kinds.keys() or any(type(fields[key]) is not kind for key, kind in kinds.items()):
            raise InputError(f"{fields!r:.200} is no reference", expected=", ".join(kinds))
        ref = cls(**fields)
        if ref.uri != "/".join(_parts(ref.stage, ref.fingerprint)):
            raise InputError(f"the uri {ref.uri!r:.200} is not that of {ref.stage} {ref.fingerprint}")
        return ref


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An artifact that was set aside: where it lies now (relative to the root) and what was wrong with it."""

    stage: str
    fingerprint: str
    path: str
    problem: Problem


def _parts(stage: str, fingerprint: str, suffix: str = ".parquet") -> tuple[str, str, str]:
    return ARTIFACTS, checked_name(stage, "stage"), checked_name(fingerprint, "fingerprint") + suffix


@functools.cache
def _versions() -> dict[str, str]:
    return {
        "safetycatch": metadata.version("safetycatch"),
        "python": platform.python_version(),
        "pyarrow": metadata.version("pyarrow"),
    }


class Store:
    """A folder of artifacts and runs; safe for several processes and threads at a time. Made by `Store.open`."""

    def __init__(self, tree: Tree, health: StoreHealth, clock: Callable[[], datetime]) -> None:
        self.tree, self.health, self.clock = tree, health, clock
        self.quarantined: list[Quarantined] = []

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        clock: Callable[[], datetime] = utc_now,
        disk: Disk = DISK,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> Store:
        """Open the store in the folder `root`, making it when missing, and remove what dead writers left behind.

        Raises: StoreError saying why the folder is unusable (owner, rights, space, locks).
        """
        root = Path(root).expanduser().resolve()
        health = probe(root, disk=disk, min_free_bytes=min_free_bytes)
        if health.reason:
            raise StoreError(f"the store cannot be used: {health.reason}")
        tree = Tree(root, disk)
        with named("prepare", root):
            for name in (ARTIFACTS, RUNS, LOCKS, QUARANTINE):
                with tree.folder(name, create=True):
                    pass
            tree.sweep()
        return cls(tree, health, clock)

    @property
    def root(self) -> Path:
        """The store's folder, absolute, links resolved."""
        return self.tree.root

    @property
    def url(self) -> str:
        """The store's address, part of cache keys."""
        return self.root.as_uri()

    def path(self, ref: Ref) -> Path:
        """Return where the artifact's Parquet file lies (for messages and foreign readers; `read` verifies)."""
        return self.tree.path(*_parts(ref.stage, ref.fingerprint))

    def find(self, stage: str, fingerprint: str) -> Ref | None:
        """Return the artifact when it is there and whole, else None; a damaged one is moved to `quarantine/`.

        Hashes each file once per process as long as size, times and inode stay the same.
        Raises: StoreError when the artifact is damaged a second time in this process, or the folder is unreadable.
        """
        state = self.inspect(stage, fingerprint)
        if isinstance(state, Problem) and state.kind not in {"missing", "unlisted"}:
            with self.committing(stage, fingerprint):
                state = self.inspect(stage, fingerprint)
                if isinstance(state, Problem):
                    self._set_aside(stage, fingerprint, state)
        return state if isinstance(state, Ref) else None

    def write(
        self,
        stage: str,
        fingerprint: str,
        data: pa.Table | Iterable[pa.RecordBatch],
        *,
        schema: pa.Schema | None = None,
        settings: dict[str, Any],
        parents: Sequence[Ref],
        version: str,
        facts: dict[str, Any] | None = None,
    ) -> Ref:
        """Store a table or a stream of batches under its fingerprint; one that is there and whole is kept instead.

        Memory stays at about one row group for a stream. `schema` is needed when a stream may be empty.
        Raises: StoreError naming the file (disk full, read-only, …); DataError when Parquet cannot hold the data;
        InputError when settings or facts have no JSON form.
        """
        target, note = _parts(stage, fingerprint), _parts(stage, fingerprint, ".json")
        existing = self.find(stage, fingerprint)
        if existing is not None:
            return existing
        with self.tree.temporary(*target) as file:
            rows, written = write_parquet(file, data, schema)
            file.seal()
            body = {
                "stage": stage,
                "fingerprint": fingerprint,
                "version": version,
                "settings": settings,
                "parents": [parent.as_dict() for parent in parents],
                "facts": facts or {},
                "columns": columns_of(written),
                "rows": rows,
                "bytes": file.size,
                "sha256": file.sha256,
                "created_at": self.clock().isoformat(),
                "git_commit": git_commit(),
                "versions": _versions(),
            }
            with self.tree.temporary(*note) as manifest:
                manifest.write(manifests.render(body))
                manifest.seal()
                with self.committing(stage, fingerprint):
                    state = self.inspect(stage, fingerprint)
                    if isinstance(state, Ref):
                        return state
                    if isinstance(state, Problem) and state.kind != "unlisted":
                        self._set_aside(stage, fingerprint, state)
                    file.publish(target[-1])
                    manifest.publish(note[-1])
            return Ref(stage, fingerprint, "/".join(target), file.sha256, rows)

    def read(self, ref: Ref, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the artifact's table (or some of its columns), verified against the reference before it is decoded.

        Raises: StoreError naming the file when it is missing or damaged; DataError for an unknown column.
        """
        with self._verified(ref) as fd:
            return read_parquet(fd, self.path(ref), columns)

    def open_table(self, ref: Ref) -> TableFile:
        """Return the artifact's table, verified, whose columns are decoded when they are asked for.

        Raises: StoreError naming the file when it is missing or damaged.
        """
        with self._verified(ref) as fd:
            return TableFile(fd, self.path(ref))

    def batches(
        self, ref: Ref, columns: Sequence[str] | None = None, size: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Yield the artifact's rows in batches of at most `size`, in order, with flat memory.

        Raises: StoreError naming the file when it is missing or damaged; DataError for an unknown column.
        """
        with self._verified(ref) as fd:
            yield from read_batches(fd, self.path(ref), columns, size)

    def manifest(self, ref: Ref) -> dict[str, Any]:
        """Return the manifest that was written with the artifact.

        Raises: StoreError when it is missing, damaged or about other content.
        """
        parts = _parts(ref.stage, ref.fingerprint, ".json")
        path = self.tree.path(*parts)
        try:
            with named("read", path):
                body = manifests.load(self.tree, *parts)
        except manifests.ManifestError as error:
            raise StoreError(f"{path} {error}") from None
        if body is None:
            raise StoreError(f"{path} is missing")
        if (body.get("stage"), body.get("fingerprint"), body.get("sha256")) != (ref.stage, ref.fingerprint, ref.sha256):
            raise StoreError(f"{path} is about other content than the reference")
        return body

    def facts(self, ref: Ref) -> dict[str, Any]:
        """Return the facts that the stage stored beside its table.

        Raises: StoreError when the manifest is missing, damaged or about other content.
        """
        return self.manifest(ref)["facts"]

    @contextlib.contextmanager
    def lock(
        self,
        stage: str,
        fingerprint: str,
        *,
        wait: Callable[[str], None] | None = None,
        timeout: float | None = None,
    ) -> Generator[None]:
        """Hold the right to compute one artifact; others wait, then `find` it.

        Raises: StoreError on timeout (seconds); RuntimeError when this thread already holds it.
        """
        _parts(stage, fingerprint)
        path = self.lock_path(f"{stage}@{fingerprint}")
        with lock(path, wait=wait, timeout=timeout, what=f"{stage} {fingerprint[:12]}", disk=self.tree.disk):
            yield

    def lock_path(self, name: str) -> Path:
        """Return the path of a lock file of this store."""
        return self.tree.path(LOCKS, f"{name}.lock")

    def stages(self) -> list[str]:
        """Return the names of the folders below `artifacts/`."""
        return self.tree.names(ARTIFACTS)

    def inspect(self, stage: str, fingerprint: str, *, full: bool = False) -> Ref | Problem | None:
        """Return the artifact's reference when whole, what is wrong with it, or None when there is nothing.

        `full` hashes afresh and checks every page. Nothing is moved.
        Raises: StoreError when the medium cannot be read.
        """
        target, note = _parts(stage, fingerprint), _parts(stage, fingerprint, ".json")
        uri, note_uri = "/".join(target), "/".join(note)
        with named("read", self.tree.path(*target)):
            try:
                body = manifests.load(self.tree, *note)
            except manifests.ManifestError as error:
                return Problem(note_uri, "manifest", f"the manifest {error}")
            if body is None:
                there = target[-1] in self.tree.names(*target[:-1])
                return Problem(uri, "unlisted", "a file without a manifest") if there else None
            described = body.get("stage"), body.get("fingerprint")
            if described != (stage, fingerprint):
                return Problem(note_uri, "manifest", f"the manifest describes {described[0]} {described[1]}")
            ref = Ref(stage, fingerprint, uri, body["sha256"], body["rows"])
            return self._fault(ref, body["bytes"], full=full) or ref

    def _fault(self, ref: Ref, size: int, *, full: bool) -> Problem | None:
        fault = file_fault(self.tree, tuple(ref.uri.split("/")), size, ref.sha256, full=full)
        if fault is None and full:
            with self.tree.opened(*ref.uri.split("/")) as fd:
                try:
                    rows, _ = check_pages(fd, self.path(ref))
                except StoreError as error:
                    return Problem(ref.uri, "altered", str(error))
            if rows != ref.rows:
                return Problem(ref.uri, "altered", f"{rows} rows; the manifest says {ref.rows}")
        return fault

    @contextlib.contextmanager
    def committing(self, stage: str, fingerprint: str) -> Generator[None]:
        """Hold the short lock under which an artifact becomes visible or is set aside."""
        with lock(self.lock_path(f"{stage}@{fingerprint}@commit"), what=f"{stage} artifact", disk=self.tree.disk):
            yield

    @contextlib.contextmanager
    def _verified(self, ref: Ref) -> Generator[int]:
        path, parts = self.path(ref), _parts(ref.stage, ref.fingerprint)
        with contextlib.ExitStack() as stack:
            with named("read", path):
                try:
                    fd = stack.enter_context(self.tree.opened(*parts))
                except FileNotFoundError:
                    raise StoreError(f"{path} is missing; run it again") from None
                if self.tree.sha256(fd) != ref.sha256:
                    raise StoreError(f"{path} was altered: its SHA-256 is not {ref.sha256[:12]}…; run it again")
            yield fd

    def _set_aside(self, stage: str, fingerprint: str, problem: Problem) -> None:
        """Move an artifact's files to quarantine, under the commit lock."""
        counted = problem.kind != "missing"
        before = [one for one in self.quarantined if (one.stage, one.fingerprint) == (stage, fingerprint)]
        if counted and any(one.problem.kind != "missing" for one in before):
            raise StoreError(
                f"{self.root / problem.path} is damaged again after it was rebuilt ({problem.detail}): "
                "the disk, or another program, alters files here; check it before you go on"
            )
        taken = set(self.tree.names(QUARANTINE))
        number = 1
        while any(f"{stage}@{fingerprint}.{number}{suffix}" in taken for suffix in (".parquet", ".json")):
            number += 1
        kept = f"{stage}@{fingerprint}.{number}"
        with named("set aside", self.root / problem.path):
            # The manifest goes first: a file without a manifest counts as absent, the reverse as damage.
            for suffix in (".json", ".parquet"):
                self.tree.move(_parts(stage, fingerprint, suffix), (QUARANTINE, kept + suffix))
        self.quarantined.append(Quarantined(stage, fingerprint, f"{QUARANTINE}/{kept}.parquet", problem))


def file_fault(tree: Tree, parts: tuple[str, ...], size: int, sha256: str, *, full: bool) -> Problem | None:
    """Return how a listed file differs from its size in bytes and SHA-256, or None; `full` hashes afresh.

    Raises: OSError when the medium cannot be read.
    """
    uri = "/".join(parts)
    try:
        with tree.opened(*parts) as fd:
            found = os.fstat(fd).st_size
            if found != size:
                kind: ProblemKind = "truncated" if found < size else "altered"
                return Problem(uri, kind, f"{found} bytes; the manifest says {size}")
            if tree.sha256(fd, fresh=full) != sha256:
                return Problem(uri, "altered", "its SHA-256 is not the manifest's")
    except FileNotFoundError:
        return Problem(uri, "missing", "listed in a manifest but not there")
    except StoreError as error:
        return Problem(uri, "altered", str(error))
    return None
