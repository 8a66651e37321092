"""Foot gun 2: runs taken as truth without statistics (SC2xx)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.catches.finding import Observation, Policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def smallest_effect(*, claiming: bool, effect: float | None) -> Observation:
    """SC201: a claim says the smallest effect that matters (a fraction or the metric's unit)."""
    if not claiming:
        return Observation("SC201", "not_applicable", "exploring: nothing is claimed")
    if effect is None or effect <= 0:
        return Observation(
            "SC201",
            "fired",
            "the claim has no smallest_effect" if effect is None else f"smallest_effect is {effect:g}",
            "neither power nor EQUIVALENT can be computed without it",
            "add to the claim: smallest_effect: 3 points",
        )
    return Observation("SC201", "passed", f"smallest effect {effect:g}")


def power(
    *,
    effect: float | None,
    detectable: float | None,
    n: int,
    n_needed: int | None,
    assumption: str,
    unit: str = "points",
    wanted: float = 0.8,
    impossible: str | None = None,
) -> Observation:
    """SC202: the effect that `n` items can show with the `wanted` power (0-1) is at most the stated one.

    `impossible` says why the items can show no difference at all.
    """
    if effect is not None and impossible:
        return Observation(
            "SC202",
            "fired",
            impossible,
            "the run can only end INCONCLUSIVE",
            "score more rows, of new groups",
            {"n": n, "detectable": None, "effect": effect, "n_needed": n_needed},
        )
    if effect is None or detectable is None:
        return Observation("SC202", "not_checked", "no stated effect, or its noise is not known")
    scale = 100 if unit == "points" else 1
    shown = f"{n} items can show {detectable * scale:.1f} {unit} or more with {100 * wanted:g} % power ({assumption})"
    evidence = {"n": n, "detectable": detectable, "effect": effect, "n_needed": n_needed}
    if detectable <= effect * (1 + 1e-9):
        return Observation("SC202", "passed", shown, evidence=evidence)
    return Observation(
        "SC202",
        "fired",
        f"{shown}; the claim asks for {effect * scale:.1f}",
        f"a true effect of that size would be missed more often than in {100 * (1 - wanted):g} % of such runs",
        f"score about {n_needed} items" if n_needed else "score more items",
        evidence,
    )


def repeats(*, n: int, n_clusters: int, largest: int, example: str, by: str) -> Observation:
    """SC203: scored rows that share a group or near-duplicate cluster."""
    if n_clusters >= n:
        return Observation("SC203", "passed", f"{n} rows, each a cluster of its own")
    return Observation(
        "SC203",
        "fired",
        f"{n} scored rows in {n_clusters} clusters by {by}; the largest ({example}) has {largest}",
        f"intervals are cluster-robust: as a rule wider than {n} independent rows would give",
        "nothing to do; more clusters narrow the interval, more rows of the same ones hardly do",
        {"n": n, "n_clusters": n_clusters, "largest": largest},
    )


def clusters(*, n_clusters: int, policy: Policy) -> Observation:
    """SC208: enough clusters for an interval."""
    least = int(policy.threshold("SC208", "clusters"))
    if n_clusters >= least:
        return Observation("SC208", "passed", f"{n_clusters} clusters")
    matters = "no interval is given" if n_clusters < 5 else "the interval rests on few clusters and may be too narrow"
    return Observation(
        "SC208",
        "fired",
        f"{n_clusters} independent clusters are scored (fewer than {least})",
        matters,
        "score more groups or customers",
        {"n_clusters": n_clusters},
    )


def same_items(
    *,
    left: str,
    right: str,
    only_left: Sequence[str],
    only_right: Sequence[str],
    changed: Sequence[str],
    intersect: bool,
) -> Observation:
    """SC204: two runs hold the same items with the same content; `changed` lists ids whose content differs."""
    if not (only_left or only_right or changed):
        return Observation("SC204", "passed", f"{left} and {right} hold the same items")
    parts = [
        f"{len(ids)} {text} (e.g. {ids[0]})"
        for ids, text in (
            (only_left, f"only in {left}"),
            (only_right, f"only in {right}"),
            (changed, "with other content"),
        )
        if ids
    ]
    evidence = {"only_left": len(only_left), "only_right": len(only_right), "changed": len(changed)}
    if intersect and not changed:
        return Observation(
            "SC204", "passed", f"compared on the shared items only: {', '.join(parts)}", evidence=evidence
        )
    return Observation(
        "SC204",
        "fired",
        f"items {', '.join(parts)}",
        "a difference between other items says nothing about the candidates",
        "compare on the shared items: --intersect" if not changed else "run both on the same data file",
        evidence,
    )


def family(
    *,
    n_compared: int,
    n_scored: int,
    k_history: int,
    luck: float | None,
    metric: str,
    correction: str = "holm",
    claiming: bool = True,
) -> Observation:
    """SC205: several candidates, here or in earlier looks: how much better the best of equal ones would look by luck.

    `n_scored` are scored here, the baseline included, `k_history` were ever on these items; `luck` is a fraction, of
    `k_history` ones. Where nothing is claimed one candidate after another is work on dev, and only told.
    """
    before = max(0, k_history - n_scored)
    lucky = (
        ""
        if luck is None
        else f": the best of {k_history} equal ones would look {100 * luck:.1f} points better by luck"
    )
    evidence = {"n_compared": n_compared, "k_history": k_history, "luck": luck}
    ever = f"{k_history} were ever scored on these items"
    if n_compared <= 1 and not (before and claiming):
        more = f"; {ever}{lucky}" if before else ""
        return Observation("SC205", "passed", f"one candidate against the baseline{more}", evidence=evidence)
    one = n_compared <= 1
    if one:
        counted = f"its p-value counts this one and not the {before} that earlier looks showed"
    else:
        counted = f"p-values are adjusted over the {n_compared} by {'max-T' if correction == 'max_t' else 'Holm'}"
        counted += f" and do not count the {before} that earlier looks showed" if before and claiming else ""
    return Observation(
        "SC205",
        "fired",
        f"{'1 candidate is' if one else f'{n_compared} candidates are'} compared with the baseline on {metric}; {ever}",
        f"{counted}{lucky}",
        "confirm it on rows that no look has shown; choose among many on dev"
        if one
        else "compare fewer candidates on test; choose among many on dev",
        evidence,
    )


def sampling_noise(
    *,
    replicates: int,
    sends: bool,
    temperatures: Mapping[str, float | None],
    functions: Sequence[str],
    share: float | None,
    measured_in: str | None,
    trade: str,
) -> Observation:
    """SC206: an item is asked once although its answer is drawn anew each time.

    `temperatures` are those of the models (None: not set), `functions` the candidates whose inside is not known;
    `share` (0-1) of a difference's variance was noise between runs in the run `measured_in`, None where none measured
    it; `trade` says what replicates and items give for the same calls.
    """
    if not sends:
        return Observation("SC206", "not_applicable", "recorded outputs: nothing is asked")
    if replicates > 1:
        return Observation("SC206", "passed", f"{replicates} runs an item")
    warm = {name: value for name, value in temperatures.items() if value is not None and value > 0}
    evidence = {"temperatures": dict(temperatures), "share": share, "measured_in": measured_in}
    if warm or share:
        names = ", ".join(list(warm)[:3]) + (f" and {len(warm) - 3} more" if len(warm) > 3 else "")
        reasons = [f"the temperature is {max(warm.values()):g} ({names})"] if warm else []
        if share:
            reasons.append(f"in {measured_in} {100 * share:.0f} % of the spread was noise between runs of one item")
        return Observation(
            "SC206",
            "fired",
            f"every item is asked once, although {' and '.join(reasons)}",
            "intervals and verdict hold that noise; which items flip, and who leads by little, is partly luck",
            f"more items, or runs.replicates: 3{f'; {trade}' if trade else ''}",
            evidence,
        )
    unset = [name for name, value in temperatures.items() if value is None]
    if unset or functions:
        reasons: list[str] = []
        if unset:
            reasons.append(f"no temperature is set for {', '.join(unset[:3])}: the provider's default holds, often 1")
        if functions:
            reasons.append(f"what {', '.join(functions[:3])} samples is not known")
        return Observation("SC206", "not_checked", "; ".join(reasons), evidence=evidence)
    return Observation(
        "SC206", "passed", "temperature 0, and no earlier run measured noise between runs", evidence=evidence
    )


def errors(*, failed: Mapping[str, tuple[int, int]], policy: Policy, classes: Mapping[str, int]) -> Observation:
    """SC207: `failed` is `{candidate: (rows without an answer, rows)}`; high or clearly unequal rates fire."""
    rate, gap, alpha = (policy.threshold("SC207", name) for name in ("rate", "gap", "p"))
    total = sum(rows for _, rows in failed.values())
    if not total:
        return Observation("SC207", "not_applicable", "no calls")
    rates = {name: bad / rows for name, (bad, rows) in failed.items() if rows}
    worst, best = max(rates, key=rates.__getitem__), min(rates, key=rates.__getitem__)
    evidence = {"rates": rates, "classes": dict(classes)}
    # The two extremes of many candidates differ by luck alone: the p-value counts every pair (Bonferroni).
    pairs = len(rates) * (len(rates) - 1) // 2
    p_value = min(1.0, max(1, pairs) * _fisher(failed[worst], failed[best]))
    unequal = rates[worst] - rates[best] > gap and p_value < alpha
    kinds = ": " + ", ".join(f"{count} {name}" for name, count in sorted(classes.items(), key=lambda item: -item[1]))
    if rates[worst] <= rate and not unequal:
        lost = sum(bad for bad, _ in failed.values())
        return Observation("SC207", "passed", f"{lost} of {total} rows failed", evidence=evidence)
    bad, rows = failed[worst]
    other = f"; {best} lost {100 * rates[best]:.1f} % (Fisher p = {p_value:.2g})" if unequal else ""
    return Observation(
        "SC207",
        "fired",
        f"{worst} has no answer for {bad} of {rows} rows ({100 * rates[worst]:.1f} %, limit {100 * rate:g} %)"
        f"{other}{kinds if classes else ''}",
        "missing rows are seldom random; the comparison would be over the rows that happened to work",
        "run the same command again: only the missing calls are sent",
        evidence,
    )


def errors_stopped(*, message: str) -> Observation:
    """SC207 during a run: sending stopped because too many calls fail."""
    return Observation(
        "SC207",
        "fired",
        message,
        "going on would pay for a comparison over the rows that happened to work",
        "mend the endpoint and run the same command again: only the missing calls are sent",
    )


def _fisher(left: tuple[int, int], right: tuple[int, int]) -> float:
    from scipy.stats import fisher_exact

    table = [[left[0], left[1] - left[0]], [right[0], right[1] - right[0]]]
    return float(fisher_exact(table).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
