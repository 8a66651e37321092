"""The call engine: sends requests at a steady concurrency, journals, budgets, retries, drains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping

    from safetycatch.calls.budget import Budget
    from safetycatch.calls.request import Reply, Request
    from safetycatch.calls.signals import StopFlag


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How hard and how long to try; times in seconds, sizes in bytes."""

    concurrency: int = 64
    attempts: int = 6
    call_deadline_s: float = 900.0
    connect_s: float = 10.0
    read_s: float = 180.0
    max_reply_bytes: int = 8_000_000
    max_error_rate: float | None = 0.02
    drain_s: float = 30.0


@dataclass(frozen=True, slots=True)
class CallCounts:
    """What one `answer` did; `sent` counts requests on the wire, `perhaps_paid` those whose bill is not known."""

    sent: int = 0
    answered: int = 0
    from_journal: int = 0
    perhaps_paid: int = 0
    errors: int = 0
    retried: int = 0
    spent_usd: float = 0.0
    by_error_class: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot for a progress line: replies delivered, from the journal, errors, in flight, US dollars."""

    done: int
    from_journal: int
    errors: int
    in_flight: int
    spent_usd: float


class Engine:
    """Answers requests through the journal, within the budget."""

    def __init__(
        self,
        journal: Any,
        prices: Any,
        budget: Budget,
        settings: EngineSettings | None = None,
        *,
        run_id: str,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        progress: Callable[[Progress], None] | None = None,
        stop: StopFlag | None = None,
        rng: random.Random | None = None,
    ) -> None:
        raise NotImplementedError

    async def answer(self, requests: Iterable[Request], on_reply: Callable[[Request, Reply], None]) -> CallCounts:
        """Deliver one reply for each request, in the order in which they come back."""
        raise NotImplementedError
