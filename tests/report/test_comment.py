"""What a gate says on a pull request, and what nobody else can make it say."""

import re
from typing import Any

import pytest

from safetycatch.report.comment import gate_comment, stopped_comment

HOSTILE = "ok\n### ✓ gate passed\n@everyone [x](https://e.example) <img src=x onerror=y> ``` | a | -->\u202e"
GATE: dict[str, Any] = {
    "gate": "failed",
    "sentence": "b fails against a: accuracy -4.2 points on 300 items",
    "candidate": "b",
    "against": "a",
    "metric": "accuracy",
    "unit": "points",
    "margin": 0.02,
    "margin_from": "--noninferior",
    "estimate": -0.042,
    "low": -0.07,
    "high": -0.01,
    "n": 300,
    "n_clusters": 60,
    "n_missing": 2,
    "settle": None,
    "looks_note": None,
    "guardrails": [{"metric": "cost_usd", "status": "passed", "reason": "0.002 against 0.002, allowed +0"}],
    "flips": {"fixed": 4, "broken": 16},
    "candidates": [
        {"id": "a", "status": "scored", "n": 300, "n_missing": 0, "estimate": 0.8, "low": 0.75, "high": 0.85,
         "cost_usd": 0.2},
        {"id": "b", "status": "scored", "n": 298, "n_missing": 2, "estimate": 0.758, "low": 0.7, "high": 0.81,
         "cost_usd": None},
        {"id": "c", "status": "pruned", "n": 9, "n_missing": 0, "estimate": 0.5, "low": None, "high": None,
         "cost_usd": 0.0},
    ],
    "findings": [{"code": "SC203", "status": "fired"}, {"code": "SC201", "status": "passed"}],
    "overrides": [{"code": "SC501", "reason": "public benchmark"}],
    "calls": {"sent": 300, "from_journal": 300},
    "spent_usd": 0.2,
    "run_id": "2026-11-23-gate-1",
    "command": "safetycatch gate gate.yaml --against baseline --noninferior '2 points'",
}  # fmt: skip


def outside_code(text):
    return re.sub(r"`[^`]*`", "", text)


def test_looks_beyond_the_budget_are_a_sentence():
    note = "7 looks at this test set by this claim (budget 3): a pass means less"
    assert f"- {note}" in gate_comment("gate", {**GATE, "looks_note": note})


def test_it_says_everything_in_about_twenty_lines():
    text = gate_comment("gate", GATE)
    assert text.startswith("<!-- safetycatch-gate: gate -->\n### ▼ gate FAILED: `gate`\n")
    assert len(text.splitlines()) <= 25
    for part in ("-4.2 points", "margin 2 points", "SC501 overridden", "public benchmark", "4 fixed, 16 broken"):
        assert part in text
    for part in ("in 60 clusters", "2 missing", "`cost_usd`: passed", "warnings: SC203", "--noninferior '2 points'"):
        assert part in text
    assert text.index("SC501 overridden") < text.index("| candidate |")
    assert "`c`" not in text


@pytest.mark.parametrize("key", ["sentence", "run_id", "command", "metric"])
def test_hostile_text_stays_text(key):
    text = gate_comment("gate", {**GATE, key: HOSTILE})
    assert len(re.findall(r"^#", text, flags=re.MULTILINE)) == 1
    assert not re.search(r"@everyone|\]\(|<img|✓", outside_code(text))


def test_a_hostile_reason_neither_forges_a_pass_nor_calls_anybody():
    rail = {"metric": HOSTILE, "status": "failed", "reason": HOSTILE}
    row = {**GATE["candidates"][0], "id": HOSTILE}
    overrides = [{"code": "SC501", "reason": HOSTILE}]
    text = gate_comment("gate", {**GATE, "overrides": overrides, "guardrails": [rail], "candidates": [row]})
    assert len(re.findall(r"^#", text, flags=re.MULTILINE)) == 1
    assert text.count("-->\n") == 1
    assert not re.search(r"@everyone|\]\(|<img|✓", outside_code(text))
    assert "\u202e" not in text


def test_many_overrides_and_candidates_are_counted():
    more = {
        "overrides": [{"code": f"SC{n}", "reason": "r"} for n in range(201, 209)],
        "candidates": [{**GATE["candidates"][0], "id": f"c{n}"} for n in range(30)],
    }
    text = gate_comment("gate", {**GATE, **more})
    assert "and 3 more overrides" in text
    assert "and 22 more candidates" in text


def test_what_is_not_known_is_a_dash():
    text = gate_comment("gate", {**GATE, "estimate": None, "low": None, "high": None, "flips": None})
    assert "Difference: —" in text
    assert "Flips" not in text


def test_a_gate_that_was_stopped_says_that_it_is_no_pass():
    text = stopped_comment("gate", ["SC501 refused", "  saw  ### ✓ gate passed @everyone"], "safetycatch gate x", 10)
    assert "### ✕ gate did not decide: `gate`" in text
    assert "This is not a pass" in text
    assert "@everyone" not in outside_code(text)
    assert stopped_comment("x --> @me", [], "c", 2).startswith("<!-- safetycatch-gate: x-me -->\n")
    assert "and 28 more lines" in stopped_comment("gate", ["line"] * 40, "c", 10)


@pytest.mark.parametrize(("known", "words"), [(0.0, "price unknown"), (0.2, "at least $0.20")])
def test_an_unknown_price_is_no_zero(known, words):
    text = gate_comment("gate", GATE | {"spent_usd": None, "spent_at_least_usd": known})
    assert f"Spent: {words}" in text.replace("`", "")
