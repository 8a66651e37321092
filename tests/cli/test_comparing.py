"""`compare` with stored runs and real files; `promptfoo.json` was written by promptfoo 0.121.20."""

import hashlib
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from safetycatch.stats import paired_difference
from safetycatch.store import Store
from tests.report.test_html import Page

PROMPTFOO = Path(__file__).parents[1] / "data" / "promptfoo.json"

A = {"zero": dict.fromkeys("abcdefghij", 0.0), "knn": dict.fromkeys("abcdefghij", 1.0)}
B = {"zero": {**A["zero"], "a": 1.0}, "knn": {**A["knn"], "j": 0.0}}


def test_pairs_candidates_by_item(cli, stored):
    first, second = stored(A), stored(B)
    (row,) = cli("compare", f"{first}:zero", f"{second}:knn", "--json").document["comparisons"]
    assert (row["baseline"], row["candidate"], row["n"]) == (f"{first}:zero", f"{second}:knn", 10)
    assert row["estimate"] == pytest.approx(0.9)


def test_without_candidates_pairs_equal_names(cli, stored):
    first, second = stored(A), stored(B)
    rows = cli("compare", first, second, "--json").document["comparisons"]
    assert [row["estimate"] for row in rows] == [pytest.approx(0.1), pytest.approx(-0.1)]
    assert "Holm over 2" in cli("compare", first, second).out
    lines = cli("compare", first, second, "--md").out.splitlines()
    assert sum("| baseline |" in line for line in lines) == 2


def test_within_one_run(cli, stored):
    run = stored(A)
    (row,) = cli("compare", f"{run}:zero", run, "--json").document["comparisons"]
    assert row["estimate"] == 1


def test_refuses_other_items_unless_asked(cli, stored):
    first = stored(A)
    second = stored({"zero": dict.fromkeys("abcdefghk", 1.0)})
    ended = cli("compare", f"{first}:zero", second)
    assert (ended.code, ended.out) == (10, "")
    assert "SC204 refused" in ended.err
    assert cli("compare", f"{first}:zero", second, "--json").document["error"]["findings"][0]["code"] == "SC204"
    assert cli("compare", f"{first}:zero", second, "--intersect", "--json").document["comparisons"][0]["n"] == 8


def test_refuses_changed_content_even_so(cli, stored):
    first, second = stored(A), stored(B, {"a": "edited"})
    ended = cli("compare", first, second, "--intersect")
    assert ended.code == 10
    assert "with other content (e.g. a)" in ended.err


def test_says_what_it_lacks(cli, stored):
    run = stored(A)
    assert "leave open" in cli("compare", run, run).err
    assert "zero, knn" in cli("compare", f"{run}:nope", run).err
    assert "accuracy" in cli("compare", f"{run}:zero", run, "--metric", "nope").err


# -- files ------------------------------------------------------------------------------------------------------------


def scores(path, values, columns="id,score", **more):
    """Write a row for each value; `more` are further columns."""
    names = [columns, *more]
    rows = [
        ",".join([str(number), str(value), *(str(of(number)) for of in more.values())])
        for number, value in enumerate(values)
    ]
    path.write_text("\n".join([",".join(names), *rows]) + "\n")


def drawn(seed, rate, n=400):
    draw = random.Random(seed)
    return [int(draw.random() < rate) for _ in range(n)]


@pytest.fixture
def files(tmp_path):
    """a.csv, b.csv and c.csv: 400 items, 50, 65 and 51 per cent right."""
    for name, rate in (("a", 0.5), ("b", 0.65), ("c", 0.51)):
        scores(tmp_path / f"{name}.csv", drawn(name, rate))
    return tmp_path


def test_files_are_paired_by_item_and_give_a_verdict(cli, files):
    told = cli("compare", "a.csv", "b.csv", "--smallest-effect", "5 points", "--json").document
    (row,) = told["comparisons"]
    own = paired_difference(drawn("b", 0.65), drawn("a", 0.5))
    assert (row["estimate"], row["p_value"], row["n"]) == (own.estimate, own.p_value, 400)
    assert (row["verdict"], told["verdicts"]["b.csv"]["kind"]) == ("BETTER", "BETTER")
    assert told["sides"][0]["source"].endswith(hashlib.sha256((files / "a.csv").read_bytes()).hexdigest())
    assert "paired by id alone" in told["notes"][0]
    text = cli("compare", "a.csv", "b.csv", "--smallest-effect", "5 points").out
    assert "b.csv is better than a.csv" in text


