"""Rows about speed and memory: the window against a bare loop, CPU a sample, RSS, and a run of 100,000 calls."""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING

from calls_processes import HERE, Process, Server, run
from calls_rows import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from calls_rows import Options

LATENCY_S = 0.05
WINDOW_BARS = {64: 1.10, 256: 1.25}
CPU_BAR_MS = 0.6
RSS_BAR_MB = 100
# Between 20,000 and 100,000 calls; the journal's page cache and Parquet's footer are not calls kept in memory.
FLAT_BAR = 1.05


def window(options: Options) -> Iterator[Figure]:
    """First request received to last byte written, on a server that only waits, engine and bare loop in turns."""
    n = options.n(2000)
    for concurrency, bar in WINDOW_BARS.items():
        windows: dict[str, list[float]] = {"bare": [], "engine": []}
        for turn in range(options.rounds):
            for client, found in windows.items():
                with Server(bare_s=LATENCY_S) as server:
                    job = {"client": client, "n": n, "concurrency": concurrency, "salt": f"{client}{turn}"}
                    ran = run(server, options.fresh(), **job)
                    stats = server.stats()
                assert stats["received"] == n
                assert ran.get("correct", n) == n
                found.append(stats["window_s"])
        bare, ours = windows["bare"], windows["engine"]
        ratio, best = median(ours) / median(bare), min(ours) / min(bare)
        ideal = n / concurrency * LATENCY_S
        figure = f"{ratio:.2f}x raw aiohttp (best rounds {best:.2f}x): {median(ours):.2f} s, raw {median(bare):.2f} s, "
        figure += f"ideal {ideal:.2f} s; medians of {options.rounds}"
        yield Figure(f"window, {n:,} prompts, 50 ms, {concurrency} at once", figure, f"≤ {bar:.2f}x", ratio <= bar)


def cpu(options: Options) -> Iterator[Figure]:
    """CPU a sample above start-up: requests, engine, journal, scoring, rows."""
    n, found, again = options.n(2000), list[float](), list[float]()
    for _ in range(options.rounds):
        with Server(bare_s=LATENCY_S) as server:
            folder = options.fresh()
            found.append(1000 * run(server, folder, n=n)["cpu_s"] / n)
            again.append(1000 * run(server, folder, n=n)["cpu_s"] / n)
            assert server.stats()["received"] == n
    figure = f"{median(found):.2f} ms ({min(found):.2f} to {max(found):.2f}); from the journal {median(again):.2f} ms"
    yield Figure(f"CPU a sample, all in, {n:,} prompts", figure, f"≤ {CPU_BAR_MS} ms", median(found) <= CPU_BAR_MS)


def memory(options: Options) -> Iterator[Figure]:
    """The highest RSS of the whole script."""
    n = options.n(10_000)
    with Server(latency="0ms") as server:
        found = run(server, options.fresh(), n=n)
    ok = found["peak_mb"] <= RSS_BAR_MB and not found["litellm"]
    figure = f"{found['peak_mb']:.0f} MB, litellm {'LOADED' if found['litellm'] else 'not loaded'}"
    yield Figure(f"highest RSS, {n:,} prompts", figure, f"≤ {RSS_BAR_MB} MB", ok)


def litellm(options: Options) -> Iterator[Figure]:
    """The LiteLLM route, by the script beside this one."""
    for shape in ("openai", "anthropic"):
        asked = ["--shape", shape, "--n", str(options.n(1000)), "--rounds", str(options.rounds)]
        ended = Process([sys.executable, str(HERE / "calls_litellm.py"), *asked]).end()
        said = ended.out.strip().splitlines()[-2:] if ended.status in {0, 1} else ended.err.strip().splitlines()[-1:]
        figure = "; ".join(" ".join(line.split()) for line in said)
        yield Figure(
            f"LiteLLM route against litellm.acompletion, {shape}", figure, "≤ 1.10x, wall and CPU", not ended.status
        )


def flat(options: Options) -> Iterator[Figure]:
    """RSS on the way through 100,000 calls against the sandbox."""
    n = options.n(100_000)
    looks = [n // 50, n // 5, n // 2, n]
    with Server(latency="0ms") as server:
        found = run(server, options.fresh(), n=n, look_at=looks)
        stats = server.stats()
    rss = [found["rss_mb"][str(look)] for look in looks]
    shown = ", ".join(f"{mb:.1f} MB at {look:,}" for mb, look in zip(rss, looks, strict=True))
    ok = rss[-1] <= FLAT_BAR * rss[1] and found["correct"] == stats["billed"] == n
    figure = f"{shown}; {found['lost']} lost, {stats['billed'] - n} paid twice, {found['wall_s']:.0f} s"
    yield Figure(f"RSS on the way through {n:,} calls", figure, f"last ≤ {FLAT_BAR:.2f}x the second", ok)
