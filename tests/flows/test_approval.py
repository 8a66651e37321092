"""SC302 through real runs: nothing is sent before a person's yes, and a yes is to one sum of one run."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.chain import as_function
from flows.evaluate import run_experiment
from safetycatch.catches.estimate import Estimate
from safetycatch.cli.main import main
from safetycatch.errors import ApprovalNeededError, BudgetReachedError, StoreError
from safetycatch.store import Runs, Store
from safetycatch.store.ledger import LEDGER, Approval, Consent, Ledger
from tasks.session import WATCHER, Watcher

pytestmark = pytest.mark.flow

BOX = "{endpoint: box, model: in-context}"
# About $0.55 are expected for the 120 test rows of both candidates, $2.60 at most.
PRICES = "prices: {box/in-context: {input_per_m: 10, output_per_m: 10}}\n"
TEXT = """\
candidates: [{id: zero}, {id: knn4, shots: {select: knn, k: 4}}]
claim: {metric: accuracy, smallest_effect: 8 points}
runs: {concurrency: 4}
budget: {usd: 20, ask_above: 0.05}
"""


@pytest.fixture
def cli(project, monkeypatch, capsys):
    """The command line in this process, in the project's folder."""
    monkeypatch.chdir(project.folder)
    handler = signal.getsignal(signal.SIGTERM)

    def call(*words):
        capsys.readouterr()
        code = main(words)
        return code, json.loads(capsys.readouterr().out) if "--json" in words else capsys.readouterr()

    yield call
    signal.signal(signal.SIGTERM, handler)


def approvals(project, run_id):
    with Ledger.open(project.store / LEDGER) as ledger:
        return ledger.approvals(run_id)


def sc302(result):
    return next(row for row in result["findings"] if row["code"] == "SC302")


def test_an_unattended_run_waits_is_approved_and_goes_on(project, api, endpoint, processes, cli):
    with endpoint() as box:
        path = project.write(TEXT + PRICES, model=BOX)
        state = project.run(path)
        (stored,) = project.runs()
        assert (state.name, stored.status, box.stats()["received"], project.n_intents()) == ("Waits", "waits", 0, 0)
        assert state.message == f"SC302: safetycatch approve {stored.run_id} --as NAME"
        with pytest.raises(ApprovalNeededError, match="SC302 waits"):
            state.result()
        shown = api.artifacts(state.state_details.flow_run_id)
        assert f"safetycatch approve {stored.run_id}" in shown["verdict"]["data"]
        assert "SC302" in shown["catches"]["data"]
        # Another process of the same experiment waits too, in the same run.
        assert processes.wait(processes.start(project, path)) == 30
        assert [run.status for run in project.runs()] == ["waits"]

        code, listed = cli("approve", "--json")
        assert (code, [row["run_id"] for row in listed], listed[0]["approved_by"]) == (0, [stored.run_id], None)
        assert listed[0]["asked"]["estimate"]["n_calls"] == 240
        code, said = cli("approve", stored.run_id, "--as", "Ada", "--note", "for the launch", "--json")
        assert (code, said["new"], said["approved_by"], said["note"]) == (0, True, "Ada", "for the launch")
        assert said["command"] == "safetycatch run e.yaml"
        code, again = cli("approve", "last", "--as", "Bo", "--json")
        assert (code, again["new"], again["approved_by"]) == (0, False, "Ada")
        assert cli("approve", "--json")[1][0]["approved_by"] == "Ada"
        assert box.stats()["received"] == 0

        result = project.run(path).result()
        assert result["run_id"] == stored.run_id
        assert result["calls"]["sent"] == 240
    finding = sc302(result)
    assert finding["status"] == "passed"
    assert "approved by Ada, 20" in finding["saw"]
    assert cli("approve", "--json")[1] == []
    assert cli("approve", stored.run_id, "--as", "Bo", "--json")[1]["new"] is False
    (row,) = approvals(project, stored.run_id)
    assert (row.name, row.note, row.identity, row.ceiling) == ("Ada", "for the launch", stored.identity, "$20")
    assert (row.estimate.n_calls, row.estimate.n_from_journal) == (240, 0)
    assert 0.05 < (row.estimate.expected_usd or 0) < (row.estimate.highest_usd or 0) < 20


