"""The verb `bench-shots`."""

from pathlib import Path

import pytest

from safetycatch.cli.benching import show
from safetycatch.cli.output import Output

BENCH = {
    "metric": "accuracy",
    "unit": "points",
    "simplest": "zero",
    "n_dev": 300,
    "sentence": "take knn4, the best",
    "rule": "the simplest",
    "strategies": [
        {
            "candidate": "knn4",
            "score": {"estimate": 0.7412, "low": 0.713, "high": 0.768, "n": 298, "n_missing": 2},
            "gain": {"estimate": 0.304, "low": 0.269, "high": 0.339, "n": 298},
            "usd_per_1000": None,
            "tokens_in": 639.2,
            "share_cached": 0.5,
            "latency_p50_s": 0.05,
            "latency_p95_s": 0.09,
            "moving_parts": 2,
            "status": "running",
            "rung": None,
        },
        {
            "candidate": "static4",
            "score": {"estimate": 0.4, "low": None, "high": None, "n": 100, "n_missing": 0},
            "gain": {"estimate": -0.02, "low": None, "high": None, "n": 100},
            "usd_per_1000": 0.25,
            "tokens_in": None,
            "share_cached": None,
            "latency_p50_s": None,
            "latency_p95_s": None,
            "moving_parts": 1,
            "status": "pruned",
            "rung": 1,
        },
    ],
    "spreads": [
        {"candidate": "knn4", "what": "order", "means": [0.7, 0.72], "sd": 0.01, "sd_low": 0.0, "sd_high": 0.3, "n": 90}
    ],
    "unspread": "budget.calls leaves room for 90 rows",
    "calls": {"asked": 400, "without_race": 600, "spreads": 90},
    "next": ["candidates:", "  - {id: zero}"],
}
CALLS = {"sent": 490, "from_journal": 0, "errors": 0, "perhaps_paid": 0}


def shown(capsys, **changed):
    result = {"bench": {**BENCH, **changed}, "calls": CALLS, "spent_usd": 0.1, "findings": [], "wall_s": 3.0}
    show({**result, "report": "report.html"}, "e.yaml", Output(json=False))
    return capsys.readouterr().out


def test_the_table_says_unknown_prices_missing_items_and_who_left(capsys):
    knn, static = [line for line in shown(capsys).splitlines() if line.startswith(("knn4 ", "static4 "))]
    assert "74.1 % [71.3, 76.8]  298 (2 missing)" in knn
    assert "price unknown  639 (50 % cached)" in knn
    assert knn.endswith("every dev row")
    assert "$0.25" in static
    assert "— / —" in static
    assert static.endswith("not among the best at rung 1 (cap)")


def test_calls_spared_seeds_and_what_to_type_next_are_told(capsys):
    text = shown(capsys)
    assert "400 answers instead of 600: the race spared 33 %, and 90 for seeds and orders" in text
    assert "knn4, 2 orders: 70.0 to 72.0 %, SD 1 points [0, 30] (n = 90)" in text
    assert "budget.calls leaves room for 90 rows" in text
    assert "then: safetycatch run e.yaml, and with its run: safetycatch pin RUN" in text


def test_nothing_to_paste_is_nothing_to_do_next(capsys):
    assert "pin" not in shown(capsys, next=[])


def test_names_from_data_do_not_move_the_cursor(capsys):
    assert "\x1b" not in shown(capsys, sentence="take \x1b[2J")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--k", "4,x"), "numbers of examples"),
        (("--k", "4.5"), "numbers of examples"),
        (("--k", "²"), "numbers of examples"),
        (("--k", "0"), "from 1 to 256"),
        (("--strategies", "nearest"), "knn"),
        (("--seeds", "99"), "from 0 to 20"),
    ],
)
def test_wrong_options_are_told_before_anything_starts(cli, words, expected):
    cli("init")
    ended = cli("bench-shots", "experiments/example.yaml", *words)
    assert ended.code == 2
    assert words[0] in ended.err
    assert expected in ended.err
    assert not Path(".safetycatch").exists()


@pytest.mark.flow
def test_the_verb_prints_one_document_and_resumes_for_nothing(cli, command, tmp_path):
    cli("init")
    words = ("bench-shots", "experiments/example.yaml", "--k", "2", "--strategies", "static,knn", "--seeds", "1")
    first = command(*words, "--json", cwd=tmp_path)
    assert first.code == 0, first.err
    bench = first.document["bench"]
    assert {row["candidate"] for row in bench["strategies"]} == {"zero", "static2", "knn2"}
    assert "Few-shot strategies" in Path(first.document["report"]).read_text()
    second = command(*words, cwd=tmp_path)
    assert "0 calls, all from the journal" in second.out
    assert bench["sentence"] in second.out
