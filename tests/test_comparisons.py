"""Comparisons of a whole run with three candidates: against the baseline, between the others, by slice."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest


@pytest.fixture
def three(project):
    project.config["candidates"].append({"id": "c", "call": "wired:c", "max_cost_usd": 0.001})
    return project


def rows_of(result, **wanted):
    return [
        row
        for row in pq.read_table(result["artifacts"]["comparisons"]).to_pylist()
        if all(row[key] == value for key, value in wanted.items())
    ]


def report_of(result):
    return Path(result["report"]).read_text()


def test_a_run_compares_the_candidates_with_each_other_too(three):
    result = three.run()
    (pair,) = [row for row in rows_of(result, metric="accuracy", slice="all") if row["baseline"] != "a"]
    assert (pair["candidate"], pair["baseline"], pair["correction"]) == ("b", "c", "holm_pairs")
    assert pair["estimate"] == pytest.approx(0.1)
    assert pair["verdict"] in {"INCONCLUSIVE", "EQUIVALENT"}
    assert [row["correction"] for row in rows_of(result, baseline="a", metric="accuracy", slice="all")] == ["holm"] * 2
    report = report_of(result)
    assert "Pairs without the baseline" in report
    assert "guardrails play no part" in report


def test_two_candidates_have_no_other_pair(project):
    result = project.run()
    assert {row["baseline"] for row in rows_of(result)} == {"a"}
    assert "Pairs without the baseline" not in report_of(result)


def test_a_claim_may_ask_for_max_t(three):
    three.config["claim"]["correction"] = "max_t"
    result = three.run()
    against = rows_of(result, baseline="a", metric="accuracy", slice="all")
    assert [row["correction"] for row in against] == ["max_t"] * 2
    assert all(0 < row["p_adjusted"] <= 1 for row in against)
    assert "max-T over 2 candidates" in result["banner"]["check"]
    (family,) = (found for found in result["findings"] if found["code"] == "SC205")
    assert "by max-T" in family["matters"]


def test_slices_are_exploratory_and_say_what_they_detect(three):
    result = three.run()
    slices = [row for row in rows_of(result) if row["slice"] != "all"]
    assert {row["correction"] for row in slices} == {"benjamini_hochberg"}
    assert all(row["p_adjusted"] >= row["p_value"] for row in slices)
    assert all(row["detectable"] > 0.1 for row in slices)
    report = report_of(result)
    assert "Exploratory: p-values are adjusted over all 4 slice differences" in report
    assert "detects" in report
