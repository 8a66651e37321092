"""Whole runs with an ensemble: its row beside the others, what it asks, ties, resumption, and the catches."""

import pytest

from tests.wiring import rows


@pytest.fixture
def votes(project):
    """Three members of about equal accuracy whose errors differ, on dev and test."""
    project.rows = rows(120)
    project.config["split"] = {"dev": 0.5, "test": 0.5, "train": 0}
    project.config["candidates"] = [
        {"id": name, "call": f"wired:{name}", "max_cost_usd": 0.001} for name in ("a", "b", "c")
    ]
    project.config["aggregate"] = {"members": ["a", "b", "c"]}
    for number, name in enumerate("abc"):
        project.answers[name] = wrong_at(number)
    return project


def wrong_at(*remainders, of=5):
    """Wrong where the row's number leaves one of `remainders`."""

    def answer(row):
        number = int(row["example_id"][1:])
        right = number % of not in remainders
        return "refund" if bool(number % 2) == right else "delivery"

    return answer


def candidates(result):
    return {row["id"]: row for row in result["candidates"]}


def test_a_majority_corrects_errors_that_differ(votes):
    found = votes.run()
    scored = candidates(found)
    assert scored["ensemble"]["estimate"] == 1
    assert max(scored[name]["estimate"] for name in "abc") < 0.9
    assert scored["ensemble"]["cost_usd"] == pytest.approx(sum(scored[name]["cost_usd"] for name in "abc"))
    assert {row["candidate"] for row in found["comparisons"]} >= {"b", "c", "ensemble"}
    assert found["ensemble"]["rho"] < 0
    assert found["ensemble"]["effective_voters"] > 3
