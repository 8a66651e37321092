import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import InputError
from safetycatch.scoring import parse_label

LABELS = ("card_payment", "card_payment_fee", "refund", "Yes", "no")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("card_payment", "card_payment"),
        (" Card Payment.\n", "card_payment"),
        ("**card-payment**", "card_payment"),
        ('"refund"', "refund"),
        ("<label>refund</label>", "refund"),
        ("Label: refund", "refund"),
        ("**Final answer:** `refund`", "refund"),
        ("Label:\nrefund", "refund"),
        ("Class = refund", "refund"),
        ("The answer is refund.", "refund"),
        ("Category: refund (they want money back)", "refund"),
        ('{"label": "refund"}', "refund"),
        ('{"label": "refund", "why": "card_payment failed"}', "refund"),
        ('```json\n{"intent": "REFUND"}\n```', "refund"),
        ('Output: {"label": "refund"}', "refund"),
        ("They paid twice.\n\nrefund", "refund"),
        ("refund\n\nExplanation: card_payment came first", "refund"),
        ("Candidates:\n- refund\n- card_payment\n\nLabel: refund", "refund"),
        ("Yes, because it says so", "Yes"),
        ('{"choice": "refund"}', "refund"),
        ("It is the refund class = ok", "refund"),
        ("No.", "no"),
        ("I think card_payment_fee fits best", "card_payment_fee"),
        ("This is about a card payment fee", "card_payment_fee"),
    ],
)
def test_a_label_is_read(text, label):
    assert parse_label(text, LABELS) == label


@pytest.mark.parametrize(
    "text",
    [
        "",
        "refund or card_payment",
        "refund, card_payment",
        "refund\ncard_payment",
        "Label: refund\nLabel: card_payment",
        "Label: refund\ncard_payment",
        "Answer: refund or card_payment",
        "Yes, but refund",
        "yes/no",
        "card_payment_fee_extra",
        "card-payment-limit",
        "refunded",
        "They ask for a refund.\nLabel: money_back",
        "I have no idea",
        '{"label": "refund", "label": "no"}',
        '{"label": ["refund"]}',
        '{"label": "other"}',
        '{"why": "refund", "how": "no"}',
        "x" * 200_000,
    ],
)
def test_nothing_is_guessed(text):
    assert parse_label(text, LABELS) is None


def test_the_order_of_labels_does_not_matter():
    for text in ("refund card_payment", "card_payment_fee", "Yes and no"):
        assert parse_label(text, LABELS) == parse_label(text, LABELS[::-1])


def test_a_label_inside_a_longer_one_is_not_mentioned():
    labels = ("payment", "card payment", "payment fee")
    assert parse_label("I think card payment fits", labels) == "card payment"
    assert parse_label("I think card payment fee fits", labels) is None  # two labels overlap


def test_symbols_count_where_they_alone_tell_labels_apart():
    labels = ("C", "C++", "C#")
    assert [parse_label(text, labels) for text in ("c", "`C++`", "**C#**", "C!?")] == ["C", "C++", "C#", "C"]
    assert parse_label("It is C-like", labels) is None


def test_choices_in_brackets():
    assert parse_label("So the answer is (B).", ("(A)", "(B)")) == "(B)"
    assert parse_label("B", ("(A)", "(B)")) == "(B)"
    assert parse_label("(B)", ("A", "B")) == "B"
    assert parse_label("A man walks", ("A", "B")) is None


def test_case_counts_where_it_alone_tells_labels_apart():
    assert [parse_label(text, ("us", "US")) for text in ("us", "US", "Us")] == ["us", "US", None]


def test_negations_are_not_understood():
    """Said in the docstring: the label is mentioned, and that is all that is read."""
    assert parse_label("definitely not refund", LABELS) == "refund"


def test_an_alias_stands_for_its_label():
    aliases = {"money back": "refund", "N": "no"}
    assert [parse_label(text, LABELS, aliases) for text in ("Money-back!", "n", "I want my money back")] == [
        "refund",
        "no",
        "refund",
    ]


@pytest.mark.parametrize("aliases", [{"x": "nothing"}, {"refund": "no"}])
def test_an_alias_of_no_label_or_of_two_is_refused(aliases):
    with pytest.raises(InputError, match="alias"):
        parse_label("x", LABELS, aliases)


names = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5, unique=True)


@given(names, st.text(max_size=40), st.lists(st.integers(0, 4), max_size=4))
def test_what_is_read_is_a_label(labels, noise, chosen):
    text = noise + "\n".join(labels[at % len(labels)] for at in chosen)
    assert parse_label(text, labels) in {*labels, None}


@given(st.lists(st.from_regex(r"[a-z]{2,8}(_[a-z]{1,8}){0,2}", fullmatch=True), min_size=2, max_size=8, unique=True))
def test_every_label_reads_itself_and_two_read_as_none(labels):
    for label in labels:
        assert parse_label(f"Label: {label}", labels) == label
        assert parse_label(label.replace("_", " ").upper(), labels) == label
    assert parse_label(f"{labels[0]} / {labels[1]}", labels) is None
