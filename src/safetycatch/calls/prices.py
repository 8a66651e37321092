"""What a model costs, where the figure comes from, and when a model ends."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from safetycatch.calls.model_list import entry_of, shutdown_of, source
from safetycatch.errors import UsageError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from safetycatch.calls.request import Endpoint, Request

USER_FIELDS = {"input_per_m", "output_per_m", "cached_input_per_m", "cache_write_per_m", "per_call", "train_per_m"}
# What Anthropic charges to write a token to its cache for five minutes, times the input rate:
# platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing
CLAUDE_CACHE_WRITE = 1.25
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# A private server may call its model anything; only these hosts bill what the public list says.
PUBLIC_HOSTS = {
    "api.openai.com": "openai",
    "api.together.xyz": "together_ai",
    "api.fireworks.ai": "fireworks_ai",
    "api.mistral.ai": "mistral",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "xai",
    "openrouter.ai": "openrouter",
}


class _Rates(NamedTuple):
    """US dollars per million tokens of one call: in, read from the cache, written to it, out."""

    fresh: float
    read: float
    written: float
    out: float


def _parts(n_tokens_in: int, n_tokens_cached: int, n_tokens_written: int) -> tuple[int, int]:
    """Return the tokens read from and written to the cache, no more than there are."""
    read = min(n_tokens_cached, n_tokens_in)
    return read, min(n_tokens_written, n_tokens_in - read)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, and per call, with source and date.

    `cached_input_per_m` is for tokens read from the provider's prompt cache, `cache_write_per_m` for those written
    (None: as other input). `long_prompt` is (tokens, input, output): the rates of prompts longer than that. `highest_*`
    are the dearest rates that anything else (longer caching, priority tiers) can be billed at. `batch_per_m`: input
    and output when the provider may take a day.
    """

    input_per_m: float
    output_per_m: float
    cached_input_per_m: float | None = None
    per_call_usd: float = 0.0
    long_prompt: tuple[int, float, float] | None = None
    highest_input_per_m: float = 0.0
    highest_output_per_m: float = 0.0
    source: str = ""
    date: str = ""
    cache_write_per_m: float | None = None
    batch_per_m: tuple[float, float] | None = None

    def cost_usd(
        self, n_tokens_in: int, n_tokens_out: int, n_tokens_cached: int = 0, n_tokens_written: int = 0
    ) -> float:
        """Return what a call cost, US dollars; tokens `cached` (read) and `written` are parts of those in."""
        rates = self._rates(n_tokens_in)
        read, written = _parts(n_tokens_in, n_tokens_cached, n_tokens_written)
        tokens_in = (n_tokens_in - read - written) * rates.fresh + read * rates.read + written * rates.written
        return self.per_call_usd + (tokens_in + n_tokens_out * rates.out) / 1e6

    def saved_by_cache_usd(self, n_tokens_in: int, n_tokens_cached: int, n_tokens_written: int = 0) -> float:
        """Return what the prompt cache saved on a call, US dollars; below 0 where writing cost more than reading saved.

        Assumes that prompts beyond `long_prompt` get no discount: rather a little too much is billed than too little.
        """
        rates = self._rates(n_tokens_in)
        read, written = _parts(n_tokens_in, n_tokens_cached, n_tokens_written)
        return (read * (rates.fresh - rates.read) - written * (rates.written - rates.fresh)) / 1e6

    def _rates(self, n_tokens_in: int) -> _Rates:
        fresh, write = self.input_per_m, self.cache_write_per_m
        if self.long_prompt is not None and n_tokens_in > self.long_prompt[0]:
            _, long_in, long_out = self.long_prompt
            dearer = long_in if write is None or not fresh else write / fresh * long_in
            return _Rates(long_in, long_in, dearer, long_out)
        read = self.cached_input_per_m
        return _Rates(fresh, fresh if read is None else read, fresh if write is None else write, self.output_per_m)

    def highest_usd(self, max_tokens_in: int, max_tokens_out: int) -> float:
        """Return the most that a call can cost, US dollars: every token written to the cache, at the dearest tier."""
        dear = (self.highest_input_per_m, self.cached_input_per_m or 0.0, self.cache_write_per_m or 0.0)
        input_per_m = max(self.input_per_m, *dear)
        output_per_m = max(self.output_per_m, self.highest_output_per_m)
        return self.per_call_usd + (max_tokens_in * input_per_m + max_tokens_out * output_per_m) / 1e6


def _of_public(entry: dict[str, Any], tier: str) -> Price | None:
    def rate(name: str) -> float | None:
        value = entry.get(name)
        # Rounded: 1e-07 a token is 0.1 a million, not 0.09999999999999999.
        return round(value * 1e6, 9) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def tiered(name: str) -> float | None:
        special = rate(f"{name}_{tier}") if tier else None
        return rate(name) if special is None else special

    input_per_m, output_per_m = tiered("input_cost_per_token"), tiered("output_cost_per_token")
    if output_per_m is None and entry.get("mode") == "embedding":
        output_per_m = 0.0
    if input_per_m is None or output_per_m is None:
        return None
    rates = {name: value for name in entry if "_batches" not in name and (value := rate(name)) is not None}
    above = "input_cost_per_token_above_"
    steps = [
        int(name[len(above) : -len("k_tokens")]) for name in rates if name.startswith(above) and name[-8:] == "k_tokens"
    ]
    long_prompt = None
    if steps:
        step = f"above_{min(steps)}k_tokens"
        long_in, long_out = tiered(f"input_cost_per_token_{step}"), tiered(f"output_cost_per_token_{step}")
        long_prompt = (min(steps) * 1000, long_in or input_per_m, long_out or output_per_m)
    dear_in = ("input_cost_per_token", "cache_creation_input_token_cost")
    dear_out = ("output_cost_per_token", "output_cost_per_reasoning_token")
    batch = rate("input_cost_per_token_batches"), rate("output_cost_per_token_batches")
    bundled = source()
    return Price(
        input_per_m,
        output_per_m,
        tiered("cache_read_input_token_cost"),
        long_prompt=long_prompt,
        highest_input_per_m=max((value for name, value in rates.items() if name.startswith(dear_in)), default=0.0),
        highest_output_per_m=max((value for name, value in rates.items() if name.startswith(dear_out)), default=0.0),
        source=str(entry.get("source") or "") or bundled.name,
        date=bundled.date,
        cache_write_per_m=tiered("cache_creation_input_token_cost"),
        batch_per_m=None if batch[0] is None or batch[1] is None else (batch[0], batch[1]),
    )


