"""Foot gun 5: gains that are leakage, memory, luck or the wrong metric (SC5xx)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.catches.finding import Observation, Policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REFUSED_KINDS = ("exact", "normalised", "bag", "near", "prompt")


@dataclass(frozen=True, slots=True)
class LeakFacts:
    """Leaked pairs between the sets in play; `rows` counts distinct scored rows by the gravest kind."""

    given_split: bool
    n_scored: int
    rows: Mapping[str, int]
    example: str
    n_similar: int = 0
    n_template: int = 0
    near: float = 0.8
    similar: float = 0.6


def leaked_rows(facts: LeakFacts, *, experiment: str) -> Observation:
    """SC501: no scored row stands in train, the pool, another split or the prompt; similar and template pairs warn."""
    found = {kind: facts.rows[kind] for kind in REFUSED_KINDS if facts.rows.get(kind)}
    evidence = {"rows": dict(facts.rows), "n_scored": facts.n_scored, "similar": facts.n_similar}
    jaccard = f"Jaccard {facts.similar:g}-{facts.near:g}"
    reported = f"; {facts.n_similar} rows are similar ({jaccard}), reported only" if facts.n_similar else ""
    if found:
        total = sum(found.values())
        named = {"near": f"near (Jaccard ≥ {facts.near:g})"}
        kinds = ", ".join(f"{count} {named.get(kind, kind)}" for kind, count in found.items())
        return Observation(
            "SC501",
            "fired",
            f"{total} of {facts.n_scored} scored rows: {kinds}, e.g. {facts.example}",
            f"the score of {100 * total / max(facts.n_scored, 1):.1f} % of the rows can be memory",
            f"safetycatch check {experiment} --write-clean",
            evidence,
        )
    if facts.given_split and facts.n_template:
        return Observation(
            "SC501",
            "fired",
            f"{facts.n_template} scored rows differ from a train row in digits or one name only, e.g. {facts.example}",
            "templates test less than fresh rows do",
            "keep them if such rows are what you will see; else split by template",
            evidence,
            level="warn",
        )
    return Observation("SC501", "passed", f"nothing crosses the split{reported}", evidence=evidence)


@dataclass(frozen=True, slots=True)
class CrossingFacts:
    """Groups on both sides of the split, and training rows newer than the first scored row."""

    given_split: bool
    has_group: bool
    has_time: bool
    n_groups: int = 0
    n_rows: int = 0
    example: str = ""
    n_future: int = 0
    future_example: str = ""


def crossings(facts: CrossingFacts) -> Observation:
    """SC502: on given splits no group crosses, and nothing in train is newer than what is scored."""
    if not facts.has_group and not facts.has_time:
        return Observation("SC502", "not_checked", "neither 'group' nor 'time' is named under 'data'")
    if not facts.given_split and not facts.n_groups:
        kept = "our own split keeps groups together" if facts.has_group else "our own split; no group is named"
        return Observation("SC502", "passed", f"{kept}; 'split: {{by: time}}' keeps time in order too")
    saw: list[str] = []
    if facts.n_groups:
        saw.append(f"{facts.n_groups} groups ({facts.n_rows} scored rows) are on both sides, e.g. {facts.example}")
    if facts.n_future:
        saw.append(f"{facts.n_future} training rows are newer than the first scored row, e.g. {facts.future_example}")
    if not saw:
        looked = [word for word, there in (("group", facts.has_group), ("future row", facts.has_time)) if there]
        unknown = [word for word, there in (("group", facts.has_group), ("time", facts.has_time)) if not there]
        rest = f"; no '{unknown[0]}' is named under 'data', so that was not checked" if unknown else ""
        return Observation("SC502", "passed", f"no {' and no '.join(looked)} crosses the split{rest}")
    return Observation(
        "SC502",
        "fired",
        "; ".join(saw),
        "the score promises for new customers or tomorrow what was only shown for known ones",
        "leave 'split.column' out: our split keeps groups together ('split: {by: time}' cuts by time)",
        {"n_groups": facts.n_groups, "n_future": facts.n_future},
    )


def too_good(
    *,
    rates: Mapping[str, float],
    similar: Mapping[str, tuple[int, int, int, int]],
    policy: Policy,
) -> Observation:
    """SC505: rates of 98 % and more, or a score carried by rows that resemble training rows.

    `similar` is `{candidate: (right, n) of rows similar to train, (right, n) of the others}` flattened.
    """
    limit, gap, alpha = (policy.threshold("SC505", name) for name in ("rate", "gap", "p"))
    reasons = [
        f"{name} scores {100 * rate:.1f} % (limit {100 * limit:g} %)" for name, rate in rates.items() if rate >= limit
    ]
    for name, (right_near, n_near, right_far, n_far) in similar.items():
        if n_near >= 20 and n_far >= 20:
            near, far = right_near / n_near, right_far / n_far
            if near - far > gap and _fisher_greater(right_near, n_near, right_far, n_far) < alpha:
                reasons.append(f"{name}: {100 * near:.0f} % on {n_near} rows similar to train, {100 * far:.0f} % else")
    if not reasons:
        return Observation("SC505", "passed", "no rate is suspiciously high, nor carried by rows similar to train")
    return Observation(
        "SC505",
        "fired",
        "; ".join(reasons),
        "such scores are more often a leak, memory or a broken scorer than a solved task",
        "read twenty right answers; look at the leak pairs in the report",
        {"rates": dict(rates)},
    )


def _fisher_greater(right: int, n: int, other_right: int, other_n: int) -> float:
    from scipy.stats import fisher_exact

    table = [[right, n - right], [other_right, other_n - other_right]]
    return float(fisher_exact(table, alternative="greater").pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def saturated(
    *, best: float | None, detectable: float | None, solved_by_all: int, n: int, policy: Policy
) -> Observation:
    """SC506: the set can still tell candidates apart (`best` and `detectable` are fractions)."""
    if best is None or not n:
        return Observation("SC506", "not_applicable", "the metric has no ceiling")
    share, limit = solved_by_all / n, policy.threshold("SC506", "solved_by_all")
    reasons: list[str] = []
    if detectable is not None and 1 - best < detectable:
        reasons.append(f"headroom {100 * (1 - best):.1f} points, detectable {100 * detectable:.1f}")
    if share > limit:
        reasons.append(
            f"{solved_by_all} of {n} items ({100 * share:.0f} %, limit {100 * limit:g} %) are solved by every candidate"
        )
    if not reasons:
        return Observation("SC506", "passed", f"{100 * share:.0f} % of the items are solved by every candidate")
    return Observation(
        "SC506",
        "fired",
        "; ".join(reasons),
        "a better candidate could hardly show it here",
        "add harder, real examples",
        {"solved_by_all": solved_by_all, "n": n},
    )


def slices_named(*, claiming: bool, slices: Sequence[str]) -> Observation:
    """SC510: a claim names slices."""
    if not claiming:
        return Observation("SC510", "not_applicable", "exploring: nothing is claimed")
    if slices:
        return Observation("SC510", "passed", f"slices: {', '.join(slices)}")
    return Observation(
        "SC510",
        "fired",
        "the claim names no slice",
        "an average can rise while one group of users gets worse",
        "data: {…, slices: [COLUMN]}, a column that says of which kind a row is; add one where the data have none",
    )


@dataclass(frozen=True, slots=True)
class ShortcutFacts:
    """What trivially predicts the label: tokens, the label's own text, single fields."""

    tokens: Sequence[tuple[str, str, float, int]] = ()
    label_in_text: Sequence[tuple[str, float, int]] = ()
    fields: Sequence[tuple[str, float]] = ()
    n: int = 0


