"""The runs of a store: one process at a time works on one, any process resumes it, and any can look them up."""

from __future__ import annotations

import contextlib
import difflib
from typing import TYPE_CHECKING, Any

from safetycatch.errors import StoreError, UsageError
from safetycatch.identity import checked_name
from safetycatch.store import manifest as manifests
from safetycatch.store.disk import named
from safetycatch.store.locks import held, lock
from safetycatch.store.records import (
    FINISHED,
    MANIFEST,
    RESUMABLE,
    RUN_ID,
    RUNS,
    RunConflict,
    RunConflictError,
    StoredRun,
    in_utc,
    load_run,
)
from safetycatch.store.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from safetycatch.store.artifacts import Store

NEAREST = 0.5
SHOWN_MATCHES = 5


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
        that another finished after `now`, when this one was asked for, is returned as it is (`finished`). `run_id` asks
        for one certain run.
        Raises: RunConflictError when `run_id` exists with other content; StoreError on timeout; InputError.
        """
        checked_name(name, "run name")
        checked_name(identity, "run identity")
        now = in_utc(now)
        with contextlib.ExitStack() as stack:
            path = self._lock_path(name, identity)
            stack.enter_context(lock(path, wait=wait, timeout=timeout, what=f"run {name}"))
            found = self._asked(run_id, name, identity) if run_id else self._newest(name, identity)
            meanwhile = found is not None and found.finished_at is not None and found.finished_at > now
            if found is not None and found.status in FINISHED and (meanwhile or run_id):
                return Run(self._store, found.manifest, resumed=True)
            resumed = found is not None and found.status in RESUMABLE
            if found is not None and resumed:
                body = self._again(found, config, now)
            else:
                body = self._new(name, identity, config, now, run_id)
            run = Run(self._store, body, resumed=resumed)
            run.note_environment()
            run.hold(stack.pop_all())
        return run

    def at_work(self, run: StoredRun) -> bool:
        """Whether a living process works on an unfinished run, or on another of the same content.

        Raises: StoreError when its lock cannot be read.
        """
        path = self._lock_path(run.name, run.identity)
        with named("read", path):
            return held(path)

    def _lock_path(self, name: str, identity: str) -> Path:
        return self._store.lock_path(f"run@{name}@{identity}")

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
            if run_id and self._store.tree.names(RUNS, run_id):
                raise RunConflictError(
                    f"the folder of run {run_id} holds files but no manifest; nothing was changed",
                    RunConflict(run_id, f"{RUNS}/{run_id}", "files without a manifest", identity),
                )
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
