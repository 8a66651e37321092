"""What a reply took: price, time and tokens, as metrics and guardrails. Less is better."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from safetycatch.errors import StatisticsError
from safetycatch.scoring.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from safetycatch.scoring.scorer import Unit

_COLUMNS: dict[str, tuple[str, Unit]] = {
    "cost_usd": ("cost_usd", "usd"),
    "latency_s": ("latency_s", "s"),
    "latency_p50": ("latency_s", "s"),
    "latency_p95": ("latency_s", "s"),
    "n_tokens_in": ("n_tokens_in", "tokens"),
    "n_tokens_out": ("n_tokens_out", "tokens"),
}
_SHARES = {"latency_p50": 0.50, "latency_p95": 0.95}
RESOURCE_UNITS = {name: unit for name, (_, unit) in _COLUMNS.items()}
RESOURCE_SCORERS = tuple(_COLUMNS)


def resource(name: str) -> Scorer:
    """Return the scorer of one of `RESOURCE_SCORERS`: the mean of a column of `rows`, or its median or 95th percentile.

    Every reply counts, refusals too; rows without the figure (errors, an unknown price) are NaN.
    """
    column, unit = _COLUMNS[name]
    whole = partial(_quantile, share=_SHARES[name]) if name in _SHARES else None
    return Scorer(name, unit, False, "resource", False, _nothing, partial(_figure, column=column), whole)


def _nothing(text: str) -> None:
    del text


def _figure(parsed: str | None, target: str, row: Mapping[str, Any], *, column: str) -> float:
    del parsed, target
    figure = row.get(column)
    return math.nan if figure is None else float(figure)


def _quantile(parsed: Sequence[str | None], targets: Sequence[str], values: np.ndarray, *, share: float) -> np.ndarray:
    del parsed, targets
    return quantile_contributions(values, share)


def quantile_contributions(values: np.ndarray, share: float) -> np.ndarray:
    """Return values whose mean is the quantile at `share` (0-1) and whose spread gives its standard error.

    The quantile plus each value's influence (share - [value <= quantile]) / density, centred; 1 / density is the slope
    of the quantiles over Hall and Sheather's (1988) bandwidth. Valid for independent values of a smooth distribution;
    with less than some 100 values the 95th percentile's error is rough. Raises: StatisticsError without values.
    """
    import numpy as np
    from scipy.stats import norm

    n = len(values)
    if n == 0:
        raise StatisticsError("a quantile of no values is undefined")
    quantile = np.quantile(values, share)
    z = norm.ppf(share)
    width = n ** (-1 / 3) * norm.ppf(0.975) ** (2 / 3) * (1.5 * norm.pdf(z) ** 2 / (2 * z**2 + 1)) ** (1 / 3)
    low, high = max(0.0, share - width), min(1.0, share + width)
    slope = (np.quantile(values, high) - np.quantile(values, low)) / (high - low)
    above = (values > quantile).astype(float)
    return quantile + slope * (above - above.mean())
