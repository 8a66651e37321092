"""What a run shows in the Prefect UI: numbers and fingerprints only, never a sample's text."""

from __future__ import annotations

import traceback
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.states import Failed

from safetycatch.errors import (
    ApprovalNeededError,
    BudgetReachedError,
    ExperimentError,
    ProviderUnusableError,
    RefusedError,
    SafetycatchError,
    StoppedError,
    UsageError,
)
from safetycatch.report.escaping import markdown_prose
from safetycatch.report.numbers import spent as spent_text
from tasks.stage import TRANSIENT

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from prefect.client.schemas.objects import State

    from safetycatch.store.records import Status
    from tasks.result import Result

MAX_TABLE_ROWS = 200
STATUS: dict[type[Exception], Status] = {
    ApprovalNeededError: "waits",
    BudgetReachedError: "budget",
    ProviderUnusableError: "provider",
    StoppedError: "stopped",
    RefusedError: "refused",
}


class StageError(Exception):
    """What Prefect is told of an error in a stage: its kind. The `error` itself may quote rows and stays with us."""

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


def quietly(stage: Callable[..., Any]) -> Callable[..., Any]:
    """Return `stage` raising StageError in place of its errors, those that Prefect may retry left as they are."""

    @wraps(stage)
    def quiet(*args: Any, **kwargs: Any) -> Any:
        try:
            return stage(*args, **kwargs)
        except TRANSIENT:
            raise
        except Exception as error:  # noqa: BLE001 - handed on by `as_task`
            raise StageError(error).with_traceback(error.__traceback__) from None

    return quiet


def failed(error: Exception) -> State[Any]:
    """Return the final state of a flow that ended with `error`; to the flow's caller it raises `error` itself.

    What is wrong in the experiment or the call is told in full; anything else may quote rows, so it has its kind only.
    """
    codes = ", ".join(finding.code for finding in getattr(error, "findings", ()))
    kind = type(error).__name__
    text = str(error) if isinstance(error, (ExperimentError, UsageError)) else codes or kind
    if isinstance(error, ApprovalNeededError):
        # A calibration is no run: it says itself what approves it.
        text = f"{codes}: {(error.asked or {}).get('command') or approve_command(error.run_id)}"
    if not isinstance(error, SafetycatchError):
        # A bug: where it happened, without its text.
        get_run_logger().error("%s\n%s", kind, "".join(traceback.format_tb(error.__traceback__)))
    return Failed(name=status_of(error).capitalize(), message=text, data=error)


def approve_command(run_id: str) -> str:
    """Return what a person types to say yes to a run."""
    return f"safetycatch approve {run_id} --as NAME"


def status_of(error: Exception) -> Status:
    """Return how a run ends that ends with `error`."""
    for known, status in STATUS.items():
        if isinstance(error, known):
            return status
    return "failed"


class CallsArtifact:
    """The progress artifact `calls`: moves with every finished shard."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._id: UUID | None = None
        if FlowRunContext.get() is not None:
            created: Any = create_progress_artifact(
                progress=self._per_cent(), key="calls", description="answered calls, per cent"
            )
            self._id = created

    def add(self, n: int) -> None:
        """Count `n` more replies."""
        self.done += n
        if self._id is not None:
            update_progress_artifact(self._id, progress=self._per_cent())

    def _per_cent(self) -> float:
        return round(100 * min(self.done / self.total, 1.0), 1) if self.total else 100.0


def publish(result: Result, answered: dict[str, Any]) -> None:
    """Create the artifacts `verdict`, `leaderboard`, `catches` and the link to the report."""
    if FlowRunContext.get() is None:
        return
    create_markdown_artifact(_verdict(result, answered), key="verdict", description=result.kind)
    keys = ("id", "split", "n", "n_missing", "estimate", "low", "high", "cost_usd")
    shown = answered["candidates"][:MAX_TABLE_ROWS]
    # A judged score never stands alone.
    keys += ("beside",) if any("beside" in row for row in shown) else ()
    board = [{key: _rounded(row.get(key)) for key in keys} for row in shown]
    create_table_artifact(board, key="leaderboard", description=result.summary["metric"]["name"])
    rows = [{"code": f.code, "status": f.status, "level": f.level, "title": f.title} for f in result.findings]
    create_table_artifact(rows, key="catches", description=_counted(rows))
    if result.climbed is not None:
        keys = ("candidate", "status", "rung", "n", "estimate", "e_value", "against", "on")
        raced = [{key: _rounded(row[key]) for key in keys} for row in result.climbed.standing[:MAX_TABLE_ROWS]]
        create_table_artifact(raced, key="ladder", description=f"the race on dev, by {result.climbed.metric}")
    create_link_artifact(Path(answered["report"]).as_uri(), link_text=f"report of {result.run_id}", key="report")


def publish_refusal(run_id: str, status: str, rows: list[dict[str, Any]]) -> None:
    """Create the artifacts of a run that ended before its verdict."""
    if FlowRunContext.get() is None:
        return
    codes = ", ".join(row["code"] for row in rows) or "no catch"
    todo = f"\n\n    {approve_command(run_id)}" if status == "waits" else ""
    create_markdown_artifact(f"# {status}\n\nrun `{run_id}` · {codes}{todo}", key="verdict", description=status)
    if rows:
        shown = [{key: row[key] for key in ("code", "status", "level", "title")} for row in rows]
        create_table_artifact(shown, key="catches", description=_counted(shown))


def _verdict(result: Result, answered: dict[str, Any]) -> str:
    verdict = result.verdict
    lines = [f"# {result.kind}", "", f"run `{result.run_id}` · {result.mode}"]
    if verdict is not None:
        scale = 100 if result.summary["metric"]["unit"] == "points" else 1
        numbers = [
            _rounded(scale * verdict[key]) if verdict[key] is not None else "—" for key in ("estimate", "low", "high")
        ]
        told = result.beside_difference(verdict["baseline"], verdict["candidate"], verdict["metric"])
        beside = f" ({told})" if told else ""
        lines += [
            "",
            (
                f"`{verdict['candidate']}` against `{verdict['baseline']}`: {numbers[0]} [{numbers[1]}, {numbers[2]}] "
                f"{result.summary['metric']['unit']}, n = {verdict['n']}{beside}"
            ),
        ]
    calls, spent = answered["calls"], spent_text(answered["spent_usd"], answered["spent_at_least_usd"])
    lines += ["", f"{calls['sent']} calls sent, {calls['from_journal']} from the journal, {spent}"]
    lines += [f"\n{markdown_prose(line)}" for line in answered.get("judged", {}).get("told", ())]
    return "\n".join(lines)


def _counted(rows: list[dict[str, Any]]) -> str:
    fired = sum(row["status"] == "fired" for row in rows)
    return f"{sum(row['status'] == 'passed' for row in rows)} passed, {fired} fired"


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
