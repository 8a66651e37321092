"""What a person did on a label set, as one line of JSON each: came, labelled, skipped, undid, renamed."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import uuid4

from safetycatch.errors import InputError, UsageError
from safetycatch.identity import canonical_json

MAX_CRITIQUE, MAX_MODE, MAX_MODES = 4000, 80, 20
MAX_LINE_BYTES = 1 << 16
SEPARATOR = "; "
_ID = re.compile(r"[0-9a-f]{32}")
_HASH = re.compile(r"[0-9a-f]{16}")


def new_id() -> str:
    """Return an id that no other event has."""
    return uuid4().hex


def mode_name(text: str) -> str:
    """Return a failure mode's name in its one spelling: single spaces, none at the ends.

    Raises: UsageError when it is empty, longer than 80 characters, or holds ';', which separates names in a table.
    """
    name = " ".join(text.split())
    if not name or len(name) > MAX_MODE or ";" in name or not name.isprintable():
        raise UsageError(
            f"{text[:MAX_MODE]!r} names no failure mode", expected=f"1 to {MAX_MODE} visible characters without ';'"
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One act: its time, and an id by which the same act sent twice is one."""

    at: datetime
    id: str = field(default_factory=new_id)

    def __post_init__(self) -> None:
        """Refuse what could not be read again."""
        texts = [value for value in asdict(self).values() if not isinstance(value, (datetime, tuple, type(None)))]
        if not all(isinstance(text, str) for text in texts):
            raise UsageError(f"{texts!r:.200} in an event", expected="texts")
        if self.at.tzinfo is None:
            raise UsageError(f"the time {self.at} has no zone", expected="an aware time")
        _matching(_ID, self.id, "an event's id: 32 hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Event):
    """A verdict on an answer, for every candidate that gave it; the newest one of a person and criterion counts."""

    kind: ClassVar[str] = "label"
    example_id: str
    output_hash: str
    label: str
    criterion: str = ""
    critique: str = ""
    failure_modes: tuple[str, ...] = ()
    rubric_hash: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be read again."""
        Event.__post_init__(self)
        _matching(_HASH, self.output_hash, "an output's hash: 16 hex digits")
        if len(self.critique) > MAX_CRITIQUE:
            raise UsageError(f"a critique of {len(self.critique):,} characters", expected=f"at most {MAX_CRITIQUE:,}")
        if len(self.failure_modes) > MAX_MODES:
            raise UsageError(f"{len(self.failure_modes)} failure modes", expected=f"at most {MAX_MODES}")
        object.__setattr__(self, "failure_modes", tuple(dict.fromkeys(map(mode_name, self.failure_modes))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip(Event):
    """An answer that the person did not want to judge; it is no label."""

    kind: ClassVar[str] = "skip"
    example_id: str
    output_hash: str

    def __post_init__(self) -> None:
        """Refuse what could not be read again."""
        Event.__post_init__(self)
        _matching(_HASH, self.output_hash, "an output's hash: 16 hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo(Event):
    """Takes back an act of the same person; both lines stay in the file."""

    kind: ClassVar[str] = "undo"
    of: str

    def __post_init__(self) -> None:
        """Refuse what could not be read again."""
        Event.__post_init__(self)
        _matching(_ID, self.of, "an event's id: 32 hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename(Event):
    """A failure mode's new name, in every label of everybody; to the name of another one: both are one from now on."""

    kind: ClassVar[str] = "rename"
    old: str
    new: str

    def __post_init__(self) -> None:
        """Refuse what could not be read again."""
        Event.__post_init__(self)
        object.__setattr__(self, "old", mode_name(self.old))
        object.__setattr__(self, "new", mode_name(self.new))


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin(Event):
    """The person has come: who comes later also gets answers that the first one gets."""

    kind: ClassVar[str] = "begin"


_KINDS: dict[str, type[Event]] = {kind.kind: kind for kind in (Label, Skip, Undo, Rename, Begin)}


def to_line(event: Event) -> bytes:
    """Return an event as a line of JSON, its newline included.

    Raises: InputError for text that UTF-8 cannot hold; UsageError for a line above 64 kB.
    """
    left_out = {one.name for one in fields(event) if one.default == getattr(event, one.name)}
    body = {key: value for key, value in asdict(event).items() if key not in left_out}
    at = event.at.astimezone(UTC).isoformat(timespec="milliseconds")
    line = canonical_json({**body, "event": event.__class__.__dict__["kind"], "at": at}) + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise UsageError(f"a line of {len(line):,} bytes", expected=f"at most {MAX_LINE_BYTES:,}")
    return line


def from_line(line: bytes) -> Event:
    """Return the event that `to_line` wrote.

    Raises: ValueError saying why it is none.
    """
    if len(line) >= MAX_LINE_BYTES:
        raise ValueError(f"{len(line):,} bytes, at most {MAX_LINE_BYTES:,} are ours")
    try:
        body: Any = json.loads(line)
        kind = _KINDS[body.pop("event")]
        body["at"] = datetime.fromisoformat(body["at"])
        if "failure_modes" in body:
            body["failure_modes"] = tuple(body["failure_modes"])
        event = kind(**body)
        to_line(event)  # what cannot be written again, as half of a pair of surrogates, would fail far from here
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, InputError) as error:
        raise ValueError(f"no event of ours ({type(error).__name__}: {str(error)[:100]})") from None
    return event


def _matching(pattern: re.Pattern[str], text: str, expected: str) -> None:
    if not pattern.fullmatch(text):
        raise UsageError(f"found {text[:80]!r}", expected=expected)
