"""Flow `nightly`: evaluate an experiment against a stored run; fails only when the paired verdict is WORSE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.evaluate import Digest, ExperimentFile, evaluate


def _run_name() -> str:
    return f"nightly {Path(str(flow_run.parameters.get('experiment', ''))).stem}"


@flow(name="nightly", flow_run_name=_run_name, persist_result=False, result_serializer="json")
def nightly(experiment: ExperimentFile, digest: Digest = "", *, intersect: bool = False) -> Any:
    """Evaluate an experiment whose `claim.baseline` is a stored run such as `last`, unattended.

    Ends Failed when the verdict is WORSE; INCONCLUSIVE and EQUIVALENT are what most nights look like and complete.
    A night without a verdict ends under the name of what stopped it, such as Refused or Budget.

    Args:
        experiment: The experiment file, from the project's root, such as experiments/nightly.yaml
        digest: The first 8 to 64 hex digits of the file's SHA-256, where only this content may run
        intersect: Compare the items shared with the stored run only
    """
    night = evaluate(experiment, digest, intersect=intersect, unattended=True, return_state=True)
    if not night.is_completed():
        return Failed(name=night.name, message=night.message, data=night.result(raise_on_failure=False))
    result = night.result()
    message = f"{result['verdict']} · {result['run_id']}"
    if result["verdict"] == "WORSE":
        return Failed(message=message)
    return Completed(message=message)
