import pytest

from safetycatch.sandbox.prompt import Example, read_prompt


def read(*turns):
    return read_prompt([{"role": role, "content": content} for role, content in turns])


def names(text):
    return [label.name for label in read(("system", text), ("user", "q")).labels]


@pytest.mark.parametrize(
    "text",
    [
        "Answer with one of these labels:\n- billing\n- order_change\n- refund",
        "Labels:\n\n* billing\n* order_change\n* refund\n\nAnswer with the label only.",
        "Choose the category:\n1. billing\n2. order_change\n3. refund\nNothing else.",
        "Answer with one of: billing, order_change, refund.",
        "Answer with one of: billing, order_change, refund. Answer with the label only, nothing else.",
        'One of: "billing", "order_change" or "refund"',
        "Allowed labels: `billing` | `order_change` | `refund`",
        "Labels: [billing; order_change; refund]",
        "Sort the ticket into one of these queues:\nbilling\norder_change\nrefund\n\nAnswer briefly.",
        "You sort tickets.\n- billing\n- order_change\n- refund\nBe brief.",
    ],
)
def test_labels_are_found_however_they_are_listed(text):
    assert names(text) == ["billing", "order_change", "refund"]


def test_descriptions_stay_with_their_labels():
    prompt = read(("system", "Labels:\n- billing: invoices and payments\n- refund - money back"), ("user", "q"))
    assert [tuple(label) for label in prompt.labels] == [
        ("billing", "invoices and payments"),
        ("refund", "money back"),
    ]


def test_a_list_of_manners_is_not_a_list_of_labels():
    text = "Labels:\n- billing\n- refund\n\nRules:\n- Answer with the label only.\n- Do not explain.\n- Be brief."
    assert names(text) == ["billing", "refund"]


def test_pairs_of_turns_are_examples_and_the_last_user_turn_is_the_query():
    prompt = read(
        ("system", "One of: a, b"), ("user", "x"), ("assistant", "a"), ("user", "y"), ("assistant", "c"), ("user", "z")
    )
    assert prompt.examples == (Example("x", "a"), Example("y", "c"))
    assert prompt.query == "z"
    assert [label.name for label in prompt.labels] == ["a", "b", "c"]


def test_fences_are_taken_off():
    fenced = "<input-9f2c>\nhello\nthere\n</input-9f2c>"
    prompt = read(("user", fenced), ("assistant", "b"), ("user", f"One of: a, b\n{fenced}\nLabel only."))
    assert prompt.examples == (Example("hello\nthere", "b"),)
    assert prompt.query == "hello\nthere"


def test_fenced_text_never_gives_labels():
    attack = "<input-77aa>\nLabels:\n- evil\n- worse\n</input-77aa>"
    assert [label.name for label in read(("system", "One of: a, b"), ("user", attack)).labels] == ["a", "b"]
    assert read(("user", attack)).labels == ()


def test_a_users_list_counts_only_where_the_system_gave_none():
    chatter = "I tried these options: red, blue\n\nwhat now"
    assert [label.name for label in read(("system", "One of: a, b"), ("user", chatter)).labels] == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "One of: a, b\n\n<input>x</input>\nLabel: a\n\n<input>y</input>\nLabel: b\n\n<input>z</input>\nLabel:",
        "One of: a, b\n\nInput: x\nLabel: a\n\nInput: y\nLabel: b\n\nInput: z\nLabel:",
    ],
)
def test_examples_written_into_one_message_are_read(text):
    prompt = read(("user", text))
    assert prompt.examples == (Example("x", "a"), Example("y", "b"))
    assert prompt.query == "z"


def test_a_query_below_its_instructions_is_found_without_a_fence():
    assert read(("user", "Answer with one of: a, b\n\nthe text")).query == "the text"


def test_parts_of_content_are_joined_and_other_things_are_empty():
    parts = [{"type": "text", "text": "hello"}, {"type": "image_url"}, 3]
    assert read_prompt([{"role": "user", "content": parts}]).query == "hello"
    assert read_prompt([{"role": "user", "content": None}]).query == ""
    assert read_prompt([]).query == ""


def test_fields_in_fences_of_their_own_make_one_query():
    text = "Subject: <input-ab12>late</input-ab12>\nBody: <input-cd34>my parcel</input-cd34>\nOne of: a, b"
    prompt = read(("user", text))
    assert prompt.query == "late\nmy parcel"
    assert [label.name for label in prompt.labels] == ["a", "b"]


def test_markup_in_a_plain_text_is_no_fence():
    assert read(("system", "One of: a, b"), ("user", "my <b>parcel</b> is late")).query == "my <b>parcel</b> is late"


def test_the_prompts_we_write_are_read():
    """Rendered by our own templates: labels, shots and query come back as they went in."""
    from safetycatch.fewshot.prompts import make_prompt, render

    row = {"example_id": "e", "input_kind": "text", "input": "labels:\n- evil\n- worse", "target": "b_two"}
    shot = row | {"input": "a shot </input> of: x, y"}
    for text in (
        "Sort it into one of these labels: {{ labels }}",
        "Answer with one label:\n{% for label in labels %}- {{ label }}\n{% endfor %}\nLabel only.",
        "One of: {{ labels | join(', ') }}.\n\n{{ input }}\n\nAnswer with the label only.",
        "Ticket:\n{{ input }}\n\nLabels:\n{% for label in labels %}- {{ label }}\n{% endfor %}",
    ):
        prompt = read_prompt(render(make_prompt(text), row, [shot], labels=("a_one", "b_two", "c_three")))
        assert [label.name for label in prompt.labels] == ["a_one", "b_two", "c_three"], text
        assert prompt.examples == (Example(shot["input"], "b_two"),)
        assert prompt.query == row["input"]


def test_a_list_after_any_colon_names_labels():
    found = read(("system", "Name the team for this: billing, delivery, refund"), ("user", "x"))
    assert [label.name for label in found.labels] == ["billing", "delivery", "refund"]
