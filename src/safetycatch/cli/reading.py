"""`ls`, `show`, `report` and `verify`: what the store holds."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safetycatch.errors import EXIT_OK, EXIT_REFUSED, UsageError

if TYPE_CHECKING:
    from safetycatch.cli.output import Output
    from safetycatch.store import Store, StoredRun
    from safetycatch.store.looks import Look

PANEL = "Read results"
HTML, MARKDOWN = "report.html", "report.md"
SHOWN_FOLDERS = 4
QUIET = frozenset({"passed", "not_applicable", "not_checked"})


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("ls", rich_help_panel=PANEL)(list_runs)
    app.command(rich_help_panel=PANEL)(show)
    app.command(rich_help_panel=PANEL)(report)
    app.command(rich_help_panel=PANEL)(verify)


def open_store() -> Store | None:
    """Return the store of the current folder's project; None when nothing was stored yet."""
    from safetycatch.project import find_project
    from safetycatch.store import Store

    root = find_project(Path.cwd()).store_root
    return Store.open(root) if root.is_dir() else None


def load(run_id: str) -> StoredRun:
    """Return a stored run by id, unique beginning or `last`.

    Raises: UsageError when there is none; StoreError when it is damaged.
    """
    from safetycatch.store import Runs

    store = open_store()
    if store is None or (run_id == "last" and not Runs(store).ls(1)):
        where, fix = _no_run()
        raise UsageError("there is no run yet", where=where, fix=fix)
    return Runs(store).load(run_id)


def _no_run() -> tuple[str, str]:
    """Return the store that holds no run, and what to do: without a project each folder's files have their own."""
    from safetycatch.project import STORE_NAME, find_project

    project = find_project(Path.cwd())
    below = sorted(path.parent.name for path in Path.cwd().glob(f"*/{STORE_NAME}") if path.is_dir())
    if not below or project.declared or "SAFETYCATCH_STORE" in os.environ:
        return str(project.store_root), "safetycatch run FILE"
    others = f" ({', '.join(below[1:SHOWN_FOLDERS])} too)" if len(below) > 1 else ""
    fix = f"cd {shlex.quote(below[0])}: a store lies there{others}; `safetycatch init` here gives later runs one store"
    return str(project.store_root), fix


