"""Numbers as people read them: unit and sign always, and never more digits than the interval allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from safetycatch.report.content import measured

ABSENT = "—"
MAX_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Unit:
    """How one unit is shown: raw values times `factor`, and what stands before and after level and difference."""

    name: str
    factor: float = 1.0
    prefix: str = ""
    suffix: str = ""
    difference_suffix: str = ""

    def heading(self, *, difference: bool = False) -> str:
        """Return the unit's name for a column head: `%`, `points`, `$`, `s`."""
        return (self.difference_suffix if difference else self.suffix).strip() or self.prefix or self.name


_UNITS = {
    "proportion": Unit("proportion", 100.0, suffix=" %", difference_suffix=" points"),
    "usd": Unit("usd", prefix="$"),
    "s": Unit("s", suffix=" s", difference_suffix=" s"),
    "score": Unit("score"),
    "": Unit(""),
}


def unit_named(name: str) -> Unit:
    """Return the unit called `name`; an unknown one is written behind the number as it is."""
    return _UNITS.get(name) or Unit(name, suffix=f" {name}", difference_suffix=f" {name}")


def decimals_for(low: float | None, high: float | None, *, default: int = 1) -> int:
    """Return how many decimals an estimate may show: as many as give half the interval's width two digits."""
    low, high = measured(low), measured(high)
    if low is None or high is None or high <= low:
        return default
    return min(MAX_DECIMALS, max(0, 1 - math.floor(math.log10((high - low) / 2))))


def fixed(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """Return `value` with `decimals` decimals and thousands separators; zero has no sign, None is a dash."""
    value = measured(value)
    if value is None:
        return ABSENT
    text = f"{value:+,.{decimals}f}" if signed else f"{value:,.{decimals}f}"
    return text.lstrip("+-") if float(text.replace(",", "")) == 0 else text


@dataclass(frozen=True, slots=True)
class Shown:
    """An estimate and its interval in the unit's scale, as text without the unit."""

    estimate: str
    low: str
    high: str
    unit: Unit
    difference: bool = False

    @property
    def interval(self) -> str:
        """The interval as `[low, high]`, or a dash."""
        return ABSENT if ABSENT in {self.low, self.high} else f"[{self.low}, {self.high}]"

    @property
    def value(self) -> str:
        """The estimate with its unit: `84.2 %`, `+2.1 points`, `+$0.02`."""
        if self.estimate == ABSENT:
            return ABSENT
        sign = self.estimate[0] if self.estimate[0] in "+-" else ""
        suffix = self.unit.difference_suffix if self.difference else self.unit.suffix
        return f"{sign}{self.unit.prefix}{self.estimate.removeprefix(sign)}{suffix}"

    @property
    def text(self) -> str:
        """Estimate, unit and interval: `+2.1 points [-0.6, +4.8]`."""
        return self.value if self.interval == ABSENT else f"{self.value} {self.interval}"


def shown(
    estimate: float | None, low: float | None, high: float | None, unit: str = "proportion", *, difference: bool = False
) -> Shown:
    """Return an estimate and its interval (raw, in `unit`) as text; differences carry a sign."""
    kind = unit_named(unit)
    scaled = [None if (x := measured(value)) is None else x * kind.factor for value in (estimate, low, high)]
    decimals = decimals_for(scaled[1], scaled[2], default=_plain_decimals(scaled[0], kind))
    return Shown(*(fixed(x, decimals, signed=difference) for x in scaled), unit=kind, difference=difference)


def _plain_decimals(value: float | None, unit: Unit) -> int:
    """Decimals without an interval: one for percentages, else two significant digits."""
    value = measured(value)
    if unit.name == "proportion" or not value:
        return 1
    return min(MAX_DECIMALS, max(0, 1 - math.floor(math.log10(abs(value)))))


def money(usd: float | None) -> str:
    """Return US dollars: cents from a dollar's worth of cents on, two significant digits below a cent."""
    usd = measured(usd)
    if usd is None:
        return ABSENT
    sign, size = ("-" if usd < 0 else ""), abs(usd)
    if size == 0 or size >= 0.0995:
        return f"{sign}${size:,.2f}"
    if size < 0.000_001:
        return f"{sign}<$0.000001"
    return f"{sign}${size:.{min(7, 1 - math.floor(math.log10(size)))}f}"


def spent(usd: float | None, at_least: float | None = None) -> str:
    """Return a sum of US dollars (None: some of its calls have no known price), known to be `at_least` so much."""
    if measured(usd) is not None:
        return money(usd)
    return f"at least {money(at_least)}" if measured(at_least) else "price unknown"


def seconds(value: float | None) -> str:
    """Return a duration (seconds) in the unit a person would say."""
    value = measured(value)
    if value is None:
        return ABSENT
    if value < 0.9995:
        return f"{value * 1000:.1f} ms" if 0 < value < 0.00995 else f"{value * 1000:.0f} ms"
    if value < 59.5:
        return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def count(value: int | None) -> str:
    """Return a count with thousands separators, or a dash."""
    return ABSENT if value is None else f"{value:,}"


def p_value(value: float | None) -> str:
    """Return a p-value with two significant digits, three decimals at most."""
    value = measured(value)
    if value is None:
        return ABSENT
    if value < 0.001:
        return "<0.001"
    return f"{value:.3f}" if value < 0.0995 else f"{value:.2f}"


def share(part: int, whole: int) -> str:
    """Return `part` of `whole` as a whole per cent, or a dash when there is nothing to divide."""
    return ABSENT if whole <= 0 else f"{100 * part / whole:.0f} %"


def plain(value: float | None, digits: int = 3) -> str:
    """Return a number for a column whose head names the unit, with `digits` significant digits."""
    value = measured(value)
    if not value:
        return ABSENT if value is None else "0"
    return fixed(value, min(MAX_DECIMALS, max(0, digits - 1 - math.floor(math.log10(abs(value))))))


def effect(value: float | None, unit: str) -> str:
    """Return a stated effect, raw in `unit`, as the claim would write it: `3 points`, `$0.01`, `0.2 s`."""
    kind, size = unit_named(unit), measured(value)
    if size is None:
        return ABSENT
    return f"{kind.prefix}{round(size * kind.factor, 9):g}{kind.difference_suffix}"
