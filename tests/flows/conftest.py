"""One real Prefect server, one process that forks the runs to be killed, and small projects of support tickets."""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

# Before prefect is imported: a home of its own, nothing sent home, no pickle, and logs go to the server, not here.
HOME = Path(tempfile.mkdtemp(prefix="safetycatch-flows-"))
SETTINGS = {
    "PREFECT_HOME": str(HOME / "home"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)

import pytest  # noqa: E402

from safetycatch.cli.local_server import LocalServer  # noqa: E402
from safetycatch.sandbox import SandboxSettings, parse_fault, parse_latency, running  # noqa: E402
from safetycatch.sandbox.tickets import COLUMNS, make_tickets  # noqa: E402

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0
POLL_S = 0.002
# What two runs that did the same work may differ in.
OWN = ("run_id", "latency_s", "cost_usd", "n_tokens_cached")
PROMPT = "Route the ticket. One of: {{ labels | join(', ') }}.\n"


def until(condition, what, limit_s=LIMIT_S):
    """Return what `condition` returns once it is true; fail when that takes longer than `limit_s`."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(POLL_S)
    pytest.fail(f"{what}: not within {limit_s:g} s")


# -- Prefect ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def server():
    """A Prefect server with its scheduler, as `safetycatch up` starts it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setenv("PREFECT_HOME", str(HOME / "server"))
        started = LocalServer(HOME / "server.log", full=True)
    try:
        started.wait()
        yield started
    finally:
        _send_logs()
        started.stop()
        shutil.rmtree(HOME, ignore_errors=True)


def _send_logs():
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)


@pytest.fixture(scope="session")
def environment(server):
    """The environment of a process that talks to the server."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PREFECT_", "SAFETYCATCH_"))}
    return {**kept, **SETTINGS, "PREFECT_API_URL": server.url, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


class Api:
    """Asks the server over plain HTTP."""

    def __init__(self, url):
        self.url, self.results = url, None

    def post(self, path, **body):
        request = urllib.request.Request(  # noqa: S310 - our own loopback address
            f"{self.url}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            return json.loads(reply.read() or b"null")

    def get(self, path):
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=30) as reply:  # noqa: S310
            return json.loads(reply.read())

    def flow_run(self, run_id):
        return self.get(f"flow_runs/{run_id}")

    def task_runs(self, run_id):
        """The flow run's task runs, once all that were recorded have ended (they arrive as events, a bit later)."""

        def ended():
            found = self.post("task_runs/filter", flow_runs={"id": {"any_": [str(run_id)]}}, limit=200)
            done = found and all(one["state"] and one["state"]["type"] in {"COMPLETED", "FAILED"} for one in found)
            return found if done and any(one["name"].startswith("report") for one in found) else None

        return until(ended, "task runs recorded")

    def artifacts(self, run_id):
        found = self.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [str(run_id)]}}, limit=200)
        return {one["key"]: one for one in found if one["key"]}

    def logs(self, run_id):
        _send_logs()
        return self.post("logs/filter", logs={"flow_run_id": {"any_": [str(run_id)]}}, limit=200)


@pytest.fixture(scope="session")
def recorded(server):
    """What the server has recorded."""
    return Api(server.url)


@pytest.fixture
def api(server, recorded, tmp_path):
    """What the server has recorded; flows called here talk to it and keep what tasks return in `api.results`."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    results = tmp_path / "results"
    with temporary_settings(
        {PREFECT_API_URL: server.url, PREFECT_HOME: HOME / "home", PREFECT_LOCAL_STORAGE_PATH: results}
    ):
        recorded.results = results
        yield recorded


@pytest.fixture(scope="session")
def root():
    """The checkout's root."""
    return ROOT


@pytest.fixture(name="until", scope="session")
def _until():
    return until


@pytest.fixture(name="tickets", scope="session")
def _tickets():
    return tickets


# -- projects and runs ----------------------------------------------------------------------------------------------


def tickets(n):
    """Rows of the demo's tickets."""
    return [dict(zip(COLUMNS, (f"T{number:04d}", *row), strict=True)) for number, row in enumerate(_plain()[:n], 1)]


def _plain():
    return [(t.text, t.label, t.customer_id, t.created_at.isoformat(), t.language) for t in make_tickets()]


