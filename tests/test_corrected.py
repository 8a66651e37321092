"""Whole runs with recorded verdicts and people's labels: what is corrected, by what, and what is shown."""

import json
import random
from pathlib import Path

import pytest

from flows.chain import as_function
from flows.gate import Wanted, run_gate
from safetycatch.cli.main import main
from safetycatch.errors import ExperimentError, UsageError
from safetycatch.report.comment import gate_comment
from safetycatch.store import Store
from safetycatch.store.certificates import Certificates
from tasks.calibrate import read_material
from tasks.judge import judging_entry
from tasks.start import read_inputs
from tests.judging.certified import certificate
from tests.judging.loopback import block, grader, reply
from tests.wiring import Project, rows

N = 400
GOOD = {"a": 0.8, "b": 0.9}  # share of answers that people pass
TPR, TNR = 0.9, 0.7
EVERY_FOURTH = range(0, N, 4)


class Judged:
    """Two candidates with recorded answers; `truth` is people's, `said` the judge's, with TPR .9 and TNR .7 exactly."""

    def __init__(self, project):
        self.project = project
        project.rows = [{**row, "id": f"R{number:04d}"} for number, row in enumerate(rows(N))]
        draw = random.Random(3)
        self.truth, self.said = {}, {}
        for name, share in GOOD.items():
            order = list(range(N))
            draw.shuffle(order)
            good = order[: round(share * N)]
            bad = order[round(share * N) :]
            passed = {*good[: round(TPR * len(good))], *bad[round(TNR * len(bad)) :]}
            self.truth[name] = [number in set(good) for number in range(N)]
            self.said[name] = [number in passed for number in range(N)]
        answers = [
            {"example_id": f"R{number:04d}", "candidate": name, "output": f"answer {number} of {name}"}
            for name in GOOD
            for number in range(N)
        ]
        project.write("old.csv", answers)
        project.config |= {
            "task": "generate",
            "data": {"path": "rows.csv", "id": "id", "input": "text", "target": "label"},
            "candidates": [{"id": name, "outputs": "old.csv"} for name in GOOD],
            "scorers": ["judge"],
            "split": {"dev": 1},
            "judge": {"verdicts": "verdicts.csv"},
        }
        del project.config["claim"], project.config["budget"]
        self.record()

    def record(self):
        """Write the judge's verdicts."""
        self.project.write(
            "verdicts.csv",
            [
                {
                    "example_id": f"R{number:04d}",
                    "candidate": name,
                    "verdict": "pass" if self.said[name][number] else "fail",
                }
                for name in GOOD
                for number in range(N)
            ],
        )

    def label(self, numbers, probability=0.25, names=tuple(GOOD), output="answer {} of {}"):
        """Write people's labels of these rows' answers."""
        self.project.write(
            "labels.csv",
            [
                {
                    "example_id": f"R{number:04d}",
                    "candidate": name,
                    "output": output.format(number, name),
                    "label": "pass" if self.truth[name][number] else "fail",
                    "sampling_probability": probability,
                }
                for name in names
                for number in numbers
            ],
        )
        self.project.config["judge"]["labels"] = "labels.csv"

    def certify(self, counts=(194, 6, 6, 194), **fields):
        """Keep a certificate of this judge with these sealed counts: TP, FN, FP, TN."""
        key = judging_entry(read_inputs(self.project.path()))["key"]
        made = certificate(counts, experiment="e", judge_key=key, **fields)
        Certificates(Store.open(self.project.store)).save(made)
        return made

    def claim(self, effect="5 points", **more):
        """Claim that b is better than a by this judge."""
        self.project.config |= {
            "claim": {"metric": "judge", "smallest_effect": effect, **more},
            "budget": {"usd": 1, "calls": 2000},
            "split": {"test": 1},
        }
        self.label(range(0, N, 20), probability="")

    def run(self, **options):
        return self.project.run(**options)


