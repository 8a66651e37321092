import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtri

from safetycatch.errors import StatisticsError
from safetycatch.stats import Eliminated, MeanERace, Pruned
from safetycatch.stats.racing import log_e_value, log_mean_e_value

NAMES = ["a", "b", "c", "d"]
COUNTS = st.integers(0, 400)
LARGE = st.integers(0, 100_000)
GRADES = [0.0, 0.25, 0.6, 1.0, math.nan]
SCORES = st.lists(st.tuples(*[st.sampled_from(GRADES)] * 4), min_size=1, max_size=60).map(np.array)
ANSWERS = st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 1.0, math.nan])] * 4), min_size=1, max_size=60).map(np.array)


def named(block):
    return dict(zip(NAMES, np.asarray(block, float).T, strict=False))


def race_of(scores, size=None, baseline="a", clusters=None, **settings):
    """Run blocks of `size` rows through a race; survivors only, as a run asks them."""
    race = MeanERace(NAMES[: scores.shape[1]], baseline, **settings)
    for start in range(0, len(scores), size or len(scores)):
        rows = slice(start, start + (size or len(scores)))
        block = {name: column for name, column in named(scores[rows]).items() if name in race.survivors}
        race.look(block, None if clusters is None else clusters[rows])
    return race


def won(n, lost=0, k=2):
    """Rows in which candidate a is right n times against wrong others, then wrong `lost` times against right ones."""
    return np.array([[1.0] + [0.0] * (k - 1)] * n + [[0.0] + [1.0] * (k - 1)] * lost)


def evidence(scores, candidate="b", against="a", **settings):
    return race_of(scores, alpha=1e-9, **settings).pair(candidate, against).e_value


