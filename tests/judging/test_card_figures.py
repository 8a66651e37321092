"""Figures of the cards of real data: people and recorded judges on PandaLM's test set, crowds with expert truth."""

import itertools
import math
from pathlib import Path

import pytest

from safetycatch.judging.agreement import class_agreement
from safetycatch.judging.alpha import krippendorff_alpha
from safetycatch.judging.alternative_annotator import alternative_annotator_test

DATA = Path(__file__).parents[2] / "../shared/data"
CLASSES = ["1", "2", "tie"]
pandalm = pytest.mark.skipif(not (DATA / "pandalm_judge").is_dir(), reason="no pandalm_judge in ../shared/data")
crowd = pytest.mark.skipif(not (DATA / "crowd_labels").is_dir(), reason="no crowd_labels in ../shared/data")


@pytest.fixture(scope="module")
def labels():
    """Return people's columns, the judges' columns and the majority, item by item."""
    import pandas as pd

    folder = DATA / "pandalm_judge"
    people, judges = (
        pd.read_parquet(folder / file).set_index(["item_id", rater])["label"].unstack(rater)  # noqa: PD010 - no means
        for file, rater in (("human_labels.parquet", "annotator"), ("judge_labels.parquet", "judge"))
    )
    judges = judges.loc[people.index].astype(object).where(lambda table: table.notna(), None)
    return (
        {name: list(people[name]) for name in people},
        {name: list(judges[name]) for name in judges},
        [row.mode()[0] for _, row in people.iterrows()],
    )


@pandalm
def test_people_agree_as_published(labels):
    people, _, _ = labels
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
    _, judges, majority = labels
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
    people, judges, _ = labels
    found = [class_agreement(people[name], judges[judge], CLASSES).kappa.estimate for name in people]
    assert found == pytest.approx(kappas, abs=5e-5)


@pandalm
def test_judges_agree_with_each_other_as_on_the_card(labels):
    _, judges, _ = labels
    found = class_agreement(judges["gpt-3.5-turbo"], judges["pandalm-7b"], CLASSES)
    assert (found.n, found.kappa.estimate) == (974, pytest.approx(0.4727, abs=5e-5))


def bounds(found):
    """Return the lowest one-sided bounds of TPR, TNR and J over the classes with 50 labels, one against the rest."""
    enough = [one for one in found.by_class.values() if one.tp + one.fn >= 50]
    return tuple(min(getattr(one, name).lower for one in enough) for name in ("tpr", "tnr", "j"))


@pandalm
@pytest.mark.parametrize("judge", ["human_1", "human_2", "human_3"])
def test_each_person_as_judge_of_the_others_agreed_items_reaches_the_certificate(labels, judge):
    people, _, _ = labels
    one, other = (people[name] for name in people if name != judge)
    agreed = [place for place in range(999) if one[place] == other[place]]
    found = class_agreement([one[place] for place in agreed], [people[judge][place] for place in agreed], CLASSES)
    assert found.n >= 200
    assert min(sum(row) for row in found.confusion) >= 50
    tpr, tnr, j = bounds(found)
    assert (tpr >= 0.80, tnr >= 0.80, j >= 0.50) == (True, True, True)


@pandalm
@pytest.mark.parametrize("judge", ["gpt-3.5-turbo", "pandalm-7b"])
def test_neither_judge_reaches_it(labels, judge):
    people, judges, majority = labels
    found = class_agreement(majority, judges[judge], CLASSES)
    tpr, _, j = bounds(found)
    assert tpr < 0.30  # they hardly ever call a tie
    assert j < 0.20
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
