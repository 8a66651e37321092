from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from safetycatch.calls import Endpoint, Fault, Journal, JournalReader, Reply, Request
from safetycatch.calls.pruning import Kept, Old, outlook, prune
from safetycatch.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

HERE = Endpoint("gpu", "direct", "http://gpu/v1")


def request(i: int) -> Request:
    return Request(HERE, {"model": "m", "messages": [{"role": "user", "content": str(i)}]}, "c", str(i))


async def fill(path: Path, run_id: str, items: range, *, size: int = 100) -> None:
    with Journal.open(path) as journal:

        async def one(i: int) -> None:
            intent = await journal.intent(request(i), run_id, max_cost_usd=0.5, max_tokens=10)
            assert isinstance(intent, int)
            reply = Reply("answer", str(i), cost_usd=0.25)
            await journal.answer(intent, request(i), run_id, reply, random.Random(i).randbytes(size))

        await asyncio.gather(*(one(i) for i in items))


@pytest.fixture
def filled(journal_path) -> Path:
    """Items 0-9 of run a, 10-19 of run b, and one request of each whose bill is not known."""

    async def perhaps(run_id: str, i: int) -> None:
        with Journal.open(journal_path) as journal:
            intent = await journal.intent(request(i), run_id, max_cost_usd=0.5, max_tokens=10)
            assert isinstance(intent, int)
            await journal.fault(intent, request(i), run_id, Fault("retry", "hung", "", "perhaps"))

    asyncio.run(fill(journal_path, "a", range(10)))
    asyncio.run(fill(journal_path, "b", range(10, 20)))
    asyncio.run(perhaps("a", 100))
    asyncio.run(perhaps("b", 101))
    return journal_path


def left(path: Path) -> str:
    with JournalReader.open(path) as journal:
        found = journal.lookup(request(i).key for i in range(20))
        return "".join("x" if request(i).key in found else "." for i in range(20)) + "?" * len(journal.perhaps_paid())


KEYS = [request(3).key, request(12).key]


@pytest.mark.parametrize(
    ("old", "kept", "rest"),
    [
        (Old(), Kept(), "." * 20 + "??"),
        (Old(), Kept(perhaps_paid=False), "." * 20),
        (Old(), Kept(KEYS), "...x........x......." + "??"),
        (Old(run_id="a"), Kept(KEYS), "...x......xxxxxxxxxx" + "??"),
        (Old(), Kept(run_ids=["b"]), "..........xxxxxxxxxx" + "??"),
        (Old(), Kept(run_ids=["b"], perhaps_paid=False), "..........xxxxxxxxxx" + "?"),
        (Old(before=1.0), Kept(), "x" * 20 + "??"),
    ],
)
def test_what_is_old_goes_but_for_what_is_kept(filled, old, kept, rest) -> None:
    told = outlook(filled, old, kept)
    assert left(filled) == "x" * 20 + "??"
    gone = prune(filled, old, lambda: kept)
    assert left(filled) == rest
    assert gone.answered == 20 - rest.count("x")
    assert gone.answered_usd == gone.answered * 0.25
    assert gone.perhaps_paid == 2 - rest.count("?")
    assert gone.requests == gone.answered + gone.perhaps_paid
    assert replace(told, freed_bytes=0) == replace(gone, freed_bytes=0)


def test_the_old_are_those_sent_before(filled) -> None:
    with JournalReader.open(filled) as journal:
        ((middle,),) = journal.select("SELECT MIN(sent_at) FROM intent WHERE run_id = 'b'")
    prune(filled, Old(before=middle), Kept)
    assert left(filled) == "." * 10 + "x" * 10 + "??"


def test_the_space_goes_back_to_the_disk(journal_path) -> None:
    asyncio.run(fill(journal_path, "a", range(200), size=10_000))
    before = journal_path.stat().st_size
    gone = prune(journal_path, Old(), Kept)
    assert gone.freed_bytes == before - journal_path.stat().st_size > 1_900_000


def test_nothing_goes_while_a_writer_lives(filled) -> None:
    with Journal.open(filled), pytest.raises(StoreError, match="1 process uses the journal"):
        prune(filled, Old(), Kept)
    assert left(filled) == "x" * 20 + "??"


def test_who_opens_meanwhile_waits_and_reads_what_is_left(filled) -> None:
    opened: list[subprocess.Popen[str]] = []
    script = (
        "import sys; from pathlib import Path; from safetycatch.calls import Journal;"
        " journal = Journal.open(Path(sys.argv[1])); print(len(journal.lookup(sys.argv[2:])))"
    )

    def kept() -> Kept:
        arguments = [sys.executable, "-c", script, str(filled), *(request(i).key for i in range(20))]
        opened.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True))
        while len(list((filled.parent / f"{filled.name}.writers").iterdir())) < 1:
            time.sleep(0.01)
        return Kept(KEYS)

    prune(filled, Old(), kept)
    assert opened[0].communicate(timeout=60)[0] == "2\n"


def test_a_reason_to_refuse_that_comes_late_changes_nothing(filled) -> None:
    def kept() -> Kept:
        raise StoreError("a run cannot be read")

    with pytest.raises(StoreError, match="a run cannot be read"):
        prune(filled, Old(), kept)
    assert left(filled) == "x" * 20 + "??"


def test_dead_writers_leave_nothing(filled) -> None:
    with Journal.open(filled) as journal:
        asyncio.run(journal.intent(request(50), "c", max_cost_usd=0.5, max_tokens=10))
    prune(filled, Old(), Kept)
    with JournalReader.open(filled) as journal:
        assert not journal.select("SELECT * FROM claim")
        assert not journal.writers.names()


PRUNE = """
import sys
from pathlib import Path
from safetycatch.calls.pruning import Kept, Old, prune
def kept():
    print("going", flush=True)
    return Kept()
prune(Path(sys.argv[1]), Old(run_id="a"), kept)
"""


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08])
def test_r01_a_kill_in_the_middle_leaves_a_whole_journal(journal_path, after_s) -> None:
    asyncio.run(fill(journal_path, "a", range(400), size=20_000))
    asyncio.run(fill(journal_path, "b", range(400, 420)))
    process = subprocess.Popen([sys.executable, "-c", PRUNE, str(journal_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with Journal.open(journal_path) as journal:
        assert len(journal.lookup(request(i).key for i in range(400))) in {0, 400}
        assert len(journal.lookup(request(i).key for i in range(400, 420))) == 20
        assert journal.select("SELECT COUNT(*) FROM intent") == journal.select("SELECT COUNT(*) FROM answer")
