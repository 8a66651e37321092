"""A planted shortcut is found, and real tasks have none that decides."""

from __future__ import annotations

import random

import pytest

from safetycatch.data import find_shortcuts
from safetycatch.data.shortcuts import wilson_low
from safetycatch.errors import UsageError

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
LABELS = ("refund", "card lost", "verify")


def noise(row):
    return " ".join(random.Random(row).choices(NUMBERS, k=8))


def table(examples, text, n_rows=900, **slices):
    targets = [LABELS[random.Random(-row).randrange(3)] for row in range(n_rows)]
    texts = [text(row, target) for row, target in enumerate(targets)]
    extra = {name: [value(row, target) for row, target in enumerate(targets)] for name, value in slices.items()}
    return examples(texts, targets=targets, **extra)


def deciding(found):
    return {field.field for field in found.deciding}


def test_noise_has_no_shortcut(examples):
    found = find_shortcuts(
        table(examples, lambda row, _: noise(row), language=lambda row, _: "en" if row % 2 else "de")
    )
    assert not found.tokens
    assert not found.deciding
    assert {field.field for field in found.fields} == {"appended target", "language", "input length", "last word"}


def test_word_that_predicts_a_label_is_named(examples):
    found = find_shortcuts(
        table(examples, lambda row, target: noise(row) + (" zzz " if target == "verify" else " ") + noise(row + 10**6))
    )
    assert [(token.token, token.label, token.is_label) for token in found.tokens] == [("zzz", "verify", False)]
    assert found.tokens[0].n_rows == found.tokens[0].n_agree
    assert not found.deciding


def test_label_text_inside_the_input_is_named(examples):
    found = find_shortcuts(table(examples, lambda row, target: f"{noise(row)} ({target.upper()}) {noise(-row - 1)}"))
    assert {token.token for token in found.tokens if token.is_label} == set(LABELS)


def test_metadata_that_decides_is_found(examples):
    queue = {"refund": "q1", "card lost": "q2", "verify": "q3"}
    found = find_shortcuts(table(examples, lambda row, _: noise(row), queue=lambda _, target: queue[target]))
    assert deciding(found) == {"queue"}
    assert (
        find_shortcuts(
            table(examples, lambda row, _: noise(row), queue=lambda _, target: queue[target]), leave_out=["queue"]
        ).deciding
        == ()
    )


def test_metadata_with_mostly_distinct_values_is_left_out(examples):
    found = find_shortcuts(table(examples, lambda row, _: noise(row), ticket=lambda row, target: f"{target}-{row}"))
    assert not found.deciding
    assert found.not_checked == ("ticket: more than half of its values differ",)


def test_member_of_a_json_input_that_decides_is_found(examples):
    import json

    rows = table(examples, lambda row, target: json.dumps({"body": noise(row), "code": LABELS.index(target)}))
    kinds = rows.schema.get_field_index("input_kind")
    rows = rows.set_column(kinds, "input_kind", [["json"] * rows.num_rows])
    assert "input.code" in deciding(find_shortcuts(rows))


def test_length_that_decides_is_found(examples):
    sizes = {"refund": 2, "card lost": 40, "verify": 90}
    found = find_shortcuts(table(examples, lambda row, target: f"{row:03} " + "x" * (sizes[target] + row % 7) + " end"))
    assert deciding(found) == {"input length"}


def test_appended_target_is_found(examples):
    found = find_shortcuts(table(examples, lambda row, target: f"{noise(row)} label: {target}"))
    assert "appended target" in deciding(found)


def test_appended_target_is_found_where_targets_are_no_classes(examples):
    targets = [f"answer {row}" for row in range(100)]
    found = find_shortcuts(examples([f"{noise(row)} {target}" for row, target in enumerate(targets)], targets=targets))
    assert deciding(found) == {"appended target"}
    assert "no classes" in found.not_checked[0]


def test_field_is_not_learned_from_the_rows_of_its_own_group(examples):
    """One customer, one label: the customer's city gives the label only to who has seen that customer."""
    rng = random.Random(3)
    label = [LABELS[rng.randrange(3)] for _ in range(60)]
    rows = examples(
        [noise(row) for row in range(600)],
        targets=[label[row // 10] for row in range(600)],
        groups=[f"g{row // 10}" for row in range(600)],
        city=[f"c{row // 10}" for row in range(600)],
    )
    assert not find_shortcuts(rows).deciding
    assert deciding(find_shortcuts(rows, cluster_ids=[str(row) for row in range(600)])) == {"city"}


def test_a_nearly_constant_target_is_no_shortcut(examples):
    targets = ["no"] * 995 + ["yes"] * 5
    found = find_shortcuts(
        examples([noise(row) for row in range(1000)], targets=targets, kind="text", lang=["en"] * 1000)
    )
    assert not found.deciding
    assert not found.tokens


def test_too_few_rows_are_not_judged(examples):
    found = find_shortcuts(examples(["a"] * 5))
    assert found.not_checked == ("5 rows are too few (20)",)


def test_cluster_ids_must_fit(examples):
    with pytest.raises(UsageError, match="2 cluster ids for 1 rows"):
        find_shortcuts(examples(["a"]), cluster_ids=["a", "b"])


def test_wilson_bound_by_hand():
    """20 of 20: 20 / (20 + z^2) = 0.8389."""
    assert wilson_low(20, 20) == pytest.approx(20 / (20 + 1.959963984540054**2))


@pytest.mark.parametrize(
    ("name", "text", "target"),
    [
        ("banking77/banking77", "text", "label"),
        ("snips/snips", "text", "label"),
        ("bbh_direct_vs_cot/items", "input", "target"),
    ],
)
def test_public_sets_have_no_deciding_field(public, examples, name, text, target):
    rows = public(name)
    found = find_shortcuts(examples(rows[text], targets=rows[target], ids=rows["item_id"]))
    assert not found.deciding
