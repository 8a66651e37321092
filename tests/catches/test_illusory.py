import pytest

from safetycatch.catches import illusory
from safetycatch.catches.illusory import CrossingFacts, LeakFacts, LookFacts, ShortcutFacts


def leaks(**changes):
    facts = {"given_split": True, "n_scored": 310, "rows": {}, "example": "test 118 ~ train 902"}
    return illusory.leaked_rows(LeakFacts(**{**facts, **changes}), experiment="tickets.yaml")


def test_sc501_fires_on_leaked_rows(fired):
    found = leaks(rows={"exact": 17, "near": 6, "similar": 40})
    fired(
        found,
        "refuse",
        "23 of 310 scored rows: 17 exact, 6 near (Jaccard ≥ 0.8)",
        "test 118 ~ train 902",
        "7.4 %",
        "safetycatch check tickets.yaml --write-clean",
    )


@pytest.mark.parametrize("kind", ["exact", "normalised", "bag", "near", "prompt"])
def test_sc501_fires_on_every_kind_of_duplicate(fired, kind):
    fired(leaks(rows={kind: 1}), "refuse", f"1 {kind}")


def test_sc501_fires_as_a_warning_on_templates(fired, policy):
    found = leaks(n_template=5)
    fired(found, "warn", "5 scored rows", "digits or one name")
    assert policy(SC501="refuse").finding(found).refuses


def test_sc501_silent_on_rows_that_are_only_similar(silent):
    silent(leaks(rows={"similar": 40}, n_similar=40), "passed", "40 rows are similar (Jaccard 0.6-0.8), reported only")
    silent(leaks(given_split=False, n_template=5), "passed")


def crossings(**changes):
    facts = {"given_split": True, "has_group": True, "has_time": True}
    return illusory.crossings(CrossingFacts(**{**facts, **changes}))


def test_sc502_fires_on_a_group_on_both_sides(fired):
    fired(crossings(n_groups=3, n_rows=11, example="c7"), "refuse", "3 groups (11 scored rows)", "e.g. c7")


def test_sc502_fires_on_the_future_in_train(fired):
    fired(crossings(n_future=2, future_example="t9"), "refuse", "2 training rows are newer", "t9", "by: time")


def test_sc502_silent_when_nothing_crosses(silent):
    silent(crossings(), "passed", "no group and no future row")
    silent(crossings(given_split=False), "passed", "keeps groups together")


def test_sc502_silent_says_what_it_could_not_check(silent):
    silent(crossings(has_group=False, has_time=False), "not_checked", "neither 'group' nor 'time'")
    silent(crossings(has_time=False), "passed", "no 'time' is named")
    silent(crossings(has_group=False), "passed", "no 'group' is named")
    silent(crossings(given_split=False, has_group=False), "passed", "no group is named")


def too_good(policy, **changes):
    return illusory.too_good(**{"rates": {"a": 0.9}, "similar": {}, "policy": policy, **changes})


def test_sc505_fires_on_a_rate_that_is_too_high(policy, fired):
    fired(too_good(policy(), rates={"a": 0.98, "b": 0.5}), "warn", "a scores 98.0 % (limit 98 %)", "twenty right")


def test_sc505_fires_when_similar_rows_carry_the_score(policy, fired):
    fired(too_good(policy(), similar={"a": (38, 40, 120, 200)}), "warn", "a: 95 % on 40 rows similar to train, 60 %")


def test_sc505_silent_on_ordinary_rates(policy, silent):
    silent(too_good(policy()), "passed", "no rate is suspiciously high")
    silent(too_good(policy(), similar={"a": (28, 40, 120, 200)}))
    silent(too_good(policy(), similar={"a": (19, 19, 0, 200)}))


def saturated(policy, **changes):
    facts = {"best": 0.8, "detectable": 0.05, "solved_by_all": 50, "n": 100, "policy": policy}
    return illusory.saturated(**{**facts, **changes})


def test_sc506_fires_without_headroom(policy, fired):
    fired(saturated(policy(), best=0.97), "warn", "headroom 3.0 points, detectable 5.0", "harder")


def test_sc506_fires_when_all_solve_most(policy, fired):
    fired(saturated(policy(), solved_by_all=61), "warn", "61 of 100 items (61 %, limit 60 %)")


