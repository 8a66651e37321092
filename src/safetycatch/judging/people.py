"""What people say together: the label that stands for an item, the items that wait for one, and how far they agree."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from safetycatch.errors import StatisticsError, UsageError
from safetycatch.judge_settings import FAIL, PASS
from safetycatch.judging.sealing import ItemKey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import pyarrow as pa

    from safetycatch.judging.agreement import Estimate

Rule = Literal["majority", "unanimous", "median"]

RULES = ("majority", "unanimous", "median")
ADJUDICATOR = "adjudicator"
# Below it even tentative conclusions are unsafe, says Krippendorff (Content Analysis, 4th ed. 2019, ch. 12).
CONTESTED_ALPHA = 0.667
# Where nearly everything passes, alpha is low though people agree: it is not their disagreement that is the trouble.
CONTESTED_AGREEMENT = 0.9
ENOUGH_SHARED = 10
MAX_PAIRS = 100


class Dispute(NamedTuple):
    """An item on which people do not settle, and who said what, by annotator."""

    key: ItemKey
    criterion: str
    said: dict[str, str]


def is_adjudicator(annotator: str) -> bool:
    """Return whether these labels decide disputes: `adjudicator`, or `adjudicator-NAME`."""
    return annotator == ADJUDICATOR or annotator.startswith(f"{ADJUDICATOR}-")


def with_whole(labels: pa.Table, criteria: Collection[str]) -> pa.Table:
    """Return `labels` and, where one annotator judged all `criteria` and not the whole answer, the whole: all pass."""
    import pyarrow as pa

    if not criteria:
        return labels
    by_person: dict[tuple[ItemKey, str], dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in labels.to_pylist():
        by_person[_key(row), row["annotator"]][row["criterion"]] = row
    made = [
        {**last, "criterion": "", "critique": None, "label": PASS if all(_passes(said, criteria)) else FAIL}
        for said in by_person.values()
        if "" not in said and set(criteria) <= said.keys() and (last := list(said.values())[-1])
    ]
    return pa.concat_tables([labels, pa.Table.from_pylist(made, schema=labels.schema)]) if made else labels


def _passes(said: Mapping[str, Mapping[str, Any]], criteria: Iterable[str]) -> list[bool]:
    return [said[name]["label"] == PASS for name in criteria]


def consensus(
    labels: pa.Table, *, rule: str = "majority", criterion: str = "", criteria: Collection[str] = ()
) -> dict[ItemKey, str | None]:
    """Return the label that stands for each labelled item on one criterion (empty: the whole); None: disputed.

    `majority`: what more than half of the people say; `unanimous`: what all say; `median`: the middle grade, disputed
    where two grades share the middle. An adjudicator's label wins over all others. A whole answer on which people
    differ is settled where all `criteria` are: it passes when each of them does.
    Raises: UsageError for another rule, or a median of labels that are no grades.
    """
    found = {key: _settled(said, rule) for key, said in _said(labels, criterion).items()}
    if criterion or not criteria:
        return found
    by_criterion = [consensus(labels, rule=rule, criterion=name) for name in criteria]
    for key in [key for key, label in found.items() if label is None]:
        verdicts = [settled.get(key) for settled in by_criterion]
        if None not in verdicts:
            found[key] = PASS if set(verdicts) == {PASS} else FAIL
    return found


def disputes(labels: pa.Table, *, rule: str = "majority") -> list[Dispute]:
    """Return the items that people do not settle, on each criterion or else on the whole: what an adjudicator decides.

    Raises: UsageError as `consensus`.
    """
    criteria = criteria_of(labels)
    open_criteria = [
        Dispute(key, criterion, said)
        for criterion in criteria
        if criterion
        for key, said in _said(labels, criterion).items()
        if _settled(said, rule) is None
    ]
    # Who settles the criteria settles the whole.
    explained = {dispute.key for dispute in open_criteria}
    whole = consensus(labels, rule=rule, criteria=[criterion for criterion in criteria if criterion])
    said_of_whole = _said(labels, "")
    return [
        *(
            Dispute(key, "", said_of_whole[key])
            for key, label in whole.items()
            if label is None and key not in explained
        ),
        *open_criteria,
    ]


def criteria_of(labels: pa.Table) -> list[str]:
    """Return the criteria that have labels, the whole answer ("") first."""
    return sorted(set(labels["criterion"].to_pylist()))


def _key(row: Mapping[str, Any]) -> ItemKey:
    return ItemKey(row["example_id"], row["candidate"], row["output_hash"])


def _said(labels: pa.Table, criterion: str) -> dict[ItemKey, dict[str, str]]:
    """Return who said what of each item, by annotator."""
    names = ("example_id", "candidate", "output_hash", "annotator", "criterion", "label")
    found: dict[ItemKey, dict[str, str]] = {}
    for *key, annotator, what, label in zip(*(labels[name].to_pylist() for name in names), strict=True):
        if what == criterion:
            found.setdefault(ItemKey(*key), {})[annotator] = label
    return found


def _settled(said: Mapping[str, str], rule: str) -> str | None:
    if rule not in RULES:
        raise UsageError(f"the rule {rule!r}", where="consensus", expected=", ".join(RULES))
    last_word = [label for annotator, label in said.items() if is_adjudicator(annotator)]
    votes = last_word or list(said.values())
    if rule == "median":
        return _median(votes)
    label, n = Counter(votes).most_common(1)[0]
    return label if n == len(votes) or (rule == "majority" and 2 * n > len(votes)) else None


def _median(votes: Sequence[str]) -> str | None:
    try:
        grades = sorted(votes, key=int)
    except ValueError:
        raise UsageError(
            f"labels such as {votes[0][:40]!r}", where="consensus", expected="grades for the rule median"
        ) from None
    low, high = grades[(len(grades) - 1) // 2], grades[len(grades) // 2]
    return low if low == high else None


# -- agreement between people ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two people on the items that both labelled: how often they agree, and Cohen's kappa (quadratic for grades)."""

    first: str
    second: str
    criterion: str
    n: int
    agreed: Estimate
    kappa: Estimate