def as_csv(rows):
    """Rows as CSV text."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


class Project:
    """A folder with tickets, a prompt and experiments; `store` may be set to another one."""

    DATA = "{path: tickets.csv, id: ticket_id, input: text, target: label, group: customer_id, slices: [language]}"

    def __init__(self, folder, patch):
        self.folder, self._patch = folder, patch
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "safetycatch.yaml").write_text("")
        (folder / "route.md").write_text(PROMPT)
        self.write_rows(tickets(200))
        self.store = folder / ".safetycatch"

    @property
    def store(self):
        return self._store

    @store.setter
    def store(self, path):
        self._store = path
        self._patch.setenv("SAFETYCATCH_STORE", str(path))

    def write_rows(self, rows, name="tickets.csv"):
        (self.folder / name).write_text(as_csv(rows), encoding="utf-8")

    def write(self, text, name="e.yaml", model="sandbox/in-context"):
        """Write an experiment on the tickets; `text` is what it says besides."""
        path = self.folder / name
        head = "" if "data:" in text else f"data: {self.DATA}\n"
        task = "" if "task:" in text else "task: classify\n"
        defaults = "" if "defaults:" in text else f"defaults: {{prompt: route.md, model: {model}}}\n"
        path.write_text(head + task + defaults + text)
        return path

    def run(self, path, flow=None, **parameters):
        """Run the flow here; return its Prefect state, whose result is the promised JSON."""
        from flows.evaluate import evaluate

        return (flow or evaluate)(str(path), **parameters, return_state=True)

    def runs(self):
        """The stored runs, newest first."""
        from datetime import UTC, datetime

        from safetycatch.store import Runs, Store

        return Runs(Store.open(self.store, clock=lambda: datetime.now(UTC))).ls(100)

    def table(self, name, result=None):
        """A table of a result, or of the store's only artifact of a stage."""
        import pyarrow.parquet as pq

        if result is not None:
            return pq.read_table(Path(result["report"]).with_name(f"{name}.parquet"))
        (path,) = (self.store / "artifacts" / name).glob("*.parquet")
        return pq.read_table(path)

    def prepared(self):
        """What must be equal byte for byte in every store: splits, leaks, shots and what they are made of."""
        return {
            (path.parent.name, path.stem): path.read_bytes()
            for stage in ("load", "split", "split-ledger", "leakage", "fewshot")
            for path in (self.store / "artifacts" / stage).glob("*.parquet")
        }

    def tables(self, result):
        """The tables of a run without what is its own: run id, times, costs and what the provider had cached."""
        import pyarrow.compute as pc

        def same(table):
            table = table.drop_columns([column for column in OWN if column in table.column_names])
            return (
                table.filter(pc.invert(pc.starts_with(table["metric"], "latency")))
                if "metric" in table.column_names
                else table
            )

        return {name: same(self.table(name, result)) for name in ("rows", "scores", "comparisons")}

    def journal(self, query):
        """Rows of a query to the journal; none while it is not there."""
        path = self.store / "calls.db"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()

    def n_answers(self):
        return self.journal("SELECT count(*) FROM answer")[0][0] if (self.store / "calls.db").exists() else 0

    def n_intents(self):
        return self.journal("SELECT count(*) FROM intent")[0][0] if (self.store / "calls.db").exists() else 0

    def answered_twice(self):
        return self.journal("SELECT call_key, count(*) FROM answer GROUP BY call_key HAVING count(*) > 1")

    def n_open(self):
        return self.journal(
            "SELECT count(*) FROM intent WHERE intent_id NOT IN (SELECT intent_id FROM answer)"
            " AND intent_id NOT IN (SELECT intent_id FROM fault WHERE charge = 'none')"
        )[0][0]


@pytest.fixture
def project(tmp_path, api, monkeypatch):
    """A project of 200 tickets whose runs the server sees."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return Project(tmp_path / "project", monkeypatch)


@pytest.fixture
def endpoint(project, monkeypatch):
    """A sandbox of its own, called `{endpoint: box, model: …}`, whose `stats()` count what it billed."""

    @contextlib.contextmanager
    def serve(latency="0ms", faults=()):
        settings = SandboxSettings(latency=parse_latency(latency), faults=tuple(parse_fault(text) for text in faults))
        with running(settings) as sandbox:
            monkeypatch.setenv("SAFETYCATCH_ENDPOINT_BOX", sandbox.base_url)
            yield sandbox

    return serve


BOX = "{endpoint: box, model: in-context}"


# -- processes --------------------------------------------------------------------------------------------------------


class Processes:
    """Forks processes that run a flow; ends those that are left, by their ids."""

    def __init__(self, environment):
        self._launcher = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("launcher.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        self._left = set()

    def _ask(self, **order):
        self._launcher.stdin.write(json.dumps(order) + "\n")
        self._launcher.stdin.flush()
        return json.loads(self._launcher.stdout.readline())

    def start(self, project, path, **parameters):
        """Start a run; return its process id."""
        own = {name: text for name, text in os.environ.items() if name.startswith("SAFETYCATCH_")}
        pid = self._ask(start=str(path), parameters=parameters, environment=own, out=str(project.folder / "out"))["pid"]
        self._left.add(pid)
        return pid

    def wait(self, pid):
        """Wait for a process to end; return its exit code, -9 when it was killed."""
        code = self._ask(wait=pid)["code"]
        self._left.discard(pid)
        return code

    def kill(self, pid, number=signal.SIGKILL):
        os.kill(pid, number)
        return self.wait(pid)

    def stop(self):
        for pid in self._left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._launcher.stdin.close()
        self._launcher.wait(LIMIT_S)
        self._launcher.stdout.close()


@pytest.fixture(scope="session")
def processes(environment):
    """Runs in processes of their own."""
    started = Processes(environment)
    try:
        yield started
    finally:
        started.stop()