def test_sc506_silent_with_room(policy, silent):
    silent(saturated(policy()), "passed", "50 %")
    silent(saturated(policy(), detectable=None, best=1.0))
    silent(saturated(policy(), best=None), "not_applicable")
    silent(saturated(policy(), n=0), "not_applicable")


def test_sc510_fires_without_slices(fired):
    fired(illusory.slices_named(claiming=True, slices=[]), "warn", "names no slice", "slices: [COLUMN]")


def test_sc510_silent_with_slices_or_while_exploring(silent):
    silent(illusory.slices_named(claiming=True, slices=["language"]), "passed", "language")
    silent(illusory.slices_named(claiming=False, slices=[]), "not_applicable")


def test_sc511_fires_as_a_refusal_where_a_field_decides(fired, policy):
    found = illusory.shortcuts(ShortcutFacts(fields=[("length", 0.981), ("source", 0.995)], n=400))
    fired(found, "refuse", "the field 'source' alone decides 99.5 % of 400 rows", "data.group")
    assert not policy(claiming=False).finding(found).refuses


def test_sc511_fires_as_a_warning_on_tokens_and_labels(fired):
    found = illusory.shortcuts(ShortcutFacts(tokens=[("refund", "money", 1.0, 31)], label_in_text=[("spam", 0.99, 80)]))
    fired(found, "warn", "'refund' means money in 100 % of 31 rows", "'spam' stands in 80 inputs, right in 99 %")


def test_sc511_silent_without_shortcuts(silent):
    silent(illusory.shortcuts(ShortcutFacts(n=400)), "passed", "400 rows")
    silent(illusory.shortcuts(None), "not_applicable", "not a classification")


def metric(policy, **changes):
    facts = {"claimed": "accuracy", "best": 0.9, "majority": 0.5, "orders": None, "policy": policy}
    return illusory.right_metric(**{**facts, **changes})


def test_sc512_fires_near_the_majority_class(policy, fired):
    fired(metric(policy(), majority=0.86), "warn", "scores 86.0 %, the best candidate 90.0 % (not 5 points more)")


def test_sc512_fires_when_balanced_accuracy_ranks_differently(policy, fired):
    found = metric(policy(), orders=(["a", "b"], ["b", "a"]))
    fired(found, "warn", "accuracy ranks a > b, balanced accuracy b > a", "metric: balanced_accuracy")


def test_sc512_silent_on_even_classes_or_another_metric(policy, silent):
    silent(metric(policy(), orders=(["a", "b"], ["a", "b"])), "passed", "50.0 %")
    silent(metric(policy(), claimed="macro_f1", majority=0.9), "not_applicable")
    silent(metric(policy(), best=None), "not_applicable")


def looked(policy, **changes):
    facts = {"claim": "tickets", "is_gate": False, "seen": False, "n_claim": 3, "n_all": 3, "n_items": 384}
    told = ["2026-11-20 14:03 UTC by ada in 2026-11-20-tickets-1"]
    return illusory.looked_at(LookFacts(**{**facts, "told": told, **changes}), policy)


def test_sc504_fires_when_the_claims_budget_is_used_up(fired, policy):
    fired(looked(policy()), "refuse", "3 of 3 looks", "by ada in 2026-11-20-tickets-1", "more than the 384 here")
    fired(looked(policy(SC504={"looks": 1}), n_claim=1), "refuse", "1 of 1 looks")


def test_sc504_fires_as_a_warning_for_gates_and_for_many_looks_over_all_claims(fired, policy):
    fired(looked(policy(), is_gate=True), "warn", "3 of 3 looks", "one more", "catches: {SC504: {looks: 4}}")
    fired(looked(policy(), is_gate=True, seen=True, n_claim=4), "warn", "4 of 3 looks", "this repeats one of them")
    fired(looked(policy(), n_claim=0, n_all=20), "warn", "20 times over all claims", "look 1 of 3")


def test_sc504_silent_within_the_budget_on_replays_and_while_exploring(silent, policy):
    silent(looked(policy(), n_claim=2, n_all=19), "passed", "look 3 of 3", "19 over all claims")
    silent(looked(policy(), seen=True, n_all=40), "passed", "a replay is no look")
    silent(looked(policy(), is_gate=True, seen=True), "passed", "a replay is no look")
    silent(looked(policy(SC504={"looks": 9, "all_looks": 99}), n_claim=8, n_all=98), "passed")
    silent(illusory.looked_at(None, policy()), "not_applicable")
