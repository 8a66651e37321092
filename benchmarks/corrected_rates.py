"""Coverage of the statistics of judges: corrected rates, differences of candidates, coefficients of agreement.

python -m benchmarks corrected_rates [--studies 2000]      (two and a half minutes)
python -m benchmarks corrected_rates --power               (only what the plan promises under a judge; a minute)

Bars: the default estimator of a rate covers 93-97.5 % in each of the first four designs with a mean width up to that
of the labels alone; the raw rate is off by more than 5 points where TPR is .9, TNR .7 and the truth .9; differences
cover 93 % or more, and an equal candidate is called better in at most 5 % of the studies; a judge whose TPR is just
.80 is certified in at most 5 %; the n that the plan names finds its effect in 78 % or more (Monte Carlo error aside).
Exit code 1 when one does not hold. The other rows show where the limits are.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safetycatch.errors import StatisticsError
from safetycatch.judging.agreement import agreement
from safetycatch.judging.correction import corrected_rate, rogan_gladen_from_counts
from safetycatch.judging.difference import corrected_difference, labelled_difference
from tasks.design import design_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BAND = (0.93, 0.975)
LEAST_POWER = 0.78
PLAN = {
    "is_rate": True,
    "unit": "points",
    "n_compared": 1,
    "power": 0.8,
    "replicates": 1,
    "discordance": 0.2,
    "icc": 0.05,
    "noise": 0.5,
    "sampled": False,
    "warm": False,
    "measured": None,
}


class Limits(NamedTuple):
    """The ends of an interval, and the estimate within."""

    low: float
    high: float
    estimate: float


class Tally:
    """Intervals of one maker over many studies."""

    def __init__(self) -> None:
        self.hits = self.above = self.n = 0
        self.width = self.off = 0.0

    def add(self, found: object, truth: float) -> None:
        low, high, estimate = found.low, found.high, found.estimate  # type: ignore[attr-defined]
        self.n += 1
        self.hits += low <= truth <= high
        self.above += low > 0
        self.width += high - low
        self.off += estimate - truth

    @property
    def coverage(self) -> float:
        return self.hits / self.n

    @property
    def mean_width(self) -> float:
        return self.width / self.n

    def __str__(self) -> str:
        return f"{self.coverage:.3f} / {self.mean_width:.3f}"


def verdicts(rng: np.random.Generator, good: Floats, tpr: float, tnr: float) -> Floats:
    """Return a judge's verdicts on answers that are good (1) or bad (0)."""
    return (rng.random(len(good)) < np.where(good == 1, tpr, 1 - tnr)).astype(float)


class Design(NamedTuple):
    """Labels drawn evenly beside further judged rows."""

    labels: int
    rows: int
    truth: float
    tpr: float
    tnr: float

    def __str__(self) -> str:
        return ", ".join(f"{value:g}" for value in self)


BARRED = (
    Design(200, 200, 0.8, 0.9, 0.8),
    Design(200, 2000, 0.8, 0.9, 0.8),
    Design(100, 1000, 0.9, 0.9, 0.7),
    Design(50, 1000, 0.9, 0.9, 0.7),
)
FURTHER = (
    Design(30, 1000, 0.8, 0.9, 0.8),
    Design(50, 1000, 0.97, 0.9, 0.7),
    Design(50, 200, 0.5, 0.7, 0.7),
    Design(100, 1000, 0.5, 0.95, 0.95),
    Design(200, 5000, 0.98, 0.95, 0.9),
)


def estimators(
    judge: Floats, labelled: Floats, human: Floats, other: Floats, seed: int
) -> dict[str, Callable[[], object]]:
    """Return each maker of an interval; the first is the default."""
    return {
        "post-stratified (default)": lambda: corrected_rate(judge, labelled, human),
        "PPI++": lambda: corrected_rate(judge, labelled, human, method="ppi"),
        "Rogan-Gladen, adjusted": lambda: corrected_rate(other, labelled, human, method="rogan_gladen"),
        "Rogan-Gladen, bootstrap": lambda: rogan_gladen_from_counts(
            other, *cells(labelled, human), n_resamples=400, seed=seed
        ),
        "labels only": lambda: corrected_rate(judge, labelled, human, method="labels_only"),
        "raw judge": lambda: corrected_rate(judge, labelled, human).raw,
    }


