import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.catches import statistics
from safetycatch.catches.finding import Policy


def test_sc201_fires_without_a_smallest_effect(fired):
    fired(statistics.smallest_effect(claiming=True, effect=None), "refuse", "no smallest_effect", "3 points")
    fired(statistics.smallest_effect(claiming=True, effect=0.0), "refuse", "smallest_effect is 0")


def test_sc201_silent_with_one_or_while_exploring(silent):
    silent(statistics.smallest_effect(claiming=True, effect=0.03), "passed", "0.03")
    silent(statistics.smallest_effect(claiming=False, effect=None), "not_applicable")


def power(**changes):
    facts = {"effect": 0.03, "detectable": 0.09, "n": 200, "n_needed": 1744, "assumption": "20 % change sides"}
    return statistics.power(**{**facts, **changes})


def test_sc202_fires_when_the_effect_is_too_small(fired):
    fired(power(), "warn", "200 items can show 9.0 points", "claim asks for 3.0", "about 1744 items", "20 % change")


def test_sc202_fires_in_the_metrics_unit(fired):
    fired(power(effect=0.3, detectable=0.5, unit="s", n_needed=None), "warn", "0.5 s", "score more items")


def test_sc202_silent_with_enough_items_or_nothing_to_compare(silent):
    silent(power(detectable=0.03), "passed")
    silent(power(detectable=None), "not_checked")
    silent(power(effect=None), "not_checked")


def test_sc203_fires_when_rows_repeat(fired):
    found = statistics.repeats(n=310, n_clusters=120, largest=14, example="c7", by="group")
    fired(found, "warn", "310 scored rows in 120 clusters by group", "(c7) has 14", "310 independent rows")


def test_sc203_silent_with_independent_rows(silent):
    silent(statistics.repeats(n=3, n_clusters=3, largest=1, example="a", by="group"))


def sampling(**changes):
    facts = {"replicates": 1, "sends": True, "temperatures": {"a": 0.0}, "functions": [], "share": None}
    return statistics.sampling_noise(**{**facts, "measured_in": None, "trade": "", **changes})


def test_sc206_fires_on_one_run_an_item_of_a_warm_model(fired):
    found = sampling(temperatures={"a": 0.0, "b": 0.7}, trade="for twice the calls 80 items x 2 runs can show 9.1")
    fired(found, "warn", "asked once, although the temperature is 0.7 (b)", "partly luck", "replicates: 3", "twice the")


def test_sc206_fires_where_an_earlier_run_measured_noise_even_at_temperature_0(fired):
    fired(sampling(share=0.42, measured_in="2026-01-01-x-1"), "warn", "in 2026-01-01-x-1 42 % of the spread")


def test_sc206_silent_with_replicates_at_temperature_0_and_for_recorded_outputs(silent):
    silent(sampling(), "passed", "temperature 0")
    silent(sampling(replicates=3, temperatures={"a": 1.0}), "passed", "3 runs an item")
    silent(sampling(share=0.0, measured_in="x"), "passed")
    silent(sampling(sends=False), "not_applicable")


def test_sc206_says_what_it_could_not_check(silent):
    silent(sampling(temperatures={"a": None}), "not_checked", "no temperature is set for a")
    silent(sampling(temperatures={}, functions=["app"]), "not_checked", "what app samples is not known")


def same_items(**changes):
    facts = {"left": "a", "right": "b", "only_left": [], "only_right": [], "changed": [], "intersect": False}
    return statistics.same_items(**{**facts, **changes})


def test_sc204_fires_on_other_items(fired):
    found = same_items(only_left=["x1", "x2"], only_right=["y1"])
    fired(found, "refuse", "2 only in a (e.g. x1)", "1 only in b (e.g. y1)", "--intersect")


def test_sc204_fires_on_other_content_even_with_intersect(fired):
    fired(same_items(changed=["x1"], intersect=True), "refuse", "1 with other content (e.g. x1)", "same data file")


