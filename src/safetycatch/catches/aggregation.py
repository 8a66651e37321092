"""Foot gun 10: rules for a vote, a mean or a metric that are chosen after the results (SC10xx)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetycatch.catches.finding import Observation
from safetycatch.identity import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Terms = Mapping[str, Any]

# Terms that change no score and no p-value, but what is said of them.
READ_BY = ("smallest_effect", "guardrails", "baseline", "candidate")
SHOWN = 3


def terms_kept(*, claim: str, first: Terms | None, now: Terms | None, seen: str) -> Observation:
    """SC1001: the terms of a claim are those of its first look at this test set, and its candidates are still there.

    Other scores or p-values (metric, aggregation, correction) refuse. Another reading of the same ones (`READ_BY`), or
    `candidates` that are left out, warn. `seen` says who saw the first results and when; `first` is None before there
    are any, `now` while exploring; what `first` does not hold was not recorded then, and counts as unchanged.
    """
    if now is None:
        return Observation("SC1001", "not_applicable", "exploring: nothing is claimed")
    if first is None:
        return Observation("SC1001", "passed", f"no results of {claim} on this test set yet: its terms are frozen now")
    fixed = [name for name in dict.fromkeys([*first, *now]) if name not in {*READ_BY, "candidates"}]
    refused = [name for name in fixed if first.get(name) != now.get(name)]
    names = [*refused, *(name for name in READ_BY if name in first and name in now and first[name] != now[name])]
    # Who was not seen before can be chosen by no score, and the best of several is corrected for.
    if "candidate" in names and now["candidate"] not in (first.get("candidates") or ()):
        names.remove("candidate")
    changed = [f"{name} was {_text(first.get(name))}, now {_text(now.get(name))}" for name in names]
    left_out = sorted(set(first.get("candidates") or ()).difference(now.get("candidates") or ()))
    if left_out:
        more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        changed.append(f"left out: {', '.join(left_out[:SHOWN])}{more}, whose scores were seen")
    if not changed:
        return Observation("SC1001", "passed", f"the terms of {claim} are those of its first look ({seen})")
    return Observation(
        "SC1001",
        "fired",
        f"{claim} changed its terms after its results were seen ({seen}): {'; '.join(changed)}",
        "a rule chosen after the results fits their noise, and no p-value accounts for that choice"
        if refused
        else "what is chosen after the results fits their noise: no p-value, and no verdict, accounts for that choice",
        f"a new claim with a name of its own, on rows not looked at yet: name: {claim}-2; or the first terms again",
        {"first": dict(first), "now": dict(now), "changed": names, "left_out": left_out},
        level=None if refused else "warn",
    )


def ties_are_settled(*, tie: str | None, n_members: int, n_dev: int) -> Observation:
    """SC1002: somebody decides a tie: who is named (`best` needs one of `n_dev` dev rows), else the best on dev."""
    if tie not in {None, "best"}:
        return Observation("SC1002", "passed", f"a tie is decided by {tie}")
    if n_dev:
        return Observation("SC1002", "passed", f"a tie is decided by the best member on {n_dev} dev rows")
    return Observation(
        "SC1002",
        "fired",
        f"{n_members} members can tie (also where one of them has no answer), "
        + ("tie: best" if tie else "no tie is declared")
        + " and there are no dev rows to tell the best",
        "tied rows would stay undecided, and count as wrong",
        "a dev split, or name who decides, a member or a judge: tie: MEMBER",
        {"n_members": n_members},
    )


@dataclass(frozen=True, slots=True)
class Gain:
    """An ensemble's gain over its best member (None: not measured), as fractions or in the metric's unit."""

    best: str | None
    chosen_on: str
    gain: float | None
    low: float | None
    high: float | None
    unit: str
    rho: float | None
    n_voters: int
    effective_voters: float | None
    added_usd_per_1000: float | None


def gain_is_worth_it(*, found: Gain | None, effect: float | None) -> Observation:
    """SC1003: the ensemble beats its best member by the smallest `effect`, and by more than luck."""
    if found is None:
        return Observation("SC1003", "not_applicable", "there is no ensemble")
    if found.gain is None:
        return Observation("SC1003", "not_checked", "no gain could be measured")
    scale, name = (100, " points") if found.unit == "points" else (1, "")
    between = "no interval" if found.low is None or found.high is None else _between(scale, found.low, found.high)
    chosen = f"{found.best}, the best on {found.chosen_on}" if found.chosen_on else found.best
    saw = f"{scale * found.gain:+.1f}{name} {between} over {chosen}; {_worth(found)}"
    evidence = {"gain": found.gain, "low": found.low, "high": found.high, "effect": effect, "rho": found.rho}
    small = effect is not None and found.gain < effect
    if not small and found.low is not None and found.low > 0:
        return Observation("SC1003", "passed", saw, evidence=evidence)
    why = (
        f"that is less than the smallest effect of {scale * effect:g}{name}" if small and effect else "that may be luck"
    )
    return Observation(
        "SC1003",
        "fired",
        saw,
        f"{why}, and every answer costs all members",
        f"take {found.best}, or members whose errors differ more",
        evidence,
    )


def _between(scale: float, low: float, high: float) -> str:
    return f"[{scale * low:+.1f}, {scale * high:+.1f}]"


def _worth(found: Gain) -> str:
    cost = "added cost unknown"
    if found.added_usd_per_1000 is not None:
        cost = f"${found.added_usd_per_1000:.2f} more for 1,000 rows"
    if found.rho is None or found.effective_voters is None:
        return cost
    voters = f"{found.n_voters} voters with error correlation {found.rho:.2f} are worth {found.effective_voters:.1f}"
    return f"{voters}; {cost}"


def weights_are_foreign(*, source: str, overlap: Sequence[str], n: int) -> Observation:
    """SC1004: weights come from rows that are not scored here; `overlap` lists the scored ones in `source`."""
    if not overlap:
        return Observation("SC1004", "passed", source)
    return Observation(
        "SC1004",
        "fired",
        f"weights come from {source}, which holds {len(overlap)} of the {n} scored rows, e.g. {overlap[0]}",
        "members that were lucky on these rows weigh more on them: the ensemble's score is too high",
        "weights: dev",
        {"n_overlap": len(overlap), "n": n},
    )


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return value if isinstance(value, str) else "not set" if value is None else canonical_json(value).decode()
