"""Every error that safetycatch raises on purpose, and the exit code it ends a command with.

SafetycatchError
├── InputError (2)            something the user wrote or passed is wrong
│   ├── ExperimentError       an experiment or project file
│   ├── DataError             a data file: names row and column
│   └── UsageError            the command line or a function's arguments
├── StatisticsError (2)       a statistic is undefined for these numbers (also a ValueError)
├── RefusedError (10)         a safety catch refused; carries its findings
├── StoreError (10)           the store cannot be trusted: unwritable, altered, truncated, locked
├── ApprovalNeededError (30)  a person must say yes first; the same command resumes then
├── BudgetReachedError (40)   the ceiling is reached; the same command resumes with a larger one
├── ProviderUnusableError (50)  nothing can go on with this endpoint; resumable
│   └── TooManyErrorsError    more calls fail than SC207 allows
└── StoppedError (130/143)    a signal asked us to stop; resumable

Anything else that escapes is a bug and ends with exit code 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXIT_OK = 0
EXIT_BUG = 1
EXIT_BAD_INPUT = 2
EXIT_REFUSED = 10
EXIT_GATE_FAILED = 20
EXIT_GATE_INCONCLUSIVE = 21
EXIT_WAITS = 30
EXIT_BUDGET = 40
EXIT_PROVIDER = 50
EXIT_SIGINT = 130
EXIT_SIGTERM = 143


class SafetycatchError(Exception):
    """An error with one message for people and an exit code for machines."""

    exit_code = EXIT_BUG


class InputError(SafetycatchError):
    """Something the user wrote or passed is wrong: says what was found, where, what was expected, what to type."""

    exit_code = EXIT_BAD_INPUT

    def __init__(self, found: str, *, where: str = "", expected: str = "", fix: str = "") -> None:
        self.found, self.where, self.expected, self.fix = found, where, expected, fix
        head = f"{where}: {found}" if where else found
        tail = "".join(f"\n  {label:<9}{text}" for label, text in (("expected", expected), ("fix", fix)) if text)
        super().__init__(head + tail)


class ExperimentError(InputError):
    """An experiment or project file is wrong; `where` is `file: key.path`."""


class DataError(InputError):
    """A data file is wrong; `where` names file, row and column."""


class UsageError(InputError):
    """A command line or a function's arguments are wrong."""


class StatisticsError(SafetycatchError, ValueError):
    """A statistic is undefined for these numbers; the message gives the reason."""

    exit_code = EXIT_BAD_INPUT


class RefusedError(SafetycatchError):
    """A safety catch refused; `findings` holds what it saw (`catches.Finding`)."""

    exit_code = EXIT_REFUSED

    def __init__(self, message: str, findings: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class StoreError(SafetycatchError):
    """The store cannot be trusted: not writable, no space, no locks, or an artifact is missing, altered or cut."""

    exit_code = EXIT_REFUSED


class ApprovalNeededError(SafetycatchError):
    """A person must say yes first; nothing was sent.

    `asked` holds what they would say yes to, as it is kept with the run `run_id`.
    """

    exit_code = EXIT_WAITS

    def __init__(
        self, message: str, findings: Sequence[object] = (), *, run_id: str = "", asked: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.findings, self.run_id, self.asked = tuple(findings), run_id, dict(asked or {})


class BudgetReachedError(SafetycatchError):
    """The budget's ceiling is reached; nothing above it was sent."""

    exit_code = EXIT_BUDGET


class ProviderUnusableError(SafetycatchError):
    """An endpoint refuses everything (key, quota, unknown model) or fails too often; the run can be resumed."""

    exit_code = EXIT_PROVIDER


class TooManyErrorsError(ProviderUnusableError):
    """More calls fail than SC207 allows; sending was stopped, and what was answered is kept."""


class StoppedError(SafetycatchError):
    """A signal asked us to stop; `exit_code` is 128 + its number."""

    def __init__(self, message: str, signal_number: int = 2) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
