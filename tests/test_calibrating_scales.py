"""Whole asked calibrations of every scale, with the sandbox's judges: what each one measures."""

import json
import random

import pytest

from flows.calibrate import run_calibration
from flows.chain import as_function
from safetycatch.store import Store, verify

WORDS = "parcel refund invoice delivery charge account support team today again please order ticket pump wheel chain"


def answers(n, seed=3):
    """Answers of which every other one says thank you."""
    draw, found = random.Random(seed), []
    for at in range(n):
        words = draw.choices(WORDS.split(), k=12)
        found.append(" ".join([*words[:3], *(["thank you"] if at % 2 else []), *words[3:], f"no {at}"]))
    return found


@pytest.fixture
def thanked(project):
    """A judge that passes what mentions thanks, of 240 answers; labels are to be written."""
    (project.folder / "judge.md").write_text('Passes an answer that\n- mentions "thank you"\n')
    (project.folder / "lax.md").write_text("- at most 200 words\n")
    del project.config["claim"]
    project.config["budget"] = {"calls": 20000}
    project.texts = answers(240)
    return project


def calibrated(project, labels, *, probes=False, **judge):
    """Calibrate a judge by labels: one row an item and person."""
    project.write("labels.csv", labels)
    judge = {"model": "sandbox/judge", "prompt": "judge.md", "labels": "labels.csv", **judge}
    project.config |= {"task": "generate", "scorers": ["judge"], "judge": judge}
    return run_calibration(project.path(), probes=probes, call=as_function)


def labelled(project, names=("fail", "pass"), **more):
    """A label an answer: the second name for those that say thanks."""
    return [
        {"example_id": f"L{at}", "input": f"question {at}", "output": text, "label": names[at % 2], **more}
        for at, text in enumerate(project.texts)
    ]


def confusions(found):
    return {one["positive"]: (one["tp"], one["fn"], one["fp"], one["tn"]) for one in found["sealed"]}


