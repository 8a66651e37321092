"""The calls table: nothing lost, nothing paid twice, never over budget, and how fast.

    python -m benchmarks calls [ROW ...] [--peers inspect,promptfoo,dspy,lm-eval] [--scale 0.1]

Every server and client is a process of its own on loopback; the client is a plain script with engine, journal, scoring
and Parquet rows, without Prefect. Without names all rows run, which takes about ten minutes, and with peers about half
an hour. Exit status 1 when a bar is missed.

window   first request received to last byte written, against a bare aiohttp loop, in turns
cpu      user + system of the client above its start-up, milliseconds a sample
memory   highest RSS of the client               flat     RSS on the way through 100,000 calls
users    as users run it                         rpm, tpm limits of requests, of tokens a minute
faults   500s and 429s, broken answers, hangs    signals  SIGTERM and SIGINT at half, then again
kill     kill -9 at half, then again             ceiling  a ceiling in dollars, kills included
litellm  the LiteLLM route against litellm.acompletion (calls_litellm.py)
peers    the plain job, beside other harnesses installed into environments of their own when --peers names them
peers-users  the job of `users`, by those
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import calls_limits
import calls_peers
import calls_speed
import calls_stops
from calls_rows import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from calls_rows import Figure

ROWS: dict[str, Callable[[Options], Iterator[Figure]]] = {
    "window": calls_speed.window,
    "cpu": calls_speed.cpu,
    "memory": calls_speed.memory,
    "users": calls_limits.users,
    "rpm": calls_limits.rpm,
    "tpm": calls_limits.tpm,
    "faults": calls_limits.faults,
    "signals": calls_stops.signals,
    "kill": calls_stops.kill,
    "ceiling": calls_stops.ceiling,
    "litellm": calls_speed.litellm,
    "flat": calls_speed.flat,
    "peers": calls_peers.peers,
    "peers-users": calls_peers.users,
}
# Gigabytes that need not be fetched for each run.
KEPT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "safetycatch-benchmarks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows of the table; none: all of them")
    parser.add_argument("--scale", type=float, default=1.0, help="fewer calls a row, to try it out (bars are for 1)")
    parser.add_argument("--rounds", type=int, default=5, help="of window and cpu")
    parser.add_argument("--seeds", type=int, default=100, help="of ceiling")
    parser.add_argument("--peers", default="", help=f"install and measure these too: {','.join(calls_peers.PEERS)}")
    parser.add_argument("--peers-in", type=Path, default=KEPT, help=f"where they stay installed ({KEPT})")
    chosen = parser.parse_args()
    peers = tuple(name for name in chosen.peers.split(",") if name)
    if set(peers) - set(calls_peers.PEERS):
        parser.error(f"--peers takes {','.join(calls_peers.PEERS)}")
    unknown = set(chosen.rows) - set(ROWS)
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    missed = 0
    print("| row | figure | bar | | load |\n|---|---|---|---|---|", flush=True)
    for name in chosen.rows or ROWS:
        with tempfile.TemporaryDirectory(prefix=f"calls-{name}-") as folder:
            options = Options(Path(folder), chosen.scale, chosen.rounds, chosen.seeds, peers, chosen.peers_in)
            load, began = os.getloadavg()[0], time.monotonic()
            for figure in ROWS[name](options):
                missed += figure.ok is False
                verdict = {True: "ok", False: "**MISSED**", None: ""}[figure.ok]
                shown = f"{load:.1f}, {time.monotonic() - began:.0f} s"
                print(f"| {name}: {figure.what} | {figure.figure} | {figure.bar} | {verdict} | {shown} |", flush=True)
    if chosen.scale != 1:
        print(f"\nscale {chosen.scale:g}: the bars are for 1")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
