"""Every pair of candidates on one metric: who is better than whom, beside the claim against the baseline."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from safetycatch.results.comparing import compare
from safetycatch.stats import decide, holm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.results.comparing import Comparison, Metric
    from safetycatch.results.corrected import Judging
    from safetycatch.results.matrix import ScoreMatrix

MOST_PAIRED = 8  # candidates shown pair by pair: 28 pairs; more would be a table that nobody reads


def all_pairs(
    matrix: ScoreMatrix,
    candidates: Sequence[str],
    metric: Metric,
    *,
    smallest_effect: float | None = None,
    judging: Judging | None = None,
) -> tuple[Comparison, ...]:
    """Return every pair of `candidates` once, the later one minus the earlier one (its `baseline`), with its verdict.

    P-values are Holm-adjusted over these pairs, a family of its own: they are not those of a claim, and guardrails play
    no part. `smallest_effect` is in the metric's unit; without one no pair can be EQUIVALENT. Where no interval can be
    given the verdict is INCONCLUSIVE and `reason` says why.
    """
    found = [compare(matrix, second, first, metric, judging=judging) for first, second in combinations(candidates, 2)]
    adjusted = holm([pair.p_adjusted for pair in found]) if found else np.array([])
    return tuple(
        replace(
            pair,
            p_adjusted=float(p),
            correction="holm_pairs",
            verdict=_word(pair, metric, float(p), len(found), smallest_effect),
        )
        for pair, p in zip(found, adjusted, strict=True)
    )


def _word(pair: Comparison, metric: Metric, p_adjusted: float, n_pairs: int, smallest_effect: float | None) -> str:
    if pair.difference is None:
        return "INCONCLUSIVE"
    return decide(
        pair.difference,
        smallest_effect,
        p_adjusted=p_adjusted,
        n_compared=n_pairs,
        higher_is_better=metric.higher_is_better,
    ).kind


def best(matrix: ScoreMatrix, candidates: Sequence[str], metric: Metric, most: int = MOST_PAIRED) -> list[str]:
    """Return up to `most` candidates with the best means, best first, those without any score left out.

    Showing only pairs of the best does not make a false BETTER likelier: being chosen draws equal scores together.
    """
    means = {
        name: float(np.nanmean(column))
        for name in candidates
        if not np.isnan(column := matrix.means(name, metric.name)).all()
    }
    sign = -1 if metric.higher_is_better else 1
    return sorted(means, key=lambda name: sign * means[name])[:most]
