"""Calls as a run makes them: the evaluate stage (prompts, engine, journal, rows, parsing) against a bare aiohttp loop.

    python benchmarks/calls_flow.py [--n 2000] [--concurrency 64] [--latency 50ms] [--rounds 5]

Both talk to one echo server in a process of its own and send the same bodies. window: seconds from the first request
to the last answer. cpu: user + system of this process, milliseconds a call; for the stage that is everything from the
example rows to the stored Parquet file. Bars: window at most 1.25x the bare loop's, cpu at most 0.8 ms a call. Best of
the rounds, since other work on the machine only adds; `again` is the same stage from the journal, its file removed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from flows.answers import answer
from flows.chain import as_function, prepare
from flows.evaluate import policy_of
from safetycatch.calls import Engine
from tasks.calling import read_table, requests_of, shard_rows
from tasks.session import current, session
from tasks.start import read_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks.prepared import Prepared

WINDOW_BAR, CPU_BAR_MS = 1.25, 0.8
SERVER = (
    "import sys; from safetycatch.sandbox import SandboxSettings, serve;"
    " serve(SandboxSettings.from_options(latency=sys.argv[1]))"
)
EXPERIMENT = """
data: {path: rows.jsonl, id: id}
task: classify
split: {test: 1}
defaults: {prompt: ask.md, model: {endpoint: echo, model: echo}, params: {temperature: 0, max_tokens: 20}}
candidates: [{id: zero}, {id: unused, params: {temperature: 1}}]
claim: {metric: accuracy, smallest_effect: 3 points}
runs: {concurrency: CONCURRENCY}
budget: {usd: 5, calls: 1000000}
prices: {echo/echo: {input_per_m: 0.15, output_per_m: 0.6}}
"""
PROMPT = "Route the ticket. Answer with one label:\n{% for label in labels %}\n- {{ label }}\n{% endfor %}\n"
LABELS = ("billing", "technical", "sales")


def write(folder: Path, n: int, concurrency: int, salt: str) -> Path:
    rows = [
        {
            "id": f"r{row}",
            "input": f"{salt} ticket {row}: the invoice of last month was charged twice, please refund one of them. "
            * 2,
            "target": LABELS[row % 3],
        }
        for row in range(n)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "ask.md").write_text(PROMPT)
    path = folder / "x.yaml"
    path.write_text(EXPERIMENT.replace("CONCURRENCY", str(concurrency)))
    return path


async def bare(base_url: str, bodies: list[bytes], concurrency: int) -> tuple[float, float]:
    """Return window and CPU of a loop that does nothing but send prepared bodies and read the answers."""
    waiting = iter(bodies)
    cpu = time.process_time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

        async def work() -> None:
            for body in waiting:
                async with client.post(f"{base_url}/chat/completions", data=body) as response:
                    assert json.loads(await response.read())["choices"]

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        window = time.perf_counter() - start
    return window, 1000 * (time.process_time() - cpu) / len(bodies)


def bodies_of(prepared: Prepared) -> list[bytes]:
    """Return the bodies that the stage will send."""
    place, entry = prepared.place, prepared.entries[0]
    rows = shard_rows(read_table(place, prepared.examples), list(prepared.ids))
    return [
        json.dumps(request.body).encode() for request in requests_of(place, entry, rows, None, prepared.examples, 1)
    ]


@contextmanager
def timed_engine(windows: list[float]) -> Iterator[None]:
    """Note how long every run of the engine takes."""
    plain = Engine.answer

    async def timed(self: Engine, *arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        counts = await plain(self, *arguments, **named)
        windows.append(time.perf_counter() - start)
        return counts

    Engine.answer = timed
    try:
        yield
    finally:
        Engine.answer = plain


def round_of(path: Path, base_url: str, concurrency: int) -> dict[str, tuple[float, float]]:
    """Run the bare loop, then the stage, then the stage from the journal; return window and CPU of each."""
    inputs = read_inputs(path)
    place = inputs.place("bench")
    found: dict[str, tuple[float, float]] = {}
    with session(place, inputs.experiment, inputs.project):
        prepared = prepare(inputs, place, policy_of(inputs, {}), as_function, unattended=False)
        prepared = replace(prepared, entries=prepared.entries[:1])
        bodies = bodies_of(prepared)
        found["bare loop"] = asyncio.run(bare(base_url, bodies, concurrency))
        for name in ("stage", "again"):
            windows: list[float] = []
            sent = current().journal.spent("bench").calls
            cpu = time.process_time()
            with timed_engine(windows):
                answer(prepared, as_function, lambda _replies: None)
            found[name] = sum(windows), 1000 * (time.process_time() - cpu) / len(bodies)
            sent = current().journal.spent("bench").calls - sent
            assert sent == (len(bodies) if name == "stage" else 0), (name, sent)
            shutil.rmtree(place.open_store().root / "artifacts" / "evaluate")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", default="50ms")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    server = subprocess.Popen([sys.executable, "-c", SERVER, options.latency], stdout=subprocess.PIPE, text=True)
    rounds: list[dict[str, tuple[float, float]]] = []
    try:
        assert server.stdout is not None
        base_url = server.stdout.readline().split()[-1]
        os.environ["SAFETYCATCH_ENDPOINT_ECHO"] = base_url
        for turn in range(options.rounds + 1):
            with tempfile.TemporaryDirectory(prefix="calls-flow-") as name:
                os.environ["SAFETYCATCH_STORE"] = f"{name}/store"
                n = options.n if turn else 100  # the first warms imports and the server
                path = write(Path(name), n, options.concurrency, f"round {turn}")
                rounds += [round_of(path, base_url, options.concurrency)][: turn or None]
    finally:
        server.terminate()
        server.wait()
    rounds = rounds[1:]
    best = {name: tuple(min(r[name][k] for r in rounds) for k in (0, 1)) for name in rounds[0]}
    base = best["bare loop"][0]
    print(
        f"{options.n} prompts, {options.concurrency} at once, {options.latency}; best of {options.rounds} rounds, ",
        end="",
    )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("\n| | window, s | of the bare loop | cpu, ms a call | all rounds: window, s | cpu, ms |")
    print("|---|---|---|---|---|---|")
    for name, (window, cpu) in best.items():
        listed = [" ".join(f"{r[name][k]:.2f}" for r in rounds) for k in (0, 1)]
        print(f"| {name} | {window:.2f} | {window / base:.2f}x | {cpu:.2f} | {listed[0]} | {listed[1]} |")
    window, cpu = best["stage"]
    print(f"\nbars: {WINDOW_BAR}x and {CPU_BAR_MS} ms: ", end="")
    print("held" if window <= WINDOW_BAR * base and cpu <= CPU_BAR_MS else "MISSED")


if __name__ == "__main__":
    main()
