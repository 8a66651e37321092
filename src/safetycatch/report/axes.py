"""Axes with round ticks, positions in per cent of the track."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.report.numbers import fixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_TICKS = 6
WIDE_TICKS = 4  # at most, when their texts are long
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
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.85)


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
    low, high = max(low, bounds[0]), min(high, bounds[1])
    ticks, texts = _ticks(low, high, MAX_TICKS, signed=signed)
    if max(map(len, texts), default=0) > 4:
        ticks, texts = _ticks(low, high, WIDE_TICKS, signed=signed)
    return Axis(low, high, ticks, texts)


def _ticks(low: float, high: float, n: int, *, signed: bool) -> tuple[tuple[float, ...], tuple[str, ...]]:
    step = _step(high - low, n)
    ticks = tuple(k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) + (1 if _fraction(step) else 0)
    return ticks, tuple(fixed(tick, decimals, signed=signed) for tick in ticks)


def _fraction(step: float) -> bool:
    """Whether a step is 2.5 times a power of ten below 10, and so needs one more decimal."""
    return step < 10 and round(step / 10.0 ** math.floor(math.log10(step) + 1e-9), 3) == 2.5


def cost_axis(values: Sequence[float]) -> Axis:
    """Return an axis for non-negative US dollars: logarithmic when they span more than a factor of 20."""
    positive = [value for value in values if value > 0]
    if len(positive) == len(values) and positive and max(positive) / min(positive) > LOG_RATIO:
        low, high = min(positive) / 1.6, max(positive) * 1.6
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        factors = (1, 2, 5) if len(powers) <= 4 else (1,)
        ticks = tuple(x for power in powers for f in factors if low <= (x := f * 10.0**power) <= high)
        return Axis(low, high, ticks, tuple(_dollars(tick) for tick in ticks), log=True)
    axis = linear_axis(values, include=[0.0], bounds=(0.0, math.inf))
    return Axis(axis.low, axis.high, axis.ticks, tuple(f"${text}" for text in axis.texts))


def _dollars(value: float) -> str:
    """Return a tick of a money axis: cents where there are cents."""
    decimals = max(0, -math.floor(math.log10(value) + 1e-9))
    return f"${value:,.{2 if decimals == 1 else decimals}f}"
