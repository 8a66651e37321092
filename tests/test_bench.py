"""Whole few-shot benches: on dev only, raced, resumed for nothing, with an advice that can be run."""

import random
import re

import pyarrow.parquet as pq
import pytest

from flows.bench_shots import run_bench
from flows.chain import as_function
from safetycatch.errors import DataError, ExperimentError, StoppedError, UsageError
from safetycatch.experiment import parse_experiment
from safetycatch.results.pin import winner
from safetycatch.settings import ShotSettings
from tasks.bench import STRATEGIES, BenchSettings, default_ladder
from tasks.session import WATCHER, Watcher
from tests.wiring import WORDS

LABELS = ("north", "south", "east", "west")


def topics(n=240, seed=3, labels=LABELS, shares=(1, 1, 1, 1, 1)):
    """Texts of several topics a label, as frequent as `shares`, each with words of its own.

    An example helps where it is of the same topic.
    """
    draw = random.Random(seed)
    words = draw.sample(WORDS, 4 * len(labels) * len(shares))
    own = {(label, topic): [words.pop() for _ in range(4)] for label in labels for topic in range(len(shares))}
    found = []
    for number in range(n):
        label, (topic,) = labels[number % len(labels)], draw.choices(range(len(shares)), shares)
        text = " ".join([*draw.sample(own[label, topic], 3), *draw.choices(WORDS, k=5)])
        found.append({"id": f"R{number:03d}", "text": text, "label": label, "lang": draw.choice(["de", "en"])})
    return found


@pytest.fixture
def bench(project):
    """A project whose texts have topics, one model and one prompt; `run` benches it."""
    project.rows = topics()
    project.model()
    project.config["candidates"] = project.config["candidates"][1:] + project.config["candidates"][:1]
    project.config |= {
        "split": {"train": 0.4, "dev": 0.3, "test": 0.3},
        "runs": {"ladder": [30, "all"]},
        "claim": {"metric": "accuracy", "smallest_effect": "5 points"},
    }

    def run(strategies=("static", "knn"), ks=(4,), **more):
        token = WATCHER.set(Watcher(say=project.say))
        try:
            settings = BenchSettings(strategies, ks, **{"seeds": 0, **more})
            return run_bench(project.path(), settings, call=as_function)
        finally:
            WATCHER.reset(token)

    project.bench = run
    return project


def table(result):
    return {row["candidate"]: row for row in result["bench"]["strategies"]}


def finding(result, code):
    return next(row for row in result["findings"] if row["code"] == code)


def test_a_bench_asks_dev_rows_only_and_takes_what_the_model_can_use(bench):
    result = bench.bench()
    splits = bench.splits()
    asked = [pq.read_table(result["artifacts"][name])["example_id"].to_pylist() for name in ("rows", "dev_rows")]
    assert {splits[example_id] for ids in asked for example_id in ids} == {"dev"}
    rows, advice = table(result), result["bench"]["advice"]
    assert (advice["candidate"], advice["best"], advice["shown"]) == ("knn4", "knn4", True)
    assert rows["knn4"]["score"]["estimate"] > rows["static4"]["score"]["estimate"] > rows["zero"]["score"]["estimate"]
    assert rows["knn4"]["gain"]["low"] > 0
    assert [row["moving_parts"] for row in (rows["zero"], rows["static4"], rows["knn4"])] == [0, 1, 2]
    assert result["banner"]["sentence"] == result["bench"]["sentence"]
    assert finding(result, "SC903")["status"] == "passed"


def test_a_claim_with_one_candidate_can_be_benched_and_pin_suggests_the_advice(bench):
    del bench.config["candidates"][1]
    found = bench.bench()
    assert found["bench"]["advice"]["candidate"] != "zero"
    with pytest.raises(UsageError) as told:
        winner(found, bench.stored().summary["summary"], None)
    assert told.value.fix.startswith(f"--candidate {found['bench']['advice']['candidate']} ")


def test_every_strategy_can_be_benched(bench):
    result = bench.bench(STRATEGIES, (3,))
    assert set(table(result)) == {"zero", *(f"{name}3" for name in STRATEGIES)}
    assert result["bench"]["calls"]["asked"] < result["bench"]["calls"]["without_race"]


def test_the_lines_to_paste_are_an_experiment_whose_claim_is_the_advice(bench):
    lines = bench.bench()["bench"]["next"]
    text = "\n".join(["data: {path: rows.csv, input: text, target: label}", *lines])
    found = parse_experiment(text, "e.yaml", "e")
    assert [one.shots for one in found.candidates] == [ShotSettings(), ShotSettings(select="knn", k=4)]
    assert (found.claim.candidate, found.claim.smallest_effect.value, found.baseline) == ("knn4", 0.05, "zero")
    assert {one.prompt for one in found.candidates} == {"route.md"}


def test_the_best_one_is_claimed_where_no_examples_are_recommended(bench):
    bench.config["claim"]["smallest_effect"] = "80 points"
    found = bench.bench()["bench"]
    assert (found["advice"]["candidate"], found["advice"]["best"]) == ("zero", "knn4")
    assert [line[:11] for line in found["next"]] == ["candidates:", "  - {id: ze", "  - {id: kn", "claim: {met"]
    assert "candidate: knn4}" in found["next"][-1]


