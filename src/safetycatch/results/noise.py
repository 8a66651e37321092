"""How noisy a run's comparisons were, for the plan of the next one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats import difference_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.results.matrix import ScoreMatrix


def noise_of(matrix: ScoreMatrix, baseline: str, candidates: Sequence[str], metric: str) -> list[dict[str, Any]]:
    """Return a record for each candidate: the components of its difference's variance, squared score units.

    `of_candidate` and `of_baseline`, noise between runs of an item, are None where no item has two runs; `n` counts
    pairs, `n_different` those that differ, `df` says how surely the variance is known. A comparison without a variance
    has no record.
    """
    found: list[dict[str, Any]] = []
    for name in candidates:
        if name == baseline or not (matrix.has(name, metric) and matrix.has(baseline, metric)):
            continue
        try:
            noise = difference_noise(matrix.rows(name, metric), matrix.rows(baseline, metric), matrix.paired_clusters())
        except StatisticsError:
            continue
        differences = matrix.means(name, metric) - matrix.means(baseline, metric)
        found.append(
            {
                "candidate": name,
                "baseline": baseline,
                "between": noise.between,
                "of_candidate": None if math.isnan(noise.candidate) else noise.candidate,
                "of_baseline": None if math.isnan(noise.baseline) else noise.baseline,
                "n": noise.n,
                "df": noise.df,
                "n_different": int(np.count_nonzero(differences[~np.isnan(differences)])),
            }
        )
    return found
