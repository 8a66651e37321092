import math

from safetycatch.catches import CATCHES, Policy, fewshot
from safetycatch.experiment import CatchSettings
from safetycatch.results.advice import Retrieval
from safetycatch.results.bench import Measure
from safetycatch.results.spread import Spread


def move(sd, gain, *, name="static8", against="zero", reason="", low=None):
    low = sd / 2 if low is None else low
    return fewshot.Move(Spread(name, "seed", (0.78, 0.82, 0.8), sd, low, 3 * sd, 300, 0.2, reason), gain, against)


def gain(estimate, *, worth=True, shown=True):
    measure = Measure(estimate, estimate - 0.01, estimate + 0.01, 300, 0, 300, "cr2_t")
    return Retrieval("knn8", "static8", measure, worth, shown)


def steady(*moves, policy=None):
    return fewshot.shots_are_steady(moves=moves, reason="no examples", unit="points", policy=policy or Policy())


def test_sc509_fires_on_a_shot_of_the_query(fired, policy):
    found = fewshot.shots_are_foreign(offending=[("q1", "s9"), ("q2", "s3")], n_shots=800)
    fired(found, "refuse", "2 of 800 shots", "query q1 shows s9")
    assert policy(claiming=False).finding(found).refuses


def test_sc509_silent_on_other_shots(silent):
    silent(fewshot.shots_are_foreign(offending=[], n_shots=800), "passed", "800 shots")
    silent(fewshot.shots_are_foreign(offending=[], n_shots=0), "not_applicable")


def test_sc901_fires_on_scored_rows_in_the_pool(fired):
    fired(fewshot.pool_is_apart(declared=True, ids=["e7", "e9"], pool="pool.csv"), "refuse", "2 rows of pool.csv", "e7")


def test_sc901_silent_on_a_pool_apart(silent):
    silent(fewshot.pool_is_apart(declared=True, ids=[], pool="pool.csv"), "passed", "pool.csv shares no id")
    silent(fewshot.pool_is_apart(declared=False, ids=[], pool="train"), "passed", "train split")


def test_sc902_fires_where_two_standard_deviations_exceed_the_gain(fired):
    fired(
        steady(move(0.01, 0.3), move(0.021, 0.04)),
        "warn",
        "3 seeds of static8 score 78.0 to 82.0",
        "gain of +4.0 points",
    )


def test_sc902_fires_on_the_luck_of_the_fixed_examples_that_lose(fired):
    fired(steady(move(0.03, 0.05, against="knn8")), "warn", "(knn8 over static8)")


def test_sc902_silent_on_steady_examples(silent):
    silent(steady(move(0.006, 0.04), move(0.01, 0.3)), "passed", "static8")
    silent(steady(), "not_applicable", "no examples")
    silent(steady(move(math.nan, 0.1, reason="no spread: one item")), "not_checked", "one item")
    settings = {"SC902": CatchSettings(thresholds={"sds": 0.5})}
    silent(steady(move(0.021, 0.04), policy=Policy(settings=settings)), "passed")
    assert CATCHES["SC902"].thresholds == {"sds": 2}


def test_sc902_does_not_pass_where_so_few_variants_cannot_tell(silent):
    found = steady(move(0.019, 0.04), move(0.01, 0.3))
    silent(found, "not_checked", "3 variants cannot tell: 3 seeds of static8")
    assert found.evidence == {"static8 seed": 0.01}
    silent(steady(move(0.021, 0.04, low=0.0)), "not_checked", "3 variants cannot tell")


def test_sc903_fires_where_the_advice_needs_no_retrieval(fired):
    found = fewshot.dynamic_is_worth_it(found=gain(0.012, worth=False), band=0.02, unit="points")
    fired(found, "warn", "knn8 over static8: +1.2 points [+0.2, +2.2] (n = 300); the band is 2 points")
    assert found.fix == "take static8"
    doubted = fewshot.dynamic_is_worth_it(found=gain(0.012, worth=False, shown=False), band=0.02, unit="points")
    fired(doubted, "warn", "which 300 rows do not settle")
    assert doubted.fix == "take static8 for now"


def test_sc903_silent_on_a_gain_beyond_it_or_without_retrieval(silent):
    silent(fewshot.dynamic_is_worth_it(found=gain(0.03), band=0.02, unit="points"), "passed", "+3.0 points")
    silent(
        fewshot.dynamic_is_worth_it(found=gain(0.03, shown=False), band=0.02, unit="points"), "passed", "do not settle"
    )
    silent(fewshot.dynamic_is_worth_it(found=None, band=0.02, unit="points"), "passed", "no retrieval")