def test_the_best_one_is_pasted_beside_the_recommended_one(bench):
    bench.config["claim"]["smallest_effect"] = "55 points"
    found = bench.bench()["bench"]
    assert (found["advice"]["candidate"], found["advice"]["best"]) == ("static4", "knn4")
    assert [line.split(",")[0] for line in found["next"][1:4]] == ["  - {id: zero", "  - {id: static4", "  - {id: knn4"]
    assert "candidate: static4}" in found["next"][-1]


def test_the_same_bench_again_asks_nothing_and_another_band_only_decides_anew(bench):
    first, sent = bench.bench(), bench.sent()
    again = bench.bench()
    assert (again["calls"]["sent"], again["bench"]) == (0, first["bench"])
    bench.config["claim"]["smallest_effect"] = "80 points"
    other = bench.bench()
    assert (bench.sent(), other["calls"]["sent"]) == (sent, 0)
    assert other["run_id"] != first["run_id"]
    assert other["bench"]["advice"]["candidate"] == "zero"


def test_a_stopped_bench_goes_on_for_what_is_missing(bench):
    def stop(stage, _text):
        if stage == "ladder":
            raise StoppedError("stopped", 2)

    bench.say = stop
    with pytest.raises(StoppedError):
        bench.bench(seeds=1)
    bench.say, before = None, bench.sent()
    result = bench.bench(seeds=1)
    assert 0 < before < bench.sent()
    assert result["calls"]["sent"] == bench.sent() - before
    whole = result["bench"]["calls"]
    assert bench.sent() <= whole["asked"] + whole["spreads"]


def test_an_exhaustive_bench_asks_everybody_everything(bench):
    calls = bench.bench(exhaustive=True)["bench"]["calls"]
    assert calls["asked"] == calls["without_race"]


def test_who_left_the_race_has_its_own_n_and_the_best_with_fewer_parts_is_measured_to_the_end(bench):
    bench.rows = topics(360)
    rows = table(bench.bench(("random", "static", "knn"), (2, 4)))
    left = [row for row in rows.values() if not row["complete"]]
    assert left
    assert all(row["score"]["n"] < rows["zero"]["score"]["n"] for row in left)
    assert all(row["score"]["low"] is row["gain"]["low"] is None for row in left)
    assert all("in a race" in row["gain"]["method"] for row in left)
    assert [row["moving_parts"] for row in rows.values() if row["complete"]].count(1) == 1


def test_sc903_fires_where_retrieval_wins_inside_the_band(bench):
    bench.config["claim"]["smallest_effect"] = "90 points"
    found = finding(bench.bench(), "SC903")
    assert (found["status"], found["level"]) == ("fired", "warn")
    assert found["fix"].startswith("take ")


def test_sc902_fires_where_other_seeds_move_the_score_more_than_the_gain(bench):
    bench.rows = topics(400, 7, LABELS[:2], (4, 1))
    result = bench.bench(("static",), (2,), seeds=4)
    moved = {one["what"]: one for one in result["bench"]["spreads"]}
    assert moved["seed"]["sd"] > 0
    assert moved["order"]["sd"] == 0  # the sandbox's model adds up its examples in any order
    assert finding(result, "SC902")["status"] == "fired"


def test_sc902_is_silent_where_the_gain_is_larger_than_the_spread(bench):
    result = bench.bench(("knn",), (4,), seeds=2)
    assert finding(result, "SC902")["status"] == "passed"
    assert result["bench"]["calls"]["spreads"] == 2 * result["bench"]["n_dev"]


def test_seeds_wait_where_the_budget_has_no_room_for_them(bench):
    bench.config["budget"] = {"calls": 225}
    result = bench.bench(exhaustive=True, seeds=3)
    assert result["bench"]["spreads"] == []
    assert "budget.calls leaves room for" in result["bench"]["unspread"]
    assert finding(result, "SC902")["status"] == "not_applicable"


def test_seeds_cost_nothing_that_nobody_was_asked_about(bench):
    bench.model(model="sandbox/in-context-priced")
    bench.config["budget"] = {"usd": 5, "ask_above": 0.2}
    result = bench.bench(("knn",), (4,), seeds=5)
    assert 0 < result["spent_usd"] <= 0.2
    assert "budget.ask_above leaves room for" in result["bench"]["unspread"]


def test_no_labels_of_the_pool_shown_is_said(bench):
    bench.config["claim"]["smallest_effect"] = "90 points"
    sentence = bench.bench(("static",), (2,))["bench"]["sentence"]
    assert "hardly help" in sentence or "do harm" in sentence


def test_without_a_claim_two_points_are_the_band_and_said(bench):
    del bench.config["claim"]
    result = bench.bench()
    assert result["bench"]["advice"]["band"] == 0.02
    assert "2 points" in result["bench"]["rule"]
    assert "the default" in result["bench"]["rule"]


