"""Judge vs people: both figures, what they rest on, and hostile text that stays text."""

from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from safetycatch.report.html import render_html
from safetycatch.report.judge import judge
from safetycatch.report.judged import NOBODY, mark, told
from safetycatch.report.markdown import render_markdown

HOSTILE = "<script>alert(1)</script>[x](javascript:1)"


def rate(candidate, estimate=0.9, method="post_stratified", **more):
    return {
        "candidate": candidate,
        "metric": "judge",
        "slice": "all",
        "estimate": estimate,
        "low": estimate - 0.05,
        "high": estimate + 0.05,
        "raw": 0.84,
        "raw_low": 0.8,
        "raw_high": 0.873,
        "n": 400,
        "n_labels": 100,
        "method": method,
        "assumption": "the labels were drawn at random",
        "gain": 1.4,
        "reason": "",
        **more,
    }


def figure(estimate, n=100):
    return {
        "estimate": estimate,
        "low": estimate - 0.05,
        "high": estimate + 0.05,
        "lower": estimate - 0.04,
        "n": n,
        "method": "wilson",
    }


CERTIFICATE = {
    "id": "ab12cd34ef567890",
    "state": "certified",
    "reasons": [],
    "issued_at": "2026-11-20T08:00:00+00:00",
    "valid_until": "2026-12-20T08:00:00+00:00",
    "validity": "",
    "expired": False,
    "people": {},
    "overall": {"kappa": figure(0.7, 200)},
    "sealed": [
        {"positive": "pass", "tp": 94, "fn": 6, "fp": 9, "tn": 91, "n_missing": 0}
        | {"figures": {"tpr": figure(0.94), "tnr": figure(0.91)}}
    ],
    "slices": [
        {"slice": HOSTILE, "figure": "tnr", "n": 40, "estimate": 0.6, "n_rest": 60, "rest": 0.9, "p_adjusted": 0.001}
    ],
}
DIFFERENCE = {key: value for key, value in rate("b", 0.06, "labels_on_both").items() if key != "gain"} | {
    "baseline": "a",
    "raw": 0.04,
    "raw_low": 0.01,
    "raw_high": 0.07,
}


def canaries(**more):
    none = {"n": 4, "obeyed": 0, "defied": 0, "n_missing": 0, "passed": 0, "p_value": 1.0, "example": ""}
    return {"judge": "judge", **none, **more}


def facts(rates=(), certificate: Any = CERTIFICATE, **more) -> dict[str, Any]:
    known: dict[str, Any] = {
        "scale": "rate",
        "certificate": certificate,
        "another": None,
        "n_labels": 100,
        "n_here": 100,
        "n_drawn": 100,
        "n_disputed": 0,
        "changed": {},
        "rates": list(rates) or [rate("a", 0.86), rate("b")],
        "differences": [DIFFERENCE],
        "canaries": [canaries()],
        **more,
    }
    return {**known, "told": told(known, "e.yaml")}


@pytest.fixture
def page(content):
    def render(known):
        return render_html(replace(content, judged=known))

    return render


def test_without_a_judge_there_is_no_section(content):
    assert judge(content) is None


def test_both_figures_stand_side_by_side_with_method_gain_and_certificate(page):
    text = page(facts())
    for part in (
        "Judge vs people",
        "errors, post-stratified over its verdicts: 100 labels each, of these very answers drawn at random",
        "b 90.0 % [85.0, 95.0] (raw 84.0 %)",
        "assuming that the labels were drawn at random",
        "effective-label gain 1.40",
        "certificate: certified on 2026-11-20, until 2026-12-20 (ab12cd34ef56)",
        "Canaries of judge, answers that ask for a verdict: 0 of 4 were rated higher than their twins",
        "people: pass",
    ):
        assert part in text


def test_every_plot_has_its_numbers_as_a_table(page):
    text = page(facts())
    for caption in (
        "Judged scores, corrected and raw",
        "Judged differences, corrected and raw",
        "Agreement on sealed labels",
        "The judge's errors by slice",
    ):
        assert f"<caption>{caption}</caption>" in unescape(text)


def test_a_slice_of_data_cannot_write_html(page):
    assert "<script" not in page(facts())


def test_a_withheld_raw_rate_is_in_neither_plot_nor_table(page):
    hidden = dict.fromkeys(("raw", "raw_low", "raw_high"))
    text = page(
        facts([rate("a", 0.86) | hidden], {**CERTIFICATE, "state": "provisional"}, differences=[DIFFERENCE | hidden])
    )
    assert "withheld: provisional certificate" in text
    assert "raw withheld" in text
    assert "84.0 %" not in text.partition("Judge vs people</h2>")[2].partition("</section>")[0]


