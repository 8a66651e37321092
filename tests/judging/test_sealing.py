"""Labelled items dealt into parts that stay."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from safetycatch.judging.sealing import ItemKey, LabelledItem, overlaps, recorded, seal
from tests.judging.certified import texts


def labelled(n, *, first=0, drawn=True):
    return [
        LabelledItem(ItemKey(f"e{at}", "", f"{at:016x}"), "pass" if at % 3 else "fail", (text,), drawn)
        for at, text in enumerate(texts(first + n))
        if at >= first
    ]


def known(sealing):
    return {key.text: part for key, part in sealing.parts.items()}


def test_the_same_content_under_another_id_keeps_its_part():
    items = labelled(60)
    first = seal(items)
    renamed = [LabelledItem(ItemKey(f"x{at}", "b", "0"), item.label, item.texts) for at, item in enumerate(items)]
    again = seal([*renamed, *labelled(90, first=60)], recorded(items, first))
    assert [again.parts[item.key] for item in renamed] == [first.parts[item.key] for item in items]


def test_what_is_picked_here_is_not_sealed_though_it_was_drawn_elsewhere():
    items = labelled(60)
    found = seal(labelled(60, drawn=False), recorded(items, seal(items)))
    assert (found.sizes["sealed"], found.sizes["left_out"]) == (0, seal(items).sizes["sealed"])


def test_a_tenth_to_show_a_quarter_to_tune_the_rest_sealed():
    assert seal(labelled(200)).sizes == {"few_shot": 20, "dev": 50, "sealed": 130, "left_out": 0}


def test_at_most_24_and_100():
    assert seal(labelled(900)).sizes == {"few_shot": 24, "dev": 100, "sealed": 776, "left_out": 0}


def test_each_label_alike():
    items = labelled(300)
    parts = seal(items).parts
    counts = Counter((parts[item.key], item.label) for item in items)
    assert counts["dev", "pass"] == 2 * counts["dev", "fail"] == 50


@given(st.integers(0, 60), st.integers(0, 60))
def test_new_items_move_nobody(n, more):
    before = seal(labelled(n))
    after = seal([*labelled(n), *labelled(more, first=n)], known(before))
    assert {key: after.parts[key] for key in before.parts} == before.parts
    assert sum(after.sizes.values()) == n + more


def test_the_order_of_the_items_does_not_matter():
    items = labelled(100)
    assert seal(items[::-1]).parts == seal(items).parts


def test_answers_to_one_row_and_near_duplicates_go_together():
    items = labelled(60)
    twins = [LabelledItem(ItemKey(item.key.example_id, "b", "f" * 16), item.label, ("else",)) for item in items]
    copies = [
        LabelledItem(ItemKey(f"c{item.key.example_id}", "", "0"), item.label, (f"{item.texts[0]}!",)) for item in items
    ]
    parts = seal([*items, *twins, *copies]).parts
    for item, twin, copy in zip(items, twins, copies, strict=True):
        assert parts[item.key] == parts[twin.key] == parts[copy.key]


def test_what_was_picked_is_never_sealed():
    assert seal(labelled(80, drawn=False)).sizes["sealed"] == 0


def test_a_new_item_between_two_parts_is_left_out():
    text = texts(1)[0]
    old = [
        LabelledItem(ItemKey("a", "", "0"), "pass", (text,)),
        LabelledItem(ItemKey("b", "", "0"), "pass", ("x" * 60,)),
    ]
    new = LabelledItem(ItemKey("b", "", "1"), "pass", (text,))
    before = {old[0].key.text: "sealed", old[1].key.text: "dev"}
    found = seal([*old, new], before)
    assert found.parts[new.key] == "left_out"
    assert list(found.why.values()) == [1]


def test_nothing_to_deal():
    assert seal([]).sizes == {"few_shot": 0, "dev": 0, "sealed": 0, "left_out": 0}


def test_overlaps_are_found_in_examples_and_in_the_rubric():
    items = labelled(3)
    shown = [items[0].texts[0].upper()]
    found = overlaps(items, {"dev": shown, "few_shot": []}, prompts={"judge.md": f"Such as:  {items[1].texts[0]}"})
    assert [(one.key.example_id, one.where) for one in found] == [("e0", "dev"), ("e1", "judge.md")]
    assert overlaps([], {"dev": shown}) == []
