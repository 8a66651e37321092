import pytest

from safetycatch.catches import cost
from safetycatch.catches.estimate import Estimate
from safetycatch.experiment import BudgetSettings

FIVE = BudgetSettings(usd=5.0)
ASKS = BudgetSettings(usd=20.0, ask_above=5.0)
SIX = Estimate(1200, 0, 6.0, 18.5, 400_000)


def budget(**changes):
    facts = {"budget": None, "sends": True, "claiming": True, "unattended": False}
    return cost.budget_is_set(**{**facts, **changes})


def test_sc301_fires_without_a_budget(fired):
    fired(budget(), "refuse", "a claim without 'budget'", "budget: $5")
    fired(budget(claiming=False, unattended=True), "refuse", "an unattended run")
    fired(budget(budget=BudgetSettings()), "refuse", "a claim without 'budget'")


def test_sc301_silent_with_one_or_nothing_to_send(silent):
    silent(budget(budget=FIVE), "passed", "$5")
    silent(budget(claiming=False), "passed", "2,000 calls")
    silent(budget(sends=False), "not_applicable")


def test_sc302_fires_above_the_sum_and_on_an_unknown_price(fired, policy):
    found = cost.estimate_is_approved(estimate=SIX, budget=ASKS, run_id="2026-03-01-demo-1")
    fired(found, "pause", "up to 1,200 calls, $6.00 expected, $18.50 at most", "ask_above $5", "nothing was sent")
    assert policy().finding(found).text().startswith("SC302 waits")
    assert "safetycatch approve 2026-03-01-demo-1 --as NAME" in found.fix
    unknown = Estimate(1200, 0, None, None, 400_000)
    fired(cost.estimate_is_approved(estimate=unknown, budget=ASKS), "pause", "at a price that is not known")


def test_sc302_silent_below_it_or_with_a_yes(silent):
    silent(cost.estimate_is_approved(estimate=None, budget=FIVE), "not_applicable")
    silent(cost.estimate_is_approved(estimate=SIX, budget=BudgetSettings(usd=20.0, ask_above=6.0)), "passed", "$6")
    silent(cost.estimate_is_approved(estimate=SIX, budget=ASKS, approved_by="Ada"), "passed", "approved by Ada")
    nothing = Estimate(0, 1200, None, None, 0)
    silent(cost.estimate_is_approved(estimate=nothing, budget=ASKS), "passed", "up to 0 calls (1,200 known or repeated")


def test_sc303_fires_at_the_ceiling(fired, policy):
    found = cost.ceiling_reached(message="$4.99 of $5 are spent; the next call may cost $0.02")
    fired(found, "stop", "$4.99 of $5", "raise 'budget'")
    assert policy(claiming=False, overrides={"SC303": "go on"}).finding(found).refuses


def test_sc303_silent_below_it(silent):
    silent(cost.ceiling_held(spent_usd=0.12, budget=FIVE), "passed", "$0.1200 of $5")
    unpriced = cost.ceiling_held(spent_usd=0.0, n_unpriced=7, budget=FIVE)
    silent(unpriced, "passed", "spent 7 calls of unknown price of $5")
    silent(cost.ceiling_held(spent_usd=0.0, budget=None), "not_applicable")


def first_run(policy, **changes):
    facts = {"new": ["a", "b", "c", "d"], "n_calls": 4000, "raced": False, "n_racing": 5}
    return cost.first_run_climbs(**{**facts, **changes}, policy=policy())


def test_sc304_fires_on_new_candidates_without_a_ladder(fired, policy):
    fired(first_run(policy), "warn", "a, b, c and 1 more: never run before, and 4,000 calls", "ladder: [100, 300, all]")


def test_sc304_asks_for_dev_rows_where_a_ladder_has_none(fired, policy):
    fired(first_run(policy, asked=True), "warn", "4,000 calls", "give dev a share")


def test_sc304_silent_with_a_race_known_candidates_or_few_calls(silent, policy):
    silent(first_run(policy, raced=True), "passed", "4 new candidates race on dev first")
    silent(first_run(policy, new=[]), "passed", "every candidate was run before")
    silent(first_run(policy, n_calls=1000), "passed", "limit 1,000")
    silent(first_run(policy, n_racing=2), "not_applicable")


def test_sc307_fires_on_an_unknown_price(fired):
    found = cost.price_is_known(unknown=["gpu/llama", "gpu/qwen"], budget=FIVE)
    fired(found, "refuse", "the price of gpu/llama, gpu/qwen is not known", "prices: {gpu/llama:")


def test_sc307_silent_with_a_price_or_a_ceiling_in_calls(silent):
    silent(cost.price_is_known(unknown=[], budget=None))
    silent(cost.price_is_known(unknown=["gpu/llama"], budget=BudgetSettings(calls=100)), "passed", "100 calls")
    silent(cost.price_is_known(unknown=["gpu/llama"], budget=BudgetSettings(tokens=100)), "passed", "100 tokens")


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"usd": 5.0}, "$5"),
        ({"usd": 0.5, "tokens": 1_000_000, "calls": 2000}, "$0.5, 1,000,000 tokens, 2,000 calls"),
    ],
)
def test_ceilings_in_words(limits, text):
    assert cost.budget_text(BudgetSettings(**limits)) == text


def cached(policy, *changes):
    usual = {"candidate": "a", "start": 2_000, "common": 2_000, "floor": 1_024, "parts_at": "a time"}
    facts = [cost.SharingFacts(**{**usual, "n_calls": 101, "discount_per_m": 2.5, **one}) for one in changes]
    return cost.prompts_are_cached(facts, policy())


def test_sc306_fires_where_the_start_differs(fired, policy):
    # By hand: 2,000 tokens x 100 calls x $2.5 a million.
    found = cached(policy, {}, {"candidate": "b", "start": 40})
    words = "b: its prompts have about 2,000 tokens in common and part after 40, at a time"
    fired(found, "warn", words, "$0.50", "put what differs last")
    # Here 1,500 of the 2,000 are reused already.
    fired(cached(policy, {"start": 1_500}), "warn", "about 500 tokens of each of 101 calls", "$0.12")


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ([], "not_applicable"),
        ([{}], "passed"),
        ([{"start": 10, "common": 1_000}], "passed"),
        ([{"start": 1_900}], "passed"),
        ([{"start": 1_000, "common": 1_100}], "passed"),
        ([{"start": 10, "discount_per_m": None}], "passed"),
        ([{"start": 10, "discount_per_m": 0.0}], "passed"),
        ([{"start": 10, "n_calls": 1}], "passed"),
        ([{"start": 10, "floor": 4_096}], "passed"),
    ],
)
def test_sc306_silent_where_nothing_is_to_be_gained(silent, policy, changes, seen):
    silent(cached(policy, *changes), seen)
