"""Figures of the cards of real data: people and recorded judges on PandaLM's test set, crowds with expert truth."""

import itertools
import math
from pathlib import Path

import pytest

from safetycatch.judge_settings import JudgeSettings
from safetycatch.judging.agreement import class_agreement
from safetycatch.judging.alpha import krippendorff_alpha
from safetycatch.judging.alternative_annotator import alternative_annotator_test
from safetycatch.judging.calibration import JudgedItem, counts_of, related
from safetycatch.judging.certificate import decide_state
from safetycatch.judging.sealing import ItemKey

DATA = Path(__file__).parents[2] / "../shared/data"
CLASSES = ["1", "2", "tie"]
NAMES = {"1": "first", "2": "second", "tie": "tie"}
PAIRS = JudgeSettings.model_validate({"verdicts": "v.csv", "scale": "pairwise"})
pandalm = pytest.mark.skipif(not (DATA / "pandalm_judge").is_dir(), reason="no pandalm_judge in ../shared/data")
crowd = pytest.mark.skipif(not (DATA / "crowd_labels").is_dir(), reason="no crowd_labels in ../shared/data")


@pytest.fixture(scope="module")
def labels():
    """Return people's columns, the judges' columns, the majority, and the inputs by name, item by item."""
    import pandas as pd

    folder = DATA / "pandalm_judge"
    people, judges = (
        pd.read_parquet(folder / file).set_index(["item_id", rater])["label"].unstack(rater)  # noqa: PD010 - no means
        for file, rater in (("human_labels.parquet", "annotator"), ("judge_labels.parquet", "judge"))
    )
    items = pd.read_parquet(folder / "items.parquet").fillna("").set_index("item_id")
    judges = judges.loc[people.index].astype(object).where(lambda table: table.notna(), None)
    return (
        {name: list(people[name]) for name in people},
        {name: list(judges[name]) for name in judges},
        [row.mode()[0] for _, row in people.iterrows()],
        {name: f"{items.loc[name, 'instruction']}\n{items.loc[name, 'input']}" for name in people.index},
    )


@pandalm
def test_people_agree_as_published(labels):
    people, _, _, _ = labels
    kappas = [
        class_agreement(people[one], people[other], CLASSES).kappa.estimate
        for one, other in itertools.combinations(people, 2)
    ]
    assert kappas == pytest.approx([0.852, 0.8789, 0.8617], abs=5e-5)


@pandalm
@pytest.mark.parametrize(
    ("judge", "n", "missing", "agree", "kappa", "confusion"),
    [
        ("gpt-3.5-turbo", 974, 25, 697, 0.4929, ((332, 71, 13), (86, 360, 20), (42, 45, 5))),
        ("pandalm-7b", 999, 0, 667, 0.4354, ((298, 84, 40), (100, 337, 35), (35, 38, 32))),
    ],
)
def test_judges_agree_with_the_majority_as_on_the_card(labels, judge, n, missing, agree, kappa, confusion):
    _, judges, majority, _ = labels
    found = class_agreement(majority, judges[judge], CLASSES)
    assert (found.n, found.n_missing, round(found.accuracy.estimate * n)) == (n, missing, agree)
    assert found.kappa.estimate == pytest.approx(kappa, abs=5e-5)
    assert found.confusion == confusion


@pandalm
@pytest.mark.parametrize(
    ("judge", "kappas"),
    [("gpt-3.5-turbo", (0.4794, 0.4711, 0.4829)), ("pandalm-7b", (0.4191, 0.4119, 0.4412))],
)
def test_judges_agree_with_each_person_as_on_the_card(labels, judge, kappas):
    people, judges, _, _ = labels
    found = [class_agreement(people[name], judges[judge], CLASSES).kappa.estimate for name in people]
    assert found == pytest.approx(kappas, abs=5e-5)


@pandalm
def test_judges_agree_with_each_other_as_on_the_card(labels):
    _, judges, _, _ = labels
    found = class_agreement(judges["gpt-3.5-turbo"], judges["pandalm-7b"], CLASSES)
    assert (found.n, found.kappa.estimate) == (974, pytest.approx(0.4727, abs=5e-5))


