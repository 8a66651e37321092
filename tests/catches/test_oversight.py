import pytest

from safetycatch.catches import Policy
from safetycatch.catches.oversight import failures_were_read, promotion_is_approved
from safetycatch.experiment import CatchSettings

SEEN = {"run_id": "2026-11-23-tickets-1", "candidate": "b", "verdict": "BETTER", "report_sha256": "ab" * 32}


def test_sc1101_fires_and_says_what_to_read_and_type(fired):
    found = promotion_is_approved(**SEEN)
    fired(found, "refuse", "b of 2026-11-23-tickets-1, verdict BETTER, report abababababab", "approve", "--promotion")


def test_sc1101_says_what_an_earlier_yes_was_to(fired):
    fired(promotion_is_approved(**SEEN, voided="Ada approved report cdcd"), "refuse", "Ada approved report cdcd")


def test_sc1101_silent_once_somebody_said_yes():
    found = promotion_is_approved(**SEEN, approved_by="Ada, 2026-11-23 05:00 UTC")
    assert (found.seen, "approved by Ada" in found.saw) == ("passed", True)


def read(n_failing, n_read, winner="b", policy=None):
    return failures_were_read(run_id="r", winner=winner, n_failing=n_failing, n_read=n_read, policy=policy or Policy())


def test_sc1102_fires_below_twenty(fired):
    fired(read(100, 19), "warn", "19 of the 100 failures of b", "20 are wanted", "safetycatch review r --candidate b")


@pytest.mark.parametrize(("n_failing", "n_read"), [(100, 20), (3, 3), (0, 0)])
def test_sc1102_silent_at_twenty_or_all(n_failing, n_read):
    assert read(n_failing, n_read).seen == "passed"


def test_sc1102_fires_where_few_failures_are_not_all_read(fired):
    fired(read(3, 2), "warn", "3 are wanted")


def test_sc1102_takes_the_threshold_of_the_settings():
    policy = Policy(settings={"SC1102": CatchSettings(thresholds={"failures": 5})})
    assert read(100, 5, policy=policy).seen == "passed"


def test_sc1102_has_nothing_to_say_without_a_winner_or_without_right_and_wrong():
    assert read(None, 0, winner=None).seen == "not_applicable"
    assert read(None, 0).seen == "not_checked"