def test_prices_make_dollars_a_frontier_and_a_plot(bench):
    bench.model(model="sandbox/in-context-priced")
    result = bench.bench()
    rows = table(result)
    assert rows["knn4"]["usd_per_1000"] > rows["zero"]["usd_per_1000"] > 0
    assert rows["zero"]["frontier"]
    assert rows["knn4"]["frontier"]
    assert "US dollars for 1,000 calls" in (bench.store / "runs" / result["run_id"] / "report.html").read_text()


def test_a_claim_on_the_whole_set_is_benched_on_its_items(bench):
    bench.config["claim"]["metric"] = "macro_f1"
    assert bench.bench()["bench"]["metric"] == "accuracy"


def test_an_ensemble_of_the_file_is_no_strategy(bench):
    bench.config["aggregate"] = {"members": ["a", "b"], "rule": "majority", "tie": "a"}
    assert set(table(bench.bench(("static",), (2,)))) == {"zero", "static2"}


def test_replicates_are_averaged_by_item(bench):
    bench.config["runs"]["replicates"] = 2
    found = bench.bench(("static",), (2,), exhaustive=True)["bench"]
    assert found["calls"]["asked"] == 2 * 2 * found["n_dev"]
    assert found["strategies"][0]["score"]["n"] == found["n_dev"]


def test_the_command_repeats_the_bench(bench):
    bench.bench(seeds=0, exhaustive=True)
    assert (
        bench.stored().summary["command"]
        == "safetycatch bench-shots e.yaml --k 4 --strategies static,knn --seeds 0 --exhaustive"
    )


def test_hostile_names_stay_text_in_the_report(bench):
    bench.rows = [{**row, "label": f"<script>{row['label']}</script>"} for row in bench.rows]
    result = bench.bench()
    assert "<script>" not in (bench.store / "runs" / result["run_id"] / "report.html").read_text()


def test_a_bench_needs_dev_rows_and_a_model(bench):
    bench.config["split"] = {"test": 1}
    with pytest.raises(ExperimentError, match="never opens test"):
        bench.bench()
    bench.config |= {"split": {"train": 0.5, "dev": 0.5}, "candidates": [{"id": "a", "call": "wired:a"}]}
    del bench.config["claim"]
    with pytest.raises(ExperimentError, match="no candidate with a prompt and a model"):
        bench.bench()


def test_a_pool_smaller_than_k_is_refused_before_any_call(bench):
    with pytest.raises(DataError, match="needs 200"):
        bench.bench(("static",), (200,))
    assert bench.sent() == 0


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"strategies": ("nearest",)}, "--strategies"),
        ({"strategies": ()}, "--strategies"),
        ({"ks": (0,)}, "--k"),
        ({"ks": ()}, "--k"),
        ({"seeds": 21}, "--seeds"),
    ],
)
def test_wrong_options_are_named(wrong, where):
    with pytest.raises(UsageError) as caught:
        BenchSettings(**wrong)
    assert caught.value.where == where


@pytest.mark.parametrize(("option", "value"), [("model", "no provider"), ("candidate", "nobody")])
def test_a_model_or_candidate_that_there_is_not_is_named(bench, option, value):
    with pytest.raises(UsageError) as caught:
        bench.bench(**{option: value})
    assert caught.value.where == f"--{option}"


def test_prompt_and_model_are_the_named_candidates(bench):
    result = bench.bench(("knn",), (2,), candidate="a", model="sandbox/in-context-small")
    assert "prompt: short.md, model: sandbox/in-context-small" in result["bench"]["next"][1]


def test_a_hybrid_of_one_is_left_out():
    assert [one.name for one in BenchSettings(("hybrid", "knn"), (1, 2)).shots()] == ["zero", "hybrid2", "knn1", "knn2"]


def test_the_default_ladder_keeps_half_a_third_and_a_sixth():
    assert [(rung.items, rung.keep) for rung in default_ladder(12)] == [(100, 6), (200, 4), (400, 2), ("all", None)]
    assert [rung.keep for rung in default_ladder(2)] == [2, 2, 2, None]


def test_too_few_rows_for_the_ceiling_refuse_and_the_sum_named_holds_all(bench):
    bench.model(model="sandbox/in-context-priced")
    bench.config["budget"] = {"usd": 0.005, "calls": 5000}
    with pytest.raises(UsageError, match=r"room for \d+ of 72 rows") as told:
        bench.bench()
    assert bench.sent() == 0
    (needed,) = map(float, re.findall(r"budget: \{usd: ([\d.]+), calls: 5000\}", told.value.fix))
    bench.config["budget"] = {"usd": needed}
    assert bench.bench()["bench"]["n_dev"] == 72


def test_a_sample_is_told_before_a_call_is_sent(bench):
    told = []
    bench.say = lambda stage, text: told.append((stage, text, bench.sent()))
    bench.config["budget"] = {"calls": 3 * 40}
    assert bench.bench()["bench"]["n_dev"] == 40
    assert ("sample", "a keyed sample of 40 of 72 dev rows fits the ceiling", 0) in told
