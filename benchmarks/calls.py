"""The call engine against a bare aiohttp loop, in one run, on one sandbox with 50 ms latency.

    python benchmarks/calls.py [--n 2000] [--concurrency 64] [--latency 50ms] [--rounds 3]

window: first request sent to last answer read, seconds. cpu: user + system of this process, milliseconds a call;
the engine's includes building requests and rows and the journal.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import aiohttp

from safetycatch.calls import Budget, Endpoint, Engine, EngineSettings, Journal, Prices, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.calls import Reply

SERVER = (
    "import sys; from safetycatch.sandbox import SandboxSettings, serve;"
    " serve(SandboxSettings.from_options(latency=sys.argv[1]))"
)


def body(i: int, salt: str) -> dict[str, object]:
    text = f"{salt} ticket {i}: the invoice of last month was charged twice, please refund one of them. " * 2
    return {
        "model": "echo",
        "messages": [
            {"role": "system", "content": "Route the ticket to billing, technical or sales. Answer with one word."},
            {"role": "user", "content": text},
        ],
        "temperature": 0,
        "max_tokens": 20,
    }


async def raw(base_url: str, n: int, concurrency: int, salt: str) -> tuple[float, float]:
    numbers = iter(range(n))
    cpu = time.process_time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for i in numbers:
                async with session.post(f"{base_url}/chat/completions", data=json.dumps(body(i, salt))) as response:
                    assert json.loads(await response.read())["choices"]

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        window = time.perf_counter() - start
    return window, (time.process_time() - cpu) * 1000 / n


async def engine(base_url: str, n: int, concurrency: int, salt: str, path: Path) -> tuple[float, float, int]:
    endpoint = Endpoint("sandbox", "direct", base_url)
    rows: list[tuple[object, ...]] = []

    def requests() -> Iterator[Request]:
        for i in range(n):
            yield Request(endpoint, body(i, salt), "zero", str(i), 0, 20)

    def on_reply(request: Request, reply: Reply) -> None:
        rows.append(
            (
                *("run", request.candidate, request.example_id, request.replicate, reply.state, reply.text),
                *(request.model, reply.model_returned, reply.n_tokens_in, reply.n_tokens_cached, reply.n_tokens_out),
                *(reply.cost_usd, reply.latency_s, request.key, reply.error_class),
            )
        )

    cpu, start = time.process_time(), time.perf_counter()
    with Journal.open(path) as journal:
        run = Engine(journal, Prices(), Budget(usd=5), EngineSettings(concurrency=concurrency), run_id="bench")
        counts = await run.answer(requests(), on_reply)
    wall = time.perf_counter() - start
    assert len(rows) == n
    assert not counts.errors
    return wall, (time.process_time() - cpu) * 1000 / n, counts.sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", default="50ms")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    n, concurrency = options.n, options.concurrency
    server = subprocess.Popen([sys.executable, "-c", SERVER, options.latency], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        base_url = server.stdout.readline().split()[-1]
        found: dict[str, list[tuple[float, float]]] = {"raw": [], "engine": [], "again": []}
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(options.rounds):
                path = Path(folder) / f"{turn}.db"
                found["raw"].append(asyncio.run(raw(base_url, n, concurrency, f"raw{turn}")))
                wall, cpu, sent = asyncio.run(engine(base_url, n, concurrency, f"engine{turn}", path))
                assert sent == n
                found["engine"].append((wall, cpu))
                wall, cpu, sent = asyncio.run(engine(base_url, n, concurrency, f"engine{turn}", path))
                assert sent == 0
                found["again"].append((wall, cpu))
    finally:
        server.terminate()
        server.wait()
    ideal = n / concurrency * float(options.latency.removesuffix("ms")) / 1000
    base = median(window for window, _ in found["raw"])
    least = min(window for window, _ in found["raw"])
    print(f"{n} prompts, {concurrency} at once, {options.latency}: ideal {ideal:.2f} s; medians of {options.rounds}")
    for name, results in found.items():
        window, cpu = median(r[0] for r in results), median(r[1] for r in results)
        # The best rounds are the ones least disturbed by whatever else the machine does.
        best = min(r[0] for r in results)
        ratios = f"{window / base:5.2f}x raw  best {best:6.2f} s  {best / least:5.2f}x raw"
        print(f"{name:8} window {window:6.2f} s  {ratios}  cpu {cpu:5.2f} ms")
    print("litellm loaded:", "litellm" in sys.modules)


if __name__ == "__main__":
    main()
