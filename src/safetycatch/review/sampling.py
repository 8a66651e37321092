"""Which answers people get to judge, and in which order: a random core, mixed with the most informative ones.

The core is drawn question by question, each with the same known chance, and all its answers come along: labels of it
estimate rates, and compare candidates on the same questions. Answers that were picked for what they may teach have no
such chance, and say nothing about rates.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetycatch import tables
from safetycatch.identity import keyed_fraction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

DEFAULT_N = 200
PICKED_SHARE = 0.3

Answer = dict[str, Any]
AnswerKey = tuple[str, str]  # example_id, candidate


@dataclass(frozen=True, slots=True)
class Chosen:
    """The items of a new label set (contract `label_items`), and why how many were picked, by reason."""

    items: pa.Table
    picked: dict[str, int]


@dataclass(frozen=True, slots=True)
class Interest:
    """Why an answer may teach more than others, and how much; ties are broken by a key, never by the file's order."""

    reason: str
    weight: float


def chosen(
    answers: Sequence[Answer],
    *,
    n: int = DEFAULT_N,
    seed: int = 0,
    interest: Mapping[AnswerKey, Interest] | None = None,
) -> Chosen:
    """Return about `n` of the answers (columns of `label_items`) in the order in which they are shown.

    Where `n` takes in every question, all are the core, each with chance 1. Else 70 of 100 are drawn at random by
    question, the others are those with the largest `interest`; without any interest, all are drawn. Equal answers to
    one question are judged once and count once. The same answers, `n` and `seed` give the same items.
    """
    import pyarrow as pa

    by_question: dict[str, list[Answer]] = {}
    for answer in answers:
        by_question.setdefault(answer["example_id"], []).append(answer)
    sizes = {name: len({answer["output_hash"] for answer in found}) for name, found in by_question.items()}
    shuffled = sorted(by_question, key=lambda name: (keyed_fraction(seed, "core", name), name))
    wanted = interest or {}
    if n >= sum(sizes.values()):
        core, picked, reasons = shuffled, [], {}
    else:
        share = PICKED_SHARE if wanted else 0.0
        mean = sum(sizes.values()) / len(sizes)
        core = shuffled[: max(1, round(n * (1 - share) / mean))]
        free = round(n * share) if wanted else 0
        picked, reasons = _picked(by_question, set(core), wanted, free, seed)
    chance = len(core) / len(by_question) if by_question else math.nan
    rows = [{**answer, "sampling_probability": chance} for name in core for answer in by_question[name]]
    rows = _mixed(_runs(rows), _runs(picked))
    schema = tables.schema("label_items")
    extra = list(dict.fromkeys(name for row in rows for name in row if name not in schema.names))
    columns = pa.schema([*schema, *((name, pa.string()) for name in extra)])
    return Chosen(pa.Table.from_pylist(rows, schema=columns), reasons)


def _picked(
    by_question: Mapping[str, list[Answer]],
    core: set[str],
    interest: Mapping[AnswerKey, Interest],
    free: int,
    seed: int,
) -> tuple[list[Answer], dict[str, int]]:
    """Return the most interesting answers outside the core; those equal to one of them come along; and why how many."""
    ranked = sorted(
        (key for key in interest if key[0] in by_question and key[0] not in core),
        key=lambda key: (-interest[key].weight, keyed_fraction(seed, "picked", *key), key),
    )
    found: list[Answer] = []
    reasons: Counter[str] = Counter()
    taken: set[tuple[str, str]] = set()
    for key in ranked:
        own = next((answer for answer in by_question[key[0]] if answer["candidate"] == key[1]), None)
        if own is None or (key[0], own["output_hash"]) in taken:
            continue
        if len(taken) == free:
            break
        taken.add((key[0], own["output_hash"]))
        reasons[interest[key].reason] += 1
        found += [
            {**answer, "sampling_probability": None}
            for answer in by_question[key[0]]
            if answer["output_hash"] == own["output_hash"]
        ]
    return found, dict(reasons)


def _runs(rows: Sequence[Answer]) -> list[list[Answer]]:
    """Return rows in groups that are judged at once, in their order."""
    groups: dict[tuple[str, str], list[Answer]] = {}
    for row in rows:
        groups.setdefault((row["example_id"], row["output_hash"]), []).append(row)
    return list(groups.values())


def _mixed(core: list[list[Answer]], picked: list[list[Answer]]) -> list[Answer]:
    """Return both in one list, the picked ones spread evenly and each of the two in its own order."""
    placed = [((at + 0.5) / len(core), 0, group) for at, group in enumerate(core)]
    placed += [((at + 0.5) / len(picked), 1, group) for at, group in enumerate(picked)]
    return [row for _, _, group in sorted(placed, key=lambda one: one[:2]) for row in group]


def interests(
    verdicts: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    *,
    baseline: str,
    passes: int | None = None,
) -> dict[AnswerKey, Interest]:
    """Return what makes a run's answers worth a person's look: rows of `verdicts` and of one metric's `scores`.

    Most of all where jurors, orders or repeats of a judge disagree; then near ties (all criteria but one passed, or a
    grade beside the lowest that `passes`); then new failures, where the baseline's answer scored higher.
    """
    found: dict[AnswerKey, Interest] = {}
    said: dict[AnswerKey, dict[str, set[str]]] = {}
    for row in verdicts:
        if row["verdict"] is not None:
            by_criterion = said.setdefault((row["example_id"], row["candidate"]), {})
            by_criterion.setdefault(row["criterion"], set()).add(row["verdict"])
    value = {(row["example_id"], row["candidate"]): row["value"] for row in scores if row["value"] is not None}
    for key, mine in value.items():
        theirs = value.get((key[0], baseline))
        if theirs is not None and mine < theirs:
            found[key] = Interest("new failure", 1 + min(1.0, theirs - mine))
    for key, by_criterion in said.items():
        if _near(by_criterion, passes):
            found[key] = Interest("near tie", 3)
        if any(len(labels) > 1 for labels in by_criterion.values()):
            found[key] = Interest("judges disagree", 4)
    return found


def _near(by_criterion: Mapping[str, set[str]], passes: int | None) -> bool:
    if passes is not None:
        grades = [int(label) for label in by_criterion.get("", ()) if label.lstrip("-").isdigit()]
        return any(grade in {passes - 1, passes} for grade in grades)
    failed = [name for name, labels in by_criterion.items() if name and labels == {"fail"}]
    return len(failed) == 1 and len(by_criterion) > 2
