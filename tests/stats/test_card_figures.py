"""Figures that others published or that the cards of the public sets hold, computed again by `stats`."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from safetycatch.stats import (
    benjamini_hochberg,
    equivalence,
    holm,
    max_t,
    mcnemar,
    noninferiority,
    paired_difference,
    rate_interval,
    required_n,
    sign_flip,
    tango_interval,
)

A = np.r_[np.ones(42), np.zeros(25), np.ones(433)]
B = np.r_[np.zeros(42), np.ones(25), np.ones(433)]


@pytest.fixture(scope="session")
def solutions(shared_data):
    """GSM8K: `{model: right or wrong by item}` of four models that Cobbe et al. 2021 recorded."""
    table = pq.read_table(shared_data / "gsm8k" / "model_solutions.parquet", columns=["item_id", "model", "is_correct"])
    right = {}
    for row in table.to_pylist():
        right.setdefault(row["model"], {})[row["item_id"]] = float(row["is_correct"])
    ids = sorted(next(iter(right.values())))
    return {model: np.array([column[item] for item in ids]) for model, column in right.items()}


@pytest.fixture(scope="session")
def answers(shared_data):
    """BIG-Bench Hard: `{task: {direct: ..., cot: ...}}`, right or wrong by item, recorded by Suzgun et al. 2022."""
    columns = ["item_id", "task", "system", "is_correct"]
    table = pq.read_table(shared_data / "bbh_direct_vs_cot" / "model_outputs.parquet", columns=columns)
    found = {}
    for row in sorted(table.to_pylist(), key=lambda row: row["item_id"]):
        system = row["system"].rsplit("-", 1)[1]
        found.setdefault(row["task"], {}).setdefault(system, []).append(float(row["is_correct"]))
    return found


def card(folder):
    return json.loads((folder / "card.json").read_text())["reference"]


def test_gsm8k_by_four_models(solutions, shared_data):
    known = card(shared_data / "gsm8k")
    for model, figures in known["correct_of_1319"].items():
        found = rate_interval(solutions[model])
        assert (found.n, found.estimate) == (1319, pytest.approx(figures["correct"] / 1319))
        assert found.low < found.estimate < found.high
    for pair, figures in known["mcnemar"].items():
        first, second = (solutions[name] for name in pair.split(" vs "))
        found = mcnemar(first, second)
        assert (found.n10, found.n01) == (figures["only_first"], figures["only_second"])
        assert found.p_value == pytest.approx(figures["exact_mcnemar_p"], rel=5e-4)
        assert sign_flip(first - second, seed=1).p_value == pytest.approx(found.p_value, rel=1e-8)


def test_gsm8k_verification_helps_the_small_model_more_than_size(solutions):
    found = mcnemar(solutions["6b_verification"], solutions["175b_finetuning"])
    assert found.p_value == pytest.approx(0.003151, abs=5e-7)
    gain = paired_difference(solutions["6b_verification"], solutions["175b_finetuning"])
    assert (gain.estimate, gain.n) == (pytest.approx(57 / 1319), 1319)
    assert gain.p_value == pytest.approx(0.003151, rel=0.2)


def test_big_bench_hard_by_task(answers, shared_data):
    """54 published accuracies: 27 tasks, answers alone and chain of thought."""
    known, compared = card(shared_data / "bbh_direct_vs_cot")["per_task"], 0
    for task, figures in known.items():
        for system in ("direct", "cot"):
            found = rate_interval(answers[task][system])
            assert (found.n, round(100 * found.estimate, 2)) == (figures["n"], figures[system]["published"])
            compared += 1
    assert compared == 54


def test_big_bench_hard_over_all_items(answers):
    cot, direct = (np.concatenate([task[system] for task in answers.values()]) for system in ("cot", "direct"))
    found = mcnemar(cot, direct)
    assert (found.n10, found.n01, found.n) == (1981, 573, 6511)
    assert found.p_value == pytest.approx(2.44e-180, rel=2e-3)
    # over tasks, the unit that the questions were sampled in, the same gain is far less certain
    tasks = np.repeat(np.arange(27), [len(task["cot"]) for task in answers.values()])
    assert 1e-9 < sign_flip(cot - direct, tasks, seed=1).p_value < 1e-3


def test_big_bench_hard_several_at_once(answers):
    raw = [mcnemar(task["cot"], task["direct"]).p_value for task in answers.values()]
    shown = [int((adjusted <= 0.05).sum()) for adjusted in (np.array(raw), benjamini_hochberg(raw), holm(raw))]
    assert shown == sorted(shown, reverse=True)
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    for method, adjusted in (("holm", holm(raw)), ("fdr_bh", benjamini_hochberg(raw))):
        assert adjusted == pytest.approx(multitest.multipletests(raw, method=method)[1], rel=1e-8)


def test_gsm8k_three_models_against_a_fourth(solutions):
    others = [name for name in sorted(solutions) if name != "175b_finetuning"]
    gains = np.column_stack([solutions[name] - solutions["175b_finetuning"] for name in others])
    sharp = dict(zip(others, max_t(gains, seed=1), strict=True))
    assert sharp["6b_verification"] == pytest.approx(0.0032, abs=0.0025)
    assert all(p <= 0.01 for p in sharp.values())


def test_the_anchor_table():
    """42 against 25 of 500: figures of the statistics page."""
    found, limits = mcnemar(A, B), tango_interval(A, B)
    assert (found.p_value, found.mid_p) == (pytest.approx(0.04980, abs=5e-6), pytest.approx(0.0385, abs=5e-5))
    assert (limits.low, limits.high) == (pytest.approx(0.00196, abs=5e-6), pytest.approx(0.06712, abs=5e-6))
    assert sign_flip(A - B, seed=1).p_value == pytest.approx(found.p_value, rel=1e-9)
    assert noninferiority(A, B, 0.02).p_value == pytest.approx(0.00063, abs=5e-6)
    assert [equivalence(A, B, margin).p_value for margin in (0.02, 0.05)] == pytest.approx([0.806, 0.166], abs=5e-4)
    narrow = equivalence(A, B, 0.05)
    assert (narrow.low, narrow.high) == (pytest.approx(0.00720, abs=5e-6), pytest.approx(0.06158, abs=5e-6))


@pytest.mark.parametrize(("right", "n", "low", "high"), [(45, 50, 0.7864, 0.9565), (50, 50, 0.9287, 1.0)])
def test_wilson(right, n, low, high):
    found = rate_interval(np.r_[np.ones(right), np.zeros(n - right)])
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_connor():
    assert required_n(0.05, discordance=0.2) == 626
