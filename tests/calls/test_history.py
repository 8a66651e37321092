from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from safetycatch.calls import Endpoint, Fault, Journal, JournalReader, Reply, Request
from safetycatch.calls import history as h

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Endpoint("gpu", "direct", "http://gpu/v1")
FREE, HUNG = Fault("retry", "http_500", "boom"), Fault("retry", "hung", "", "perhaps")


def request(i: int, model: str = "m", candidate: str = "c") -> Request:
    return Request(HERE, {"model": model, "messages": [{"role": "user", "content": str(i)}]}, candidate, str(i))


async def send(journal: Journal, asked: Request, run_id: str, *ends: Fault | Reply | None) -> None:
    for attempt, end in enumerate(ends, 1):
        intent = await journal.intent(asked, run_id, attempt=attempt, max_cost_usd=0.5, max_tokens=10)
        assert isinstance(intent, int)
        if isinstance(end, Fault):
            await journal.fault(intent, asked, run_id, end)
        elif end is not None:
            await journal.answer(intent, asked, run_id, end, b'{"raw": 1}')


@pytest.fixture
def journal(journal_path) -> Iterator[JournalReader]:
    """Six calls of run a, one of run b, in this order."""

    async def fill() -> None:
        with Journal.open(journal_path) as writing:
            yes = Reply("answer", "yes", "m-1", 10, 3, 2, 0.25, 0.1, 2)
            await send(writing, request(1), "a", FREE, yes)
            await send(writing, request(2), "a", HUNG, Reply("refusal", "no", cost_usd=0.1))
            await send(writing, request(3), "a", FREE, FREE)
            await send(writing, request(4), "a", None)
            await send(writing, request(5, "other"), "a", Reply("invalid", None, "x", 1, 0, 1, 0.01))
            await send(writing, request(6, candidate="d"), "a", Reply("answer", "no usage"))
            await send(writing, request(7), "b", yes)

    asyncio.run(fill())
    with JournalReader.open(journal_path) as reading:
        yield reading


def test_a_call_is_one_line_and_what_may_be_billed_has_its_own(journal) -> None:
    lines = [(call.example_id, call.state, call.error_class) for call in h.newest(journal, h.Wanted(), 100)]
    assert lines == [
        ("7", "answer", None),
        ("6", "answer", None),
        ("5", "invalid", None),
        ("4", "perhaps", None),
        ("3", "error", "http_500"),
        ("2", "refusal", None),
        ("2", "perhaps", "hung"),
        ("1", "answer", None),
    ]


@pytest.mark.parametrize(
    ("wanted", "items"),
    [
        (h.Wanted("b"), "7"),
        (h.Wanted(model="other"), "5"),
        (h.Wanted(candidate="d"), "6"),
        (h.Wanted("b", candidate="d"), ""),
    ],
)
def test_calls_are_chosen_by_run_model_and_candidate(journal, wanted, items) -> None:
    assert "".join(call.example_id for call in h.newest(journal, wanted, 100)) == items


def test_the_newest_of_a_state(journal) -> None:
    assert [call.example_id for call in h.newest(journal, h.Wanted(), 1, "perhaps")] == ["4"]


def test_the_totals_are_what_the_budget_counts(journal) -> None:
    sums = h.totals(journal, h.Wanted("a"))
    assert sums == h.Totals(answered=3, invalid=1, perhaps=2, errors=1, spent_usd=pytest.approx(1.86), perhaps_usd=1.0)
    assert sums.spent_usd == pytest.approx(journal.spent("a").usd)
    assert h.totals(journal, h.Wanted("nobody")) == h.Totals(0, 0, 0, 0, 0.0, 0.0)


def test_what_is_asked_now_is_counted_while_its_writer_lives(journal, journal_path) -> None:
    assert h.asked_now(journal) == 0
    with Journal.open(journal_path) as writing:
        asyncio.run(send(writing, request(8), "b", None))
        assert h.asked_now(journal) == 1
    assert h.asked_now(journal) == 0


def test_every_attempt_of_a_key_is_there(journal) -> None:
    key = request(2).key
    assert h.keys_from(journal, key[:12], 5) == [key]
    assert len(h.keys_from(journal, "", 5)) == 5
    first, second = h.attempts_for(journal, key)
    assert (first.end, first.fault_class, first.charge, first.state) == ("perhaps", "hung", "perhaps", None)
    assert (second.end, second.text, second.cost_usd, second.attempt) == ("refusal", "no", 0.1, 2)


def test_answers_are_one_row_each_with_the_bytes_when_asked(journal) -> None:
    rows = list(h.answers(journal, "a", raw=True))
    assert [(row["example_id"], row["state"], row["raw"]) for row in rows] == [
        ("1", "answer", b'{"raw": 1}'),
        ("2", "refusal", b'{"raw": 1}'),
        ("5", "invalid", b'{"raw": 1}'),
        ("6", "answer", b'{"raw": 1}'),
    ]
    assert "raw" not in next(iter(h.answers(journal)))
    assert len(list(h.answers(journal))) == 5
