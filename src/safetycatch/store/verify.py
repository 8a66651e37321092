"""Whether everything in a store is still what was written: full hashes, page checksums, databases."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from safetycatch.errors import StoreError
from safetycatch.identity import NAME_PATTERN
from safetycatch.store.artifacts import ARTIFACTS, Problem, Store, file_fault
from safetycatch.store.certificates import certificate_problems, certified_keys
from safetycatch.store.disk import named
from safetycatch.store.frozen import frozen_problems
from safetycatch.store.locks import lock
from safetycatch.store.parquet import check_pages
from safetycatch.store.records import INPUTS, MANIFEST, RUN_ID, RUNS, StoredRun, load_run
from safetycatch.store.sealings import sealing_problems
from safetycatch.store.secret import secret_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASES = ("calls.db", "ledger.db")
SUFFIXES = (".parquet", ".json")
BUSY_TIMEOUT_S = 5.0


def verify(store: Store) -> list[Problem]:
    """Return every file of the store that is missing, altered, truncated, unlisted or has a bad manifest.

    Everything is read afresh; nothing is moved. Files of a run that still works (or was killed) are only checked for
    damaged pages, since they are listed when it ends.
    Raises: StoreError when the medium cannot be read.
    """
    with named("read", store.root):
        return [
            *_artifacts(store),
            *_runs(store),
            *_small_files(store),
            *_databases(store),
        ]


def _small_files(store: Store) -> Iterator[Problem]:
    yield from frozen_problems(store)
    yield from certificate_problems(store)
    yield from sealing_problems(store, certified_keys(store))
    yield from secret_problems(store)


def _artifacts(store: Store) -> Iterator[Problem]:
    for stage in store.stages():
        if not NAME_PATTERN.fullmatch(stage):
            yield Problem(f"{ARTIFACTS}/{stage}", "unlisted", "not a stage of ours")
            continue
        try:
            names = store.tree.names(ARTIFACTS, stage)
        except StoreError as error:
            yield Problem(f"{ARTIFACTS}/{stage}", "altered", str(error))
            continue
        fingerprints: dict[str, None] = {}
        for name in names:
            stem = next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), "")
            if NAME_PATTERN.fullmatch(stem):
                fingerprints[stem] = None
            else:
                yield Problem(f"{ARTIFACTS}/{stage}/{name}", "unlisted", "not a file of ours")
        for fingerprint in fingerprints:
            problem = store.inspect(stage, fingerprint, full=True)
            if isinstance(problem, Problem):
                # It may have been in the middle of becoming visible: look again when nobody commits.
                with store.committing(stage, fingerprint):
                    problem = store.inspect(stage, fingerprint, full=True)
            if isinstance(problem, Problem):
                yield problem


def _runs(store: Store) -> Iterator[Problem]:
    for name in store.tree.names(RUNS):
        uri = f"{RUNS}/{name}"
        if not RUN_ID.fullmatch(name):
            yield Problem(uri, "unlisted", "not a run of ours")
            continue
        try:
            yield from _run(store, name)
        except StoreError as error:
            yield Problem(uri, "altered", str(error))


def _run(store: Store, run_id: str) -> Iterator[Problem]:
    with lock(store.lock_path("runs"), what="the list of runs"):
        run = load_run(store.tree, run_id)
        files = [file for file in store.tree.names(RUNS, run_id) if file not in {MANIFEST, INPUTS}]
        inputs = store.tree.names(RUNS, run_id, INPUTS)
    uri = f"{RUNS}/{run_id}"
    if run is None:
        if files or inputs:
            yield Problem(f"{uri}/{MANIFEST}", "missing", "files of a run without its manifest")
        return
    if run.status == "damaged":
        yield Problem(f"{uri}/{MANIFEST}", "manifest", run.detail)
        return
    copies = {entry["file"]: entry for entries in run.manifest["inputs"].values() for entry in entries}
    for file, entry in copies.items():
        fault = file_fault(store.tree, (RUNS, run_id, INPUTS, file), entry["bytes"], entry["sha256"], full=True)
        if fault:
            yield fault
    if run.status == "running":
        yield from _pages(store, run, [file for file in files if file.endswith(".parquet")])
        return
    listed = {entry["file"]: entry for kind in ("tables", "files") for entry in run.manifest[kind].values()}
    for file, entry in listed.items():
        fault = file_fault(store.tree, (RUNS, run_id, file), entry["bytes"], entry["sha256"], full=True)
        if fault:
            yield fault
        elif file.endswith(".parquet"):
            yield from _pages(store, run, [file])
    for file in sorted({*files} - listed.keys()):
        yield Problem(f"{uri}/{file}", "unlisted", "a file without an entry in the run's manifest")
    for file in sorted({*inputs} - copies.keys()):
        yield Problem(f"{uri}/{INPUTS}/{file}", "unlisted", "an input without an entry in the run's manifest")


def _pages(store: Store, run: StoredRun, files: list[str]) -> Iterator[Problem]:
    for file in files:
        try:
            with store.tree.opened(RUNS, run.run_id, file) as fd:
                check_pages(fd, run.path(file))
        except StoreError as error:
            yield Problem(f"{RUNS}/{run.run_id}/{file}", "altered", str(error))


def _databases(store: Store) -> Iterator[Problem]:
    for name in DATABASES:
        path = store.root / name
        if not path.exists():
            continue
        try:
            address = f"{path.as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S)) as database:
                answers = [row[0] for row in database.execute("PRAGMA quick_check(5)")]
        except sqlite3.DatabaseError as error:
            answers = [str(error)]
        if answers != ["ok"]:
            yield Problem(name, "altered", f"SQLite says: {'; '.join(answers)}")
