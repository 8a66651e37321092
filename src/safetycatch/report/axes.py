"""Axes with round ticks, positions in per cent of the track."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.report.numbers import fixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_TICKS = 5
LOG_RATIO = 20  # a cost axis spanning more than this is logarithmic


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear or logarithmic axis from `low` to `high` with its tick values and their texts."""

    low: float
    high: float
    ticks: tuple[float, ...]
    texts: tuple[str, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Return the position of `value` in per cent of the track, held within it."""
        low, high, x = (
            (math.log(self.low), math.log(self.high), math.log(max(value, self.low)))
            if self.log
            else (self.low, self.high, value)
        )
        return min(100.0, max(0.0, 100.0 * (x - low) / (high - low)))


def _step(span: float, n: int) -> float:
    raw = span / max(1, n - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)


def linear_axis(
    values: Iterable[float],
    *,
    include: Iterable[float] = (),
    bounds: tuple[float, float] = (-math.inf, math.inf),
    signed: bool = False,
) -> Axis:
    """Return an axis around `values` and `include` with up to about five round ticks, kept within `bounds`."""
    seen = [*values, *include]
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    pad = 0.06 * (high - low) or max(abs(high) * 0.1, 1e-9)
    low, high = low - pad, high + pad
    step = _step(high - low, MAX_TICKS)
    low, high = max(low, bounds[0] - 0.02 * step), min(high, bounds[1] + 0.02 * step)
    ticks = tuple(k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) + (1 if _fraction(step) else 0)
    return Axis(low, high, ticks, tuple(fixed(tick, decimals, signed=signed) for tick in ticks))


def _fraction(step: float) -> bool:
    """Whether a step is 2.5 times a power of ten below 10, and so needs one more decimal."""
    return step < 10 and round(step / 10.0 ** math.floor(math.log10(step) + 1e-9), 3) == 2.5


def cost_axis(values: Sequence[float]) -> Axis:
    """Return an axis for non-negative US dollars: logarithmic when they span more than a factor of 20."""
    positive = [value for value in values if value > 0]
    if len(positive) == len(values) and positive and max(positive) / min(positive) > LOG_RATIO:
        low, high = min(positive) / 1.6, max(positive) * 1.6
        powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        ticks = tuple(10.0**power for power in powers)
        return Axis(
            low,
            high,
            ticks,
            tuple(f"${tick:,.{max(0, -power)}f}" for tick, power in zip(ticks, powers, strict=True)),
            log=True,
        )
    axis = linear_axis(values, include=[0.0], bounds=(0.0, math.inf))
    return Axis(axis.low, axis.high, axis.ticks, tuple(f"${text}" for text in axis.texts))
