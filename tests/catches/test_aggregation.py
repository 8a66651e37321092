from safetycatch.catches.aggregation import terms_kept

FIRST = {"metric": "accuracy", "rule": "majority", "members": ["a", "b"], "tie": None, "correction": "holm"}
SEEN = "2026-11-20 14:03 UTC by ada in 2026-11-20-tickets-1"


def kept(**changes):
    return terms_kept(claim="tickets", first=FIRST, now={**FIRST, **changes}, seen=SEEN)


def test_sc1001_fires_and_names_old_and_new(fired):
    fired(kept(metric="macro_f1"), "refuse", "metric was accuracy, now macro_f1", SEEN, "name: tickets-2")
    fired(kept(correction="max_t"), "refuse", "correction was holm, now max_t")
    fired(kept(members=["a"], tie="best"), "refuse", "members was a, b, now a; tie was not set, now best")


def test_sc1001_silent_on_the_same_terms_and_before_the_first_look(silent):
    silent(kept(), "passed", SEEN)
    silent(terms_kept(claim="tickets", first=None, now=FIRST, seen=""), "passed", "no results")
    silent(terms_kept(claim="tickets", first=None, now=None, seen=""), "not_applicable")