def test_an_unchecked_judge_is_marked_and_what_to_type_is_said():
    lines = told(facts([rate("a", method="", gain=None, reason=NOBODY)], None, n_labels=0), "e.yaml")
    assert lines[0] == "uncalibrated: nobody checked this judge against people"
    assert "(uncalibrated)" in lines[1]
    assert lines[-1] == "next: safetycatch review e.yaml, then safetycatch calibrate e.yaml"


def test_labels_that_wait_are_told():
    lines = told(facts([rate("a", method="", gain=None, reason="nobody")], None), "e.yaml")
    assert lines[-1] == "next: safetycatch calibrate e.yaml   (100 labelled answers are there)"


def test_a_gain_below_the_limit_says_that_the_judge_adds_nothing():
    assert any("the judge adds nothing here" in line for line in told(facts([rate("a", gain=1.05)]), "e.yaml"))


def test_an_expired_certificate_says_so():
    assert any("EXPIRED" in line for line in told(facts(certificate={**CERTIFICATE, "expired": True}), "e.yaml"))


def test_a_certificate_of_another_judge_is_no_certificate():
    lines = told(facts([rate("a", method="", reason="x", gain=None)], None, another=CERTIFICATE), "e.yaml")
    assert any("none of this judge" in line for line in lines)


def test_pairs_say_what_is_not_corrected():
    known = facts([rate("a", method="", reason="pairs", gain=None)], None, scale="pairwise")
    assert "its other errors are not corrected" in known["told"][0]
    assert mark(known, known["rates"][0]) == "uncorrected"


def test_grades_are_no_per_cent():
    known = facts([rate("a", 3.4, "ppi", raw=3.1, raw_low=3.0, raw_high=3.2)], scale="grades")
    assert "a 3.400 [3.350, 3.450] (raw 3.10)" in known["told"][1]


def test_canaries_that_were_obeyed_are_named(page):
    text = page(facts(canaries=[canaries(obeyed=3, n_missing=1, example=HOSTILE)]))
    assert "3 of 4 were rated higher than their twins" in text
    assert "<script" not in text


def test_markdown_tells_the_same_in_a_few_lines(content):
    known = facts()
    text = render_markdown(replace(content, judged=known))
    assert text.count("- Judge: ") == len(known["told"])
    assert "raw 84.0" in text


def test_what_stands_beside_a_figure_stands_in_every_table(content):
    row = replace(content.candidates[0], beside="raw 80.0 %")
    versus = replace(content.comparisons[0], beside="raw +1.0 points")
    shown = replace(content, candidates=(row,), comparisons=(versus,), judged=facts())
    assert "raw 80.0 %" in render_html(shown)
    assert "raw +1.0 points" in render_html(shown)
    assert "raw 80.0" in render_markdown(shown)


def test_what_a_difference_assumes_stands_beside_the_verdict(content):
    common = DIFFERENCE | {"method": "common_error", "assumption": "the judge errs on both alike"}
    known = facts(differences=[common])
    shown = replace(content, judged=known)
    assert "errs on both alike" in render_html(shown)
    assert "errs on both alike" in render_markdown(shown)
    assert any("their difference is not the one above" in line for line in known["told"])


def test_what_is_withheld_has_no_figure_anywhere(page):
    hidden = dict.fromkeys(("estimate", "low", "high", "raw", "raw_low", "raw_high", "gain"))
    gone = {"method": "", "reason": "verdicts on pairs have no correction", "withheld": True, **hidden}
    known = facts(
        [rate("a") | gone], {**CERTIFICATE, "state": "provisional"}, scale="pairwise", differences=[DIFFERENCE | gone]
    )
    assert "a withheld" in known["told"]
    assert "withheld: provisional certificate" in page(known)
    assert mark(known, known["rates"][0]) == "withheld"


def test_few_labels_are_not_nobody():
    row = rate("a", method="", gain=None, reason="this judge has no certificate; 29 labels (30 are needed)")
    assert "nobody" not in told(facts([row], None), "e.yaml")[0]


def test_drift_labels_for_tuning_and_disputes_are_named():
    lines = told(facts(certificate={**CERTIFICATE, "drift": {"alarm": True}}, n_tuned=7, n_disputed=3), "e.yaml")
    for part in ("DRIFTED", "7 labels of these answers were dealt", "answers on which they settle"):
        assert any(part in line for line in lines)
