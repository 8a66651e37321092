"""Flow `promote`: a run's winner goes out once a named person said so, in the Prefect UI or with `approve`.

The ledger is the truth: what is paused here may die, and the flow run again goes on from what was approved meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Failed
from pydantic import Field

from flows.evaluate import Overrides  # noqa: TC001 - Prefect reads it for the form
from flows.pin import pin
from flows.promotion import covering, decided, record, seen_of
from flows.watching import failed
from safetycatch.catches import refuse
from safetycatch.errors import UsageError
from safetycatch.project import find_project
from safetycatch.report.escaping import markdown_safe
from safetycatch.store import Runs, Store
from safetycatch.store.ledger import MAX_NAME, MAX_NOTE, consent
from safetycatch.store.new_files import write_new

if TYPE_CHECKING:
    from flows.promotion import Seen
    from safetycatch.project import Project
    from safetycatch.store import StoredRun

TRIES = 5
POLL_S = 2
LEAST_DIGITS = 8

RunName = Annotated[str, Field(min_length=1, max_length=100)]
Folder = Annotated[str, Field(min_length=1, max_length=4096)]
Seconds = Annotated[int, Field(ge=1, le=7 * 24 * 3600)]


class PromotionInput(RunInput):
    """What whoever approves types: their name, and the beginning of the report's hash, which only its reader knows."""

    name: str = Field(min_length=1, max_length=MAX_NAME, description="Your name")
    report: str = Field(
        pattern=r"^[0-9a-f]{8,64}$",
        description="The first 8 or more digits of the report's SHA-256, as the artifact `promotion` shows it",
    )
    note: str = Field(default="", max_length=MAX_NOTE, description="What you want to add; kept with the approval")


def _run_name() -> str:
    return f"promote {flow_run.parameters.get('run', '')}"


@flow(name="promote", flow_run_name=_run_name, persist_result=False, result_serializer="json")
def promote(
    run: RunName,
    candidate: str = "",
    out: Folder = "production",
    overrides: Overrides | None = None,
    project: Folder = ".",
    wait_s: Seconds = 3600,
) -> Any:
    """Pin a run's winner once a named person approved it; paused until somebody does, in the UI's Resume form.

    An approval by `safetycatch approve RUN --promotion --as NAME` counts as well; run the flow again after it, or after
    anything died: it goes on from the ledger.

    Args:
        run: The run, by its id or the id's unique beginning
        candidate: Another candidate than the one that the verdict favours
        out: The folder for the module and its lock, from the project's root
        overrides: Catches to override, each with a reason, such as {"SC1102": "labelled elsewhere, see 12"}
        project: The project's folder
        wait_s: How many seconds to wait for somebody
    """
    try:
        return _promoted(find_project(Path(project)), run, candidate or None, out, overrides or {}, wait_s)
    except FlowPauseTimeout:
        # The server ends a pause that nobody ended in words of its own; the log has ours.
        told = f"nobody came: safetycatch approve {run} --promotion --as NAME, then run this again"
        get_run_logger().error(told)
        return Failed(message=told)
    except Exception as error:  # noqa: BLE001 - handed to the caller as the state's data
        return failed(error)


def _promoted(
    project: Project, run_id: str, named: str | None, out: str, overrides: dict[str, str], wait_s: int
) -> dict[str, Any]:
    run = Runs(Store.open(project.store_root)).load(run_id)
    made = pin(run, project.store_root, project.root, named)
    waiting = decided(run, project, named, overrides=overrides)
    if any(finding.code == "SC1101" and finding.status == "fired" for finding in waiting.findings):
        _wait(run, project, named, waiting.seen, wait_s)
    done = decided(run, project, named, overrides=overrides)
    refuse(done.findings)
    written = write_new(project.root / out, made.approved_by(done.promotion).files)
    return {
        "run_id": run.run_id,
        "candidate": done.seen.candidate,
        "report_sha256": done.seen.report_sha256,
        "approved_by": done.promotion.name if done.promotion else None,
        "written": written,
        "findings": [{"code": one.code, "status": one.status, "level": one.level} for one in done.findings],
    }


def _wait(run: StoredRun, project: Project, named: str | None, seen: Seen, wait_s: int) -> None:
    """Pause until the ledger holds a yes to `seen`; what is typed is checked here, whatever the form let through.

    Raises: FlowPauseTimeout when nobody comes; UsageError when what was typed is no approval, several times.
    """
    problem = ""
    for number in range(1, TRIES + 1):
        text = _asked(run, seen, problem)
        if FlowRunContext.get() is not None:
            create_markdown_artifact(text, key="promotion", description=seen.verdict)
        form = PromotionInput.with_initial_data(description=text)
        given = pause_flow_run(wait_for_input=form, timeout=wait_s, poll_interval=POLL_S, key=f"promotion-{number}")
        if covering(project.store_root, seen)[0] is not None:
            return
        problem = _recorded(run, project, named, seen, given)
        if not problem:
            return
    raise UsageError(
        problem, where=f"promote {run.run_id}", fix=f"safetycatch approve {run.run_id} --promotion --as NAME"
    )


def _recorded(run: StoredRun, project: Project, named: str | None, seen: Seen, given: Any) -> str:
    """Record a typed approval; return what is wrong with it, nothing when it was recorded."""
    report = str(getattr(given, "report", ""))
    if len(report) < LEAST_DIGITS or not seen.report_sha256.startswith(report):
        return f"the report's hash does not begin with {report[:64]!r}: read the report that is shown"
    if seen_of(run, named) != seen:
        return "the report changed while it was waited for"
    try:
        who = consent(str(getattr(given, "name", "")) or " ", str(getattr(given, "note", "")))
    except UsageError as error:
        return error.found
    record(project.store_root, seen, who)
    return ""


def _asked(run: StoredRun, seen: Seen, problem: str) -> str:
    """Return what whoever approves reads, as Markdown; texts of others stay texts."""
    lines = [
        f"**{markdown_safe(problem)}**" if problem else "",
        f"Promote {markdown_safe(seen.candidate)} of {markdown_safe(seen.run_id)}?",
        f"Verdict: {markdown_safe(seen.verdict)} · {markdown_safe(seen.sentence)}",
        f"Report: {markdown_safe(str(run.path('report.html')))}",
        f"SHA-256 of the report: {markdown_safe(seen.report_sha256)}",
    ]
    return "\n\n".join(line for line in lines if line)