@dataclass(frozen=True, slots=True)
class AnnotatorAgreement:
    """One person: `n_labels` given, and on the `n` of them that others settle, how often they agree with those."""

    annotator: str
    criterion: str
    n_labels: int
    n: int
    n_agreed: int

    @property
    def rate(self) -> float:
        """The share agreed, 0-1; NaN where the others settled nothing."""
        return self.n_agreed / self.n if self.n else math.nan


@dataclass(frozen=True, slots=True)
class CriterionAgreement:
    """All people on one criterion: `agreed` is the share of agreeing pairs of labels of one item, alpha Krippendorff's.

    `low` and `high` are alpha's interval, `reason` says why it is NaN. `agreed` is NaN where no two people met.
    """

    criterion: str
    n_items: int
    n_shared: int
    n_split: int
    n_disputed: int
    agreed: float
    alpha: float
    low: float
    high: float
    reason: str

    @property
    def contested(self) -> bool:
        """Whether people disagree too much on it for a judge to be measured against them."""
        return (
            self.n_shared >= ENOUGH_SHARED
            and self.agreed < CONTESTED_AGREEMENT
            and (math.isnan(self.alpha) or self.alpha < CONTESTED_ALPHA)
        )


@dataclass(frozen=True, slots=True)
class People:
    """How far people agree, adjudicators apart; `n_pairs_left_out` have shared less than those that are shown."""

    pairs: tuple[PairAgreement, ...]
    annotators: tuple[AnnotatorAgreement, ...]
    criteria: tuple[CriterionAgreement, ...]
    n_pairs_left_out: int

    @property
    def contested(self) -> tuple[str, ...]:
        """The criteria on which people themselves disagree."""
        return tuple(one.criterion for one in self.criteria if one.contested)


