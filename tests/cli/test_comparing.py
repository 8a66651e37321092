import pytest

A = {"zero": dict.fromkeys("abcdefghij", 0.0), "knn": dict.fromkeys("abcdefghij", 1.0)}
B = {"zero": {**A["zero"], "a": 1.0}, "knn": {**A["knn"], "j": 0.0}}


def test_pairs_candidates_by_item(cli, stored):
    first, second = stored(A), stored(B)
    (row,) = cli("compare", f"{first}:zero", f"{second}:knn", "--json").document["comparisons"]
    assert (row["baseline"], row["candidate"], row["n"]) == (f"{first}:zero", f"{second}:knn", 10)
    assert row["estimate"] == pytest.approx(0.9)


def test_without_candidates_pairs_equal_names(cli, stored):
    first, second = stored(A), stored(B)
    rows = cli("compare", first, second, "--json").document["comparisons"]
    assert [row["estimate"] for row in rows] == [pytest.approx(0.1), pytest.approx(-0.1)]
    assert "Holm over 2" in cli("compare", first, second).out


def test_within_one_run(cli, stored):
    run = stored(A)
    (row,) = cli("compare", f"{run}:zero", run, "--json").document["comparisons"]
    assert row["estimate"] == 1


def test_refuses_other_items_unless_asked(cli, stored):
    first = stored(A)
    second = stored({"zero": dict.fromkeys("abcdefghk", 1.0)})
    ended = cli("compare", f"{first}:zero", second)
    assert (ended.code, ended.out) == (10, "")
    assert "SC204 refused" in ended.err
    assert cli("compare", f"{first}:zero", second, "--json").document["error"]["findings"][0]["code"] == "SC204"
    assert cli("compare", f"{first}:zero", second, "--intersect", "--json").document["comparisons"][0]["n"] == 8


def test_refuses_changed_content_even_so(cli, stored):
    first, second = stored(A), stored(B, {"a": "edited"})
    ended = cli("compare", first, second, "--intersect")
    assert ended.code == 10
    assert "with other content (e.g. a)" in ended.err


def test_says_what_it_lacks(cli, stored):
    run = stored(A)
    assert "leave open" in cli("compare", run, run).err
    assert "zero, knn" in cli("compare", f"{run}:nope", run).err
    assert "accuracy" in cli("compare", f"{run}:zero", run, "--metric", "nope").err
