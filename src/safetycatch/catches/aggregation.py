"""Foot gun 10: rules for a vote, a mean or a metric that are chosen after the results (SC10xx)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.catches.finding import Observation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Terms = Mapping[str, str | Sequence[str] | None]


def terms_kept(*, claim: str, first: Terms | None, now: Terms | None, seen: str) -> Observation:
    """SC1001: the terms of a claim (metric, aggregation, correction) are those of its first look at this test set.

    `seen` says who saw the first results and when; `first` is None before there are any, `now` while exploring.
    """
    if now is None:
        return Observation("SC1001", "not_applicable", "exploring: nothing is claimed")
    if first is None:
        return Observation("SC1001", "passed", f"no results of {claim} on this test set yet: its terms are frozen now")
    names = [name for name in dict.fromkeys([*first, *now]) if first.get(name) != now.get(name)]
    changed = [f"{name} was {_text(first.get(name))}, now {_text(now.get(name))}" for name in names]
    if not changed:
        return Observation("SC1001", "passed", f"the terms of {claim} are those of its first look ({seen})")
    return Observation(
        "SC1001",
        "fired",
        f"{claim} changed its terms after its results were seen ({seen}): {'; '.join(changed)}",
        "a rule chosen after the results fits their noise, and no p-value accounts for that choice",
        f"a new claim with a name of its own, on rows not looked at yet: name: {claim}-2; or the first terms again",
        {"first": dict(first), "now": dict(now), "changed": names},
    )


def _text(value: str | Sequence[str] | None) -> str:
    return value if isinstance(value, str) else ", ".join(value) if value else "not set"
