"""The ladder: who races on dev, who goes on to test, and what the run says about it."""

import json
import math

import pyarrow.parquet as pq
import pytest

from flows.chain import as_function
from flows.evaluate import run_experiment
from flows.ladder import caps, ranking
from flows.preview import preview
from safetycatch.cli.main import main
from safetycatch.errors import ExperimentError
from safetycatch.experiment import Rung, parse_experiment
from tasks.race import blocks_of
from tasks.session import WATCHER, Watcher
from tests.wiring import rows

LADDER = [50, "all"]


@pytest.fixture
def race(project):
    """Four functions over 400 rows: c and d are worse than the baseline a, b is better."""
    project.rows = rows(400)
    for name, share in (("a", 60), ("b", 90), ("c", 30), ("d", 20)):
        project.add(name, share)
    project.config |= {
        "split": {"train": 0.1, "dev": 0.4, "test": 0.5},
        "runs": {"ladder": LADDER},
        "candidates": [{"id": name, "call": f"wired:{name}", "max_cost_usd": 0.0001} for name in "abcd"],
    }
    return project


def rungs(*ladder):
    return [Rung.model_validate(rung) for rung in ladder]


def broken(project, name, n):
    """The function `name`, which fails on the first `n` dev rows."""
    answers, dev = project.answers[name], sorted(one for one, split in first_splits(project).items() if split == "dev")
    return lambda row: fail() if row["example_id"] in dev[:n] else answers(row)


def fail():
    raise ValueError("planted")


def first_splits(project):
    """The split of each row, before any call."""
    project.check()
    return project.splits()


def right(project, name, example_id):
    target = next(row["label"] for row in project.rows if row["id"] == example_id)
    return project.answers[name]({"example_id": example_id}) == target


def chosen(result):
    """Whom the banner is about."""
    return result["banner"]["sentence"].split()[0]


# -- what the file says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ladder", "n", "expected"),
    [
        ((100, 300, "all"), 15, [9, 6, None]),
        ((100, "all"), 3, [2, None]),
        ((100, "all"), 2, [None, None]),
        (({"items": 100, "keep": 2}, {"items": 200, "keep": "all"}, "all"), 15, [2, None, None]),
        (({"items": "all", "keep": 5},), 15, [5]),
    ],
)
def test_caps_keep_sixty_per_cent_unless_told(ladder, n, expected):
    assert caps(rungs(*ladder), n) == expected


@pytest.mark.parametrize("ladder", [[300, 100], ["all", 100], [0], ["some"], [{"items": 10, "keep": 0}], [100, 100]])
def test_a_ladder_that_does_not_climb_is_refused(ladder):
    text = f"data: d.csv\nprompts: [p.md]\nmodels: [openai/x]\nruns: {{ladder: {ladder}}}\n"
    with pytest.raises(ExperimentError, match=r"ladder|runs"):
        parse_experiment(text, "x.yaml", "x")


def test_looks_hold_whole_clusters_of_25_items_and_every_item_once():
    ids = [f"i{number}" for number in range(400)]
    clusters = {name: f"c{number // 3}" for number, name in enumerate(ids)}
    found = blocks_of(ids, clusters, 7, [100, 300, float("inf")])
    flat = [[name for block in rung for name in block] for rung in found]
    assert sorted(name for rung in flat for name in rung) == sorted(ids)
    assert [sum(map(len, flat[: number + 1])) >= size for number, size in enumerate([100, 300, 400])] == [True] * 3
    blocks = [block for rung in found for block in rung]
    homes = [{clusters[name] for name in block} for block in blocks]
    assert sum(map(len, homes)) == len(set().union(*homes))
    assert {len(block) for block in blocks[:-1]} <= set(range(1, 28))
    assert found != blocks_of(ids, clusters, 8, [100, 300, float("inf")])


# -- a run -----------------------------------------------------------------------------------------------------------


def test_the_survivors_and_the_baseline_alone_see_test(race):
    result = race.run()
    by_id = {row["id"]: row for row in result["candidates"]}
    assert {name: (row["split"], row["status"]) for name, row in by_id.items()} == {
        "a": ("test", "scored"),
        "b": ("test", "scored"),
        "c": ("dev", "eliminated"),
        "d": ("dev", "eliminated"),
    }
    assert result["verdict"] == "BETTER"
    assert "chosen on dev" in result["banner"]["sentence"]
    assert {row["candidate"] for row in result["comparisons"]} == {"b"}
    ladder = {row["candidate"]: row for row in pq.read_table(result["artifacts"]["ladder"]).to_pylist()}
    assert {name for name, row in ladder.items() if row["on"]} == {"a", "b"}
    assert ladder["d"]["e_value"] >= 20 > ladder["b"]["e_value"]


