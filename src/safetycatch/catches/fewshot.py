"""Foot guns 5 and 9 where they meet the prompt: shots that give the answer away, or that are chosen by luck."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from safetycatch.catches.finding import Observation, Policy
from safetycatch.results.bench import told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.results.advice import Retrieval
    from safetycatch.results.spread import Spread


def shots_are_foreign(*, offending: Sequence[tuple[str, str]], n_shots: int) -> Observation:
    """SC509: no shot is its query's item or near-duplicate; `offending` are (query id, shot id)."""
    if not n_shots:
        return Observation("SC509", "not_applicable", "no shots")
    if not offending:
        return Observation("SC509", "passed", f"{n_shots} shots checked against their queries")
    query, shot = offending[0]
    return Observation(
        "SC509",
        "fired",
        f"{len(offending)} of {n_shots} shots are their query's item or its duplicate, e.g. query {query} shows {shot}",
        "the answer is then in the prompt",
        "use the built-in selection, which skips a query's duplicates",
        {"offending": [list(pair) for pair in offending[:20]]},
    )


def pool_is_apart(*, declared: bool, ids: Sequence[str], pool: str) -> Observation:
    """SC901: the declared pool holds no id of dev or test."""
    if not declared:
        return Observation("SC901", "passed", "the pool is the train split")
    if not ids:
        return Observation("SC901", "passed", f"{pool} shares no id with dev or test")
    return Observation(
        "SC901",
        "fired",
        f"{len(ids)} rows of {pool} are dev or test rows, e.g. {ids[0]}",
        "the model would see the answers of the rows it is scored on",
        "leave those rows out of the pool, or leave 'data.pool' out: train is the pool",
        {"ids": list(ids[:20])},
    )


class Move(NamedTuple):
    """How other seeds or orders move a strategy's score, and the gain over `against` that this may explain."""

    spread: Spread
    gain: float
    against: str


def shots_are_steady(*, moves: Sequence[Move], reason: str, unit: str, policy: Policy) -> Observation:
    """SC902: other seeds or orders of the examples move the score less than the gain that they are chosen for.

    Fires on the estimate of the spread, where that is more than the noise of the items (lower end of its 95 % interval
    above 0); passes only where the upper end stays below the gain; else so few variants cannot tell.
    """
    if not moves:
        return Observation("SC902", "not_applicable", f"other seeds and orders: {reason}")
    sds = policy.threshold("SC902", "sds")
    known = [move for move in moves if not math.isnan(move.spread.sd)]
    if not known:
        return Observation("SC902", "not_checked", f"other seeds and orders: {moves[0].spread.reason}")
    texts = [_moved(move, unit) for move in known]
    evidence = {f"{move.spread.candidate} {move.spread.what}": move.spread.sd for move in known}
    shown = [move for move in known if move.spread.sd_low > 0 and sds * move.spread.sd > abs(move.gain)]
    vague = [move for move in known if sds * move.spread.sd_high > abs(move.gain)]
    if not vague:
        return Observation("SC902", "passed", "; ".join(texts), evidence=evidence)
    if not shown:
        said = "; ".join(_moved(move, unit) for move in vague)
        few = min(len(move.spread.means) for move in vague)
        return Observation("SC902", "not_checked", f"{few} variants cannot tell: {said}", evidence=evidence)
    worst = max(shown, key=lambda move: sds * move.spread.sd - abs(move.gain))
    scale, name = (100, " points") if unit == "points" else (1, "")
    one, what = worst.spread.candidate, worst.spread.what
    gain = f"the gain of {scale * worst.gain:+.1f}{name}"
    between = f"{one} over {worst.against}" if worst.against == "zero" else f"{worst.against} over {one}"
    return Observation(
        "SC902",
        "fired",
        f"{_moved(worst, unit)}: {sds:g} times that is more than {gain} ({between})",
        f"with another {what} of the examples the gain may be gone: part of it is the luck of this one",
        "more examples (a larger k), or choose them once and claim that very set on test; pin keeps it",
        evidence,
    )


def _moved(move: Move, unit: str) -> str:
    found = move.spread
    scale, name = (100, " points") if unit == "points" else (1, "")
    low, high = scale * min(found.means), scale * max(found.means)
    spread = f"SD {scale * found.sd:.1f}{name} [{scale * found.sd_low:.1f}, {scale * found.sd_high:.1f}]"
    return (
        f"{len(found.means)} {found.what}s of {found.candidate} score {low:.1f} to {high:.1f} ({spread}, n = {found.n})"
    )


def dynamic_is_worth_it(*, found: Retrieval | None, band: float, unit: str) -> Observation:
    """SC903: the best strategy looks examples up for each row, and the advice is one that does so too."""
    if found is None:
        return Observation("SC903", "passed", "the best strategy needs no retrieval")
    scale, name = (100, " points") if unit == "points" else (1, "")
    gain, settled = found.gain, "" if found.shown else f", which {found.gain.n:,} rows do not settle"
    saw = f"{found.dynamic} over {found.fixed}: {told(gain, unit)}; the band is {scale * band:g}{name}{settled}"
    evidence = {
        "dynamic": found.dynamic,
        "fixed": found.fixed,
        "gain": gain.estimate,
        "low": gain.low,
        "high": gain.high,
        "band": band,
    }
    if found.worth:
        return Observation("SC903", "passed", saw, evidence=evidence)
    return Observation(
        "SC903",
        "fired",
        saw,
        "an index and retrieval at run time are kept and run for a gain too small to matter",
        f"take {found.fixed}" + ("" if found.shown else " for now"),
        evidence,
    )
