"""Not worse by more than a margin, where a judge scored: the gate's and the guardrails' question, errors paid for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from safetycatch.errors import StatisticsError
from safetycatch.stats import Guardrail, noninferiority

if TYPE_CHECKING:
    from collections.abc import Callable

    from safetycatch.results.comparing import Metric
    from safetycatch.results.corrected import Judging
    from safetycatch.results.matrix import ScoreMatrix
    from safetycatch.stats import NonInferiority

CORRECTED = frozenset({"common_error", "labels_on_both"})
STEPS = 40  # halvings until a p-value is exact to all digits that are shown


def judged_noninferiority(
    judging: Judging,
    matrix: ScoreMatrix,
    names: tuple[str, str],
    metric: Metric,
    margin: float,
    alpha: float = 0.05,
) -> NonInferiority:
    """Test that the candidate (`names[0]`) is at most `margin` (>= 0) worse than the baseline, errors paid for.

    As `stats.noninferiority`, on the corrected difference: its one-sided bound decides, and each p-value is the least
    alpha at which it would. Where nothing corrects the judge the raw difference is tested. Higher is better.
    Assumes as the correction. Raises: StatisticsError as `stats.noninferiority`, and where nothing corrects a judge
    whose certificate is provisional or refused.
    """
    ours, theirs = (matrix.means(name, metric.name) for name in names)
    raw = noninferiority(ours, theirs, margin, matrix.paired_clusters(), alpha, binary=metric.binary, by_value=False)
    found = judging.corrected_difference(matrix, names, metric.name, None, 1 - 2 * alpha)
    if found is None:
        if why := judging.rests_on_nothing(metric.name):
            raise StatisticsError(why)
        return raw

    def least_alpha(decides: Callable[[float, float], bool]) -> float:
        least, most = 0.0, 0.5
        for _ in range(STEPS):
            middle = (least + most) / 2
            at = judging.corrected_difference(matrix, names, metric.name, None, 1 - 2 * middle)
            least, most = (least, middle) if at is not None and decides(at.low, at.high) else (middle, most)
        return most if most < 0.5 else 1.0

    return replace(
        raw,
        status="passed" if found.low > -margin else "violated" if found.high < -margin else "undecided",
        estimate=found.estimate,
        bound=found.low,
        p_value=least_alpha(lambda low, _: low > -margin),
        p_violated=least_alpha(lambda _, high: high < -margin),
        n_to_settle=None,  # what the labels add to the spread does not shrink with more items
        method=found.method,
        reason=f"one-sided {100 * (1 - alpha):g} % bound {found.low:+.4g}, limit {-margin:+.4g}, "
        "with the judge's errors in it",
    )


def judged_guardrail(
    judging: Judging,
    matrix: ScoreMatrix,
    names: tuple[str, str],
    metric: Metric,
    worse_by: float,
    *,
    relative: bool,
    alpha: float = 0.05,
) -> Guardrail:
    """Return whether a judged metric keeps its guardrail; values and estimate are those that are shown.

    Raises: StatisticsError for a relative guardrail, whose limit would move with the judge's errors, and as
    `judged_noninferiority`.
    """
    if relative:
        raise StatisticsError(
            f"a share of {metric.name} moves with the judge's errors; give points: worse_by: 2 points"
        )
    test = judged_noninferiority(judging, matrix, names, metric, worse_by, alpha)
    raw = f"{100 * test.estimate:+.1f} points" if metric.unit == "points" else f"{test.estimate:+.3g}"
    allowed = f"{-100 * worse_by:+g} points" if metric.unit == "points" else f"{-worse_by:+g}"
    how = "corrected for the judge's errors" if test.method in CORRECTED else "as the judge says, uncorrected"
    reason = f"{raw}, {how}, allowed {allowed}"
    if test.status == "undecided":
        reason += f": not shown, {test.reason}"
    return Guardrail(
        metric.name, test.status, worse_by, relative, math.nan, math.nan, test.estimate, test.bound, test.p_value,
        test.p_violated, test.n, test.n_clusters, test.n_missing, test.n_to_settle, alpha, reason,
    )  # fmt: skip
