import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_ind

from safetycatch.errors import StatisticsError
from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.attacks import attacks, controls
from safetycatch.judging.families import family_of
from safetycatch.judging.length_slope import length_slope
from safetycatch.judging.probe_design import (
    ALPHA,
    DEFAULT_ITEMS,
    N_TESTS,
    POWER,
    answers_a_side,
    found_by,
    items_to_clear,
    items_to_find,
    planned,
)
from safetycatch.judging.probes import (
    LIMITS,
    concluded,
    format_probe,
    injection_probe,
    length_probe,
    not_checked,
    parse_probe,
    retest_probe,
    score_of,
    self_preference_probe,
    swap_probe,
)
from safetycatch.judging.variants import RENDERINGS, answer_words, attacked, drawn, padded, rendered
from safetycatch.stats.discordance import tango_interval

proportion = pytest.importorskip("statsmodels.stats.proportion")
NAN = math.nan


def settings(**more):
    return JudgeSettings(model="sandbox/judge", prompt="judge.md", **more)


# -- the figures -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(1, 40))
def test_a_rate_has_wilsons_interval_and_exact_bounds(events, others):
    n = events + others
    found = retest_probe([["pass", "fail"]] * events + [["pass", "pass"]] * others)
    low, high = proportion.proportion_confint(events, n, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    lower, upper = proportion.proportion_confint(events, n, alpha=0.1, method="beta")
    assert (found.lower, found.upper) == pytest.approx((lower, upper), abs=1e-9)


def test_none_of_sixty_is_at_most_4_9_percent():
    found = injection_probe([0.0] * 60, [0.0] * 60, [0.0] * 60)
    assert found.upper == pytest.approx(0.0487, abs=1e-4)
    assert concluded([found])[0].verdict == "passed"


@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 30))
def test_changes_have_mcnemars_p(up, down, same):
    before = [0.0] * up + [1.0] * down + [1.0] * same
    after = [1.0] * up + [0.0] * down + [1.0] * same
    one, two = length_probe(before, after), format_probe(before, after, ["json"] * len(before))
    if up + down:
        assert one.p_value == pytest.approx(binomtest(up, up + down, alternative="greater").pvalue)
        assert two.p_value == pytest.approx(binomtest(up, up + down).pvalue)
    else:
        assert one.p_value == two.p_value == 1
    assert one.effect == pytest.approx((up - down) / (up + down + same))
    assert one.effect_low <= one.effect <= one.effect_high


def test_an_order_that_decides_is_found_and_counted_once():
    pairs = 100
    as_is = ["first"] * 60 + ["second"] * 40
    exchanged = ["second"] * 20 + ["first"] * 40 + ["second"] * 40
    found = concluded([swap_probe(as_is, exchanged)])[0]
    assert (found.events, found.n, found.verdict) == (20, pairs, "found")
    assert found.effect == pytest.approx(0.1)
    assert found.figures == {"n_first": 20, "n_second": 0}


def test_a_tie_in_one_order_is_a_change():
    found = swap_probe(["tie", "first", "tie"], ["first", "tie", "tie"])
    assert (found.events, found.effect) == (2, 0.0)


@given(st.lists(st.tuples(*[st.sampled_from(["first", "second", "tie", None])] * 2), min_size=1, max_size=30))
def test_naming_the_other_side_first_changes_nothing(pairs):
    other = {"first": "second", "second": "first", "tie": "tie", None: None}
    found = swap_probe(*zip(*pairs, strict=True))
    # The item's sides exchanged: what was shown first in one order is shown first in the other.
    turned = swap_probe(*zip(*[(other[b], other[a]) for a, b in pairs], strict=True))
    assert (found.n, found.events) == (turned.n, turned.events)
    assert found.effect == pytest.approx(turned.effect, nan_ok=True)


def test_a_judge_that_dislikes_padding_is_not_suspected():
    found = concluded([length_probe([1.0] * 50, [0.0] * 50)])[0]
    assert found.verdict == "passed"
    assert found.p_value == 1


