"""The reference: the state that people merged, recorded as what `gate --against last` compares with; claims nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safetycatch.errors import UsageError

if TYPE_CHECKING:
    from safetycatch.store import Runs, StoredRun
    from tasks.start import Inputs

REFERENCE = "reference"
MOST_RUNS = 10_000


def as_reference(inputs: Inputs) -> Inputs:
    """Return the inputs of the run that records what they hold as the newest state.

    Raises: UsageError without a claim: a gate compares rows of test, which a run without one never opens.
    """
    if not inputs.experiment.claiming:
        raise UsageError(
            "a reference needs a claim: a gate compares rows of test, and exploring opens dev only",
            where=f"{inputs.path}: --reference",
            expected="claim and budget",
        )
    return replace(inputs, options=(*inputs.options, "--reference"))


def newest_run(runs: Runs, name: str) -> StoredRun | None:
    """Return an experiment's newest finished `run`; gates are passed over, or a series of small losses passes."""
    done = (run for run in runs.ls(limit=MOST_RUNS) if run.name == name and run.status == "done")
    return next((run for run in done if run.summary["command"].startswith("safetycatch run ")), None)
