"""What people say together: consensus, disputes, adjudication, and agreement between them."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch import tables
from safetycatch.errors import UsageError
from safetycatch.judging.people import (
    consensus,
    criteria_of,
    disputes,
    is_adjudicator,
    people_agreement,
    with_whole,
)


def labels(*said):
    """Labels from (example, annotator, label) or (example, annotator, label, criterion)."""
    rows = [
        {
            "example_id": one[0],
            "candidate": "",
            "output_hash": "0" * 16,
            "annotator": one[1],
            "criterion": one[3] if len(one) > 3 else "",
            "label": one[2],
        }
        for one in said
    ]
    return tables.checked(pa.Table.from_pylist(rows, schema=tables.schema("labels")), "labels")


def settled(*said, **settings):
    return {key.example_id: label for key, label in consensus(labels(*said), **settings).items()}


# -- consensus -------------------------------------------------------------------------------------------------------


def test_more_than_half_settle_an_item():
    assert settled(("1", "a", "pass"), ("1", "b", "pass"), ("1", "c", "fail")) == {"1": "pass"}


def test_half_and_half_is_disputed():
    assert settled(("1", "a", "pass"), ("1", "b", "fail")) == {"1": None}


def test_a_plurality_is_no_majority():
    said = [("1", "a", "x"), ("1", "b", "x"), ("1", "c", "y"), ("1", "d", "z")]
    assert settled(*said) == {"1": None}


def test_one_person_settles_an_item_that_nobody_else_labelled():
    assert settled(("1", "a", "fail")) == {"1": "fail"}


def test_unanimous_asks_for_all():
    assert settled(("1", "a", "pass"), ("1", "b", "pass"), ("1", "c", "fail"), rule="unanimous") == {"1": None}


def test_the_median_grade_is_disputed_between_two():
    assert settled(("1", "a", "2"), ("1", "b", "10"), ("1", "c", "3"), rule="median") == {"1": "3"}
    assert settled(("1", "a", "2"), ("1", "b", "3"), rule="median") == {"1": None}


def test_a_median_of_words_is_refused():
    with pytest.raises(UsageError, match="expected grades"):
        settled(("1", "a", "pass"), rule="median")


def test_an_unknown_rule_is_refused():
    with pytest.raises(UsageError, match="majority, unanimous, median"):
        settled(("1", "a", "pass"), rule="dictator")


def test_an_adjudicator_has_the_last_word():
    said = [("1", "a", "pass"), ("1", "b", "pass"), ("1", "adjudicator", "fail")]
    assert settled(*said) == settled(*said, rule="unanimous") == {"1": "fail"}


def test_two_adjudicators_who_differ_settle_nothing():
    assert settled(("1", "adjudicator-a", "pass"), ("1", "adjudicator-b", "fail")) == {"1": None}


def test_who_is_an_adjudicator():
    assert is_adjudicator("adjudicator")
    assert is_adjudicator("adjudicator-ada")
    assert not is_adjudicator("adjudicators")


def test_disputes_name_who_said_what_on_which_criterion():
    (found,) = disputes(labels(("1", "a", "pass", "tone"), ("1", "b", "fail", "tone"), ("1", "a", "pass")))
    assert (found.key.example_id, found.criterion, found.said) == ("1", "tone", {"a": "pass", "b": "fail"})


def test_nothing_is_settled_where_nothing_was_said():
    assert consensus(labels()) == {}
    assert disputes(labels()) == []


@given(st.lists(st.sampled_from(["pass", "fail"]), min_size=1, max_size=7), st.randoms(use_true_random=False))
def test_the_order_of_people_changes_nothing(votes, random):
    said = [("1", f"p{number}", vote) for number, vote in enumerate(votes)]
    shuffled = random.sample(said, len(said))
    assert settled(*said) == settled(*shuffled)


# -- criteria --------------------------------------------------------------------------------------------------------


def test_the_whole_passes_where_one_person_passed_every_criterion():
    said = labels(
        *[("1", "a", "pass", "tone"), ("1", "a", "pass", "facts")],
        *[("1", "b", "fail", "tone"), ("1", "b", "pass", "facts")],
        ("1", "c", "pass", "tone"),
    )
    whole = {
        row["annotator"]: row["label"]
        for row in with_whole(said, ["tone", "facts"]).to_pylist()
        if not row["criterion"]
    }
    assert whole == {"a": "pass", "b": "fail"}


def test_settled_criteria_settle_the_whole_and_are_what_is_asked_for():
    said = [
        *[("1", "a", "pass", "tone"), ("1", "a", "pass", "facts"), ("1", "a", "pass")],
        *[("1", "b", "fail", "tone"), ("1", "b", "pass", "facts"), ("1", "b", "fail")],
    ]
    assert [dispute.criterion for dispute in disputes(labels(*said))] == ["tone"]
    said.append(("1", "adjudicator", "fail", "tone"))
    assert disputes(labels(*said)) == []
    assert settled(*said, criteria=["tone", "facts"]) == {"1": "fail"}
    assert settled(*said) == {"1": None}


def test_what_a_person_said_of_the_whole_stays():
    said = labels(("1", "a", "pass", "tone"), ("1", "a", "fail"))
    assert with_whole(said, ["tone"]).num_rows == 2


# -- agreement between people ----------------------------------------------------------------------------------------


def pair(first, second, criterion=""):
    return labels(
        *[(f"{number}", "ada", label, criterion) for number, label in enumerate(first)],
        *[(f"{number}", "bob", label, criterion) for number, label in enumerate(second)],
    )


def test_kappa_of_a_pair_worked_by_hand():
    # Both pass 6, both fail 2, one each way: agreed .8, by chance .7*.7+.3*.3 = .58, kappa .22/.42.
    first = ["pass"] * 7 + ["fail"] * 3
    second = ["pass"] * 6 + ["fail"] + ["pass"] + ["fail"] * 2
    (found,) = people_agreement(pair(first, second)).pairs
    assert (found.first, found.second, found.n) == ("ada", "bob", 10)
    assert found.agreed.estimate == pytest.approx(0.8)
    assert found.kappa.estimate == pytest.approx(0.22 / 0.42)


def test_a_pair_that_shares_little_is_left_out_and_counted():
    found = people_agreement(pair(["pass"] * 9, ["pass"] * 9))
    assert (found.pairs, found.n_pairs_left_out) == ((), 1)


def test_kappa_is_undefined_where_people_said_one_thing_only():
    (found,) = people_agreement(pair(["pass"] * 10, ["pass"] * 10)).pairs
    assert found.agreed.estimate == 1
    assert math.isnan(found.kappa.estimate)
    assert found.kappa.reason


def test_an_annotator_is_measured_against_what_the_others_settle():
    said = labels(("1", "a", "pass"), ("1", "b", "pass"), ("1", "c", "fail"), ("2", "c", "pass"))
    by_name = {one.annotator: one for one in people_agreement(said).annotators}
    assert (by_name["c"].n_labels, by_name["c"].n, by_name["c"].n_agreed) == (2, 1, 0)
    # Without one of them, the other two differ: nothing is settled that `a` could agree with.
    assert by_name["a"].n == 0
    assert math.isnan(by_name["a"].rate)


def test_a_criterion_on_which_people_differ_is_named():
    good = pair(["pass", "fail"] * 10, ["pass", "fail"] * 10, "facts")
    bad = pair(["pass", "fail"] * 10, ["pass", "pass", "fail", "fail"] * 5, "tone")
    found = people_agreement(pa.concat_tables([good, bad]))
    assert found.contested == ("tone",)
    assert [(one.criterion, one.n_shared, one.n_split) for one in found.criteria] == [
        ("facts", 20, 0),
        ("tone", 20, 10),
    ]


def test_low_alpha_for_want_of_failures_is_no_dispute():
    nearly = pair(["pass"] * 39 + ["fail"], ["pass"] * 40)
    (found,) = people_agreement(nearly).criteria
    assert found.alpha < 0.1
    assert not found.contested


def test_an_adjudicator_is_no_independent_voice():
    said = pa.concat_tables([pair(["pass"] * 10, ["fail"] * 10), labels(("1", "adjudicator", "pass"))])
    assert {one.annotator for one in people_agreement(said).annotators} == {"ada", "bob"}


def test_one_person_agrees_with_nobody():
    found = people_agreement(labels(("1", "a", "pass"), ("2", "a", "fail")))
    assert found.pairs == ()
    (whole,) = found.criteria
    assert math.isnan(whole.agreed)
    assert math.isnan(whole.alpha)
    assert not whole.contested


def test_no_label_is_no_criterion():
    assert people_agreement(labels()).criteria == ()
    assert criteria_of(labels()) == []


def test_grades_that_are_near_agree_more_than_far_ones():
    first = [str(1 + number % 5) for number in range(20)]
    near = [str(max(1, int(grade) - 1)) for grade in first]
    far = [str(6 - int(grade)) for grade in first]
    grades = ["1", "2", "3", "4", "5"]

    def of(second):
        found = people_agreement(pair(first, second), grades=grades)
        return found.pairs[0].kappa.estimate, found.criteria[0].alpha

    assert of(near) > (0.7, 0.7) > of(far)


# -- the crowd -------------------------------------------------------------------------------------------------------


def crowd(shared_data, name):
    table = pq.read_table(shared_data / "crowd_labels" / "labels.parquet").to_pylist()
    return labels(*[(row["item_id"], row["worker_id"], row["label"]) for row in table if row["dataset"] == name])


def gold(shared_data, name):
    table = pq.read_table(shared_data / "crowd_labels" / "gold.parquet").to_pylist()
    return {row["item_id"]: row["gold"] for row in table if row["dataset"] == name}


@pytest.mark.parametrize(("name", "n_tied", "n_right"), [("rte", 65, 685), ("bluebird", 0, 82)])
def test_the_majority_of_a_crowd_is_the_card_s(shared_data, name, n_tied, n_right):
    # Of rte the card counts 717.5 right with ties broken by chance: 685 and half of 65.
    found = {key.example_id: label for key, label in consensus(crowd(shared_data, name)).items()}
    truth = gold(shared_data, name)
    assert sum(label is None for label in found.values()) == n_tied
    assert sum(label == truth[item] for item, label in found.items()) == n_right


def test_a_crowd_that_guesses_is_contested(shared_data):
    found = people_agreement(crowd(shared_data, "bluebird"))
    (whole,) = found.criteria
    assert whole.contested
    assert len(found.annotators) == 39
    assert len(found.pairs) == 100
    assert found.n_pairs_left_out == 39 * 38 // 2 - 100
