"""Certificates made by hand, for tests of what reads them."""

import random
from datetime import UTC, datetime

from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.calibration import JudgedItem, counts_of
from safetycatch.judging.certificate import LIMITS, Certificate, decide_state
from safetycatch.judging.sealing import ItemKey

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PASS_FAIL = JudgeSettings.model_validate({"verdicts": "v.csv"})
WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "lmnrst"]


def items(tp, fn, fp, tn, *, slices=(), part="sealed"):
    """Labelled items with a judge's verdicts, so many of each kind."""
    kinds = [("pass", "pass")] * tp + [("pass", "fail")] * fn + [("fail", "pass")] * fp + [("fail", "fail")] * tn
    return [
        JudgedItem(ItemKey(f"e{at}", "", f"{at:016x}"), part, label, verdict, "q", f"a{at}", slices=dict(slices))
        for at, (label, verdict) in enumerate(kinds)
    ]


def certificate(counts=(97, 3, 3, 97), **fields):
    """A certificate of a judge with these sealed counts: TP, FN, FP, TN."""
    sealed = counts_of(items(*counts), PASS_FAIL)
    state, reasons = decide_state(sealed)
    known = {
        "experiment": "e",
        "judge_key": "k" * 64,
        "judge": {"judges": [], "returned": {}, "recorded_sha256": ""},
        "scale": {},
        "state": state,
        "reasons": reasons,
        "labels_needed": (),
        "sealed": sealed,
        "whole": sealed,
        "overall": {},
        "labels_hash": "l" * 64,
        "labels": {"notes": []},
        "sizes": {"few_shot": 0, "dev": 0, "sealed": sum(counts), "left_out": 0},
        "sealed_keys": (),
        "people": {"ceiling": {}, "pairs": [], "contested": []},
        "slices": (),
        "probes": (),
        "looks": {"revision": 1, "total": 1, "budget": 3},
        "correction": {"method": "rogan_gladen", "assumption": "", "gain_at_most": None},
        "limits": LIMITS._asdict(),
        "issued_at": NOW,
        "valid_until": None,
        "validity": "the model is a pinned snapshot: it holds while its sentinels hold",
    }
    return Certificate(**{**known, **fields})


def texts(n, words=9, seed=3):
    """Texts that resemble each other in nothing."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=words)) for _ in range(n)]