def test_a_dearer_estimate_a_higher_ceiling_and_another_experiment_ask_again(project, endpoint, cli):
    def price(usd):
        (project.folder / "safetycatch.yaml").write_text(
            f"prices: {{box/in-context: {{input_per_m: {usd}, output_per_m: {usd}}}}}\n"
        )

    def approved():
        (newest, *_) = project.runs()
        assert cli("approve", newest.run_id, "--as", "Ada", "--json")[1]["new"]
        return newest.run_id

    with endpoint() as box:
        price(10)
        path = project.write(TEXT, model=BOX)
        assert project.run(path).name == "Waits"
        first = approved()
        price(11)
        assert project.run(path).name == "Waits"
        assert approved() == first
        price(10)
        text = TEXT.replace("k: 4", "k: 3")
        other = project.write(text.replace("usd: 20", "usd: 0.2"), model=BOX)
        assert project.run(other).name == "Waits"
        second = approved()
        assert second != first
        assert project.run(project.write(text, model=BOX)).name == "Waits"
        assert box.stats()["received"] == 0
        path = project.write(TEXT, model=BOX)
        assert project.run(path).result()["run_id"] == first
    assert len(approvals(project, first)) == 2
    # Both sums are shown under the ceiling: that is what was said yes to.
    (said,) = approvals(project, second)
    assert said.estimate.expected_usd == said.estimate.highest_usd == 0.2


def test_answers_in_the_journal_cost_nothing_so_only_the_rest_is_asked_for(project, endpoint):
    with endpoint() as box:
        half = TEXT.replace("usd: 20, ask_above: 0.05", "usd: 20, calls: 200") + PRICES
        assert project.run(project.write(half, model=BOX)).name == "Budget"
        assert box.stats()["billed"] == 200
        state = project.run(project.write(TEXT.replace("0.05", "0.0001") + PRICES, model=BOX))
        assert state.name == "Waits"
        asked = project.runs()[0].summary["asked"]["estimate"]
        assert (asked["n_calls"], asked["n_from_journal"]) == (40, 200)
        left = asked["expected_usd"]
        below = TEXT.replace("0.05", str(left)) + PRICES
        result = project.run(project.write(below, model=BOX)).result()
        assert result["calls"]["sent"] == 40
        assert sc302(result)["status"] == "passed"
        again = project.run(project.write(TEXT.replace("0.05", "0") + PRICES, model=BOX)).result()
    assert again["calls"]["sent"] == 0
    assert sc302(again)["saw"].startswith("up to 0 calls (240 known or repeated)")
    assert not (project.store / LEDGER).exists() or approvals(project, again["run_id"]) == []


def test_the_estimate_is_what_the_sandbox_then_bills_in_calls(project, endpoint):
    """Rows of equal text are one call; replicates are not."""
    rows = [{"ticket_id": f"T{n}", "text": f"text {n // 2} about money", "label": "refund"} for n in range(40)]
    project.write_rows(rows)
    head = "data: {path: tickets.csv, id: ticket_id, input: text, target: label}\nsplit: {test: 1}\n"
    text = "candidates: [{id: a}, {id: b}]\nclaim: {metric: accuracy, smallest_effect: 8 points}\n"
    text = head + text + "runs: {replicates: 2}\nbudget: {usd: 20, ask_above: 100}\n" + PRICES
    with endpoint() as box:
        path = project.write(text, model=BOX)
        result = project.run(path, overrides={"SC208": "small"}).result()
        assert box.stats()["received"] == 40
    assert sc302(result)["saw"].startswith("up to 40 calls (120 known or repeated)")


def test_an_unknown_price_is_no_price_of_zero(project, endpoint, cli):
    with endpoint() as box:
        path = project.write(TEXT.replace("usd: 20", "calls: 2000"), model=BOX)
        assert project.run(path).name == "Waits"
        (stored,) = project.runs()
        assert stored.summary["asked"]["estimate"]["expected_usd"] is None
        assert "at a price that is not known" in stored.summary["error"]
        assert box.stats()["received"] == 0
        assert cli("approve", stored.run_id, "--as", "Ada", "--json")[1]["approved_usd"] is None
        assert project.run(path).result()["calls"]["sent"] == 240


def test_exploring_keeps_its_own_ceiling_beside_ask_above(project):
    path = project.write("models: [sandbox/in-context-priced]\nprompts: [route.md]\nbudget: {ask_above: 0}\n")
    state = project.run(path, unattended=False)
    assert state.name == "Waits"
    assert project.runs()[0].summary["asked"]["ceiling"] == "$1, 2,000 calls"


def test_r10_a_damaged_ledger_sends_nothing_and_the_run_goes_on_once_it_is_back(project, endpoint, cli):
    with endpoint() as box:
        path = project.write(TEXT + PRICES, model=BOX)
        project.run(path)
        (stored,) = project.runs()
        cli("approve", stored.run_id, "--as", "Ada")
        whole = (project.store / LEDGER).read_bytes()
        (project.store / LEDGER).write_bytes(whole[:5000])
        with pytest.raises(StoreError, match=r"(?s)ledger is damaged.*fix"):
            project.run(path).result()
        assert cli("approve", stored.run_id, "--as", "Ada")[0] == 10
        assert (project.store / LEDGER).read_bytes() == whole[:5000]
        assert box.stats()["received"] == 0
        (project.store / LEDGER).write_bytes(whole)
        assert project.run(path).result()["run_id"] == stored.run_id