def shortcuts(facts: ShortcutFacts | None) -> Observation:
    """SC511: one field that decides nearly all rows refuses; a token or the label's text that predicts one warns."""
    if facts is None:
        return Observation("SC511", "not_applicable", "not a classification task")
    if facts.fields:
        name, accuracy = max(facts.fields, key=lambda item: item[1])
        return Observation(
            "SC511",
            "fired",
            f"the field {name!r} alone decides {100 * accuracy:.1f} % of {facts.n} rows (cross-validated over groups)",
            "the score measures that field, not the text",
            f"remove what {name!r} gives away, or name it under data.id or data.group if it is one",
            {"fields": [list(item) for item in facts.fields]},
            level="refuse",
        )
    parts = [
        f"{token!r} means {label} in {100 * share:.0f} % of {n} rows" for token, label, share, n in facts.tokens[:3]
    ]
    parts += [
        f"the text of label {label!r} stands in {n} inputs, right in {100 * share:.0f} %"
        for label, share, n in facts.label_in_text[:3]
    ]
    if parts:
        return Observation(
            "SC511",
            "fired",
            "; ".join(parts),
            "part of the task is solved without understanding it",
            "look at accuracy without those rows; add examples where the word misleads",
            {"tokens": [list(item) for item in facts.tokens], "labels": [list(item) for item in facts.label_in_text]},
        )
    return Observation("SC511", "passed", f"no token and no field decides the label ({facts.n} rows)")


