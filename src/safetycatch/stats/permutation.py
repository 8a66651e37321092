"""Sign-flip tests: of one column of paired differences, and of many at once (step-down max-T)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import Floats, Values, as_columns, as_numbers, cluster_codes, sums_by_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    Codes = np.ndarray[Any, np.dtype[np.intp]]

LEAST_RESAMPLES = 100
MOST_ENUMERATED = 12  # clusters with a difference: up to 2^12 flips are enumerated
MOST_WHOLE = 20_000  # whole-numbered cluster sums up to this total have an exact distribution, in a quarter of a second
BLOCK = 1_000_000  # signs held at once, 8 MB
SAME = 1e-9  # relative: flips this close to the observed sum count as ties, in favour of "no difference"
TINY = 1e-150  # probabilities below are left out of products, which would be too small to hold
LEAST_P = 1e-140  # what was left out adds up to less


@dataclass(frozen=True)
class SignFlip:
    """A two-sided sign-flip test: `estimate` is the mean difference, `n_clusters` counts clusters with a value.

    `n_flipped` of them differ at all, so `p_value` is at least 2^(1 - n_flipped). `n_resamples` is 0 where it is exact.
    """

    p_value: float
    estimate: float
    n: int
    n_clusters: int
    n_flipped: int
    n_missing: int
    n_resamples: int
    method: Literal["exact", "monte_carlo"]


def sign_flip(differences: Values, cluster: Values | None = None, n_resamples: int = 10_000, seed: int = 0) -> SignFlip:
    """Test "no difference" from paired differences (NaN = missing): each cluster keeps or changes its sign at random.

    Two-sided on the absolute sum. Exact for up to 12 clusters that differ, and for whole-numbered cluster sums (right
    and wrong), where without clusters it is McNemar's exact test; else Monte Carlo, (b + 1) / (m + 1). Nothing differs:
    p = 1. Assumes independent clusters whose sums are as likely positive as negative under "no difference", as they are
    when swapping the two sides would change nothing. Raises: StatisticsError for no value or under 100 resamples.
    Source: Fisher 1935, The Design of Experiments, section 21; Phipson & Smyth 2010, SAGMB 9:39 (the added one).
    """
    column = as_numbers(differences, "differences")
    codes, seen = _codes(cluster, len(column)), ~np.isnan(column)
    if not seen.any():
        raise StatisticsError(f"no difference is observed: all {len(column)} are missing")
    sums = sums_by_cluster([column], codes)[0]
    sums = sums[sums[:, 0] != 0]
    p_value = _whole_numbered(sums[:, 0])
    exact = p_value is not None
    if p_value is None:
        adjusted, exact = _step_down(sums, _checked(n_resamples), seed)
        p_value = float(adjusted[0])
    n_clusters, n_missing = len(np.unique(codes[seen])), int((~seen).sum())
    return SignFlip(
        p_value, float(column[seen].mean()), int(seen.sum()), n_clusters, len(sums), n_missing,
        0 if exact else n_resamples, "exact" if exact else "monte_carlo",
    )  # fmt: skip


def max_t(differences: Values, cluster: Values | None = None, n_resamples: int = 10_000, seed: int = 0) -> Floats:
    """Return adjusted p-values of many candidates against one baseline, by step-down max-T over joint sign flips.

    `differences`: items x candidates, candidate - baseline, NaN = missing. A cluster changes the sign of all its
    differences at once, so candidates that share their errors cost less than Holm asks. Each column's sum is divided by
    the root of its summed squared cluster sums. Exact for up to 12 clusters that differ, else Monte Carlo. A column
    without a value is NaN and no part of the family; one without a difference has p = 1.
    Assumes independent clusters whose differences are jointly symmetric under "no candidate differs". Raises:
    StatisticsError for no value at all or under 100 resamples. Source: Westfall & Young 1993, algorithm 4.1 (with the
    sign flips of one sample); Romano & Wolf 2005, JASA 100:94-108.
    """
    columns = as_columns(differences, "differences")
    codes = _codes(cluster, len(columns[0]))
    sums = sums_by_cluster(columns, codes)[0]
    seen = np.array([not np.isnan(column).all() for column in columns])
    if not seen.any():
        raise StatisticsError(f"no difference is observed: all {len(columns[0])} rows are missing")
    differ = (sums != 0).any(axis=0)
    adjusted = np.where(seen, 1.0, math.nan)
    if differ.any():
        kept = sums[:, differ]
        adjusted[differ] = _step_down(kept[(kept != 0).any(axis=1)], _checked(n_resamples), seed)[0]
    return adjusted


def _checked(n_resamples: int) -> int:
    if n_resamples < LEAST_RESAMPLES:
        raise StatisticsError(f"{n_resamples} resamples: at least {LEAST_RESAMPLES} are needed, 10,000 are usual")
    return n_resamples


def _codes(cluster: Values | None, n: int) -> Codes:
    return np.arange(n, dtype=np.intp) if cluster is None else cluster_codes(cluster, n)


def _step_down(sums: Floats, n_resamples: int, seed: int) -> tuple[Floats, bool]:
    """Return step-down max-T p-values of `sums` (clusters x columns, no empty row or column), and whether exact."""
    # Flips change no square: dividing by this root is studentising, and gives noisy columns no say over the others.
    scaled = sums / np.abs(sums).max(axis=0)  # squares of tiny sums would vanish
    scaled /= np.sqrt(np.square(scaled).sum(axis=0))
    observed = np.abs(scaled.sum(axis=0))
    order = np.argsort(-observed, kind="stable")
    scaled, observed = scaled[:, order], observed[order]
    reached, n_flips, exact = np.zeros(len(order)), 0, len(sums) <= MOST_ENUMERATED
    for signs in _all_signs(len(sums)) if exact else _random_signs(len(sums), n_resamples, seed):
        flipped = np.abs(signs @ scaled)
        # The largest among a column and those with less evidence: step-down.
        rivals = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]
        reached += (rivals >= observed * (1 - SAME)).sum(axis=0)
        n_flips += len(signs)
    p_values = reached / n_flips if exact else (reached + 1) / (n_flips + 1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(p_values)
    return adjusted, exact


def _all_signs(n: int) -> Iterator[Floats]:
    turned = np.arange(2**n)[:, None] >> np.arange(n) & 1
    yield turned.astype(np.float64) * 2 - 1


def _random_signs(n: int, n_resamples: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // n)
    for start in range(0, n_resamples, block):
        octets = rng.integers(0, 256, size=(min(block, n_resamples - start), -(-n // 8)), dtype=np.uint8)
        yield np.unpackbits(octets, axis=1, count=n).astype(np.float64) * 2 - 1


def _whole_numbered(sums: Floats) -> float | None:
    """Return the exact two-sided p-value when all cluster sums are whole numbers; None when not, or too large.

    The flipped sum is the observed total of sizes less twice the part that turned negative; clusters of one size turn
    in binomial numbers, and the sizes are convolved.
    """
    sizes = np.abs(sums)
    if not (sums == np.rint(sums)).all() or sizes.sum() > MOST_WHOLE:
        return None
    from scipy.special import gammaln

    kinds, counts = np.unique(sizes.astype(np.intp), return_counts=True)
    turned = np.ones(1)
    for size, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        k = np.arange(count + 1)
        own = np.zeros(size * count + 1)
        own[::size] = np.exp(gammaln(count + 1) - gammaln(k + 1) - gammaln(count - k + 1) - count * math.log(2))
        if len(kinds) > 1:
            own[own < TINY] = 0.0
            turned[turned < TINY] = 0.0
        turned = np.convolve(turned, own)
    total, observed = sizes.sum(), abs(sums.sum())
    p_value = float(turned[np.abs(total - 2 * np.arange(len(turned))) >= observed].sum())
    return min(1.0, p_value if len(kinds) <= 1 else max(p_value, LEAST_P))
