"""CPU seconds (user + system) that a command takes before it works: `python benchmarks/startup.py`.

The house's bar is 0.3 s for `safetycatch --help` and for `import safetycatch`. The best of several runs is shown:
CPU time grows too when other programs share the machine's caches.
"""

import os
import subprocess
import sys
import tempfile
import time

RUNS = 7
BAR_S = 0.3
COMMANDS = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    "import safetycatch": ([sys.executable, "-c", "import safetycatch"], BAR_S),
    "safetycatch --help": ([sys.executable, "-m", "safetycatch.cli.main", "--help"], BAR_S),
    "safetycatch run --help": ([sys.executable, "-m", "safetycatch.cli.main", "run", "--help"], BAR_S),
    "safetycatch rules": ([sys.executable, "-m", "safetycatch.cli.main", "rules"], None),
    "safetycatch explain SC501": ([sys.executable, "-m", "safetycatch.cli.main", "explain", "SC501"], None),
    "safetycatch ls": ([sys.executable, "-m", "safetycatch.cli.main", "ls"], None),
}


def cpu_s(command: list[str], folder: str) -> tuple[float, float]:
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return used, time.perf_counter() - began


def main() -> int:
    over = 0
    print(f"{'command':<28} {'CPU s':>7} {'wall s':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (command, bar) in COMMANDS.items():
            best_cpu, best_wall = (
                min(column) for column in zip(*(cpu_s(command, folder) for _ in range(RUNS)), strict=True)
            )
            late = bar is not None and best_cpu > bar
            over += late
            print(f"{name:<28} {best_cpu:>7.3f} {best_wall:>7.3f}{f'   over {bar} s' if late else ''}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