def test_r01_a_run_killed_after_its_yes_goes_on_without_being_asked_again(project, endpoint, processes, until, cli):
    with endpoint(latency="10ms") as box:
        path = project.write(TEXT + PRICES, model=BOX)
        assert processes.wait(processes.start(project, path)) == 30
        (stored,) = project.runs()
        cli("approve", stored.run_id, "--as", "Ada")
        pid = processes.start(project, path)
        until(lambda: project.n_answers() >= 20, "calls")
        assert processes.kill(pid) == -signal.SIGKILL
        # Nothing is left of the process but the ledger and the journal; most of the sum is still to be paid.
        assert project.run(path).result()["run_id"] == stored.run_id
        assert box.stats()["distinct"] == 240
    assert project.answered_twice() == []


# -- at the command line ----------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "safetycatch.cli.main"]
OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture
def surroundings(project, environment):
    """Returns the environment of a command in the project: the session's Prefect server, no CI."""

    def now():
        own = {name: text for name, text in os.environ.items() if name.startswith("SAFETYCATCH_")}
        return {**{name: text for name, text in environment.items() if name != "CI"}, **own, "LOGNAME": "ada"}

    return now


class Terminal:
    """A command on a terminal of its own, which is its controlling one: control characters are signals."""

    def __init__(self, words, folder, environment):
        self._main, side = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *COMMAND, *words],
            stdin=side,
            stdout=side,
            stderr=side,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        os.close(side)
        self.text = ""

    def read(self, wanted=None, limit_s=90):
        """Read until `wanted` was shown, or to the end."""
        end = time.monotonic() + limit_s
        while wanted is None or wanted not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self._main], [], [], 0.1)[0]:
                try:
                    piece = os.read(self._main, 65536)
                except OSError:  # the other side is closed
                    break
                if not piece:
                    break
                self.text += piece.decode()
        return self.text

    def type(self, keys):
        os.write(self._main, keys.encode())

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._main)


@pytest.fixture
def terminal(project, surroundings):
    with contextlib.ExitStack() as opened:

        def start(*words, **more):
            found = Terminal(words, project.folder, surroundings() | more)
            opened.callback(found.close)
            return found

        yield start


@pytest.mark.parametrize(
    ("keys", "code", "status"),
    [("y\n", 0, "done"), ("\n", 30, "waits"), ("\x04", 30, "waits"), ("\x03", 130, "stopped")],
    ids=["yes", "enter", "end", "ctrl-c"],
)
def test_at_a_terminal_a_run_shows_the_sums_and_asks(project, endpoint, terminal, keys, code, status):
    with endpoint() as box:
        path = project.write(TEXT + PRICES, model=BOX)
        run = terminal("run", path.name)
        shown = run.read("[y/N] ")
        assert "up to 240 calls, $0.55 expected, $2.60 at most" in shown
        assert "ask_above $0.05, ceiling $20" in shown
        assert "as ada?" in shown
        assert project.n_intents() == box.stats()["received"] == 0
        run.type(keys)
        shown = run.read()
        assert run.process.wait(60) == code, shown
        assert box.stats()["billed"] == (240 if code == 0 else 0)
    (stored,) = project.runs()
    assert stored.status == status
    found = [(one.name, one.note) for one in approvals(project, stored.run_id)]
    assert found == ([("ada", "y at the terminal")] if code == 0 else [])
    if code:
        assert f"resume   safetycatch run {path.name}" in shown
    if code == 30:
        assert f"safetycatch approve {stored.run_id} --as NAME" in shown


def test_r01_a_run_killed_while_it_asks_is_asked_again(project, terminal):
    path = project.write(TEXT.replace("0.05", "0"), model="sandbox/in-context-priced")
    run = terminal("run", path.name)
    run.read("[y/N] ")
    (asking,) = project.runs()
    run.process.kill()
    run.process.wait(60)
    assert asking.status == "running"
    assert project.run(path).name == "Waits"
    assert [(stored.run_id, stored.status) for stored in project.runs()] == [(asking.run_id, "waits")]
    assert project.n_intents() == 0


def test_ci_with_a_terminal_is_not_asked(project, terminal):
    path = project.write(TEXT.replace("0.05", "0"), model="sandbox/in-context-priced")
    run = terminal("run", path.name, CI="true")
    assert "[y/N]" not in run.read()
    assert run.process.wait(60) == 30


