import asyncio
import csv
import io
import json
import os
import pty
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from safetycatch.calls import Endpoint, Fault, Journal, Reply, Request
from safetycatch.cli import pruning
from safetycatch.cli.exporting import write
from safetycatch.cli.main import main
from safetycatch.data.spreadsheet import TRIGGERS
from safetycatch.errors import InputError
from safetycatch.store import Runs, Store

HOSTILE = "\x1b[31m=1+1\u202e\r\n\x07"


def request(i, text="", candidate="zero"):
    body = {"model": "m", "messages": [{"role": "user", "content": f"{i} {text}"}]}
    return Request(Endpoint("gpu", "direct", "http://gpu/v1"), body, candidate, str(i))


async def send(journal, asked, run_id, end=None, raw=b"{}"):
    intent = await journal.intent(asked, run_id, max_cost_usd=0.5, max_tokens=10)
    assert isinstance(intent, int)
    if isinstance(end, Fault):
        await journal.fault(intent, asked, run_id, end)
    elif end is not None:
        await journal.answer(intent, asked, run_id, end, raw)


YES = Reply("answer", "yes", "m-1", 1200, 1000, 2, 0.25, 0.1)


@pytest.fixture
def path(tmp_path):
    Store.open(tmp_path / ".safetycatch")
    return tmp_path / ".safetycatch" / "calls.db"


@pytest.fixture
def filled(path):
    """Of run a an answered call; of run b one with hostile text, one whose bill is not known, one error."""

    async def fill():
        with Journal.open(path) as journal:
            await send(journal, request(1), "a", YES)
            hostile = Reply("refusal", HOSTILE, HOSTILE, 1, 0, 1, 0.001, error_text=HOSTILE)
            await send(journal, request(2, candidate=HOSTILE), "b", hostile, HOSTILE.encode())
            await send(journal, request(3), "b")
            await send(journal, request(4), "b", Fault("row", "bad_request", HOSTILE))

    asyncio.run(fill())
    return path


def held(path):
    with Journal.open(path) as journal:
        return {call for (call,) in journal.select("SELECT example_id FROM intent")}


# -- ls and show


def test_the_group_alone_says_what_it_can(cli):
    ended = cli("calls")
    assert (ended.code, ended.err) == (0, "")
    assert all(verb in ended.out for verb in ("ls", "show", "prune", "export"))


@pytest.mark.parametrize("verb", ["ls", "prune"])
def test_before_the_first_call_there_is_nothing(cli, tmp_path, verb):
    ended = cli("calls", verb, *(["--yes"] if verb == "prune" else []))
    assert (ended.code, "no call yet" in ended.out) == (0, True)
    assert cli("calls", verb, "--dry-run" if verb == "prune" else "--json", "--json").code == 0
    assert not list(tmp_path.iterdir())


def test_ls_lists_the_newest_first_with_totals(cli, filled):
    ended = cli("calls", "ls")
    head, *lines, _, sums = ended.out.splitlines()
    assert [line.split()[2] for line in lines][1:] != []
    assert head.split()[:4] == ["when", "(UTC)", "run", "candidate"]
    assert re.search(r"a +zero +1 +m +answer +1,200 \(1,000 cached\) \+ 2 +\$0.25 +100 ms +1 +[0-9a-f]{12}$", lines[-1])
    assert re.search(r"perhaps +— +≤ \$0.50", lines[1])
    assert "error (bad_request)" in lines[0]
    assert sums == "2 answered · 1 perhaps paid (at most $0.50) · 1 errors · spent: $0.75"


def test_ls_as_json(cli, filled):
    document = cli("calls", "ls", "--run", "a", "--json").document
    (call,) = document["calls"]
    assert call["call_key"] == request(1).key
    assert datetime.fromisoformat(call["sent_at"]).tzinfo is not None
    assert document["totals"]["answered"] == 1
    assert document["totals"]["asked_now"] == 0


def test_ls_chooses(cli, filled):
    assert len(cli("calls", "ls", "--limit", "1", "--json").document["calls"]) == 1
    assert [c["example_id"] for c in cli("calls", "ls", "--state", "perhaps", "--json").document["calls"]] == ["3"]
    assert cli("calls", "ls", "--candidate", "nobody", "--json").document["calls"] == []
    assert "answer, refusal" in cli("calls", "ls", "--state", "fine").err
    assert cli("calls", "ls", "--run", "nothing").code == 2


