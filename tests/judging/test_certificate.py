"""What state sealed counts give, and a certificate's way to JSON and back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from safetycatch.errors import DataError
from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.calibration import counts_of
from safetycatch.judging.certificate import LIMITS, Certificate, decide_state, lowered, validity_of
from safetycatch.judging.certificate import Reason as Why
from safetycatch.judging.further_labels import further_labels
from safetycatch.report.certificate import certificate_markdown
from tests.judging.certified import NOW, PASS_FAIL, certificate, items


@pytest.mark.parametrize(
    ("counts", "state", "codes"),
    [
        ((95, 5, 5, 95), "certified", ["reached"]),
        ((86, 14, 5, 95), "provisional", ["tpr", "corrected_only"]),
        ((95, 5, 14, 86), "provisional", ["tnr", "corrected_only"]),
        ((49, 0, 0, 500), "provisional", ["few_labels", "corrected_only"]),
        ((60, 40, 45, 55), "refused", ["tpr", "tnr", "j", "barely_informative"]),
        ((100, 0, 0, 0), "refused", ["few_labels", "too_few"]),
        ((5, 1, 1, 5), "refused", ["few_labels", "tpr", "tnr", "j", "too_few"]),
        ((10, 90, 80, 20), "refused", ["inverted", "tpr", "tnr", "j"]),
    ],
)
def test_states(counts, state, codes):
    found, reasons = decide_state(counts_of(items(*counts), PASS_FAIL))
    assert (found, [reason.code for reason in reasons]) == (state, codes)


PAIRS = JudgeSettings.model_validate({"verdicts": "v.csv", "scale": "pairwise"})


def pairs(**said):
    one = items(1, 0, 0, 0)[0]
    return counts_of([replace(one, label=name, verdict=name) for name, n in said.items() for _ in range(n)], PAIRS)


def test_a_class_without_labels_speaks_against_none():
    state, reasons = decide_state(pairs(first=49, second=49))
    assert (state, reasons[0].code, reasons[-1].code) == ("provisional", "few_labels", "corrected_only")
    assert decide_state(pairs(first=60, second=60))[0] == "certified"


def test_what_labels_are_needed_is_told_for_every_state():
    assert further_labels(pairs(first=49, second=49), LIMITS) == (
        "about 1 more sealed labels 'first' (some 2 answers as they come)",
        "about 1 more sealed labels 'second' (some 2 answers as they come)",
        "about 50 more sealed labels 'tie'",
    )

    def told(*counts, share=1.0):
        return further_labels(counts_of(items(*counts), PASS_FAIL), LIMITS, sealed_share=share)

    assert told(95, 5, 5, 95) == ()
    assert "would make it provisional" in told(5, 1, 1, 5)[0]
    assert told(10, 90, 80, 20) == (
        "J is -0.70, not above 0.20: more labels will not change that, a better rubric or model may",
    )
    (few,) = told(30, 0, 0, 90, share=0.5)
    assert few.startswith("about 20 more sealed labels 'pass' (40 to make, as 50% of the labels are sealed; some 160 ")
    assert [one.count("more labels will not") for one in told(70, 30, 30, 70)] == [1]
    assert further_labels((), LIMITS) == ()


def test_no_sealed_label_is_refused():
    assert decide_state(counts_of([], PASS_FAIL))[0] == decide_state(())[0] == "refused"


def test_a_fault_refuses_whatever_the_counts_say():
    state, reasons = lowered(*decide_state(counts_of(items(95, 5, 5, 95), PASS_FAIL)), (Why("looks", "4 looks"),))
    assert (state, [reason.code for reason in reasons]) == ("refused", ["looks"])


def test_json_and_back_is_the_same_certificate():
    one = certificate(valid_until=NOW + timedelta(days=90))
    again = Certificate.from_json(one.as_json())
    assert again == one
    assert again.certificate_id == one.certificate_id != certificate().certificate_id


@pytest.mark.parametrize("body", [{}, {"state": "certified"}, {**certificate().as_json(), "extra": 1}])
def test_what_is_no_certificate_is_refused(body):
    with pytest.raises(DataError):
        Certificate.from_json(body)


def test_undefined_figures_are_null():
    assert certificate((100, 0, 0, 0)).as_json()["sealed"][0]["figures"]["tnr"]["estimate"] is None


def test_only_a_name_that_may_move_ages():
    at = {"issued_at": NOW, "days": 90.0}
    assert validity_of(floating=(), recorded=False, **at)[0] is None
    assert validity_of(floating=("openai/gpt-4o",), recorded=True, **at)[0] is None
    until, why = validity_of(floating=("openai/gpt-4o",), recorded=False, **at)
    assert until == NOW + timedelta(days=90)
    assert "openai/gpt-4o" in why


def test_a_replay_says_the_same_whenever_it_is():
    later = certificate(issued_at=NOW + timedelta(days=5))
    assert later.same_findings(certificate())
    assert not certificate((96, 4, 3, 97)).same_findings(certificate())


def test_what_prefect_is_told_holds_nothing_that_works():
    hostile = Why("sealed_seen", "seen [x](http://evil) <img src=x> ![](y)")
    told = certificate_markdown(certificate(reasons=(hostile, Why("few_labels", "3 are there"))).as_json())
    assert "- `seen [x](http://evil) <img src=x> ![](y)`" in told
    assert "- 3 are there" in told
    assert told.startswith("# certified")