def test_json_waits_with_a_document_and_yes_approves_as_the_one_named(project, surroundings):
    path = project.write(TEXT.replace("0.05", "0"), model="sandbox/in-context-priced")

    def command(*words):
        return subprocess.run(
            [*COMMAND, *words],
            cwd=project.folder,
            env=surroundings(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    waits = command("run", path.name, "--json")
    assert waits.returncode == 30, waits.stderr
    (stored,) = project.runs()
    error = json.loads(waits.stdout)["error"]
    assert (error["class"], error["exit_code"], error["run_id"]) == ("ApprovalNeededError", 30, stored.run_id)
    assert error["asked"]["estimate"]["n_calls"] == 240
    assert [row["code"] for row in error["findings"]] == ["SC302"]
    assert waits.stderr.count("SC302 waits") == 1
    goes = command("run", path.name, "--yes", "--as", "Bo Ek", "--json")
    assert goes.returncode == 0, goes.stderr
    assert json.loads(goes.stdout)["run_id"] == stored.run_id
    assert [(one.name, one.note) for one in approvals(project, stored.run_id)] == [("Bo Ek", "--yes")]


def test_two_people_approving_at_once_leave_one_approval(project, surroundings):
    project.run(project.write(TEXT.replace("0.05", "0"), model="sandbox/in-context-priced"))
    (stored,) = project.runs()
    both = [
        subprocess.Popen(
            [*COMMAND, "approve", stored.run_id, "--as", who, "--json"],
            cwd=project.folder,
            env=surroundings(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in ("Ada", "Bo")
    ]
    told = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(one["new"] for one in told) == [False, True]
    (row,) = approvals(project, stored.run_id)
    assert {one["approved_by"] for one in told} == {row.name}


# -- the property -----------------------------------------------------------------------------------------------------

N = 20
dollars = st.sampled_from([0.001, 0.01, 0.1])


@settings(max_examples=15)
@given(
    cost=st.one_of(st.none(), dollars),
    ask_above=st.sampled_from([0.0, 0.05, 0.5, 5.0]),
    approved=st.one_of(st.none(), dollars),
    answer=st.sampled_from([None, Consent("Ada")]),
    n_known=st.sampled_from([0, 7]),
)
def test_calls_are_sent_exactly_when_they_are_cheap_known_or_approved(
    tmp_path_factory, cost, ask_above, approved, answer, n_known
):
    """Whatever is known of the price, stands in the journal and in the ledger, and whoever is there to be asked."""
    folder, calls = tmp_path_factory.mktemp("yes"), []
    (folder / "safetycatch.yaml").write_text("")
    (folder / "t.csv").write_text("\n".join(["id,target,input", *(f"{n},{n % 2},text {n}" for n in range(N))]))
    path = folder / "e.yaml"

    def run(budget, ask=None):
        stated = "" if cost is None else f", max_cost_usd: {cost}"
        path.write_text(
            "data: {path: t.csv, id: id}\ntask: classify\nsplit: {test: 1}\n"
            f"candidates: [{{id: a, call: 'yes_to:a'{stated}}}, {{id: b, call: 'yes_to:b', max_cost_usd: 0}}]\n"
            "claim: {metric: accuracy, smallest_effect: 8 points}\n"
            f"budget: {{usd: 50, {budget}}}\n"
        )
        token = WATCHER.set(Watcher(ask=ask))
        try:
            run_experiment(path, call=as_function)
        except (ApprovalNeededError, BudgetReachedError):
            pass
        finally:
            WATCHER.reset(token)

    def asked(question, _stop):
        assert len(calls) == n_known
        assert "up to " in question
        return answer

    module = ModuleType("yes_to")
    module.a = module.b = lambda row: calls.append(row) or "1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "yes_to", module)
        if n_known:
            run(f"calls: {n_known}")
        run("calls: 2000, ask_above: 0")
        (stored,) = Runs(Store.open(folder / ".safetycatch")).ls(2)
        assert (stored.status, len(calls)) == ("waits", n_known)
        if approved is not None:
            estimate = Estimate(2 * N, 0, approved * N, approved * N, 0)
            with Ledger.open(folder / ".safetycatch" / LEDGER) as ledger:
                ledger.approve(Approval(stored.run_id, stored.identity, "Bo", "", datetime.now(UTC), "", estimate))
        run(f"calls: 2000, ask_above: {ask_above}", asked)
    left = None if cost is None else cost * (N - n_known)
    allowed = left is not None and (left <= ask_above or (approved is not None and left <= approved * N))
    assert len(calls) == (2 * N if allowed or answer else n_known)