def test_sc204_silent_on_the_same_items(silent):
    silent(same_items(), "passed", "a and b hold the same items")
    silent(same_items(only_left=["x1"], intersect=True), "passed", "shared items only")


def family(**changes):
    return statistics.family(luck=0.021, metric="accuracy", **changes)


def test_sc205_fires_with_several_candidates(fired):
    found = family(n_compared=5, n_scored=6, k_history=12)
    fired(found, "warn", "5 candidates", "do not count the 6", "best of 12 equal ones would look 2.1 points better")
    assert "do not count" not in family(n_compared=5, n_scored=6, k_history=6).matters


def test_sc205_fires_with_one_where_earlier_looks_showed_others(fired):
    found = family(n_compared=1, n_scored=2, k_history=17)
    fired(found, "warn", "17 were ever scored", "not the 15 that earlier looks showed", "best of 17 equal ones")


def test_sc205_silent_with_one(silent):
    silent(family(n_compared=1, n_scored=2, k_history=2), "passed", "one candidate against the baseline")


def test_sc205_tells_of_one_after_another_on_dev_and_does_not_warn(silent):
    found = family(n_compared=1, n_scored=2, k_history=9, claiming=False)
    silent(found, "passed", "9 were ever scored", "best of 9 equal ones")


def errors(failed, classes=None, policy=None):
    return statistics.errors(failed=failed, policy=policy or Policy(), classes=classes or {"timeout": 9})


def test_sc207_fires_above_the_limit(fired):
    found = errors({"a": (7, 300), "b": (6, 300)}, {"http_500": 4, "timeout": 9})
    fired(found, "refuse", "a has no answer for 7 of 300 rows (2.3 %, limit 2 %)", "9 timeout, 4 http_500")


def test_sc207_fires_when_one_candidate_loses_more(fired):
    fired(errors({"a": (18, 1000), "b": (1, 1000)}), "refuse", "b lost 0.1 % (Fisher p = ")


def test_sc207_silent_with_few_equal_errors(silent):
    silent(errors({"a": (5, 300), "b": (3, 300)}), "passed", "8 of 600")
    silent(errors({"a": (6, 300), "b": (6, 300)}), "passed")
    silent(errors({"a": (0, 0)}), "not_applicable")


def test_sc207_silent_where_only_the_count_of_candidates_makes_extremes(silent):
    """The most and the least of twelve equal candidates: one pair of 66 at p = .003."""
    failed = {f"c{number}": (5, 600) for number in range(10)} | {"worst": (11, 600), "best": (1, 600)}
    assert statistics._fisher((11, 600), (1, 600)) < 0.01
    silent(errors(failed), "passed")


def test_sc207_limits_can_be_set(policy, fired):
    fired(errors({"a": (2, 300)}, policy=policy(SC207={"rate": 0.005})), "refuse", "limit 0.5 %")


@given(
    st.dictionaries(
        st.sampled_from("abcd"), st.integers(0, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
    )
)
def test_sc207_judges_any_counts(failed):
    assert errors(failed).seen in {"fired", "passed", "not_applicable"}


def test_equal_candidates_are_seldom_refused():
    """Six candidates that lose 1 % of 1,000 rows each: the unequal-loss rule fires in at most 1 % of 300 draws."""
    lost = np.random.default_rng(1).binomial(1000, 0.01, (300, 6))
    found = [errors({str(name): (int(bad), 1000) for name, bad in enumerate(row)}) for row in lost]
    unequal = [one for one in found if one.seen == "fired" and max(one.evidence["rates"].values()) <= 0.02]
    assert len(unequal) <= 3


def test_sc208_fires_below_thirty_clusters(policy, fired):
    fired(statistics.clusters(n_clusters=29, policy=policy()), "warn", "29 independent clusters", "fewer than 30")
    fired(statistics.clusters(n_clusters=4, policy=policy()), "warn", "no interval is given")


def test_sc208_silent_from_thirty(policy, silent):
    silent(statistics.clusters(n_clusters=30, policy=policy()))
    silent(statistics.clusters(n_clusters=12, policy=policy(SC208={"clusters": 10})))
