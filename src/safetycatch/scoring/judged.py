"""Metrics whose values are a judge's rulings: `judge`, and `judge.NAME` for each criterion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from safetycatch.errors import ExperimentError
from safetycatch.judge_settings import FIRST, PAIRWISE, PASS, TIE
from safetycatch.scoring.scorer import WRONG, Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safetycatch.judge_settings import JudgeSettings

JUDGE = "judge"
OF_A_PAIR = {FIRST: 1.0, TIE: 0.5}
OWN_OF_A_PAIR = {JUDGE: 0.5}  # the baseline against itself
# Where a row carries its judged values by metric.
JUDGED = "judged"


def is_judged(name: str) -> bool:
    """Whether a metric is `judge` or `judge.NAME`."""
    return name == JUDGE or name.startswith(f"{JUDGE}.")


def judged_metrics(settings: JudgeSettings | None) -> tuple[str, ...]:
    """Return the metrics that a judge gives, `judge` first; () without one."""
    return () if settings is None else (JUDGE, *(f"{JUDGE}.{name}" for name in settings.criteria))


def judged(name: str, settings: JudgeSettings | None) -> Scorer:
    """Return the scorer that reads a judge's value of `name` from `row["judged"]`; a value that is not there is NaN.

    Pass or fail is a rate; wins over the baseline count 1, ties one half; grades that none passes are their mean.
    Raises: ExperimentError without a judge, or for a criterion that it does not have.
    """
    if name not in judged_metrics(settings):
        raise ExperimentError(
            f"the scorer {name!r} without " + ("such a criterion" if settings else "a judge"),
            where="scorers",
            expected=", ".join(judged_metrics(settings)) or "judge: {model: …, prompt: judge.md}",
        )
    pairs = settings is not None and settings.scale == PAIRWISE
    is_rate = settings is not None and settings.is_rate

    def score(_parsed: str | None, _target: str, row: Mapping[str, Any]) -> float:
        return row.get(JUDGED, {}).get(name, math.nan)

    return Scorer(name, "points" if is_rate or pairs else "score", True, "item", is_rate, str, score)


def values_of(label: str | None, by_criterion: Mapping[str, str | None], settings: JudgeSettings) -> dict[str, float]:
    """Return the values of an item's ruling by metric; NaN where a ruling is missing."""
    found = {JUDGE: math.nan if label is None else _value(label, settings)}
    for name in settings.criteria:
        said = by_criterion.get(name)
        found[f"{JUDGE}.{name}"] = math.nan if said is None else float(said == PASS)
    return found


def unjudged_values(status: str, settings: JudgeSettings, baseline: str | None = None) -> dict[str, float] | None:
    """Return the values of an answer that no judge is asked about; None where one is.

    A refusal, a cut or a filtered answer fails, the lowest grade where grades count. Of a pair, `baseline` is the
    status of the other answer: who answers wins against who does not.
    """
    if settings.scale == PAIRWISE and baseline in WRONG:
        return {JUDGE: 0.5 if status in WRONG else 1.0}
    if status not in WRONG:
        return None
    lowest = 0.0 if settings.is_rate or not settings.grades else float(settings.grades[0])
    return dict.fromkeys(judged_metrics(settings), lowest)


def _value(label: str, settings: JudgeSettings) -> float:
    if settings.scale == PAIRWISE:
        return OF_A_PAIR.get(label, 0.0)
    return float(settings.passed(label)) if settings.is_rate else float(label)
