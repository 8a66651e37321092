"""May a judge stand in for a human annotator? Compared with each in turn against the others (Calderon et al. 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import SAME_VALUE, Floats, as_numbers, checked_level, upper_tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FEWEST_HUMANS = 3
FEWEST_ITEMS = 50  # below, the test says little: a warning
FEW_ITEMS = 30  # below, ranks instead of means are tested
PASSES = 0.5  # winning rate from which on the judge may stand in


@dataclass(frozen=True)
class AnnotatorTest:
    """Results by annotator, in the order of `annotators`, and over all of them.

    `advantages` holds for each the share of items on which the judge agrees with the other annotators at least as well
    as this one does; `rho` is their mean. `p_values` speak against "the judge is worse than this annotator by epsilon
    or more", `adjusted` are Benjamini and Yekutieli's. `winning_rate` is the share of annotators whom the judge is
    shown to match; `passed` at one half and above.
    """

    winning_rate: float
    rho: float
    passed: bool
    annotators: tuple[str, ...]
    advantages: tuple[float, ...]
    p_values: tuple[float, ...]
    adjusted: tuple[float, ...]
    n_items: tuple[int, ...]
    epsilon: float
    alpha: float
    warnings: tuple[str, ...]


def alternative_annotator_test(
    judge: Sequence[Any],
    humans: Mapping[str, Sequence[Any]],
    *,
    epsilon: float = 0.1,
    alpha: float = 0.05,
    scale: Literal["nominal", "numeric"] = "nominal",
) -> AnnotatorTest:
    """Test whether the judge agrees with the annotators about as well as they do with each other.

    `judge` and each annotator's column hold one label an item, in one order (None: not labelled); numbers for the
    numeric scale, where closeness is the negative root mean squared distance instead of the share of equal labels. For
    each annotator the items count that they, the judge and another one labelled. One-sided t test of the mean lead,
    Wilcoxon's signed ranks below 30 items. `epsilon` is what a judge may be worse for being cheaper: .1 for skilled
    annotators, .2 for experts. Assumes independent items. Raises: StatisticsError below 3 annotators, for columns of
    different length, or where an annotator shares fewer than 2 items with the others.
    Source: Calderon, Reichart & Dror 2025, ACL, "The Alternative Annotator Test for LLM-as-a-Judge".
    """
    from scipy.stats import false_discovery_control

    if len(humans) < FEWEST_HUMANS:
        raise StatisticsError(
            f"{len(humans)} annotators: the test needs {FEWEST_HUMANS}, for one is set against others"
        )
    if not 0 <= epsilon < 1:
        raise StatisticsError(f"epsilon is {epsilon}, expected a share from 0 and below 1, such as 0.1")
    checked_level(alpha)
    table = _table({"judge": judge, **{f"annotator {name}": column for name, column in humans.items()}}, scale)
    p_values, advantages, counts = [], [], []
    for place, name in enumerate(humans, start=1):
        ours, theirs = _closeness(table, place, scale)
        if len(ours) < 2:
            raise StatisticsError(f"annotator {name} shares {len(ours)} items with the judge and others: 2 are needed")
        lead = (theirs >= ours).astype(np.float64) - (ours >= theirs)
        advantages.append(float((ours >= theirs).mean()))
        p_values.append(_p_value(lead - epsilon))
        counts.append(len(ours))
    adjusted = false_discovery_control(p_values, method="by")
    rate = float((adjusted <= alpha).mean())
    fewest = min(counts)
    warnings = (f"{fewest} items: the test asks for {FEWEST_ITEMS} and more",) if fewest < FEWEST_ITEMS else ()
    return AnnotatorTest(
        winning_rate=rate,
        rho=float(np.mean(advantages)),
        passed=rate >= PASSES,
        annotators=tuple(humans),
        advantages=tuple(advantages),
        p_values=tuple(p_values),
        adjusted=tuple(float(p) for p in adjusted),
        n_items=tuple(counts),
        epsilon=epsilon,
        alpha=alpha,
        warnings=warnings,
    )


def _table(columns: Mapping[str, Sequence[Any]], scale: str) -> Floats:
    """Return labels as numbers (items x raters, the judge first), NaN where there is none."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise StatisticsError(f"labels in columns of different length: {told}")
    if scale == "numeric":
        return np.column_stack([as_numbers(column, name) for name, column in columns.items()])
    numbers: dict[Any, int] = {}

    def number(label: Any) -> float:
        missing = label is None or (isinstance(label, float) and math.isnan(label))
        return math.nan if missing else numbers.setdefault(label, len(numbers))

    return np.array([[number(label) for label in column] for column in columns.values()]).T


def _closeness(table: Floats, place: int, scale: str) -> tuple[Floats, Floats]:
    """Return how close the judge and one annotator are to the other annotators, on each item that all of them share."""
    others = np.delete(table, [0, place], axis=1)
    shared = ~np.isnan(table[:, 0]) & ~np.isnan(table[:, place]) & (~np.isnan(others)).any(axis=1)
    others = others[shared]
    found: list[Floats] = []
    for rater in (0, place):
        gap = others - table[shared, rater][:, None]
        found.append(
            -np.nanmean(np.square(gap) if scale == "numeric" else np.where(np.isnan(gap), gap, gap != 0), axis=1)
        )
    return found[0], found[1]


def _p_value(lead: Floats) -> float:
    """Return the one-sided p-value of "the mean is 0 or more", by t; below 30 values by signed ranks."""
    from scipy.stats import wilcoxon

    n, spread = len(lead), float(lead.std(ddof=1))
    if spread <= SAME_VALUE:
        # The same lead on every item: a sign test is what is left.
        return 0.5**n if lead[0] < 0 else 1.0
    if n < FEW_ITEMS:
        ranks: Any = wilcoxon(lead, alternative="less", method="approx")
        return float(ranks.pvalue)
    return upper_tail(-float(lead.mean()) / (spread / math.sqrt(n)), n - 1)
