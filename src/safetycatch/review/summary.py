"""What labelling has shown so far: failure modes with counts and examples, how often answers fail, what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetycatch.judge_settings import FAIL, PASS_FAIL
from safetycatch.store.label_events import SEPARATOR

if TYPE_CHECKING:
    from safetycatch.review.desk import Desk

EXAMPLES = 3
SHOWN = 400
ENOUGH = 30


@dataclass(frozen=True, slots=True)
class Example:
    """An answer that has a failure mode: the beginning of its texts, and what a person said of it."""

    input: str
    output: str
    critique: str


@dataclass(frozen=True, slots=True)
class Mode:
    """A failure mode: the answers that have it, and how many of them were drawn at random."""

    name: str
    n: int
    n_random: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do next, and what to type for it."""

    words: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """All of it, as text that a page shows; `rate` is "" where it is undefined."""

    name: str
    people: tuple[tuple[str, int], ...]
    n_answers: int
    n_labelled: int
    rate: str
    modes: tuple[Mode, ...]
    notes: tuple[str, ...]
    steps: tuple[Step, ...]


def summarised(desk: Desk) -> Summary:
    """Return what the labels of everybody say; an answer counts once, whoever labelled it."""
    rows = desk.labels.labels().to_pylist()
    whole = [row for row in rows if not row["criterion"]]
    labelled = {(row["example_id"], row["output_hash"]) for row in whole}
    modes = _modes(desk, rows)
    return Summary(
        name=desk.labels.name,
        people=tuple((name, saved) for name in desk.labels.annotators() if (saved := desk.saved(name))),
        n_answers=len(desk.answers),
        n_labelled=len(labelled),
        rate=_rate(desk, whole),
        modes=modes,
        notes=tuple(desk.labels.notes),
        steps=_steps(desk, labelled=len(labelled), named=bool(modes)),
    )


def _modes(desk: Desk, rows: list[dict[str, Any]]) -> tuple[Mode, ...]:
    said: dict[str, dict[tuple[str, str], str]] = {}
    for row in rows:
        for name in (row["failure_mode"] or "").split(SEPARATOR) if row["failure_mode"] else []:
            critiques = said.setdefault(name, {})
            key = (row["example_id"], row["output_hash"])
            critiques[key] = critiques.get(key) or row["critique"] or ""
    found: list[Mode] = []
    for name, critiques in said.items():
        random = sum(desk.answers[key].get("sampling_probability") is not None for key in critiques)
        # Those with words of a person first: they say most.
        best = sorted(critiques, key=lambda key: (not critiques[key], key))[:EXAMPLES]
        examples = [
            Example(_start(desk.answers[key]["input"]), _start(desk.answers[key]["output"]), critiques[key])
            for key in best
        ]
        found.append(Mode(name, len(critiques), random, tuple(examples)))
    return tuple(sorted(found, key=lambda mode: (-mode.n, mode.name)))


def _start(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _rate(desk: Desk, whole: list[dict[str, Any]]) -> str:
    """Return how often answers fail, from those that were drawn at random; people who disagree count in equal parts."""
    if desk.labels.settings.scale != PASS_FAIL:
        return ""
    votes: dict[tuple[str, str], list[float]] = {}
    for row in whole:
        if row["sampling_probability"] is not None:
            votes.setdefault((row["example_id"], row["output_hash"]), []).append(float(row["label"] == FAIL))
    if not votes:
        return ""
    failed = [sum(found) / len(found) for found in votes.values()]
    return (
        f"{_points(sum(failed) / len(failed))} of the {len(failed):,} answers drawn at random{_interval(votes, failed)}"
    )


def _interval(votes: dict[tuple[str, str], list[float]], failed: list[float]) -> str:
    from safetycatch.errors import StatisticsError
    from safetycatch.stats import rate_interval

    questions = [key[0] for key in votes]
    try:
        found = rate_interval(failed, cluster=questions if len(set(questions)) < len(questions) else None)
    except StatisticsError:
        return ", too few for an interval"
    return f", 95 % interval {_points(found.low)} to {_points(found.high)}"


def _points(share: float) -> str:
    return f"{100 * share:.0f} %"


def _steps(desk: Desk, *, labelled: int, named: bool) -> tuple[Step, ...]:
    name, source = desk.labels.name, desk.labels.settings.source
    of_run = "run" in source
    steps: list[Step] = []
    if labelled < ENOUGH:
        # 1 - 0.9 ** 30 = 0.96
        words = f"Label on: {ENOUGH} answers show what goes wrong in one of ten with a chance of 96 %."
        steps.append(Step(words, desk.again))
    if named:
        steps.append(
            Step("Write each frequent failure mode into the judge's rubric, as a rule that is kept or broken.")
        )
    where = "in the experiment" if of_run else "in an experiment beside the folder labels"
    steps.append(Step(f"Let a judge answer to these labels, {where}:", f"judge: {{labels: labels/{name}, …}}"))
    steps.append(Step("See how far it agrees with people:", "safetycatch calibrate EXPERIMENT"))
    promote = f"safetycatch labels promote {name} --to-test EXPERIMENT --only fail"
    steps.append(Step("Take what failed into the test set:", promote))
    return tuple(steps)
