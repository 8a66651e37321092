"""What would change a certificate's state, in words: more labels of which kind, or a better rubric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from safetycatch.judge_settings import FAIL, PASS
from safetycatch.judging.labels_needed import ClassRate, more_labels_for_j, more_labels_for_rate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safetycatch.judging.certificate import Counts, Limits

RUBRIC = "a better rubric or model may"


def further_labels(counts: Sequence[Counts], limits: Limits, *, sealed_share: float = 1.0) -> tuple[str, ...]:
    """Return what would make a judge provisional, then certified, should its rates stay as they are.

    `sealed_share` is the share of all labels that is sealed: so many more have to be made.
    """
    if not counts:
        return ()
    several = len(counts) > 1
    enough = [one for one in counts if min(one.n_positive, one.n_negative) >= limits.per_class]
    found: list[str] = []
    for one in enough or counts:
        of = f" of {one.positive!r}" if several else ""
        hopeless, told = _for_j(one, limits, of)
        found += told
        wanted: dict[str, int] = {}
        if not hopeless:
            wanted, told = _for_rates(one, limits, of)
            found += told
        if not enough:
            for side, n in _short(one, counts, limits):
                wanted[side] = max(wanted.get(side, 0), n)
        found += [_labels(n, side, one, sealed_share) for side, n in wanted.items()]
    return tuple(dict.fromkeys(found))


def _for_j(one: Counts, limits: Limits, of: str) -> tuple[bool, list[str]]:
    """Return whether more labels will not do, and what would lift J to where corrected rates mean something."""
    good, bad = _rate(one, "tpr"), _rate(one, "tnr")
    if good is None or bad is None or one.lower("j") > limits.provisional_j:
        return False, []
    j = good.rate + bad.rate - 1
    more = more_labels_for_j(good, bad, limits.provisional_j)
    if more is None:
        told = f"J{of} is {j:.2f}, not above {limits.provisional_j:.2f}: more labels will not change that, {RUBRIC}"
        return True, [told]
    sides = f"of each of {one.positive!r} and {_rest(one)!r}"
    return False, [f"about {max(1, more):,} more sealed labels {sides} would make it provisional"]


def _for_rates(one: Counts, limits: Limits, of: str) -> tuple[dict[str, int], list[str]]:
    """Return how many more labels of which side would lift a rate to its bar, and what no label will."""
    wanted: dict[str, int] = {}
    below: list[str] = []
    for name, word, bar, side in (
        ("tpr", "TPR", limits.tpr, one.positive),
        ("tnr", "TNR", limits.tnr, _rest(one)),
    ):
        found = _rate(one, name)
        if found is None or found.lower >= bar:
            continue
        further = more_labels_for_rate(found, bar)
        if further is None:
            below.append(f"{word}{of} is {found.rate:.2f}, not above {bar:.2f}")
        else:
            wanted[side] = further
    if below:
        return {}, [f"{' and '.join(below)}: more labels will not certify it, {RUBRIC}"]
    return wanted, []


def _short(one: Counts, counts: Sequence[Counts], limits: Limits) -> Iterator[tuple[str, int]]:
    # Of classes that exclude each other, the rest of one is what the others lack.
    exclusive = len(counts) > 1 and sum(each.n_positive for each in counts) == one.n
    sides = [(one.positive, one.n_positive), *([] if exclusive else [(_rest(one), one.n_negative)])]
    return ((side, limits.per_class - n) for side, n in sides if n < limits.per_class)


def _labels(n: int, side: str, one: Counts, sealed_share: float) -> str:
    told = f"about {n:,} more sealed labels {side!r}"
    made = math.ceil(n / sealed_share) if sealed_share else n
    own = one.n_positive if side == one.positive else one.n_negative
    more = [f"{made:,} to make, as {sealed_share:.0%} of the labels are sealed"] if made > n else []
    if own:
        more.append(f"some {math.ceil(made * one.n / own):,} answers as they come")
    return f"{told} ({'; '.join(more)})" if more else told


def _rest(one: Counts) -> str:
    return FAIL if one.positive == PASS else f"not {one.positive}"


def _rate(one: Counts, name: str) -> ClassRate | None:
    found = one.figures.get(name)
    if found is None or found.estimate is None or found.lower is None:
        return None
    return ClassRate(found.estimate, found.lower, found.n)
