"""Kill -9 while the store works: `at-call` dies at each disk call in turn, `random` is killed at random moments.

Each death gets a folder of its own below the given one; the caller looks at what is visible there. Processes are
forked before pyarrow has started a thread, which makes hundreds of deaths cheap.
"""

import os
import random
import signal
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pyarrow as pa

from safetycatch.store import Runs, Store, environment
from safetycatch.store.artifacts import _versions as store_versions
from safetycatch.store.disk import Disk

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MAX_CALLS = 500


class DyingDisk(Disk):
    """Kills its own process in place of the n-th call (0 is the first)."""

    def __init__(self, calls):
        self.left = calls

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        return (
            self.dying(method) if name in {"open", "write", "fsync", "rename", "unlink", "mkdir", "flock"} else method
        )

    def fsync(self, fd):
        """A killed process, unlike a power cut, loses nothing that the kernel already has."""

    def dying(self, method):
        def call(*given):
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return method(*given)

        return call


def work(store: Store) -> None:
    """One artifact and one run, as a task and a flow would write them."""
    store.write("s", "f", pa.table({"x": list(range(50))}), settings={}, parents=[], version="1")
    with Runs(store).begin("t", "i", config={}, now=NOW) as run:
        run.snapshot({"x.yaml": b"data"})
        run.write_table("rows", pa.table({"x": list(range(50))}))
        run.write_text("report.html", "text")
        run.finish("done", {}, now=NOW)


def endless(store: Store) -> None:
    """Artifacts of growing size until somebody kills us."""
    number = 0
    while True:
        table = pa.table({"x": [f"{number}-{row}" for row in range(1 << number % 14)]})
        store.write("s", f"{number:04d}", table, settings={}, parents=[], version="1")
        number += 1


def forked(job) -> int:
    """Run `job` in a child; return its process id."""
    child = os.fork()
    if child:
        return child
    try:
        job()
    finally:
        os._exit(0)


def main(mode: str, folder: Path, deaths: int) -> None:
    """Print how many processes died."""
    # Loaded and looked up once here, not once in each child.
    for module in ("pandas", "pyarrow.parquet"):
        import_module(module)
    environment()
    store_versions()
    died = 0
    if mode == "random":
        draw = random.Random(7)
        for number in range(deaths):
            child = forked(lambda number=number: endless(Store.open(folder / str(number))))
            time.sleep(draw.uniform(0.01, 0.12))
            os.kill(child, signal.SIGKILL)
            died += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    else:
        for number in range(MAX_CALLS):
            child = forked(lambda number=number: work(Store.open(folder / str(number), disk=DyingDisk(number))))
            if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                break
            died += 1
    print(died)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
