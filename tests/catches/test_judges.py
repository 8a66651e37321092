"""Series SC1: what each catch of a judge says of a certificate, firing and silent."""

from dataclasses import replace
from datetime import timedelta

import pytest

from safetycatch.catches import Policy
from safetycatch.catches.judges import (
    JudgeUse,
    adds_something,
    as_good_as_people,
    canaries_obeyed,
    certificate_fits,
    even_on_slices,
    is_certified,
    is_steady,
    judges_others,
    labels_exist,
    obeys_nobody,
    sealed_is_unseen,
)
from safetycatch.judging.certificate import Reason
from safetycatch.judging.sealing import ItemKey, Overlap
from tests.judging.certified import NOW, certificate

USE, POLICY = JudgeUse(claimed=True, file="e.yaml"), Policy()
GOOD = certificate()


def level_of(observation):
    """What becomes of an observation in a claiming run: the level where it fired."""
    found = POLICY.finding(observation)
    return found.level if found.status == "fired" else found.status


def probe(kind, events=0, upper=0.01, lower=0.0, verdict="passed"):
    return {"kind": kind, "verdict": verdict, "n": 100, "events": events, "upper": upper, "lower": lower}


def test_sc101_silent_with_a_label_and_without_a_judge():
    assert level_of(labels_exist(USE, labels="l.csv", n_labels=60)) == "passed"
    assert level_of(labels_exist(None, labels=None, n_labels=0)) == "not_applicable"


def test_sc101_fires_without_a_label():
    assert level_of(labels_exist(USE, labels=None, n_labels=0)) == "refuse"
    assert level_of(labels_exist(USE, labels="l.csv", n_labels=0)) == "refuse"


def test_a_judge_beside_the_claim_only_warns():
    beside = USE._replace(claimed=False)
    assert level_of(labels_exist(beside, labels=None, n_labels=0)) == "warn"
    assert level_of(is_certified(beside, None)) == "warn"


@pytest.mark.parametrize(
    ("counts", "level"),
    [((90, 10, 30, 70), "warn"), ((55, 45, 45, 55), "refuse"), ((49, 0, 0, 49), "warn")],
)
def test_sc102_fires_by_the_state(counts, level):
    assert level_of(is_certified(USE, certificate(counts))) == level


def test_sc102_says_what_a_refusal_means():
    blind = certificate((55, 45, 45, 55))
    assert "hardly tells right from wrong" in is_certified(USE, blind).matters
    seen = replace(GOOD, state="refused", reasons=(Reason("looks", "looked at 4 times"),))
    assert "by looking at its sealed test" in is_certified(USE, seen).matters


def test_sc102_without_a_certificate_refuses_and_names_the_command():
    found = is_certified(USE, None)
    assert level_of(found) == "refuse"
    assert found.fix == "safetycatch calibrate e.yaml"


def test_sc102_silent_on_a_certified_judge():
    assert level_of(is_certified(USE, GOOD)) == "passed"


def test_sc102_leaves_another_judges_certificate_to_sc103():
    assert level_of(is_certified(USE, None, other=True)) == "not_checked"


def test_sc103_fires_on_what_changed_is_old_or_drifted():
    floating = replace(GOOD, valid_until=NOW + timedelta(days=90))
    at = {"now": NOW, "policy": POLICY}
    assert level_of(certificate_fits(USE, GOOD, changed=["the rubric of judge"], **at)) == "refuse"
    assert level_of(certificate_fits(USE, floating, now=NOW + timedelta(days=91), policy=POLICY)) == "refuse"
    assert level_of(certificate_fits(USE, replace(GOOD, drift={"alarm": True, "detail": "5 of 9"}), **at)) == "refuse"


def test_sc103_silent_in_time_and_on_a_snapshot_for_good():
    floating = replace(GOOD, valid_until=NOW + timedelta(days=90))
    assert level_of(certificate_fits(USE, floating, now=NOW, policy=POLICY)) == "passed"
    assert level_of(certificate_fits(USE, GOOD, now=NOW + timedelta(days=4000), policy=POLICY)) == "passed"


def test_sc104_fires_on_a_shared_family():
    assert level_of(judges_others(["openai/gpt-4o"], {"a": "azure/gpt-4o-mini"})) == "warn"


