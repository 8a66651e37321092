"""How surely a sketch of 64 hashes tells that a test set was looked at before.

    python benchmarks/looks.py [--repetitions 1000] [--seed 1]

Two test sets are drawn; printed is the share of such pairs in which the later one counts as looked at before (half of
its rows were), and the share in which their Jaccard similarity alone would say so.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safetycatch.store.looks import SHARE_SEEN, SKETCH_SIZE, Look, share_seen, sketch_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Draw = Callable[[random.Random], tuple[set[str], set[str]]]

LOOK = Look("x", "x", "claim", "x", "x", datetime(2026, 1, 1, tzinfo=UTC), {}, (), 0, ())


def items(draw: random.Random, n: int) -> list[str]:
    """Return hashes of `n` different items."""
    return [f"{draw.getrandbits(64):016x}" for _ in range(n)]


def drawn(n: int, share: float) -> Draw:
    """Two draws of `share` of the same `n` rows: another split seed."""

    def draw(rng: random.Random) -> tuple[set[str], set[str]]:
        rows = items(rng, n)
        return set(rng.sample(rows, int(n * share))), set(rng.sample(rows, int(n * share)))

    return draw


def changed(kept: int, new: int, gone: int = 0) -> Draw:
    """A set of `kept` rows of the earlier one, `new` ones besides, and `gone` ones lost."""

    def draw(rng: random.Random) -> tuple[set[str], set[str]]:
        rows = items(rng, kept + new + gone)
        return set(rows[: kept + new]), {*rows[:kept], *rows[kept + new :]}

    return draw


CASES: dict[str, Draw] = {
    "1 % of 300 rows edited": changed(297, 3, 3),
    "300 rows, 200 new ones added": changed(300, 200),
    "300 rows, 300 new ones added": changed(300, 300),
    "300 rows, 600 new ones added": changed(300, 600),
    "a third of 1,000 rows": changed(333, 0, 667),
    "a tenth of 1,000 rows": changed(100, 0, 900),
    "another draw of 60 % of 1,000 rows": drawn(1000, 0.6),
    "another draw of 40 % of 1,000 rows": drawn(1000, 0.4),
    "another draw of 20 % of 1,000 rows": drawn(1000, 0.2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print("| the test set now | looked at before, % | by Jaccard, % |\n|---|---|---|")
    for name, draw in CASES.items():
        rng = random.Random(given.seed)  # noqa: S311 - a simulation
        seen = jaccard = 0
        for _ in range(given.repetitions):
            sets = draw(rng)
            now, before = (replace(LOOK, n_items=len(one), sketch=sketch_of(one)) for one in sets)
            seen += share_seen(now, before) >= SHARE_SEEN
            smallest = sorted({*now.sketch, *before.sketch})[:SKETCH_SIZE]
            jaccard += len({*smallest}.intersection(now.sketch, before.sketch)) >= SHARE_SEEN * len(smallest)
        print(f"| {name} | {100 * seen / given.repetitions:.1f} | {100 * jaccard / given.repetitions:.1f} |")


if __name__ == "__main__":
    main()
