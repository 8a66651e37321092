"""The catalogue: every safety catch that is built, with its default level, thresholds, reason and source.

`safetycatch rules`, `explain` and the README's table are printed from here; a code enters when it works.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from safetycatch.configuration import nearest
from safetycatch.errors import ExperimentError

if TYPE_CHECKING:
    from collections.abc import Mapping

SERIES = {
    "SC1": "misaligned judge",
    "SC2": "no statistics",
    "SC3": "runaway cost",
    "SC4": "data and model do not fit",
    "SC5": "illusory gains",
    "SC6": "fine-tune limits",
    "SC7": "harness chaos",
    "SC8": "lock-in",
    "SC9": "few-shot chaos",
    "SC10": "aggregation",
    "SC11": "people",
    "SC12": "lost results",
}


@dataclass(frozen=True, slots=True)
class Catch:
    """One rule: `always` refuses while exploring too; `overridable` is False where going on would lose data."""

    code: str
    level: Literal["refuse", "warn", "stop", "pause"]
    title: str
    fires_when: str
    why: str
    source: str
    always: bool = False
    overridable: bool = True
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def series(self) -> str:
        """The foot gun this catch belongs to."""
        return SERIES[self.code[:-2]]

    def explanation(self) -> str:
        """What `safetycatch explain` prints."""
        limits = ", ".join(f"{name} = {value:g}" for name, value in self.thresholds.items())
        mode = "also while exploring" if self.always else "a warning while exploring" if self.level == "refuse" else ""
        lines = [
            f"{self.code} · {self.title}",
            f"  series     {self.series}",
            f"  default    {self.level}" + (f" ({mode})" if mode else ""),
            f"  fires when {self.fires_when}",
            f"  because    {self.why}",
            *([f"  thresholds {limits}"] if limits else []),
            f"  source     {self.source}",
        ]
        first = next(iter(self.thresholds.items()), None)
        own = f"{{level: {self.level}, {first[0]}: {first[1]:g}}}" if first else "off"
        if self.overridable:
            lines.append(f"  set it     catches: {{{self.code}: {own}}}   (refuse | warn | off)")
        return "\n".join(lines)


_ZHENG = "Zheng et al. 2023, Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena"
_MILLER = "Miller 2024, Adding Error Bars to Evals"

CATCHES: dict[str, Catch] = {
    catch.code: catch
    for catch in (
        Catch(
            "SC101",
            "refuse",
            "a judge without labels",
            "a judged metric is claimed and no human label says whether its judge is right",
            "a judge that nobody compared with people may pass what people fail, more for one candidate than another",
            f"{_ZHENG}; Lee et al. 2025, How to Correctly Report LLM-as-a-Judge Evaluations",
        ),
        Catch(
            "SC102",
            "refuse",
            "the judge is not certified",
            "no certificate, or one that says refused; provisional (J's lower bound above `provisional_j`) warns: only "
            "corrected rates are shown. Certified: one-sided 95 % lower bounds of TPR, TNR and J = TPR + TNR - 1 reach "
            "their bars on the sealed test, with `per_class` labels of each class (several: one against the rest)",
            "with J near 0 the judge's rate says nothing of the truth, and no correction can mend it",
            "Rogan and Gladen 1978, Estimating Prevalence from the Results of a Screening Test; Youden 1950",
            thresholds={"tpr": 0.8, "tnr": 0.8, "j": 0.5, "provisional_j": 0.2, "per_class": 50},
        ),
        Catch(
            "SC103",
            "refuse",
            "the certificate does not fit",
            "prompt, model, parameters, rubric or parser changed since, a floating name is older than `days`, or the "
            "judge drifted. More labels never expire it; a pinned snapshot whose sentinels hold does not age",
            "what was measured was another judge",
            "Chen, Zaharia and Zou 2023, How Is ChatGPT's Behavior Changing over Time?",
            thresholds={"days": 90, "soon": 14},
        ),
        Catch(
            "SC104",
            "warn",
            "the judge grades its own family",
            "judge and candidate come from the same model family",
            "models prefer their own kind of answer, whatever it is worth",
            "Panickssery et al. 2024, LLM Evaluators Recognize and Favor Their Own Generations",
        ),
        Catch(
            "SC105",
            "refuse",
            "the judge has seen its test",
            "a sealed label, or nearly its text, is among the judge's examples or in its rubric, or the sealed test "
            "was looked at more often than its budget (`looks`)",
            "a judge that was shown the answers, or chosen by them, looks better than it is",
            "Dwork et al. 2015, The Reusable Holdout",
            thresholds={"looks": 3},
        ),
        Catch(
            "SC106",
            "warn",
            "the judge is unsteady or biased",
            "a probe's one-sided 95 % upper bound is above its limit: verdicts that change with the order of a pair "
            "(`swap`) or when asked again (`retest`), replies that cannot be read (`unparsed`); or a probe shows a "
            "bias to the first of a pair, to length, to a form or to the judge's own family (Holm, 5 %)",
            "what changes without a reason is noise in every score; a bias is a lead for whoever writes that way",
            _ZHENG,
            thresholds={"swap": 0.15, "retest": 0.05, "unparsed": 0.02},
        ),
        Catch(
            "SC107",
            "warn",
            "the judge adds nothing",
            "of people's labels drawn from these very answers, one is worth fewer than `gain` thanks to the judge: the "
            "variance of the labels alone over the corrected rate's",
            "the labels alone say as much, without a call: the judge costs money and tells nothing",
            "Angelopoulos, Duchi and Zrnic 2023, PPI++; Cochran 1977, Sampling Techniques (5A.9)",
            thresholds={"gain": 1.1},
        ),
        Catch(
            "SC108",
            "refuse",
            "the judge obeys the text it grades",
            "untrusted text is graded, and more than `passed` of known-bad answers surely score higher because they "
            "instruct the judge, beyond those that do with as long a harmless text (one-sided 95 % lower bound of the "
            "net share); warns while the upper bound is above it",
            "whoever writes the answers then writes the grades",
            "Greshake et al. 2023, Not What You've Signed Up For (indirect prompt injection)",
            thresholds={"passed": 0.05},
        ),
        Catch(
            "SC109",
            "warn",
            "the judge is worse on a slice",
            "a slice's TPR or TNR is lower than the rest's by more than `gap`, significantly (Fisher, Holm; 30 sealed "
            "labels at least)",
            "candidates that differ in that slice are then compared with a bent ruler",
            "Holm 1979; Fisher's exact test",
            thresholds={"gap": 0.15, "alpha": 0.05},
        ),
        Catch(
            "SC110",
            "warn",
            "the judge is worse than people are",
            "its kappa with people is lower than theirs with each other by more than `margin` (shown, one-sided 95 %), "
            "or it wins fewer than `winning` of the alternative-annotator tests",
            "another person would say more than this judge",
            "Calderon, Reichart and Dror 2025, The Alternative Annotator Test for LLM-as-a-Judge",
            thresholds={"margin": 0.1, "winning": 0.5},
        ),
        Catch(
            "SC201",
            "refuse",
            "a claim without a smallest effect",
            "a claim does not say the smallest effect that matters",
            "without it nobody can say whether the data could show the effect, or whether a difference matters",
            "Lakens 2018, Equivalence Testing for Psychological Research",
        ),
        Catch(
            "SC202",
            "warn",
            "the design cannot show the stated effect",
            "the effect that the scored items can show with 80 % power is larger than the stated one; the spread is "
            "what an earlier run on the data measured, else assumed (`discordance`, `icc`)",
            "an underpowered run ends INCONCLUSIVE, or its winner is a fluke that shrinks",
            f"{_MILLER}, section 5; Card et al. 2020, With Little Power Comes Great Responsibility",
            thresholds={"power": 0.8, "discordance": 0.2, "icc": 0.05},
        ),
        Catch(
            "SC203",
            "warn",
            "rows repeat within a group",
            "several scored rows belong to one group or near-duplicate cluster",
            "rows of one group are not independent; intervals that ignore it are too narrow",
            f"{_MILLER}, section 2 (clustered standard errors)",
        ),
        Catch(
            "SC204",
            "refuse",
            "two runs over different items",
            "the compared runs do not hold the same items with the same content",
            "a difference between other items says nothing about the candidates",
            f"{_MILLER}, section 4 (paired differences)",
            always=True,
        ),
        Catch(
            "SC205",
            "warn",
            "several candidates: the best one is also the luckiest",
            "more than one candidate is compared with the baseline, or earlier looks at a claim's items showed others",
            "the best of k equal candidates looks better than it is; p-values are adjusted over the claim",
            "Holm 1979; Westfall and Young 1993; Dodge et al. 2019, Show Your Work",
        ),
        Catch(
            "SC206",
            "warn",
            "one run an item, of a model that answers differently each time",
            "an item is asked once although a temperature is above 0, or an earlier run measured noise between runs",
            "which items flip, and who leads by little, is partly luck, and the noise costs items; before a run "
            "measured it, `plan` takes it for the share `noise` of the spread",
            f"{_MILLER}, sections 3 and 5 (resampling; variance within and between items)",
            thresholds={"noise": 0.5},
        ),
        Catch(
            "SC207",
            "refuse",
            "infrastructure errors",
            "more rows than allowed have no answer, or candidates lose clearly different shares of their rows",
            "missing answers are seldom a random sample: long or hard items time out first",
            "Little and Rubin 2019, Statistical Analysis with Missing Data",
            thresholds={"rate": 0.02, "gap": 0.01, "p": 0.01},
        ),
        Catch(
            "SC208",
            "warn",
            "few clusters",
            "fewer than 30 independent clusters are scored (below 5 no interval is given)",
            "cluster-robust intervals need clusters, not rows",
            "Cameron and Miller 2015, A Practitioner's Guide to Cluster-Robust Inference",
            thresholds={"clusters": 30},
        ),
        Catch(
            "SC301",
            "refuse",
            "a claim without a budget",
            "a claim would send calls and no ceiling is set",
            "a loop without a ceiling is how a run costs thousands",
            "OWASP LLM10:2025 Unbounded Consumption",
            always=True,
        ),
        Catch(
            "SC302",
            "pause",
            "a sum that nobody approved",
            "what a run would still pay is expected to be above `budget.ask_above`, or its price is not known: it "
            "waits for a yes at the terminal, or for `safetycatch approve`",
            "a ceiling says what must never happen, not what somebody meant to spend tonight",
            "OWASP LLM10:2025 Unbounded Consumption",
            overridable=False,
        ),
        Catch(
            "SC303",
            "stop",
            "the ceiling is reached",
            "the next call could cost more than what is left",
            "nothing above the ceiling is sent; what is answered is kept; the same command resumes with a larger one",
            "OWASP LLM10:2025 Unbounded Consumption",
            always=True,
            overridable=False,
        ),
        Catch(
            "SC304",
            "warn",
            "new candidates go to the full set",
            "new candidates take more calls than the threshold, and no ladder sorts them out first",
            "most new candidates lose early: a race on a few dev rows finds that out for a fraction of the calls",
            "Maron & Moore 1994, Hoeffding Races; Jamieson & Talwalkar 2016, Non-stochastic Best Arm Identification",
            thresholds={"calls": 1000},
        ),
        Catch(
            "SC306",
            "warn",
            "the prompt defeats the provider's cache",
            "prompts of one candidate have much in common, and something that differs stands before it: a time, an "
            "identifier, the row itself, shots in another order",
            "providers charge a fraction for the start of a prompt that they have seen before, and nothing less after "
            "the first difference",
            "OpenAI and Anthropic, Prompt caching; LiteLLM price map (bundled)",
            thresholds={"tokens": 256, "usd": 0.01},
        ),
        Catch(
            "SC307",
            "refuse",
            "unknown price",
            "a model's price is not known and neither tokens nor calls are limited",
            "a ceiling in dollars cannot stop calls whose price nobody knows",
            "LiteLLM price map (bundled); `safetycatch prices`",
            always=True,
        ),
        Catch(
            "SC501",
            "refuse",
            "test rows also appear in the training data",
            "on given splits or files: exact, normalised, bag-equal or near-duplicate rows across train, pool, dev, "
            "test or the prompt",
            "the score then measures memory",
            "Lee et al. 2022, Deduplicating Training Data; Banking77 measurements in docs/statistics.md",
            thresholds={"near": 0.8, "similar": 0.6, "prompt": 0.8},
        ),
        Catch(
            "SC502",
            "refuse",
            "a group or the future crosses the split",
            "on given splits: a group is on both sides, or a training row is newer than the first scored row",
            "the same customer, conversation or tomorrow's fact in train makes test easier than reality",
            "Kapoor and Narayanan 2023, Leakage and the Reproducibility Crisis",
        ),
        Catch(
            "SC504",
            "refuse",
            "the test set was looked at too often",
            "a claim would look at its test set more often than its budget (a replay, or a night on which nothing "
            "changed, is no look); a gate beyond it only warns, and so do many looks over all claims",
            "whoever changes something after each look fits the noise of the test rows, and no p-value shows it",
            "Dwork et al. 2015, The reusable holdout; Blum and Hardt 2015, The Ladder",
            thresholds={"looks": 3, "all_looks": 20},
        ),
        Catch(
            "SC505",
            "warn",
            "too good to be true",
            "a rate is at least 98 %, or rows similar to training rows score far better than the others",
            "such scores are more often a leak or a broken scorer than a solved task",
            "Kapoor and Narayanan 2023, Leakage and the Reproducibility Crisis",
            thresholds={"rate": 0.98, "gap": 0.1, "p": 0.01},
        ),
        Catch(
            "SC506",
            "warn",
            "saturated test set",
            "the headroom above the best candidate is below the detectable effect, or over 60 % of the items are "
            "solved by every candidate",
            "a set that everybody passes cannot tell candidates apart",
            "Bowman and Dahl 2021, What Will it Take to Fix Benchmarking",
            thresholds={"solved_by_all": 0.6},
        ),
        Catch(
            "SC509",
            "refuse",
            "a shot is the query's own item",
            "an example in the prompt is the query's item or its near-duplicate",
            "the answer is then in the prompt",
            "flexeval PR 293: such a guard was silently off; ours is tested with a planted leak",
            always=True,
        ),
        Catch(
            "SC510",
            "warn",
            "a claim without slices",
            "a claim names neither slices nor failure modes",
            "an average can rise while one customer group gets worse",
            "Ribeiro et al. 2020, Beyond Accuracy: CheckList",
        ),
        Catch(
            "SC511",
            "warn",
            "something trivial predicts the label",
            "one token or the label's own text predicts a label (warns), or one field decides nearly all "
            "rows (refuses)",
            "the task is then solved without reading the text",
            "Gururangan et al. 2018, Annotation Artifacts",
            thresholds={"token": 0.98, "field": 0.98},
        ),
        Catch(
            "SC512",
            "warn",
            "accuracy is the wrong metric here",
            "accuracy is claimed and always guessing the majority class comes within 5 points, or balanced "
            "accuracy ranks the candidates differently",
            "on uneven classes accuracy rewards ignoring the rare ones",
            "Brodersen et al. 2010, The Balanced Accuracy and Its Posterior Distribution",
            thresholds={"majority_gap": 0.05, "rank_margin": 0.01},
        ),
        Catch(
            "SC701",
            "warn",
            "uncommitted changes",
            "the git tree differs from its commit",
            "the commit alone would not reproduce the run; the difference is stored with it",
            "The Turing Way, Guide for Reproducible Research",
        ),
        Catch(
            "SC702",
            "refuse",
            "run id with other content",
            "a run of that id is stored already and holds something else",
            "overwriting it would lose a result",
            "house rule: nothing is overwritten",
            always=True,
            overridable=False,
        ),
        Catch(
            "SC703",
            "warn",
            "an input changed during the run",
            "an experiment, prompt or data file is different at the end than at the start",
            "the run used the copy taken at its start; what is on disk now would give another run",
            "house rule: inputs are copied at the start",
        ),
        Catch(
            "SC704",
            "warn",
            "floating model name",
            "a model name without a date or version, or rows answered by another model than asked",
            "the provider can change what the name means between two runs; rows of another model are invalid",
            "Chen, Zaharia and Zou 2023, How is ChatGPT's behavior changing over time?",
        ),
        Catch(
            "SC801",
            "refuse",
            "a parameter would not reach the model",
            "a parameter would be left out silently by the way to the provider, is not known there, or is a setting "
            "of LiteLLM instead",
            "the run would measure other settings than its file says",
            "LiteLLM's own request, made up and compared without sending; OpenAI API reference",
            always=True,
        ),
        Catch(
            "SC802",
            "warn",
            "a model in use will be shut down",
            "the provider has published the day on which a model ends",
            "after that day nobody can repeat the result, and what is built on the model stops",
            "LiteLLM price map (bundled); `safetycatch prices MODEL`",
        ),
        Catch(
            "SC901",
            "refuse",
            "the few-shot pool contains scored rows",
            "the declared pool holds ids of dev or test",
            "the model would see the answers of the rows it is scored on",
            "Kapoor and Narayanan 2023, Leakage and the Reproducibility Crisis",
        ),
        Catch(
            "SC902",
            "warn",
            "the choice of examples moves the score more than the gain",
            "in a few-shot bench, other seeds or orders of the examples move the score (2 standard deviations) more "
            "than the gain that they are chosen for",
            "with other examples, or the same ones shuffled, the gain may be gone",
            "Zhao et al. 2021, Calibrate Before Use; Lu et al. 2022, Fantastically Ordered Prompts",
            thresholds={"sds": 2},
        ),
        Catch(
            "SC903",
            "warn",
            "retrieval wins too little to be worth it",
            "in a few-shot bench, the best strategy looks examples up for each row and beats the best without "
            "retrieval by no more than the smallest effect",
            "an index and retrieval at run time are kept and run for a gain too small to matter",
            "Liu et al. 2022, What Makes Good In-Context Examples for GPT-3?",
        ),
        Catch(
            "SC1001",
            "refuse",
            "the terms changed after the results",
            "a claim's metric, aggregation (rule, members, tie) or correction differs from that of its first look at "
            "this test set; another smallest effect, guardrail, baseline, or candidates left out only warn",
            "a rule chosen after the results fits their noise: it is a new claim, for rows not looked at yet",
            "Simmons, Nelson and Simonsohn 2011, False-Positive Psychology",
        ),
        Catch(
            "SC1002",
            "refuse",
            "nobody decides a tie",
            "an ensemble's members can tie, `tie` names nobody, and there are no dev rows that say who is best",
            "a tie broken by the order of labels or members is a choice that nobody made",
            "Nitzan and Paroush 1982, Optimal Decision Rules in Uncertain Dichotomous Choice Situations",
        ),
        Catch(
            "SC1003",
            "warn",
            "the ensemble hardly beats its best member",
            "the ensemble's gain over its best member is below the smallest effect, or its interval holds 0",
            "it costs the sum of its members for a gain that does not matter or may be luck",
            "Kim et al. 2025, Correlated Errors in Large Language Models",
        ),
        Catch(
            "SC1004",
            "refuse",
            "weights were fitted on scored rows",
            "the run that an ensemble's weights come from holds items that are scored here",
            "the weights know the answers: the ensemble's score is too high",
            "Hastie, Tibshirani and Friedman 2009, The Elements of Statistical Learning (7.10.2)",
        ),
        Catch(
            "SC1101",
            "refuse",
            "nobody approved the promotion",
            "a candidate is pinned and no named person approved it with this very report: at a terminal a y, or "
            "`--yes` with `--as NAME`, is the approval; elsewhere, and in flows, `approve --promotion`",
            "a score that nobody answers for goes to production; a report that changed is another report",
            "NIST AI RMF 1.0 (2023), Govern 2.1 and Manage 1.1: named responsibility for the decision to deploy",
        ),
        Catch(
            "SC1102",
            "warn",
            "nobody read the winner's failures",
            "when the claimed winner is promoted, fewer than `failures` of the rows that it fails on (all, where there "
            "are fewer) carry a label of a person",
            "reading failures finds what the metric does not measure: wrong targets, harm, a class that always fails",
            "Hamel Husain and Shreya Shankar 2025, error analysis: read traces until no new kind of failure appears",
            thresholds={"failures": 20},
        ),
        Catch(
            "SC1201",
            "refuse",
            "the store cannot be trusted",
            "the store is not writable, is short of space, or its file locks do not exclude",
            "a result that cannot be kept is money lost",
            "SQLite, How To Corrupt An SQLite Database File (2.1 file locking)",
            always=True,
            overridable=False,
        ),
        Catch(
            "SC1202",
            "refuse",
            "a stored result is damaged",
            "`verify` finds a missing, altered or truncated artifact",
            "numbers from a damaged file are not results",
            "Parquet page checksums and SHA-256 manifests",
            always=True,
            overridable=False,
        ),
    )
}


def checked_settings(settings: Mapping[str, Any], where: str) -> None:
    """Refuse settings of catches or thresholds that do not exist, and switching off what cannot be overridden.

    Raises: ExperimentError naming the nearest code or the thresholds that a catch has.
    """
    for code, own in settings.items():
        if code not in CATCHES:
            close = nearest(code, CATCHES)
            raise ExperimentError(
                f"no catch is called {code!r}",
                where=f"{where}: catches",
                expected="see: safetycatch rules",
                fix=f"did you mean {close}?" if close else "",
            )
        if not CATCHES[code].overridable and own.level not in {None, "refuse"}:
            raise ExperimentError(
                f"{code} set to {own.level}", where=f"{where}: catches.{code}", expected=CATCHES[code].why
            )
        unknown = [name for name in own.thresholds if name not in CATCHES[code].thresholds]
        if unknown:
            raise ExperimentError(
                f"{code} has no threshold {unknown[0]!r}",
                where=f"{where}: catches.{code}",
                expected=", ".join(CATCHES[code].thresholds) or "none: refuse, warn or off",
            )


def markdown_table() -> str:
    """Return the catalogue as the README's Markdown table."""
    rows = ["| code | default | fires when |", "|---|---|---|"]
    for catch in CATCHES.values():
        level = f"{catch.level} **!**" if catch.always else catch.level
        rows.append(f"| {catch.code} | {level} | {catch.fires_when} |")
    return "\n".join(rows)
