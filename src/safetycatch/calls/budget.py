"""The ceiling: every attempt reserves its highest cost before it is sent, so concurrency cannot overshoot."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.errors import BudgetReachedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

# Sums of prices in binary fractions: a nano-dollar of slack, so that 10 x 0.1 still fits into 1.
SLACK_USD = 1e-9


@dataclass(frozen=True, slots=True)
class Spent:
    """What counts against a ceiling: US dollars, tokens in and out, requests sent; `perhaps_*` is what is not sure.

    Dollars are those of requests with a price; `unpriced` counts the others that were or may be paid for.
    """

    usd: float = 0.0
    tokens: int = 0
    calls: int = 0
    perhaps_usd: float = 0.0
    perhaps_calls: int = 0
    unpriced: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.usd + other.usd,
            self.tokens + other.tokens,
            self.calls + other.calls,
            self.perhaps_usd + other.perhaps_usd,
            self.perhaps_calls + other.perhaps_calls,
            self.unpriced + other.unpriced,
        )


@dataclass(frozen=True, slots=True)
class UnknownPrice:
    """A model whose price nobody stated, although only money bounds the run (the fact behind SC307)."""

    model: str
    endpoint: str


class UnknownPriceError(RefusedError):
    """A call without a known price under a ceiling in money only; `fact` says which model."""

    def __init__(self, fact: UnknownPrice) -> None:
        super().__init__(
            f"the price of {fact.model!r} at {fact.endpoint!r} is unknown, so a ceiling in dollars cannot bound it"
            "\n  fix      add a `tokens` or `calls` ceiling to `budget:`, or a `prices:` entry"
        )
        self.fact = fact


class Budget:
    """A ceiling in US dollars, tokens and calls (None: unbounded), shared by engines and threads of one process.

    `already` is what earlier runs of the same experiment spent, perhaps-paid calls at their highest cost.
    """

    def __init__(
        self,
        usd: float | None = None,
        tokens: int | None = None,
        calls: int | None = None,
        already: Spent | None = None,
    ) -> None:
        self.usd, self.tokens, self.calls = usd, tokens, calls
        self._spent = already or Spent()
        self._held_usd, self._held_tokens, self._held_calls = 0.0, 0, 0
        self._waiting: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def spent(self) -> Spent:
        """What was settled so far, `already` included."""
        return self._spent

    @property
    def held(self) -> Spent:
        """What is reserved for attempts under way, at their highest cost."""
        return Spent(max(0.0, self._held_usd), self._held_tokens, self._held_calls)

    @property
    def needs_price(self) -> bool:
        """Whether only money bounds the run, so that a call without a price would be unbounded."""
        return self.usd is not None and self.tokens is None and self.calls is None

    def _exceeded(self, usd: float, tokens: int, calls: int) -> str | None:
        spent = self._spent
        if self.usd is not None and spent.usd + usd > self.usd + SLACK_USD:
            unsure = f", ${spent.perhaps_usd:.4f} of it perhaps" if spent.perhaps_usd else ""
            return f"${spent.usd:.4f} of ${self.usd:g} spent{unsure}, the next call may cost ${usd:.4f}"
        if self.tokens is not None and spent.tokens + tokens > self.tokens:
            return f"{spent.tokens:,} of {self.tokens:,} tokens used, the next call may take {tokens:,}"
        if self.calls is not None and spent.calls + calls > self.calls:
            unsure = f", {spent.perhaps_calls:,} of them perhaps paid" if spent.perhaps_calls else ""
            return f"{spent.calls:,} of {self.calls:,} calls made{unsure}"
        return None

    def try_reserve(self, usd: float, tokens: int) -> bool:
        """Hold one call's highest cost (US dollars, tokens); False when that must wait for attempts under way.

        Raises: BudgetReachedError when it does not fit even if everything under way turns out to be free.
        """
        with self._lock:
            reason = self._exceeded(usd, tokens, 1)
            if reason is not None:
                raise BudgetReachedError(
                    f"the budget is reached: {reason}\n  fix      run the same command with a larger budget"
                )
            held = self._exceeded(self._held_usd + usd, self._held_tokens + tokens, self._held_calls + 1)
            if held is not None:
                return False
            self._held_usd += usd
            self._held_tokens += tokens
            self._held_calls += 1
            return True

    async def reserve(self, usd: float, tokens: int) -> None:
        """Hold one call's highest cost, waiting while attempts under way might leave room for it.

        Raises: BudgetReachedError when no room is left.
        """
        while not self.try_reserve(usd, tokens):
            loop, freed = asyncio.get_running_loop(), asyncio.Event()

            def wake(loop: asyncio.AbstractEventLoop = loop, freed: asyncio.Event = freed) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(freed.set)

            with self._lock:
                if not self._held_calls:
                    continue
                self._waiting.append(wake)
            try:
                await freed.wait()
            finally:
                with self._lock:
                    if wake in self._waiting:
                        self._waiting.remove(wake)

    def settle(self, held_usd: float, held_tokens: int, spent: Spent) -> None:
        """Replace one reservation by what the attempt cost; `Spent()` gives it back whole."""
        with self._lock:
            self._held_usd -= held_usd
            self._held_tokens -= held_tokens
            self._held_calls -= 1
            self._spent += spent
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()
