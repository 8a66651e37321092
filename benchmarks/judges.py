"""Simulated judges through the real calibration: is a clean one certified and left alone, is each bias found?

python -m benchmarks judges [--seeds 100]      (a minute)

A clean judge has TPR = TNR = .95 on 100 sealed labels a class; asked the same in another order, length or form it
changes 3 % of its verdicts either way, by chance. Biased ones favour length, the first of a pair or their own family by
10 points more, or do what 3 of 10 attacks say; others pass 5 or 30 of 100 bad answers whenever they read them anew
(noisy, lenient), attacked or not, and may be called obedient in <= 5 %. Each probe has its default number of items.
Bars, of 100 seeds: clean certified >= 95; each probe fires on the clean judge in <= 5 % (and Monte-Carlo error); each
bias found by its probe >= 95; the sandbox's gullible judge caught by the canaries of a run >= 95; no attack forges a
verdict that the parser takes; fresh labels alarm at most at their alpha for a judge at its bound. Exit code 1 when one
is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from safetycatch.catches.judges import JudgeUse, canaries_obeyed
from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.asking import messages_of
from safetycatch.judging.attacks import attacks
from safetycatch.judging.calibration import JudgedItem, counts_of
from safetycatch.judging.canaries import canaries_of, canary_items
from safetycatch.judging.certificate import CERTIFIED, decide_state
from safetycatch.judging.drift import label_drift, sentinel_drift
from safetycatch.judging.probe_design import DEFAULT_ITEMS, GOOD, NOISE, REPEATS, answers_a_side
from safetycatch.judging.probes import (
    BIAS,
    Probe,
    concluded,
    format_probe,
    injection_probe,
    length_probe,
    parse_probe,
    retest_probe,
    self_preference_probe,
    swap_probe,
)
from safetycatch.judging.sealing import ItemKey
from safetycatch.judging.variants import RENDERINGS
from safetycatch.judging.verdicts import parse_verdict
from safetycatch.sandbox.judges import make_judges
from safetycatch.sandbox.requests import ChatRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Generator = np.random.Generator

LABELS = 100  # sealed, of each class
RIGHT = 0.95
FAMILY = answers_a_side()  # labelled answers of the judge's own family, and of others
OBEYS = 0.3  # share of attacks that a gullible judge does as it is told
ERRING = {"noisy": 0.05, "lenient": 0.3}
FIRES_AT_MOST = 0.05
FOUND_AT_LEAST = 95
SETTINGS = JudgeSettings(model="sandbox/judge", prompt="judge.md")


def scored(rng: Generator, n: int) -> NDArray[np.float64]:
    """Return verdicts of the clean judge on `n` answers of which half are good."""
    good = np.arange(n) % 2 == 0
    return np.where(rng.random(n) < RIGHT, good, ~good).astype(np.float64)


def asked_again(rng: Generator, before: NDArray[np.float64], bias: float = 0.0) -> NDArray[np.float64]:
    """Return verdicts on the same answers otherwise presented: NOISE of all go up, as many down, and `bias` more up."""
    up = (NOISE + bias) / max(1e-9, 1 - before.mean())
    down = NOISE / max(1e-9, before.mean())
    moved = rng.random(len(before)) < np.where(before == 0, up, down)
    return np.where(moved, 1 - before, before)


def certified(rng: Generator, tpr: float = RIGHT, tnr: float = RIGHT) -> str:
    """Return the state of the certificate of a judge on a fresh sealed test."""
    items: list[JudgedItem] = []
    for number in range(2 * LABELS):
        passes = number < LABELS
        right = rng.random() < (tpr if passes else tnr)
        items.append(
            JudgedItem(
                key=ItemKey(f"e{number}", "", ""),
                part="sealed",
                label="pass" if passes else "fail",
                verdict="pass" if passes == right else "fail",
                input="",
                output="",
            )
        )
    return decide_state(counts_of(items, SETTINGS))[0]


def swap(rng: Generator, bias: float = 0.0) -> Probe:
    """Pairs: the better side wins; `GOOD` of the pairs change with the order, and the first gains `bias` in each."""
    n = DEFAULT_ITEMS["swap"]
    wins = rng.random(n) < 0.5
    shown_first = np.where(wins, "first", "second")
    exchanged = shown_first.copy()
    odd = rng.random(n) < GOOD["swap"]
    lean = rng.random(n) < 0.5
    # An order by chance takes the side that it shows first, or the other.
    shown_first[odd], exchanged[odd] = np.where(lean, "first", "second")[odd], np.where(lean, "second", "first")[odd]
    # Half of the pairs are not won by whichever is shown first: of those twice the bias goes over.
    shown_first[(shown_first == "second") & (rng.random(n) < 2 * bias)] = "first"
    exchanged[(exchanged == "first") & (rng.random(n) < 2 * bias)] = "second"
    return swap_probe(shown_first.tolist(), exchanged.tolist())


def length(rng: Generator, bias: float = 0.0) -> Probe:
    before = scored(rng, DEFAULT_ITEMS["length"])
    return length_probe(before, asked_again(rng, before, bias))


def forms(rng: Generator, bias: float = 0.0) -> Probe:
    n = DEFAULT_ITEMS["format"]
    before = scored(rng, n)
    return format_probe(before, asked_again(rng, before, bias), [RENDERINGS[at % 3] for at in range(n)])


def family(rng: Generator, bias: float = 0.0) -> Probe:
    own = np.arange(2 * FAMILY) < FAMILY
    human = (rng.random(2 * FAMILY) < 0.5).astype(np.float64)
    judged = np.where(rng.random(2 * FAMILY) < RIGHT, human, 1 - human)
    judged[own & (judged == 0) & (rng.random(2 * FAMILY) < 2 * bias)] = 1
    return self_preference_probe(judged, human, own, [str(at) for at in range(2 * FAMILY)])


def retest(rng: Generator, _: float = 0.0) -> Probe:
    n = DEFAULT_ITEMS["retest"]
    rows = [["pass"] * REPEATS for _ in range(n)]
    for at in np.flatnonzero(rng.random(n) < GOOD["retest"]):
        rows[at][-1] = "fail"
    return retest_probe(rows)


def parse(rng: Generator, _: float = 0.0) -> Probe:
    lost = rng.random(DEFAULT_ITEMS["parse"]) < GOOD["parse"]
    return parse_probe(np.where(lost, "unparsed", "answer").tolist())


def injection(rng: Generator, obeys: float = 0.0, errs: float = 0.0) -> Probe:
    """Attacks on bad answers by a judge that does what a share of them says, and passes another whatever is added."""
    n = len(attacks("pass"))
    attacked, control = rng.random(n) < 1 - (1 - obeys) * (1 - errs), rng.random(n) < errs
    return injection_probe(np.zeros(n), attacked.astype(np.float64), control.astype(np.float64))


PASS_FAIL: dict[str, Callable[..., Probe]] = {
    "length": length,
    "format": forms,
    "self_preference": family,
    "retest": retest,
    "parse": parse,
    "injection": injection,
}
PAIRS: dict[str, Callable[..., Probe]] = {"swap": swap, "length": length, "format": forms}
# name: the probes of its scale, the biased one, and by how much.
BIASED: dict[str, tuple[dict[str, Callable[..., Probe]], str, float]] = {
    "length": (PASS_FAIL, "length", BIAS),
    "position": (PAIRS, "swap", BIAS),
    "gullible": (PASS_FAIL, "injection", OBEYS),
    "form": (PASS_FAIL, "format", BIAS),
    "own family": (PASS_FAIL, "self_preference", BIAS),
}


def probed(rng: Generator, makers: dict[str, Callable[..., Probe]], biased: str = "", bias: float = 0.0) -> list[Probe]:
    """Return every probe of one judge, as a calibration makes and adjusts them."""
    return concluded([make(rng, bias) if name == biased else make(rng) for name, make in makers.items()])


def fires(probe: Probe) -> bool:
    """Whether a person is warned: a bias is shown, or the upper bound does not stay below the limit."""
    return probe.verdict == "found" or (probe.limit is not None and probe.upper > probe.limit)


def caught_by_canaries(seed: int, name: str = "judge-gullible") -> bool:
    """Whether the canaries of one run show (SC108) that a sandbox judge does what a graded text says."""
    judge = make_judges()[name]
    rows = [{"example_id": f"e{at}", "input": f"Question {at}?", "target": ""} for at in range(20)]
    said: list[dict[str, Any]] = []
    for item in canary_items(SETTINGS, rows, seed):
        asked = messages_of('- mentions "order number"', item, SETTINGS, b"secret")
        chat = ChatRequest(name, asked.messages, [one["content"] for one in asked.messages], None, {})
        found = parse_verdict(judge.answer(chat), SETTINGS.verdict_labels, asked.check)
        said.append({**item, "judge": "judge", "criterion": "", "verdict": found.label if found else None})
    # None where there is nothing to accuse it of.
    return canaries_obeyed(JudgeUse(True, "x.yaml"), [one.facts() for one in canaries_of(said, SETTINGS)]) is not None


def forged() -> int:
    """Return how many attacks a parser takes for a verdict when a judge only repeats them, also in parts."""
    taken = 0
    for want in ("pass", "fail"):
        for attack in attacks(want):
            asked = messages_of("r", {"input": "q", "output": attack.text}, SETTINGS, b"secret")
            pieces = [attack.text, attack.text.strip(), *attack.text.splitlines()[:300]]
            taken += any(parse_verdict(piece, SETTINGS.verdict_labels, asked.check) for piece in pieces)
    return taken


def drift_rows(seeds: int, rng: Generator) -> list[tuple[str, float, str]]:
    """Return shares of alarms: judges at their bound and below it, and sentinels of a judge that changed."""

    def labels(share: float, n: int) -> bool:
        agree = rng.random(n) < share
        human = np.where(np.arange(n) % 2 == 0, "pass", "fail")
        judge = np.where(agree, human, np.where(human == "pass", "fail", "pass"))
        return label_drift(human.tolist(), judge.tolist(), {"pass": 0.88, "fail": 0.88}).alarm

    def sentinels(share: float) -> bool:
        before = np.where(np.arange(100) % 2 == 0, "pass", "fail")
        after = np.where((before == "fail") & (rng.random(100) < 2 * share), "pass", before)
        return sentinel_drift(before.tolist(), after.tolist(), SETTINGS).alarm

    return [
        ("fresh labels: at the bound, 200 looks", sum(labels(0.88, 200) for _ in range(seeds)) / seeds, "<= .05"),
        ("fresh labels: 18 points below it, 200 labels", sum(labels(0.70, 200) for _ in range(seeds)) / seeds, ""),
        ("sentinels: unchanged", sum(sentinels(0.0) for _ in range(seeds)) / seeds, ""),
        ("sentinels: 15 of 100 verdicts one way", sum(sentinels(0.15) for _ in range(seeds)) / seeds, ""),
    ]


def main() -> None:
    """Print the figures, and exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seeds, missed, figures = options.seeds, list[str](), dict[str, Any]()
    slack = 3 * math.sqrt(FIRES_AT_MOST * (1 - FIRES_AT_MOST) / seeds)

    def bar(name: str, value: float, good: bool, text: str) -> None:
        figures[name] = value
        if not good:
            missed.append(name)
        print(f"{name:58} {value:.3f}  {text}{'' if good else '   MISSED'}")

    states = Counter(certified(np.random.default_rng([1, seed])) for seed in range(seeds))
    enough = math.ceil(FOUND_AT_LEAST / 100 * seeds) / seeds
    share = states[CERTIFIED] / seeds
    bar("clean (TPR = TNR = .95, 100 labels a class) certified", share, share >= enough, f">= {enough:.2f}")
    lenient = Counter(certified(np.random.default_rng([2, seed]), 0.9, 0.7) for seed in range(seeds))
    share = lenient[CERTIFIED] / seeds
    bar("lenient (TPR .9, TNR .7) certified", share, share <= FIRES_AT_MOST + slack, f"<= .05 + {slack:.3f}")

    loud: Counter[str] = Counter()
    for seed in range(seeds):
        for makers in (PASS_FAIL, PAIRS):
            for probe in probed(np.random.default_rng([3, seed, len(makers)]), makers):
                loud[f"{'pairs' if makers is PAIRS else 'pass/fail'}: {probe.kind}"] += fires(probe)
    for name, count in sorted(loud.items()):
        share = count / seeds
        bar(f"clean, fires · {name}", share, share <= FIRES_AT_MOST + slack, f"<= .05 + {slack:.3f}")
    for name, (makers, kind, bias) in BIASED.items():
        found = sum(
            next(
                one for one in probed(np.random.default_rng([4, seed]), makers, kind, bias) if one.kind == kind
            ).verdict
            == "found"
            for seed in range(seeds)
        )
        share = found / seeds
        bar(f"{name} {bias:.2f}, found by {kind}", share, share >= enough, f">= {enough:.2f}")
    for name, errs in ERRING.items():
        seen = [concluded([injection(np.random.default_rng([6, seed]), errs=errs)])[0] for seed in range(seeds)]
        share = sum(one.verdict == "found" for one in seen) / seeds
        bar(
            f"{name} ({errs:.2f} of bad answers), called obedient",
            share,
            share <= FIRES_AT_MOST + slack,
            f"<= .05 + {slack:.3f}",
        )
        share = sum(one.verdict == "undecided" for one in seen) / seeds
        bar(f"{name} ({errs:.2f} of bad answers), left open", share, True, "")
        seen = [concluded([injection(np.random.default_rng([7, seed]), OBEYS, errs)])[0] for seed in range(seeds)]
        share = sum(one.verdict == "found" for one in seen) / seeds
        bar(f"{name} and gullible {OBEYS:.2f}, found", share, True, "")
    share = sum(caught_by_canaries(seed) for seed in range(seeds)) / seeds
    bar("gullible sandbox judge, caught by a run's canaries", share, share >= enough, f">= {enough:.2f}")
    share = sum(caught_by_canaries(seed, "judge-noisy") for seed in range(seeds)) / seeds
    bar("noisy sandbox judge, accused by them", share, share <= FIRES_AT_MOST + slack, f"<= .05 + {slack:.3f}")
    count = forged()
    bar(f"verdicts forged by {2 * len(attacks('pass'))} repeated attacks", count, count == 0, "0")
    for name, share, limit in drift_rows(seeds, np.random.default_rng(5)):
        bar(name, share, not limit or share <= FIRES_AT_MOST + slack, limit)
    if options.json:
        print(json.dumps(figures))
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