@pytest.fixture
def judged(project):
    return Judged(project)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A run a quarter of whose answers were drawn and labelled, and what it was made of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SAFETYCATCH_STORE", raising=False)
        patch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path_factory.getbasetemp()))
        made = Judged(Project(tmp_path_factory.mktemp("labelled"), patch))
        made.label(EVERY_FOURTH)
        yield made, made.run()


def scored(result):
    return {row["id"]: row for row in result["candidates"]}


def rates(result):
    return {row["candidate"]: row for row in result["judged"]["rates"] if row["slice"] == "all"}


def html_of(result):
    return Path(result["report"]).read_text()


def test_without_labels_the_score_is_marked_and_what_to_type_is_said(judged):
    result = judged.run()
    assert scored(result)["b"]["estimate"] == 0.84
    assert scored(result)["b"]["beside"] == "uncalibrated"
    assert "b 84.0 % [80.1, 87.3] (uncalibrated)" in result["banner"]["sentence"]
    told = result["judged"]["told"]
    assert told[0] == "uncalibrated: nobody checked this judge against people"
    assert told[-1] == "next: safetycatch review e.yaml, then safetycatch calibrate e.yaml"
    assert "uncalibrated" in html_of(result)


def test_labels_of_these_answers_correct_the_rate(labelled):
    judged, result = labelled
    said = [judged.said["b"][number] for number in EVERY_FOURTH]
    true = [judged.truth["b"][number] for number in EVERY_FOURTH]
    share = {}
    for verdict in (True, False):
        inside = [label for label, one in zip(true, said, strict=True) if one is verdict]
        share[verdict] = (sum(inside) + 0.5) / (len(inside) + 1)
    by_hand = 0.84 * share[True] + 0.16 * share[False]
    row = rates(result)["b"]
    assert row["estimate"] == pytest.approx(by_hand, abs=1e-9)
    assert (row["method"], row["n_labels"], row["raw"]) == ("post_stratified", 100, pytest.approx(0.84))
    assert scored(result)["b"]["estimate"] == row["estimate"]
    assert scored(result)["b"]["beside"] == "raw 84.0 %"


def test_raw_is_off_by_six_points_and_the_corrected_interval_holds_the_truth(labelled):
    _, result = labelled
    row = rates(result)["b"]
    assert GOOD["b"] - row["raw"] == pytest.approx(0.06)
    assert row["raw_high"] < GOOD["b"]
    assert row["low"] < GOOD["b"] < row["high"]
    page = html_of(result)
    assert "Judge vs people" in page
    assert "raw 84.0 %" in page
    assert f"{100 * row['estimate']:.1f}" in page


def test_a_certificate_corrects_by_its_counts(judged):
    judged.certify()
    result = judged.run()
    row = rates(result)["b"]
    # TPR and TNR of .97: (.84 + .97 - 1) / .94
    assert row["estimate"] == pytest.approx((0.84 + 0.97 - 1) / 0.94)
    assert row["method"] == "rogan_gladen"
    assert any(line.startswith("certificate: certified on 2026-11-01") for line in result["judged"]["told"])


def test_under_a_provisional_certificate_the_raw_rate_is_nowhere(judged):
    judged.certify((90, 10, 30, 70))
    result = judged.run()
    row = rates(result)["b"]
    assert result["judged"]["certificate"]["state"] == "provisional"
    assert row["estimate"] == pytest.approx((0.84 + 0.7 - 1) / 0.6)
    assert (row["raw"], scored(result)["b"]["beside"]) == (None, "raw withheld")
    markdown = Path(result["report"]).with_name("report.md").read_text()
    for text in (json.dumps(result["judged"]), result["banner"]["sentence"], markdown, html_of(result)):
        assert "84.0" not in text


def test_the_difference_under_a_common_error_is_the_raw_one_over_j(judged):
    judged.certify()
    judged.claim()
    result = judged.run()
    (row,) = [one for one in result["comparisons"] if one["metric"] == "judge"]
    (shown,) = result["judged"]["differences"]
    assert shown["raw"] == pytest.approx(0.06)
    assert row["estimate"] == shown["estimate"] == pytest.approx(0.06 / 0.94)
    assert row["method"] == "common_error"
    assert "raw +6.0 points" in result["banner"]["sentence"]


