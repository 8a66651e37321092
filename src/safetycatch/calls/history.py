"""The calls of a journal as people look at them: one line a call, all attempts of one key, one row an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from safetycatch.calls.journal_reading import unpacked
from safetycatch.calls.journal_schema import REPLY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.calls.journal_reading import JournalReader

# Of a call: how its reply is, or `perhaps` (sent, bill unknown), or `error` (ended without a reply, known to be free).
CallState = Literal["answer", "refusal", "length", "filtered", "invalid", "perhaps", "error"]

_STATE = (
    "CASE WHEN a.intent_id IS NOT NULL THEN a.state WHEN f.charge = 'none' THEN 'error' ELSE 'perhaps' END AS state"
)
_ENDS = "FROM intent i LEFT JOIN answer a ON a.intent_id = i.intent_id LEFT JOIN fault f ON f.intent_id = i.intent_id"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls: of a run, a model (as asked for), a candidate; None: any."""

    run_id: str | None = None
    model: str | None = None
    candidate: str | None = None

    def calls(self) -> tuple[str, tuple[str, ...]]:
        """Return the common table expression `call` of these calls, and its values.

        A failed attempt that was free stands for its call only when it was the last.
        """
        given = {"i.run_id": self.run_id, "i.model": self.model, "i.candidate": self.candidate}
        chosen = {name: value for name, value in given.items() if value is not None}
        where = " AND ".join(f"{name} = ?" for name in chosen) or "1 = 1"
        last = "ROW_NUMBER() OVER (PARTITION BY i.run_id, i.call_key ORDER BY i.sent_at DESC, i.intent_id DESC)"
        every = (
            f"SELECT i.sent_at, i.run_id, i.candidate, i.example_id, i.replicate, i.endpoint, i.model, {_STATE},"
            " a.model_returned, a.n_tokens_in, a.n_tokens_cached, a.n_tokens_out, a.cost_usd, i.max_cost_usd,"
            " a.latency_s, COALESCE(a.attempts, i.attempt) AS attempts,"
            " COALESCE(a.error_class, f.error_class) AS error_class, i.call_key,"
            f" i.intent_id, {last} AS from_last {_ENDS} WHERE {where}"
        )
        shown = "SELECT * FROM every WHERE state <> 'error' OR from_last = 1"
        return f"WITH every AS ({every}), call AS ({shown})", tuple(chosen.values())


@dataclass(frozen=True, slots=True)
class Call:
    """A call, or a request of one whose bill is not known; `sent_at` in seconds since 1970, UTC."""

    sent_at: float
    run_id: str
    candidate: str
    example_id: str
    replicate: int
    endpoint: str
    model: str
    state: CallState
    model_returned: str | None
    n_tokens_in: int | None
    n_tokens_cached: int | None
    n_tokens_out: int | None
    cost_usd: float | None
    max_cost_usd: float | None
    latency_s: float | None
    attempts: int
    error_class: str | None
    call_key: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over calls. `spent_usd` counts what is not known at its highest cost; `perhaps_usd` is that of `perhaps`.

    `unpriced` calls have no known price, and are in neither sum.
    """

    answered: int
    invalid: int
    perhaps: int
    errors: int
    spent_usd: float
    perhaps_usd: float
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request for a key and how it ended; `charge` and `fault_text` where it failed, the rest where it did not."""

    run_id: str
    endpoint: str
    model: str
    candidate: str
    example_id: str
    replicate: int
    attempt: int
    max_cost_usd: float | None
    max_tokens: int
    sent_at: float
    ended_at: float | None
    end: CallState
    charge: str | None
    fault_class: str | None
    fault_text: str | None
    state: str | None
    text: str | None
    model_returned: str | None
    n_tokens_in: int | None
    n_tokens_cached: int | None
    n_tokens_out: int | None
    cost_usd: float | None
    latency_s: float | None
    attempts: int | None
    error_class: str | None
    error_text: str | None
    cache_saved_usd: float | None


def newest(journal: JournalReader, wanted: Wanted, limit: int, state: CallState | None = None) -> list[Call]:
    """Return the newest calls, `limit` at most.

    Raises: StoreError.
    """
    calls, values = wanted.calls()
    columns = ", ".join(Call.__dataclass_fields__)
    chosen = "" if state is None else "WHERE state = ?"
    rows = journal.select(
        f"{calls} SELECT {columns} FROM call {chosen} ORDER BY sent_at DESC, intent_id DESC LIMIT ?",  # noqa: S608
        (*values, *(() if state is None else (state,)), limit),
    )
    return [Call(*row) for row in rows]


