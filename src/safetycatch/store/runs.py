"""Runs: a numbered folder with inputs, tables and report; one process at a time works on it, any process resumes it."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from safetycatch.errors import StoreError, UsageError
from safetycatch.identity import checked_name, file_sha256
from safetycatch.store import manifest as manifests
from safetycatch.store.disk import named
from safetycatch.store.environment import environment
from safetycatch.store.locks import lock
from safetycatch.store.parquet import check_pages, columns_of, write_parquet
from safetycatch.store.records import (
    FINISHED,
    INPUTS,
    MANIFEST,
    MAX_FILE_BYTES,
    RESUMABLE,
    RUN_ID,
    RUNS,
    ChangedInput,
    RunConflict,
    RunConflictError,
    Status,
    StoredRun,
    load_run,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow as pa

    from safetycatch.store.artifacts import Store
    from safetycatch.store.disk import Temporary

NEAREST = 0.5
SHOWN_MATCHES = 5
ENVIRONMENT = "environment.json"


class Run:
    """A run in work, or the finished one that another process left to a waiting one; made by `Runs.begin`.

    As a context manager it gives its lock back; a run that was not finished then stays `running` and can be resumed.
    """

    def __init__(self, store: Store, body: dict[str, Any], *, resumed: bool, held: contextlib.ExitStack) -> None:
        self._store, self._body, self._held = store, body, held
        self._entries: dict[str, dict[str, Any]] = {}
        self.run_id: str = body["run_id"]
        self.identity: str = body["identity"]
        self.started_at = datetime.fromisoformat(body["started_at"])
        self.folder = store.tree.path(RUNS, self.run_id)
        self.resumed = resumed

    @property
    def status(self) -> Status:
        """`running`, or how the run ended."""
        return self._body["status"]

    @property
    def finished(self) -> bool:
        """True when nothing is left to do and nothing may be overwritten."""
        return self.status in FINISHED

    def path(self, file: str) -> Path:
        """Return where a file of the run lies."""
        return self._store.tree.path(RUNS, self.run_id, file)

    def snapshot(self, files: Mapping[str, bytes]) -> None:
        """Copy inputs (name → bytes; any name) into the run; equal content is kept once, a newer one is added.

        Raises: StoreError naming the file; RunConflictError on a finished run that lacks this content.
        """
        from hashlib import sha256

        versions: dict[str, list[dict[str, Any]]] = {name: list(old) for name, old in self._body["inputs"].items()}
        for name, data in files.items():
            digest = sha256(data).hexdigest()
            mine = versions.setdefault(name, [])
            if mine and mine[-1]["sha256"] == digest:
                continue
            if self.finished:
                raise self._conflict(f"{INPUTS}/{name}", mine[-1]["sha256"] if mine else "nothing", digest)
            count = sum(len(entries) for entries in versions.values()) + 1
            slug = re.sub(r"[^a-z0-9._-]+", "-", Path(name).name.lower())[-48:].strip("-.") or "input"
            file = f"{count:03d}-{slug}"
            self._store.tree.write(data, RUNS, self.run_id, INPUTS, file)
            mine.append({"file": file, "bytes": len(data), "sha256": digest})
        if versions != self._body["inputs"]:
            self._save({**self._body, "inputs": versions})

    def changed_inputs(self, paths: Mapping[str, Path] | Sequence[Path | str]) -> list[ChangedInput]:
        """Return the originals that are no longer what was copied last; `paths` maps snapshot names to files.

        A plain list of paths means that the paths' texts were the names. Names without a copy are passed over.
        """
        pairs: dict[str, Path] = {}
        if isinstance(paths, Mapping):
            pairs.update(paths)
        else:
            pairs.update((str(path), Path(path)) for path in paths)
        changed: list[ChangedInput] = []
        for name, path in pairs.items():
            copies = self._body["inputs"].get(name)
            if not copies:
                continue
            try:
                now = file_sha256(Path(path))
            except OSError:
                now = None
            if now != copies[-1]["sha256"]:
                changed.append(ChangedInput(name, str(path), copies[-1]["sha256"], now))
        return changed

    def write_table(
        self, name: str, data: pa.Table | Iterable[pa.RecordBatch], *, schema: pa.Schema | None = None
    ) -> Path:
        """Write `<name>.parquet` whole or not at all; return its path.

        Raises: RunConflictError when the run is finished and has other content there; StoreError; DataError.
        """
        file = checked_name(name, "table") + ".parquet"
        with self._store.tree.temporary(RUNS, self.run_id, file) as temporary:
            rows, written = write_parquet(temporary, data, schema)
            self._publish(temporary, file, {"rows": rows, "columns": columns_of(written)})
        return self.path(file)

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file (`report.html`) whole or not at all; return its path.

        Raises: RunConflictError when the run is finished and has other content there; StoreError naming the file.
        """
        if checked_name(name, "file") == MANIFEST or name.endswith(".parquet"):
            raise UsageError(f"{name!r} is not for texts", expected="another name, e.g. report.html")
        with self._store.tree.temporary(RUNS, self.run_id, name) as temporary:
            temporary.write(text.encode())
            self._publish(temporary, name, {})
        return self.path(name)

    def finish(self, status: Status, manifest: dict[str, Any], *, now: datetime | None = None) -> StoredRun:
        """Write the final manifest, with rows and SHA-256 of every table and file, and give the lock back.

        `manifest` is stored as `summary`. `now` defaults to the store's clock.
        Raises: UsageError for `running`; InputError when `manifest` has no JSON form; RunConflictError when finished.
        """
        if status not in (FINISHED | RESUMABLE) - {"running"}:
            raise UsageError(f"a run cannot end as {status!r}", expected=", ".join(sorted(FINISHED | RESUMABLE)))
        if self.finished:
            raise self._conflict(MANIFEST, self.status, status)
        entries = {name: self._entries.get(name) or self._measured(name) for name in self._files()}
        tables = {name.removesuffix(".parquet"): one for name, one in entries.items() if name.endswith(".parquet")}
        self._save(
            {
                **self._body,
                "status": status,
                "finished_at": _utc(now or self._store.clock()).isoformat(),
                "tables": tables,
                "files": {name: one for name, one in entries.items() if not name.endswith(".parquet")},
                "summary": manifest,
            }
        )
        self.close()
        return self.stored()

    def note_environment(self) -> None:
        """Write `environment.json` (commit, diff, versions, command); a resume elsewhere adds a numbered one."""
        text = json.dumps(environment(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        number, file = 1, ENVIRONMENT
        while (
            file in self._files()
            and self._store.tree.content(RUNS, self.run_id, file, limit=MAX_FILE_BYTES) != text.encode()
        ):
            number += 1
            file = f"{Path(ENVIRONMENT).stem}-{number}.json"
        self.write_text(file, text)

    def stored(self) -> StoredRun:
        """Return the run as it lies on disk.

        Raises: StoreError when it is gone.
        """
        found = load_run(self._store.tree, self.run_id)
        if found is None:
            raise StoreError(f"{self.folder} is gone")
        return found

    def close(self) -> None:
        """Give the lock back without finishing; the run can be resumed."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _save(self, body: dict[str, Any]) -> None:
        self._store.tree.write(manifests.render(body), RUNS, self.run_id, MANIFEST)
        self._body = body

    def _files(self) -> list[str]:
        return [name for name in self._store.tree.names(RUNS, self.run_id) if name not in {MANIFEST, INPUTS}]

    def _measured(self, file: str) -> dict[str, Any]:
        """Return the manifest entry of a file that an earlier attempt left."""
        with named("read", self.path(file)), self._store.tree.opened(RUNS, self.run_id, file) as fd:
            entry = _entry(file, os.fstat(fd).st_size, self._store.tree.sha256(fd))
            if file.endswith(".parquet"):
                rows, schema = check_pages(fd, self.path(file))
                entry |= {"rows": rows, "columns": columns_of(schema)}
        return entry

    def _publish(self, temporary: Temporary, file: str, more: dict[str, Any]) -> None:
        entry = {**_entry(file, temporary.size, temporary.sha256), **more}
        if not self.finished:
            temporary.publish(file)
            self._entries[file] = entry
            return
        kind, key = ("tables", file.removesuffix(".parquet")) if file.endswith(".parquet") else ("files", file)
        with lock(self._store.lock_path("runs"), what="the list of runs"):
            stored = self.stored()
            known = stored.manifest[kind].get(key)
            if known is None and file not in self._files():
                temporary.publish(file)
                self._save({**stored.manifest, kind: {**stored.manifest[kind], key: entry}})
            elif known is None or known["sha256"] != temporary.sha256:
                raise self._conflict(file, known["sha256"] if known else "a file without an entry", temporary.sha256)

    def _conflict(self, file: str, stored: str, given: str) -> RunConflictError:
        return RunConflictError(
            f"run {self.run_id} is finished ({self.status}) and has other content in {file}; nothing was overwritten",
            RunConflict(self.run_id, f"{RUNS}/{self.run_id}/{file}", stored, given),
        )


class Runs:
    """The runs of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(
        self,
        name: str,
        identity: str,
        *,
        config: dict[str, Any],
        now: datetime,
        run_id: str | None = None,
        wait: Callable[[str], None] | None = None,
        timeout: float | None = None,
    ) -> Run:
        """Start a run, or resume the unfinished one of the same `name` and `identity`.

        While another process works on it, `wait` gets messages and `timeout` (seconds) may end the waiting; a run
        that the other finished meanwhile is returned as it is (`finished`). `run_id` asks for one certain run.
        Raises: RunConflictError when `run_id` exists with other content; StoreError on timeout; InputError.
        """
        checked_name(name, "run name")
        checked_name(identity, "run identity")
        now = _utc(now)
        waited = False

        def waiting(message: str) -> None:
            nonlocal waited
            waited = True
            if wait is not None:
                wait(message)

        with contextlib.ExitStack() as stack:
            path = self._store.lock_path(f"run@{name}@{identity}")
            stack.enter_context(lock(path, wait=waiting, timeout=timeout, what=f"run {name}"))
            found = self._asked(run_id, name, identity) if run_id else self._newest(name, identity)
            meanwhile = waited and found is not None and found.finished_at is not None and found.finished_at >= now
            if found is not None and found.status in FINISHED and (meanwhile or run_id):
                return Run(self._store, found.manifest, resumed=True, held=contextlib.ExitStack())
            resumed = found is not None and found.status in RESUMABLE
            if found is not None and resumed:
                body = self._again(found, config, now)
            else:
                body = self._new(name, identity, config, now, run_id)
            run = Run(self._store, body, resumed=resumed, held=stack.pop_all())
        run.note_environment()
        return run

    def ls(self, limit: int = 20) -> list[StoredRun]:
        """Return the newest runs first, at most `limit`; damaged ones are among them.

        Raises: StoreError when the medium cannot be read.
        """
        found: list[StoredRun] = []
        day = ""
        for run_id in sorted(self._ids(), reverse=True):
            if len(found) >= limit and run_id[:10] != day:
                break
            day = run_id[:10]
            run = load_run(self._store.tree, run_id)
            if run is not None:
                found.append(run)
        found.sort(key=lambda run: (run.run_id[:10], run.manifest.get("started_at", ""), run.number), reverse=True)
        return found[:limit]

    def load(self, run_id: str) -> StoredRun:
        """Return the run with this id, this unique beginning of an id, or the newest for `last`.

        Raises: UsageError naming the nearest ids; StoreError when its manifest is damaged.
        """
        ids = self._ids()
        if run_id == "last":
            newest = self.ls(1)
            if not newest:
                raise UsageError("there is no run yet", where=str(self._store.root), fix="safetycatch run FILE")
            matches = [newest[0].run_id]
        else:
            matches = [run_id] if run_id in ids else [one for one in ids if run_id and one.startswith(run_id)]
        if len(matches) > 1:
            shown = ", ".join(sorted(matches)[:SHOWN_MATCHES])
            raise UsageError(f"{len(matches)} runs begin with {run_id!r}", expected=shown)
        found = load_run(self._store.tree, matches[0]) if matches else None
        if found is None:
            near = difflib.get_close_matches(run_id, ids, n=3, cutoff=NEAREST)
            newest = [run.run_id for run in self.ls(3)]
            raise UsageError(
                f"no run {run_id[:100]!r}",
                where=str(self._store.root),
                expected=", ".join(near or newest) or "a run id (there is no run yet)",
                fix="safetycatch ls",
            )
        if found.status == "damaged":
            raise StoreError(f"{found.folder / MANIFEST}: {found.detail}")
        return found

    def _ids(self, name: str | None = None) -> list[str]:
        matches = [RUN_ID.fullmatch(folder) for folder in self._store.tree.names(RUNS)]
        return [match.string for match in matches if match and name in (None, match["name"])]

    def _newest(self, name: str, identity: str) -> StoredRun | None:
        def order(run_id: str) -> tuple[str, int]:
            return run_id[:10], int(run_id.rpartition("-")[2])

        for run_id in sorted(self._ids(name), key=order, reverse=True):
            run = load_run(self._store.tree, run_id)
            if run is not None and run.identity == identity:
                return run
        return None

    def _asked(self, run_id: str, name: str, identity: str) -> StoredRun | None:
        match = RUN_ID.fullmatch(run_id)
        if not match or match["name"] != name:
            raise UsageError(f"{run_id!r} is no id for a run of {name}", expected=f"YYYY-MM-DD-{name}-N")
        found = load_run(self._store.tree, run_id)
        if found is not None and found.identity != identity:
            raise RunConflictError(
                f"run {run_id} exists with other content: its identity is {found.identity[:12] or found.detail}, "
                f"this one's is {identity[:12]}; nothing was changed",
                RunConflict(run_id, f"{RUNS}/{run_id}", found.identity or found.status, identity),
            )
        return found

    def _again(self, found: StoredRun, config: dict[str, Any], now: datetime) -> dict[str, Any]:
        # Tables and files are listed again when the run ends: until then they may be replaced.
        body = {
            **found.manifest,
            "status": "running",
            "finished_at": None,
            "attempts": [*found.manifest["attempts"], now.isoformat()],
            "config": config,
            "tables": {},
            "files": {},
            "summary": {},
        }
        self._store.tree.write(manifests.render(body), RUNS, found.run_id, MANIFEST)
        return body

    def _new(
        self, name: str, identity: str, config: dict[str, Any], now: datetime, run_id: str | None
    ) -> dict[str, Any]:
        with lock(self._store.lock_path("runs"), what="the list of runs"):
            chosen = run_id or self._free_id(name, now)
            body = {
                "run_id": chosen,
                "name": name,
                "identity": identity,
                "status": "running",
                "started_at": now.isoformat(),
                "finished_at": None,
                "attempts": [now.isoformat()],
                "config": config,
                "inputs": {},
                "tables": {},
                "files": {},
                "summary": {},
            }
            self._store.tree.write(manifests.render(body), RUNS, chosen, MANIFEST)
        return body

    def _free_id(self, name: str, now: datetime) -> str:
        """Return the day's next id; a folder that a dead process left empty is used again."""
        day = f"{now:%Y-%m-%d}-{name}-"
        taken = [run_id for run_id in self._ids(name) if run_id.startswith(day)]
        filled = [int(run_id.rpartition("-")[2]) for run_id in taken if self._store.tree.names(RUNS, run_id)]
        return f"{day}{max(filled, default=0) + 1}"


def _entry(file: str, size: int, sha256: str) -> dict[str, Any]:
    return {"file": file, "bytes": size, "sha256": sha256}


def _utc(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise UsageError(f"the time {now} has no zone", expected="an aware time")
    return now.astimezone(UTC)
