"""From verdicts to one ruling an item: criteria, both orders of a pair, and several judges under the declared rule."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from safetycatch.judge_settings import FAIL, PAIRWISE, PASS, PASS_FAIL, TIE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from safetycatch.judge_settings import JudgeSettings

Key = tuple[str, str, int]
Row = dict[str, Any]

ANSWER, SPLIT, UNASKED = "answer", "split", "unasked"
WHOLE = ""
# Of several reasons why a ruling is missing, the one that is told.
WORST_FIRST = ("error", "invalid", "unparsed", "length", "refusal", "filtered", UNASKED, SPLIT)


class Ruling(NamedTuple):
    """What the judges say of one item together: `label` None is missing, for the reason `status`.

    `by_criterion` has pass, fail or None by name; `critique` is every judge's, named where there are several.
    """

    label: str | None
    status: str
    by_criterion: dict[str, str | None]
    critique: str


def combined(rows: Iterable[Mapping[str, Any]], settings: JudgeSettings) -> dict[Key, Ruling]:
    """Return the ruling on every item of `rows` (of the `verdicts` table), by candidate, example and replicate.

    An item whose verdicts are not all there has no ruling: dropping only some would favour those that agree early.
    Judges rule on a criterion first, by `rule`: a majority of more than half for pass and fail, so a tie fails; the
    median of grades, the lower of two; most votes of classes, and a tie is no ruling; of a pair, most votes, and a tie
    is a tie. Then an answer passes that passes all criteria. Two orders of a pair that disagree are a tie.
    """
    by_item: dict[Key, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_item.setdefault((row["candidate"], row["example_id"], row["replicate"]), []).append(row)
    return {key: _ruling(found, settings) for key, found in by_item.items()}


def ruled(labels: Sequence[str], settings: JudgeSettings) -> str | None:
    """Return what several judges' verdicts come to under the declared rule; None where they are undecided."""
    counts = Counter(labels)
    if settings.scale == PASS_FAIL:
        n_needed = {"all": len(labels), "any": 1}.get(settings.rule or "", len(labels) // 2 + 1)
        return PASS if counts[PASS] >= n_needed else FAIL
    if settings.grades:
        if settings.rule != "majority":
            return str(sorted(map(int, labels))[(len(labels) - 1) // 2])
        most = max(counts.values())
        return str(min(int(label) for label, n in counts.items() if n == most))
    first, *others = counts.most_common(2)
    if others and others[0][1] == first[1]:
        return TIE if settings.scale == PAIRWISE else None
    return first[0]


def _ruling(rows: Sequence[Mapping[str, Any]], settings: JudgeSettings) -> Ruling:
    said: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row["verdict"] is not None:
            said.setdefault(row["criterion"], {}).setdefault(row["judge"], []).append(row["verdict"])
    statuses = {row["status"] for row in rows if row["verdict"] is None}
    names = tuple(settings.criteria) or (WHOLE,)
    judges = {row["judge"] for row in rows}
    n_orders = len({row["order"] for row in rows})
    by_criterion: dict[str, str | None] = {}
    for name in names:
        votes = {judge: verdicts for judge, verdicts in said.get(name, {}).items() if len(verdicts) == n_orders}
        if len(votes) < len(judges):
            by_criterion[name] = None
            continue
        by_criterion[name] = ruled([_of_orders(verdicts) for verdicts in votes.values()], settings)
        if by_criterion[name] is None:
            statuses.add(SPLIT)
    critique = _critiques(rows, several=len(judges) > 1)
    missing = next((status for status in WORST_FIRST if status in statuses), None)
    if missing is not None or None in by_criterion.values():
        return Ruling(None, missing or UNASKED, by_criterion, critique)
    if settings.criteria:
        label = PASS if set(by_criterion.values()) == {PASS} else FAIL
        return Ruling(label, ANSWER, by_criterion, critique)
    return Ruling(by_criterion[WHOLE], ANSWER, {}, critique)


def _of_orders(verdicts: Sequence[str]) -> str:
    return verdicts[0] if len(set(verdicts)) == 1 else TIE


def _critiques(rows: Sequence[Mapping[str, Any]], *, several: bool) -> str:
    told: list[str] = []
    for row in sorted(rows, key=lambda row: (row["criterion"], row["judge"], row["order"])):
        if row["critique"]:
            who = [row["judge"]] if several else []
            who += [name for name in (row["criterion"],) if name]
            told.append(f"{', '.join(who)}: {row['critique']}" if who else row["critique"])
    return "\n".join(told)
