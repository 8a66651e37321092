"""Makes the demo's support tickets from fragments and a seed: `python -m safetycatch.sandbox.tickets OUT.csv`.

Nothing in the sandbox reads this module: its learners meet the tickets in prompts only.
"""

from __future__ import annotations

import csv
import io
import random
import re
import sys
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from safetycatch.sandbox import ticket_phrases as phrases

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED = 20
TICKETS = 640
CUSTOMERS = 61
WRONG_LABELS = 25
MIXED_SHARE = 0.04
HABIT_SHARE = 0.15
ASIDE_SHARE = 0.25
SECOND_ASIDE_SHARE = 0.05
OPENER_SHARE = 0.3
CLOSER_SHARE = 0.3
# Rows in each cluster of near-duplicates: a message sent again, or one text used by several people.
CLUSTER_ROWS = (2,) * 10 + (3,) * 3 + (4,)
SHARED_CLUSTERS = 5
FIRST_DAY = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
DAYS = 175
LIKEST_BASES = 0.6
LEAST_COPY = 0.84
AGAIN = {"en": ("Again: ", "Sent again: "), "de": ("Nochmals: ",), "es": ("Otra vez: ",)}
COLUMNS = ("ticket_id", "text", "label", "customer_id", "created_at", "language")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_WORD = re.compile(r"[^\W_]+")
_SLOT = re.compile(r"\{(\w+)\}")


T = TypeVar("T")


class Ticket(NamedTuple):
    """One row of the table, before it has an id."""

    text: str
    label: str
    customer_id: str
    created_at: datetime
    language: str


class Customer(NamedTuple):
    """A writer with a language, an amount of mail, a hand for typing and a queue written to more often."""

    customer_id: str
    language: str
    weight: float
    typos: float
    habit: str


class Draw:
    """Draws made from `Random.random` alone, whose sequence Python keeps the same between versions."""

    def __init__(self, seed: int) -> None:
        self.share = random.Random(seed).random  # noqa: S311  # a data set to repeat, not a secret

    def one(self, items: Sequence[T]) -> T:
        """Return one item, each as likely."""
        return items[int(self.share() * len(items))]

    def weighted(self, weights: dict[T, float]) -> T:
        """Return one key, as likely as its weight."""
        left = self.share() * sum(weights.values())
        for item, weight in weights.items():
            left -= weight
            if left < 0:
                return item
        return next(reversed(weights))


def make_tickets(seed: int = SEED) -> list[Ticket]:
    """Return the demo's tickets in the order of their time; the same seed gives the same tickets."""
    draw = Draw(seed)
    customers = _customers(draw)
    bases: list[Ticket] = []
    shingles: list[frozenset[str]] = []
    while len(bases) < TICKETS - sum(rows - 1 for rows in CLUSTER_ROWS):
        customer = customers[len(bases)] if len(bases) < CUSTOMERS else draw.weighted({c: c.weight for c in customers})
        ticket = _ticket(draw, customer)
        grams = text_shingles(ticket.text)
        if all(_likeness(grams, other) < LIKEST_BASES for other in shingles):
            bases.append(ticket)
            shingles.append(grams)
    order = sorted(range(len(bases)), key=lambda _: draw.share())
    for index in order[:WRONG_LABELS]:
        others = [label for label in phrases.SHARES if label != bases[index].label]
        bases[index] = bases[index]._replace(label=draw.one(others))
    copies: list[Ticket] = []
    for cluster, rows in enumerate(CLUSTER_ROWS):
        index = order[-1 - cluster]
        for _ in range(rows - 1):
            shared = cluster >= len(CLUSTER_ROWS) - SHARED_CLUSTERS
            writer = draw.one([c for c in customers if c.language == bases[index].language]) if shared else None
            copies.append(_copy(draw, bases[index], writer))
    return sorted([*bases, *copies], key=lambda ticket: (ticket.created_at, ticket.text))


def tickets_csv(tickets: Sequence[Ticket]) -> str:
    """Return the table as CSV text with columns `COLUMNS`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, ticket in enumerate(tickets, start=1):
        stamp = ticket.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        writer.writerow(
            [f"T{number:04d}", ticket.text, ticket.label, ticket.customer_id, stamp, ticket.language],
        )
    return stream.getvalue()


def text_shingles(text: str) -> frozenset[str]:
    """Return the character 5-grams of a text in lower case, without accents and punctuation, one space around."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    padded = " ".join(["", *_WORD.findall(plain), ""])
    return frozenset(padded[start : start + 5] for start in range(max(1, len(padded) - 4)))


