"""What a run shows in the Prefect UI: numbers and fingerprints only, never a sample's text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext

if TYPE_CHECKING:
    from uuid import UUID

    from tasks.filling import Result

MAX_TABLE_ROWS = 200


class CallsArtifact:
    """The progress artifact `calls`: moves with every finished shard."""

    def __init__(self, total: int) -> None:
        self.total, self.done = max(total, 1), 0
        self._id: UUID | None = None
        if FlowRunContext.get() is not None:
            created: Any = create_progress_artifact(progress=0.0, key="calls", description="answered calls, per cent")
            self._id = created

    def add(self, n: int) -> None:
        """Count `n` more rows."""
        self.done += n
        if self._id is not None:
            update_progress_artifact(self._id, progress=round(100 * min(self.done / self.total, 1.0), 1))


def publish(result: Result, answered: dict[str, Any]) -> None:
    """Create the artifacts `verdict`, `leaderboard`, `catches` and the link to the report."""
    if FlowRunContext.get() is None:
        return
    create_markdown_artifact(_verdict(result, answered), key="verdict", description=result.kind)
    keys = ("id", "split", "n", "n_missing", "estimate", "low", "high", "cost_usd")
    board = [{key: _rounded(row[key]) for key in keys} for row in answered["candidates"][:MAX_TABLE_ROWS]]
    create_table_artifact(board, key="leaderboard", description=result.summary["metric"]["name"])
    rows = [{"code": f.code, "status": f.status, "level": f.level, "title": f.title} for f in result.findings]
    create_table_artifact(rows, key="catches", description=_counted(rows))
    create_link_artifact(Path(answered["report"]).as_uri(), link_text=f"report of {result.run_id}", key="report")


def publish_refusal(run_id: str, status: str, rows: list[dict[str, Any]]) -> None:
    """Create the artifacts of a run that ended before its verdict."""
    if FlowRunContext.get() is None:
        return
    codes = ", ".join(row["code"] for row in rows) or "no catch"
    create_markdown_artifact(f"# {status}\n\nrun `{run_id}` · {codes}", key="verdict", description=status)
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
        lines += [
            "",
            (
                f"`{verdict['candidate']}` against `{verdict['baseline']}`: {numbers[0]} [{numbers[1]}, {numbers[2]}] "
                f"{result.summary['metric']['unit']}, n = {verdict['n']}"
            ),
        ]
    calls = answered["calls"]
    lines += ["", f"{calls['sent']} calls sent, {calls['from_journal']} from the journal, ${answered['spent_usd']:.4f}"]
    return "\n".join(lines)


def _counted(rows: list[dict[str, Any]]) -> str:
    fired = sum(row["status"] == "fired" for row in rows)
    return f"{sum(row['status'] == 'passed' for row in rows)} passed, {fired} fired"


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
