"""Flow `nightly`: evaluate an experiment against a stored run; fails only when the paired verdict is WORSE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.evaluate import evaluate


def _run_name() -> str:
    return f"nightly {Path(str(flow_run.parameters.get('experiment', ''))).stem}"


@flow(name="nightly", flow_run_name=_run_name, persist_result=False)
def nightly(experiment: str, digest: str = "", *, intersect: bool = False) -> Any:
    """Evaluate `experiment`, whose `claim.baseline` is a stored run such as `last`, unattended.

    Ends Failed when the verdict is WORSE; INCONCLUSIVE and EQUIVALENT are what most nights look like and complete.
    """
    result = evaluate(experiment, digest, intersect=intersect, unattended=True)
    message = f"{result['verdict']} · {result['run_id']}"
    if result["verdict"] == "WORSE":
        return Failed(message=message)
    return Completed(message=message)
