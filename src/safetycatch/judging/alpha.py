"""Krippendorff's alpha: how far any number of annotators agree, with gaps, beyond chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from safetycatch.ensembles.ballots import read_ballots
from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import Floats, checked_level, quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

Metric = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Alpha:
    """Alpha (1: agreement, 0: chance) with its jackknife interval over items; `reason` says why a number is NaN.

    `n_items` and `n_labels` count what can be paired: items with two or more labels. `n_single` items had one label.
    """

    estimate: float
    low: float
    high: float
    se: float
    metric: Metric
    n_items: int
    n_labels: int
    n_single: int
    n_annotators: int
    level: float
    reason: str = ""


def krippendorff_alpha(
    labels: Any, *, metric: Metric = "nominal", order: Sequence[str] | None = None, level: float = 0.95
) -> Alpha:
    """Return alpha from a long frame with the columns `example_id`, `annotator`, `label` (texts; None: not labelled).

    `nominal`: two labels agree or not. `ordinal`: their distance counts the labels given between them; `order` names
    them in ascending order (None: all are numbers). `interval`: the squared difference of numbers. Items with one label
    say nothing. Undefined (NaN) where all labels are the same. The interval leaves out each item in turn.
    Assumes independent items. Raises: StatisticsError for other metrics, labels that are not in `order` or no numbers,
    two labels of one annotator for an item, under 2 items with two labels.
    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"; Tukey 1958 (jackknife).
    """
    if metric not in get_args(Metric):
        raise StatisticsError(f"the metric is {metric!r}, expected one of {', '.join(get_args(Metric))}")
    ballots = read_ballots(labels)
    positions, values = _positions(ballots.classes, metric, order)
    shape = (len(ballots.examples), len(values))
    flat = ballots.example * shape[1] + positions[ballots.label]
    counts = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    sizes = counts.sum(axis=1)
    paired = counts[sizes >= 2]
    n_items, level = len(paired), checked_level(level)
    if n_items < 2:
        raise StatisticsError(f"{n_items} items have two or more labels: agreement between people needs at least 2")
    totals = paired.sum(axis=0)
    estimate = float(_alpha(paired, totals[None, :], values, metric, left_out=False)[0])
    facts = (metric, n_items, int(totals.sum()), int((sizes == 1).sum()), len(ballots.annotators), level)
    if math.isnan(estimate):
        return Alpha(math.nan, math.nan, math.nan, math.nan, *facts, "all labels are the same: 0/0")
    without = _alpha(paired, totals - paired, values, metric, left_out=True)
    se = math.sqrt((n_items - 1) / n_items * float(np.square(without - without.mean()).sum()))
    if math.isnan(se) or se == 0:
        reason = "the labels differ in one item only, or in none: its spread over items cannot be measured"
        return Alpha(estimate, math.nan, math.nan, math.nan, *facts, reason)
    half = quantile((1 + level) / 2, n_items - 1) * se
    return Alpha(estimate, max(-1.0, estimate - half), min(1.0, estimate + half), se, *facts)


def _positions(
    classes: Sequence[str], metric: Metric, order: Sequence[str] | None
) -> tuple[np.ndarray[Any, np.dtype[np.intp]], Floats]:
    """Return the place of each class on the scale, and the numbers on the scale."""
    if metric == "nominal":
        return np.arange(len(classes), dtype=np.intp), np.arange(len(classes), dtype=np.float64)
    if order is not None:
        if metric == "interval":
            raise StatisticsError("'order' is for the ordinal metric: interval labels are numbers")
        stray = [name for name in classes if name not in order]
        if stray or len(set(order)) < len(order):
            raise StatisticsError(
                f"order {', '.join(order)}: expected every label once, found {', '.join(stray)!r} too"
            )
        return np.array([list(order).index(name) for name in classes], dtype=np.intp), np.arange(
            len(order), dtype=float
        )
    try:
        numbers = np.array([float(name) for name in classes], dtype=np.float64)
    except ValueError as error:
        raise StatisticsError(
            f"a label is no number ({error}): give the {metric} scale's 'order', or numbers"
        ) from None
    if not np.isfinite(numbers).all():
        raise StatisticsError(f"labels {', '.join(classes)}: expected finite numbers")
    values, places = np.unique(numbers, return_inverse=True)
    return places.astype(np.intp), values


def _alpha(counts: Floats, totals: Floats, values: Floats, metric: Metric, *, left_out: bool) -> Floats:
    """Return alpha for each row of `totals` (labels by class); with `left_out` row i is without item i.

    `counts` are labels by item and class. Pairs of labels within an item are counted by their squared distance; a sum
    over pairs of (x - y)² is 2 (m sum x² - (sum x)²), so no table of pairs is needed.
    """
    size, n = counts.sum(axis=1), totals.sum(axis=1)
    per_pair = 1 / (size - 1)
    if metric == "nominal":
        own = (np.square(size) - np.square(counts).sum(axis=1)) * per_pair
        observed = own.sum() - (own if left_out else 0.0)
        chance = np.square(n) - np.square(totals).sum(axis=1)
    else:
        if metric == "ordinal":
            scale = np.cumsum(totals, axis=1) - totals / 2
            scale = scale - n[:, None] / 2
        else:
            scale = np.broadcast_to(values - (totals[0] @ values) / n[0], totals.shape)
        weight = (counts * (size * per_pair)[:, None]).sum(axis=0)
        cross = (counts * per_pair[:, None]).T @ counts
        observed = 2 * (np.square(scale) @ weight - ((scale @ cross) * scale).sum(axis=1))
        if left_out:
            first, second = (counts * scale).sum(axis=1), (counts * np.square(scale)).sum(axis=1)
            observed -= 2 * (size * second - np.square(first)) * per_pair
        chance = 2 * (n * (totals * np.square(scale)).sum(axis=1) - np.square((totals * scale).sum(axis=1)))
    with np.errstate(all="ignore"):
        return np.where(chance > 0, 1 - (n - 1) * observed / chance, np.nan)
