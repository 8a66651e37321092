"""Systems side by side: what is shared, and what does not depend on the order of rows and sides."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from safetycatch.results.comparing import Metric
from safetycatch.results.sides import Side, joined, mismatch, side_by_side
from safetycatch.stats import luck_of_best, paired_difference

ACCURACY = Metric("accuracy")


def side(name, values, ids=None, **more):
    values = np.asarray(values, float)
    ids = ids or [f"e{number}" for number in range(len(values))]
    return Side(name, tuple(ids), values.reshape(len(ids), -1), **more)


def drawn(name, rate, n=200, runs=1, seed=1, **more):
    rng = np.random.default_rng([seed, *name.encode()])
    return side(name, rng.random((n, runs)) < rate, **more)


def found(sides, metric=ACCURACY, **options):
    names = [one.name for one in sides]
    return side_by_side(joined(sides, metric.name)[0], metric, [(names[0], name) for name in names[1:]], **options)


def test_items_are_joined_by_id_in_the_first_sides_order():
    matrix, _ = joined([side("a", [1, 2, 3], ["x", "y", "z"]), side("b", [30, 10], ["z", "x"])], "accuracy")
    assert matrix.items.ids == ("x", "z")
    assert matrix.means("a", "accuracy").tolist() == [1, 3]
    assert matrix.means("b", "accuracy").tolist() == [10, 30]


def test_a_mismatch_says_which_items_and_what_was_checked():
    left = side(
        "a", [1, 1, 1], ["x", "y", "z"], contents={"input": {"x": "1", "y": "2", "z": "3"}, "target": {"x": "t"}}
    )
    right = side("b", [1, 1, 1], ["w", "x", "y"], contents={"input": {"w": "0", "x": "1", "y": "9"}})
    got = mismatch(left, right)
    assert (got.only_left, got.only_right, got.changed, got.checked) == (("z",), ("w",), ("y",), ("input",))


def test_contents_of_other_kinds_are_not_compared():
    left, right = (side("a", [1], ["x"], contents={kind: {"x": kind}}) for kind in ("item", "input"))
    assert mismatch(left, right).checked == ()
    assert mismatch(left, right).changed == ()


def test_clusters_are_those_of_the_first_side_that_has_them():
    pairs = {f"e{number}": f"k{number // 2}" for number in range(6)}
    other = {f"e{number}": f"k{number // 3}" for number in range(6)}
    sides = [side("a", range(6)), side("b", range(6), clusters=pairs), side("c", range(6), clusters=other)]
    matrix, notes = joined(sides, "accuracy")
    assert matrix.items.n_clusters == 3
    assert notes == ("clusters are those of b; c divides the items otherwise",)


def test_an_item_without_a_cluster_joins_no_cluster_of_its_name():
    matrix, _ = joined(
        [side("a", range(3), ["x", "y", "z"], clusters={"x": "z", "y": "z"}), side("b", range(3), ["x", "y", "z"])], "m"
    )
    assert matrix.items.n_clusters == 2


def test_differences_are_paired_and_holm_adjusted():
    a, b, c = (drawn(name, rate) for name, rate in (("a", 0.5), ("b", 0.7), ("c", 0.52)))
    got = found([a, b, c], smallest_effect=0.03)
    own = paired_difference(b.values[:, 0], a.values[:, 0])
    assert (got.differences[0].estimate, got.differences[0].difference.p_value) == (own.estimate, own.p_value)
    assert got.differences[0].p_adjusted == pytest.approx(2 * own.p_value)
    assert got.verdicts["b"].kind == got.differences[0].verdict == "BETTER"
    assert len(got.pairs) == 3
    assert got.headline.candidate == "b"
    assert found([a, b, c]).differences[0].verdict is None
    assert {pair.verdict for pair in found([a, b, c]).pairs} == {None}


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, math.nan])] * 3), min_size=2, max_size=30))
def test_the_order_never_contradicts_a_difference(rows):
    sides = [side(name, [row[at] for row in rows]) for at, name in enumerate("abc")]
    got = found(sides)
    means = {row.candidate: row.estimate for row in got.estimates}
    for row in (*got.differences, *got.pairs):
        if not math.isnan(row.estimate):
            assert row.estimate == pytest.approx(means[row.candidate] - means[row.baseline], abs=1e-9)


def test_sides_are_ranked_on_the_items_that_all_have():
    b = [1.0] * 8 + [math.nan] * 2
    got = found([side("a", [1.0] * 8 + [0.0] * 2), side("b", b), side("none", [math.nan] * 10)])
    assert [(row.estimate, row.n, row.n_missing) for row in got.estimates[:2]] == [(1.0, 8, 0), (1.0, 8, 2)]
    assert got.own == {"a": 10, "b": 8, "none": 0}
    gap = got.uneven[0]
    assert (gap.candidate, gap.baseline_missing, gap.candidate_missing, gap.counted_wrong) == ("b", 0, 2, 0.0)


def test_equally_many_missing_scores_are_not_told_as_uneven():
    got = found([side("a", [math.nan, *[1.0] * 9]), side("b", [*[1.0] * 9, math.nan])])
    assert got.uneven == ()


def test_where_lower_is_better_the_headline_is_the_lowest():
    sides = [side(name, np.random.default_rng(1).normal(mean, 1, 50)) for name, mean in (("a", 5), ("b", 3), ("c", 7))]
    cost = Metric("accuracy", "usd", higher_is_better=False, rate=False)
    assert found(sides, cost).headline.candidate == "b"


@settings(max_examples=25)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, math.nan])] * 2), min_size=8, max_size=40), st.randoms())
def test_swapping_the_sides_flips_signs_and_moving_rows_changes_nothing(pairs, random):
    first, second = side("a", [x for x, _ in pairs]), side("b", [y for _, y in pairs])
    (there,), (back,) = (found([*order]).differences for order in ((first, second), (second, first)))
    order = list(range(len(pairs)))
    random.shuffle(order)
    moved = side("b", second.values[order], [second.ids[at] for at in order])
    (again,) = found([first, moved]).differences
    assert repr(again) == repr(there)
    assert there.n == back.n
    if there.difference is None:
        assert back.difference is None
        return
    assert back.estimate == pytest.approx(-there.estimate, abs=1e-12)
    assert back.difference.low == pytest.approx(-there.difference.high, abs=1e-9, nan_ok=True)
    assert back.difference.p_value == pytest.approx(there.difference.p_value, abs=1e-9, nan_ok=True)


def test_slices_are_adjusted_over_all_of_them():
    lang = {"lang": {f"e{number}": "de" if number % 3 else "en" for number in range(200)}}
    got = found([drawn("a", 0.5, slices=lang), drawn("b", 0.6), drawn("c", 0.7)])
    raw = [row.difference.p_value for row in got.slices]
    assert [row.slice for row in got.slices] == ["lang=de", "lang=de", "lang=en", "lang=en"]
    assert [row.p_adjusted for row in got.slices] == pytest.approx(false_discovery_control(raw).tolist())


def test_noise_between_runs_is_told_where_there_are_runs():
    got = found([drawn("a", 0.5, runs=4), drawn("b", 0.5)])
    assert got.noise[0].components.within == pytest.approx(0.25, abs=0.03)
    assert (got.noise[1].components, got.noise[1].n_runs) == (None, 1)
    assert "not measured" in got.noise[1].reason


def test_luck_is_that_of_equal_systems():
    got = found([drawn(name, 0.8) for name in "abcdef"])
    typical = float(np.median([row.estimate for row in got.estimates]))
    assert got.health.luck == pytest.approx(luck_of_best(6, 200, typical) - typical)


@pytest.mark.parametrize("values", [[math.nan] * 10, [1.0] * 10, [0.0] * 9 + [math.nan]])
def test_all_missing_or_all_equal_still_has_an_answer(values):
    got = found([side("a", [1.0] * 10), side("b", values)], smallest_effect=0.03)
    (row,) = got.differences
    assert row.difference is None or row.difference.low < row.difference.high
    assert row.verdict in {"INCONCLUSIVE", "WORSE"}
    assert got.headline is row if not math.isnan(row.estimate) else got.headline is None


def test_scores_that_are_no_rate_have_no_flips_and_no_luck():
    got = found([side("a", [0.2, 0.4, 0.9]), side("b", [0.3, 0.1, 0.7])], Metric("judge", rate=False))
    assert (got.flips, got.health) == ((), None)
