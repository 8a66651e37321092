from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.calls import Budget, Spent
from safetycatch.errors import BudgetReachedError


@given(
    seed=st.integers(0, 2**32),
    usd=st.none() | st.floats(0, 3),
    tokens=st.none() | st.integers(0, 3000),
    calls=st.none() | st.integers(0, 60),
)
def test_r25_spending_never_passes_the_ceiling_under_any_interleaving(seed, usd, tokens, calls) -> None:
    rng = random.Random(seed)
    budget = Budget(usd, tokens, calls)
    sent = Spent()

    async def call() -> None:
        nonlocal sent
        high_usd, high_tokens = rng.uniform(0, 0.2), rng.randrange(200)
        try:
            await budget.reserve(high_usd, high_tokens)
        except BudgetReachedError:
            return
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        cost = Spent() if rng.random() < 0.2 else Spent(rng.uniform(0, high_usd), rng.randrange(high_tokens + 1), 1)
        sent += cost
        budget.settle(high_usd, high_tokens, cost)

    async def go() -> None:
        await asyncio.gather(*(call() for _ in range(80)))

    asyncio.run(go())
    assert budget.spent == sent
    assert usd is None or sent.usd <= usd + 1e-9
    assert tokens is None or sent.tokens <= tokens
    assert calls is None or sent.calls <= calls
    assert budget.held.calls == 0


def test_a_call_waits_for_room_that_others_may_leave() -> None:
    async def go() -> None:
        budget = Budget(usd=1.0)
        await budget.reserve(0.9, 0)
        second = asyncio.create_task(budget.reserve(0.9, 0))
        await asyncio.sleep(0)
        assert not second.done()
        budget.settle(0.9, 0, Spent(0.1, 0, 1))
        await second
        third = asyncio.create_task(budget.reserve(0.9, 0))
        await asyncio.sleep(0)
        budget.settle(0.9, 0, Spent(0.9, 0, 1))
        with pytest.raises(BudgetReachedError, match=r"\$1.0000 of \$1 spent"):
            await third

    asyncio.run(go())


def test_a_waiter_that_gives_up_leaves_no_trace() -> None:
    async def go() -> None:
        budget = Budget(calls=1)
        await budget.reserve(0, 0)
        waiting = asyncio.create_task(budget.reserve(0, 0))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        budget.settle(0, 0, Spent())
        await budget.reserve(0, 0)
        assert budget.held.calls == 1

    asyncio.run(go())


def test_what_was_spent_before_counts() -> None:
    with pytest.raises(BudgetReachedError, match="10 of 10 calls"):
        Budget(calls=10, already=Spent(calls=10)).try_reserve(0, 0)


def test_what_is_only_perhaps_paid_is_told() -> None:
    already = Spent(4.1, 0, 20, 3.2, 7)
    with pytest.raises(BudgetReachedError, match=r"\$4.1000 of \$5 spent, \$3.2000 of it perhaps, the next call may"):
        Budget(usd=5.0, already=already).try_reserve(1.0, 0)
    with pytest.raises(BudgetReachedError, match="20 of 20 calls made, 7 of them perhaps paid\n"):
        Budget(calls=20, already=already).try_reserve(0, 0)


def test_ten_dimes_fit_into_a_dollar() -> None:
    budget = Budget(usd=1.0)
    for _ in range(10):
        assert budget.try_reserve(0.1, 0)
        budget.settle(0.1, 0, Spent(0.1, 0, 1))
