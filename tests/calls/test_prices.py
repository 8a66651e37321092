from __future__ import annotations

import datetime as dt
import subprocess
import sys

import pytest

from safetycatch.calls import Endpoint, Price, Prices, Request
from safetycatch.errors import UsageError


def of(prices: Prices, endpoint: Endpoint, model: str, **body: object) -> Price | None:
    return prices.of(Request(endpoint, {"model": model, **body}, "a", "1"))


def test_a_private_server_is_not_billed_as_its_public_namesake() -> None:
    prices = Prices()
    private = Endpoint("gpu", "direct", "http://gpu:8000/v1")
    named_like = Endpoint("openai", "direct", "http://gpu:8000/v1")
    public = Endpoint("any", "direct", "https://api.openai.com/v1")
    proxy = Endpoint("openai", "litellm", "http://gpu:8000/v1")
    assert of(prices, private, "gpt-4o-mini") is None
    assert of(prices, named_like, "gpt-4o-mini") is None
    assert of(prices, proxy, "openai/gpt-4o-mini") is None
    assert of(prices, public, "gpt-4o-mini") == prices.lookup("openai/gpt-4o-mini") is not None
    assert prices.lookup("gpt-4o-mini") is None


def test_cached_tokens_have_their_price() -> None:
    price = Prices().lookup("openai/gpt-4o-mini")
    assert price is not None
    assert price.cost_usd(1_000_000, 0) == pytest.approx(0.15)
    assert price.cost_usd(1_000_000, 1_000_000, 1_000_000) == pytest.approx(0.075 + 0.6)
    assert price.source.startswith("http")
    assert price.date


def test_the_users_entry_wins_and_covers_private_servers() -> None:
    prices = Prices({"gpu/llama": {"input_per_m": 1, "output_per_m": 2}, "openai/gpt-4o-mini": {"per_call": 0.5}})
    price = of(prices, Endpoint("gpu", "direct", "http://gpu/v1"), "llama")
    assert price is not None
    assert price.cost_usd(1_000_000, 1_000_000) == 3
    assert price.highest_usd(1_000_000, 1_000_000) == 3
    flat = of(prices, Endpoint("litellm", "litellm"), "openai/gpt-4o-mini")
    assert flat is not None
    assert flat.cost_usd(1000, 1000) == 0.5


def test_only_the_sandbox_of_this_machine_has_our_own_prices() -> None:
    here, there = Endpoint("sandbox", "direct", "http://127.0.0.1:1/v1"), Endpoint("sandbox", "direct", "http://gpu/v1")
    free, priced = of(Prices(), here, "echo"), of(Prices(), here, "echo-priced")
    assert free is not None
    assert free.highest_usd(10**6, 10**6) == 0
    assert priced is not None
    assert priced.cost_usd(10**6, 10**6) == 5
    assert of(Prices(), there, "echo") is None


def test_the_highest_cost_covers_cache_writes_long_prompts_and_tiers() -> None:
    for name in ("anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro", "openai/gpt-4o-mini"):
        price = Prices().lookup(name)
        assert price is not None
        for tokens in (10, 150_000, 250_000):
            assert price.highest_usd(tokens, tokens) >= price.cost_usd(tokens, tokens)
    gemini = Prices().lookup("gemini/gemini-2.5-pro")
    assert gemini is not None
    assert gemini.cost_usd(250_000, 0) / 250_000 > gemini.cost_usd(150_000, 0) / 150_000
    here = Endpoint("x", "litellm")
    normal, priority = (of(Prices(), here, "openai/gpt-4o-mini", service_tier=tier) for tier in ("default", "priority"))
    assert normal is not None
    assert priority is not None
    assert priority.cost_usd(1000, 1000) > normal.cost_usd(1000, 1000)


def test_fine_tuned_names_and_shutdown_days_are_found() -> None:
    prices = Prices()
    price = prices.lookup("openai/ft:gpt-4o-mini-2024-07-18:org::abc")
    assert price is not None
    assert price.input_per_m == 0.3
    assert isinstance(prices.deprecation_date("anthropic/claude-sonnet-4-5"), dt.date)
    assert prices.deprecation_date("gpu/unknown") is None


@pytest.mark.parametrize(
    "entry",
    [
        {"input_per_m": -1, "output_per_m": 1},
        {"input_per_m": "1", "output_per_m": 1},
        {"input_per_m": float("nan"), "output_per_m": 1},
        {"input_per_m": True, "output_per_m": 1},
        {"input_per_m": 1},
        {"input": 1},
        {},
    ],
)
def test_an_entry_that_is_no_price_is_refused(entry: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="prices: gpu/x"):
        Prices({"gpu/x": entry})


def test_reading_prices_does_not_import_litellm() -> None:
    code = (
        "import sys; from safetycatch.calls import Prices;"
        " assert Prices().lookup('openai/gpt-4o-mini'); assert not {'litellm', 'aiohttp', 'openai'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
