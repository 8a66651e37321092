"""The decision about a candidate: better, worse, equivalent or inconclusive, and what to do about it.

Precedence, from what a sceptic would object to first:

1. A guardrail shown to be violated: WORSE, whatever the metric says.
2. The one-sided bounds (90 % interval for level .95) inside +-smallest effect: EQUIVALENT, even when the difference is
   not 0. A gain shown to be smaller than the one asked for is no reason to switch; the sentence says it is there.
3. The interval and the p-value (adjusted by Holm or max-T) exclude 0: BETTER or WORSE. Better means better than 0; the
   sentence says whether the smallest effect itself is shown.
4. A guardrail that is undecided turns BETTER into INCONCLUSIVE.
5. Everything else is INCONCLUSIVE, with its lean, the n that would settle it, and "keep the baseline".

EQUIVALENT is not corrected for several candidates: it leads to the safe action.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import quantile
from safetycatch.stats.multiplicity import holm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.stats.guardrails import Guardrail
    from safetycatch.stats.paired import PairedDifference

Kind = Literal["BETTER", "WORSE", "EQUIVALENT", "INCONCLUSIVE"]
Lean = Literal["candidate", "baseline", "neither"]
Correction = Literal["holm", "max_t"]
CORRECTIONS: dict[Correction, str] = {"holm": "Holm", "max_t": "max-T"}
SETTLE_POWER = 0.8
# Beyond it, a number of items says nothing that can be done.
MOST_TIMES = 100


@dataclass(frozen=True)
class Verdict:
    """A decision with its numbers: `estimate`, `low`, `high` are candidate - baseline in the metric's own unit.

    `lean` is the side that the estimate favours; `n_to_settle` and `n_additional` count items and are given while
    INCONCLUSIVE, where they can be computed; `sentence` is for a manager, `check` for a statistician.
    """

    kind: Kind
    candidate: str
    baseline: str
    metric: str
    estimate: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    n: int
    n_clusters: int
    n_missing: int
    smallest_effect: float | None
    guardrails: tuple[Guardrail, ...]
    lean: Lean
    n_to_settle: int | None
    n_additional: int | None
    default_action: str
    reasons: tuple[str, ...]
    sentence: str
    check: str


@dataclass(frozen=True)
class _Case:
    """The comparison with its sign turned so that more is better; `smallest_effect` is 0 where none was stated."""

    difference: PairedDifference
    smallest_effect: float
    sign: float
    p_adjusted: float
    n_compared: int
    correction: Correction

    @property
    def gain(self) -> float:
        return self.sign * self.difference.estimate

    @property
    def least_gain(self) -> float:
        return min(self.sign * self.difference.low, self.sign * self.difference.high)

    @property
    def excludes_zero(self) -> bool:
        return self.difference.low > 0 or self.difference.high < 0

    @property
    def significant(self) -> bool:
        return self.excludes_zero and self.p_adjusted <= 1 - self.difference.level

    @property
    def equivalent(self) -> bool:
        inside = self.difference.lower_bound > -self.smallest_effect
        return inside and self.difference.upper_bound < self.smallest_effect

    def n_to_settle(self) -> int | None:
        """Return the pairs that give power .8 to BETTER at the smallest effect and to EQUIVALENT at no difference.

        If that many are there already, the truth seems to lie in between: then the pairs that show the estimate to be
        either not 0 or inside the smallest effect, whichever needs fewer.
        """
        d = self.difference
        if math.isnan(d.sd_difference) or math.isnan(d.design_effect) or 0 in {d.sd_difference, self.smallest_effect}:
            return None
        alpha = 1 - d.level
        superior = quantile(1 - alpha / 2 / self.n_compared, math.inf) + quantile(SETTLE_POWER, math.inf)
        equal = quantile(1 - alpha, math.inf) + quantile((1 + SETTLE_POWER) / 2, math.inf)
        unit = d.sd_difference**2 * d.design_effect
        planned = max(superior, equal) ** 2 * unit / self.smallest_effect**2
        if planned > d.n:
            return math.ceil(planned)
        gap = max(abs(self.gain), self.smallest_effect - abs(self.gain))
        return max(d.n + 1, math.ceil(superior**2 * unit / gap**2))


def decide(
    difference: PairedDifference,
    smallest_effect: float | None,
    *,
    candidate: str = "candidate",
    baseline: str = "baseline",
    metric: str = "score",
    p_adjusted: float | None = None,
    n_compared: int = 1,
    correction: Correction = "holm",
    guardrails: Sequence[Guardrail] = (),
    higher_is_better: bool = True,
    unit: str = "points",
    runs: int = 1,
    added_usd: float = math.nan,
) -> Verdict:
    """Return the verdict on one candidate; the module's docstring gives the rules in order.

    `difference` comes from `paired_difference(candidate, baseline)`; `smallest_effect` (> 0) is in the metric's unit,
    0.03 for 3 points; None: nothing is EQUIVALENT, and no n settles it. With several candidates give `n_compared` and
    `p_adjusted`, from `holm` or `max_t` as `correction` says. `unit` is how numbers are written: "points" multiplies by
    100. `runs` is the number of rows an item has in `difference` (1 when runs were averaged first); n is reported in
    items. Violations of several guardrails are Holm-corrected at the guardrails' own alpha. `added_usd` is how much
    more the candidate costs (US dollars an item; NaN: not known), for the words about what to keep.
    Raises: StatisticsError for a smallest effect of 0 or less, or several candidates without `p_adjusted`.
    """
    if smallest_effect is not None and not (math.isfinite(smallest_effect) and smallest_effect > 0):
        raise StatisticsError(f"the smallest effect is {smallest_effect}, expected above 0, such as 0.03 for 3 points")
    if n_compared < 1 or runs < 1:
        raise StatisticsError(f"n_compared={n_compared} and runs={runs} count from 1")
    if n_compared > 1 and p_adjusted is None:
        raise StatisticsError(f"{n_compared} candidates are compared: give p_adjusted, from holm() over all of them")
    p = difference.p_value if p_adjusted is None else p_adjusted
    case = _Case(difference, smallest_effect or 0.0, 1.0 if higher_is_better else -1.0, p, n_compared, correction)
    violated = _violated(guardrails)
    undecided = [g for g in guardrails if g.status != "passed" and g not in violated]
    kind, reasons = _kind(case, violated, undecided, baseline, _Writer(unit))
    n_items = math.ceil(difference.n / runs)
    needed = _needed(case, undecided) if kind == "INCONCLUSIVE" else None
    n_to_settle = None if needed is None else max(n_items + 1, math.ceil(needed / runs))
    lean: Lean = "candidate" if case.gain > 0 else "baseline" if case.gain < 0 else "neither"
    return Verdict(
        kind=kind,
        candidate=candidate,
        baseline=baseline,
        metric=metric,
        estimate=difference.estimate,
        low=difference.low,
        high=difference.high,
        p_value=difference.p_value,
        p_adjusted=p,
        n=n_items,
        n_clusters=difference.n_clusters,
        n_missing=difference.n_missing,
        smallest_effect=smallest_effect,
        guardrails=tuple(guardrails),
        lean=lean,
        n_to_settle=n_to_settle,
        n_additional=None if n_to_settle is None else n_to_settle - n_items,
        default_action=_action(kind, candidate, baseline, added_usd),
        reasons=tuple(reasons),
        sentence=_sentence(kind, case, reasons, (candidate, baseline, metric), _Writer(unit), n_items, n_to_settle),
        check=_check(case, guardrails),
    )


def _violated(guardrails: Sequence[Guardrail]) -> list[Guardrail]:
    """Return the guardrails shown to be violated, Holm-corrected; those decided by their value have no p-value."""
    if not guardrails:
        return []
    adjusted = holm([g.p_violated for g in guardrails])
    return [
        g
        for g, p in zip(guardrails, adjusted, strict=True)
        if g.status == "violated" and (math.isnan(p) or p <= g.alpha)
    ]


def _kind(
    case: _Case, violated: list[Guardrail], undecided: list[Guardrail], baseline: str, write: _Writer
) -> tuple[Kind, list[str]]:
    d, asked = case.difference, write.size(case.smallest_effect)
    if violated:
        return "WORSE", [f"{g.metric} is worse than its guardrail allows ({g.reason})" for g in violated]
    if math.isnan(d.low):
        return "INCONCLUSIVE", [d.warnings[-1] if d.warnings else "the difference has no interval"]
    if case.equivalent:
        side = "ahead" if case.gain > 0 else "behind"
        if case.significant:
            return "EQUIVALENT", [f"it is really {side}, but by less than the {asked} asked for"]
        return "EQUIVALENT", [f"any difference is smaller than the {asked} asked for"]
    if case.significant and case.gain < 0:
        return "WORSE", [f"the interval lies on {baseline}'s side"]
    if case.significant:
        if undecided:
            return "INCONCLUSIVE", [f"{g.metric} is not shown to keep its guardrail ({g.reason})" for g in undecided]
        if not case.smallest_effect:
            return "BETTER", ["better than 0 is shown; no size was asked for"]
        if case.least_gain >= case.smallest_effect:
            return "BETTER", [f"a gain of the {asked} asked for is shown"]
        return "BETTER", [f"better than 0 is shown; whether the gain reaches the {asked} asked for is open"]
    if case.excludes_zero and case.n_compared > 1:
        return "INCONCLUSIVE", [f"the difference does not survive correction for {case.n_compared} candidates"]
    if case.excludes_zero and (case.correction == "max_t" or d.p_method == "exact McNemar"):
        test = "sign-flip" if case.correction == "max_t" else "exact"
        p = f"p {case.p_adjusted:.2g}"
        return "INCONCLUSIVE", [f"the interval leaves out 0, but the {test} test ({p}) does not"]
    if case.excludes_zero:
        return "INCONCLUSIVE", ["too few items make a difference for a p-value below the limit"]
    if not case.smallest_effect:
        return "INCONCLUSIVE", ["no difference is still possible, and no size was asked for"]
    return "INCONCLUSIVE", ["no difference and a difference of the size asked for are both still possible"]


def _needed(case: _Case, undecided: list[Guardrail]) -> int | None:
    """Return the pairs that would settle what is open; None when that cannot be computed."""
    if case.significant and case.gain > 0 and undecided:
        open_guardrails = [g.n_to_settle for g in undecided]
        known = [n for n in open_guardrails if n is not None]
        return max(known) if len(known) == len(open_guardrails) else None
    return case.n_to_settle()


def _action(kind: Kind, candidate: str, baseline: str, added_usd: float = math.nan) -> str:
    if kind == "BETTER":
        return f"switch to {candidate}"
    if kind == "EQUIVALENT":
        if added_usd > 0:
            return f"keep {baseline}, which costs less"
        cost = ", such as cost" if added_usd < 0 else ""
        return f"keep {baseline}, unless {candidate} is preferable for another reason{cost}"
    return f"keep {baseline}"


@dataclass(frozen=True)
class _Writer:
    """Numbers as people read them: points for rates, dollars, else three digits and the unit."""

    unit: str

    @property
    def after(self) -> str:
        """What stands behind a number."""
        return "" if self.unit in {"", "usd", "score"} else f" {self.unit}"

    def size(self, value: float) -> str:
        size = f"{100 * value:.3g}" if self.unit == "points" else f"{value:.3g}"
        return f"{'$' if self.unit == 'usd' else ''}{size}{self.after}"

    def signed(self, value: float) -> str:
        if self.unit == "points":
            return f"{100 * value:+.1f}"
        text = f"{value:+.3g}"
        return f"{text[0]}${text[1:]}" if self.unit == "usd" else text


def _sentence(
    kind: Kind,
    case: _Case,
    reasons: Sequence[str],
    names: tuple[str, str, str],
    write: _Writer,
    n_items: int,
    n_to_settle: int | None,
) -> str:
    candidate, baseline, metric = names
    d = case.difference
    verb = {
        "BETTER": f"{candidate} is better than {baseline}",
        "WORSE": f"{candidate} is worse than {baseline}",
        "EQUIVALENT": f"{candidate} and {baseline} are equivalent",
        "INCONCLUSIVE": f"{candidate} against {baseline} is undecided",
    }[kind]
    if kind == "WORSE" and not (case.significant and case.gain < 0):
        verb = f"{candidate} cannot replace {baseline}, for a guardrail is broken"
    figures = f"{write.signed(d.estimate)}{write.after}"
    if not math.isnan(d.low):
        figures += f" ({100 * d.level:g} % interval {write.signed(d.low)} to {write.signed(d.high)})"
    text = f"{verb}: {metric} {figures} on {n_items:,} items; {'; '.join(reasons)}."
    if kind == "INCONCLUSIVE":
        settling = _settling(n_items, n_to_settle)
        text += (
            f"{settling} {'Until then' if settling else 'Until it is settled'}: {_action(kind, candidate, baseline)}."
        )
    return text


def _settling(n_items: int, n_to_settle: int | None) -> str:
    if n_to_settle is None:
        return ""
    if n_to_settle > MOST_TIMES * n_items:
        return f" More than {MOST_TIMES} times as many items would be needed to settle it."
    return f" About {n_to_settle:,} items ({n_to_settle - n_items:,} more) would settle it."


def _check(case: _Case, guardrails: Sequence[Guardrail]) -> str:
    d = case.difference
    method = d.method.replace("_", " ")
    parts = [
        f"paired difference {d.estimate:+.4g}, {method}, SE {d.se:.3g}, df {d.df:.4g}, deff {d.design_effect:.3g}",
        f"{d.n} pairs in {d.n_clusters} clusters, {d.n_missing} missing",
        f"{100 * d.level:g} % interval [{d.low:+.4g}, {d.high:+.4g}], two-sided p {d.p_value:.3g} ({d.p_method})",
    ]
    if case.n_compared > 1 or case.correction == "max_t":
        over = f"{case.n_compared} candidate{'s' if case.n_compared > 1 else ''}"
        parts.append(f"{CORRECTIONS[case.correction]} over {over}: p {case.p_adjusted:.3g}")
    bounds = f"{100 * (2 * d.level - 1):g} % interval [{d.lower_bound:+.4g}, {d.upper_bound:+.4g}]"
    parts.append(f"{bounds} against ±{case.smallest_effect:g}" if case.smallest_effect else bounds)
    parts.extend(f"guardrail {g.metric} {g.status}: {g.reason}" for g in guardrails)
    parts.extend(d.warnings)
    return "; ".join(parts)