def _of_user(name: str, entry: Mapping[str, Any], source: str, date: str) -> Price:
    where = f"prices: {name}"
    unknown = sorted(set(entry) - USER_FIELDS)
    if unknown:
        raise UsageError(f"unknown key {unknown[0]!r}", where=where, expected=", ".join(sorted(USER_FIELDS)))
    numbers: dict[str, float] = {}
    for field, value in entry.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            raise UsageError(f"{field} is {value!r}", where=where, expected="US dollars, 0 or more")
        numbers[field] = float(value)
    missing = {"input_per_m", "output_per_m"} - set(numbers)
    if missing and "per_call" not in numbers:
        raise UsageError(f"no {min(missing)}", where=where, expected="input_per_m and output_per_m, or per_call")
    return Price(
        numbers.get("input_per_m", 0.0),
        numbers.get("output_per_m", 0.0),
        numbers.get("cached_input_per_m"),
        numbers.get("per_call", 0.0),
        source=source,
        date=date,
        cache_write_per_m=numbers.get("cache_write_per_m"),
    )


@cache
def _own() -> dict[str, Price]:
    loaded = json.loads(resources.files("safetycatch.calls").joinpath("prices.json").read_bytes())
    return {name: _of_user(name, entry, loaded["source"], loaded["date"]) for name, entry in loaded["models"].items()}


def _matching(table: Mapping[str, Price], name: str) -> Price | None:
    price = table.get(name) or next((price for pattern, price in table.items() if fnmatchcase(name, pattern)), None)
    if price is None or price.cache_write_per_m is not None or "claude" not in name.casefold():
        return price
    # We mark the prompts of these models for the cache: the ceiling must cover the writing though nobody stated it.
    return replace(price, cache_write_per_m=round(price.input_per_m * CLAUDE_CACHE_WRITE, 9))


class Prices:
    """The price table of a run: the user's `prices:` first, then our own file, then LiteLLM's bundled list.

    `user` maps `NAME/model` (shell wildcards allowed) to `{input_per_m, output_per_m, cached_input_per_m?, per_call?}`
    in US dollars. Raises: UsageError for an entry that is no price.
    """

    def __init__(self, user: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._user = {name: _of_user(name, entry, f"prices: {name}", "") for name, entry in (user or {}).items()}
        self._by_endpoint: dict[tuple[Endpoint, str, str], Price | None] = {}
        self._known: dict[tuple[str, bool, str], Price | None] = {}

    def lookup(self, name: str, *, public: bool = True, tier: str = "") -> Price | None:
        """Return the price of `provider/model` or `NAME/model`; None when nobody stated one.

        `public=False` leaves LiteLLM's list out: a private server's model is not billed as its public namesake.
        `tier` is the provider's service tier (`priority`, `flex`).
        """
        wanted = (name, public, tier)
        if wanted not in self._known:
            self._known[wanted] = self._find(name, public=public, tier=tier)
        return self._known[wanted]

    def _find(self, name: str, *, public: bool, tier: str) -> Price | None:
        for table in (self._user, _own()):
            if (price := _matching(table, name)) is not None:
                return price
        entry = entry_of(name) if public else None
        return _of_public(entry, tier) if entry else None

    @staticmethod
    def name_of(endpoint: Endpoint, model: str) -> tuple[str, bool]:
        """Return the name under which an endpoint's model is priced, and whether the public list applies to it."""
        if endpoint.transport == "function":
            return f"function/{model}", False
        if endpoint.transport == "litellm":
            return model, endpoint.base_url is None
        provider = PUBLIC_HOSTS.get(urlsplit(endpoint.base_url or "").hostname or "")
        return (f"{provider}/{model}", True) if provider else (f"{endpoint.name}/{model}", False)

    def of(self, request: Request) -> Price | None:
        """Return the price of a request's model at its endpoint; None when nobody stated one."""
        endpoint, model, tier = request.endpoint, request.model, request.body.get("service_tier")
        wanted = (endpoint, model, tier if isinstance(tier, str) else "")
        if wanted not in self._by_endpoint:
            # What the user states for NAME/model holds everywhere; our own list only for the sandbox on this machine.
            price = _matching(self._user, f"{endpoint.name}/{model}")
            name, public = self.name_of(endpoint, model)
            host = urlsplit(endpoint.base_url or "").hostname
            if price is None and (endpoint.transport != "direct" or public or host in LOOPBACK):
                price = self.lookup(name, public=public, tier=wanted[2])
            self._by_endpoint[wanted] = price
        return self._by_endpoint[wanted]

    def deprecation_date(self, name: str) -> dt.date | None:
        """Return the day on which the provider shuts `provider/model` down, as LiteLLM's list has it; None: unknown."""
        found = shutdown_of(name)
        return found.day if found else None
