from safetycatch.catches import fewshot


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