def test_without_a_smallest_effect_there_are_intervals_and_no_verdict(cli, files):
    told = cli("compare", "a.csv", "b.csv", "c.csv", "--json").document
    assert {row["verdict"] for row in [*told["comparisons"], *told["pairs"]]} == {None}
    assert len(told["pairs"]) == 3
    assert "BETTER" not in cli("compare", "a.csv", "b.csv", "c.csv").out


def test_swapped_sides_flip_signs_and_shuffled_rows_change_nothing(cli, files):
    there, back = (
        cli("compare", *names, "--json").document["comparisons"][0]
        for names in (["a.csv", "b.csv"], ["b.csv", "a.csv"])
    )
    assert back["estimate"] == pytest.approx(-there["estimate"])
    assert (back["low"], back["high"]) == (pytest.approx(-there["high"]), pytest.approx(-there["low"]))
    head, *rows = (files / "b.csv").read_text().splitlines()
    random.Random(1).shuffle(rows)
    (files / "b.csv").write_text("\n".join([head, *rows]))
    assert cli("compare", "a.csv", "b.csv", "--json").document["comparisons"][0] == there


def test_named_sides_and_named_columns(cli, files):
    scores(files / "old.tsv.csv", drawn("a", 0.5), "qid,points")
    told = cli(
        "compare",
        "old=old.tsv.csv",
        "new=b.csv",
        "--item",
        "qid",
        "--item",
        "id",
        "--score",
        "points",
        "--score",
        "score",
        "--json",
    )
    assert [side["name"] for side in told.document["sides"]] == ["old", "new"]
    assert "new: its 'score' is compared as points" in told.document["notes"]


def test_other_items_are_refused_unless_asked(cli, files):
    scores(files / "b.csv", drawn("b", 0.65, 390))
    ended = cli("compare", "a.csv", "b.csv")
    assert (ended.code, ended.out) == (10, "")
    assert "10 only in a.csv (e.g. 390)" in ended.err
    told = cli("compare", "a.csv", "b.csv", "--intersect", "--json").document
    assert (told["n_items"], told["findings"][0]["status"]) == (390, "passed")
    (files / "d.csv").write_text("id,score\nx,1\ny,0\n")
    assert "--item COLUMN" in cli("compare", "a.csv", "d.csv").err
    assert "share no item" in cli("compare", "a.csv", "d.csv", "--intersect").err


def test_other_content_is_refused_even_so(cli, files):
    scores(files / "a.csv", drawn("a", 0.5), input=str)
    scores(files / "b.csv", drawn("b", 0.6), input=lambda number: f"{number}".replace("7", "seven"))
    ended = cli("compare", "a.csv", "b.csv", "--intersect")
    assert ended.code == 10
    assert "with other content (e.g. 107)" in ended.err


def test_missing_scores_are_counted_and_never_0(cli, files):
    values = drawn("b", 0.65)
    scores(files / "b.csv", [*values[:-40], *["NaN"] * 20, *[""] * 20])
    told = cli("compare", "a.csv", "b.csv", "--json").document
    assert (told["comparisons"][0]["n"], told["comparisons"][0]["n_missing"]) == (360, 40)
    assert told["estimates"][1]["estimate"] == pytest.approx(sum(values[:-40]) / 360)
    (missing,) = (row for row in told["findings"] if row["code"] == "SC207")
    assert (missing["status"], missing["level"]) == ("fired", "warn")
    assert missing["fix"].startswith("fill in the missing scores")


def test_who_lacks_the_hard_items_is_not_ranked_first_for_it(cli, files):
    """Right on all 30 that it answered, where the other is right on 33 of 40 and on these 30: equal, not better."""
    scores(files / "ra.csv", [1] * 33 + [0] * 7)
    scores(files / "rb.csv", [0, *[1] * 29, *[""] * 10])
    told = cli("compare", "ra.csv", "rb.csv", "--json").document
    assert [(row["n"], row["n_own"], row["n_missing"]) for row in told["estimates"]] == [(30, 40, 0), (30, 30, 10)]
    assert told["estimates"][1]["estimate"] - told["estimates"][0]["estimate"] == pytest.approx(-1 / 30)
    assert told["comparisons"][0]["estimate"] == pytest.approx(-1 / 30)
    ended = cli("compare", "ra.csv", "rb.csv").out
    assert ended.index("ra.csv") < ended.index("rb.csv")
    assert "n = 30 of its 40" in ended
    assert "rb.csv lacks 10 of 40 scores and ra.csv 0" in ended
    assert "counted as wrong, rb.csv - ra.csv is -10 points" in ended


