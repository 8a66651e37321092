"""Two real jobs, as a new user would run them, over HTTP against a sandbox in its own process.

A  Banking77 on its given split: refused by SC501, overridden, killed half-way, resumed, repeated; then our own split.
B  BIG-Bench Hard, direct answers against chain of thought: 13,022 recorded outputs replayed by candidate and item id.

    python -m benchmarks.jobs [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

COMMAND = [str(Path(sys.executable).with_name("safetycatch"))]
PROMPT = """Name the intent of the customer's message. Answer with one label and nothing else:
{% for label in labels %}
- {{ label }}
{% endfor %}
"""
BANK = """data: {path: banking77.parquet, id: item_id, input: text, target: label}
%s
defaults: {prompt: intent.md, model: {endpoint: jobs, model: in-context}, params: {temperature: 0}}
candidates:
  - {id: zero}
  - {id: static8, shots: {select: static, k: 8}}
  - {id: knn8, shots: {select: knn, k: 8}}
claim: {metric: accuracy, smallest_effect: 3 points}
budget: {calls: %d}
"""
BBH = """data: {path: items.parquet, id: item_id, input: input, target: target, group: task, slices: [task]}
split: {test: 1}
task: answer
defaults: {prompt: question.md, model: {endpoint: jobs, model: replay}, send_ids: true}
candidates: [{id: direct}, {id: cot}]
scorers: [final_answer]
claim: {metric: final_answer, smallest_effect: 3 points}
budget: {calls: 20000}
"""
KILL_AFTER_CALLS = 4600
START_S = 30.0


class Server:
    """A sandbox in a process of its own."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "sandbox", "--port", "0", *options], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().rsplit(" ", 1)[-1]

    def received(self) -> int:
        """Return how many requests have come in."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats", timeout=10) as reply:  # noqa: S310
            return int(json.loads(reply.read())["received"])

    def stop(self) -> None:
        """Stop it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def run(folder: Path, server: Server, name: str, *options: str, kill_after: int | None = None) -> dict[str, Any]:
    """Run one experiment; return its exit code, wall seconds, requests that the server saw, and its JSON."""
    environment = {**os.environ, "SAFETYCATCH_ENDPOINT_JOBS": server.url}
    before, began = server.received(), time.monotonic()
    process = subprocess.Popen(
        [*COMMAND, "run", name, *options, "--json"],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    while kill_after is not None and process.poll() is None:
        if server.received() - before >= kill_after:
            process.kill()
            break
        time.sleep(0.02)
    output, _ = process.communicate()
    seen = json.loads(output) if output.strip() else {}
    return {
        "rc": process.returncode,
        "wall_s": round(time.monotonic() - began, 1),
        "requests": server.received() - before,
        "json": seen,
    }


def shown(label: str, found: dict[str, Any]) -> None:
    """Print one row."""
    seen = found["json"]
    calls = seen.get("calls", {})
    verdict = seen.get("verdict") or "/".join(
        finding["code"] for finding in seen.get("error", {}).get("findings", []) or []
    )
    scores = ", ".join(f"{row['id']} {100 * row['estimate']:.2f}" for row in seen.get("candidates", []))
    print(
        f"{label:<46} rc {found['rc']:>3}  {found['wall_s']:>6} s  requests {found['requests']:>6}  "
        f"journal {calls.get('from_journal', '-'):>6}  perhaps paid {calls.get('perhaps_paid', '-'):>3}  "
        f"{verdict or '-'}  {scores}"
    )
    if seen.get("banner"):
        print(f"{'':<46} {seen['banner']['sentence']}")


def expect(job: str, met: bool) -> None:
    """End with an error when a job did not do what it must."""
    if not met:
        sys.exit(f"job {job} did not reproduce what it must")


def job_a(data: Path, folder: Path) -> None:
    """Banking77."""
    (folder / "safetycatch.yaml").write_text("store: .safetycatch\n")
    (folder / "intent.md").write_text(PROMPT)
    (folder / "banking77.parquet").write_bytes((data / "banking77" / "banking77.parquet").read_bytes())
    (folder / "bank.yaml").write_text(BANK % ("split: {column: split}", 12_000))
    (folder / "own.yaml").write_text(
        BANK % ("# our own split: 20 % dev, the pool at most 200 rows, the rest test", 32_000)
    )
    server = Server()
    try:
        shown("A1 given split", run(folder, server, "bank.yaml"))
        override = ("--override", "SC501", "--because", "public benchmark")
        killed = run(folder, server, "bank.yaml", *override, kill_after=KILL_AFTER_CALLS)
        shown("A2 overridden, killed half-way (kill -9)", killed)
        resumed = run(folder, server, "bank.yaml", *override)
        shown("A3 the same command again", resumed)
        shown("A4 once more", run(folder, server, "bank.yaml", *override))
        print(f"{'':<46} sent twice: {killed['requests'] + resumed['requests'] - 9240} of 64 in flight at the kill")
        own = run(folder, server, "own.yaml")
        shown("A5 our own split", own)
        expect("A", killed["requests"] + resumed["requests"] - 9240 <= 64 and resumed["rc"] == own["rc"] == 0)
    finally:
        server.stop()


def job_b(data: Path, folder: Path) -> None:
    """BIG-Bench Hard."""
    source = data / "bbh_direct_vs_cot"
    (folder / "safetycatch.yaml").write_text("store: .safetycatch\n")
    (folder / "question.md").write_text("Answer the question.\n")
    (folder / "items.parquet").write_bytes((source / "items.parquet").read_bytes())
    (folder / "bbh.yaml").write_text(BBH)
    table = pq.read_table(source / "model_outputs.parquet")
    names = {"code-davinci-002-direct": "direct", "code-davinci-002-cot": "cot"}
    candidates = [names[system] for system in table["system"].to_pylist()]
    recorded = {"candidate": candidates, "example_id": table["item_id"], "output": table["completion"]}
    pq.write_table(pa.table(recorded), folder / "outputs.parquet")
    server = Server("--replay", str(folder / "outputs.parquet"))
    try:
        found = run(folder, server, "bbh.yaml")
        shown("B1 replayed over HTTP", found)
        right = [round(row["estimate"] * row["n"]) for row in found["json"]["candidates"]]
        print(f"{'':<46} right answers {right}, the card says [3408, 4816] of 6511")
        difference = found["json"]["comparisons"][0]["estimate"]
        expect("B", right == [3408, 4816] and abs(difference - (4816 - 3408) / 6511) < 1e-12)
        shown("B2 once more", run(folder, server, "bbh.yaml"))
    finally:
        server.stop()


def main() -> None:
    """Run both jobs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    data = parser.parse_args().data
    if not data.is_dir():
        sys.exit(f"no data folder {data}: pass --data")
    for job in (job_a, job_b):
        with tempfile.TemporaryDirectory() as folder:
            job(data, Path(folder))


if __name__ == "__main__":
    main()
