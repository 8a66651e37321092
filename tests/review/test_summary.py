import uuid

from safetycatch.review.summary import summarised
from tests.review.conftest import items


def act(item, label, **more):
    return {"id": uuid.uuid4().hex, "do": "label", "item": item, "label": label, **more}


def test_failure_modes_come_with_counts_and_examples_in_peoples_words(desk):
    made = desk([f"answer {i}" for i in range(40)])
    made.act("ann", [act(0, "fail", modes=["vague"]), act(1, "fail", modes=["vague"], critique="no date")])
    made.act("ann", [act(2, "fail", modes=["rude", "vague"]), *(act(i, "pass") for i in range(3, 40))])
    found = summarised(made)
    assert [(mode.name, mode.n, mode.n_random) for mode in found.modes] == [("vague", 3, 3), ("rude", 1, 1)]
    assert (found.modes[0].examples[0].critique, found.modes[0].examples[0].output) == ("no date", "answer 1")
    # Wilson's interval of 3 in 40 by hand: (0.075 + 0.048 -+ 0.0925) / 1.096.
    assert found.rate == "8 % of the 40 answers drawn at random, 95 % interval 3 % to 20 %"
    assert (found.n_labelled, found.people) == (40, (("ann", 40),))


def test_what_was_picked_says_nothing_about_rates(desk):
    made = desk(items_=items(["one", "two"], sampling_probability=None))
    made.act("ann", [act(0, "fail", modes=["vague"])])
    found = summarised(made)
    assert found.rate == ""
    assert [(mode.n, mode.n_random) for mode in found.modes] == [(1, 0)]


def test_a_set_without_labels_says_what_to_do(opened):
    client = opened()
    found = summarised(client.desk)
    assert (found.n_labelled, found.rate, found.modes, found.people) == (0, "", (), ())
    assert found.steps[0].command == "safetycatch review labels/set"
    assert "No failure mode is named yet" in client.get("/summary")[2]


def test_people_who_disagree_count_in_equal_parts(desk):
    made = desk([f"answer {i}" for i in range(10)])
    made.act("ann", [act(i, "pass") for i in range(10)])
    made.act("bo", [act(0, "fail")])
    assert summarised(made).rate.startswith("5 % of the 10 answers")


def test_grades_have_no_rate_of_failure(desk):
    made = desk(scale=(1, 2, 3))
    made.act("ann", [act(0, "2")])
    assert summarised(made).rate == ""


def test_labels_that_a_kill_cut_are_told(opened):
    client = opened()
    client.desk.act("ann", [act(0, "pass")])
    with (client.desk.labels.folder / "by-ann.jsonl").open("ab") as file:
        file.write(b'{"at":')
    assert "was cut while it was written" in client.get("/summary")[2]


def test_a_long_example_says_that_it_is_cut(desk):
    made = desk(["x" * 401, "y" * 400])
    for item in (0, 1):
        act = {"id": f"{item}" * 32, "do": "label", "item": item, "label": "fail", "modes": ["long"]}
        made.act("ann", [act])
    shown = {example.output for example in summarised(made).modes[0].examples}
    assert shown == {"x" * 400 + "…", "y" * 400}