def test_a_copy_of_a_file_is_told(cli, files):
    (files / "copy.csv").write_bytes((files / "a.csv").read_bytes())
    assert "hold the same bytes" in cli("compare", "a.csv", "copy.csv").out


def test_clusters_and_slices_of_one_file_are_enough(cli, files):
    more = {"customer": lambda number: f"k{number // 10}", "lang": lambda number: ["de", "en"][number % 2]}
    scores(files / "a.csv", drawn("a", 0.5), **more)
    told = cli("compare", "a.csv", "b.csv", "--cluster", "customer", "--slice", "lang", "--json").document
    clusters = [f"k{number // 10}" for number in range(400)]
    own = paired_difference(drawn("b", 0.65), drawn("a", 0.5), clusters)
    assert (told["n_clusters"], told["comparisons"][0]["p_value"]) == (40, own.p_value)
    assert [(row["slice"], row["n"], row["correction"]) for row in told["slices"]] == [
        ("lang=de", 200, "benjamini_hochberg"),
        ("lang=en", 200, "benjamini_hochberg"),
    ]


def test_runs_of_an_item_give_its_noise(cli, files):
    three = [drawn(seed, 0.5) for seed in "xyz"]
    lines = [f"{item},{run},{three[run][item]}" for item in range(400) for run in range(3)]
    (files / "a.csv").write_text("\n".join(["item_id,epoch,correct", *lines]))
    told = cli("compare", "a.csv", "b.csv", "--json").document
    assert told["variance"][0]["within"] == pytest.approx(0.25, abs=0.02)
    assert told["variance"][1]["within"] is None
    assert told["comparisons"][0]["n"] == 400
    assert "is noise between runs" in cli("compare", "a.csv", "b.csv").out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["a.csv"], "one system"),
        (["a.csv", "a.csv"], "both sides are the same file a.csv"),
        (["x=a.csv", "y=a.csv"], "both sides are the same file"),
        (["a.csv", "nope.csv"], "no such file"),
        (["a.csv", "b.csv:x"], "no name: the file holds one system"),
        (["x=a.csv", "x=b.csv"], "NAME=RUN"),
        (["a.csv", "b.csv", "--smallest-effect", "3"], "'3 points'"),
        (["a.csv", "b.csv", "--smallest-effect", "10%"], "not relative"),
        (["a.csv", "b.csv", "--smallest-effect", "a lot"], "no size"),
        (["a.csv", "b.csv", "--metric", "f1", "--score", "f1"], "no column 'f1'"),
        (["a.csv", "b.csv", "--cluster", "customer"], "no file has a column 'customer'"),
        (["a.csv", "b.csv", "--slice", "lang"], "no slice 'lang'"),
        (["a.csv", "b.csv", "--md", "--json"], "one of them"),
        (["a.csv", "b.csv", "--html", "no/such/folder.html"], "cannot be written"),
    ],
)
def test_what_is_wrong_exits_2_and_says_what_to_type(cli, files, words, part):
    ended = cli("compare", *words)
    assert ended.code == 2
    assert part in ended.err + ended.out


def test_two_scales_are_told(cli, files):
    scores(files / "b.csv", [100 * value for value in drawn("b", 0.65)])
    assert "are they on one scale?" in cli("compare", "a.csv", "b.csv").out
    assert "no share of items" in cli("compare", "a.csv", "b.csv", "--smallest-effect", "3 points").err


def test_lower_may_be_better(cli, files):
    told = cli("compare", "a.csv", "b.csv", "--lower-is-better", "--smallest-effect", "0.05", "--json").document
    assert told["comparisons"][0]["verdict"] == "WORSE"


def test_text_of_files_moves_no_cursor(cli, files):
    names = "id,score,model\n"
    rows = "".join(f"\x1b[31m{number},{number % 2},\x1b]8;;x\x07m{side}\n" for number in range(20) for side in "ab")
    (files / "bad.csv").write_text(names + rows)
    ended = cli("compare", "bad.csv", "--html", "bad.html")
    assert ended.code == 0
    assert "\x1b" not in ended.out + (files / "bad.html").read_text() + cli("compare", "bad.csv", "--md").out


def test_promptfoo_sides_are_its_providers(cli, tmp_path):
    (tmp_path / "o.json").write_bytes(PROMPTFOO.read_bytes())
    told = cli("compare", "o.json", "--json").document
    assert [side["name"] for side in told["sides"]] == ["weak", "strong"]
    assert (told["metric"], told["comparisons"][0]["n"], told["comparisons"][0]["n_missing"]) == ("pass", 3, 1)
    again = cli("compare", "old=o.json:weak", "new=o.json:strong", "--metric", "score", "--html", "o.html").out
    assert "new" in again
    assert "six, I <b>think</b>" in Page((tmp_path / "o.html").read_text()).text


