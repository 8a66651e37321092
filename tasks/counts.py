"""How often a process calls: every answering is counted for the run, whatever becomes of the artifact it is for."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from safetycatch.report.escaping import terminal_safe
from tasks.calling import engine_of
from tasks.session import current

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence

    from safetycatch.calls import CallCounts, Reply, Request
    from tasks.stage import Place

FAILED = frozenset({"error", "invalid"})


def answer_all(
    place: Place,
    entries: Sequence[dict[str, Any]],
    label: str,
    requests: Iterable[Request] | AsyncIterable[Request],
    keep: Callable[[Request, Reply], None],
) -> dict[str, Any]:
    """Answer `requests` of `entries`, each reply given to `keep`; return the counts, which are the session's as well.

    Raises: what the engine raises; what was sent until then is counted.
    """
    engine, shared = engine_of(place, entries, label), current()

    def kept(request: Request, reply: Reply) -> None:
        if reply.state in FAILED:
            told = terminal_safe(reply.error_text or reply.error_class or reply.state)
            shared.last_error[request.candidate] = told
        keep(request, reply)

    try:
        asyncio.run(engine.answer(requests, kept))
    finally:
        shared.counts.append(counts_as_dict(engine.counts))
    return counts_as_dict(engine.counts)


def counts_as_dict(counts: CallCounts) -> dict[str, Any]:
    """Return call counts for a manifest."""
    return {
        "sent": counts.sent,
        "answered": counts.answered,
        "from_journal": counts.from_journal,
        "perhaps_paid": counts.perhaps_paid,
        "errors": counts.errors,
        "retried": counts.retried,
        "spent_usd": counts.spent_usd,
        "by_error_class": dict(counts.by_error_class or {}),
    }


def added_counts(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sums of call counts, of which there is one at least."""
    names = [name for name in counts[0] if name != "by_error_class"]
    classes = sum((Counter(one["by_error_class"]) for one in counts), Counter[str]())
    return {**{name: sum(one[name] for one in counts) for name in names}, "by_error_class": dict(classes)}
