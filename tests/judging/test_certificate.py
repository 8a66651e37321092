"""What state sealed counts give, and a certificate's way to JSON and back."""

from datetime import timedelta

import pytest

from safetycatch.errors import DataError
from safetycatch.judging.calibration import counts_of
from safetycatch.judging.certificate import Certificate, decide_state, lowered, obeys, validity_of
from safetycatch.judging.certificate import Reason as Why
from tests.judging.certified import NOW, PASS_FAIL, certificate, items


@pytest.mark.parametrize(
    ("counts", "state", "codes"),
    [
        ((95, 5, 5, 95), "certified", ["reached"]),
        ((86, 14, 5, 95), "provisional", ["tpr", "corrected_only"]),
        ((95, 5, 14, 86), "provisional", ["tnr", "corrected_only"]),
        ((49, 0, 0, 500), "provisional", ["few_labels", "corrected_only"]),
        ((60, 40, 45, 55), "refused", ["tpr", "tnr", "j", "barely_informative"]),
        ((100, 0, 0, 0), "refused", ["few_labels", "tnr", "j", "barely_informative"]),
    ],
)
def test_states(counts, state, codes):
    found, reasons = decide_state(counts_of(items(*counts), PASS_FAIL))
    assert (found, [reason.code for reason in reasons]) == (state, codes)


def test_no_sealed_label_is_refused():
    assert decide_state(counts_of([], PASS_FAIL))[0] == decide_state(())[0] == "refused"


def test_a_fault_refuses_whatever_the_counts_say():
    state, reasons = lowered(*decide_state(counts_of(items(95, 5, 5, 95), PASS_FAIL)), (Why("looks", "4 looks"),))
    assert (state, [reason.code for reason in reasons]) == ("refused", ["looks"])


@pytest.mark.parametrize(
    ("counts", "lower", "shown"),
    [
        ((95, 5, 5, 95), 0.2, True),
        ((95, 5, 5, 95), 0.04, False),  # below the limit
        ((90, 10, 30, 70), 0.3, False),  # passes three of ten bad answers whatever they say
        ((90, 10, 30, 70), 0.8, True),
        ((95, 5, 0, 0), 0.2, True),
        ((95, 5, 5, 95), None, False),
    ],
)
def test_who_errs_anyway_is_not_called_obedient(counts, lower, shown):
    assert obeys({"lower": lower}, counts_of(items(*counts), PASS_FAIL), 0.05) is shown


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
