"""`calls prune`: what a certificate rests on stays in the journal, whoever paid for it."""

import asyncio

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safetycatch.calls import Endpoint, Journal, JournalReader, Reply, Request
from safetycatch.calls.pruning import Kept, Old, outlook
from safetycatch.cli.main import main
from safetycatch.store import Store
from safetycatch.store.certificates import Certificates
from safetycatch.store.references import references
from tests.judging.certified import certificate

HERE = Endpoint("gpu", "direct", "http://gpu/v1")
RUNS = ["2026-03-01-calibrate-1", "calibrate-0a", "sentinels-0b", "refine-0c", "calibration"]


def request(i):
    return Request(HERE, {"model": "m", "messages": [{"role": "user", "content": str(i)}]}, "c", str(i))


def fill(path, payers):
    async def send():
        with Journal.open(path) as journal:
            for i, run_id in enumerate(payers):
                intent = await journal.intent(request(i), run_id, max_cost_usd=0.5, max_tokens=10)
                await journal.answer(intent, request(i), run_id, Reply("answer", str(i), cost_usd=0.25), b"x")

    asyncio.run(send())


def held(path, n):
    with JournalReader.open(path) as journal:
        found = journal.lookup(request(i).key for i in range(n))
        return {i for i in range(n) if request(i).key in found}


def verdicts(store, number, keys):
    """An artifact of verdicts on labels that were answered by these calls."""
    table = pa.table({"call_key": pa.array([request(i).key for i in keys], pa.string())})
    return store.write("label-verdicts", f"{number:064x}", table, settings={}, parents=[], version="1")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    payers=st.lists(st.sampled_from(RUNS), min_size=1, max_size=8),
    judged=st.sets(st.integers(0, 7)),
    certified=st.booleans(),
)
def test_what_a_certificate_rests_on_is_answered_after_a_prune(
    tmp_path_factory, monkeypatch, payers, judged, certified
):
    folder = tmp_path_factory.mktemp("project")
    monkeypatch.chdir(folder)
    store = Store.open(folder / ".safetycatch")
    verdicts(store, 1, judged)
    if certified:
        Certificates(store).save(certificate())
    path = store.root / "calls.db"
    fill(path, payers)
    assert main(["calls", "prune", "--yes"]) == 0
    ours = {i for i, who in enumerate(payers) if i in judged or who.startswith(("calibrate-", "sentinels-", "refine-"))}
    assert held(path, len(payers)) == (ours if certified else set())
    assert main(["calls", "prune", "--yes", "--even-referenced"]) == 0
    assert held(path, len(payers)) == set()


def test_verdicts_that_cannot_be_read_stop_a_prune(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    store = Store.open(tmp_path / ".safetycatch")
    Certificates(store).save(certificate())
    store.path(verdicts(store, 1, [0])).write_bytes(b"x")
    fill(store.root / "calls.db", ["nobody"])
    assert main(["calls", "prune", "--yes"]) == 10
    assert "fix      safetycatch verify" in capfd.readouterr().err
    assert held(store.root / "calls.db", 1) == {0}


@pytest.mark.parametrize("folder", ["certificates", "sealed_labels"])
def test_a_store_in_which_nobody_calibrated_keeps_nothing_for_it(tmp_path, folder):
    store = Store.open(tmp_path / "store")
    assert references(store).calibrations == ()
    (store.root / folder).mkdir()
    (store.root / folder / "x.json").write_text("{}")
    assert references(store).calibrations == ("calibrate-", "sentinels-", "refine-")


def test_an_outlook_keeps_nothing_by_itself(tmp_path):
    path = tmp_path / "calls.db"
    fill(path, RUNS)
    assert outlook(path, Old(), Kept()).answered == len(RUNS)
    assert outlook(path, Old(), Kept(beginnings=["calibrate-"])).kept == 1