def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List the runs, newest first."""
    from safetycatch.cli.output import Output
    from safetycatch.store import Runs

    output = Output(json=json)
    store = open_store()
    runs = Runs(store).ls(limit) if store is not None else []
    output.document([_listed(run) for run in runs])
    if json:
        return
    if not runs:
        where, fix = _no_run()
        output.line(f"no run yet in {where}: {fix}")
        return
    output.table([(run.run_id, status_of(run), _kind(run), _spent(run), _sentence(run)) for run in runs])


def _listed(run: StoredRun) -> dict[str, Any]:
    result = run.summary.get("result") or {}
    return {
        "run_id": run.run_id,
        "name": run.name,
        "status": "stopped" if _killed(run) else run.status,
        "verdict": result.get("verdict"),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        **_spent_usd(run),
        "folder": str(run.folder),
    }


def _killed(run: StoredRun) -> bool:
    """Whether a run says that it works, and nobody works on it."""
    from safetycatch.store import Runs

    store = open_store() if run.status == "running" else None
    return store is not None and not Runs(store).at_work(run)


def status_of(run: StoredRun) -> str:
    """Return how a run ended, or that its process is gone before it did."""
    return "stopped (resumable)" if _killed(run) else run.status


def _kind(run: StoredRun) -> str:
    return str((run.summary.get("result") or {}).get("verdict") or "—")


def _spent_usd(run: StoredRun) -> dict[str, float | None]:
    """Return what a run spent, and what of it is known; neither before it ended."""
    told = run.summary.get("result") or run.summary
    usd = told.get("spent_usd")
    return {"spent_usd": usd, "spent_at_least_usd": told.get("spent_at_least_usd", usd)}


def _spent(run: StoredRun) -> str:
    from safetycatch.report.numbers import ABSENT, spent

    told = _spent_usd(run)
    return ABSENT if told["spent_at_least_usd"] is None else spent(told["spent_usd"], told["spent_at_least_usd"])


def _sentence(run: StoredRun) -> str:
    result = run.summary.get("result")
    if result:
        return str(result["banner"]["sentence"])
    return str(run.summary.get("error") or run.detail or "").partition("\n")[0]


def show(
    run: Annotated[str, typer.Argument(help="A run id, its unique beginning, or 'last'.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show a run: verdict, candidates, findings, looks at its test set, files, and the command that reproduces it."""
    from safetycatch.cli.output import Output
    from safetycatch.store.looks import distinct, looks_text

    stored, output = load(run), Output(json=json)
    looks, problem = _looks(stored)
    result = stored.summary.get("result") or {}
    findings = result.get("findings") or stored.summary.get("findings") or []
    command = command_of(stored)
    files = {name: str(stored.path(name)) for name in _files(stored)}
    output.document(
        {
            **_listed(stored),
            "command": command,
            "error": stored.summary.get("error"),
            "result": result or None,
            "findings": findings,
            "inputs": {name: versions[-1]["sha256"] for name, versions in stored.manifest["inputs"].items()},
            "looks": None
            if problem
            else {
                "claim": distinct(looks, stored.name),
                "all": distinct(looks),
                "list": [
                    {"at": look.looked_at.isoformat()}
                    | {key: getattr(look, key) for key in ("claim", "purpose", "who", "run_id", "content")}
                    for look in looks
                ],
            },
            "files": files,
        }
    )
    if not json:
        told = problem or (looks_text(looks, stored.name) if looks else "")
        _show(stored, result, findings, command, told, files, output)


def _looks(stored: StoredRun) -> tuple[list[Look], str]:
    """Return the looks at a run's test set, none for a dev run; or what is wrong with the ledger that should hold them.

    Nothing is recorded: the run's own look was, before it showed a score.
    """
    from safetycatch.errors import StoreError
    from safetycatch.store.looks import look_of_run, looks_of

    try:
        look = look_of_run(stored, "show", "", stored.finished_at) if stored.finished_at else None
        if look is None or (store := open_store()) is None:
            return [], ""
        with looks_of(store) as looks:
            return looks.on(look), ""
    except StoreError as error:
        return [], str(error).splitlines()[0]


def _show(
    stored: StoredRun,
    result: dict[str, Any],
    findings: list[dict[str, Any]],
    command: str,
    looks: str,
    files: dict[str, str],
    output: Output,
) -> None:
    from safetycatch.cli.output import safe
    from safetycatch.cli.running import calls_line, near

    output.line(f"{stored.run_id} · {status_of(stored)}")
    if result:
        banner = result["banner"]
        output.field("verdict", f"{banner['kind']}  {banner['sentence']}")
        output.block("", [text for text in (banner.get("check", ""), banner["action"]) if text])
        output.block("judge", (result.get("judged") or {}).get("told", []))
        output.field("calls", calls_line(result))
    elif error := stored.summary.get("error"):
        output.block("ended", str(error).splitlines())
    output.field("again", command)
    started, finished = stored.started_at, stored.finished_at
    output.field(
        "when", f"{started:%Y-%m-%d %H:%M} UTC" + (f" to {finished:%H:%M}" if finished else "") if started else "—"
    )
    if looks:
        output.field("looks", looks)
    if result:
        output.line()
        output.table(
            [("  candidate", "split", "n", "missing", "estimate"), *(_scored(row) for row in result["candidates"])]
        )
    loud = [finding for finding in findings if finding["status"] not in QUIET]
    for finding in loud:
        output.line()
        status = finding["level"] if finding["status"] == "fired" else finding["status"]
        output.line(f"{safe(finding['code'])} {safe(status)} · {safe(finding['title'])}")
        for label in ("saw", "matters", "reason"):
            if finding.get(label):
                output.field("because" if label == "reason" else label, finding[label])
    output.line()
    for path in files.values():
        output.line(f"  {safe(near(path))}")


