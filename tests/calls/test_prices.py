from __future__ import annotations

import datetime as dt
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.calls import Endpoint, Price, Prices, Request, model_list
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


def test_reading_and_writing_the_cache_have_their_price() -> None:
    # Worked by hand: $3 a million in, $0.30 read, $3.75 written, $15 out.
    claude = Prices().lookup("anthropic/claude-sonnet-4-5")
    assert claude is not None
    assert (claude.input_per_m, claude.cached_input_per_m, claude.cache_write_per_m) == (3.0, 0.3, 3.75)
    # 1,200 of 2,000 tokens written: 800 x 3 + 1,200 x 3.75 + 10 x 15 = 7,050 millionths.
    assert claude.cost_usd(2_000, 10, 0, 1_200) == pytest.approx(0.00705)
    # The same tokens read: 800 x 3 + 1,200 x 0.3 + 10 x 15 = 2,910 millionths.
    assert claude.cost_usd(2_000, 10, 1_200) == pytest.approx(0.00291)
    assert claude.cost_usd(2_000, 10) == pytest.approx(0.00615)


def test_what_the_cache_saved_is_worked_by_hand() -> None:
    claude = Prices().lookup("anthropic/claude-sonnet-4-5")
    assert claude is not None
    assert claude.saved_by_cache_usd(2_000, 1_200) == pytest.approx(1_200 * 2.7 / 1e6)
    assert claude.saved_by_cache_usd(2_000, 0, 1_200) == pytest.approx(-1_200 * 0.75 / 1e6)
    assert claude.saved_by_cache_usd(2_000, 1_000, 200) == pytest.approx((1_000 * 2.7 - 200 * 0.75) / 1e6)
    assert Price(1.0, 4.0).saved_by_cache_usd(2_000, 1_200, 500) == 0
    assert Price(1.0, 4.0, 0.5).saved_by_cache_usd(100, 1_200) == pytest.approx(100 * 0.5 / 1e6)


@given(*[st.integers(0, 400_000)] * 4, st.floats(0, 100), st.none() | st.floats(0, 100), st.none() | st.floats(0, 200))
def test_cost_and_saving_add_up_and_stay_below_the_highest(n_in, n_out, cached, written, rate, read, write) -> None:
    for long in (None, (200_000, 2 * rate, 3 * rate)):
        price = Price(rate, rate, read, 0.0, long, 2.5 * max(rate, write or 0), 3 * rate, cache_write_per_m=write)
        cost = price.cost_usd(n_in, n_out, cached, written)
        saved = price.saved_by_cache_usd(n_in, cached, written)
        assert cost + saved == pytest.approx(price.cost_usd(n_in, n_out))
        assert 0 <= cost <= price.highest_usd(n_in, n_out) * (1 + 1e-9) + 1e-12


def test_a_claude_that_the_user_prices_is_billed_for_writing_too() -> None:
    own = {"input_per_m": 4, "output_per_m": 8, "cached_input_per_m": 0.4}
    prices = Prices({"anthropic/*": own, "proxy/claude-x": own | {"cache_write_per_m": 6}, "gpu/*": own})
    rates = [prices.lookup(name) for name in ("anthropic/claude-y", "proxy/claude-x", "gpu/llama")]
    assert [price and price.cache_write_per_m for price in rates] == [5, 6, None]
    assert [price and price.highest_usd(1_000_000, 0) for price in rates] == [5, 6, 4]


def test_batch_rates_and_embeddings_are_listed() -> None:
    chat, vector = (Prices().lookup(f"openai/{name}") for name in ("gpt-4o-mini", "text-embedding-3-small"))
    assert chat is not None
    assert vector is not None
    assert chat.batch_per_m == pytest.approx((chat.input_per_m / 2, chat.output_per_m / 2))
    assert (vector.input_per_m, vector.output_per_m) == (0.02, 0.0)


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


def test_a_floating_name_ends_with_the_last_of_its_snapshots(monkeypatch) -> None:
    def listed(**days: str | None):
        entries = {name: {"litellm_provider": "openai", "deprecation_date": day} for name, day in days.items()}
        monkeypatch.setattr(model_list, "_list", lambda: (entries, model_list.Source("a list", "")))
        model_list.shutdown_of.cache_clear()
        return model_list.shutdown_of("openai/m")

    snapshots = {"m-2024-01-02": "2026-01-01", "m-2025-03-04": "2027-02-03", "m-mini-2024-01-02": None}
    found = listed(m=None, **snapshots)
    assert found == model_list.Shutdown(dt.date(2027, 2, 3), "a list", "openai/m-2025-03-04")
    assert listed(m="2026-05-06", **snapshots) == model_list.Shutdown(dt.date(2026, 5, 6), "a list")
    assert listed(m=None, **snapshots, **{"m-2026-03-04": None}) is None
    assert listed(m=None) is None
    assert listed(m="soon") is None
    model_list.shutdown_of.cache_clear()


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
