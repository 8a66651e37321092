import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from safetycatch.cli.main import main
from safetycatch.store import Runs, Store
from safetycatch.tables import schema

CLEARED = ("SAFETYCATCH_", "PREFECT_API_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")
COMMAND = [sys.executable, "-m", "safetycatch.cli.main"]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(CLEARED)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(capfd) -> Iterator[Callable[..., Ended]]:
    """The command line in this process: quick, but prefect is imported once and for all."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*words: str) -> Ended:
        capfd.readouterr()
        code = main(words)
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def environment(prefect_home) -> dict[str, str]:
    """What a process of its own gets."""
    return {**os.environ, "PREFECT_HOME": str(prefect_home)}


@pytest.fixture
def command(environment) -> Callable[..., Ended]:
    """The command line as a process of its own."""

    def call(*words: str, cwd: Path | None = None, **more: str) -> Ended:
        done = subprocess.run(
            [*COMMAND, *words],
            capture_output=True,
            text=True,
            env=environment | more,
            cwd=cwd,
            timeout=240,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def started(environment) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A command in the background, killed at the end if it is still there."""
    running: list[subprocess.Popen[str]] = []

    def call(*words: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment | more
        )
        running.append(process)
        return process

    yield call
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """Waits until `seen()` is true; fails after `limit_s` seconds."""

    def wait(seen: Callable[[], object], limit_s: float = 120.0) -> None:
        end = time.monotonic() + limit_s
        while not seen():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.05)

    return wait


METRIC = {"name": "accuracy", "unit": "points", "higher_is_better": True, "rate": True, "corpus": False}


@pytest.fixture
def stored(tmp_path) -> Callable[..., str]:
    """Writes a finished run: `{candidate: {example_id: score}}`; contents may differ by item."""
    store = Store.open(tmp_path / ".safetycatch")

    def write(scores: dict[str, dict[str, float]], content: dict[str, str] | None = None, name: str = "demo") -> str:
        ids = list(next(iter(scores.values())))
        with Runs(store).begin(name, f"{name}-{datetime.now(UTC):%H%M%S%f}", config={}, now=datetime.now(UTC)) as run:
            rows = [
                {
                    "run_id": run.run_id,
                    "candidate": c,
                    "example_id": e,
                    "replicate": 0,
                    "metric": "accuracy",
                    "value": v,
                }
                for c, values in scores.items()
                for e, v in values.items()
            ]
            run.write_table("scores", pa.Table.from_pylist(rows, schema=schema("scores")))
            texts = [(content or {}).get(example_id, "same") for example_id in ids]
            run.write_table("items", pa.table({"example_id": ids, "cluster_id": ids, "content": texts}))
            run.write_text("report.html", "<html></html>")
            run.write_text("report.md", "### EXPLORING: demo\n")
            found = [
                {"id": c, "split": "dev", "n": len(ids), "n_missing": 0, "estimate": 0.5, "low": None, "high": None,
                 "cost_usd": 0.0, "status": "scored"}
                for c in scores
            ]  # fmt: skip
            result = {
                "run_id": run.run_id, "verdict": "EXPLORING", "candidates": found, "findings": [], "spent_usd": 0.25,
                "banner": {"kind": "EXPLORING", "sentence": "as told \x1b[31m", "check": "", "action": "go on"},
                "calls": {"sent": 0, "from_journal": 9, "errors": 0, "perhaps_paid": 0},
            }  # fmt: skip
            command = f"safetycatch run {name}.yaml"
            run.finish("done", {"result": result, "summary": {"metric": METRIC}, "command": command})
            return run.run_id

    return write
