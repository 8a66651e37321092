"""Foot gun 12: results lost through bad code (SC12xx)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.catches.finding import Observation

if TYPE_CHECKING:
    from collections.abc import Sequence


def store_is_sound(*, writable: bool, locks_work: bool, free_bytes: int, reason: str, place: str) -> Observation:
    """SC1201: the store can be written, has space, and its locks exclude."""
    if writable and locks_work and not reason:
        return Observation("SC1201", "passed", f"{place} is writable, {free_bytes / 1e9:.1f} GB free, locks hold")
    found = reason or ("not writable" if not writable else "file locks do not exclude")
    return Observation(
        "SC1201",
        "fired",
        f"{place}: {found}",
        "a result that cannot be kept is money lost",
        "set 'store:' in safetycatch.yaml to a local folder with space",
        {"writable": writable, "locks_work": locks_work, "free_bytes": free_bytes},
    )


JUDGES = "certificates/", "sealed_labels", "judge-secret"  # no run makes these again


def _mend(path: str) -> str:
    if path.startswith("certificates/") and path.endswith(".json"):
        return f"restore it; or rename it to {path.rpartition('/')[2]}.damaged, then safetycatch calibrate FILE"
    if path.startswith(JUDGES):
        return f"restore {path} from a copy of the store"
    return "run the experiment again: damaged stages are recomputed, answered calls are free"


def artifacts_are_whole(*, problems: Sequence[tuple[str, str, str]], n_checked: int) -> Observation:
    """SC1202: every stored file is what its manifest says; `problems` are (path, kind, detail)."""
    if not problems:
        return Observation("SC1202", "passed", f"{n_checked} files are whole and as their manifests say")
    path, kind, detail = problems[0]
    return Observation(
        "SC1202",
        "fired",
        f"{len(problems)} of {n_checked} files are damaged, e.g. {path}: {kind} ({detail})",
        "numbers from a damaged file are not results",
        _mend(path),
        {"problems": [list(problem) for problem in problems[:20]]},
    )
