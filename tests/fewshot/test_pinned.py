"""A pinned prompt makes the messages that `render` makes, for every kind of input; in full runs: tests/test_pin.py."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import DataError
from safetycatch.fewshot import Demonstrations, make_prompt, render, select
from safetycatch.fewshot.pinned import PinnedPrompt, RetrievingPrompt
from safetycatch.identity import canonical_json
from safetycatch.results.pin import pin_prompt
from safetycatch.settings import ShotSettings

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(-1e9, 1e9), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
turns = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text(max_size=8)})
inputs = st.one_of(
    st.text(min_size=1, max_size=12).filter(str.strip),
    st.fixed_dictionaries({"q": values}, optional={"input": st.text(max_size=5)}),
    st.lists(turns, max_size=2).map(lambda chat: [*chat, {"role": "user", "content": "Why?"}]),
)


def kind_of(value):
    return "text" if isinstance(value, str) else "json" if isinstance(value, dict) else "messages"


def text_of(value):
    return value if isinstance(value, str) else canonical_json(value).decode()


@given(st.lists(inputs, min_size=4, max_size=7), st.sampled_from(["zero", "static", "mmr", "hybrid"]), st.booleans())
def test_messages_are_those_of_render(examples, found, how, with_field):
    chats = any(kind_of(value) == "messages" for value in found)
    prompt = make_prompt("Look at {{ input }}." if with_field and not chats else "One of: {{ labels | join(', ') }}.")
    tables = [examples([(f"e{i}", text_of(value), "ab"[i % 2])], kind_of(value)) for i, value in enumerate(found)]

    pool, query = pa.concat_tables(tables[:-1]), tables[-1]
    shots = ShotSettings(select=how, k=0 if how == "zero" else 2)
    try:
        chosen = select(pool, query, shots)
    except DataError:
        return
    row = query.to_pylist()[0]
    shown = Demonstrations(chosen, pool, shots.name).of(row["example_id"])
    constants, index = pin_prompt(prompt, ["a", "b"], shots, pool, None, {"text": "text"})
    pinned = RetrievingPrompt(constants, lambda: index) if index else PinnedPrompt(constants)
    assert pinned.messages({"input": found[-1]}) == render(prompt, row, shown, labels=["a", "b"])


@pytest.mark.parametrize(
    ("columns", "given_row", "text", "kind"),
    [
        ({"text": "text"}, {"text": "a", "other": 1}, "a", "text"),
        ({"text": "text"}, "a", "a", "text"),
        ({"text": "text"}, {"input": "a"}, "a", "text"),
        ({"q": "question"}, {"question": "a"}, '{"q":"a"}', "json"),
        ({"q": "q", "n": "n"}, {"n": 1.0, "q": None}, '{"n":1,"q":null}', "json"),
        ({"text": "text"}, {"text": [{"role": "user", "content": "a"}]}, '[{"content":"a","role":"user"}]', "messages"),
    ],
)
def test_a_row_is_read_as_the_data_was(columns, given_row, text, kind):
    assert PinnedPrompt({"columns": columns}).input_of(given_row) == (text, kind)


@pytest.mark.parametrize("given_row", [{"text": ""}, {"text": 3}, {"other": "a"}, {"text": None}, " ", {"text": {}}])
def test_what_is_no_input_is_refused(given_row):
    with pytest.raises(DataError):
        PinnedPrompt({"columns": {"text": "text"}}).input_of(given_row)


def test_a_field_that_is_not_there_is_named(examples):
    prompt = make_prompt("{{ a.b }}")
    constants, _ = pin_prompt(prompt, [], ShotSettings(), examples([]), None, {"a": "a", "c": "c"})
    with pytest.raises(DataError, match=r"`a\.b` is not in the row"):
        PinnedPrompt(constants).messages({"a": {}, "c": json.loads("1")})