def totals(journal: JournalReader, wanted: Wanted) -> Totals:
    """Return the sums over all calls that are wanted.

    Raises: StoreError.
    """
    calls, values = wanted.calls()
    by_state = journal.select(
        f"{calls} SELECT state, COUNT(*), SUM(COALESCE(cost_usd, max_cost_usd, 0)),"  # noqa: S608
        " COUNT(*) - COUNT(COALESCE(cost_usd, max_cost_usd)) FROM call GROUP BY state",
        values,
    )
    n = {state: count for state, count, *_ in by_state}
    usd = {state: sum_usd for state, _, sum_usd, _ in by_state if state != "error"}
    return Totals(
        answered=sum(n.values()) - sum(n.get(state, 0) for state in ("invalid", "perhaps", "error")),
        invalid=n.get("invalid", 0),
        perhaps=n.get("perhaps", 0),
        errors=n.get("error", 0),
        spent_usd=sum(usd.values()),
        perhaps_usd=usd.get("perhaps", 0.0),
        unpriced=sum(unpriced for state, _, _, unpriced in by_state if state != "error"),
    )


def asked_now(journal: JournalReader) -> int:
    """Return how many calls living processes are making at this moment.

    Raises: StoreError.
    """
    claims = journal.select("SELECT writer, COUNT(*) FROM claim GROUP BY writer")
    return sum(count for writer, count in claims if journal.writers.lives(writer))


def runs_of(journal: JournalReader) -> list[str]:
    """Return the ids of the runs that asked for something.

    Raises: StoreError.
    """
    return [run_id for (run_id,) in journal.select("SELECT DISTINCT run_id FROM intent ORDER BY run_id")]


def keys_from(journal: JournalReader, prefix: str, limit: int) -> list[str]:
    """Return the keys (hexadecimal) that begin with `prefix`, `limit` at most.

    Raises: StoreError.
    """
    rows = journal.select(
        "SELECT DISTINCT call_key FROM intent WHERE call_key >= ? AND call_key < ? ORDER BY call_key LIMIT ?",
        (prefix, prefix + "g", limit),
    )
    return [key for (key,) in rows]


def attempts_for(journal: JournalReader, key: str) -> list[Attempt]:
    """Return every request for a key, oldest first.

    Raises: StoreError.
    """
    replied = ", ".join(f"a.{name}" for name in REPLY.split(", "))
    rows = journal.select(
        "SELECT i.run_id, i.endpoint, i.model, i.candidate, i.example_id, i.replicate, i.attempt, i.max_cost_usd,"
        f" i.max_tokens, i.sent_at, COALESCE(a.answered_at, f.at), {_STATE}, f.charge, f.error_class, f.text, {replied}"
        f" {_ENDS} WHERE i.call_key = ? ORDER BY i.sent_at, i.intent_id",
        (key,),
    )
    return [Attempt(*row) for row in rows]


def answers(journal: JournalReader, run_id: str | None = None, *, raw: bool = False) -> Iterator[dict[str, Any]]:
    """Yield one row an answered call, oldest first, with `raw` also the bytes it came as; times as in `Call`.

    Raises: StoreError.
    """
    names = [
        *("call_key", "run_id", "endpoint", "model", "candidate", "example_id", "replicate", "sent_at", "answered_at"),
        *("state", "text", "model_returned", "n_tokens_in", "n_tokens_cached", "n_tokens_out", "cost_usd"),
        *("max_cost_usd", "cache_saved_usd", "latency_s", "attempts", "error_class", "error_text"),
    ]
    of_intent = {"endpoint", "model", "candidate", "example_id", "replicate", "sent_at", "max_cost_usd"}
    columns = ", ".join(f"{'i' if name in of_intent else 'a'}.{name}" for name in names)
    chosen = "" if run_id is None else "WHERE a.run_id = ?"
    rows = journal.each(
        f"SELECT a.intent_id, {columns} FROM answer a JOIN intent i ON i.intent_id = a.intent_id {chosen}"  # noqa: S608
        " ORDER BY a.answered_at, a.intent_id",
        () if run_id is None else (run_id,),
    )
    for intent_id, *values in rows:
        row = dict(zip(names, values, strict=True))
        if raw:
            # Apart, so that the sorting does not carry every reply.
            ((packed,),) = journal.select("SELECT raw FROM answer WHERE intent_id = ?", (intent_id,))
            row["raw"] = unpacked(packed)
        yield row
