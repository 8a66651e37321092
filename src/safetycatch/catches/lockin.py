"""Foot gun 8: what ties a result to one provider (SC8xx)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.catches.finding import Observation

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class ParameterFacts:
    """Parameters of one candidate that its provider would not see; `how` says how that is known.

    `dropped`: left out without a word. `refused`: an error for every call. `foreign`: settings of LiteLLM, not of the
    model. `unsure`: nobody can tell before the call.
    """

    candidate: str
    model: str
    dropped: tuple[str, ...]
    refused: tuple[str, ...]
    foreign: tuple[str, ...]
    unsure: tuple[str, ...]
    how: str


@dataclass(frozen=True, slots=True)
class ShutdownFacts:
    """The day on which a model ends, the list that says so, and the snapshot it says it of, if it is another name."""

    model: str
    day: dt.date
    source: str
    of: str


def parameters_are_seen(facts: Sequence[ParameterFacts]) -> Observation:
    """SC801: every parameter reaches the model that it is meant for."""
    if not facts:
        return Observation("SC801", "not_applicable", "no model is asked")
    lost = [one for one in facts if one.dropped or one.refused or one.foreign]
    if lost:
        first = lost[0]
        others = f" (and {len(lost) - 1} more candidates)" if len(lost) > 1 else ""
        names = sorted({name for one in lost for name in (*one.dropped, *one.refused, *one.foreign)})
        return Observation(
            "SC801",
            "fired",
            f"{first.candidate} ({first.model}): {_lost(first)}{others}; {first.how}",
            "the model does something else than the file says, and two providers are compared under two settings",
            f"leave out of its params: {', '.join(names)}" + _instead(names),
            {"lost": [{"candidate": one.candidate, "model": one.model, "what": _lost(one)} for one in lost]},
        )
    unsure = [one for one in facts if one.unsure]
    if unsure:
        first = unsure[0]
        return Observation(
            "SC801",
            "not_checked",
            f"{first.candidate} ({first.model}): {', '.join(first.unsure)} cannot be checked: {first.how}",
        )
    return Observation("SC801", "passed", "every parameter reaches its model")


def _lost(one: ParameterFacts) -> str:
    parts = (
        (one.dropped, "left out without a word"),
        (one.refused, "not known there"),
        (one.foreign, "a setting of LiteLLM, not of the model"),
    )
    return "; ".join(f"{', '.join(names)} {what}" for names, what in parts if names)


def _instead(names: Sequence[str]) -> str:
    hints = {
        "metadata": "send_ids needs a provider that takes metadata",
        "response_format": "a json_schema instead of json_object may be known",
    }
    return "".join(f" ({hint})" for name, hint in hints.items() if name in names)


def models_stay(facts: Sequence[ShutdownFacts], *, asked: int, today: dt.date) -> Observation:
    """SC802: no model in use has a published day of shutdown; `asked` counts the models that were looked up."""
    if not asked:
        return Observation("SC802", "not_applicable", "no provider's model is asked")
    if not facts:
        return Observation("SC802", "passed", "no shutdown of a model in use is published")
    ordered = sorted(facts, key=lambda one: (one.day, one.model))
    first = ordered[0]
    others = f", and {len(facts) - 1} more" if len(facts) > 1 else ""
    return Observation(
        "SC802",
        "fired",
        f"{_when(first, today)}{others}; source: {first.source}",
        "after that day the result cannot be repeated, and what is built on the model stops",
        "add its successor as a candidate, so that both are compared while both answer",
        {"ends": [{"model": one.model, "day": one.day.isoformat(), "source": one.source} for one in ordered]},
    )


def _when(one: ShutdownFacts, today: dt.date) -> str:
    left = (one.day - today).days
    last = f" (its last snapshot {one.of})" if one.of else ""
    near = {1: "tomorrow", 0: "today", -1: "yesterday"}
    when = near.get(left) or (f"in {left} days" if left > 0 else f"{-left} days ago")
    return f"{one.model}{last} {'was' if left < 0 else 'is'} shut down on {one.day.isoformat()}, {when}"
