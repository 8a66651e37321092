import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from safetycatch.errors import StatisticsError
from safetycatch.judging.agreement import ordinal_agreement
from safetycatch.judging.alpha import krippendorff_alpha

NAN = math.nan
# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section D: four observers, twelve units
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
TABLES = st.integers(2, 4).flatmap(
    lambda raters: st.lists(
        st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=raters, max_size=raters), min_size=2, max_size=15
    )
)


def frame(table):
    rows = [
        (f"i{item}", f"a{rater}", None if math.isnan(value) else f"{value:g}")
        for rater, column in enumerate(table)
        for item, value in enumerate(column)
    ]
    return dict(zip(("example_id", "annotator", "label"), zip(*rows, strict=True), strict=True))


@pytest.mark.parametrize(("metric", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_published_example(metric, published):
    found = krippendorff_alpha(frame(PUBLISHED), metric=metric)
    assert found.estimate == pytest.approx(published, abs=5e-4)
    assert (found.n_items, found.n_labels, found.n_single, found.n_annotators) == (11, 40, 1, 4)


def test_by_hand():
    # two raters, aa ab bb: 2 of 6 ordered pairs differ; of 6 labels 3 and 3: chance 18 of 30
    found = krippendorff_alpha(frame([[1.0, 1, 2], [1, 2, 2]]))
    assert found.estimate == pytest.approx(1 - (2 / 6) / (18 / 30))


@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval"])
@settings(max_examples=30)
@given(TABLES)
def test_agrees_with_the_library(metric, rows):
    import krippendorff

    table = np.array([[NAN if value is None else float(value) for value in row] for row in rows]).T
    assume((np.sum(~np.isnan(table), axis=0) >= 2).sum() >= 2)
    paired = table[:, np.sum(~np.isnan(table), axis=0) >= 2]
    assume(len(np.unique(paired[~np.isnan(paired)])) > 1)
    found = krippendorff_alpha(frame(table), metric=metric)
    theirs = krippendorff.alpha(reliability_data=paired, level_of_measurement=metric)
    assert found.estimate == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval"])
def test_the_jackknife_leaves_out_each_item_in_turn(metric):
    keep = np.sum(~np.isnan(PUBLISHED), axis=0) >= 2
    table = PUBLISHED[:, keep]
    n = table.shape[1]
    without = [krippendorff_alpha(frame(np.delete(table, item, axis=1)), metric=metric).estimate for item in range(n)]
    by_hand = math.sqrt((n - 1) / n * np.square(np.array(without) - np.mean(without)).sum())
    assert krippendorff_alpha(frame(table), metric=metric).se == pytest.approx(by_hand)


def test_two_raters_without_gaps_have_the_alpha_of_their_table():
    rng = np.random.default_rng(1)
    first = rng.integers(1, 5, 60)
    second = np.clip(first + rng.integers(-1, 2, 60), 1, 4)
    found = krippendorff_alpha(frame([first.astype(float), second.astype(float)]), metric="ordinal")
    assert found.estimate == pytest.approx(ordinal_agreement(first, second, [1, 2, 3, 4]).alpha.estimate)


def test_named_grades_need_their_order():
    columns = {"example_id": list("aabbcc"), "annotator": list("xyxyxy")}
    labels = {**columns, "label": ["bad", "bad", "good", "fair", "good", "good"]}
    with pytest.raises(StatisticsError, match="give the ordinal scale's 'order'"):
        krippendorff_alpha(labels, metric="ordinal")
    with pytest.raises(StatisticsError, match="expected every label once"):
        krippendorff_alpha(labels, metric="ordinal", order=["bad", "good"])
    found = krippendorff_alpha(labels, metric="ordinal", order=["bad", "fair", "good"]).estimate
    numbers = {**columns, "label": ["1", "1", "3", "2", "3", "3"]}
    assert found == pytest.approx(krippendorff_alpha(numbers, metric="ordinal").estimate)


def test_undefined_is_nan_with_a_reason():
    same = krippendorff_alpha(frame([[1.0, 1, 1], [1, 1, 1]]))
    assert math.isnan(same.estimate)
    assert "all labels are the same" in same.reason
    perfect = krippendorff_alpha(frame([[1.0, 1, 2, 2], [1, 1, 2, 2]]))
    assert perfect.estimate == 1
    assert math.isnan(perfect.low)
    assert "cannot be measured" in perfect.reason
    with pytest.raises(StatisticsError, match="0 items have two or more labels"):
        krippendorff_alpha(frame([[1.0, NAN], [NAN, 2.0]]))