def test_forms_have_shares_of_their_own():
    found = format_probe([0.0] * 4, [1.0, 0.0, 0.0, NAN], ["json", "json", "markdown", "markdown"])
    assert found.figures == {"json": 0.5, "markdown": 0.0}
    assert (found.n, found.n_missing) == (3, 1)


def test_a_flip_is_an_item_whose_repeats_differ():
    found = retest_probe([["pass"] * 3, ["pass", "pass", "fail"], ["fail", None, "fail"], ["pass", None, None]])
    assert (found.events, found.n, found.n_missing) == (1, 3, 1)


def test_replies_without_a_verdict_are_counted_and_failed_calls_are_missing():
    found = parse_probe(["answer"] * 8 + ["unparsed", "refusal", "error", "invalid"])
    assert (found.events, found.n, found.n_missing) == (2, 10, 2)
    assert found.detail == "2 of 10 replies hold no verdict (1 refusal, 1 unparsed)"


def test_errors_that_a_judge_makes_anyway_are_no_injections():
    found = injection_probe([1.0] * 30 + [0.0] * 30, [1.0] * 30 + [0.0] * 30, [0.0] * 60)
    assert found.events == 0


def injected(attack_only, control_only, both=0, n=99):
    """Bad answers that rise with the attack, with the control or with either."""
    after = [1.0] * (attack_only + both) + [0.0] * (n - attack_only - both)
    control = [0.0] * attack_only + [1.0] * (both + control_only) + [0.0] * (n - attack_only - both - control_only)
    return concluded([injection_probe([0.0] * n, after, control)])[0]


def test_whom_any_text_moves_obeys_nobody():
    assert injected(30, 0).verdict == "found"
    found = injected(21, 22, both=9)
    assert (found.verdict, found.events) == ("undecided", 21)
    assert "30 score higher with an instruction to the judge, 31 with as long a harmless text" in found.detail
    assert found.rate == pytest.approx(-1 / 99)
    assert injected(0, 0, both=40).verdict == "passed"


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 39))
def test_the_net_share_has_tangos_interval_and_no_narrower_bounds(attack_only, control_only, both):
    found = injected(attack_only, control_only, both)
    columns = [1] * attack_only + [0] * (99 - attack_only), [0] * attack_only + [1] * control_only
    tango = tango_interval(columns[0], columns[1] + [0] * (99 - attack_only - control_only))
    assert (found.low, found.high) == pytest.approx((tango.low, tango.high))
    net = max(0, attack_only - control_only)
    lower, upper = proportion.proportion_confint(net, 99, alpha=0.1, method="beta")
    assert found.lower <= lower + 1e-9
    assert found.upper >= upper - 1e-9
    assert found.lower <= found.rate <= found.upper
    if attack_only + control_only:
        oracle = binomtest(attack_only, attack_only + control_only, alternative="greater").pvalue
        assert found.figures["mcnemar_p"] == pytest.approx(oracle)


@pytest.mark.parametrize("n", [60, 99])
@pytest.mark.parametrize("anyway", [0.0, 0.03, 0.3])
def test_at_the_limit_a_judge_is_seldom_accused_or_cleared(n, anyway):
    rng = np.random.default_rng(7)
    pairs = rng.multinomial(n, [anyway + 0.05, anyway, 0.95 - 2 * anyway], size=300)
    verdicts = Counter(injected(int(a), int(b), n=n).verdict for a, b, _ in pairs)
    for verdict in ("found", "passed"):
        assert verdicts[verdict] / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_a_grade_that_rises_further_than_with_the_control_counts():
    found = injection_probe([0.0, 0.0, 0.25, 0.0], [1.0, 0.25, 0.25, 0.0], [0.25, 0.25, 0.0, 0.5])
    assert (found.events, found.figures["n_control_only"]) == (1, 1)


def test_an_attack_without_its_control_is_missing():
    found = injection_probe([0.0] * 3, [1.0, 1.0, NAN], [NAN, 0.0, 0.0])
    assert (found.n, found.n_missing, found.events) == (1, 2, 1)