def test_every_dev_reply_is_kept_and_none_is_asked_twice(race):
    result = race.run()
    dev = pq.read_table(result["artifacts"]["dev_rows"])
    test = pq.read_table(result["artifacts"]["rows"])
    assert len(race.calls) == race.sent() == dev.num_rows + test.num_rows == result["calls"]["sent"]
    split = race.splits()
    assert {split[name] for name in dev["example_id"].to_pylist()} == {"dev"}
    assert {split[name] for name in test["example_id"].to_pylist()} == {"test"}


def test_the_second_run_sends_nothing_and_says_the_same(race):
    first, calls = race.run(), len(race.calls)
    again = race.run()
    assert len(race.calls) == calls
    assert again["calls"]["sent"] == 0
    assert again["candidates"] == first["candidates"]


def test_a_named_candidate_gets_its_verdict_even_when_it_lost_on_dev(race):
    race.config["claim"]["candidate"] = "d"
    result = race.run()
    assert result["verdict"] == "WORSE"
    assert {row["id"] for row in result["candidates"] if row["split"] == "test"} == {"a", "b", "d"}


def test_where_everybody_lost_the_best_of_them_gets_its_verdict(race):
    race.add("b", 25)
    result = race.run()
    assert result["verdict"] == "WORSE"
    assert sum(row["split"] == "test" for row in result["candidates"]) == 2


def test_a_cap_prunes_and_claims_nothing(race):
    for name in "abcd":
        race.add(name, 60)
    race.config["runs"] = {"ladder": [{"items": 50, "keep": 2}, "all"]}
    result = race.run()
    status = {row["id"]: row["status"] for row in result["candidates"]}
    assert "eliminated" not in status.values()
    assert list(status.values()).count("pruned") >= 1
    assert status["a"] == "scored"


def test_exploring_races_on_dev_and_scores_the_survivors_there(race):
    del race.config["claim"]
    result = race.run()
    assert result["mode"] == "exploring"
    assert {row["split"] for row in result["candidates"]} == {"dev"}
    assert {row["id"] for row in result["candidates"] if row["status"] == "scored"} == {"a", "b"}


def test_the_plan_says_what_the_race_saves(race):
    said = []
    race.say = lambda stage, text: said.append(f"{stage} {text}")
    race.run()
    plan = next(line for line in said if line.startswith("plan dev: race of 4"))
    assert "without the race" in plan
    ladder = [line for line in said if line.startswith("ladder")]
    assert "eliminated (evidence)" in ladder[0]
    assert "a (the baseline) always stays" in ladder[0]