def test_html_and_markdown_have_the_figures(cli, files):
    told = cli("compare", "a.csv", "b.csv", "c.csv", "--smallest-effect", "5 points", "--html", "x.html", "--md")
    assert told.out.startswith("### ▲ BETTER: ")
    page = (files / "x.html").read_text()
    for part in ("Row minus column", "Items that changed sides", "By luck alone", "safetycatch compare a.csv b.csv"):
        assert part in page
    assert "<script" not in page


def test_a_public_file_gives_the_flips_of_its_card(cli, shared_data):
    """Card of gsm8k: 6B verification right and 175B finetuning wrong 209 times, the reverse 152."""
    file = str(shared_data / "gsm8k" / "model_solutions.parquet")
    told = cli("compare", f"{file}:175b_finetuning", f"{file}:6b_verification", "--json").document
    (row,) = told["flips"]
    assert (row["n_fixed"], row["n_broken"], told["n_items"]) == (209, 152, 1319)
    assert told["comparisons"][0]["p_value"] == pytest.approx(0.003151, rel=0.2)


# -- with stored runs -------------------------------------------------------------------------------------------------


def test_a_stored_run_against_a_file_by_example_id(cli, stored, tmp_path):
    run = stored(A)
    (tmp_path / "f.csv").write_text("example_id,correct\n" + "".join(f"{name},1\n" for name in "abcdefghij"))
    told = cli("compare", f"{run}:zero", "f.csv", "--json").document
    assert (told["comparisons"][0]["estimate"], told["metric"]) == (1, "accuracy")
    assert "f.csv: its 'correct' is compared as accuracy" in told["notes"]
    turned = cli("compare", "f.csv", f"{run}:zero", "--json").document
    assert (turned["comparisons"][0]["estimate"], turned["metric"]) == (-1, "accuracy")


def test_one_run_alone_compares_its_candidates(cli, stored):
    run = stored({**A, "half": {name: float(number % 2) for number, name in enumerate("abcdefghij")}})
    told = cli("compare", run, "--json").document
    assert [row["candidate"] for row in told["comparisons"]] == ["knn", "half"]
    assert all(run in side["source"] for side in told["sides"])
    told = cli("compare", f"{run}:zero", f"{run}:half", "--smallest-effect", "5 points", "--json").document
    assert run not in told["verdicts"]["half"]["sentence"]
    assert "the same candidate" in cli("compare", f"{run}:zero", f"{run}:zero").err


def test_real_runs_show_slices_outputs_and_are_looks(project, cli, monkeypatch):
    monkeypatch.chdir(project.folder)
    run = project.run()["run_id"]
    told = cli(
        "compare", f"{run}:a", f"{run}:b", "--smallest-effect", "10 points", "--html", "x.html", "--json"
    ).document
    assert told["comparisons"][0]["estimate"] == pytest.approx(0.25)
    assert {row["slice"] for row in told["slices"]} == {"lang=de", "lang=en"}
    assert "compare e" in told["looks"][run]
    page = (project.folder / "x.html").read_text()
    assert "<del>" in page
    (row,) = cli("compare", f"{run}:a", f"{run}:b", "--slice", "lang", "--json").document["comparisons"]
    assert row == {**told["comparisons"][0], "verdict": None}
    assert "<ins>" in page


def test_a_metric_of_the_whole_set_is_compared_on_the_whole_set_only(project, cli, monkeypatch):
    monkeypatch.chdir(project.folder)
    project.config["scorers"] = ["accuracy", "macro_f1"]
    told = project.run()
    (own,) = (row for row in told["comparisons"] if row["metric"] == "macro_f1")
    run = told["run_id"]
    words = ("compare", f"{run}:a", f"{run}:b", "--metric", "macro_f1")
    found = cli(*words, "--json").document
    keys = ("estimate", "low", "high", "n")
    assert {key: found["comparisons"][0][key] for key in keys} == {key: own[key] for key in keys}
    assert (found["unit"], found["slices"], found["flips"]) == ("points", [], [])
    ids = Store.open(project.store).root / "runs" / run / "items.parquet"
    rows = "".join(f"{name},0.5\n" for name in pq.read_table(ids)["example_id"].to_pylist()[1:])
    (project.folder / "f.csv").write_text("id,macro_f1\n" + rows)
    mixed = ("--metric", "macro_f1", "--score", "macro_f1", "--intersect")
    assert "metric of the whole set" in cli("compare", f"{run}:a", "f.csv", *mixed).err