def test_labels_on_both_sides_need_no_common_error(labelled):
    _, result = labelled
    (row,) = result["judged"]["differences"]
    both = rates(result)
    assert row["method"] == "labels_on_both"
    assert row["estimate"] == pytest.approx(both["b"]["estimate"] - both["a"]["estimate"])


def test_picked_answers_estimate_no_rate(judged):
    judged.label(EVERY_FOURTH, probability="")
    result = judged.run()
    assert rates(result)["b"]["method"] == ""
    assert (result["judged"]["n_here"], result["judged"]["n_drawn"]) == (200, 0)


def test_labels_of_answers_that_changed_are_no_random_draw(judged):
    judged.label(EVERY_FOURTH, output="another answer {} of {}")
    result = judged.run()
    assert rates(result)["b"]["method"] == ""
    assert result["judged"]["changed"] == {"a": [100, 100], "b": [100, 100]}
    assert any("100 of 100 labelled answers have changed" in line for line in result["judged"]["told"])


def test_too_few_labels_leave_the_certificate_to_correct(judged):
    judged.label(range(0, N, 20), probability=0.05)
    judged.certify()
    assert rates(judged.run())["b"]["method"] == "rogan_gladen"


def test_new_labels_are_seen_by_the_next_run(judged):
    assert rates(judged.run())["b"]["method"] == ""
    judged.label(EVERY_FOURTH)
    assert rates(judged.run())["b"]["method"] == "post_stratified"


def test_labels_that_are_not_there_end_the_run_before_a_call(judged):
    judged.project.config["judge"]["labels"] = "labls.csv"
    with pytest.raises(ExperimentError, match=r"judge\.labels"):
        judged.run()


def test_a_stored_baseline_of_another_judge_is_refused(judged):
    judged.certify()
    judged.claim()
    before = judged.run()["run_id"]
    judged.project.config["name"] = "e-2"  # a claim of its own
    judged.project.config["judge"]["scale"] = ["pass", "fail"]
    judged.project.config["judge"]["passes"] = ["pass"]
    judged.certify()
    judged.claim(baseline=f"{before}:a", candidate="b")
    with pytest.raises(UsageError, match="another judge"):
        judged.run()


def test_a_gate_pays_for_the_judges_errors(judged):
    judged.certify()
    judged.claim()
    found = run_gate(judged.project.path(), Wanted(noninferior="2 points"), call=as_function)
    assert (found["gate"], found["estimate"]) == ("passed", pytest.approx(0.06 / 0.94))
    assert (found["beside"], found["judged"]["certificate"]["state"]) == ("raw +6.0 points", "certified")
    assert -0.02 < found["bound"] < found["estimate"]
    text = gate_comment("e", found)
    assert "raw +6.0 points" in text
    assert "certificate: certified" in text


def sc107(result):
    return next(row for row in result["findings"] if row["code"] == "SC107")


def test_sc107_is_silent_where_the_judge_helps(judged):
    for name in GOOD:
        judged.said[name] = [good != (number % 20 == 4) for number, good in enumerate(judged.truth[name])]
    judged.record()
    judged.label(EVERY_FOURTH)
    assert sc107(judged.run())["status"] == "passed"


def test_sc107_warns_where_the_judge_tells_nothing(judged):
    for name in GOOD:
        judged.said[name] = [number % 2 == 0 for number in range(N)]
    judged.record()
    judged.label([*range(0, N, 8), *range(1, N, 8)])
    result = judged.run()
    assert (sc107(result)["status"], sc107(result)["level"]) == ("fired", "warn")
    assert any("the judge adds nothing here" in line for line in result["judged"]["told"])


def test_a_run_without_a_judge_says_nothing_of_judges(project):
    result = project.run()
    assert "judged" not in result
    assert "judged" not in project.stored().summary["summary"]
    assert not any("beside" in row for row in result["candidates"])
    assert "Judge vs people" not in html_of(result)


