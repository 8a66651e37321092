from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from safetycatch.catches.estimate import Estimate

sums = st.one_of(st.none(), st.floats(0, 1e6))
estimates = st.builds(Estimate, st.integers(0, 10**6), st.integers(0, 10**6), sums, sums, st.integers(0, 10**9))


@given(estimates, estimates)
def test_a_yes_never_covers_more_money_or_an_unknown_price_it_did_not_see(asked, approved):
    if not asked.within(approved):
        return
    for mine, theirs in ((asked.expected_usd, approved.expected_usd), (asked.highest_usd, approved.highest_usd)):
        if mine is not None and asked.expected_usd is not None and asked.highest_usd is not None:
            assert theirs is not None
            assert mine <= theirs * (1 + 1e-9)
    if None in (asked.expected_usd, asked.highest_usd):
        assert approved.expected_usd is None
        assert asked.n_calls <= approved.n_calls
        assert asked.highest_tokens <= approved.highest_tokens


@given(estimates)
def test_a_yes_covers_itself(estimate):
    if (estimate.expected_usd is None) == (estimate.highest_usd is None):
        assert estimate.within(estimate)


@given(estimates, estimates)
def test_an_unknown_part_makes_the_sum_unknown(left, right):
    both = left + right
    assert (both.expected_usd is None) == (None in (left.expected_usd, right.expected_usd))
    assert both.n_calls == left.n_calls + right.n_calls


@given(estimates, st.floats(0, 1e6))
def test_an_unknown_price_is_below_nothing_and_no_call_below_everything(estimate, usd):
    known = estimate.expected_usd is not None and estimate.expected_usd <= usd
    assert estimate.below(usd) is (known or estimate.n_calls == 0)


@given(estimates, st.floats(0, 1e6))
def test_a_ceiling_bounds_both_sums_and_nothing_else(estimate, usd):
    under = estimate.under(usd)
    sums = (estimate.expected_usd, estimate.highest_usd)
    assert replace(under, expected_usd=sums[0], highest_usd=sums[1]) == estimate
    known = None not in sums
    assert (under.expected_usd, under.highest_usd) == (tuple(min(one, usd) for one in sums) if known else sums)
    assert estimate.under(None) == estimate


def test_in_words():
    six = Estimate(1200, 0, 6.0, 18.5, 400_000)
    assert six.text == "up to 1,200 calls, $6.00 expected, $18.50 at most"
    assert replace(six, n_calls=1, n_from_journal=9).text.startswith("up to 1 call (9 known or repeated), ")
    assert replace(six, expected_usd=None).text.endswith("a price that is not known; up to 400,000 tokens")
