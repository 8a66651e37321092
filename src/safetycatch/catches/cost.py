"""Foot gun 3: runs that burn money (SC3xx)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from safetycatch.catches.finding import Observation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.catches.estimate import Estimate
    from safetycatch.catches.finding import Policy
    from safetycatch.experiment import BudgetSettings

RACE_NEEDS = 2
SHOWN = 3


def budget_is_set(*, budget: BudgetSettings | None, sends: bool, claiming: bool, unattended: bool) -> Observation:
    """SC301: a claim or an unattended run that sends calls has a ceiling."""
    if not sends:
        return Observation("SC301", "not_applicable", "no call is sent: every output is recorded")
    if budget is not None and budget.bounded:
        return Observation("SC301", "passed", "ceiling: " + budget_text(budget))
    if not claiming and not unattended:
        return Observation("SC301", "passed", "exploring: the default ceiling of $1 and 2,000 calls holds")
    return Observation(
        "SC301",
        "fired",
        "a claim without 'budget'" if claiming else "an unattended run without 'budget'",
        "nothing would stop it from spending",
        "add: budget: $5",
    )


def estimate_is_approved(
    *, estimate: Estimate | None, budget: BudgetSettings, approved_by: str = "", run_id: str = ""
) -> Observation:
    """SC302: a person said yes where a run would still pay more than `ask_above`, or nobody knows how much.

    What is compared is the expected cost, not the highest possible one: the ceiling bounds that. `estimate` may be None
    without `ask_above`; `run_id` is empty in a preview.
    """
    if budget.ask_above is None or estimate is None:
        return Observation("SC302", "not_applicable", "no ask_above is set")
    limits = f"ask_above ${budget.ask_above:g}, ceiling {budget_text(budget)}"
    if estimate.below(budget.ask_above):
        return Observation("SC302", "passed", f"{estimate.text} · {limits}")
    if approved_by:
        return Observation("SC302", "passed", f"{estimate.text} · {limits} · approved by {approved_by}")
    return Observation(
        "SC302",
        "fired",
        f"{estimate.text} · {limits}",
        "nobody has said yes to this sum; nothing was sent",
        f"safetycatch approve {run_id} --as NAME, then the same command again"
        if run_id
        else "safetycatch run asks at a terminal; elsewhere it waits for safetycatch approve RUN --as NAME",
        {**asdict(estimate), "ask_above": budget.ask_above, "ceiling": budget_text(budget)},
    )


def price_is_known(*, unknown: Sequence[str], budget: BudgetSettings | None) -> Observation:
    """SC307: models without a price have a ceiling in tokens or calls, and may not be asked where $0 may be spent."""
    if not unknown:
        return Observation("SC307", "passed", "the price of every model is known")
    if budget is not None and budget.usd != 0 and (budget.tokens or budget.calls):
        others = budget_text(budget.model_copy(update={"usd": None}))
        dollars = "" if budget.usd is None else f", ${budget.usd:g} do not"
        return Observation(
            "SC307", "passed", f"the price of {', '.join(unknown)} is not known: {others} bound them{dollars}"
        )
    return Observation(
        "SC307",
        "fired",
        f"the price of {', '.join(unknown)} is not known",
        "a ceiling in dollars cannot stop calls whose price nobody knows",
        f"budget: {{usd: 5, calls: 2000}}, or prices: {{{unknown[0]}: {{input_per_m: 0, output_per_m: 0}}}}",
        {"models": list(unknown)},
    )


def first_run_climbs(
    *, new: Sequence[str], n_calls: int, raced: bool, n_racing: int, policy: Policy, asked: bool = False
) -> Observation:
    """SC304: candidates without any run behind them, `n_calls` for all of their items, race before the full set.

    `asked`: a ladder was asked for, and there are no dev rows to race on.
    """
    if n_racing <= RACE_NEEDS:
        return Observation("SC304", "not_applicable", "no race without a baseline and two others that answer")
    if not new:
        return Observation("SC304", "passed", "every candidate was run before")
    if raced:
        return Observation("SC304", "passed", f"{len(new)} new candidates race on dev first")
    limit = policy.threshold("SC304", "calls")
    shown = ", ".join(new[:SHOWN]) + (f" and {len(new) - SHOWN} more" if len(new) > SHOWN else "")
    if n_calls <= limit:
        return Observation("SC304", "passed", f"{n_calls:,} calls for new candidates ({shown}), limit {limit:,.0f}")
    return Observation(
        "SC304",
        "fired",
        f"{shown}: never run before, and {n_calls:,} calls go to the full set at once",
        "a race on dev would drop those that are clearly worse after a few hundred calls",
        "give dev a share of the rows, for the ladder to race on"
        if asked
        else "add under 'runs': ladder: [100, 300, all]",
        {"new": list(new), "n_calls": n_calls},
    )


@dataclass(frozen=True, slots=True)
class SharingFacts:
    """What the prompts of one candidate share, in tokens a prompt, and what the provider's cache makes of it.

    `start`: tokens that the cache can reuse now. `common`: tokens of texts that nearly all prompts hold, wherever they
    stand. `floor`: from how many tokens on it caches. `discount_per_m`: US dollars saved a million tokens read (None:
    no price, or no discount). `parts_at`: what stands where the prompts part.
    """

    candidate: str
    start: int
    common: int
    floor: int
    parts_at: str
    n_calls: int
    discount_per_m: float | None


def prompts_are_cached(facts: Sequence[SharingFacts], policy: Policy) -> Observation:
    """SC306: what the prompts of a candidate have in common comes first, where the provider's cache can reuse it."""
    least_tokens, least_usd = policy.threshold("SC306", "tokens"), policy.threshold("SC306", "usd")
    if not facts:
        return Observation("SC306", "not_applicable", "no candidate sends several prompts to a model")

    def missed(one: SharingFacts) -> int:
        if one.common < one.floor or one.common - one.start < least_tokens:
            return 0
        return one.common - (one.start if one.start >= one.floor else 0)

    def lost_usd(one: SharingFacts) -> float:
        # The first call writes what the others read.
        return missed(one) * max(0, one.n_calls - 1) * (one.discount_per_m or 0.0) / 1e6

    worst = max(facts, key=lost_usd)
    usd = lost_usd(worst)
    if usd < least_usd:
        long = [one for one in facts if one.common >= one.floor]
        why = "what the prompts share comes first" if long else "the prompts share too little to be cached"
        return Observation("SC306", "passed", why)
    return Observation(
        "SC306",
        "fired",
        f"{worst.candidate}: its prompts have about {worst.common:,} tokens in common and part after {worst.start:,}, "
        f"at {worst.parts_at}",
        f"about {missed(worst):,} tokens of each of {worst.n_calls:,} calls are paid in full instead of read from the "
        f"provider's cache: ${usd:.2f}",
        "put what differs last: instructions and shots first and in one order, the row's own text at the end",
        {"candidate": worst.candidate, "tokens": missed(worst), "usd": usd, "parts_at": worst.parts_at},
    )


def ceiling_reached(*, message: str) -> Observation:
    """SC303: the engine stopped before the ceiling would have been passed."""
    return Observation(
        "SC303", "fired", message, "what is answered is kept; the rest is missing", "raise 'budget' and run it again"
    )


def ceiling_held(*, spent_usd: float, n_unpriced: int = 0, budget: BudgetSettings | None) -> Observation:
    """SC303: the run ended below its ceiling; `spent_usd` leaves `n_unpriced` calls out, whose price is not known."""
    if budget is None:
        return Observation("SC303", "not_applicable", "no ceiling and no call")
    known = [f"${spent_usd:.4f}"] if spent_usd or not n_unpriced else []
    unknown = [f"{n_unpriced:,} calls of unknown price"] if n_unpriced else []
    return Observation("SC303", "passed", f"spent {' and '.join([*known, *unknown])} of {budget_text(budget)}")


def budget_text(budget: BudgetSettings) -> str:
    """Return the ceilings in words."""
    parts = [
        *([f"${budget.usd:g}"] if budget.usd is not None else []),
        *([f"{budget.tokens:,} tokens"] if budget.tokens is not None else []),
        *([f"{budget.calls:,} calls"] if budget.calls is not None else []),
    ]
    return ", ".join(parts)
