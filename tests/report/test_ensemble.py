"""The ensemble's section: hostile text stays text, and what was not measured says why."""

from dataclasses import replace

import pytest

from safetycatch.report.ensemble import told
from safetycatch.report.html import render_html
from safetycatch.report.markdown import render_markdown

HOSTILE = "<script>alert(1)</script>[x](javascript:1)"
FACTS = {
    "id": "ensemble",
    "rule": "weighted",
    "members": ["zero", "knn8"],
    "samples": None,
    "n": 384,
    "n_dev": 128,
    "n_folds": 0,
    "n_asked": 0,
    "n_judged": 12,
    "n_decided": 380,
    "n_nobody": 2,
    "n_unvoted": 4,
    "fit_usd": 0.5,
    "model": None,
    "missing_votes": {"zero": 3, "knn8": 0},
    "weights": [{"zero": 1.0, "knn8": 2.0}],
    "ties": {"the judge": 11, "undecided": 1},
    "tied": [{"example_id": HOSTILE, "tied": [HOSTILE, "refund"], "label": HOSTILE, "by": "the judge"}],
    "best": "knn8",
    "chosen_on": "dev",
    "unit": "points",
    "gain": 0.021,
    "low": -0.004,
    "high": 0.046,
    "n_paired": 380,
    "no_interval": "",
    "added_usd_per_1000": 1.25,
    "rho": 0.6,
    "no_rho": "",
    "n_voters": 5,
    "effective_voters": 1.47,
    "pairs": [{"left": "knn8", "right": "zero", "phi": None}],
}


def test_gain_cost_and_effective_voters_in_words():
    gain, errors = told(FACTS)
    assert gain == "+2.1 points [-0.4, +4.6] over knn8, the best member on dev, n = 380, for $1.25 more for 1,000 rows."
    assert errors == "Error correlation 0.60 (mean phi over pairs of members): 5 voters are worth 1.5 independent ones."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"best": None, "gain": None, "no_interval": "no member has an answer"}, "because no member has an answer"),
        ({"low": None, "high": None, "no_interval": "no interval: one cluster"}, "(no interval: one cluster)"),
        ({"added_usd_per_1000": None}, "at a price that is not known"),
        ({"rho": None, "no_rho": "the votes are samples of one member"}, "not measured, because the votes are samples"),
        ({"effective_voters": None}, "over pairs of members)."),
    ],
)
def test_what_is_not_known_says_why(change, words):
    assert words in " ".join(told({**FACTS, **change}))


def test_answers_and_ids_stay_text(content):
    shown = replace(content, ensemble=FACTS)
    page = render_html(shown)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "A judge was asked about 12 tied rows, 3 % of the decided ones." in page
    assert "128 dev rows ($0.50 once)" in page
    assert "On 2 rows nobody" in page
    assert "On 4 rows Dawid-Skene decided for a label that no member gave" in page
    assert "128 dev rows (price unknown once)" in render_html(replace(content, ensemble={**FACTS, "fit_usd": None}))
    assert "- Ensemble: " in render_markdown(shown)


def test_without_an_ensemble_there_is_no_section(content):
    assert 'id="ensemble"' not in render_html(content)
