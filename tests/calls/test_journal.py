from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from safetycatch.calls import Endpoint, Fault, Journal, Reply, Request, Spent
from safetycatch.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

HERE = Endpoint("gpu", "direct", "http://gpu/v1")


def request(i: int) -> Request:
    return Request(HERE, {"model": "m", "messages": [{"role": "user", "content": str(i)}]}, "c", str(i), 0, 5)


async def answer(journal: Journal, i: int, reply: Reply, run_id: str = "run") -> None:
    intent = await journal.intent(request(i), run_id, max_cost_usd=0.5, max_tokens=100)
    await journal.answer(intent, request(i), run_id, reply, b'{"raw": 1}')


YES = Reply("answer", "yes", "m-1", 10, 3, 2, 0.25, 0.1, 2)


def test_an_answer_comes_back_as_it_was_given(journal_path: Path) -> None:
    async def go() -> None:
        with Journal.open(journal_path) as journal:
            await answer(journal, 1, YES)
            await answer(journal, 2, Reply("refusal", "\0no", error_class="x", error_text="y"))

    asyncio.run(go())
    with Journal.open(journal_path) as journal:
        found = journal.lookup([request(i).key for i in range(2000)])
        assert len(found) == 2
        assert found[request(1).key] == Reply("answer", "yes", "m-1", 10, 3, 2, 0.25, 0.1, 2, from_journal=True)
        assert found[request(2).key].text == "\0no"
        assert journal.raw(request(1).key) == b'{"raw": 1}'
        assert journal.raw(request(3).key) is None


def test_an_invalid_reply_is_paid_and_asked_again(journal_path: Path) -> None:
    async def go() -> None:
        with Journal.open(journal_path) as journal:
            await answer(journal, 1, Reply("invalid", "yes", "other", 1, 0, 1, 0.25))
            assert not journal.lookup([request(1).key])
            await answer(journal, 1, YES, "other run")
            assert journal.lookup([request(1).key])[request(1).key].text == "yes"
            assert journal.spent("run").usd == journal.spent("other run").usd == 0.25

    asyncio.run(go())


def test_open_intents_are_perhaps_paid_at_their_highest_cost(journal_path: Path) -> None:
    async def go() -> None:
        with Journal.open(journal_path) as journal:
            free = await journal.intent(request(1), "run", max_cost_usd=0.5, max_tokens=100)
            await journal.fault(free, request(1), "run", Fault("retry", "http_500"))
            hung = await journal.intent(request(2), "run", max_cost_usd=0.5, max_tokens=100)
            await journal.fault(hung, request(2), "run", Fault("retry", "hung", "", "perhaps"))
            await journal.intent(request(3), "run", max_cost_usd=None, max_tokens=100)
            await answer(journal, 4, YES)
            await journal.intent(request(5), "other", max_cost_usd=0.5, max_tokens=100)
            # no usage stated: the highest cost counts
            await answer(journal, 6, Reply("answer", "x"), "third")
            listed = journal.perhaps_paid("run")
            assert [(row.example_id, row.attempt, row.error_class) for row in listed] == [
                ("2", 1, "hung"),
                ("3", 1, None),
            ]
            assert journal.perhaps_paid("run", limit=1) == listed[:1]
            assert [row.max_cost_usd for row in journal.perhaps_paid()] == [0.5, None, 0.5]
            assert journal.spent("run") == Spent(0.75, 212, 4, 0.5, 2, unpriced=1)
            assert journal.spent("third") == Spent(0.5, 100, 1)

    asyncio.run(go())


def everything(journal_path: Path) -> list[Path]:
    return [journal_path.parent, *journal_path.parent.rglob("*")]


