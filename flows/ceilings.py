"""What a run's ceiling does not bound, and where it would end the run part way: told before money is spent."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flows.approval import outstanding
from safetycatch.calls.prices import Prices
from safetycatch.catches.cost import budget_text
from safetycatch.catches.estimate import SLACK
from safetycatch.project import variable
from safetycatch.report.numbers import money
from safetycatch.store import Ref, Runs
from safetycatch.store.records import RESUMABLE, RUN_ID
from tasks.calling import read_table
from tasks.session import ceiling, current

if TYPE_CHECKING:
    from safetycatch.experiment import BudgetSettings
    from tasks.prepared import Prepared

Unit = Literal["usd", "tokens", "calls"]
UNITS: tuple[Unit, ...] = ("usd", "tokens", "calls")
# A sum to type has two digits: what it is made of is known no better.
DIGITS = 2
MOST_RUNS = 10_000


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A ceiling (`limit`) below what the whole run is expected to take; it never takes more than `enough`."""

    unit: Unit
    limit: float
    expected: float
    enough: float

    @property
    def text(self) -> str:
        """What is expected of what, in words."""
        if self.unit == "usd":
            return f"{money(self.expected)} expected, the ceiling is {money(self.limit)}"
        return f"about {math.ceil(self.expected):,} {self.unit} expected, the ceiling is {self.limit:,}"


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The ceilings of a run (`limits`), the models and functions that `limits.usd` does not bound, each with why.

    `too_low` are those that would end the run part way.
    """

    limits: BudgetSettings
    unbounded: dict[str, str]
    too_low: tuple[Shortfall, ...]

    def lines(self) -> list[str]:
        """Return what a person must know of them before money is spent; nothing where they hold and suffice."""
        dollars = (
            "no ceiling in dollars bounds" if self.limits.usd is None else f"{money(self.limits.usd)} does not bound"
        )
        lines = [f"{dollars} {name}: {why}" for name, why in self.unbounded.items()]
        others = budget_text(self.limits.model_copy(update={"usd": None}))
        if self.unbounded and others:
            lines.append(f"what bounds {'it' if len(self.unbounded) == 1 else 'them'}: {others}")
        if self.too_low:
            sums = {unit: getattr(self.limits, unit) for unit in UNITS} | {one.unit: one.enough for one in self.too_low}
            enough = ", ".join(f"{unit}: {value:.12g}" for unit, value in sums.items() if value is not None)
            told = "; ".join(one.text for one in self.too_low)
            lines.append(f"TOO LOW: {told}: the run would stop part way (exit 40)")
            lines.append(f"enough, if nothing is sent twice: budget: {{{enough}}}")
        return lines


def ceilings_of(prepared: Prepared) -> Ceilings:
    """Return what the ceilings of a planned run do not bound, and where they are too low."""
    unknown: list[str] = prepared.place.open_store().facts(Ref.from_dict(prepared.plan))["unknown_prices"]
    return Ceilings(ceiling(prepared.experiment), {name: _why_unknown(name) for name in unknown}, shortfalls(prepared))


def _why_unknown(name: str) -> str:
    if name.startswith("call "):
        return "its price is not known; state max_cost_usd"
    fix = f"prices: {{{name}: {{input_per_m: …, output_per_m: …}}}}"
    moved = variable("ENDPOINT", name.partition("/")[0])
    if os.environ.get(moved) and Prices().lookup(name) is not None:
        return f"{moved} moves it to where its public price says nothing; {fix}"
    return f"its price is not known; {fix}"


def shortfalls(prepared: Prepared) -> tuple[Shortfall, ...]:
    """Return the ceilings below what the run is expected to take, what it took before it was resumed included.

    Every call is looked up in the journal only where the plan is above a ceiling: answered calls are free.
    """
    limits, spent = ceiling(prepared.experiment), current().journal.spent(_run_id(prepared))
    rows = read_table(prepared.place, prepared.plan).to_pylist()
    planned = {name: sum(row[f"expected_{name}"] or 0.0 for row in rows) for name in UNITS}
    bounds: dict[Unit, float] = {unit: limit for unit in UNITS if (limit := getattr(limits, unit)) is not None}
    if all(planned[unit] + getattr(spent, unit) <= limit * (1 + SLACK) for unit, limit in bounds.items()):
        return ()
    left = outstanding(prepared, bounded=False)
    # An estimate counts calls at most: those that a race makes needless are expected in the plan only.
    calls = min(planned["calls"], left.n_calls)
    share = calls / planned["calls"] if planned["calls"] else 0.0
    expected = {"usd": share * planned["usd"], "tokens": share * planned["tokens"], "calls": calls}
    highest = {"usd": sum(row["highest_usd"] or 0.0 for row in rows), "tokens": left.highest_tokens}
    highest["calls"] = left.n_calls
    if left.expected_usd is not None and left.highest_usd is not None:
        expected["usd"], highest["usd"] = left.expected_usd, left.highest_usd
    return tuple(
        Shortfall(unit, limit, expected[unit] + taken, round_up(max(expected[unit], highest[unit]) + taken, unit))
        for unit, limit in bounds.items()
        if expected[unit] + (taken := getattr(spent, unit)) > limit * (1 + SLACK)
    )


def _run_id(prepared: Prepared) -> str:
    """Return the run that is under way, or that the next one would resume: what it has taken counts."""
    if RUN_ID.fullmatch(prepared.place.run_id):
        return prepared.place.run_id
    identity = prepared.inputs.identity()
    stored = Runs(prepared.place.open_store()).ls(limit=MOST_RUNS)
    left = (run.run_id for run in stored if run.identity == identity and run.status in RESUMABLE)
    return next(left, prepared.place.run_id)


def round_up(value: float, unit: Unit) -> float:
    """Return at least `value`, with two significant digits; calls and tokens are whole."""
    size = 10.0 ** (math.floor(math.log10(value)) - DIGITS + 1)
    rounded = round(math.ceil(value / size - 1e-9) * size, 9)
    return rounded if unit == "usd" else math.ceil(rounded)
