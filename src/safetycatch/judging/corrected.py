"""A corrected rate or mean: the estimate, what it assumes, and what the judge was worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from safetycatch.stats.intervals import Interval  # noqa: TC001 - a dataclass field

Method = Literal["post_stratified", "ppi", "rogan_gladen", "labels_only"]

ASSUMPTIONS: dict[Method, str] = {
    "post_stratified": "the labels were drawn at random, with known probabilities, from the rows that the judge judged",
    "ppi": "the labels were drawn at random, with known probabilities, from the rows that the judge judged",
    "rogan_gladen": "the judge errs on these rows as often as on the labelled ones, on good and on bad answers each; "
    "the shares of good and bad may differ",
    "labels_only": "the labels were drawn at random, with known probabilities, from the rows; the judge is not used",
}


@dataclass(frozen=True)
class Corrected:
    """A rate (share) or mean (score) that pays for the judge's errors; `low`, `high` hold the truth at `level`.

    `raw` is what the judge alone says, with an interval that knows nothing of its errors. `effective_gain` is the
    variance of the labels alone over this variance: 2 means that the judge was worth as many labels again. `n_labels`
    counts labels with a verdict, `n_judged` rows with one, `n_missing` rows without. Undefined numbers are NaN, with
    the reason in `warnings`.
    """

    estimate: float
    low: float
    high: float
    se: float
    df: float
    method: Method
    assumption: str
    raw: Interval
    effective_gain: float
    n_labels: int
    n_judged: int
    n_missing: int
    design_effect: float
    level: float
    warnings: tuple[str, ...]