def test_show_tells_all_attempts_and_the_raw_reply(cli, filled):
    text = cli("calls", "show", request(1).key[:8]).out
    for part in (request(1).key, "m at direct:http://gpu/v1", "at most $0.50", "answer", "m-1", "yes", "raw       {}"):
        assert part in text
    assert "bad_request · free" in cli("calls", "show", request(4).key[:8]).out
    assert "nothing came back before the process ended · perhaps paid" in cli("calls", "show", request(3).key[:8]).out
    document = cli("calls", "show", request(2).key, "--json").document
    assert (document["raw"], document["attempts"][0]["text"]) == (HOSTILE, HOSTILE)


@pytest.mark.parametrize("words", [["ls"], ["show", request(2, candidate=HOSTILE).key], ["show", request(4).key]])
def test_r42_text_of_others_moves_no_cursor(cli, filled, words):
    out = cli("calls", *words).out
    assert not set(out.replace("\n", "")) & {"\x1b", "\r", "\x07", "\u202e"}
    assert "\\u001b[31m" in out


@pytest.mark.parametrize(("key", "told"), [("zz", "no key"), ("abc", "no key"), ("0123456789", "no call")])
def test_show_says_what_a_key_is(cli, filled, key, told):
    ended = cli("calls", "show", key)
    assert ended.code == 2
    assert told in ended.err


def test_a_beginning_of_two_keys_is_not_enough(cli, path):
    keys = {}
    number = 0
    while (short := request(number).key[:4]) not in keys:
        keys[short] = number
        number += 1

    async def fill():
        with Journal.open(path) as journal:
            for i in (keys[short], number):
                await send(journal, request(i), "a", YES)

    asyncio.run(fill())
    ended = cli("calls", "show", short)
    assert ended.code == 2
    assert request(number).key[:12] in ended.err


# -- prune


def stored_run(path, name, keys, status="done", tables=("rows",)):
    with Runs(Store.open(path.parent)).begin(name, f"id-{name}", config={}, now=datetime.now(UTC)) as run:
        for table in tables:
            run.write_table(table, pa.table({"call_key": pa.array(sorted(keys), pa.string())}))
        if status != "killed":
            run.finish(status, {})
    return run


def test_prune_keeps_what_runs_refer_to_and_what_is_perhaps_paid(cli, filled):
    stored_run(filled, "one", {request(1).key})
    told = cli("calls", "prune", "--dry-run", "--json").document
    assert (told["removed"], told["answered"], told["kept"]) == (False, 1, 2)
    assert held(filled) == {"1", "2", "3", "4"}
    ended = cli("calls", "prune", "--yes")
    assert re.match(r"removed 2 requests: 1 answered for \$0.0010 · \d+ bytes freed · 2 kept: runs or", ended.out)
    assert held(filled) == {"1", "3"}
    assert "nothing to remove · 2 kept" in cli("calls", "prune", "--yes").out
    assert cli("calls", "prune", "--yes", "--even-perhaps-paid", "--even-referenced", "--json").document["removed"]
    assert held(filled) == set()


def test_prune_of_one_run_or_one_age(cli, filled):
    assert cli("calls", "prune", "--yes", "--older-than", "1h", "--json").document["requests"] == 0
    assert cli("calls", "prune", "--yes", "--run", "a", "--json").document["answered"] == 1
    assert held(filled) == {"2", "3", "4"}


@pytest.mark.parametrize(("text", "age_s"), [("30d", 2_592_000), ("12h", 43_200), ("90m", 5400), (" 10 s ", 10)])
def test_an_age(text, age_s):
    assert pruning.age(text) == age_s


@pytest.mark.parametrize("text", ["30", "d", "-1d", "1w", "1.5d", "", "9999999d"])
def test_no_age(text):
    with pytest.raises(InputError, match="30d"):
        pruning.age(text)


def test_prune_asks_nobody_only_when_told(cli, filled):
    for words in ([], ["--json"]):
        ended = cli("calls", "prune", *words)
        assert ended.code == 2
        assert "--yes or --dry-run" in ended.err
    assert held(filled) == {"1", "2", "3", "4"}