@pytest.fixture
def compare_of(labelled, monkeypatch, capsys):
    """Compare sides of the labelled project's runs, as JSON."""

    def compare(*arguments, ends=0):
        monkeypatch.chdir(labelled[0].project.folder)
        assert main(["compare", *arguments, "--json"]) == ends
        said = capsys.readouterr()
        return json.loads(said.out) if not ends else said.err

    return compare


def test_compare_corrects_by_what_the_run_knew(labelled, compare_of):
    _, result = labelled
    page = labelled[0].project.folder / "c.html"
    found = compare_of(f"{result['run_id']}:a", f"{result['run_id']}:b", "--html", str(page))
    (row,), (own,) = found["judged"]["differences"], result["judged"]["differences"]
    assert (row["estimate"], row["raw"], row["method"]) == (own["estimate"], own["raw"], "labels_on_both")
    assert found["comparisons"][0]["estimate"] == own["estimate"]
    assert "Judge vs people" in page.read_text()
    assert "raw +6.0 points" in page.read_text()


def test_compare_marks_a_judges_scores_from_a_file(labelled, compare_of):
    folder = labelled[0].project.folder
    for name in ("x", "y"):
        text = "\n".join(f"i{number},{int(number % 3 > 0)}" for number in range(60))
        (folder / f"{name}.csv").write_text(f"id,judge\n{text}\n")
    found = compare_of(str(folder / "x.csv"), str(folder / "y.csv"), "--metric", "judge", "--score", "judge")
    assert found["judged"]["told"][0] == "uncalibrated: nobody checked this judge against people"


def test_compare_refuses_two_judges(labelled, compare_of):
    made, result = labelled
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            made.project.config, "judge", {"verdicts": "verdicts.csv", "scale": ["fail", "pass"], "passes": ["pass"]}
        )
        other = made.run()["run_id"]
    assert "another judge" in compare_of(f"{result['run_id']}:a", f"{other}:b", ends=2)


def test_a_claim_against_a_stored_run_of_the_same_judge_is_corrected(judged):
    judged.certify()
    judged.claim()
    before = judged.run()["run_id"]
    judged.project.config["name"] = "e-2"  # a claim of its own
    judged.claim(baseline=f"{before}:a", candidate="b")
    found = judged.run()["judged"]["differences"]
    (row,) = [one for one in found if (one["baseline"], one["candidate"]) == (f"{before}:a", "b")]
    assert (row["method"], row["estimate"]) == ("common_error", pytest.approx(0.06 / 0.94))


def test_show_tells_the_judge_and_marks_every_score(labelled, monkeypatch, capsys):
    monkeypatch.chdir(labelled[0].project.folder)
    main(["show", labelled[1]["run_id"]])
    said = capsys.readouterr().out
    assert "raw 84.0 %" in said
    assert "of these very answers drawn at random" in said


def test_criteria_are_corrected_by_labels_of_their_own(project, monkeypatch):
    def polite(messages):
        return reply(messages, "pass" if "please" in block(messages, "output") else "fail")

    made = Judged(project)
    project.rows = project.rows[:80]
    outputs = ["yes please" if number % 4 else "no" for number in range(80)]
    project.write(
        "old.csv",
        [
            {"example_id": row["id"], "candidate": name, "output": f"{output} {row['id']}"}
            for name in GOOD
            for row, output in zip(project.rows, outputs, strict=True)
        ],
    )
    (project.folder / "judge.md").write_text("Passes when it is polite.\n")
    project.config["judge"] = {
        "model": {"endpoint": "grader", "model": "g"},
        "prompt": "judge.md",
        "criteria": {"polite": "says please"},
        "labels": "labels.csv",
        "canaries": 0,
    }
    project.config["budget"] = {"calls": 1000}
    project.write(
        "labels.csv",
        [
            {
                "example_id": row["id"],
                "candidate": "a",
                "output": f"{output} {row['id']}",
                "criterion": "polite",
                "label": "pass",
                "sampling_probability": 0.5,
            }
            for row, output in list(zip(project.rows, outputs, strict=True))[::2]
        ],
    )
    with grader(monkeypatch, polite):
        result = made.run()
    (row,) = [one for one in result["judged"]["rates"] if (one["metric"], one["candidate"]) == ("judge.polite", "a")]
    assert (row["method"], row["n_labels"], row["raw"]) == ("post_stratified", 40, 0.75)
    n_passed = sum(number % 4 > 0 for number in range(0, 80, 2))
    assert row["estimate"] == pytest.approx(
        0.75 * (n_passed + 0.5) / (n_passed + 1) + 0.25 * (40 - n_passed + 0.5) / (41 - n_passed)
    )