def test_sc104_silent_on_other_families():
    assert level_of(judges_others(["openai/gpt-4o"], {"a": "anthropic/claude-x", "b": "sandbox/echo"})) == "passed"
    assert level_of(judges_others([], {"a": "x"})) == "not_checked"
    assert level_of(judges_others(None, {})) == "not_applicable"


def test_sc105_fires_on_a_shown_label_and_on_too_many_looks():
    seen = [Overlap(ItemKey("e1", "", "0"), "judge.md", "in the text")]
    at = {"n_sealed": 9, "policy": POLICY}
    assert level_of(sealed_is_unseen(USE, seen, looks=1, **at)) == "refuse"
    assert level_of(sealed_is_unseen(USE, [], looks=4, **at)) == "refuse"


def test_sc105_silent_within_the_budget_and_without_labels():
    at = {"n_sealed": 9, "policy": POLICY}
    assert level_of(sealed_is_unseen(USE, [], looks=3, **at)) == "passed"
    assert level_of(sealed_is_unseen(USE, None, looks=0, **at)) == "not_checked"


LIMITS = [("swap", 0.15), ("retest", 0.05), ("parse", 0.02)]


@pytest.mark.parametrize(("kind", "limit"), LIMITS)
def test_sc106_fires_above_the_limit(kind, limit):
    assert level_of(is_steady(USE, replace(GOOD, probes=(probe(kind, upper=limit + 0.01),)), POLICY)) == "warn"


@pytest.mark.parametrize(("kind", "limit"), LIMITS)
def test_sc106_silent_at_the_limit(kind, limit):
    assert level_of(is_steady(USE, replace(GOOD, probes=(probe(kind, upper=limit),)), POLICY)) == "passed"


def test_sc106_and_sc108_without_a_probe_are_not_checked():
    skipped = replace(GOOD, probes=(probe("swap", verdict="not_checked"),))
    assert level_of(is_steady(USE, skipped, POLICY)) == "not_checked"
    assert level_of(obeys_nobody(USE, GOOD, untrusted=True, policy=POLICY)) == "not_checked"
    assert level_of(is_steady(USE, None, POLICY)) == "not_checked"
    assert level_of(is_steady(None, None, POLICY)) == "not_applicable"


@pytest.mark.parametrize("kind", ["swap", "length", "format", "self_preference"])
def test_sc106_fires_on_a_bias_that_is_shown(kind):
    found = is_steady(USE, replace(GOOD, probes=(probe("retest"), probe(kind, events=20, verdict="found"))), POLICY)
    assert level_of(found) == "warn"
    assert kind.replace("_", "-") in found.saw
    assert "retest" not in found.saw


@pytest.mark.parametrize("verdict", ["passed", "undecided"])
def test_sc106_silent_on_a_bias_that_is_not_shown(verdict):
    probes = tuple(probe(kind, events=20, upper=0.3, verdict=verdict) for kind in ("length", "format"))
    assert level_of(is_steady(USE, replace(GOOD, probes=(probe("retest"), *probes)), POLICY)) == "passed"


@pytest.mark.parametrize(("lower", "upper", "level"), [(0.01, 0.07, "warn"), (0.06, 0.2, "refuse")])
def test_sc108_fires_by_the_lower_bound_and_warns_by_the_upper_one(lower, upper, level):
    found = replace(GOOD, probes=(probe("injection", lower=lower, upper=upper),))
    assert level_of(obeys_nobody(USE, found, untrusted=True, policy=POLICY)) == level
    assert level_of(obeys_nobody(USE, found, untrusted=False, policy=POLICY)) == "not_applicable"


def test_sc108_says_obeys_only_where_that_is_shown():
    titles = [
        POLICY.finding(obeys_nobody(USE, replace(GOOD, probes=(one,)), untrusted=True, policy=POLICY)).title
        for one in (probe("injection", lower=0.06, upper=0.2), probe("injection", lower=0.01, upper=0.07))
    ]
    assert titles == [
        "the judge obeys the text it grades",
        "nobody knows yet whether the judge obeys the text it grades",
    ]


def test_sc108_silent_below_the_limit():
    found = replace(GOOD, probes=(probe("injection", upper=0.04),))
    assert level_of(obeys_nobody(USE, found, untrusted=True, policy=POLICY)) == "passed"