@pytest.mark.parametrize(("reply", "rest"), [("y", {"3"}), ("n", {"1", "2", "3", "4"}), ("", {"1", "2", "3", "4"})])
def test_at_a_terminal_prune_says_what_would_go_and_asks(filled, environment, reply, rest):
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "safetycatch.cli.main", "calls", "prune"],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(mine, 4096)
    assert b"would remove 3 requests: 2 answered for $0.25" in said
    os.write(mine, f"{reply}\n".encode())
    try:
        while part := os.read(mine, 4096):
            said += part
    except OSError:  # the terminal's other end is closed
        pass
    os.close(mine)
    assert process.wait(timeout=60) == 0
    assert (b"nothing was removed" in said) == (reply != "y")
    assert held(filled) == rest


def test_prune_refuses_under_a_living_writer(cli, filled):
    with Journal.open(filled):
        ended = cli("calls", "prune", "--yes")
    assert ended.code == 10
    assert "1 process uses the journal" in ended.err
    assert held(filled) == {"1", "2", "3", "4"}


def test_prune_refuses_when_a_run_cannot_be_read(cli, filled):
    run = stored_run(filled, "one", {request(1).key})
    run.path("rows.parquet").write_bytes(b"x")
    ended = cli("calls", "prune", "--yes")
    assert ended.code == 10
    assert f"{run.run_id}: which calls it refers to cannot be told" in ended.err
    assert held(filled) == {"1", "2", "3", "4"}
    assert cli("calls", "prune", "--yes", "--even-referenced").code == 0