def _scored(row: dict[str, Any]) -> tuple[str, ...]:
    from safetycatch.report.numbers import ABSENT, fixed

    interval = "" if row["low"] is None else f" [{fixed(row['low'], 3)}, {fixed(row['high'], 3)}]"
    estimate = ABSENT if row["estimate"] is None else f"{fixed(row['estimate'], 3)}{interval}"
    estimate += f" ({row['beside']})" if row.get("beside") else ""
    return f"  {row['id']}", row["split"], f"{row['n']:,}", f"{row['n_missing']:,}", estimate


def command_of(stored: StoredRun) -> str:
    """Return the command as it was typed, else the one that reproduces the run."""
    import json

    from safetycatch.errors import StoreError

    try:
        typed = str(json.loads(stored.text("environment.json"))["command"])
    except (StoreError, ValueError, KeyError):
        typed = ""
    program, _, rest = typed.partition(" ")
    if Path(program).name == "safetycatch":
        return f"safetycatch {rest}"
    return str(stored.summary.get("command") or typed or "not recorded")


def _files(stored: StoredRun) -> list[str]:
    return [*(f"{name}.parquet" for name in stored.table_names), *sorted(stored.manifest.get("files") or {})]


def report(
    run: Annotated[str, typer.Argument(help="A run id, its unique beginning, or 'last'.")] = "last",
    markdown: Annotated[bool, typer.Option("--md", help="Print the report in twenty lines of Markdown.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Print where a run's report lies, or the report as Markdown for a pull request."""
    from safetycatch.cli.output import Output
    from safetycatch.cli.running import near

    stored, output = load(run), Output(json=json)
    if HTML not in (stored.manifest.get("files") or {}):
        raise UsageError(
            f"run {stored.run_id} has no report, it is {status_of(stored)}",
            where=str(stored.folder),
            fix=command_of(stored) if stored.status != "refused" else f"safetycatch show {stored.run_id}",
        )
    stored.text(HTML)  # verified: a report that was changed is not shown
    text = stored.text(MARKDOWN)
    output.document({"run_id": stored.run_id, "html": str(stored.path(HTML)), "markdown": text})
    if not json:
        output.line(text.rstrip("\n") if markdown else near(str(stored.path(HTML))))


def verify(json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False) -> int:
    """Read every stored file afresh: hashes, page checksums, manifests, databases."""
    from safetycatch.catches import Policy, judge
    from safetycatch.catches.results import artifacts_are_whole
    from safetycatch.cli.failure import finding_row, finding_text
    from safetycatch.cli.output import Output
    from safetycatch.store import verify as problems_of

    output = Output(json=json)
    store = open_store()
    problems = problems_of(store) if store is not None else []
    n_checked = _count_files(store.root) if store is not None else 0
    observed = artifacts_are_whole(problems=[(one.path, one.kind, one.detail) for one in problems], n_checked=n_checked)
    (finding,) = judge([observed], Policy())  # SC1202 has no other level
    output.document(
        {
            "whole": not problems,
            "n_checked": n_checked,
            "problems": [{"path": one.path, "kind": one.kind, "detail": one.detail} for one in problems],
            "findings": [finding_row(finding)],
        }
    )
    if not json:
        output.line(finding_text(finding) if problems else finding.saw)
        if problems:
            output.line()
            output.table([(f"  {one.kind}", one.path, one.detail) for one in problems])
    return EXIT_REFUSED if problems else EXIT_OK


def _count_files(root: Path) -> int:
    """Count what `verify` reads: artifacts, files of runs, and databases."""
    folders = [root / "artifacts", root / "runs"]
    return sum(1 for folder in folders for path in folder.rglob("*") if path.is_file()) + len(list(root.glob("*.db")))
