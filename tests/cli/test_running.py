"""Real runs: each starts a Prefect server of its own."""

import os
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from safetycatch.cli.connection import connect, running_url
from safetycatch.cli.local_server import LocalServer, answers
from safetycatch.sandbox import Latency, SandboxSettings, running

pytestmark = pytest.mark.flow


@pytest.fixture
def project(cli, tmp_path):
    cli("init")
    return tmp_path


def test_a_run_prints_one_document_and_a_second_run_sends_nothing(project, command):
    first = command("run", "experiments/example.yaml", "--json", cwd=project)
    assert first.code == 0, first.err
    found = first.document
    assert found["calls"]["sent"] == found["calls"]["answered"] > 0
    assert {"run_id", "mode", "verdict", "candidates", "comparisons", "findings", "calls", "spent_usd", "wall_s"} < set(
        found
    )
    assert Path(found["report"]).is_file()
    second = command("run", "experiments/example.yaml", cwd=project)
    assert second.code == 0, second.err
    assert "0 calls, all from the journal" in second.out
    assert second.err == ""
    assert not [path for path in (project / ".safetycatch" / "logs").iterdir() if path.name.startswith("server")]


def test_users_modules_and_prints_do_not_disturb(project, command):
    folder = project / "experiments"
    (folder / "tasks.py").write_text(
        "import datasets, flows\ndef route(row):\n    print('noise')\n    return 'refund'\n"
    )
    (folder / "flows.py").write_text("")
    (folder / "datasets.py").write_text("")
    (folder / "mine.yaml").write_text(
        "data: {path: tickets.csv, id: ticket_id, input: text, target: label}\n"
        "candidates: [{id: own, call: 'tasks:route'}]\n"
    )
    ended = command("run", "experiments/mine.yaml", "--json", cwd=project)
    assert ended.code == 0, ended.err
    assert ended.document["candidates"][0]["id"] == "own"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_the_printed_command_resumes(project, started, command, wait_for, number):
    (project / "experiments" / "slow.yaml").write_text(
        "data: {path: tickets.csv, id: ticket_id, input: text, target: label}\nprompts: [example.md]\n"
        "models: [{endpoint: slow, model: in-context}]\nruns: {concurrency: 2}\nbudget: {calls: 100}\n"
    )
    with running(SandboxSettings(latency=Latency(0.2))) as server:
        more = {"SAFETYCATCH_ENDPOINT_SLOW": server.base_url}
        process = started("run", "experiments/slow.yaml", **more)
        wait_for(lambda: server.stats()["received"] > 4)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 128 + number, out + err
        assert err.rstrip().endswith("resume   safetycatch run experiments/slow.yaml")
        before = server.stats()["received"]
        ended = command("run", "experiments/slow.yaml", "--json", cwd=project, **more)
        assert ended.code == 0, ended.err
        assert ended.document["calls"]["from_journal"] > 0
        assert ended.document["calls"]["sent"] == server.stats()["received"] - before


def test_a_local_server_dies_with_its_parent(tmp_path, wait_for, prefect_home, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(prefect_home))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        server = LocalServer(tmp_path / "server.log")
        os.write(write, f"{server.url}\n".encode())
        signal.pause()
    os.close(write)
    with os.fdopen(read) as told:
        url = told.readline().strip()
    try:
        wait_for(lambda: answers(url))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    wait_for(lambda: not answers(url), 10)


def test_a_named_server_is_used_and_none_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with connect(tmp_path) as connection:
        assert connection.server is None
        assert connection.url == "http://127.0.0.1:9/api"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"api_url": 5}', '{"api_url": "http://example.com/api"}'])
def test_a_record_that_is_no_local_server_is_passed_over(tmp_path, text):
    (tmp_path / "up.json").write_text(text)
    assert running_url(tmp_path) is None


def test_up_serves_the_ui_and_a_run_finds_it(project, started, command, wait_for):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = started("up", "--port", str(port), "--no-worker")
    record = project / ".safetycatch" / "up.json"
    wait_for(record.is_file)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as reply:
        assert reply.status == 200
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ui-settings", timeout=20) as reply:
        assert f"http://127.0.0.1:{port}/api" in reply.read().decode()
    assert running_url(project / ".safetycatch") == f"http://127.0.0.1:{port}/api"
    assert "up already" in command("up", cwd=project).err
    assert "(safetycatch up)" in command("doctor", cwd=project).out
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert not record.exists()
    assert not answers(f"http://127.0.0.1:{port}/api")


def test_up_on_a_taken_port_exits_2(cli):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = cli("up", "--port", str(taken.getsockname()[1]))
    assert ended.code == 2
    assert "--port" in ended.err
