"""The engine's LiteLLM route against plain `litellm.acompletion`, in one run, on one sandbox.

    python -m benchmarks calls_litellm [--n 1000] [--concurrency 64] [--latency 50ms] [--rounds 5] [--shape openai]

Both with LiteLLM's aiohttp transport and the same settings (retries, caches and callbacks off); rounds alternate, and
who goes first as well. wall: with opening and closing connections. cpu: user + system of this process, milliseconds a
call; the engine's includes keys, journal, prices and rows. Judged are the medians of the ratios of rounds that ran side
by side.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from safetycatch.calls import Budget, Endpoint, Engine, EngineSettings, Journal, Prices, Request
from safetycatch.calls.transports.litellm import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.calls import Reply

BAR = 1.10
SERVER = (
    "import sys; from safetycatch.sandbox import SandboxSettings, serve;"
    " serve(SandboxSettings.from_options(latency=sys.argv[1]))"
)
KEY = "sk-benchmark"
PRICES = Prices({"*/echo": {"input_per_m": 0.15, "output_per_m": 0.6}})


def body(model: str, i: int, salt: str) -> dict[str, Any]:
    text = f"{salt} ticket {i}: the invoice of last month was charged twice, please refund one of them. " * 2
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": "Route the ticket to billing, technical or sales. Answer with one word."},
            {"role": "user", "content": text},
        ],
        "temperature": 0,
        "max_tokens": 20,
    }


async def plain(litellm: Any, base: str, model: str, n: int, concurrency: int, salt: str) -> None:
    numbers = iter(range(n))
    settings = {"api_base": base, "api_key": KEY, "num_retries": 0, "max_retries": 0, "timeout": 180, "caching": False}

    async def work() -> None:
        for i in numbers:
            response = await litellm.acompletion(**body(model, i, salt), **settings)
            assert response.choices[0].message.content
            assert response.usage.prompt_tokens

    await asyncio.gather(*(work() for _ in range(concurrency)))
    await litellm.close_litellm_async_clients()


async def ours(base: str, model: str, n: int, concurrency: int, salt: str, path: Path) -> None:
    endpoint = Endpoint("bench", "litellm", base, "BENCH_KEY")
    rows: list[tuple[Any, ...]] = []

    def requests() -> Iterator[Request]:
        for i in range(n):
            yield Request(endpoint, body(model, i, salt), "zero", str(i), 0, 20)

    def keep(request: Request, reply: Reply) -> None:
        rows.append((request.key, request.example_id, reply.state, reply.text, reply.n_tokens_in, reply.cost_usd))

    with Journal.open(path) as journal:
        run = Engine(journal, PRICES, Budget(usd=5), EngineSettings(concurrency=concurrency), run_id="bench")
        counts = await run.answer(requests(), keep)
    assert counts.answered == len(rows) == n
    assert not counts.errors


def main() -> int:
    import os

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", default="50ms")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", choices=["openai", "anthropic"], default="openai")
    options = parser.parse_args()
    os.environ["BENCH_KEY"] = KEY
    n, concurrency, model = options.n, options.concurrency, f"{options.shape}/echo"
    litellm = load()
    server = subprocess.Popen([sys.executable, "-c", SERVER, options.latency], stdout=subprocess.PIPE, text=True)
    found: dict[str, list[tuple[float, float]]] = {"plain": [], "ours": []}
    try:
        assert server.stdout is not None
        base = server.stdout.readline().split()[-1]
        base = base if options.shape == "openai" else base.removesuffix("/v1")
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(-1, options.rounds):
                # Round -1 warms up and is not counted.
                size = n if turn >= 0 else 64
                for name in ("plain", "ours") if turn % 2 else ("ours", "plain"):
                    salt = f"{name}{turn}"
                    gc.collect()
                    began, used = time.perf_counter(), time.process_time()
                    if name == "plain":
                        asyncio.run(plain(litellm, base, model, size, concurrency, salt))
                    else:
                        asyncio.run(ours(base, model, size, concurrency, salt, Path(folder) / f"{turn}.db"))
                    wall, cpu = time.perf_counter() - began, time.process_time() - used
                    if turn >= 0:
                        found[name].append((wall, cpu * 1000 / n))
    finally:
        server.terminate()
        server.wait()
    print(f"{options.shape}: {n} prompts, {concurrency} at once, {options.latency}; {options.rounds} rounds each")
    for name, results in found.items():
        walls, cpus = zip(*results, strict=True)
        print(
            f"{name:6} wall {median(walls):6.2f} s (best {min(walls):.2f})   "
            f"cpu {median(cpus):5.2f} ms (best {min(cpus):.2f})"
        )
    late = 0
    for position, what in enumerate(("wall", "cpu")):
        ratios = [us[position] / them[position] for us, them in zip(found["ours"], found["plain"], strict=True)]
        best = min(us[position] for us in found["ours"]) / min(them[position] for them in found["plain"])
        late += median(ratios) > BAR
        told = "met" if median(ratios) <= BAR else "missed"
        print(f"{what:4} ours / plain: median {median(ratios):.3f}, best rounds {best:.3f}; bar {BAR} {told}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
