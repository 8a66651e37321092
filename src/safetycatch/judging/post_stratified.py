"""A rate from a pass/fail judge of all rows and labels of some: people's pass rate within each of its verdicts.

The rate is W y1 + (1 - W) y0: W the share that the judge passed, y1 and y0 people's pass rate within each verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safetycatch.stats.clusters import Floats  # noqa: TC001 - a dataclass field

SMOOTHING = 0.5  # half a pass and half a fail are added to each verdict's labels, so that 20 of 20 is not certainty


@dataclass(frozen=True)
class PostStratified:
    """The pieces of a post-stratified rate: estimate, its variance by source, and what each row adds to it.

    `rows` and `labels` are influences, in the order of the judged rows and of the labels. `events` counts labels that
    differ from most of their verdict.
    """

    estimate: float
    variance_of_labels: float
    variance_of_share: float
    variance_labels_only: float
    rows: Floats
    labels: Floats
    per_verdict: tuple[float, float]
    events: float

    @property
    def variance(self) -> float:
        """The variance of the estimate with independent rows."""
        return self.variance_of_labels + self.variance_of_share


def post_stratified(judged: Floats, labelled_judge: Floats, labelled_human: Floats, weights: Floats) -> PostStratified:
    """Return the post-stratified rate of 0/1 columns without gaps: `judged` of all rows, the others of labelled ones.

    `weights` are inverse sampling probabilities of the labels; within a verdict they average, between verdicts the
    judge's own share decides. Assumes labels drawn at random, with those probabilities, within each verdict.
    Source: Cochran 1977, section 5A.9; Chen et al. 2026, "Efficient Inference for Noisy LLM-as-a-Judge Evaluation".
    """
    n_rows = len(judged)
    share = float(judged.mean())
    rates, effective, variances = [0.5, 0.5], [0.0, 0.0], [0.25, 0.25]
    labels, events = np.zeros(len(labelled_human)), 0.0
    shares = (1 - share, share)
    for verdict in (0, 1):
        inside = labelled_judge == verdict
        if not inside.any():
            continue
        weight = weights[inside]
        n = float(weight.sum() ** 2 / np.square(weight).sum())
        passed = float(weight @ labelled_human[inside]) / float(weight.sum())
        rate = (passed * n + SMOOTHING) / (n + 2 * SMOOTHING)
        rates[verdict], effective[verdict], variances[verdict] = rate, n, rate * (1 - rate) / n
        labels[inside] = shares[verdict] * weight * (labelled_human[inside] - rate) / weight.sum()
        events += n * min(passed, 1 - passed)
    gap = rates[1] - rates[0]
    estimate = share * rates[1] + (1 - share) * rates[0]
    # What the same labels would tell without the judge: each label's spread around the rate, by its verdict.
    spreads = [rate * (1 - rate) + (rate - estimate) ** 2 for rate in rates]
    squares = [float(np.square(weights[labelled_judge == verdict]).sum()) for verdict in (0, 1)]
    labels_only = (squares[0] * spreads[0] + squares[1] * spreads[1]) / float(weights.sum()) ** 2
    return PostStratified(
        estimate=estimate,
        variance_of_labels=sum(shares[verdict] ** 2 * variances[verdict] for verdict in (0, 1)),
        variance_of_share=gap**2 * share * (1 - share) / n_rows,
        variance_labels_only=labels_only,
        rows=gap * (judged - share) / n_rows,
        labels=labels,
        per_verdict=(effective[1], effective[0]),
        events=events,
    )
