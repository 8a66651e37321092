import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import DataError
from safetycatch.results.matrix import build_matrix, hash_of, items_of

EXAMPLES = pa.table(
    {
        "example_id": ["c", "a", "b", "d"],
        "input": ["3", "1", "2", "4"],
        "target": ["x", "y", "x", "x"],
        "language": ["de", "en", "de", "en"],
    }
)
SPLITS = pa.table(
    {
        "example_id": ["a", "b", "c", "d"],
        "split": ["test", "test", "test", "dev"],
        "cluster_id": ["k1", "k1", "k2", "k3"],
    }
)


def batch(*rows):
    """Rows are (candidate, example_id, replicate, metric, value)."""
    names = ("candidate", "example_id", "replicate", "metric", "value")
    return pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def test_items_keep_the_order_of_the_examples():
    found = items_of(EXAMPLES, SPLITS, "test", ["language"])
    assert found.ids == ("c", "a", "b")
    assert found.clusters.tolist() == ["k2", "k1", "k1"]
    assert found.slices["language"].tolist() == ["de", "en", "de"]
    assert found.targets.tolist() == ["x", "y", "x"]
    assert (found.n_clusters, found.clustered) == (2, True)


def test_items_may_be_picked():
    assert items_of(EXAMPLES, SPLITS, "test", [], ["a", "c"]).ids == ("c", "a")


@pytest.mark.parametrize("ids", [["a", "d"], ["a", "nowhere"], ["a", "a"]])
def test_an_item_that_is_not_of_the_split_is_refused(ids):
    with pytest.raises(DataError, match="is not one row of the test split"):
        items_of(EXAMPLES, SPLITS, "test", [], ids)


def test_a_missing_slice_is_named():
    with pytest.raises(DataError, match="no column 'region'"):
        items_of(EXAMPLES, SPLITS, "test", ["region"])


def test_content_changes_with_input_and_target():
    assert len({hash_of("a", "b"), hash_of("a", "c"), hash_of("ab", ""), hash_of("a", None)}) == 4


def test_scores_are_aligned_by_id_and_missing_rows_are_nan(items):
    found = build_matrix(items(3), [batch(("a", "e2", 0, "m", 1.0), ("a", "e0", 0, "m", None))], 1)
    np.testing.assert_array_equal(found.rows("a", "m"), [[math.nan], [math.nan], [1.0]])
    assert (found.candidates, found.metrics, found.has("a", "m"), found.has("b", "m")) == (("a",), ("m",), True, False)


def test_replicates_are_averaged_over_those_that_are_there(items):
    rows = [("a", "e0", 0, "m", 1.0), ("a", "e0", 1, "m", 0.0), ("a", "e1", 1, "m", 1.0)]
    found = build_matrix(items(3), [batch(row) for row in rows], 2)
    np.testing.assert_array_equal(found.means("a", "m"), [0.5, 1.0, math.nan])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("a", "e9", 0, "m", 1.0), "a score of 'e9', replicate 0"),
        (("a", "e1", 2, "m", 1.0), "replicate 2"),
        (("a", "e1", -1, "m", 1.0), "replicate -1"),
        (("a", "e0", 0, "m", None), "two scores of 'e0'"),
    ],
)
def test_scores_that_belong_nowhere_are_refused(items, row, said):
    with pytest.raises(DataError, match=said):
        build_matrix(items(2), [batch(("a", "e0", 0, "m", 1.0)), batch(row)], 1)


@given(
    st.permutations([(name, item, run) for name in "ab" for item in range(4) for run in range(2)]), st.integers(1, 16)
)
def test_the_order_of_the_scores_does_not_matter(items, order, size):
    rows = [(name, f"e{item}", run, "m", float(10 * item + run)) for name, item, run in order]
    parts = [batch(*rows[start : start + size]) for start in range(0, len(rows), size)]
    found = build_matrix(items(4), parts, 2)
    for name in "ab":
        np.testing.assert_array_equal(found.rows(name, "m"), [[0, 1], [10, 11], [20, 21], [30, 31]])


def test_replicates_share_their_items_cluster(matrix):
    found = matrix({"a": [[1, 0], [1, 1]]})
    values, clusters = found.flat("a", "accuracy")
    assert values.tolist() == [1, 0, 1, 1]
    assert clusters.tolist() == ["e0", "e0", "e1", "e1"]
    assert found.paired_clusters() is None


def test_one_replicate_of_independent_items_has_no_clusters(matrix):
    assert matrix({"a": [1, 0]}).flat("a", "accuracy")[1] is None
    assert matrix({"a": [1, 0]}, clusters=["k", "k"]).flat("a", "accuracy")[1].tolist() == ["k", "k"]


def test_a_stored_run_joins_on_the_shared_items(items):
    ours = build_matrix(items(4), [batch(*((("a", f"e{n}", 0, "m", float(n))) for n in range(4)))], 1)
    other_items = items_of(
        pa.table({"example_id": ["e3", "e9", "e1"], "input": ["", "", ""], "target": ["", "", ""]}),
        pa.table({"example_id": ["e1", "e3", "e9"], "split": ["test"] * 3, "cluster_id": ["1", "3", "9"]}),
        "test",
        [],
    )
    theirs = build_matrix(other_items, [batch(("a", "e3", 0, "m", 30.0), ("a", "e1", 0, "m", 10.0))], 1)
    both = ours.joined(theirs, "r1")
    assert (both.items.ids, both.candidates) == (("e1", "e3"), ("a", "r1:a"))
    assert both.means("a", "m").tolist() == [1.0, 3.0]
    assert both.means("r1:a", "m").tolist() == [10.0, 30.0]