RUN = st.tuples(
    st.sets(st.integers(0, 19)),
    st.sampled_from(["done", "refused", "stopped", "budget", "killed"]),
    st.sampled_from([("rows",), ("rows", "dev-rows"), ("items", "dev-rows")]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    runs=st.lists(RUN, max_size=3),
    payers=st.lists(st.integers(0, 3), min_size=20, max_size=20),
    chosen=st.none() | st.integers(0, 3),
    perhaps=st.booleans(),
    aged=st.booleans(),
)
def test_after_any_prune_what_runs_refer_to_is_answered(
    tmp_path_factory, monkeypatch, capfd, runs, payers, chosen, perhaps, aged
):
    folder = tmp_path_factory.mktemp("project")
    monkeypatch.chdir(folder)
    path = folder / ".safetycatch" / "calls.db"
    Store.open(path.parent)
    stored = [
        stored_run(path, f"run{i}", {request(item).key for item in items}, status, tables)
        for i, (items, status, tables) in enumerate(runs)
    ]
    ids = [run.run_id for run in stored] + [f"gone-{i}" for i in range(len(runs), 4)]

    async def fill():
        with Journal.open(path) as journal:
            for item, payer in enumerate(payers):
                await send(journal, request(item), ids[payer], YES)
            await send(journal, request(50), ids[0])

    asyncio.run(fill())
    words = [
        *(["--run", ids[chosen]] if chosen is not None else []),
        *(["--even-perhaps-paid"] if perhaps else []),
        *(["--older-than", "1d"] if aged else []),
    ]
    known = ids[chosen] in {ids[payer] for payer in payers} | {ids[0]} if chosen is not None else True
    code = main(["calls", "prune", "--yes", *words])
    assert code == (0 if known or (chosen or 0) < len(runs) else 2), capfd.readouterr().err
    kept = {request(item).key for items, _, _ in runs for item in items}
    unfinished = {i for i, (_, status, _) in enumerate(runs) if status in {"stopped", "budget", "killed"}}
    kept |= {request(item).key for item, payer in enumerate(payers) if payer in unfinished}
    everything = {request(item).key for item in range(20)}
    old = {request(item).key for item, payer in enumerate(payers) if chosen in (None, payer)} if not aged else set()
    with Journal.open(path) as journal:
        assert set(journal.lookup(everything)) == everything - (old - kept)
        assert len(journal.perhaps_paid()) == (
            0 if perhaps and not aged and chosen in (None, 0) and 0 not in unfinished else 1
        )


# -- export


def exported(cli, tmp_path, name, *words):
    ended = cli("calls", "export", name, *words)
    assert ended.code == 0, ended.err
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    return tmp_path / name


def read_csv(path):
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


def test_parquet_keeps_everything_as_it_was(cli, filled, tmp_path):
    table = parquet.read_table(exported(cli, tmp_path, "a.parquet", "--raw"))
    rows = table.to_pylist()
    assert [row["text"] for row in rows] == ["yes", HOSTILE]
    assert rows[1]["raw"] == HOSTILE.encode()
    assert rows[0]["cost_usd"] == 0.25
    assert rows[0]["sent_at"].tzinfo is not None
    assert "raw" not in parquet.read_schema(exported(cli, tmp_path, "b.parquet")).names


def test_json_lines_are_one_object_an_answered_call(cli, filled, tmp_path):
    lines = exported(cli, tmp_path, "a.jsonl", "--run", "b").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [HOSTILE]


def test_the_same_rows_in_every_format(cli, filled, tmp_path):
    of_csv = read_csv(exported(cli, tmp_path, "a.csv"))
    of_json = [json.loads(line) for line in exported(cli, tmp_path, "a.jsonl").read_text().splitlines()]
    of_parquet = parquet.read_table(exported(cli, tmp_path, "a.parquet")).to_pylist()
    assert list(of_csv[0]) == list(of_json[0]) == list(of_parquet[0])
    assert [row["call_key"] for row in of_csv] == [row["call_key"] for row in of_json]
    assert [row["latency_s"] for row in of_json] == [row["latency_s"] for row in of_parquet]


def test_r43_export_says_how_many_cells_it_defused(cli, path, tmp_path):
    async def fill():
        with Journal.open(path) as journal:
            await send(journal, request(1), "a", Reply("answer", "=HYPERLINK(1)", "@m", -1, 0, 1, -0.5))

    asyncio.run(fill())
    ended = cli("calls", "export", "a.csv")
    assert "2 cells began like a formula" in ended.out
    (row,) = read_csv(tmp_path / "a.csv")
    assert (row["text"], row["model_returned"], row["cost_usd"]) == ("'=HYPERLINK(1)", "'@m", "-0.5")


@given(texts=st.lists(st.text() | st.sampled_from(TRIGGERS).map(lambda start: start + "1"), min_size=1))
def test_r43_no_text_cell_of_any_export_begins_like_a_formula(tmp_path_factory, texts):
    number = {"sent_at": 0.0, "answered_at": 1.0, "replicate": 0}
    rows = ({**dict.fromkeys(COLUMNS_OF_TEXT, text), **number} for text in texts)
    file = tmp_path_factory.mktemp("export") / "a.csv"
    done = write(rows, file, raw=False)
    cells = [cell for row in read_csv(file) for cell in row.values()]
    assert not any(cell.startswith(TRIGGERS) for cell in cells)
    assert done.rows == len(texts)
    assert done.defused == len(COLUMNS_OF_TEXT) * sum(text.startswith(TRIGGERS) for text in texts)


COLUMNS_OF_TEXT = [
    *("call_key", "run_id", "endpoint", "model", "candidate", "example_id", "state", "text", "model_returned"),
    *(
        "n_tokens_in",
        "n_tokens_cached",
        "n_tokens_out",
        "cost_usd",
        "max_cost_usd",
        "cache_saved_usd",
        "latency_s",
        "attempts",
    ),
    *("error_class", "error_text"),
]


@pytest.mark.parametrize(
    ("name", "told"), [("a.txt", ".parquet, .jsonl, .csv"), ("no/a.csv", "no such folder"), ("there.csv", "a new name")]
)
def test_export_says_where_it_can_write(cli, filled, tmp_path, name, told):
    (tmp_path / "there.csv").write_text("mine")
    ended = cli("calls", "export", name)
    assert ended.code == 2
    assert told in ended.err
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert {file.name for file in tmp_path.iterdir()} == {".safetycatch", "there.csv"}


def test_a_failed_export_leaves_no_file(tmp_path):
    def rows():
        yield {}
        raise AssertionError

    for name in ("a.csv", "a.jsonl", "a.parquet"):
        with pytest.raises((AssertionError, KeyError)):
            write(rows(), tmp_path / name, raw=False)
    assert not list(tmp_path.iterdir())
