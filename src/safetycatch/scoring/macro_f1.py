"""Macro-F1: the mean over the classes of the harmonic mean of precision and recall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.errors import StatisticsError
from safetycatch.scoring.accuracy import label_scoring
from safetycatch.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np


def macro_f1(labels: Sequence[str], aliases: Mapping[str, str] | None = None) -> Scorer:
    """Return the scorer of a label vocabulary; the mean is over the classes that occur among the targets."""
    parse, score = label_scoring(labels, aliases)
    return Scorer("macro_f1", "points", True, "corpus", False, parse, score, _whole)


def _whole(parsed: Sequence[str | None], targets: Sequence[str], values: np.ndarray) -> np.ndarray:
    del values
    return f1_contributions(parsed, targets)


def f1_contributions(parsed: Sequence[str | None], targets: Sequence[str]) -> np.ndarray:
    """Return values whose mean is the macro-F1 exactly and whose spread gives its standard error.

    F_c = 2 TP_c / (P_c + T_c) of right, predicted and true counts. Deriving it by one row's weight gives that row's
    influence n (2 [right] - F_c ([predicted c] + [true c])) / (P_c + T_c), which sums to 0 over the rows.
    Equals scikit-learn's `f1_score(average="macro", labels=classes of the targets)`: an unparsable reply, or a label
    no target has, lowers recall but is no class of its own (scikit-learn's default would average in its F1 of 0).
    Valid for rows drawn independently (or by cluster), with several rows a class. Raises: StatisticsError without rows.
    """
    import numpy as np

    if not targets:
        raise StatisticsError("macro-F1 of no rows is undefined")
    known = {label: at for at, label in enumerate(dict.fromkeys(targets))}
    true = np.array([known[target] for target in targets])
    predicted = np.array([-1 if read is None else known.get(read, -1) for read in parsed])
    right, among = predicted == true, predicted >= 0
    n, k = len(targets), len(known)
    total = np.bincount(true, minlength=k) + np.bincount(predicted[among], minlength=k)
    f1 = 2 * np.bincount(true[right], minlength=k) / total
    influence = (2 * right - f1[true]) / total[true]
    influence[among] -= (f1 / total)[predicted[among]]
    return f1.mean() + n / k * influence
