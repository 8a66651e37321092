from dataclasses import replace

import pytest

from safetycatch.catches.aggregation import Gain, gain_is_worth_it, terms_kept, ties_are_settled, weights_are_foreign

FIRST = {"metric": "accuracy", "rule": "majority", "members": ["a", "b"], "tie": None, "correction": "holm"}
SEEN = "2026-11-20 14:03 UTC by ada in 2026-11-20-tickets-1"


def kept(**changes):
    return terms_kept(claim="tickets", first=FIRST, now={**FIRST, **changes}, seen=SEEN)


def test_sc1001_fires_and_names_old_and_new(fired):
    fired(kept(metric="macro_f1"), "refuse", "metric was accuracy, now macro_f1", SEEN, "name: tickets-2")
    fired(kept(correction="max_t"), "refuse", "correction was holm, now max_t")
    fired(kept(members=["a"], tie="best"), "refuse", "members was a, b, now a; tie was not set, now best")
    weighed = terms_kept(claim="t", first=FIRST, now={**FIRST, "weights": {"a": 2}}, seen=SEEN)
    assert 'weights was not set, now {"a":2}' in weighed.saw


READ = {"smallest_effect": "0.03", "guardrails": None, "baseline": "a", "candidate": "b", "candidates": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"smallest_effect": "0.12"}, "smallest_effect was 0.03, now 0.12"),
        ({"guardrails": ["cost_usd by 0"]}, "guardrails was not set, now cost_usd by 0"),
        ({"baseline": "c"}, "baseline was a, now c"),
        ({"candidate": "c"}, "candidate was b, now c"),
        ({"candidates": ["a", "d"]}, "left out: b, c, whose scores were seen"),
    ],
)
def test_sc1001_warns_of_another_reading_of_scores_that_were_seen(fired, changes, told):
    first = {**FIRST, **READ}
    fired(terms_kept(claim="tickets", first=first, now={**first, **changes}, seen=SEEN), "warn", told, SEEN)
    both = terms_kept(claim="tickets", first=first, now={**first, **changes, "metric": "macro_f1"}, seen=SEEN)
    fired(both, "refuse", "metric was accuracy", told)


def test_sc1001_silent_on_one_more_candidate_and_on_what_older_looks_do_not_know(silent):
    now = {**FIRST, **READ}
    silent(terms_kept(claim="t", first=FIRST, now=now, seen=SEEN), "passed")
    silent(terms_kept(claim="t", first=now, now={**now, "candidates": list("abcd")}, seen=SEEN), "passed")
    more = {**now, "candidates": list("abcd")}
    for claimed in ("d", "the best on test"):
        silent(terms_kept(claim="t", first=now, now={**more, "candidate": claimed}, seen=SEEN), "passed")


def test_sc1001_silent_on_the_same_terms_and_before_the_first_look(silent):
    silent(kept(), "passed", SEEN)
    silent(terms_kept(claim="tickets", first=None, now=FIRST, seen=""), "passed", "no results")
    silent(terms_kept(claim="tickets", first=None, now=None, seen=""), "not_applicable")


def test_sc1002_fires_where_nobody_decides(fired):
    fired(ties_are_settled(tie=None, n_members=3, n_dev=0), "refuse", "3 members can tie", "no tie is declared")
    fired(ties_are_settled(tie="best", n_members=2, n_dev=0), "refuse", "tie: best and there are no dev rows")


def test_sc1002_silent_where_somebody_does(silent):
    silent(ties_are_settled(tie=None, n_members=3, n_dev=40), "passed", "best member on 40 dev rows")
    silent(ties_are_settled(tie="a", n_members=3, n_dev=0), "passed", "decided by a")


GAIN = Gain("b", "dev", 0.04, 0.01, 0.07, "points", 0.6, 5, 1.47, 1.2)


def test_sc1003_fires_inside_the_band_and_where_luck_will_do(fired):
    small = replace(GAIN, gain=0.02)
    fired(gain_is_worth_it(found=small, effect=0.03), "warn", "+2.0 points [+1.0, +7.0] over b", "smallest effect of 3")
    fired(gain_is_worth_it(found=small, effect=0.03), "warn", "worth 1.5; $1.20 more for 1,000 rows", "take b")
    fired(gain_is_worth_it(found=replace(GAIN, low=-0.01), effect=0.03), "warn", "may be luck")
    fired(gain_is_worth_it(found=replace(GAIN, low=None, high=None), effect=None), "warn", "no interval")
    unknown = replace(GAIN, low=0.0, rho=None, effective_voters=None, added_usd_per_1000=None, unit="score")
    fired(gain_is_worth_it(found=unknown, effect=None), "warn", "+0.0 [+0.0, +0.1] over b", "added cost unknown")


def test_sc1003_silent_on_a_gain_that_counts(silent):
    silent(gain_is_worth_it(found=GAIN, effect=0.03), "passed", "+4.0 points")
    silent(gain_is_worth_it(found=None, effect=0.03), "not_applicable")
    silent(gain_is_worth_it(found=replace(GAIN, gain=None), effect=0.03), "not_checked")


def test_sc1004_fires_on_shared_rows(fired):
    fired(weights_are_foreign(source="the run x", overlap=["R7", "R9"], n=40), "refuse", "2 of the 40", "e.g. R7")


def test_sc1004_silent_on_other_rows(silent):
    silent(weights_are_foreign(source="40 dev rows", overlap=[], n=40), "passed", "40 dev rows")
