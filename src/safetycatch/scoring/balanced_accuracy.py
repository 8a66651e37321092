"""Balanced accuracy: the mean over the classes of the share of each that is read right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.errors import StatisticsError
from safetycatch.scoring.accuracy import label_scoring
from safetycatch.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np


def balanced_accuracy(labels: Sequence[str], aliases: Mapping[str, str] | None = None) -> Scorer:
    """Return the scorer of a label vocabulary; classes without a row do not count."""
    parse, score = label_scoring(labels, aliases)
    return Scorer("balanced_accuracy", "points", True, "corpus", False, parse, score, _whole)


def _whole(parsed: Sequence[str | None], targets: Sequence[str], values: np.ndarray) -> np.ndarray:
    del values
    return recall_contributions(parsed, targets)


def recall_contributions(parsed: Sequence[str | None], targets: Sequence[str]) -> np.ndarray:
    """Return values whose mean is the balanced accuracy exactly and whose spread gives its standard error.

    The metric plus each row's influence n/(K n_c) (right - recall_c), with class c of K, n_c of n rows: the linear term
    of a mean of ratios, which leaves out the spread between classes. Unparsable replies are wrong. Valid for rows
    drawn independently (or by cluster), with several rows a class. Raises: StatisticsError without rows.
    """
    import numpy as np

    if not targets:
        raise StatisticsError("balanced accuracy of no rows is undefined")
    known = {label: at for at, label in enumerate(dict.fromkeys(targets))}
    code = np.array([known[target] for target in targets])
    size = np.bincount(code)
    right = np.array([read == target for read, target in zip(parsed, targets, strict=True)], dtype=float)
    recall = np.bincount(code, weights=right) / size
    return recall.mean() + len(targets) / (size.size * size[code]) * (right - recall[code])