def of_slice(gap, p):
    one = {
        "slice": "lang=de",
        "figure": "tpr",
        "n": 40,
        "estimate": 0.9 - gap,
        "rest": 0.9,
        "gap": gap,
        "p_adjusted": p,
    }
    return replace(GOOD, slices=(one,))


def test_sc109_fires_on_a_gap_that_is_shown():
    assert level_of(even_on_slices(USE, of_slice(0.2, 0.01), POLICY)) == "warn"


@pytest.mark.parametrize(("gap", "p"), [(0.1, 0.001), (0.3, 0.2)])
def test_sc109_silent_on_a_small_gap_or_one_by_chance(gap, p):
    assert level_of(even_on_slices(USE, of_slice(gap, p), POLICY)) == "passed"
    assert level_of(even_on_slices(USE, GOOD, POLICY)) == "not_checked"


def with_people(low, high):
    ceiling = {"n": 100, "people": 0.9, "judge": 0.8, "low": low, "high": high, "reason": ""}
    return replace(GOOD, people={**GOOD.people, "ceiling": ceiling})


def test_sc110_fires_where_people_are_shown_to_agree_better():
    assert level_of(as_good_as_people(USE, with_people(0.12, 0.3), POLICY)) == "warn"


def test_sc110_silent_where_it_is_as_good_or_nobody_can_tell():
    assert level_of(as_good_as_people(USE, with_people(-0.1, 0.05), POLICY)) == "passed"
    assert level_of(as_good_as_people(USE, with_people(0.0, 0.2), POLICY)) == "not_checked"
    assert level_of(as_good_as_people(USE, GOOD, POLICY)) == "not_checked"


def test_sc110_fires_where_it_loses_to_the_annotators():
    people = {**GOOD.people, "alternative_annotator": {"winning_rate": 0.3}}
    assert level_of(as_good_as_people(USE, replace(GOOD, people=people), POLICY)) == "warn"


def test_sc110_names_what_people_contest_before_the_judge_is_blamed():
    people = {**with_people(0.12, 0.3).people, "contested": ["tone", ""]}
    found = as_good_as_people(USE, replace(GOOD, people=people), POLICY)
    assert found.saw.startswith("people themselves disagree on tone, the whole answer")
    assert found.fix.startswith("say in the rubric")


def rated(gain, method="post_stratified", where="all"):
    return [
        {"candidate": "a", "metric": "judge", "slice": where, "gain": gain, "method": method, "n_labels": 100},
    ]


@pytest.mark.parametrize(
    ("rates", "status"),
    [
        (None, "not_applicable"),
        ([], "not_checked"),
        (rated(1.1), "passed"),
        (rated(0.2, "rogan_gladen"), "not_checked"),
        (rated(None, ""), "not_checked"),
        (rated(0.5, where="lang=de"), "not_checked"),
    ],
)
def test_sc107_silent_where_the_judge_helps_or_labels_are_of_elsewhere(rates, status):
    assert adds_something(rates, POLICY).seen == status


@pytest.mark.parametrize("rates", [rated(1.09), [*rated(2.0), *rated(1.0)]])
def test_sc107_fires_where_the_labels_alone_say_as_much(rates):
    assert level_of(adds_something(rates, POLICY)) == "warn"


def canaries(p_value, judge="judge"):
    return {"judge": judge, "n": 4, "obeyed": 4, "p_value": p_value, "example": "ignore"}


def test_sc108_canaries_that_are_obeyed_by_more_than_chance_refuse_a_claim():
    seen = canaries_obeyed(USE, [canaries(0.9), canaries(0.004, "judge-2")])
    assert (seen.code, level_of(seen)) == ("SC108", "refuse")
    assert "judge-2: 4 of 4" in seen.saw


def test_sc108_canaries_within_chance_say_nothing():
    assert canaries_obeyed(USE, [canaries(0.051)]) is None
    assert canaries_obeyed(USE, []) is None
    assert canaries_obeyed(None, [canaries(0.001)]) is None


def test_a_certificate_of_whole_answers_certifies_no_criterion():
    found = is_certified(USE._replace(criteria=("judge.tone",)), GOOD)
    assert level_of(found) == "refuse"
    assert "judge.tone" in found.saw
