"""What a sandbox server counts: what `GET /stats` shows and tests compare with a client's own counts."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safetycatch.sandbox.replies import Usage

KEPT_DISTINCT = 1_000_000


@dataclass(slots=True)
class Counts:
    """Counts since the start; `asked` are well-formed requests to a known model."""

    received: int = 0
    asked: int = 0
    answered: int = 0
    billed: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    connections: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    completion_tokens: int = 0
    by_status: Counter[int] = field(default_factory=Counter[int])
    by_model: Counter[str] = field(default_factory=Counter[str])
    repeated: int = 0
    _first_s: float | None = None
    _last_s: float = 0.0
    _delivered: set[int] = field(default_factory=set[int])
    _distinct: set[int] = field(default_factory=set[int])

    def bill(self, model: str, digest: bytes, usage: Usage) -> None:
        """Count a request whose model worked, whether or not the answer arrives."""
        self.billed += 1
        self.by_model[model] += 1
        self.prompt_tokens += usage.prompt
        self.cached_tokens += usage.cached
        self.written_tokens += usage.written
        self.completion_tokens += usage.completion
        body = int.from_bytes(digest[:8])
        self.repeated += body in self._delivered
        if len(self._distinct) < KEPT_DISTINCT:
            self._distinct.add(body)

    def deliver(self, digest: bytes) -> None:
        """Count a good answer that was sent."""
        self.answered += 1
        self._last_s = time.monotonic()
        if len(self._delivered) < KEPT_DISTINCT:
            self._delivered.add(int.from_bytes(digest[:8]))

    def enter(self) -> None:
        """Count a request that is being answered."""
        if self._first_s is None:
            self._first_s = time.monotonic()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON.

        `distinct`: different bodies among the billed ones. `repeated`: billed after a good answer to the same body had
        been sent. `window_s`: seconds from the first request to the last good answer.
        """
        return {
            "received": self.received,
            "answered": self.answered,
            "billed": self.billed,
            "distinct": len(self._distinct),
            "repeated": self.repeated,
            "window_s": 0.0 if self._first_s is None else max(0.0, self._last_s - self._first_s),
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "by_model": dict(sorted(self.by_model.items())),
            "connections": self.connections,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "written_tokens": self.written_tokens,
            "completion_tokens": self.completion_tokens,
        }
