"""The bench's table, advice and spread from hand-made scores."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.results.advice import advise, champions, retrieval, rule, sentence
from safetycatch.results.bench import FILE, INDEX, RETRIEVAL, Tried, bench_rows, difference, moving_parts, told
from safetycatch.results.comparing import Metric
from safetycatch.results.spread import spread
from safetycatch.settings import ShotSettings
from safetycatch.stats import noninferiority, paired_difference

ACCURACY, COST = Metric("accuracy"), Metric("words", "score", higher_is_better=False, rate=False)
BAND = 0.05


def right(n, n_right):
    """Scores of `n` items, the first `n_right` of them right."""
    return np.r_[np.ones(n_right), np.zeros(n - n_right)]


def answers(n, n_one, n_other, n_only_one):
    """Scores of two strategies with so many right each, of which `n_only_one` are right for the first one alone."""
    one = right(n, n_one)
    both = n_one - n_only_one
    other = np.r_[np.ones(both), np.zeros(n_only_one), np.ones(n_other - both), np.zeros(n - n_only_one - n_other)]
    return one, other


def tried(
    name, scores, *, asked=None, usd: float | None = 0.001, tokens: float | None = 100.0, status="running", rung=None
):
    select, k = name.rstrip("0123456789"), int(name[len(name.rstrip("0123456789")) :] or 0)
    scores = np.asarray(scores, float)
    asked = np.ones(len(scores), bool) if asked is None else np.arange(len(scores)) < asked
    n = int(asked.sum())
    of = [np.full(n, math.nan if value is None else value) for value in (usd, tokens, 0.0, 0.2)]
    shots = ShotSettings(select=select, k=k)
    return Tried(name, shots, np.where(asked, scores, math.nan), asked, *of, status=status, rung=rung)


def table(*all_tried, clusters=None, metric=ACCURACY):
    return bench_rows(all_tried, all_tried[0].candidate, metric, clusters)


def advice(*all_tried, band=BAND, metric=ACCURACY, clusters=None, n_labels=None):
    rows = bench_rows(all_tried, all_tried[0].candidate, metric, clusters)
    return advise(all_tried, rows, all_tried[0].candidate, band, metric, clusters, n_labels=n_labels)


def words(*all_tried, **more):
    rows = table(*all_tried)
    return sentence(advice(*all_tried, **more), rows, all_tried[0].candidate, "points")


# -- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("select", "parts"),
    [
        ("static", (FILE,)),
        ("random", (FILE,)),
        ("diverse", (FILE,)),
        ("bootstrapped", (FILE,)),
        ("knn", (INDEX, RETRIEVAL)),
        ("bm25", (INDEX, RETRIEVAL)),
        ("mmr", (INDEX, RETRIEVAL)),
        ("hybrid", (FILE, INDEX, RETRIEVAL)),
    ],
)
def test_moving_parts_have_their_reasons(select, parts):
    assert moving_parts(ShotSettings(select=select, k=4)) == parts


def test_no_examples_move_nothing():
    assert moving_parts(ShotSettings()) == ()


def test_rows_come_best_first_equal_ones_simplest_first_and_those_who_left_last():
    names = ["zero", "knn4", "static8", "static4", "mmr4"]
    scores = [right(40, n) for n in (20, 30, 30, 30, 40)]
    costs = [0.001, 0.002, 0.003, 0.002, 0.002]
    all_tried = [tried(*one, usd=usd) for one, usd in zip(zip(names[:4], scores[:4], strict=True), costs, strict=False)]
    left = tried("mmr4", scores[4], asked=10, status="pruned", rung=1)
    assert [row.candidate for row in table(*all_tried, left)] == ["static4", "static8", "knn4", "zero", "mmr4"]


def test_the_gain_is_the_paired_difference_on_shared_items():
    draw = np.random.default_rng(1)
    zero, knn = (draw.random(60) < 0.5).astype(float), (draw.random(60) < 0.7).astype(float)
    knn[:3] = math.nan
    row = next(row for row in table(tried("zero", zero), tried("knn4", knn)) if row.candidate == "knn4")
    wanted = paired_difference(knn, zero)
    assert (row.gain.estimate, row.gain.low, row.gain.high) == (wanted.estimate, wanted.low, wanted.high)
    assert (row.gain.n, row.gain.n_missing, row.score.n, row.score.n_missing) == (57, 3, 57, 3)


def test_who_left_the_race_is_compared_on_its_own_items_only_without_an_interval():
    zero = tried("zero", right(100, 20))
    left = tried("knn4", right(100, 60), asked=30, status="eliminated", rung=1)
    row = next(row for row in table(zero, left) if row.candidate == "knn4")
    # Of the first 30 items zero has 20 right, the other all 30; on 100 it would have looked like +0.8.
    assert (row.gain.estimate, row.gain.n) == (pytest.approx(1 / 3), 30)
    assert math.isnan(row.gain.low)
    assert math.isnan(row.score.high)
    assert "eliminated in a race" in row.gain.method
    assert not row.complete


def test_the_frontier_holds_what_nothing_beats_on_score_and_dollars():
    # Dollars and right ones of 100: static4 costs more than zero for less, hybrid4 more than knn4 for as many.
    cells = {"zero": (1, 50), "static4": (2, 45), "mmr4": (3, 60), "knn4": (4, 80), "hybrid4": (5, 80)}
    all_tried = [tried(name, right(100, n), usd=usd) for name, (usd, n) in cells.items()]
    assert {row.candidate for row in table(*all_tried) if row.frontier} == {"zero", "mmr4", "knn4"}


def test_equal_points_are_both_on_the_frontier():
    rows = table(tried("zero", right(50, 20)), tried("static4", right(50, 20)))
    assert all(row.frontier for row in rows)


def test_an_unknown_price_is_none_never_0_and_not_on_the_frontier():
    rows = table(tried("zero", right(50, 20)), tried("knn4", right(50, 40), usd=None))
    unknown = next(row for row in rows if row.candidate == "knn4")
    assert (unknown.usd_per_1000, unknown.frontier) == (None, False)


def test_one_call_without_a_price_leaves_the_price_unknown():
    one = tried("zero", right(50, 20))
    one.cost_usd[7] = math.nan
    assert table(one)[0].usd_per_1000 is None


def test_costs_tokens_and_latencies_are_those_of_the_calls():
    one = tried("zero", right(4, 2))
    one.cost_usd[:], one.tokens_in[:] = [0.001, 0.002, 0.003, 0.002], [10, 20, 30, math.nan]
    one.tokens_cached[:], one.latency_s[:] = [0, 10, 20, math.nan], [1, 2, 3, math.nan]
    (row,) = table(one)
    assert (row.usd_per_1000, row.tokens_in, row.share_cached) == (pytest.approx(2.0), 20, 0.5)
    assert (row.latency_p50_s, row.latency_p95_s) == (2, pytest.approx(2.9))


def test_nothing_answered_is_undefined_not_0():
    nothing = tried("knn4", np.full(20, math.nan), usd=None, tokens=None)
    row = next(row for row in table(tried("zero", right(20, 9)), nothing) if row.candidate == "knn4")
    figures = (row.score.estimate, row.gain.estimate, row.tokens_in, row.share_cached)
    assert all(math.isnan(figure) for figure in figures)
    assert (row.score.n, row.score.n_missing, row.complete) == (0, 20, False)


def test_one_cluster_has_no_interval_and_says_so():
    clusters = np.array(["same"] * 30, dtype=object)
    row = table(tried("zero", right(30, 9)), tried("knn4", right(30, 20)), clusters=clusters)[0]
    assert math.isnan(row.gain.low)
    assert row.gain.method.startswith("no interval:")


def test_a_metric_that_falls_gains_by_falling():
    fewer, more = tried("knn4", np.arange(40) % 7), tried("zero", np.arange(40) % 7 + 1.0 + np.arange(40) % 2)
    assert difference(fewer, more, COST, None).estimate == pytest.approx(1.5)
    assert [row.candidate for row in table(more, fewer, metric=COST)] == ["knn4", "zero"]


# -- the advice -------------------------------------------------------------------------------------------------------


def test_the_simplest_within_the_band_is_taken():
    zero, static, knn = (tried(name, right(400, n)) for name, n in (("zero", 200), ("static8", 318), ("knn8", 320)))
    found = advice(zero, static, knn)
    assert (found.candidate, found.best, found.shown) == ("static8", "knn8", True)
    assert found.behind.estimate == pytest.approx(-0.005)


def test_of_as_many_parts_the_cheaper_one_is_taken():
    cells = {"zero": (100, 1.0), "static8": (320, 3.0), "random8": (319, 2.0)}
    assert advice(*(tried(name, right(400, n), usd=usd) for name, (n, usd) in cells.items())).candidate == "random8"


def test_without_prices_fewer_tokens_are_cheaper():
    cells = {"zero": (100, 50), "static8": (320, 800), "static4": (319, 400)}
    all_tried = [tried(name, right(400, n), usd=None, tokens=tokens) for name, (n, tokens) in cells.items()]
    assert advice(*all_tried).candidate == "static4"


def test_of_as_many_parts_at_one_price_the_better_one_is_taken():
    assert (
        advice(
            tried("zero", right(400, 100)),
            *(tried(*one) for one in (("knn8", right(400, 318)), ("mmr8", right(400, 320)))),
        ).candidate
        == "mmr8"
    )


def test_being_cheaper_alone_is_no_reason_while_the_items_cannot_tell():
    draw = np.random.default_rng(2)
    cheap, dear = (draw.random(60) < 0.6).astype(float), (draw.random(60) < 0.65).astype(float)
    zero, one = tried("zero", np.zeros(60)), tried("knn4", cheap, usd=0.001)
    assert noninferiority(cheap, dear, BAND).status == "undecided"
    assert advice(zero, one, tried("mmr4", dear, usd=0.002)).candidate == "mmr4"


def test_where_nothing_simpler_comes_close_the_best_is_taken():
    found = advice(tried("zero", right(400, 200)), tried("static8", right(400, 220)), tried("knn8", right(400, 320)))
    assert (found.candidate, found.shown, found.behind) == ("knn8", True, None)


def test_items_that_cannot_tell_say_how_many_could():
    one, other = answers(60, 36, 38, 10)
    zero, knn = tried("zero", one), tried("knn8", other)
    found, wanted = advice(zero, knn), noninferiority(one, other, BAND)
    assert wanted.status == "undecided"
    assert (found.candidate, found.shown, found.n_to_settle) == ("zero", False, wanted.n_to_settle)
    assert "cannot tell whether it is more than 5 points worse" in words(zero, knn)


def test_fewer_parts_that_score_beyond_the_band_do_not_win_in_doubt():
    one, other = answers(100, 60, 68, 30)
    zero, static, knn = tried("zero", right(100, 10)), tried("static8", one), tried("knn8", other)
    found, wanted = advice(zero, static, knn), noninferiority(one, other, BAND)
    assert wanted.status == "undecided"
    assert (found.candidate, found.shown, found.behind) == ("knn8", False, None)
    assert (found.rival, found.rival_behind.estimate) == ("static8", pytest.approx(-0.08))
    assert found.n_to_settle == wanted.n_to_settle
    said = words(zero, static, knn)
    assert said.startswith("take knn8, the best, for now: +58.0 points")
    assert "100 rows cannot tell whether static8, which has fewer parts, is more than 5 points worse (-8.0" in said


def test_an_estimate_at_the_band_is_within_it():
    for n_less, taken in ((5, "static8"), (6, "knn8")):
        one, other = answers(100, 60, 60 + n_less, 20)
        all_tried = tried("zero", right(100, 10)), tried("static8", one), tried("knn8", other)
        assert advice(*all_tried).candidate == taken


def test_a_leader_that_is_truly_far_ahead_is_hardly_ever_passed_over():
    draw, n, taken = np.random.default_rng(3), 400, []
    for _ in range(60):
        hard = draw.normal(size=n)
        cells = {name: hard + draw.normal(size=n) < at for name, at in (("zero", 0.3), ("static8", 0.3), ("knn8", 1.2))}
        taken.append(advice(*(tried(name, scores) for name, scores in cells.items())).candidate)
    assert taken.count("knn8") >= 58


def test_too_few_items_for_any_interval_go_by_the_scores():
    found = advice(tried("zero", [1.0]), tried("knn8", [1.0]))
    assert (found.candidate, found.shown) == ("zero", True)  # equal scores: the simplest leads
    found = advice(tried("zero", [0.0]), tried("knn8", [1.0]))
    assert (found.candidate, found.shown, found.rival, found.n_to_settle) == ("knn8", False, "zero", None)


def test_who_left_the_race_is_never_advised():
    left = tried("static8", right(100, 100), asked=30, status="pruned", rung=1)
    assert advice(tried("zero", right(100, 20)), left, tried("knn8", right(100, 80))).candidate == "knn8"


def test_one_candidate_left_is_taken():
    left = tried("static8", right(100, 40), asked=30, status="eliminated", rung=1)
    assert advice(tried("zero", right(100, 60)), left).candidate == "zero"


def test_nobody_with_a_score_is_no_advice():
    nothing = tried("zero", np.full(20, math.nan))
    assert advice(nothing) is None
    assert sentence(None, table(nothing), "zero", "points") == "no advice: no strategy has a score"


def test_a_candidate_without_scores_does_not_compete():
    nothing = tried("static8", np.full(400, math.nan))
    assert advice(tried("zero", right(400, 100)), nothing, tried("knn8", right(400, 300))).candidate == "knn8"


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=30, max_size=80), st.randoms())
def test_the_order_of_candidates_and_items_changes_nothing(items, random):
    columns = np.array(items, float).T
    names = ["zero", "static4", "knn4"]
    order = list(range(len(items)))
    random.shuffle(order)
    straight = [tried(name, column) for name, column in zip(names, columns, strict=True)]
    mixed = [tried(name, column[order]) for name, column in zip(names, columns, strict=True)]
    found = advice(*straight)
    rows = bench_rows(mixed[::-1], "zero", ACCURACY)
    other = advise(mixed[::-1], rows, "zero", BAND, ACCURACY)
    assert (found.candidate, found.best, found.shown) == (other.candidate, other.best, other.shown)


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_wider_band_never_advises_more_moving_parts(static, knn):
    all_tried = [tried("zero", right(200, 90)), tried("static4", right(200, static)), tried("knn4", right(200, knn))]
    parts = {"zero": 0, "static4": 1, "knn4": 2}
    taken = [parts[advice(*all_tried, band=band).candidate] for band in (0.01, 0.05, 0.2, 0.9)]
    assert taken == sorted(taken, reverse=True)


# -- in words ---------------------------------------------------------------------------------------------------------


def test_fixed_examples_that_hardly_help_are_said_with_the_labels_they_show():
    cells = {"zero": 200, "static8": 202, "knn8": 320}
    said = words(*(tried(name, right(400, n)) for name, n in cells.items()), n_labels=77)
    assert "8 fixed examples hardly help here: static8 is +0.5 points" in said
    assert said.endswith("8 examples show at most 8 of the 77 labels")
    assert said.startswith("take knn8, the best: +30.0 points")


def test_fixed_examples_that_harm_are_said_to():
    cells = {"zero": 250, "static8": 200, "knn8": 320}
    assert "8 fixed examples do harm here" in words(*(tried(name, right(400, n)) for name, n in cells.items()))


def test_labels_are_not_mentioned_where_the_examples_show_all():
    cells = {"zero": 200, "static8": 202, "knn8": 320}
    assert "labels" not in words(*(tried(name, right(400, n)) for name, n in cells.items()), n_labels=8)


def test_that_nothing_helps_is_said():
    assert "Nothing tried scores better than zero" in words(tried("zero", right(90, 50)), tried("knn8", right(90, 45)))
    assert "Examples hardly help here" in words(tried("zero", right(400, 200)), tried("knn8", right(400, 202)))


def test_the_rule_names_the_band_and_where_it_is_from():
    assert "at most 3 points worse" in (text := rule(0.03, "points", stated=True))
    assert "has fewer parts and scores at most that much less" in text
    assert text.endswith("the claim's smallest effect")
    assert "the default" in rule(0.02, "points", stated=False)


def test_a_difference_without_interval_says_so():
    one, other = tried("knn4", right(30, 9), asked=10, status="pruned"), tried("zero", right(30, 5))
    assert told(difference(one, other, ACCURACY, None), "points") == "+40.0 points (n = 10, no interval)"


# -- static against dynamic, and who is measured to the end -----------------------------------------------------------


def worth(*all_tried, **more):
    return retrieval(all_tried, table(*all_tried), advice(*all_tried, **more), ACCURACY)


def test_the_best_dynamic_one_is_held_against_the_best_without_retrieval():
    all_tried = [tried(name, right(400, n)) for name, n in (("zero", 100), ("static4", 240), ("knn4", 300))]
    found = worth(*all_tried)
    assert (found.dynamic, found.fixed, found.gain.estimate) == ("knn4", "static4", pytest.approx(0.15))
    assert found.worth
    assert worth(*all_tried[:2]) is None
    assert worth(all_tried[2], left_out(all_tried[1])) is None
    assert retrieval([], [], None, ACCURACY) is None


def left_out(one):
    return tried(one.candidate, np.full(len(one.scores), math.nan))


@given(st.lists(st.tuples(*[st.booleans()] * 4), min_size=2, max_size=60), st.sampled_from([0.02, 0.1, 0.3]))
def test_retrieval_is_worth_it_exactly_where_the_advice_keeps_it(items, band):
    columns = np.array(items, float).T
    names = ["zero", "static4", "knn4", "hybrid4"]
    all_tried = [tried(name, column) for name, column in zip(names, columns, strict=True)]
    found, taken = worth(*all_tried, band=band), advice(*all_tried, band=band)
    if found is None:
        assert taken.best in {"zero", "static4"}
    else:
        assert found.worth == (taken.candidate in {"knn4", "hybrid4"})
        assert found.worth == (found.gain.estimate > band)
        assert found.worth or found.fixed == taken.candidate


def test_champions_are_the_best_of_each_smaller_number_of_parts():
    standing = [{"candidate": name, "estimate": 0.5} for name in ("hybrid4", "knn4", "bm254", "static8", "static4")]
    standing[2]["estimate"] = None
    moving = {"hybrid4": 3, "knn4": 2, "bm254": 2, "static8": 1, "static4": 1}
    assert champions(standing, moving) == ("knn4", "static8")
    assert champions(standing[1:], moving) == ("static8",)
    assert champions(standing[3:], moving) == ()


# -- spread -----------------------------------------------------------------------------------------------------------


def test_the_spread_takes_the_noise_of_the_items_out():
    # Three variants of one true score: their means differ by the luck of the items alone.
    found = [
        spread("static4", "seed", (np.random.default_rng([9, at]).random((4, 300)) < 0.7).astype(float))
        for at in range(200)
    ]
    raw = np.mean([np.var(one.means, ddof=1) for one in found])
    left = np.mean([one.sd**2 for one in found])
    assert left < 0.5 * raw
    assert np.mean([one.sd_low == 0 for one in found]) > 0.9


def test_the_spread_finds_what_variants_differ_by():
    draw = np.random.default_rng(4)
    sds = []
    for _ in range(200):
        rates = np.clip(draw.normal(0.6, 0.08, 6), 0, 1)
        sds.append(spread("static4", "seed", (draw.random((6, 400)) < rates[:, None]).astype(float)))
    assert np.sqrt(np.mean([one.sd**2 for one in sds])) == pytest.approx(0.08, rel=0.1)
    covered = np.mean([one.sd_low <= 0.08 <= one.sd_high for one in sds])
    assert covered >= 0.91  # nominal 95 %, 200 repetitions: three Monte Carlo errors below is .904


def test_equal_variants_have_no_spread():
    found = spread("knn4", "order", np.tile(right(50, 30), (4, 1)))
    assert (found.sd, found.sd_low, found.sd_high, found.changed) == (0, 0, 0, 0)
    assert found.means == (0.6,) * 4


def test_repeated_clusters_carry_the_noise_of_a_cluster():
    draw = np.random.default_rng(6)
    scores = np.repeat((draw.random((3, 40)) < 0.5).astype(float), 10, axis=1)
    alone, named = spread("s", "seed", scores), spread("s", "seed", scores, np.repeat(np.arange(40), 10))
    assert named.sd <= alone.sd


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (np.ones((1, 20)), "one variant"),
        (np.full((3, 20), np.nan), "0 independent items"),
        (np.ones((3, 0)), "0 independent items"),
        (np.ones((3, 1)), "1 independent items"),
    ],
)
def test_an_undefined_spread_says_why(scores, reason):
    found = spread("static4", "seed", scores)
    assert math.isnan(found.sd)
    assert math.isnan(found.sd_high)
    assert reason in found.reason


def test_items_without_all_scores_are_left_out_of_the_spread():
    scores = np.tile(right(50, 30), (3, 1))
    scores[1, 0] = math.nan
    assert spread("static4", "seed", scores).n == 49
