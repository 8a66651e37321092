"""Arguments and structured answers fit their schema, judged by the jsonschema library that LiteLLM brings."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.sandbox.schema import MAX_VALUES, breaking, fitting

LABEL = {
    "type": "object",
    "properties": {
        "label": {"enum": ["Refund", "delivery"]},
        "reason": {"type": "string", "maxLength": 4},
        "sure": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
    },
    "required": ["label", "reason", "sure", "tags"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": ["null", "string"], "minLength": 9}},
}


def schemas(inner):
    return (
        st.dictionaries(st.sampled_from("abcd"), inner, max_size=3).map(
            lambda named: {"type": "object", "properties": named, "required": [*named, "z"]}
        )
        | inner.map(lambda item: {"type": "array", "items": item, "minItems": 1, "maxItems": 2})
        | st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"anyOf": parts})
    )


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "integer", "minimum": 3},
            {"type": "number", "exclusiveMaximum": -2},
            {"type": "boolean"},
            {"type": "null"},
            {"const": 7},
            {"enum": ["yes", "no"]},
            True,
        ]
    ),
    schemas,
    max_leaves=12,
)


@given(SCHEMAS, st.text(max_size=30))
def test_what_is_filled_fits(schema, text):
    root = schema if isinstance(schema, dict) else {"type": "object"}
    jsonschema.validate(json.loads(fitting(root, text)), root)


def test_the_text_decides_where_a_schema_leaves_a_choice():
    value = json.loads(fitting(LABEL, "refund"))
    jsonschema.validate(value, LABEL)
    assert value == {"label": "Refund", "reason": "refu", "sure": 0.5, "tags": ["refund...", "refund..."]}
    assert json.loads(fitting(LABEL, "spam"))["label"] == "Refund"
    assert json.loads(fitting({}, "refund")) == {"answer": "refund"}


def test_a_schema_without_end_is_cut_off():
    endless = {"type": "object", "properties": {name: {"$ref": "#"} for name in "abc"}}
    assert fitting(endless, "x").count("null") <= 3 * MAX_VALUES


def test_a_scripted_violation_fits_no_more():
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(breaking(LABEL, "refund")), LABEL)
    assert breaking({}, "refund") == "refund"
