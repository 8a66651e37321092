"""Where a run was made: commit, changes, versions, platform and command line, without anything secret-looking."""

from __future__ import annotations

import functools
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_DIFF_BYTES = 1_000_000
MARGIN_BYTES = 10_000
GIT_TIMEOUT_S = 10
SHORTEST_SECRET = 8
REDACTED = "[redacted]"

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH(?!OR)", re.IGNORECASE)
# Every repetition is bounded: a diff is hostile text, and unbounded ones take quadratic time on it.
_SECRET_VALUES = (
    re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{8,}"),
    re.compile(r"\b(?:ghp|gho|ghs|ghu|github_pat|hf|xox[abprs]|glpat|AIza|gsk|tgp)[-_]?[A-Za-z0-9_-]{16,}"),
    re.compile(r"\bA(?:KIA|SIA)[A-Z0-9]{16}\b"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{0,2000}"),
)
_BEARER = re.compile(r"(?i)(bearer\s{1,5})[A-Za-z0-9._~+/=-]{8,}")
_USERINFO = re.compile(r"(\b[A-Za-z][\w+.-]{0,20}://)[^/\s:@]{0,200}:[^/\s@]{1,500}@")
_NAMED_VALUE = re.compile(
    r"""(?ix) ( (?:api[_-]?key | access[_-]?key | token | secret | passw(?:or)?d | credential) [\w-]{0,40}
    ["']? \s{0,5} [=:\s] \s{0,5} ["']? ) [^\s"',;]{8,}"""
)


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return `text` without values that look secret: known key shapes, `key = …`, and values of secret variables."""
    variables = os.environ if environment is None else environment
    for name, value in variables.items():
        if _SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, REDACTED)
    for pattern in _SECRET_VALUES:
        text = pattern.sub(REDACTED, text)
    text = _BEARER.sub(rf"\1{REDACTED}", text)
    text = _USERINFO.sub(rf"\1{REDACTED}@", text)
    return _NAMED_VALUE.sub(rf"\1{REDACTED}", text)


def _git(folder: Path, *arguments: str) -> str | None:
    program = shutil.which("git")
    if program is None:
        return None
    # A repository's own settings must not start programs here.
    command = [program, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            command,
            cwd=folder,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


@functools.lru_cache(maxsize=16)
def _commit_of(folder: Path) -> str | None:
    text = _git(folder, "rev-parse", "--verify", "HEAD")
    return text.strip() if text else None


def git_commit(folder: Path | None = None) -> str | None:
    """Return the commit checked out in `folder` (default: the current one); None outside a repository.

    Asked once a process and folder.
    """
    return _commit_of((folder or Path.cwd()).resolve())


def _changes(folder: Path) -> dict[str, Any]:
    if git_commit(folder) is None:
        return {"commit": None, "dirty": None, "untracked": 0, "diff": "", "diff_cut": False}
    status = _git(folder, "status", "--porcelain", "--untracked-files=normal")
    diff = _git(folder, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD")
    raw = (diff or "").encode()
    text = redacted(raw[: MAX_DIFF_BYTES + MARGIN_BYTES].decode("utf-8", "ignore"))
    if cut := len(raw) > MAX_DIFF_BYTES:
        # A secret may have been cut in two at the end, and then has not been recognised.
        text = text[:-MARGIN_BYTES].encode()[:MAX_DIFF_BYTES].decode("utf-8", "ignore")
    return {
        "commit": git_commit(folder),
        "dirty": None if status is None else bool(status),
        "changed": len((status or "").splitlines()),
        "untracked": sum(line.startswith("??") for line in (status or "").splitlines()),
        "diff": text,
        "diff_cut": cut,
    }


@functools.cache
def _packages() -> dict[str, str]:
    return dict(sorted((str(one.metadata["Name"]).lower(), one.version) for one in metadata.distributions()))


def environment(folder: Path | None = None, argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what is needed to make the run again: git commit, diff (at most 1 MB), versions, platform, command line.

    `folder` is where git is asked (default: the current one). Values that look secret are redacted.
    """
    return {
        "git": _changes((folder or Path.cwd()).resolve()),
        "python": platform.python_version(),
        "packages": _packages(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "command": redacted(shlex.join(sys.argv if argv is None else argv)),
    }
