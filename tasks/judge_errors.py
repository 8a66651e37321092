"""What a judge's errors cost a plan: its verdicts show J times a true difference, and change sides for no reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetycatch.judging.rates import sum_limits
from safetycatch.scoring.judged import JUDGE, is_judged
from safetycatch.stats.clusters import quantile
from safetycatch.stats.intervals import wilson_limits
from safetycatch.store.certificates import Certificates

if TYPE_CHECKING:
    from safetycatch.experiment import Experiment
    from tasks.stage import Place

LEVEL = 0.95
RAW_ONLY = "this holds for the judge's raw verdicts only: what people would find is smaller, or turned round"
NO_CERTIFICATE = (
    f"nobody checked this judge against people: {RAW_ONLY} (a judge of TPR 0.9 and TNR 0.7 shows 0.6 of it)"
)


def judge_facts(
    place: Place, experiment: Experiment, metric: str, judging: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return, as JSON, what is known of the errors of the judge that gives `metric`; None where no judge does.

    `counts`: its certificate's TP, FN, FP, TN, None where nothing corrects, and `why` then says so.
    """
    settings = experiment.judge
    if settings is None or judging is None or not is_judged(metric):
        return None
    facts: dict[str, Any] = {"counts": None, "state": "", "why": "", "labels": settings.labels}
    found = Certificates(place.open_store()).of(judging["key"])
    if not settings.is_rate:
        return facts | {"why": f"only passes and fails are corrected before the run: {RAW_ONLY}"}
    if found is None:
        return facts | {"why": NO_CERTIFICATE}
    facts["state"] = found.state
    if not found.usable:
        return facts | {"why": f"the judge's certificate is refused and corrects nothing: {RAW_ONLY}"}
    if metric != JUDGE or found.binary is None:
        return facts | {"why": f"the judge's certificate has no counts of {metric}: {RAW_ONLY}"}
    one = found.binary
    counts = list(one.effective or (one.tp, one.fn, one.fp, one.tn))
    if not counts[0] + counts[1] or not counts[2] + counts[3]:
        return facts | {"why": f"the judge's certificate has labels of one kind only: {RAW_ONLY}"}
    return facts | {"counts": counts}


@dataclass(frozen=True, slots=True)
class JudgeErrors:
    """A judge's error rates by its sealed counts; `j` is TPR + TNR - 1, between `low` and `high` at 95 %."""

    tpr: float
    tnr: float
    passed: float
    j: float
    low: float
    high: float
    labelled: bool

    @classmethod
    def of(cls, known: dict[str, Any] | None) -> JudgeErrors | None:
        """Return what `judge_facts` knows; None where nothing corrects."""
        if not known or not known["counts"]:
            return None
        tp, fn, fp, tn = known["counts"]
        good, bad, z = tp + fn, fp + tn, quantile((1 + LEVEL) / 2, math.inf)
        tpr, tnr = tp / good, tn / bad
        both, low, high = sum_limits((tpr, *wilson_limits(tpr, good, z)), (tnr, *wilson_limits(tnr, bad, z)))
        return cls(tpr, tnr, good / (good + bad), both - 1, low - 1, high - 1, bool(known["labels"]))

    def flips(self, changing: float) -> float:
        """Return the share of rows whose verdicts differ where the truth differs on `changing` of them.

        Assumes that the judge errs on each answer by itself, and rows that do not change as good as the sealed ones.
        """
        apart = self.tpr * self.tnr + (1 - self.tpr) * (1 - self.tnr)
        by_itself = self.passed * 2 * self.tpr * (1 - self.tpr) + (1 - self.passed) * 2 * self.tnr * (1 - self.tnr)
        return changing * apart + (1 - changing) * by_itself

    def shown_of(self, alpha: float, power: float) -> float:
        """Return the share of a true difference that counts as shown: J, less what is not known of it.

        As a pilot's spread, J has an error: with this share the power holds on average over the J that these labels
        allow (normal). 0 where it cannot, or where the interval of J reaches 0.
        """
        if self.low <= 0:
            return 0.0
        test, more = quantile(1 - alpha / 2, math.inf), quantile(power, math.inf)
        se = (self.j - self.low) / quantile((1 + LEVEL) / 2, math.inf)
        # (J c - test)² = more² (1 + c² se²): c is the true difference in standard errors of the raw one.
        square = self.j**2 - (more * se) ** 2
        if square <= 0:
            return 0.0
        inner = (self.j * test) ** 2 - square * (test**2 - more**2)
        side = 1 if more >= 0 else -1
        return (test + more) * square / (self.j * test + side * math.sqrt(inner))

    def told(self, share: float) -> str:
        """Return what they cost, in words."""
        return (
            f"the judge's errors cost a factor of {1 / share:.2f}: it passes {100 * self.tpr:.0f} % of the good "
            f"answers and fails {100 * self.tnr:.0f} % of the bad ones, so verdicts show J = {self.j:.2f} "
            f"[{self.low:.2f}, {self.high:.2f}] of a true difference (its certificate; alike on both candidates)"
        )

    @property
    def coin_told(self) -> str:
        """Why nothing can be planned where J is too little, or too little known."""
        return f"J = TPR + TNR - 1 of the judge is {self.j:.2f} [{self.low:.2f}, {self.high:.2f}] by its certificate"

    @property
    def labels_told(self) -> str:
        """What labels of the run's own answers change, as far as can be said before there are answers."""
        if not self.labelled:
            return ""
        return (
            "with 30 drawn labels or more on each candidate's answers of the run these correct the difference instead; "
            "how surely depends on the verdicts that people will contradict, which nobody knows yet"
        )
