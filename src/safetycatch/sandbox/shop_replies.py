"""Makes the judged example's replies and labels: `python -m safetycatch.sandbox.shop_replies OUT`.

Two made-up writers answer made-up requests; two made-up people say which replies pass: those that say sorry
or thanks, and stay within 40 words. Each of them errs on 3 of 100.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

SEED = 5
REQUESTS, LABELLED, SHARED = 200, 340, 80
MOST_WORDS, MISTAKES = 40, 0.03
WRITERS = {"curt": (0.55, 0.9), "warm": (0.85, 0.8)}  # chances of a kind word, and of being brief
GOODS = ("saddle", "front wheel", "bell", "rack", "chain", "brake pads", "child seat", "lock", "pump", "lamp", "basket")
TROUBLES = ("arrived bent", "is the wrong size", "never came", "squeaks", "broke on the second ride", "has no screws")
PLACES = ("Lisbon", "Leeds", "Graz", "Turku", "Porto", "Ghent", "Brno", "Cork", "Lund", "Basel", "Riga", "Vigo")
KIND = ("Sorry about that.", "We are sorry for the trouble.", "Thank you for telling us.", "Thanks for the photo.")
STEPS = (
    "A new {good} leaves our shop in {town} on {day}.",
    "Please send the {good} back with label {code}; we pay for it.",
    "We refund {sum} euros to the card ending in {code}.",
    "Bring it to our workshop in {town}, we look at the {good} at once.",
    "Your order {code} is now marked as urgent.",
)
ASIDES = (
    "Our opening hours changed in spring, and the car park behind the shop in {town} is closed until {day}.",
    "By the way, the new catalogue lists {sum} helmets, gloves and jackets that riders in {town} asked for last year.",
    "Did you know that every second {good} is repaired rather than replaced, which saves {sum} kilos of metal a week?",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def make(folder: Path, seed: int = SEED) -> None:
    """Write `requests.csv`, `answers.csv` and `labels.csv` into `folder`; the same bytes each time."""
    draw = random.Random(seed)  # noqa: S311 - made-up text
    requests = [
        {
            "id": f"Q{number:03d}",
            "text": _request(draw),
            "target": "a kind reply, and a brief one",
            "language": draw.choice(("en", "en-gb")),
        }
        for number in range(REQUESTS)
    ]
    answers = [
        {"example_id": request["id"], "candidate": writer, "output": _reply(draw, *chances)}
        for request in requests
        for writer, chances in WRITERS.items()
    ]
    drawn = draw.sample(answers, LABELLED)
    shared = {id(answer) for answer in draw.sample(drawn, SHARED)}
    texts = {request["id"]: request for request in requests}
    labels = [
        {
            **answer,
            "input": texts[answer["example_id"]]["text"],
            "language": texts[answer["example_id"]]["language"],
            "annotator": person,
            **_said(draw, answer["output"]),
            "sampling_probability": LABELLED / len(answers),
        }
        for answer in drawn
        for person in (("ada", "ben") if id(answer) in shared else ("ada",))
    ]
    for name, rows in (("requests", requests), ("answers", answers), ("labels", labels)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _filled(draw: random.Random, text: str) -> str:
    return text.format(
        good=draw.choice(GOODS),
        town=draw.choice(PLACES),
        day=draw.choice(DAYS),
        code=draw.randint(1000, 9999),
        sum=draw.randint(12, 480),
    )


def _request(draw: random.Random) -> str:
    text = f"Order {{code}}: the {{good}} {draw.choice(TROUBLES)}. I live in {{town}} and need it by {{day}}."
    return _filled(draw, text)


def _reply(draw: random.Random, kind: float, brief: float) -> str:
    parts = [draw.choice(KIND)] if draw.random() < kind else []
    parts += draw.sample(STEPS, 2)
    if draw.random() > brief:
        parts += draw.sample(ASIDES, 2)
    return _filled(draw, " ".join(parts))


def _said(draw: random.Random, output: str) -> dict[str, str]:
    kind = any(word in output.lower() for word in ("sorry", "thank"))
    brief = len(output.split()) <= MOST_WORDS
    why = "no kind word" if not kind else "longer than 40 words" if not brief else ""
    label = "pass" if kind and brief else "fail"
    if draw.random() < MISTAKES:
        return {"label": "fail" if label == "pass" else "pass", "critique": ""}
    return {"label": label, "critique": why}


if __name__ == "__main__":
    make(Path(sys.argv[1]))