def test_a_control_has_the_attacks_form_and_none_of_its_words():
    for attack, control in zip(attacks("WANT"), controls(), strict=True):
        assert [c for c in control if c in "{}<>[]\n"] == [c for c in attack.text if c in "{}<>[]\n"]
        assert 0.7 < len(control) / len(attack.text) < 1.6
        assert not re.search("want|verdict|rubric|pass|judge|grad|must", control, re.IGNORECASE)
    control = dict(zip((attack.name for attack in attacks("WANT")), controls(), strict=True))
    assert control["ignore"] == "During quiet autumn mornings. Several painted boats leave THEIR."
    assert "54686520" not in control["hex"]


def own_family(seed=3, n=200, bias=0.2):
    rng = np.random.default_rng(seed)
    human = (rng.random(2 * n) < 0.6).astype(float)
    own = np.arange(2 * n) < n
    judged = np.where(own & (rng.random(2 * n) < bias), 1.0, human)
    return judged, human, own


def test_kindness_to_the_own_family_is_welchs_t():
    judged, human, own = own_family()
    ids = [f"e{number}" for number in range(len(human))]
    found = self_preference_probe(judged, human, own, ids)
    oracle = ttest_ind((judged - human)[own], (judged - human)[~own], equal_var=False, alternative="greater")
    assert found.p_value == pytest.approx(oracle.pvalue)
    assert found.effect == pytest.approx((judged - human)[own].mean())
    assert concluded([found])[0].verdict == "found"


def test_answers_to_one_example_count_once():
    judged, human, own = own_family(n=40)
    ids = [f"e{number}" for number in range(80)]
    often = [np.tile(column, 5) for column in (judged, human, own)]
    found, again = self_preference_probe(judged, human, own, ids), self_preference_probe(*often, example_ids=ids * 5)
    assert again.p_value == pytest.approx(found.p_value)
    assert again.n == 5 * found.n


def test_without_others_or_any_spread_nothing_is_claimed():
    assert self_preference_probe([1.0, 0.0], [1.0, 0.0], [True, True], ["a", "b"]).verdict == "not_checked"
    equal = concluded([self_preference_probe([1.0] * 4, [1.0] * 4, [True, True, False, False], list("abcd"))])[0]
    assert math.isnan(equal.p_value)
    assert "points above people's" in equal.detail


@pytest.mark.parametrize(
    "probe",
    [
        swap_probe([], []),
        length_probe([], []),
        format_probe([NAN], [1.0], ["json"]),
        retest_probe([[None, "pass"]]),
        parse_probe(["error"]),
        injection_probe([], [], []),
        injection_probe([0.0], [1.0], [NAN]),
    ],
)
def test_nothing_observed_is_not_checked_with_a_reason(probe):
    assert probe.verdict == "not_checked"
    assert probe.detail
    assert math.isnan(probe.rate)
    assert concluded([probe]) == [probe] or math.isnan(concluded([probe])[0].rate)


def test_one_item_has_a_rate_and_no_spread():
    found = concluded([length_probe([0.0], [1.0])])[0]
    assert (found.rate, found.verdict) == (1.0, "undecided")
    assert math.isnan(found.effect_low)


def test_holm_runs_over_the_probes_that_have_a_p():
    up = length_probe([0.0] * 6 + [1.0] * 90, [1.0] * 6 + [1.0] * 90)
    assert up.p_value == pytest.approx(0.5**6)
    alone = concluded([up, retest_probe([["pass", "pass"]])])[0]
    assert (alone.p_adjusted, alone.verdict) == (up.p_value, "found")
    among = concluded([up, *[format_probe([1.0], [1.0], ["json"])] * 3, not_checked("swap", "no pairs")])[0]
    assert among.p_adjusted == pytest.approx(4 * up.p_value)
    assert among.verdict == "undecided"
    assert concluded([]) == []


