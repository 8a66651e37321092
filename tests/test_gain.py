"""What an ensemble gains where its interval is not defined: no figure, and the reason."""

import numpy as np

from safetycatch.results.comparing import Comparison
from safetycatch.stats import paired_difference
from tasks.gain import interval_of


def test_an_interval_that_is_not_defined_is_none_with_its_reason():
    same = paired_difference(np.full(8, 1.5), np.full(8, 1.5))
    assert np.isnan(same.low)
    low, high, reason = interval_of(Comparison("a", "b", "m", "all", same, "", 8, 0, 0.0))
    assert (low, high) == (None, None)
    assert reason


def test_nobody_compared_says_so():
    assert interval_of(None) == (None, None, "no member has an answer")
