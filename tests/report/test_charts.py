import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.report import axes, charts


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_an_axis_holds_its_values_and_a_few_ticks(values):
    axis = axes.linear_axis(values)
    assert all(axis.low <= value <= axis.high for value in values)
    assert 1 <= len(axis.ticks) <= 9
    assert len(set(axis.texts)) == len(axis.texts)


def test_a_percentage_axis_stays_within_0_and_100():
    axis = axes.linear_axis([2.0, 99.5], bounds=(0.0, 100.0))
    assert (axis.low, axis.high) == (0.0, 100.0)


def test_costs_far_apart_get_a_logarithmic_axis():
    axis = axes.cost_axis([0.1, 5.0])
    assert axis.log
    assert axis.texts == ("$0.10", "$0.20", "$0.50", "$1", "$2", "$5")


def test_a_free_candidate_keeps_the_axis_linear():
    assert not axes.cost_axis([0.0, 5.0]).log


@pytest.mark.parametrize(
    ("higher", "expected"), [(True, (True, True, False, False)), (False, (True, False, False, True))]
)
def test_the_frontier_is_what_nothing_beats_on_both(higher, expected):
    assert charts.frontier([(1, 70), (2, 80), (3, 79), (4, 60)], higher_is_better=higher) == expected


def test_equal_points_are_both_on_the_frontier():
    assert charts.frontier([(1, 70), (1, 70)]) == (True, True)


def test_a_mark_is_where_its_value_is():
    drawn = charts.row(charts.Mark(5.0, 0.0, 10.0, "x"), axes.Axis(0.0, 10.0, (), ()))
    assert 'cx="50.00%"' in drawn
    assert 'x1="0.00%" y1="0" x2="100.00%"' in drawn


def test_a_mark_without_interval_has_no_whisker():
    assert "whisker" not in charts.row(charts.Mark(5.0, None, None, "x"), axes.Axis(0.0, 10.0, (), ()))


def test_names_in_the_scatter_do_not_overlap():
    points = [charts.Point(f"candidate-{i}", 1.0 + i / 50, 70.0 + i / 10) for i in range(6)]
    axis = axes.Axis(0.0, 10.0, (), ())
    drawn = charts.scatter(points, axis, axes.Axis(60.0, 80.0, (), ()), "x", "y", "x")
    names = re.findall(
        r'class="name[^"]*" x="([\d.]+)%" y="([\d.]+)" dx="([-\d.]+)"(?: dy="([-\d.]+)")? text-anchor="start"', drawn
    )
    heights = sorted(float(y) + float(dy) for _, y, _, dy in names)
    assert all(b - a >= 14 for a, b in pairwise(heights))
