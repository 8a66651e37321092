"""A run in work: inputs, tables and texts are written whole, and listed with their hashes when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from itertools import count
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
    QUARANTINE,
    RESUMABLE,
    RUNS,
    ChangedInput,
    RunConflict,
    RunConflictError,
    Status,
    StoredRun,
    in_utc,
    load_run,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from safetycatch.store.artifacts import Store
    from safetycatch.store.disk import Temporary

ENVIRONMENT = "environment.json"


class Run:
    """A run in work, or the finished one that another process left to a waiting one; made by `Runs.begin`.

    As a context manager it gives its lock back; a run that was not finished then stays `running` and can be resumed.
    """

    def __init__(self, store: Store, body: dict[str, Any], *, resumed: bool) -> None:
        self._store, self._body = store, body
        self._held = contextlib.ExitStack()
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
        versions: dict[str, list[dict[str, Any]]] = {name: list(old) for name, old in self._body["inputs"].items()}
        for name, data in files.items():
            digest = sha256(data).hexdigest()
            mine = versions.setdefault(name, [])
            if mine and mine[-1]["sha256"] == digest:
                continue
            if self.finished:
                raise self._conflict(f"{INPUTS}/{name}", mine[-1]["sha256"] if mine else "nothing", digest)
            number = sum(len(entries) for entries in versions.values()) + 1
            slug = re.sub(r"[^a-z0-9._-]+", "-", Path(name).name.lower())[-48:].strip("-.") or "input"
            file = f"{number:03d}-{slug}"
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
        found = {name: self._entries.get(name) or self._measured(name) for name in self._files()}
        entries = {name: entry for name, entry in found.items() if entry is not None}
        tables = {name.removesuffix(".parquet"): one for name, one in entries.items() if name.endswith(".parquet")}
        self._save(
            {
                **self._body,
                "status": status,
                "finished_at": in_utc(now or self._store.clock()).isoformat(),
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

    def hold(self, locks: contextlib.ExitStack) -> None:
        """Keep the run's lock until `finish` or `close`."""
        self._held = locks

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

    def _measured(self, file: str) -> dict[str, Any] | None:
        """Return the manifest entry of a file that an earlier attempt left; a damaged one is set aside instead."""
        try:
            with named("read", self.path(file)), self._store.tree.opened(RUNS, self.run_id, file) as fd:
                entry = _entry(file, os.fstat(fd).st_size, self._store.tree.sha256(fd))
                if file.endswith(".parquet"):
                    rows, schema = check_pages(fd, self.path(file))
                    entry |= {"rows": rows, "columns": columns_of(schema)}
                return entry
        except StoreError:
            taken = self._store.tree.names(QUARANTINE)
            number = next(number for number in count(1) if f"{self.run_id}@{number}@{file}" not in taken)
            with named("set aside", self.path(file)):
                self._store.tree.move((RUNS, self.run_id, file), (QUARANTINE, f"{self.run_id}@{number}@{file}"))
            return None

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


def _entry(file: str, size: int, sha256: str) -> dict[str, Any]:
    return {"file": file, "bytes": size, "sha256": sha256}
