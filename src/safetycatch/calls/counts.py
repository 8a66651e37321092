"""Counting what one `answer` does, and telling those who look on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_CLASSES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CallCounts:
    """What one `answer` did.

    `sent`: requests on the wire, `retried` those after a first one. `answered`: replies paid for now (refusals, cut and
    filtered ones too), `invalid` those of another model or without content. `from_journal`: replies that cost nothing
    now. `perhaps_paid`: requests whose bill is not known, at their highest cost in `spent_usd`. `errors`: requests that
    ended without a reply. `by_error_class` counts invalid replies and errors.
    """

    sent: int = 0
    answered: int = 0
    invalid: int = 0
    from_journal: int = 0
    perhaps_paid: int = 0
    errors: int = 0
    retried: int = 0
    spent_usd: float = 0.0
    by_error_class: Mapping[str, int] = field(default_factory=lambda: NO_CLASSES)


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot for a progress line: replies delivered, from the journal, errors, in flight, US dollars.

    The dollars are those of requests with a price; `unpriced` counts the others.
    """

    done: int
    from_journal: int
    errors: int
    in_flight: int
    spent_usd: float
    unpriced: int = 0


@dataclass(slots=True)
class Tally:
    """Running counts of one `answer`."""

    sent: int = 0
    answered: int = 0
    invalid: int = 0
    from_journal: int = 0
    perhaps_paid: int = 0
    errors: int = 0
    retried: int = 0
    in_flight: int = 0
    spent_usd: float = 0.0
    unpriced: int = 0
    classes: Counter[str] = field(default_factory=Counter[str])

    def counts(self) -> CallCounts:
        """Return the counts so far."""
        return CallCounts(
            sent=self.sent,
            answered=self.answered,
            invalid=self.invalid,
            from_journal=self.from_journal,
            perhaps_paid=self.perhaps_paid,
            errors=self.errors,
            retried=self.retried,
            spent_usd=self.spent_usd,
            by_error_class=MappingProxyType(dict(self.classes)),
        )