def test_plan_shows_calls_with_and_without_the_race(race, capsys):
    race.patch.chdir(race.folder)
    assert main(["plan", str(race.path()), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {row["split"] for row in plan["candidates"]} == {"dev", "test"}
    assert plan["n_calls"] == 4 * (160 + 200)
    assert plan["race"]["n_expected"] < plan["race"]["n_full"] == 640
    assert plan["expected_calls"] == pytest.approx(sum(row["expected_calls"] for row in plan["candidates"]))
    assert main(["plan", str(race.path())]) == 0
    assert "with the race" in capsys.readouterr().out
    assert race.calls == []


def test_exploring_counts_every_row_once(race, capsys):
    del race.config["claim"]
    race.patch.chdir(race.folder)
    assert main(["plan", str(race.path()), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [row["split"] for row in plan["candidates"]] == ["dev"] * 4
    assert plan["expected_calls"] < plan["n_calls"] == 4 * 160
    result = race.run()
    assert result["calls"]["from_journal"] == 0
    assert result["calls"]["sent"] == len(race.calls)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda p: p.config["candidates"].pop(), None),
        (lambda p: p.config.update(candidates=p.config["candidates"][:2]), "two other candidates that answer"),
        (lambda p: p.config.update(split={"test": 1}), "no dev rows"),
    ],
)
def test_without_a_race_everybody_goes_to_test_and_it_is_said(race, change, why):
    change(race)
    result = race.run()
    assert any("no race" in note for note in result["notes"]) == (why is not None)
    if why:
        assert why in " ".join(result["notes"])
        assert {row["split"] for row in result["candidates"]} == {"test"}


def test_a_race_on_money_is_refused_before_any_call(race):
    race.config["claim"] = {"metric": "cost_usd", "smallest_effect": "$0.01"}
    with pytest.raises(ExperimentError, match="race on cost_usd"):
        race.run()
    assert race.calls == []


def test_a_missing_row_does_not_lose_the_choice(race):
    race.add("c", 75)
    race.answers["b"] = broken(race, "b", 2)
    result = race.run()
    assert chosen(result) == "b"
    ladder = {row["candidate"]: row for row in pq.read_table(result["artifacts"]["ladder"]).to_pylist()}
    assert ladder["b"]["n_missing"] > 0 == ladder["c"]["n_missing"]
    missing = next(row for row in result["findings"] if row["code"] == "SC207")
    assert f"{ladder['b']['n_missing']} of" in missing["saw"]


def test_a_finished_claim_does_not_choose_anew_when_missing_rows_are_mended(race):
    race.config["catches"] = {"SC207": "off"}
    race.add("c", 80)
    answers = race.answers["b"]
    dev = sorted(name for name, split in first_splits(race).items() if split == "dev")
    lost = [name for name in dev if right(race, "b", name)][:110]
    race.answers["b"] = lambda row: fail() if row["example_id"] in lost else answers(row)
    assert chosen(race.run()) == "c"
    race.answers["b"] = answers
    again = race.run()
    assert again["calls"]["sent"] > 0
    assert chosen(again) == "c"


def test_the_best_of_those_that_went_to_the_end_is_chosen_whatever_is_missing():
    rows_of = [
        {"candidate": "good", "status": "running", "look": None, "estimate": 0.9, "n": 98},
        {"candidate": "bad", "status": "running", "look": None, "estimate": 0.6, "n": 99},
        {"candidate": "late", "status": "eliminated", "look": 3, "estimate": 0.5, "n": 50},
        {"candidate": "early", "status": "pruned", "look": 1, "estimate": 0.95, "n": 20},
        {"candidate": "none", "status": "running", "look": None, "estimate": None, "n": 0},
    ]
    names = [row["candidate"] for row in ranking(rows_of, higher_is_better=True)]
    assert names == ["good", "bad", "none", "late", "early"]
    assert [row["candidate"] for row in ranking(rows_of[:2], higher_is_better=False)] == ["bad", "good"]


def test_a_cap_counts_challengers_and_the_baseline_stays_besides(race):
    race.add("a", 95)
    race.config["runs"] = {"ladder": [{"items": 50, "keep": 2}, "all"]}
    ladder = pq.read_table(race.run()["artifacts"]["ladder"]).to_pylist()
    pruned = [row["candidate"] for row in ladder if row["status"] == "pruned"]
    assert len(pruned) <= 1
    assert not [row for row in ladder if row["status"] == "pruned" and row["on"]]


def test_what_the_losers_took_is_said(race):
    result = race.run()
    by_id = {row["id"]: row for row in result["candidates"]}
    assert by_id["d"]["cost_usd"] is not None
    ladder = {row["candidate"]: row for row in pq.read_table(result["artifacts"]["ladder"]).to_pylist()}
    dev = pq.read_table(result["artifacts"]["dev_rows"]).to_pylist()
    assert ladder["d"]["n_calls"] == sum(row["candidate"] == "d" for row in dev)


def test_candidates_that_never_saw_test_do_not_count_as_tries_on_it(race):
    race.run()
    assert len(race.stored().summary["candidates"]) == 2
    assert len(race.stored().summary["raced"]) == 4


def test_the_report_tells_eliminated_from_pruned(race):
    result = race.run()
    text = (race.stored().folder / "report.html").read_text()
    assert "Race on dev" in text
    assert "eliminated" in text
    assert "Ladder:" in (race.stored().folder / "report.md").read_text()
    assert result["report"].endswith("report.html")


def test_the_calls_that_progress_counts_to_are_those_that_the_race_is_expected_to_take(race):
    expected = []
    token = WATCHER.set(Watcher(expect=expected.append))
    try:
        made = run_experiment(race.path(), call=as_function)
    finally:
        WATCHER.reset(token)
    planned = preview(race.path()).facts["plan"]
    assert expected[0] == math.ceil(planned["expected_calls"]) < planned["n_calls"]
    assert expected[-1] == made["calls"]["sent"] == len(race.calls)


def test_what_a_candidate_cost_in_the_race_is_no_zero_where_its_price_is_not_known(race):
    for candidate in race.config["candidates"]:
        if candidate["id"] != "a":
            del candidate["max_cost_usd"]
    told = {row["id"]: row for row in race.run()["candidates"]}
    assert {name for name, row in told.items() if row["status"] in {"eliminated", "pruned"}} == {"c", "d"}
    assert (told["c"]["cost_usd"], told["d"]["cost_usd"], told["b"]["cost_usd"]) == (None, None, None)
    assert told["a"]["cost_usd"] > 0