def _likeness(left: frozenset[str], right: frozenset[str]) -> float:
    """Return the larger of the Jaccard likeness and 0.8 times the share of the shorter text found in the other."""
    common = len(left & right)
    return max(common / (len(left) + len(right) - common), 0.8 * common / min(len(left), len(right)))


def _customers(draw: Draw) -> list[Customer]:
    ids = sorted(range(CUSTOMERS), key=lambda _: draw.share())
    return [
        Customer(
            customer_id=f"C{100 + number}",
            language=draw.weighted({"en": 82, "de": 10, "es": 8}),
            weight=1 / (rank + 14),
            typos=0.06 * draw.share() ** 2,
            habit=draw.weighted(dict(phrases.SHARES)),
        )
        for rank, number in enumerate(ids)
    ]


def _ticket(draw: Draw, customer: Customer) -> Ticket:
    label = customer.habit if draw.share() < HABIT_SHARE else draw.weighted(dict(phrases.SHARES))
    language = customer.language
    sentences = [draw.one(phrases.CORES[label][language])]
    if draw.share() < MIXED_SHARE:
        other = draw.one([name for name in phrases.SHARES if name != label])
        sentences.append(draw.one(phrases.CORES[other][language]))
    sentences += [
        draw.one(phrases.ASIDES[language]) for share in (ASIDE_SHARE, SECOND_ASIDE_SHARE) if draw.share() < share
    ]
    sentences.sort(key=lambda _: draw.share())
    opener = draw.one(phrases.OPENERS[language].split("|")) if draw.share() < OPENER_SHARE else ""
    closer = draw.one(phrases.CLOSERS[language].split("|")) if draw.share() < CLOSER_SHARE else ""
    text = ""
    for piece in [opener, *(_filled(draw, sentence, language) for sentence in sentences), closer]:
        if piece:
            head = piece if text.endswith(",") else _capital(piece)
            text += f" {head}" if text else head
    minutes = int(draw.share() * DAYS * 24 * 60)
    text = _mistyped(draw, text, customer.typos)
    return Ticket(text, label, customer.customer_id, FIRST_DAY + timedelta(minutes=minutes), language)


def _filled(draw: Draw, sentence: str, language: str) -> str:
    """Return a sentence with its choices made and its slots filled."""
    chosen = _CHOICE.sub(lambda found: draw.one(found[1].split("|")), sentence)
    words = {
        "item": lambda: draw.one(phrases.ITEMS[language].split(",")),
        "day": lambda: draw.one(phrases.DAYS[language].split(",")),
        "place": lambda: draw.one(phrases.PLACES.split(",")),
        "order": lambda: str(10_000 + int(draw.share() * 90_000)),
        "money": lambda: f"{5 + int(draw.share() * 180)}.{draw.one(('00', '50', '90', '95'))} EUR",
        "n": lambda: str(2 + int(draw.share() * 7)),
    }
    return _SLOT.sub(lambda found: words[found[1]](), chosen)


def _capital(text: str) -> str:
    """Return the text with its first letter in upper case, `¿` or not."""
    start = 1 if text.startswith("¿") else 0
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def _mistyped(draw: Draw, text: str, share: float) -> str:
    """Return the text with two letters swapped, or one dropped or doubled, in this share of its words."""
    words = text.split(" ")
    for index, word in enumerate(words):
        if len(word) < 4 or not word.isalpha() or draw.share() >= share:
            continue
        at = 1 + int(draw.share() * (len(word) - 2))
        words[index] = draw.one(
            (
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
            )
        )
    return " ".join(words)


def _copy(draw: Draw, base: Ticket, writer: Customer | None) -> Ticket:
    """Return the ticket sent once more, slightly changed, by another customer where one is given."""
    grams = text_shingles(base.text)
    changes = (
        base.text.lower,
        lambda: base.text.replace(".", "!"),
        lambda: _mistyped(draw, base.text, 0.1),
        lambda: draw.one(AGAIN[base.language]) + base.text,
    )
    text = draw.one(changes)()
    while text == base.text or _jaccard(grams, text_shingles(text)) < LEAST_COPY:
        text = draw.one(changes)()
    later = base.created_at + timedelta(minutes=30 + int(draw.share() * 4_000))
    return base._replace(text=text, created_at=later, customer_id=writer.customer_id if writer else base.customer_id)


def _jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    common = len(left & right)
    return common / (len(left) + len(right) - common)


def main(arguments: Sequence[str]) -> int:
    """Write the table to the file named in `arguments`; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m safetycatch.sandbox.tickets OUT.csv\n")
        return 2
    Path(arguments[0]).write_text(tickets_csv(make_tickets()), encoding="utf-8", newline="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