def test_r46_only_the_owner_can_read_it(journal_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = Journal.open(journal_path)
    finally:
        os.umask(before)
    try:
        asyncio.run(answer(journal, 1, YES))
        modes = {path.name: (path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in everything(journal_path)}
        assert set(modes.values()) == {(True, 0o700), (False, 0o600)}, modes
        assert len(modes) == 6  # the store, the database with two sides, the writers' folder with one
    finally:
        journal.close()


def _filled(path: Path) -> bytes:
    async def go() -> None:
        with Journal.open(path) as journal:
            await asyncio.gather(*(answer(journal, i, YES) for i in range(300)))

    asyncio.run(go())
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["empty", "half", "zeroed", "zero_page", "text", "foreign", "no_version"])
def test_r10_a_damaged_journal_is_refused_and_left_alone(journal_path: Path, damage: str) -> None:
    whole = _filled(journal_path)
    if damage in {"foreign", "no_version"}:
        journal_path.unlink() if damage == "foreign" else None
        with sqlite3.connect(journal_path) as other:
            other.execute("CREATE TABLE x (y)" if damage == "foreign" else "DELETE FROM journal")
        other.close()
    else:
        middle = len(whole) // 2 // 4096 * 4096
        damaged = {
            "empty": b"",
            "half": whole[: len(whole) // 2 + 100],
            "zeroed": bytes(len(whole)),
            "zero_page": whole[:middle] + bytes(4096) + whole[middle + 4096 :],
            "text": b"hello\n" * 1000,
        }
        journal_path.write_bytes(damaged[damage])
    before = journal_path.read_bytes()
    with pytest.raises(StoreError, match=r"(?s)damaged.*fix"):
        Journal.open(journal_path)
    assert journal_path.read_bytes() == before


def test_a_journal_of_a_newer_version_is_refused(journal_path: Path) -> None:
    _filled(journal_path)
    with sqlite3.connect(journal_path) as other:
        other.execute("UPDATE journal SET value = '99'")
    other.close()
    with pytest.raises(StoreError, match="schema 99"):
        Journal.open(journal_path)


def test_a_place_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be used"):
        Journal.open(tmp_path / "file" / "calls.db")


def test_a_record_that_cannot_be_written_fails_its_caller_and_all_later_ones(journal_path: Path) -> None:
    async def go() -> None:
        with Journal.open(journal_path) as journal:
            await answer(journal, 1, YES)
            with pytest.raises(StoreError, match="cannot be written"):
                await journal.intent(request(2), "run", max_cost_usd=0.0, max_tokens=2**70)
            with pytest.raises(StoreError, match="cannot be written"):
                await answer(journal, 3, YES)
        with Journal.open(journal_path) as journal:
            assert len(journal.lookup(request(i).key for i in range(4))) == 1
            assert not journal.perhaps_paid()

    asyncio.run(go())


FULL = """
import asyncio, resource, signal, sys
from pathlib import Path
from safetycatch.calls import Endpoint, Journal, Reply, Request
from safetycatch.errors import StoreError

async def go(path):
    here = Endpoint("gpu", "direct", "http://gpu/v1")
    with Journal.open(path) as journal:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        for i in range(1000):
            request = Request(here, {"model": "m", "messages": [{"role": "user", "content": str(i)}]}, "c", str(i))
            intent = await journal.intent(request, "run", max_cost_usd=0.5, max_tokens=100)
            await journal.answer(intent, request, "run", Reply("answer", "x" * 1000))
            print(i, flush=True)

try:
    asyncio.run(go(Path(sys.argv[1])))
except StoreError as error:
    print(error)
"""


def test_r07_a_full_disk_stops_the_sending_and_keeps_what_was_answered(journal_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(journal_path)], capture_output=True, text=True, check=True, timeout=60
    )
    *said, error = ended.stdout.splitlines()
    assert "cannot be written: disk I/O error" in error
    with Journal.open(journal_path) as journal:
        assert len(journal.lookup(full_request(int(i)).key for i in said)) == len(said) > 3


def full_request(i: int) -> Request:
    return Request(HERE, {"model": "m", "messages": [{"role": "user", "content": str(i)}]}, "c", str(i))


WRITER = """
import asyncio, sys
from pathlib import Path
from safetycatch.calls import Endpoint, Journal, Reply, Request

async def go(path, first):
    here = Endpoint("gpu", "direct", "http://gpu/v1")
    journal = Journal.open(path)
    async def one(i):
        body = {"model": "m", "messages": [{"role": "user", "content": str(i)}]}
        request = Request(here, body, "c", str(i), 0, 5)
        intent = await journal.intent(request, "run", max_cost_usd=0.5, max_tokens=100)
        await journal.answer(intent, request, "run", Reply("answer", str(i)), b"x" * 200)
        print(i, flush=True)
    for start in range(first, first + 100_000, 16):
        await asyncio.gather(*(one(i) for i in range(start, start + 16)))

asyncio.run(go(Path(sys.argv[1]), int(sys.argv[2])))
"""


def test_r01_two_processes_write_and_a_kill_loses_nothing_that_was_committed(journal_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(journal_path), str(first)], stdout=subprocess.PIPE, text=True
        )
        for first in (0, 1_000_000)
    ]
    said: list[int] = []
    for writer in writers:
        assert writer.stdout is not None
        said += [int(writer.stdout.readline()) for _ in range(200)]
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        said += [int(line) for line in writer.communicate()[0].split("\n")[:-1] if line]
        assert writer.returncode == -signal.SIGKILL
    with Journal.open(journal_path) as journal:
        found = journal.lookup(request(i).key for i in said)
        assert [found[request(i).key].text for i in said] == [str(i) for i in said]
        assert len(journal.perhaps_paid("run")) <= 32
