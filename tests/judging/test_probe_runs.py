"""Probes of the sandbox's judges, over real sockets."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from safetycatch.catches import Policy
from safetycatch.catches.judges import JudgeUse, is_steady, obeys_nobody
from safetycatch.judging.probes import KINDS
from tasks.judge import judging_entry
from tasks.probes import probe_costs, run_probes
from tasks.session import current, session
from tasks.start import read_inputs
from tests.judging.certified import certificate

USE = JudgeUse(claimed=True, file="e.yaml")
RUBRIC = '- mentions "order number"\n'
N = 120


def item(number, output):
    return {
        "example_id": f"e{number}",
        "candidate": "",
        "replicate": 0,
        "input": "Where is it?",
        "output": output,
        "reference": None,
    }


# Half keep the rule. People agree.
ITEMS = [
    item(number, f"The order number is {number}." if number % 2 else f"We know nothing of case {number}.")
    for number in range(N)
]
LABELS = ["pass" if number % 2 else "fail" for number in range(N)]


@pytest.fixture
def probed(project):
    """`probe` a sandbox judge, which returns the probes by kind; `sent`, `spent`: calls that went out, dollars."""

    told = SimpleNamespace(costs={}, sent=0, spent=0.0)

    def probe(model, *kinds, items=ITEMS, labels=LABELS, **options):
        (project.folder / "judge.md").write_text(RUBRIC)
        names = ("scale", "passes", "both_orders", "criteria", "jury")
        settings = {key: options.pop(key) for key in names if key in options}
        project.config["judge"] = {"model": f"sandbox/{model}", "prompt": "judge.md", **settings}
        inputs = read_inputs(project.path())
        place = inputs.place("r1")
        with session(place, inputs.experiment, inputs.project):
            entry = judging_entry(inputs)
            told.costs = {row["kind"]: row for row in probe_costs(place, entry, items)}
            found = run_probes(place, entry, items, labels=labels, kinds=kinds, **options)
            told.sent = sum(counts["sent"] for counts in current().counts)
            told.spent = sum(counts["spent_usd"] for counts in current().counts)
        return {one.kind: one for one in found}

    told.probe = probe
    return told


def test_a_steady_judge_passes(probed):
    found = probed.probe("judge", "length", "format", "retest", "parse", "injection")
    assert {kind: probe.verdict for kind, probe in found.items()} == dict.fromkeys(found, "passed")
    assert found["injection"].events == 0
    assert found["length"].rate == found["format"].rate == found["retest"].rate == 0


def test_a_repeat_is_asked_anew(probed):
    probed.probe("judge", "retest", n_items={"retest": 10})
    assert probed.sent == 30
    probed.probe("judge", "retest", n_items={"retest": 10})
    assert probed.sent == 0


def test_a_judge_that_likes_length_is_found(probed):
    probe = probed.probe("judge-lengthy", "length")["length"]
    assert probe.verdict == "found"
    assert probe.figures["n_up"] == probe.events
    assert probe.effect == pytest.approx(0.1, abs=0.07)
    seen = is_steady(USE, replace(certificate(), probes=(probe.as_dict(),)), Policy())
    assert (seen.code, seen.seen) == ("SC106", "fired")
    assert "length: padded" in seen.saw


def test_a_judge_that_likes_the_first_is_found(probed):
    pairs = [
        {**one, "first": one["output"], "second": other["output"]}
        for one, other in zip(ITEMS, [*ITEMS[1:], ITEMS[0]], strict=True)
    ]
    pairs = [{key: value for key, value in pair.items() if key != "output"} for pair in pairs]
    for both in (False, True):
        probe = probed.probe("judge-first", "swap", items=pairs, labels=None, scale="pairwise", both_orders=both)[
            "swap"
        ]
        assert probe.verdict == "found"
        assert probe.figures["n_first"] == probe.events > 0
        assert probe.figures["n_second"] == 0
        assert probed.sent == (0 if both else 2 * N)


def test_a_gullible_judge_is_found(probed):
    probe = probed.probe("judge-gullible", "injection")["injection"]
    assert probe.n >= 60
    assert probe.lower > 0.05
    assert probe.verdict == "found"
    assert probe.figures["n_control"] == 0
    assert refuses_untrusted(probe) == "refuse"


@pytest.mark.parametrize("model", ["judge-lenient", "judge-noisy"])
def test_a_judge_that_errs_on_whatever_it_reads_is_not_called_obedient(probed, model):
    probe = probed.probe(model, "injection")["injection"]
    assert probe.figures["n_attack"] > 0
    assert probe.verdict != "found"
    assert refuses_untrusted(probe) == "warn"


def refuses_untrusted(probe):
    """The level of SC108 in a claiming run with such a probe."""
    found = replace(certificate(), probes=(probe.as_dict(),))
    return Policy().finding(obeys_nobody(USE, found, untrusted=True, policy=Policy())).level


def test_without_a_bad_answer_the_attack_is_the_answer(probed):
    probe = probed.probe("judge", "injection", items=ITEMS[1:2], labels=LABELS[1:2])["injection"]
    assert (probe.events, probe.verdict) == (0, "passed")


def test_a_judge_of_its_own_family_is_compared_with_others(probed):
    models = ["sandbox/judge" if number % 4 < 2 else "openai/gpt-4o" for number in range(N)]
    probe = probed.probe("judge-lenient", "self_preference", models=models)["self_preference"]
    assert probe.n == probe.figures["n_others"] == N / 2
    assert probed.probe("judge", "self_preference", models=None)["self_preference"].verdict == "not_checked"


def test_pass_and_fail_have_no_order(probed):
    assert probed.probe("judge", "swap")["swap"].detail == "only pairs have an order"


def test_the_cost_is_told_before_and_holds(probed):
    probed.probe("judge-priced", "length", "format", "retest", "injection", "parse")
    told = probed.costs
    assert probed.sent <= N + sum(row["n_calls"] for row in told.values())
    assert told["length"]["n_calls"] == N
    assert told["length"]["highest_usd"] > 0
    # Two attacks are as long as 40,000 characters.
    assert told["injection"]["highest_tokens"] > 20_000
    assert sum(row["highest_usd"] for row in told.values()) > probed.spent > 0
    assert told["length"]["finds"] == "a bias of 18 points or more"
    assert "swap" not in told


def test_criteria_are_probed_as_one_verdict(probed):
    criteria = {"number": 'mentions "order number"', "short": "at most 20 words"}
    probe = probed.probe("judge", "length", criteria=criteria)["length"]
    assert (probe.figures["n_up"], probe.figures["n_down"], probe.verdict) == (0, N / 2, "passed")


PAIR = [{**{k: v for k, v in one.items() if k != "output"}, "first": one["output"], "second": "No."} for one in ITEMS]
GRADES = ["3" if number % 2 else "1" for number in range(N)]


SINGLE = {"length", "format", "retest", "parse", "injection"}


@pytest.mark.parametrize(
    ("items", "labels", "settings", "checked"),
    [
        (ITEMS, GRADES, {"scale": [1, 2, 3]}, SINGLE),
        (ITEMS, GRADES, {"scale": [1, 2, 3], "passes": 2}, SINGLE),
        (PAIR, None, {"scale": "pairwise"}, SINGLE | {"swap"}),
        (PAIR, None, {"scale": "pairwise", "both_orders": True}, SINGLE | {"swap"}),
        (ITEMS, LABELS, {"jury": [{"model": "sandbox/judge-noisy"}]}, SINGLE),
    ],
)
def test_every_scale_is_probed(probed, items, labels, settings, checked):
    few = dict.fromkeys(("swap", "length", "format", "retest", "injection"), 12)
    found = probed.probe("judge", *KINDS, items=items[:24], labels=labels and labels[:24], n_items=few, **settings)
    assert {kind for kind, probe in found.items() if probe.verdict != "not_checked"} == checked
    assert all(probe.n == 12 for kind, probe in found.items() if kind in checked - {"parse"})
    assert found["injection"].events == 0


def test_recorded_verdicts_are_not_asked_again(project):
    project.write("said.csv", [{"example_id": one["example_id"], "verdict": "pass"} for one in ITEMS[:4]])
    project.config["judge"] = {"verdicts": "said.csv"}
    inputs = read_inputs(project.path())
    place = inputs.place("r1")
    with session(place, inputs.experiment, inputs.project):
        found = run_probes(place, judging_entry(inputs), ITEMS[:4], labels=LABELS[:4])
        assert probe_costs(place, judging_entry(inputs), ITEMS) == []
    assert {probe.kind for probe in found if probe.verdict != "not_checked"} == {"parse"}


def test_no_items_check_nothing(probed):
    assert probed.probe("judge", "length", items=[], labels=[])["length"].verdict == "not_checked"
