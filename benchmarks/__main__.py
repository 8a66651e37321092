"""python -m benchmarks NAME [options]: runs benchmarks/NAME.py; without a name, lists them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    names = sorted(path.stem for path in HERE.glob("*.py") if "__main__" in path.read_text() and path.stem[0] != "_")
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"python -m benchmarks {{{','.join(names)}}} [--help]")
    # A process of its own: figures of CPU and memory must not contain this one.
    os.execv(sys.executable, [sys.executable, str(HERE / f"{sys.argv[1]}.py"), *sys.argv[2:]])  # noqa: S606


if __name__ == "__main__":
    main()