def right_metric(
    *,
    claimed: str,
    best: float | None,
    majority: float | None,
    orders: tuple[Sequence[str], Sequence[str]] | None,
    policy: Policy,
) -> Observation:
    """SC512: accuracy beats the majority class by a margin, and balanced accuracy ranks the candidates alike."""
    if claimed != "accuracy" or best is None or majority is None:
        return Observation("SC512", "not_applicable", f"the metric is {claimed}")
    reasons: list[str] = []
    gap = policy.threshold("SC512", "majority_gap")
    if best - majority <= gap:
        reasons.append(
            f"always answering the majority class scores {100 * majority:.1f} %, the best candidate {100 * best:.1f} % "
            f"(not {100 * gap:g} points more)"
        )
    if orders is not None and list(orders[0]) != list(orders[1]):
        reasons.append(f"accuracy ranks {' > '.join(orders[0])}, balanced accuracy {' > '.join(orders[1])}")
    if not reasons:
        return Observation(
            "SC512", "passed", f"majority class {100 * majority:.1f} %, best candidate {100 * best:.1f} %"
        )
    return Observation(
        "SC512",
        "fired",
        "; ".join(reasons),
        "on uneven classes accuracy rewards ignoring the rare ones",
        "claim: {metric: balanced_accuracy} or macro_f1",
    )


@dataclass(frozen=True, slots=True)
class LookFacts:
    """How often a test set was looked at before: different contents, by this claim and over all claims.

    `is_gate`: it claims nothing, as gates and references do not. `seen`: this very content was looked at before, by
    this claim; `told` names the claim's latest looks.
    """

    claim: str
    is_gate: bool
    seen: bool
    n_claim: int
    n_all: int
    n_items: int
    told: Sequence[str] = ()


def looked_at(facts: LookFacts | None, policy: Policy) -> Observation:
    """SC504: a claim looks at its test set no more often than its budget allows; a gate beyond it only warns."""
    if facts is None:
        return Observation("SC504", "not_applicable", "exploring: test is not opened")
    most, most_in_all = int(policy.threshold("SC504", "looks")), int(policy.threshold("SC504", "all_looks"))
    n_now = facts.n_claim + (not facts.seen)
    evidence = {"claim": facts.claim, "looks": facts.n_claim, "all_looks": facts.n_all, "seen": facts.seen}
    evidence |= {"looks_now": n_now, "budget": most}
    if facts.seen and (n_now <= most or not facts.is_gate):
        counted = f"{facts.n_claim} of {most} looks by {facts.claim}, {facts.n_all} over all claims"
        return Observation("SC504", "passed", f"seen before: a replay is no look ({counted})", evidence=evidence)
    nth = f"look {facts.n_claim + 1} of {most} at this test set by {facts.claim}"
    fix = (
        f"test rows that nobody has looked at (more than the {facts.n_items} here), or decide on dev: without "
        f"`claim:` a run explores and never opens test; more looks, on purpose: catches: {{SC504: {{looks: {n_now}}}}}"
    )
    if n_now > most:
        this = "this repeats one of them" if facts.seen else "this would be one more"
        before = f"{facts.claim} has had {facts.n_claim} of {most} looks at this test set; {this}"
        return Observation(
            "SC504",
            "fired",
            f"{before}. So far: {'; '.join(facts.told)}",
            "who changes something after each look fits the noise of these rows: the next gain is partly luck, and "
            "no p-value shows it",
            fix,
            evidence,
            level="warn" if facts.is_gate else None,
        )
    if facts.n_all >= most_in_all:
        return Observation(
            "SC504",
            "fired",
            f"this test set was looked at {facts.n_all} times over all claims (limit {most_in_all}); {nth}",
            "the best of many tries on the same rows looks better than it is; the luck figure counts them",
            fix,
            evidence,
            level="warn",
        )
    return Observation("SC504", "passed", f"{nth}; {facts.n_all} over all claims before", evidence=evidence)