def state(inputs, labels, verdicts, *, clustered=True):
    """What the certificate's own rules say of these sealed items: state, and the codes and classes of the reasons."""
    items = [
        JudgedItem(ItemKey(name, "", f"{at:016x}"), "sealed", NAMES[label], NAMES.get(verdict), inputs[name], f"a{at}")
        for at, (name, label, verdict) in enumerate(zip(inputs, labels, verdicts, strict=True))
    ]
    found, reasons = decide_state(counts_of(items, PAIRS, related(items) if clustered else None))
    return found, {reason.code for reason in reasons}, " ".join(reason.text for reason in reasons)


def agreed(labels, judge):
    """Inputs of the items on which the other two agree, what they say of them, and what the judge says."""
    people, _, _, inputs = labels
    one, other = (people[name] for name in people if name != judge)
    places = [place for place in range(999) if one[place] == other[place]]
    names = list(inputs)
    return (
        {names[place]: inputs[names[place]] for place in places},
        [one[place] for place in places],
        [people[judge][place] for place in places],
    )


@pandalm
@pytest.mark.parametrize("judge", ["human_1", "human_2", "human_3"])
def test_each_person_as_judge_of_the_others_agreed_items_reaches_the_certificate(labels, judge):
    inputs, truth, said = agreed(labels, judge)
    assert len(inputs) >= 200
    assert state(inputs, truth, said, clustered=False)[0] == "certified"


@pandalm
@pytest.mark.parametrize(("judge", "expected"), [("human_1", "provisional"), ("human_2", "certified")])
def test_six_answers_to_one_question_are_not_six_items(labels, judge, expected):
    # human_1 misses 12 of 97 ties, which stand on 35 questions only: the bound falls from .81 to .75.
    found, codes, text = state(*agreed(labels, judge))
    assert found == expected
    assert codes == ({"tpr", "corrected_only"} if expected == "provisional" else {"reached"})
    assert ("TPR of 'tie' 0.876" in text) == (expected == "provisional")


@pandalm
@pytest.mark.parametrize("judge", ["gpt-3.5-turbo", "pandalm-7b"])
def test_neither_judge_reaches_it(labels, judge):
    people, judges, majority, inputs = labels
    found, codes, text = state(inputs, majority, judges[judge])
    assert found == "refused"
    assert codes >= {"tpr", "tnr", "j"}
    assert "J = TPR + TNR - 1 of 'tie'" in text  # they hardly ever call a tie
    result = alternative_annotator_test(judges[judge], people)
    assert (result.winning_rate, result.passed) == (0.0, False)


@crowd
@pytest.mark.parametrize(
    ("name", "items", "given"),
    [("rte", 800, 8000), ("bluebird", 108, 4212), ("dog", 807, 8070), ("sentiment_sp", 4999, 27746)],
)
def test_crowds_agree_as_far_as_the_library_says(name, items, given):
    import krippendorff
    import pandas as pd

    table = pd.read_parquet(DATA / "crowd_labels/labels.parquet")
    one = table[table["dataset"] == name]
    found = krippendorff_alpha(one.rename(columns={"item_id": "example_id", "worker_id": "annotator"}))
    assert (found.n_items + found.n_single, found.n_labels + found.n_single) == (items, given)
    counts = pd.crosstab(one["item_id"], one["label"])
    theirs = krippendorff.alpha(value_counts=counts.to_numpy(), level_of_measurement="nominal")
    assert found.estimate == pytest.approx(theirs)
    assert not math.isnan(found.low)


@crowd
def test_one_worker_is_no_ceiling():
    # alpha of the best crowd is .52: a judge held to single workers would be blamed for their disagreement
    import pandas as pd

    table = pd.read_parquet(DATA / "crowd_labels/labels.parquet")
    dog = table[table["dataset"] == "dog"].rename(columns={"item_id": "example_id", "worker_id": "annotator"})
    found = krippendorff_alpha(dog)
    assert (found.low, found.high) == pytest.approx((0.5025, 0.5363), abs=5e-5)
