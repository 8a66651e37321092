"""Judged scores corrected for the judge's errors: which labels or counts correct what, and what is left as it is.

A rate that a judge gave is corrected from the better of two sources:

1. Labels that people gave to answers of this very run, drawn at random with known probability: post-stratified over
   the verdicts (grades: prediction-powered). Holds whatever the judge is worth.
2. The sealed counts of the judge's certificate: Rogan and Gladen. Assumes that it errs here as it did there.

The difference of two candidates under one judge is corrected likewise, its interval carrying the judge's own error.
With neither source the raw figure stays, marked. Grades without a pass mark know source 1 only, pairwise verdicts none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safetycatch.results.comparing import Metric
    from safetycatch.results.matrix import ScoreMatrix
    from safetycatch.stats import Interval, PairedDifference

JUDGE = "judge"
LEAST_LABELS = 30  # drawn at random from one candidate's answers; with fewer the certificate corrects, if there is one
RATE, GRADES, PAIRWISE = "rate", "grades", "pairwise"
Scale = Literal["rate", "grades", "pairwise"]


class Label(NamedTuple):
    """What people say of one answer that was drawn at random, beside the judge: 1 and 0, or grades."""

    example_id: str
    judge: float
    people: float
    probability: float


class Counts(NamedTuple):
    """Sealed labels: passed by both, by people only, by the judge only, by neither."""

    tp: int
    fn: int
    fp: int
    tn: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A judged rate, or the difference of two, as it is shown; `raw` is what the judge's verdicts alone say.

    `method` is empty where nothing is corrected, and `reason` says why. `gain`: how many labels one label is worth
    thanks to the judge (NaN: not known, or of a difference).
    """

    shown: Any
    raw: Any
    method: str = ""
    assumption: str = ""
    gain: float = math.nan
    n_labels: int = 0
    reason: str = ""


def judged_facts(judging, estimates, slices, comparisons):
    return {}
