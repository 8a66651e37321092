"""Foot gun 7: results and configurations that get lost (SC7xx)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from safetycatch.catches.finding import Observation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A date, a version number after the name, or a content digest pins a hosted model.
PINNED = re.compile(r"\d{4}-?\d{2}-?\d{2}|@|:[0-9a-f]{8,}|-\d{3,4}(?:-preview)?$|(?:^|/)ft:")
# Providers whose models lie on the user's own machines; everybody else may change what a name means.
OWN = frozenset(
    {
        "sandbox",
        "ollama",
        "ollama_chat",
        "llamafile",
        "lm_studio",
        "hosted_vllm",
        "vllm",
        "xinference",
        "petals",
        "triton",
    }
)


def git_tree(*, commit: str | None, dirty: bool, n_files: int) -> Observation:
    """SC701: the code and prompts are what the commit says."""
    if commit is None:
        return Observation("SC701", "not_applicable", "not in a git repository")
    if not dirty:
        return Observation("SC701", "passed", f"commit {commit[:12]}, nothing changed since")
    return Observation(
        "SC701",
        "fired",
        f"{n_files} uncommitted changes on commit {commit[:12]}",
        "the commit alone would not reproduce this run; the difference is stored in its manifest",
        "git commit, then run it again (answered calls are free)",
        {"commit": commit, "n_files": n_files},
    )


def inputs_unchanged(*, changed: Sequence[str]) -> Observation:
    """SC703: no input file differs between start and end."""
    if not changed:
        return Observation("SC703", "passed", "every input is as it was at the start")
    return Observation(
        "SC703",
        "fired",
        f"changed while the run was going on: {', '.join(changed)}",
        "this run used the copy taken at its start",
        "run it again to use what is on disk now",
        {"changed": list(changed)},
    )


def moving(models: Sequence[str]) -> list[str]:
    """Return the hosted models whose names have no date or version: the provider may change what they mean."""
    return [name for name in models if name.split("/", 1)[0] not in OWN and not PINNED.search(name)]


def floating_names(*, models: Sequence[str]) -> Observation:
    """SC704, before the run: hosted models are named with a date or version."""
    floating = moving(models)
    if not floating:
        return Observation("SC704", "passed", "every hosted model is named with a date or version")
    return Observation(
        "SC704",
        "fired",
        f"{', '.join(floating)}: the provider may change what the name means",
        "the same file may give another score next month",
        "name a dated snapshot, such as openai/gpt-4o-mini-2024-07-18",
        {"models": floating},
    )


def answered_by(*, others: Mapping[str, int], asked: str) -> Observation:
    """SC704, after the run: rows answered by another model than `asked` are invalid; `others` counts them by name."""
    total = sum(others.values())
    if not total:
        return Observation("SC704", "passed", f"every row was answered by {asked}")
    name, count = max(others.items(), key=lambda item: item[1])
    return Observation(
        "SC704",
        "fired",
        f"{total} rows asked of {asked} were answered by another model ({count} by {name})",
        "those rows are invalid and count as missing",
        "name the model that answers, or ask the provider",
        {"others": dict(others)},
    )


def no_run_id() -> Observation:
    """SC702 before there is a run."""
    return Observation("SC702", "not_applicable", "a preview stores no run")


def run_id_free(*, run_id: str, other: bool) -> Observation:
    """SC702: no other content is stored under this run id."""
    if not other:
        return Observation("SC702", "passed", f"{run_id} is this run's own")
    return Observation(
        "SC702",
        "fired",
        f"{run_id} exists with other content",
        "writing would overwrite a result",
        "run under another name",
    )