def answers(rng, n, rates, size=1, own=0.4, cluster=0.0):
    """Right/wrong answers from latent normals: shared item part .6, own part, own part of the cluster."""
    k = len(rates)
    latent = math.sqrt(0.6) * rng.normal(size=(n, 1)) + math.sqrt(own) * rng.normal(size=(n, k))
    latent += math.sqrt(cluster) * np.repeat(rng.normal(size=(n // size, k)), size, axis=0)
    return (latent < ndtri(np.asarray(rates))).astype(float)


def test_five_wins_by_hand():
    # the capital at stake u is (1 + u)^5; its mean over u from 0 to 1 is (2^6 - 1) / 6
    assert math.exp(log_e_value(5, 0)) == pytest.approx(10.5)
    assert math.exp(log_e_value(0, 5)) == pytest.approx(1 / 6)
    assert math.exp(log_e_value(0, 0)) == pytest.approx(1)
    assert evidence(won(5)) == pytest.approx(10.5)


def test_published_belgian_coin():
    # MacKay 2003, Information Theory, section 3.3: 140 heads in 250 spins, uniform prior over fair coin: 0.48
    both = math.exp(log_e_value(140, 110)) + math.exp(log_e_value(110, 140))
    assert both / 2 == pytest.approx(0.48, abs=0.005)


@given(COUNTS, COUNTS)
def test_closed_form_is_the_integral(wins, losses):
    peak = max(0.5, wins / max(1, wins + losses))
    top = wins * math.log(2 * peak) + losses * math.log(2 - 2 * peak if peak < 1 else 1)

    def ratio(share):
        return 2 * math.exp(wins * math.log(2 * share) + losses * math.log(2 - 2 * share) - top) if share < 1 else 0.0

    area, _ = quad(ratio, 0.5, 1 - 1e-15, points=[min(peak, 1 - 1e-9)], epsabs=0, epsrel=1e-10, limit=500)
    assert log_e_value(wins, losses) == pytest.approx(math.log(area) + top, abs=1e-7)


@given(LARGE, LARGE)
def test_a_fair_coin_neither_adds_nor_takes(wins, losses):
    up, down, now = log_e_value([wins + 1, wins, wins], [losses, losses + 1, losses])
    assert np.logaddexp(up, down) - math.log(2) == pytest.approx(now, abs=1e-8)


@given(LARGE, LARGE)
def test_evidence_rises_with_wins_and_falls_with_losses(wins, losses):
    now, more, less = log_e_value([wins, wins + 1, wins], [losses, losses, losses + 1])
    assert np.isfinite(now)
    assert less < now < more


def test_hundred_thousand_items():
    assert log_e_value(0, 100_000) == pytest.approx(-math.log(100_001))
    assert log_e_value(100_000, 0) == pytest.approx(100_001 * math.log(2) - math.log(100_001))
    scores = np.tile(won(1), (100_000, 1))
    found = race_of(scores, baseline=None)
    assert found.survivors == ("a",)
    assert found.standing()[1].e_value == pytest.approx(1e300)
    assert found.standing()[0].e_value == pytest.approx(1 / 100_001)


def test_hundred_thousand_graded_items():
    rng = np.random.default_rng(1)
    graded = rng.random((100_000, 2))
    found = race_of(graded, alpha=1e-9).pair("b", "a")
    assert 0 < found.e_value < 20
    assert found.n_items == 100_000


def test_mean_over_the_rivals_of_the_start():
    # a beats c 7 to 0 (255/8), b never differs from c (1): the mean is 16.4; at 8 wins 511/9 and 28.9
    scores = np.array([[1.0, 0.0, 0.0]] * 7)
    race = race_of(scores)
    assert race.survivors == ("a", "b", "c")
    assert race.standing()[2].e_value == pytest.approx((255 / 8 + 1) / 2)
    gone = race.look(named(scores[:1]))
    mean = pytest.approx((511 / 9 + 1) / 2)
    assert gone == (Eliminated("b", "a", mean, 8, 2), Eliminated("c", "a", mean, 8, 2))


def test_the_level_is_one_over_alpha():
    assert race_of(won(6)).survivors == ("a", "b")  # 127/7 = 18.1
    assert race_of(won(7)).survivors == ("a",)  # 255/8 = 31.9
    assert race_of(won(6), alpha=0.1).survivors == ("a",)


def test_a_rival_that_left_keeps_its_last_evidence():
    race = MeanERace(["x", "y", "z"], "z")
    race.look({"x": [0.0] * 9, "y": [1.0] * 9, "z": [1.0] * 9})
    assert race.survivors == ("y", "z")
    before = race.pair("y", "x")
    assert before.e_value == pytest.approx(1 / 10)
    race.look({"y": [0.0] * 5, "z": [1.0] * 5})
    assert race.pair("y", "x") == before
    assert race.standing()[1].e_value == pytest.approx((1 / 10 + 10.5) / 2)


def test_a_pruned_rival_counts_in_the_mean():
    race = race_of(np.array([[1.0, 0.0, 0.0]] * 4))
    assert [one.candidate for one in race.prune(1)] == ["c"]
    race.look(named(won(3)))
    assert race.standing()[1].e_value == pytest.approx((255 / 8 + 1) / 2)
    assert race.standing()[2].e_value == pytest.approx((31 / 5 + 1) / 2)


def test_the_baseline_stays_and_is_a_rival():
    race = race_of(won(0, lost=50, k=3))
    assert race.survivors == ("a", "b", "c")
    assert race.standing()[0].e_value > 20
    assert race.prune(1) == (Pruned("c", 1.0, 50, 1),)
    assert race.survivors == ("a", "b")
    assert [one.against for one in race_of(won(50, k=3)).standing()] == [None, "a", "a"]


def test_pruned_is_not_eliminated():
    race = race_of(np.array([[1.0, 0.0, 1.0, 0.0]] * 2))
    assert race.prune(2) == (Pruned("d", 0.0, 2, 1),)
    row = race.standing()[3]
    assert (row.status, row.look, row.against, row.mean) == ("pruned", 1, None, 0.0)
    assert not race.prune(2)
    race.look(named(won(30, k=3)))
    assert race.standing()[1].status == "eliminated"
    assert race.standing()[3] == row


@pytest.mark.parametrize(("keep", "left"), [(1, "a"), (2, "ab"), (3, "abc")])
def test_equal_means_prune_the_later_candidate(keep, left):
    # .1 + .2 + .3 and .3 + .2 + .1 differ in the last bit
    race = race_of(np.array([[0.1, 0.3, 0.6, 0.2], [0.2, 0.2, 0.0, 0.2], [0.3, 0.1, 0.0, 0.2]]), size=1, baseline=None)
    race.prune(keep)
    assert "".join(race.survivors) == left


def test_the_unscored_are_pruned_first():
    race = race_of(np.array([[0.0, math.nan, 0.0]] * 3), baseline=None)
    assert [one.candidate for one in race.prune(2)] == ["b"]
    assert math.isnan(race.standing()[1].mean)
    with pytest.raises(StatisticsError, match="keep is 0"):
        race.prune(0)


def test_missing_pairs_are_left_out_and_counted():
    scores = won(5)
    scores = np.vstack([scores, [[1.0, math.nan], [math.nan, 0.0], [math.nan, math.nan]]])
    found = race_of(scores).pair("b", "a")
    assert (found.n_items, found.n_missing) == (5, 3)
    assert found.e_value == pytest.approx(10.5)
    assert found.difference == -1.0
    rows = race_of(scores).standing()
    assert [(row.n_items, row.n_missing) for row in rows] == [(6, 2), (6, 2)]


def test_a_candidate_without_answers_is_not_eliminated():
    race = race_of(np.array([[1.0, math.nan]] * 100))
    assert race.survivors == ("a", "b")
    assert race.pair("b", "a").e_value == 1
    assert math.isnan(race.pair("b", "a").difference)


def test_items_given_after_a_candidate_left_do_not_count_as_missing():
    race = race_of(won(20, k=2), size=10)
    assert race.standing()[1].n_items == 10
    assert race.pair("b", "a").n_missing == 0


@given(SCORES)
def test_graded_evidence_is_the_mean_capital_over_all_stakes(scores):
    differences = scores[:, 0] - scores[:, 1]
    differences = differences[~np.isnan(differences)]
    area, _ = quad(lambda stake: np.prod(1 + stake * differences), 0, 1, epsabs=0, epsrel=1e-12)
    assert evidence(scores) == pytest.approx(area)


@given(ANSWERS)
def test_graded_bets_agree_with_the_closed_form(scores):
    equal = np.full((1, 4), 0.5)
    assert evidence(np.vstack([equal, scores])) == pytest.approx(evidence(scores))
    assert evidence(np.vstack([scores, equal]), size=len(scores)) == pytest.approx(evidence(scores))


@given(st.one_of(SCORES, ANSWERS), st.integers(1, 60), st.integers(1, 60))
def test_block_boundaries_do_not_matter(scores, one, other):
    first, second = (race_of(scores, size, alpha=1e-12) for size in (one, other))
    for row, again in zip(first.standing(), second.standing(), strict=True):
        assert row.e_value == pytest.approx(again.e_value)
        assert row.mean == pytest.approx(again.mean, nan_ok=True)


@given(st.one_of(SCORES, ANSWERS), st.permutations(range(4)))
def test_names_do_not_matter(scores, order):
    race = race_of(scores, 7, baseline=None)
    again = race_of(scores[:, order], 7, baseline=None)
    assert set(again.survivors) == {NAMES[order.index(NAMES.index(name))] for name in race.survivors}
    for place, row in enumerate(again.standing()):
        assert row.e_value == pytest.approx(race.standing()[order[place]].e_value)


@given(st.one_of(SCORES, ANSWERS))
def test_the_same_blocks_rebuild_the_same_race(scores):
    def race():
        found = race_of(scores, 5)
        found.prune(2)
        return found

    assert repr(race().standing()) == repr(race().standing())  # NaN is not equal to itself


@given(st.one_of(SCORES, ANSWERS))
def test_clusters_of_one_item_are_items(scores):
    each = race_of(scores, clusters=np.arange(len(scores)))
    assert repr(each.standing()) == repr(race_of(scores).standing())  # NaN is not equal to itself


def test_a_cluster_is_one_bet():
    # both items won: 1 + u, mean 1.5; one of them: 1 + u/2, mean 1.25
    assert evidence(won(2), clusters=["x", "x"], largest_cluster=2) == pytest.approx(1.5)
    assert evidence(won(1), clusters=["x"], largest_cluster=2) == pytest.approx(1.25)
    assert evidence(won(1, lost=1), clusters=["x", "x"], largest_cluster=2) == pytest.approx(1)
    assert evidence(won(2), clusters=["x", "y"], largest_cluster=2) == pytest.approx(1 + 1 / 2 + 1 / 12)


@given(SCORES, st.data())
def test_the_order_of_items_in_a_block_does_not_matter(scores, data):
    clusters = np.arange(len(scores)) // 3
    order = data.draw(st.permutations(range(len(scores))))
    shuffled = evidence(scores[order], clusters=clusters[order], largest_cluster=3)
    assert evidence(scores, clusters=clusters, largest_cluster=3) == pytest.approx(shuffled)


def share_eliminated(draw, repetitions, **settings):
    """Return how often the second of two equal candidates was eliminated."""
    gone = 0
    for repetition in range(repetitions):
        scores, clusters = draw(np.random.default_rng([7, repetition]))
        gone += "b" not in race_of(scores, 10, clusters=clusters, **settings).survivors
    return gone / repetitions


def test_a_best_candidate_is_eliminated_in_at_most_alpha_of_races():
    found = share_eliminated(lambda rng: (answers(rng, 200, [0.7, 0.7]), None), 600)
    assert 0.005 < found <= 0.05


def test_graded_scores_keep_alpha():
    found = share_eliminated(lambda rng: (rng.beta(0.5, 0.5, size=(200, 2)), None), 300)
    assert 0 < found <= 0.05


def test_ignored_clusters_break_alpha_and_named_ones_keep_it():
    def draw(rng):
        return answers(rng, 400, [0.7, 0.7], size=10, own=0.04, cluster=0.36)

    ignored = share_eliminated(lambda rng: (draw(rng), None), 200)
    named_ones = share_eliminated(lambda rng: (draw(rng), np.arange(400) // 10), 200, largest_cluster=10)
    assert ignored > 0.1
    assert named_ones <= 0.05


def test_unequal_clusters_keep_the_mean_over_items():
    # b wins 70 % of the many single items, a 70 % of the few clusters of nine: a is better over items, b over clusters
    rng = np.random.default_rng(3)
    sizes = rng.choice([1, 9], size=2000, p=[0.7, 0.3])
    a = np.where((sizes == 9) == (rng.random(2000) < 0.7), 1.0, 0.0)
    assert a.mean() < 0.45
    items = np.repeat(a, sizes)
    scores = np.stack([items, 1 - items], axis=1)
    race = race_of(scores, baseline=None, clusters=np.repeat(np.arange(2000), sizes), largest_cluster=9)
    assert race.survivors == ("a",)


def test_a_clearly_worse_candidate_goes():
    scores = answers(np.random.default_rng(5), 400, [0.8, 0.79, 0.5, 0.45])
    race = race_of(scores, 25)
    assert race.survivors == ("a", "b")
    assert all(row.n_items <= 200 for row in race.standing()[2:])


def test_sixteen_candidates_take_little_time():
    scores = answers(np.random.default_rng(6), 1000, np.full(16, 0.7))
    names = [f"c{place}" for place in range(16)]

    def race():
        found = MeanERace(names, names[0])
        for start in range(0, 1000, 25):
            found.look({name: scores[start : start + 25, names.index(name)] for name in found.survivors})

    race()
    start = time.process_time()
    race()
    assert time.process_time() - start < 0.1


def test_two_hundred_candidates():
    rates = np.linspace(0.4, 0.8, 200)
    scores = answers(np.random.default_rng(8), 300, rates)
    names = [f"c{place}" for place in range(200)]
    race = MeanERace(names, "c0")
    for start in range(0, 300, 25):
        race.look({name: scores[start : start + 25, names.index(name)] for name in race.survivors})
    assert "c199" in race.survivors
    assert len(race.survivors) < 130
    graded = MeanERace(names, "c0")
    graded.look({name: 0.9 * scores[:50, names.index(name)] for name in names})
    assert "c199" in graded.survivors


@pytest.mark.parametrize(
    ("candidates", "settings", "message"),
    [
        (["a"], {}, "at least two"),
        ("ab", {}, "at least two"),
        (["a", "b", "a"], {}, "not distinct"),
        (["a", "b"], {"baseline": "z"}, "baseline 'z'"),
        (["a", "b"], {"alpha": 5}, "alpha is 5"),
        (["a", "b"], {"alpha": math.nan}, "alpha is nan"),
        (["a", "b"], {"largest_cluster": 0}, "largest_cluster is 0"),
        (["a", "b"], {"largest_cluster": 2.0}, "largest_cluster is 2.0"),
    ],
)
def test_refuses_settings(candidates, settings, message):
    with pytest.raises(StatisticsError, match=message):
        MeanERace(candidates, **{"baseline": "a", **settings})


@pytest.mark.parametrize(
    ("scores", "clusters", "message"),
    [
        ({"a": [1.0], "b": [1.5]}, ["x"], r"scores\['b'\]\[0\] is 1.5"),
        ({"a": [1.0, -0.1], "b": [1.0, 0.0]}, ["x", "x"], r"scores\['a'\]\[1\] is -0.1"),
        ({"a": [math.inf], "b": [0.0]}, ["x"], r"scores\['a'\]\[0\] is inf"),
        ({"a": ["good"], "b": [0.0]}, ["x"], "good"),
        ({"a": [1.0]}, ["x"], "no scores of 'b'"),
        ({"a": [1.0], "b": [1.0], "z": [1.0]}, ["x"], "'z', who is not in the race"),
        ({"a": [1.0], "b": [1.0, 0.0]}, ["x"], "'a' has 1 scores and 'b' 2"),
        ({"a": [], "b": []}, [], "empty"),
        ({"a": [1.0] * 3, "b": [1.0] * 3}, ["x"] * 3, "cluster 'x' holds 3 items"),
        ({"a": [1.0], "b": [1.0]}, None, "names no clusters"),
        ({"a": [1.0], "b": [1.0]}, ["x", "y"], "expected one cluster name for each of the 1 values"),
        ({"a": [1.0], "b": [1.0]}, [None], "missing"),
        ({"a": [1.0], "b": [1.0]}, ["old"], "cluster 'old' was in an earlier block"),
    ],
)
def test_refuses_a_block_and_takes_nothing(scores, clusters, message):
    race = MeanERace(["a", "b"], "a", largest_cluster=2)
    race.look({"a": [1.0], "b": [0.0]}, ["old"])
    before = race.standing()
    with pytest.raises(StatisticsError, match=message):
        race.look(scores, clusters)
    assert race.standing() == before
    race.look({"a": [1.0], "b": [0.0]}, ["x"])


def test_scores_of_those_who_left_are_not_read():
    race = race_of(won(20))
    assert race.look({"a": [1.0], "b": [99.0]}) == ()
    assert race.standing()[1].n_items == 20


@pytest.mark.parametrize("names", [("a", "a"), ("a", "z")])
def test_a_pair_is_two_candidates(names):
    with pytest.raises(StatisticsError, match="expected two of"):
        MeanERace(["a", "b"], "a").pair(*names)


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        MeanERace(["a", "b"], "a").alpha = 0.5


def test_the_mean_ignores_the_diagonal():
    log_e = np.log([[1e9, 2.0, 3.0], [4.0, 1e9, 5.0], [6.0, 7.0, 1e9]])
    assert np.exp(log_mean_e_value(log_e)) == pytest.approx([5.0, 4.5, 4.0])
