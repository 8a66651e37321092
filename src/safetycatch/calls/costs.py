"""What one attempt can cost at most, and what an answer did cost, in US dollars."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from safetycatch.calls.budget import Spent, UnknownPrice, UnknownPriceError

if TYPE_CHECKING:
    from safetycatch.calls.budget import Budget
    from safetycatch.calls.prices import Prices
    from safetycatch.calls.request import Reply, Request


class Bound(NamedTuple):
    """The most that one attempt can cost: US dollars (None: no price), tokens in and out."""

    usd: float | None
    tokens: int

    @property
    def perhaps(self) -> Spent:
        """What counts for an attempt whose bill is not known."""
        usd = self.usd or 0.0
        return Spent(usd, self.tokens, 1, usd, 1, int(self.usd is None))


def bound_of(request: Request, prices: Prices, budget: Budget) -> Bound:
    """Return the highest cost of one attempt.

    Raises: UnknownPriceError when nobody stated a price and only money bounds the run.
    """
    tokens_in, tokens_out = request.max_tokens_in, request.max_tokens_out * request.n_completions
    price = prices.of(request)
    if price is None:
        if budget.needs_price:
            raise UnknownPriceError(UnknownPrice(request.model, request.endpoint.name))
        return Bound(None, tokens_in + tokens_out)
    return Bound(price.highest_usd(tokens_in, tokens_out), tokens_in + tokens_out)


def cost_of(request: Request, reply: Reply, bound: Bound, prices: Prices) -> float | None:
    """Return the price of a reply, US dollars; None when price or usage is not known."""
    if reply.cost_usd is not None:
        return reply.cost_usd
    price = prices.of(request)
    if price is None:
        return None
    if reply.n_tokens_in is not None and reply.n_tokens_out is not None:
        cached, written = reply.n_tokens_cached or 0, reply.n_tokens_written or 0
        return price.cost_usd(reply.n_tokens_in, reply.n_tokens_out, cached, written)
    # Without usage only a flat price is certain; a ceiling counts the highest cost instead.
    flat = bound.usd == 0.0 or request.endpoint.transport == "function"
    return bound.usd if flat else None


def cache_saved_of(request: Request, reply: Reply, prices: Prices) -> float | None:
    """Return what the provider's prompt cache saved on a reply, US dollars; None when price or usage is not known.

    Below 0 where writing the prefix cost more than reading it saved.
    """
    price = prices.of(request)
    if price is None or reply.n_tokens_in is None:
        return None
    return price.saved_by_cache_usd(reply.n_tokens_in, reply.n_tokens_cached or 0, reply.n_tokens_written or 0)