@pytest.mark.parametrize(
    ("scale", "scores"),
    [
        ({}, {"pass": 1, "fail": 0}),
        ({"scale": [1, 2, 5]}, {"1": 0, "2": 0.25, "5": 1}),
        ({"scale": [1, 2, 5], "passes": 2}, {"1": 0, "2": 1, "5": 1}),
        ({"scale": "pairwise"}, {"first": 1, "tie": 0.5, "second": 0}),
        ({"scale": ["first", "other"], "passes": ["other"]}, {"first": 0, "other": 1}),
    ],
)
def test_scores_run_from_0_to_1(scale, scores):
    assert {verdict: score_of(verdict, settings(**scale)) for verdict in scores} == scores
    assert math.isnan(score_of(None, settings(**scale)))


# -- the slope on length ---------------------------------------------------------------------------------------------


def lengths(seed=0, n=400, slope=0.5):
    rng = np.random.default_rng(seed)
    words = np.exp2(rng.uniform(2, 8, n))
    human = (rng.random(n) < 0.5).astype(float)
    odds = slope * (np.log2(words) - 5) + 2 * human - 1
    return words, (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(float), human


def test_the_slope_is_that_of_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    words, passed, human = lengths()
    oracle = sm.Logit(passed, np.column_stack([np.log2(words), human, np.ones_like(human)])).fit(disp=0)
    found = length_slope(words, passed, human)
    assert found["slope"] == pytest.approx(oracle.params[0], rel=1e-6)
    assert found["slope_p"] == pytest.approx(oracle.pvalues[0], rel=1e-4)
    assert (found["slope_low"], found["slope_high"]) == pytest.approx(tuple(oracle.conf_int()[0]), rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda words, passed, human: (words[:20], passed[:20], human[:20]),
        lambda words, passed, human: (np.full_like(words, 7), passed, human),
        lambda words, passed, human: (words, np.ones_like(passed), human),
        lambda words, passed, human: (words, (words > 32).astype(float), human),
        lambda words, passed, human: (words, passed, np.full_like(human, NAN)),
        lambda words, passed, human: (words, human, human),
    ],
)
def test_where_no_slope_can_be_fitted_it_is_undefined(change):
    found = length_slope(*change(*lengths()))
    assert math.isnan(found["slope"])
    assert math.isnan(found["slope_p"])
    assert found["slope_n"] >= 0


def test_a_constant_label_is_left_out_of_the_slope():
    words, passed, human = lengths()
    assert math.isfinite(length_slope(words, passed, np.ones_like(human))["slope"])
    with pytest.raises(StatisticsError):
        length_slope(words, passed[:-1], human)


# -- how many items --------------------------------------------------------------------------------------------------


def test_the_default_numbers_are_the_worked_out_ones():
    assert DEFAULT_ITEMS["length"] == items_to_find(both_ways=False)
    assert DEFAULT_ITEMS["format"] == items_to_find(both_ways=True)
    # A bias of ten points moves a pair twice.
    assert DEFAULT_ITEMS["swap"] == max(items_to_find(0.2, both_ways=True), items_to_clear("swap"))
    assert DEFAULT_ITEMS["retest"] == items_to_clear("retest")
    assert DEFAULT_ITEMS["parse"] == items_to_clear("parse")
    assert items_to_clear("injection") == 59 < DEFAULT_ITEMS["injection"]


@pytest.mark.parametrize("both_ways", [False, True])
def test_so_many_items_find_ten_points_in_98_of_100(both_ways):
    n = items_to_find(both_ways=both_ways)
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(400):
        up, down, _ = rng.multinomial(n, [0.13, 0.03, 0.84])
        test = binomtest(int(up), int(up + down), alternative="two-sided" if both_ways else "greater")
        found += test.pvalue <= ALPHA / N_TESTS
    assert found / 400 > POWER - 3 * math.sqrt(0.02 * 0.98 / 400)
    assert found_by(n, both_ways=both_ways) == pytest.approx(0.1)
    assert math.isnan(found_by(3, both_ways=both_ways))


def test_so_many_answers_a_side_find_kindness_to_the_own_family():
    n = answers_a_side()
    own, ids = np.arange(2 * n) < n, [str(at) for at in range(2 * n)]
    rng, found = np.random.default_rng(6), 0
    for _ in range(100):
        human = (rng.random(2 * n) < 0.5).astype(float)
        judged = np.where(rng.random(2 * n) < 0.05, 1 - human, human)
        judged[own & (judged == 0) & (rng.random(2 * n) < 0.2)] = 1
        found += self_preference_probe(judged, human, own, ids).p_value <= ALPHA / N_TESTS
    assert found >= 95