def people_agreement(
    labels: pa.Table, *, rule: str = "majority", grades: Sequence[str] = (), level: float = 0.95
) -> People:
    """Return how far people agree with each other: per pair, per annotator and per criterion.

    `grades` of an ordinal scale, ascending: the whole answer is then measured by quadratic kappa and ordinal alpha.
    Pairs that share fewer than 10 items are left out, and all but the 100 that share most.
    """
    import pyarrow as pa

    own_voice = [not is_adjudicator(name) for name in labels["annotator"].to_pylist()]
    independent = labels.filter(pa.array(own_voice, pa.bool_()))
    pairs: list[PairAgreement] = []
    annotators: list[AnnotatorAgreement] = []
    criteria: list[CriterionAgreement] = []
    n_left_out = 0
    for criterion in criteria_of(independent):
        said = _said(independent, criterion)
        ordered = tuple(grades) if not criterion else ()
        found, left_out = _pairs(said, criterion, ordered, level)
        pairs += found
        n_left_out += left_out
        annotators += _annotators(said, criterion, rule)
        criteria.append(_criterion(said, criterion, rule, ordered, level))
    return People(tuple(pairs), tuple(annotators), tuple(criteria), n_left_out)


def _pairs(
    said: Mapping[ItemKey, Mapping[str, str]], criterion: str, grades: Sequence[str], level: float
) -> tuple[list[PairAgreement], int]:
    from safetycatch.judging.agreement import class_agreement, ordinal_agreement

    shared: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for by in said.values():
        for first, second in combinations(sorted(by), 2):
            shared[first, second].append((by[first], by[second]))
    enough = {names: both for names, both in shared.items() if len(both) >= ENOUGH_SHARED}
    most = sorted(enough, key=lambda names: (-len(enough[names]), names))[:MAX_PAIRS]
    classes = sorted({label for by in said.values() for label in by.values()})
    found: list[PairAgreement] = []
    for names in most:
        ones, others = ([pair[place] for pair in enough[names]] for place in (0, 1))
        if grades:
            graded = ordinal_agreement(ones, others, grades, level=level)
            agreed, kappa = graded.accuracy, graded.quadratic_kappa
        else:
            # A single class: any second one, of which nobody speaks, makes the table whole.
            nominal = class_agreement(ones, others, classes if len(classes) > 1 else [*classes, ""], level=level)
            agreed, kappa = nominal.accuracy, nominal.kappa
        found.append(PairAgreement(*names, criterion, len(ones), agreed, kappa))
    return found, len(shared) - len(most)


def _annotators(said: Mapping[ItemKey, Mapping[str, str]], criterion: str, rule: str) -> list[AnnotatorAgreement]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for by in said.values():
        for annotator, label in by.items():
            others = {name: one for name, one in by.items() if name != annotator}
            settled = _settled(others, rule) if others else None
            count = counts[annotator]
            count[0] += 1
            count[1] += settled is not None
            count[2] += settled == label
    return [AnnotatorAgreement(name, criterion, *counts[name]) for name in sorted(counts)]


def _criterion(
    said: Mapping[ItemKey, Mapping[str, str]], criterion: str, rule: str, grades: Sequence[str], level: float
) -> CriterionAgreement:
    shared = [by for by in said.values() if len(by) > 1]
    n_pairs = sum(len(by) * (len(by) - 1) // 2 for by in shared)
    n_agreeing = sum(n * (n - 1) // 2 for by in shared for n in Counter(by.values()).values())
    return CriterionAgreement(
        criterion,
        len(said),
        len(shared),
        sum(len(set(by.values())) > 1 for by in shared),
        sum(_settled(by, rule) is None for by in said.values()),
        n_agreeing / n_pairs if n_pairs else math.nan,
        *_alpha(said, grades, level),
    )


def _alpha(
    said: Mapping[ItemKey, Mapping[str, str]], grades: Sequence[str], level: float
) -> tuple[float, float, float, str]:
    """Return alpha with its interval, NaN with the reason where it is undefined."""
    import pandas as pd

    from safetycatch.judging.alpha import krippendorff_alpha

    # The ballots take ids as texts; the number of an item is one.
    rows = [
        (str(number), annotator, label) for number, by in enumerate(said.values()) for annotator, label in by.items()
    ]
    frame = pd.DataFrame(rows, columns=["example_id", "annotator", "label"])
    try:
        found = krippendorff_alpha(frame, metric="ordinal" if grades else "nominal", order=grades or None, level=level)
    except StatisticsError as error:
        return math.nan, math.nan, math.nan, str(error)
    return found.estimate, found.low, found.high, found.reason