def test_grades_under_a_provisional_certificate_are_withheld_and_decide_nothing(judged):
    judged.project.config["judge"] |= {"scale": [1, 2, 3, 4, 5]}
    judged.project.write(
        "verdicts.csv",
        [
            {"example_id": f"R{number:04d}", "candidate": name, "verdict": 5 if judged.said[name][number] else 1}
            for name in GOOD
            for number in range(N)
        ],
    )
    judged.certify((90, 10, 30, 70))
    judged.claim(effect=0.1)
    judged.project.write(
        "labels.csv", [{"example_id": "R0000", "candidate": "a", "output": "answer 0 of a", "label": 4}]
    )
    result = judged.run()
    row = rates(result)["b"]
    assert (row["estimate"], row["raw"], scored(result)["b"]["beside"]) == (None, None, "withheld")
    assert result["banner"]["kind"] == "INCONCLUSIVE"
    assert any(line.startswith("withheld: the certificate is provisional") for line in result["judged"]["told"])
    assert "4.36" not in html_of(result)


@pytest.fixture
def asked(project, monkeypatch):
    """80 answers of one candidate that a judge on a loopback socket is asked about, all labelled by people."""
    project.rows = project.rows[:80]
    outputs = [f"{'yes please' if number % 4 else 'no'} {row['id']}" for number, row in enumerate(project.rows)]
    people = ["pass" if number % 5 else "fail" for number in range(80)]
    made = Judged(project)
    project.rows = project.rows[:80]
    project.write("old.csv", [
        {"example_id": row["id"], "candidate": "a", "output": output}
        for row, output in zip(project.rows, outputs, strict=True)
    ])  # fmt: skip
    made.labelled = [
        {"example_id": row["id"], "candidate": "a", "input": row["text"], "output": output, "label": label,
         "sampling_probability": 1}
        for row, output, label in zip(project.rows, outputs, people, strict=True)
    ]  # fmt: skip
    project.write("labels.csv", made.labelled)
    (project.folder / "judge.md").write_text("Passes when it is polite.\n")
    project.config["candidates"] = [{"id": "a", "outputs": "old.csv"}]
    project.config["judge"] = {
        "model": {"endpoint": "grader", "model": "g"}, "prompt": "judge.md", "labels": "labels.csv", "canaries": 0,
    }  # fmt: skip
    project.config["budget"] = {"calls": 1000}
    say = "please"
    with grader(monkeypatch, lambda messages: reply(messages, "pass" if say in block(messages, "output") else "fail")):
        yield made


def test_labels_dealt_to_tune_the_judge_correct_nothing(asked):
    inputs = read_inputs(asked.project.path())
    material = read_material(inputs, inputs.place(""))
    tuned = len(material.of("dev", "few_shot"))
    result = asked.run()
    row = rates(result)["a"]
    assert (row["n_labels"], result["judged"]["n_tuned"]) == (80 - tuned, tuned)
    assert row["estimate"] == pytest.approx(0.8, abs=0.03)


def test_answers_shown_to_the_judge_count_as_people_say(asked):
    shown = [row for row in asked.labelled if row["label"] == "fail"][:8]
    asked.project.write("shots.csv", shown)
    asked.project.config["judge"]["shots"] = "shots.csv"
    row = rates(asked.run())["a"]
    assert row["n_labels"] == 72
    assert row["low"] < 0.8 < row["high"]
    assert row["estimate"] == pytest.approx(0.8, abs=0.02)
