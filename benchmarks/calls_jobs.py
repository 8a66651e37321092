"""The job that every harness of the calls benchmark does: ask an echo model, compare its answer with the target."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_TOKENS = 20
ECHOED = 64
PADDING = " the invoice of last month was charged twice, please refund one of them,"


def prompts(n: int, salt: str, n_bytes: int = 308) -> Iterator[tuple[str, str, str]]:
    """Yield (id, prompt, target); 308 bytes are 77 tokens in the sandbox, with its 3 and the 20 asked for, 100."""
    for i in range(n):
        # No blank at either end of the prompt or of what is echoed: harnesses differ in what they strip.
        head = f"{salt} ticket {i:06}:{PADDING}"[: ECHOED - 1] + "."
        prompt = (head + PADDING * (n_bytes // len(PADDING) + 1))[: n_bytes - 1] + "."
        yield f"{i:06}", prompt, head


def write(path: Path, n: int, salt: str) -> None:
    """Write the job for harnesses of other people."""
    with path.open("w") as file:
        for name, prompt, target in prompts(n, salt):
            file.write(json.dumps({"id": name, "prompt": prompt, "target": target}) + "\n")
