"""How a command ends when something is wrong: one message, an exit code, and the same as JSON."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetycatch.errors import EXIT_BUG, ApprovalNeededError, InputError, SafetycatchError
from safetycatch.folders import make_private

if TYPE_CHECKING:
    from safetycatch.cli.output import Output

MAX_MESSAGE_LINES = 60
LOGS = "logs"


def tell(error: SafetycatchError, output: Output) -> int:
    """Print an error of ours once on stderr (and as the JSON document); return its exit code."""
    say(error)
    output.document({"error": document(error)})
    return error.exit_code


def say(error: SafetycatchError) -> None:
    """Print an error of ours on stderr."""
    from safetycatch.cli.output import note

    for line in message_lines(error):
        note(line)
    for text in notes(error):
        note(f"  {text}")


def document(error: SafetycatchError) -> dict[str, Any]:
    """Return an error as the value of `error` in a JSON document."""
    told: dict[str, Any] = {
        "class": type(error).__name__,
        "message": "\n".join(message_lines(error)),
        "exit_code": error.exit_code,
    }
    if isinstance(error, InputError):
        told |= {"found": error.found, "where": error.where, "expected": error.expected, "fix": error.fix}
    if hasattr(error, "findings"):
        told["findings"] = [finding_row(finding) for finding in _findings(error)]
    if isinstance(error, ApprovalNeededError):
        told |= {"run_id": error.run_id, "asked": error.asked}
    if found := notes(error):
        told["notes"] = found
    return told


def notes(error: BaseException) -> list[str]:
    """Return what was added to an error on its way, such as the command that resumes."""
    from safetycatch.cli.output import safe

    return [safe(text) for text in getattr(error, "__notes__", ())]


def message_lines(error: SafetycatchError) -> list[str]:
    """Return an error's lines, safe for a terminal; only line breaks of ours break a line."""
    from safetycatch.cli.output import safe

    if isinstance(error, InputError):
        head = f"{error.where}: {error.found}" if error.where else error.found
        lines = [safe(head)]
        for label, text in (("expected", error.expected), ("fix", error.fix)):
            lines += [
                f"  {label if number == 0 else '':<9}{safe(line)}"
                for number, line in enumerate(text.splitlines() if text else [])
            ]
        return lines
    findings = _findings(error)
    if findings and all(hasattr(one, "text") for one in findings):
        return "\n\n".join(finding_text(one) for one in findings).splitlines()
    return [safe(line) for line in str(error).splitlines()[:MAX_MESSAGE_LINES]] or [type(error).__name__]


def _findings(error: SafetycatchError) -> tuple[Any, ...]:
    """Return what a catch that ended the command saw."""
    return getattr(error, "findings", ())


def finding_text(finding: Any) -> str:
    """Return a finding as lines, each of its texts safe for a terminal."""
    from safetycatch.cli.output import safe

    if not is_dataclass(finding) or isinstance(finding, type):
        return safe(finding)
    texts = {
        one.name: safe(getattr(finding, one.name))
        for one in fields(finding)
        if isinstance(getattr(finding, one.name), str)
    }
    return replace(finding, **texts).text()  # type: ignore[attr-defined]


def finding_row(finding: Any) -> Any:
    """Return a finding as a JSON object with its evidence as one too."""
    if not hasattr(finding, "row"):
        return str(finding)
    return {**finding.row(), "evidence": dict(finding.evidence)}


def bug(error: BaseException, output: Output, *, debug: bool) -> int:
    """Say that something unexpected happened and where its traceback lies; return the exit code 1."""
    from safetycatch.cli.output import note, safe

    trace = "".join(traceback.format_exception(error))
    if debug:
        sys.stderr.write(trace)
    path = _written(trace)
    head = (
        f"unexpected {type(error).__name__}: {safe(str(error).splitlines()[0] if str(error) else 'no message')[:300]}"
    )
    note(f"{head} · traceback: {path or 'could not be written; run again with --debug'}")
    output.document(
        {"error": {"class": type(error).__name__, "message": head, "exit_code": EXIT_BUG, "traceback": str(path or "")}}
    )
    return EXIT_BUG


def _written(trace: str) -> Path | None:
    """Keep a traceback in the store's `logs/`, else in the temporary folder; only we may read it."""
    try:
        from safetycatch.store.environment import redacted

        trace = redacted(trace)
    except Exception:  # noqa: BLE001 - an import may be what is broken
        trace = f"(not redacted)\n{trace}"
    name = f"error-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    for folder in (_log_folder(), Path(tempfile.gettempdir())):
        if folder is None:
            continue
        try:
            make_private(folder)
            path = folder / name
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(trace)
        except OSError:
            continue
        return path
    return None


def _log_folder() -> Path | None:
    try:
        from safetycatch.project import find_project

        return find_project(Path.cwd()).store_root / LOGS
    except Exception:  # noqa: BLE001 - a broken project file must not hide the error that is told
        return None
