"""Rows about stops and money: signals and kills at half, and a ceiling that holds through kills."""

from __future__ import annotations

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from calls_processes import Server, run, start
from calls_rows import Figure

from safetycatch.calls import Endpoint, Journal, Prices, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from calls_rows import Options

CONCURRENCY = 64
RUN = "bench"
AT_ONCE = 2


def signals(options: Options) -> Iterator[Figure]:
    """SIGTERM or SIGINT at half, then the same again."""
    n = options.n(600)
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server(latency="1s") as server:
            folder = options.fresh()
            client = start(server, folder, n=n)
            client.line("half")
            client.send(number)
            first = client.end()
            second = run(server, folder, n=n)
            stats = server.stats()
        duplicates, lost = stats["billed"] - stats["distinct"], n - second["correct"]
        ok = duplicates == 0 == lost and first.status == 128 + number and stats["distinct"] == n
        figure = f"{duplicates} duplicates, {lost} lost; stopped after {first.found['delivered']} of {n}, "
        figure += f"exit {first.status}, then {second['sent']} sent and {second['from_journal']} from the journal"
        yield Figure(f"{number.name} at half, 1 s, then again", figure, "0 duplicates, 0 lost", ok)


def kill(options: Options) -> Iterator[Figure]:
    """Kill -9 at half, then the same again."""
    n = options.n(600)
    with Server(latency="1s") as server:
        folder = options.fresh()
        client = start(server, folder, n=n)
        client.line("half")
        client.send(signal.SIGKILL)
        client.end()
        with Journal.open(folder / "calls.db") as journal:
            listed = journal.perhaps_paid(RUN)
            answered = journal.spent(RUN).calls - len(listed)
        billed = server.stats()["billed"]
        second = run(server, folder, n=n)
        stats = server.stats()
    duplicates, lost = stats["billed"] - stats["distinct"], n - second["correct"]
    # What the provider billed is either in the journal or listed with its highest cost.
    accounted = answered <= billed <= answered + len(listed)
    priced = all(call.max_cost_usd is not None for call in listed)
    repeated = answered - second["from_journal"]
    ok = duplicates <= CONCURRENCY and duplicates <= len(listed) and accounted and priced and repeated == lost == 0
    figure = f"{duplicates} duplicates, {len(listed)} listed as perhaps paid, {repeated} answered calls repeated, "
    figure += f"{lost} lost (billed {billed} when killed, {answered} answers kept)"
    yield Figure(f"kill -9 at half, 1 s, {CONCURRENCY} at once", figure, "≤ in flight, each listed; 0; 0", ok)


def ceiling(options: Options) -> Iterator[Figure]:
    """A ceiling in dollars at 64 in flight, with up to three kills at random moments, until it is reached."""
    with ThreadPoolExecutor(AT_ONCE) as pool, Server(latency="50ms") as one, Server(latency="50ms") as two:
        # A server for each worker: what was paid is the difference of its counts.
        servers = [one, two]
        parts = [range(part, options.seeds, AT_ONCE) for part in range(AT_ONCE)]
        found = list(pool.map(lambda part: [_paid(options, servers[part.start], seed) for seed in part], parts))
    runs = [run_ for part in found for run_ in part]
    held = sum(paid <= most + 1e-9 for paid, most, _, _ in runs)
    kills = sum(kills for _, _, kills, _ in runs)
    used = [paid / most for paid, most, _, reached in runs if reached]
    figure = (
        f"{held} of {len(runs)} held, {kills} kills; where it ended a run {min(used):.0%} to {max(used):.0%} was paid"
    )
    yield Figure(f"paid ≤ ceiling at {CONCURRENCY} in flight, kills included", figure, "all seeds", held == len(runs))


def _paid(options: Options, server: Server, seed: int) -> tuple[float, float, int, bool]:
    """Return what one seeded run paid, its ceiling (US dollars), its kills, and whether the ceiling ended it."""
    rng, n = random.Random(seed), 400  # noqa: S311 - seeded draws
    price = Prices().of(Request(Endpoint("sandbox", "direct", server.url), {"model": "echo-priced"}, "", "", 0, 0))
    assert price is not None
    most = price.cost_usd(96, 0) * n * rng.uniform(0.2, 1.2)
    before, folder, kills = server.stats(), options.fresh(), 0
    job: dict[str, Any] = {"n": n, "model": "echo-priced", "usd": most, "seed": seed, "salt": f"ceiling{seed}"}
    while True:
        client = start(server, folder, **job)
        if kills < 3 and rng.random() < 0.6:
            # From its start-up to after its last call.
            time.sleep(rng.uniform(0.3, 1.5))
            client.send(signal.SIGKILL)
            kills += client.end().status == -signal.SIGKILL
            continue
        ended = client.end()
        assert ended.status in {0, 40}, ended.err
        break
    after = server.stats()
    tokens_in, tokens_out, cached = (
        after[name] - before[name] for name in ("prompt_tokens", "completion_tokens", "cached_tokens")
    )
    return price.cost_usd(tokens_in, tokens_out, cached), most, kills, ended.status == 40