def even(design: Design, studies: int) -> dict[str, Tally]:
    """Return what each estimator does where labels are drawn evenly."""
    rng = np.random.default_rng([1, design.labels, design.rows, round(100 * design.truth)])
    found: dict[str, Tally] = {}
    for study in range(studies):
        good = (rng.random(design.labels + design.rows) < design.truth).astype(float)
        judge = verdicts(rng, good, design.tpr, design.tnr)
        labelled, human = judge[: design.labels], good[: design.labels]
        other = judge[design.labels :]
        for name, maker in estimators(judge, labelled, human, other, study).items():
            try:
                result = maker()
            except StatisticsError:  # no label of a bad answer: nothing is known of the judge there
                result = Limits(0.0, 1.0, design.truth)
            found.setdefault(name, Tally()).add(result, design.truth)
    return found


def cells(judge: Floats, human: Floats) -> tuple[int, int, int, int]:
    return tuple(int(((human == h) & (judge == j)).sum()) for h, j in ((1, 1), (1, 0), (0, 1), (0, 0)))  # type: ignore[return-value]


def groups(rng: np.random.Generator, n: int, size: int, truth: float, icc: float) -> tuple[Floats, NDArray[np.intp]]:
    """Return right/wrong rows in groups of one size whose own rates are beta distributed."""
    weight = 1 / icc - 1
    own = rng.beta(truth * weight, (1 - truth) * weight, n // size)
    cluster = np.repeat(np.arange(n // size), size)
    return (rng.random(n) < own[cluster]).astype(float), cluster


def drawn(judge: Floats, good: Floats, at: NDArray[np.bool_], chance: Floats) -> dict[str, object]:
    return {
        "judged": judge,
        "labelled_judge": judge[at],
        "labelled_human": good[at],
        "sampling_probability": chance[at],
    }


def harder(studies: int) -> dict[str, tuple[Tally, Tally]]:
    """Return the default and the labels alone where labels are not drawn evenly, or rows come in groups."""
    found: dict[str, tuple[Tally, Tally]] = {}

    def one(name: str, truth: float, draw: Callable[[np.random.Generator], dict[str, object]]) -> None:
        rng, default, alone = np.random.default_rng(len(found) + 7), Tally(), Tally()
        for _ in range(studies):
            settings = draw(rng)
            default.add(corrected_rate(**settings), truth)  # type: ignore[arg-type]
            alone.add(corrected_rate(**settings, method="labels_only"), truth)  # type: ignore[arg-type]
        found[name] = (default, alone)

    def enriched(rng: np.random.Generator) -> dict[str, object]:
        good = (rng.random(1500) < 0.9).astype(float)
        judge = verdicts(rng, good, 0.9, 0.7)
        chance = np.where(judge == 1, 0.04, 0.25)
        at = rng.random(1500) < chance
        return {
            "judged": judge,
            "labelled_judge": judge[at],
            "labelled_human": good[at],
            "sampling_probability": chance[at],
        }

    def uneven(rng: np.random.Generator) -> dict[str, object]:
        # Hard rows are labelled five times as often; the judge and the candidate fail more on them.
        hard = rng.random(1500) < 0.3
        good = (rng.random(1500) < np.where(hard, 0.6, 0.95)).astype(float)
        judge = np.where(hard, verdicts(rng, good, 0.8, 0.7), verdicts(rng, good, 0.95, 0.8))
        chance = np.where(hard, 0.25, 0.05)
        at = rng.random(1500) < chance
        return {
            "judged": judge,
            "labelled_judge": judge[at],
            "labelled_human": good[at],
            "sampling_probability": chance[at],
        }

    def grouped(labels: int) -> Callable[[np.random.Generator], dict[str, object]]:
        def draw(rng: np.random.Generator) -> dict[str, object]:
            good, cluster = groups(rng, 1000, 5, 0.8, 0.3)
            judge = verdicts(rng, good, 0.9, 0.8)
            whole = rng.choice(200, labels // 5, replace=False)  # all rows of the groups drawn
            at = np.isin(cluster, whole)
            return {
                "judged": judge, "labelled_judge": judge[at], "labelled_human": good[at],
                "cluster": cluster, "labelled_cluster": cluster[at],
            }  # fmt: skip

        return draw

    def scores(labels: int) -> Callable[[np.random.Generator], dict[str, object]]:
        def draw(rng: np.random.Generator) -> dict[str, object]:
            truth = rng.beta(4, 3, 1000)
            judge = np.clip(truth + 0.05 + rng.normal(0, 0.12, 1000), 0, 1)
            return {"judged": judge, "labelled_judge": judge[:labels], "labelled_human": truth[:labels]}

        return draw

    def grades(rng: np.random.Generator) -> dict[str, object]:
        truth = rng.choice([1.0, 2, 3, 4, 5], 1000, p=[0.05, 0.1, 0.2, 0.35, 0.3])
        judge = np.clip(truth + rng.choice([-1, 0, 1], 1000, p=[0.1, 0.6, 0.3]), 1, 5)
        return {"judged": judge, "labelled_judge": judge[:100], "labelled_human": truth[:100]}

    one("verdicts enriched: 4 % of the passed, 25 % of the failed labelled", 0.9, enriched)
    one("hard rows labelled five times as often", 0.3 * 0.6 + 0.7 * 0.95, uneven)
    one("groups of 5, 200 labels in 40 of them", 0.8, grouped(200))
    one("groups of 5, 100 labels in 20 of them", 0.8, grouped(100))
    one("scores, 50 labels", 4 / 7, scores(50))
    one("scores, 200 labels", 4 / 7, scores(200))
    one("grades 1 to 5, 100 labels", 3.75, grades)
    return found


def shifted(studies: int) -> dict[str, dict[str, Tally]]:
    """Return what happens to labels of elsewhere: half of them good, while 90 % of the judged rows are."""
    found: dict[str, dict[str, Tally]] = {}
    for tpr, tnr, labels in ((0.9, 0.8, 200), (0.9, 0.7, 100), (0.7, 0.7, 100), (0.6, 0.6, 100), (0.55, 0.55, 100)):
        rng = np.random.default_rng([3, round(100 * tpr), labels])
        rows = found.setdefault(f"{labels} labels, TPR {tpr:g}, TNR {tnr:g}", {})
        for _ in range(studies):
            good = (rng.random(1000) < 0.9).astype(float)
            judge = verdicts(rng, good, tpr, tnr)
            human = np.r_[np.ones(labels // 2), np.zeros(labels - labels // 2)]
            labelled = verdicts(rng, human, tpr, tnr)
            for name, method in (("Rogan-Gladen, adjusted", "rogan_gladen"), ("post-stratified", "post_stratified")):
                result = corrected_rate(judge, labelled, human, method=method, labelled_among_judged=False)  # type: ignore[arg-type]
                rows.setdefault(name, Tally()).add(result, 0.9)
    return found


class Pairing(NamedTuple):
    """Two candidates on the same rows: of the baseline's right and wrong answers these shares are right."""

    kept: float
    mended: float
    rate: float = 0.75

    @property
    def gain(self) -> float:
        return self.rate * self.kept + (1 - self.rate) * self.mended - self.rate


EQUAL, BETTER = Pairing(0.9, 0.3), Pairing(0.95, 0.6)


def answers(rng: np.random.Generator, n: int, pairing: Pairing, size: int) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Return right/wrong rows of candidate and baseline, in groups of `size` that also share what changes."""
    if size == 1:
        base, cluster = (rng.random(n) < pairing.rate).astype(float), np.arange(n)
        luck = rng.random(n)
    else:
        from scipy.special import ndtr

        base, cluster = groups(rng, n, size, pairing.rate, 0.2)
        luck = ndtr(np.sqrt(0.2) * rng.normal(size=n // size)[cluster] + np.sqrt(0.8) * rng.normal(size=n))
    return (luck < np.where(base == 1, pairing.kept, pairing.mended)).astype(float), base, cluster


def differences(studies: int) -> list[tuple[str, float, str, Tally]]:
    """Return coverage of both differences, by the judge's errors, for equal and for better candidates."""
    found = []
    for tpr, tnr in ((0.95, 0.95), (0.9, 0.8), (0.9, 0.7), (0.7, 0.7)):
        for size in (1, 5):
            for pairing in (EQUAL, BETTER):
                rng = np.random.default_rng([5, round(100 * tpr), round(100 * tnr), size])
                tallies = {
                    "common error, 100 labels a class": Tally(),
                    "100 labels on each": Tally(),
                    "raw judge": Tally(),
                }
                for _ in range(studies):
                    right, base, cluster = answers(rng, 500, pairing, size)
                    a, b = verdicts(rng, right, tpr, tnr), verdicts(rng, base, tpr, tnr)
                    tp, tn = rng.binomial(100, tpr), rng.binomial(100, tnr)
                    names = None if size == 1 else cluster
                    common = corrected_difference(a, b, tp, 100 - tp, 100 - tn, tn, cluster=names)
                    at = rng.choice(500, 100, replace=False)
                    human_a, human_b = np.full(500, np.nan), np.full(500, np.nan)
                    human_a[at], human_b[at] = right[at], base[at]
                    both = labelled_difference(a, b, human_a, human_b, cluster=names)
                    for tally, result in zip(tallies.values(), (common, both, common.raw), strict=True):
                        tally.add(result, pairing.gain)
                where = "independent" if size == 1 else f"groups of {size}"
                found += [
                    (f"J {tpr + tnr - 1:.2f}, {where}", pairing.gain, name, tally) for name, tally in tallies.items()
                ]
    return found


def partial(studies: int) -> dict[str, Tally]:
    """Return both differences where the judge likes the candidate's style: TNR .6 on it, .9 on the baseline."""
    rng = np.random.default_rng(11)
    found = {"common error": Tally(), "labels on both": Tally()}
    for _ in range(studies):
        right, base, _ = answers(rng, 500, EQUAL, 1)
        a, b = verdicts(rng, right, 0.95, 0.6), verdicts(rng, base, 0.9, 0.9)
        tp, tn = rng.binomial(100, 0.9), rng.binomial(100, 0.9)
        at = rng.choice(500, 100, replace=False)
        human_a, human_b = np.full(500, np.nan), np.full(500, np.nan)
        human_a[at], human_b[at] = right[at], base[at]
        found["common error"].add(corrected_difference(a, b, tp, 100 - tp, 100 - tn, tn), 0.0)
        found["labels on both"].add(labelled_difference(a, b, human_a, human_b), 0.0)
    return found


def coefficients(studies: int) -> list[tuple[str, dict[str, tuple[Tally, float]]]]:
    """Return coverage of the intervals of agreement and, of the one-sided bounds, the share at or below the truth."""
    found = []
    for labels, share, tpr, tnr, weighted in (
        (100, 0.5, 0.95, 0.95, False), (200, 0.8, 0.9, 0.8, False), (100, 0.9, 0.9, 0.7, False),
        (100, 0.9, 0.98, 0.9, False), (160, 0.9, 0.9, 0.7, True), (160, 0.8, 0.97, 0.9, True),
    ):  # fmt: skip
        rng = np.random.default_rng([13, labels, round(100 * share), round(100 * tpr)])
        table = np.array([[share * tpr, share * (1 - tpr)], [(1 - share) * (1 - tnr), (1 - share) * tnr]])
        rows, columns = table.sum(axis=1), table.sum(axis=0)
        chance, mean = float(rows @ columns), float((rows[0] + columns[0]) / 2)
        seen = float(np.trace(table))
        truths = {
            "tpr": tpr, "tnr": tnr, "j": tpr + tnr - 1, "accuracy": seen, "kappa": (seen - chance) / (1 - chance),
            "ac1": (seen - 2 * mean * (1 - mean)) / (1 - 2 * mean * (1 - mean)),
        }  # fmt: skip
        tallies = {name: Tally() for name in (*truths, "kappa, none added")}
        below = dict.fromkeys(truths, 0)
        for _ in range(studies):
            if weighted:  # from 2,000 rows, those that the judge failed five times as often
                good = (rng.random(2000) < share).astype(float)
                judge = verdicts(rng, good, tpr, tnr)
                passed = (judge == 1).mean()
                base = labels / 2000 / (passed + 5 * (1 - passed))
                chances = np.where(judge == 1, base, 5 * base)
                at = rng.random(2000) < chances
                good, judge, weights = good[at], judge[at], 1 / chances[at]
            else:
                good = (rng.random(labels) < share).astype(float)
                judge, weights = verdicts(rng, good, tpr, tnr), None
            words = np.array(["fail", "pass"])
            result = agreement(words[good.astype(int)], words[judge.astype(int)], weights=weights)
            plain = result.kappa
            if not np.isnan(plain.estimate):
                half = 1.96 * plain.se
                ends = Limits(plain.estimate - half, plain.estimate + half, plain.estimate)
                tallies["kappa, none added"].add(ends, truths["kappa"])
            for name, truth in truths.items():
                estimate = getattr(result, name)
                if not np.isnan(estimate.estimate):
                    tallies[name].add(estimate, truth)
                    below[name] += estimate.lower <= truth
        drawn = "failed ones 5 times as often" if weighted else "evenly"
        found.append(
            (
                f"{labels} labels drawn {drawn}, {share:g} good, TPR {tpr:g}, TNR {tnr:g}",
                {name: (tally, below.get(name, np.nan) / tally.n) for name, tally in tallies.items()},
            )
        )
    return found


def certified(studies: int) -> list[tuple[int, float, float, float]]:
    """Return labels a class, TPR, TNR, and the share of sealed tests that reach SC102's bounds."""
    found, words = [], np.array(["fail", "pass"])
    for tpr, tnr in ((0.8, 0.95), (0.9, 0.9), (0.93, 0.93), (0.95, 0.95)):
        for labels in (50, 100, 200):
            rng = np.random.default_rng([17, labels, round(100 * tpr)])
            reached: dict[tuple[int, int], bool] = {}
            tests = list(zip(rng.binomial(labels, tpr, studies), rng.binomial(labels, tnr, studies), strict=True))
            for tp, tn in set(tests):
                judge = np.repeat([1, 0, 1, 0], [tp, labels - tp, labels - tn, tn])
                one = agreement(words[np.repeat([1, 0], labels)], words[judge])
                reached[tp, tn] = one.tpr.lower >= 0.8 and one.tnr.lower >= 0.8 and one.j.lower >= 0.5
            found.append((labels, tpr, tnr, float(np.mean([reached[counts] for counts in tests]))))
    return found


PLANNED = (
    (0.9, 0.7, 200, 0.05),
    (0.9, 0.7, 50, 0.05),
    (0.95, 0.95, 100, 0.05),
    (0.7, 0.7, 200, 0.10),
    (0.9, 0.7, 200, 0.10),
)


def planned(tpr: float, tnr: float, labels: int, gain: float, studies: int) -> tuple[Floats, float, float, int]:
    """Return the n that the plan names, a new certificate in each study, and how often that n finds the gain.

    20 % of the answers change sides, half of the others are good. Besides, how often the n finds it that the plan would
    name for people's verdicts, and that n.
    """
    rng = np.random.default_rng([9, round(100 * tpr), labels, round(100 * gain)])
    settings = {**PLAN, "smallest_effect": gain}
    blind = design_facts([1] * 400, settings)["n_needed"]
    sizes, hits, blind_hits = np.empty(studies), 0, 0
    for study in range(studies):
        tp, tn = int(rng.binomial(labels, tpr)), int(rng.binomial(labels, tnr))
        counts = (tp, labels - tp, labels - tn, tn)
        n = design_facts([1] * 400, {**settings, "judge": {"counts": counts, "why": "", "labels": None}})["n_needed"]
        sizes[study] = n
        for size, count in ((n, True), (blind, False)):
            draw = rng.random(size)
            won, lost = draw < (0.2 + gain) / 2, (draw >= (0.2 + gain) / 2) & (draw < 0.2)
            other = (rng.random(size) < 0.5).astype(float)
            ours, theirs = (
                np.where(won, 1.0, np.where(lost, 0.0, other)),
                np.where(won, 0.0, np.where(lost, 1.0, other)),
            )
            found = corrected_difference(verdicts(rng, ours, tpr, tnr), verdicts(rng, theirs, tpr, tnr), *counts)
            shown = found.low > 0 and found.p_value <= 0.05
            hits, blind_hits = hits + (shown and count), blind_hits + (shown and not count)
    return sizes, hits / studies, blind_hits / studies, blind


def main_of_power(studies: int) -> bool:
    """Print what the plan promises under a judge, and return whether it holds."""
    print("| TPR, TNR | sealed labels a class | gain, points | n | found | with the n without the judge | bar |")
    print("|---|---|---|---|---|---|---|")
    held = True
    for tpr, tnr, labels, gain in PLANNED:
        sizes, power, without, blind = planned(tpr, tnr, labels, gain, studies)
        low, middle, high = np.percentile(sizes, (5, 50, 95))
        good = power >= LEAST_POWER - 2 * np.sqrt(LEAST_POWER * (1 - LEAST_POWER) / studies)
        held &= good
        design = f"{tpr:g}, {tnr:g} | {labels} | {100 * gain:g} | {middle:,.0f} ({low:,.0f} to {high:,.0f})"
        print(f"| {design} | {power:.3f} | {without:.3f} ({blind:,}) | {'held' if good else 'missed'} |", flush=True)
    return held


def main(studies: int) -> bool:
    print(f"{studies} studies a design, nominal .95, Monte Carlo SE {np.sqrt(0.95 * 0.05 / studies):.4f}")
    print("cells: coverage / mean width\n")
    held = True
    designs = [(design, even(design, studies)) for design in (*BARRED, *FURTHER)]
    makers = list(designs[0][1])
    print(
        "| labels, further rows, truth, TPR, TNR | " + " | ".join(makers) + " | bar |\n|" + "---|" * (len(makers) + 2)
    )
    for design, found in designs:
        default, alone, raw = found[makers[0]], found["labels only"], found["raw judge"]
        good = BAND[0] <= default.coverage <= BAND[1] and default.mean_width <= alone.mean_width
        if design[2:] == (0.9, 0.9, 0.7):
            good &= abs(raw.off / raw.n) > 0.05
        bar = ("held" if good else "missed") if design in BARRED else "no bar"
        held &= bar != "missed"
        print(f"| {design} | " + " | ".join(str(found[name]) for name in makers) + f" | {bar} |", flush=True)
    print("\n| labels not drawn evenly, groups, scores | default | labels only |\n|---|---|---|")
    for name, pair in harder(studies).items():
        print(f"| {name} | {pair[0]} | {pair[1]} |", flush=True)
    print("\n| labels of elsewhere: half good, 90 % here | Rogan-Gladen, adjusted | post-stratified |\n|---|---|---|")
    for name, rows in shifted(studies).items():
        print(f"| {name} | " + " | ".join(str(tally) for tally in rows.values()) + " |", flush=True)
    print("\n| two candidates, 500 rows | true gain | estimator | coverage / width | called better | bar |")
    print("|---|---|---|---|---|---|")
    for where, gain, name, tally in differences(studies):
        good = tally.coverage >= BAND[0] and (gain > 0 or tally.above / tally.n <= 0.05)
        bar = "no bar" if name == "raw judge" else "held" if good else "missed"
        held &= bar != "missed"
        print(f"| {where} | {gain:.3f} | {name} | {tally} | {tally.above / tally.n:.3f} | {bar} |", flush=True)
    print("\n| equal candidates, the judge likes one's style | coverage / width | called better |\n|---|---|---|")
    for name, tally in partial(studies).items():
        print(f"| {name} | {tally} | {tally.above / tally.n:.3f} |", flush=True)
    found = coefficients(studies)
    print("\n| agreement: coverage, in brackets of the one-sided lower bound | " + " | ".join(found[0][1]) + " |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in found:
        shown = (f"{t.coverage:.3f}" + ("" if np.isnan(b) else f" ({b:.3f})") for t, b in row.values())
        print(f"| {name} | " + " | ".join(shown) + " |", flush=True)
    print("\n| true rates | labels a class | certified | bar |\n|---|---|---|---|")
    for labels, tpr, tnr, share in certified(2 * studies):
        bar = "no bar" if tpr > 0.8 else "held" if share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2 / studies) else "missed"
        held &= bar != "missed"
        print(f"| TPR {tpr:g}, TNR {tnr:g} | {labels} | {share:.3f} | {bar} |", flush=True)
    return held


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--power", action="store_true", help="only what the plan promises under a judge")
    given = parser.parse_args()
    sys.exit(0 if (main_of_power if given.power else main)(given.studies) else 1)