def test_a_jury_is_measured_as_it_rules(thanked):
    jury = {"jury": [{"model": "sandbox/judge", "prompt": "lax.md"}], "rule": "any"}
    found = calibrated(thanked, labelled(thanked), **jury)
    n = found["sizes"]["sealed"]
    assert confusions(found) == {"pass": (n // 2, 0, n // 2, 0)}
    assert (found["state"], len(found["judge"]["judges"])) == ("refused", 2)


RUBRICS = [('- mentions "thank you"', "certified", 1.0), ("- at most 200 words", "refused", 0.0)]


@pytest.mark.parametrize(("rubric", "state", "kappa"), RUBRICS)
def test_grades_are_compared_as_grades(thanked, rubric, state, kappa):
    (thanked.folder / "judge.md").write_text(f"{rubric}\n")
    found = calibrated(thanked, labelled(thanked, (1, 3)), scale=[1, 2, 3])
    assert (found["state"], found["overall"]["quadratic_kappa"]["estimate"]) == (state, kappa)


@pytest.mark.parametrize(("passes", "n_passed"), [(3, "half"), (1, "all")])
def test_grades_that_pass_are_folded(thanked, passes, n_passed):
    found = calibrated(thanked, labelled(thanked, (1, 3)), scale=[1, 2, 3], passes=passes)
    n = found["sizes"]["sealed"]
    assert confusions(found) == {"pass": (n // 2, 0, 0, n // 2) if n_passed == "half" else (n, 0, 0, 0)}


def test_classes_are_folded_into_pass_and_fail(thanked):
    (thanked.folder / "judge.md").write_text('- good: mentions "thank you"\n- bad: at most 200 words\n')
    labels = labelled(thanked, ("bad", "good"))
    labels = [{**row, "label": "awful"} if at % 4 == 0 else row for at, row in enumerate(labels)]
    found = calibrated(thanked, labels, scale=["good", "bad", "awful"], passes=["good"])
    # Bad for awful is no error of pass or fail, and yet one of the classes.
    assert confusions(found) == {"pass": (found["sizes"]["sealed"] // 2, 0, 0, found["sizes"]["sealed"] // 2)}
    assert found["labels"]["by_label"] == {"awful": 60, "bad": 60, "good": 120}


def pairs(texts):
    """A label a pair: the answer that says thanks wins, shown first and second in turn."""
    rows = []
    for at in range(0, len(texts) - 1, 2):
        winner = ("first", "second")[at % 4 // 2]
        shown = {winner: texts[at + 1], "second" if winner == "first" else "first": texts[at]}
        shown = {name: shown[name] for name in ("first", "second")}
        rows.append({"example_id": f"L{at}", "input": f"question {at}", "output": json.dumps(shown), "label": winner})
    return rows


@pytest.mark.parametrize(
    ("model", "right", "verdict", "rate"),
    [("sandbox/judge", True, "passed", 0.0), ("sandbox/judge-first", False, "found", 0.2)],
)
def test_the_swap_probe_finds_a_liking_for_the_first(thanked, model, right, verdict, rate):
    found = calibrated(thanked, pairs(answers(280)), probes=True, model=model, scale="pairwise", both_orders=True)
    (swap,) = [one for one in found["probes"] if one["kind"] == "swap"]
    assert (swap["verdict"], swap["rate"]) == (verdict, pytest.approx(rate, abs=0.08))
    first = confusions(found)["first"]
    assert (first[1] == 0) is right  # an order that changes the verdict is a tie


def test_an_answer_must_meet_every_criterion(thanked):
    criteria = {"polite": 'mentions "thank you"', "short": "at most 5 words"}
    found = calibrated(thanked, labelled(thanked), criteria=criteria)
    n = found["sizes"]["sealed"]
    assert confusions(found) == {"pass": (0, n // 2, 0, n // 2)}
    assert found["calls"]["sent"] == 2 * found["sizes"]["judged"]


@pytest.mark.parametrize(("rubric", "verdict", "winning"), [("thank you", "no_worse", 1.0), ("pump", "worse", 0.0)])
def test_people_are_the_ceiling(thanked, rubric, verdict, winning):
    draw, rows = random.Random(1), []
    (thanked.folder / "judge.md").write_text(f'- mentions "{rubric}"\n')
    for who in ("ann", "bob", "cy"):
        for at, row in enumerate(labelled(thanked, annotator=who)):
            rows.append({**row, "label": ("fail", "pass")[(at + (draw.random() < 0.05)) % 2]})
    thanked.config["catches"] = {"SC110": {"margin": 0.2}}
    found = calibrated(thanked, rows)["people"]
    assert found["ceiling"]["margin"] == 0.2
    assert (found["ceiling"]["verdict"], found["alternative_annotator"]["winning_rate"]) == (verdict, winning)
    assert [(one["first"], one["second"]) for one in found["pairs"]] == [("ann", "bob"), ("ann", "cy"), ("bob", "cy")]


def test_a_slice_on_which_the_judge_errs_is_found(thanked):
    rows = [{**row, "lang": "de" if at % 4 < 2 else "fr"} for at, row in enumerate(labelled(thanked))]
    for row in rows:
        # In French people also pass some that do not say thanks.
        if row["lang"] == "fr" and int(row["example_id"][1:]) % 8 == 2:
            row["label"] = "pass"
    found = calibrated(thanked, rows)["slices"]
    worse = {
        (one["slice"], one["figure"]) for one in found if one["p_adjusted"] < 0.05 and one["estimate"] < one["rest"]
    }
    assert worse == {("lang=fr", "tpr")}


def test_a_store_after_a_calibration_is_whole_until_its_sealing_goes(thanked):
    calibrated(thanked, labelled(thanked))
    store = Store.open(thanked.store)
    assert verify(store) == []
    for path in (store.root / "sealed_labels").iterdir():
        path.unlink()
    assert [problem.kind for problem in verify(store)] == ["missing"]
