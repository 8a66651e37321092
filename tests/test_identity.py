import json
import math
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safetycatch.errors import InputError
from safetycatch.identity import (
    MAX_JSON_DEPTH,
    canonical_json,
    checked_name,
    derive_seed,
    file_sha256,
    fingerprint,
    keyed_fraction,
    text_sha256,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("left", "right"),
    [(0, 0.0), (0.0, -0.0), (3, 3.0), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ((1, 2), [1, 2])],
)
def test_equal_values_have_one_form(left, right):
    assert canonical_json(left) == canonical_json(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, True), (0, False), (0, None), ("1", 1), ("é", "e\u0301"), ([1, [2]], [[1], 2]), (2**53 + 1, float(2**53))],
)
def test_different_values_have_different_forms(left, right):
    assert canonical_json(left) != canonical_json(right)


def test_form_is_compact_sorted_utf8():
    assert canonical_json({"b": [1.5, None], "a": "é"}) == '{"a":"é","b":[1.5,null]}'.encode()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        ({1: 2}, "not text"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ({1, 2}, "set has no JSON form"),
        (b"x", "bytes has no JSON form"),
    ],
)
def test_what_json_cannot_hold_is_refused(value, why):
    with pytest.raises(InputError, match=why):
        canonical_json(value)


def test_depth_is_limited():
    nested = []
    for _ in range(MAX_JSON_DEPTH):
        nested = [nested]
    canonical_json(nested)
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(InputError, match="deeper than 64"):
        canonical_json(nested)


@given(PLAIN)
def test_the_form_means_the_value(value):
    assert json.loads(canonical_json(value)) == value


@given(PLAIN)
def test_the_form_is_stable_under_reading(value):
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


def test_golden_fingerprint():
    """A change here orphans every stored artifact and paid call."""
    assert fingerprint("stage", 1, {"b": 0.5, "a": ["é", None, True]}) == (
        "dd04eafbf61695c659fef8698b3ed067786dd41aa33bfcfd7ce32f47af9a3cb6"
    )


def test_parts_do_not_run_together():
    assert len({fingerprint("a", "b"), fingerprint("ab"), fingerprint(["a", "b"]), fingerprint("a", "b", None)}) == 4


def test_hash_of_a_file_is_that_of_its_text(tmp_path):
    (tmp_path / "a").write_text("abc", encoding="utf-8")
    assert file_sha256(tmp_path / "a") == text_sha256("abc")
    assert text_sha256("abc").startswith("ba7816bf")  # FIPS 180-2, appendix B.1


@given(st.text())
def test_no_name_escapes_its_folder(text):
    try:
        name = checked_name(text, "here")
    except InputError as error:
        name = checked_name(error.fix, "")
    for kind in (PurePosixPath, PureWindowsPath):
        assert kind(name).name == name
        assert not kind(name).is_absolute()
    assert len(name.encode()) <= 64
    assert name == name.lower()


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "a\\b", "/a", "A", "a\n", "-a", "a\0", "é", "a" * 65])
def test_unsafe_names_are_refused_with_a_safe_one(name):
    with pytest.raises(InputError) as caught:
        checked_name(name, "candidate")
    assert checked_name(caught.value.fix, "")


def test_keyed_fraction_is_uniform():
    # Kolmogorov-Smirnov at alpha .001 for n = 4000 is 1.95 / sqrt(n)
    drawn = sorted(keyed_fraction(7, "split", f"row{number}") for number in range(4000))
    assert max(abs((rank + 0.5) / 4000 - value) for rank, value in enumerate(drawn)) < 1.95 / 4000**0.5


@given(st.integers(), TEXT, TEXT)
def test_keyed_fraction_depends_on_seed_and_names_only(seed, purpose, row):
    found = keyed_fraction(seed, purpose, row)
    assert 0 <= found < 1
    assert found == keyed_fraction(seed, purpose, row) != keyed_fraction(seed + 1, purpose, row)


def test_golden_fraction():
    """A change here moves rows between train, dev and test."""
    assert keyed_fraction(7, "split", "row1") == 0.08614930711293556


@given(st.integers(0, 100), st.lists(TEXT, max_size=3), st.lists(TEXT, max_size=3))
def test_seeds_of_different_purposes_differ(seed, left, right):
    assume(left != right)
    assert derive_seed(seed, *left) != derive_seed(seed, *right)
    assert 0 <= derive_seed(seed, *left) < 2**63
