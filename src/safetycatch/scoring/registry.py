"""Scorers by name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from safetycatch.errors import ExperimentError, UsageError
from safetycatch.scoring.accuracy import accuracy
from safetycatch.scoring.balanced_accuracy import balanced_accuracy, recall_contributions
from safetycatch.scoring.contains import contains
from safetycatch.scoring.exact import exact
from safetycatch.scoring.final_answer import final_answer
from safetycatch.scoring.json_fields import json_fields
from safetycatch.scoring.judged import is_judged, judged
from safetycatch.scoring.macro_f1 import f1_contributions, macro_f1
from safetycatch.scoring.normalised import normalised
from safetycatch.scoring.numeric import numeric
from safetycatch.scoring.own import own
from safetycatch.scoring.resources import RESOURCE_SCORERS, resource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from safetycatch.judge_settings import JudgeSettings
    from safetycatch.scoring.scorer import Scorer

_OF_LABELS = {"accuracy": accuracy, "macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy}
_OF_TEXT = {
    "exact": exact,
    "normalised": normalised,
    "numeric": numeric,
    "contains": contains,
    "json_fields": json_fields,
    "final_answer": final_answer,
}
SCORERS = (*_OF_LABELS, *_OF_TEXT, *RESOURCE_SCORERS)


def check_scorer(name: str, where: str = "scorers") -> None:
    """Refuse a name that is none of `SCORERS`, of a judge's, or a user's own `module:function`.

    Raises: ExperimentError with the nearest name.
    """
    if ":" in name or name in SCORERS or is_judged(name):
        return
    near = difflib.get_close_matches(name, SCORERS, n=1)
    raise ExperimentError(
        f"unknown scorer {name[:80]!r}",
        where=where,
        expected=", ".join(SCORERS) + ", judge, or module:function",
        fix=near[0] if near else "",
    )


def reading(names: Sequence[str]) -> str:
    """Return the metric whose parser reads the replies: the first but for costs, times, tokens and a judge's."""
    return next((name for name in names if name not in RESOURCE_SCORERS and not is_judged(name)), names[0])


def scorer(
    name: str,
    *,
    task: str = "classify",
    labels: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    judge: JudgeSettings | None = None,
) -> Scorer:
    """Return the scorer `name`: one of `SCORERS`, the `judge`'s, or a user's own as `module:function`.

    `labels` is the vocabulary of a `classify` task, `aliases` further names for its labels. Raises: ExperimentError for
    an unknown name, for accuracy, macro_f1 and balanced_accuracy on a task without labels, `judge` without one.
    """
    if is_judged(name):
        return judged(name, judge)
    if ":" in name:
        return own(name)
    if name in _OF_TEXT:
        return _OF_TEXT[name]()
    if name in RESOURCE_SCORERS:
        return resource(name)
    check_scorer(name)
    if task != "classify" or not labels:
        raise ExperimentError(
            f"{name} needs labels, and task: {task} has none" if task != "classify" else f"{name} needs labels",
            where="scorers",
            fix="task: classify, or scorers: [normalised]",
        )
    return _OF_LABELS[name](labels, aliases)


def contributions(metric: str, parsed: Sequence[str | None], target: Sequence[str]) -> np.ndarray:
    """Return one value a row whose mean is `metric` exactly: `accuracy`, `balanced_accuracy` or `macro_f1`.

    An interval of their mean is an interval of the metric, and the mean of paired differences that of the difference.
    `parsed` holds the labels read (None: unparsable, wrong). The values of corpus metrics may lie outside 0-1.
    """
    import numpy as np

    if metric == "accuracy":
        return np.array([read == true for read, true in zip(parsed, target, strict=True)], dtype=float)
    if metric == "balanced_accuracy":
        return recall_contributions(parsed, target)
    if metric == "macro_f1":
        return f1_contributions(parsed, target)
    raise UsageError(f"no contributions are known for {metric!r}", expected="accuracy, balanced_accuracy, macro_f1")
