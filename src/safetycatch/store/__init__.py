"""Artifacts, runs and locks: files that are whole or absent, and one worker at a time."""

from safetycatch.store.artifacts import Problem, Quarantined, Ref, Store
from safetycatch.store.environment import environment, git_commit, redacted
from safetycatch.store.health import StoreHealth, probe
from safetycatch.store.locks import lock
from safetycatch.store.records import ChangedInput, RunConflict, RunConflictError, StoredRun
from safetycatch.store.run import Run
from safetycatch.store.runs import Runs
from safetycatch.store.verify import verify

__all__ = [
    "ChangedInput",
    "Problem",
    "Quarantined",
    "Ref",
    "Run",
    "RunConflict",
    "RunConflictError",
    "Runs",
    "Store",
    "StoreHealth",
    "StoredRun",
    "environment",
    "git_commit",
    "lock",
    "probe",
    "redacted",
    "verify",
]
