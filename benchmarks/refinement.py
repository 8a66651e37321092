"""Refining a rubric: is a gain claimed where a criterion is missing, and none where there is none to gain?

Whole runs of `calibrate --refine` over real HTTP with the embedded sandbox's judge and refiner, a project a seed.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
import time
from pathlib import Path

from flows.chain import as_function
from flows.refine import run_refinement

WORDS = ("parcel", "refund", "invoice", "delivery", "charge", "account", "support", "team", "today", "again", "please")
RUBRIC = 'Passes an answer that\n- mentions "thank you"\n'
EXPERIMENT = """name: refined-{kind}-{seed}
data: {{path: rows.csv, target: null}}
task: generate
split: {{test: 1}}
candidates: [{{id: app, outputs: rows.csv}}]
judge: {{model: sandbox/judge, prompt: judge.md, labels: labels.csv}}
scorers: [judge]
budget: {{calls: 20000, usd: 1}}
"""


def answer(draw: random.Random, *, kind: bool, numbered: bool) -> str:
    words: list[str] = draw.choices(WORDS, k=draw.randint(8, 16))
    if kind:
        words.insert(draw.randrange(len(words)), "thank you")
    if numbered:
        words.insert(draw.randrange(len(words)), "order number")
    return " ".join(words)


def write(folder: Path, kind: str, seed: int, n: int) -> Path:
    """Write a project: people fail answers without an order number (fixable), or nothing is to be gained (none)."""
    draw = random.Random(seed)  # noqa: S311 - a simulation
    rows: list[dict[str, str]] = []
    for number in range(n):
        polite, numbered = draw.random() < 0.75, draw.random() < 0.7
        output = answer(draw, kind=polite, numbered=numbered)
        good = polite and (numbered or kind == "none")
        why = "" if good else 'does not mention "thank you"' if not polite else 'does not mention "order number"'
        if draw.random() < 0.05:
            good = not good
            why = "" if good else f'does not mention "{draw.choice(WORDS)}"'
        rows.append(
            {
                "input": f"question {number} about {draw.choice(WORDS)}",
                "output": output,
                "label": "pass" if good else "fail",
                "critique": why,
                "annotator": "ann",
            }
        )
    for name, columns in (("labels.csv", list(rows[0])), ("rows.csv", ["input", "output"])):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    (folder / "judge.md").write_text(RUBRIC)
    (folder / "safetycatch.yaml").write_text("")
    path = folder / "refined.yaml"
    path.write_text(EXPERIMENT.format(kind=kind, seed=seed))
    return path


def main() -> None:
    """Print a row a scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=100, help="the first seed; 0 to 9 chose how answers are drawn")
    parser.add_argument("--n", type=int, default=320)
    given = parser.parse_args()
    print("| scenario | gain claimed on sealed labels | seeds | mean sealed difference, points | seconds |")
    print("|---|---|---|---|---|")
    for kind, told in (("fixable", "people look at a rule that the rubric lacks"), ("none", "nothing to gain")):
        began, gains, sizes = time.monotonic(), 0, []
        for seed in range(given.first, given.first + given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                path = write(Path(folder), kind, seed, given.n)
                found = run_refinement(path, refiner="sandbox/judge-refiner", unattended=False, call=as_function)
            gains += found["gain"]
            if found["sealed"]:
                sizes.append(100 * found["sealed"]["estimate"])
        mean = f"{sum(sizes) / len(sizes):+.1f} (of {len(sizes)})" if sizes else "none reached it"
        print(f"| {told} | {gains} | {given.seeds} | {mean} | {time.monotonic() - began:.0f} |", flush=True)


if __name__ == "__main__":
    main()