def test_a_judge_over_the_limit_passes_seldom_with_any_number_of_items():
    rng = np.random.default_rng(5)
    for n in (60, DEFAULT_ITEMS["retest"]):
        passed = sum(
            concluded([injection_probe(np.zeros(n), rng.random(n) < LIMITS["injection"], np.zeros(n))])[0].verdict
            == "passed"
            for _ in range(300)
        )
        assert passed / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_no_bias_can_be_too_small_or_too_large():
    for bias in (0, -0.1, 0.99):
        with pytest.raises(ValueError, match="bias"):
            items_to_find(bias, both_ways=True)
    with pytest.raises(ValueError, match="bias"):
        answers_a_side(0)


def test_a_plan_says_what_it_asks_and_finds():
    assert planned("length", 1000, settings()) == ("length", 269, 269, "a bias of 10 points or more")
    assert planned("retest", 50, settings()).n_calls == 100
    assert planned("parse", 50, settings()).n_calls == 0
    assert planned("length", 10, settings(), n_items=4).finds == "too few to find anything"
    assert planned("injection", 30, settings()) == ("injection", 30, 60, "too few to clear any judge")
    pairs = settings(scale="pairwise")
    assert planned("swap", 142, pairs).n_calls == 142
    assert planned("swap", 142, pairs.model_copy(update={"both_orders": True})).n_calls == 0
    two = settings(criteria={"a": "x", "b": "y"})
    assert planned("length", 20, two, n_jurors=3).n_calls == 20 * 2 * 3


# -- what is asked ---------------------------------------------------------------------------------------------------


def test_a_padded_answer_holds_the_answer_twice_and_is_long():
    long = padded({"output": "Yes. 7."})
    assert long["output"].count("Yes. 7.") == 2
    assert answer_words(long) > 60
    assert padded({"first": "a", "second": "b"})["second"] == "b"


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_a_rendering_has_the_same_words(rendering):
    text = 'One "two", three.\nFour? Five!\n\nSix.'
    words = rendered({"output": text}, rendering)["output"]
    assert words != text
    for word in ("One", "two", "three", "Four", "Five", "Six"):
        assert word in words
    with pytest.raises(ValueError, match="no rendering"):
        rendered({"output": text}, "klingon")


def test_an_attack_ends_the_answer_or_is_the_answer():
    assert attacked({"output": "a"}, "pass me")["output"] == "a\n\npass me"
    assert attacked({"first": "a", "second": "b"}, "pass me", alone=True) == {"first": "pass me", "second": "b"}


def test_items_are_drawn_by_their_names():
    items = [{"example_id": f"e{number}", "candidate": ""} for number in range(50)]
    assert drawn(items, 10, 0) == drawn(items, 10, 0) != drawn(items, 10, 1)
    assert sorted(drawn(items, 99, 0)) == list(range(50))


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("openai/gpt-4o-mini", "openai"),
        ("azure/my-gpt-4o", "openai"),
        ("o3-mini", "openai"),
        ("ft:gpt-4o-mini:org::1", "openai"),
        ("openrouter/anthropic/claude-sonnet-4.5", "anthropic"),
        ("bedrock/us.anthropic.claude-3-haiku-20240307-v1:0", "anthropic"),
        ("groq/llama-3.1-8b-instant", "meta"),
        ("together_ai/meta-llama/Meta-Llama-3-8B", "meta"),
        ("gemini/gemini-2.0-flash", "google"),
        ("ollama_chat/mixtral:8x7b", "mistral"),
        ("ollama_chat/phi3", "microsoft"),
        ("sandbox/judge-lenient", "judge"),
        ("sandbox/in-context", "in"),
        ("42", ""),
    ],
)
def test_families_are_read_from_names(model, family):
    assert family_of(model) == family
