import json
from typing import Any

import pytest

from safetycatch.errors import ExperimentError
from safetycatch.fewshot import fence, make_prompt, render
from safetycatch.fewshot.flattening import flatten

LABELS = ("fee", "refund")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Choose: {{ labels | join(', ') }}.", ["Choose: fee, refund."]),
        ("Text: {{ input }}\nLabel: ", ["Text: ", ["input"], "\nLabel:"]),
        ("{% for l in labels %}{{ loop.index }} {{ l }};{% endfor %}{{ q }}", ["1 fee;2 refund;", ["q"]]),
        ("{{ a.b[0] }}{{ a['c'] }}", [["a", "b", 0], ["a", "c"]]),
        ("{{ input if labels else 'none' }}", [["input"]]),
        ("{% for word in [input] %}{{ word }}{% endfor %}", [["input"]]),
        ("{{ [input, 'b'] | first }}{{ input }}", [["input"], ["input"]]),
    ],
)  # fmt: skip
def test_a_prompt_is_text_with_gaps(text, parts):
    assert flatten(make_prompt(text), LABELS) == parts


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'fixed' if labels else input }} {{ ['a', 'b'] | length }}",
        "{{ (input, 'b') | length }} {{ input }} {{ 3 }} {{ labels }}",
        "a {{ q }} b {{ a.b[0] }} {{ a['c'] }} {{ a.n }} {{ a.none }}",
    ],
)
def test_filling_the_gaps_is_rendering(row, text):
    prompt, values = make_prompt(text), {"q": "<b>", "a": {"b": [[1, "x"]], "c": True, "n": 1.5, "none": None}}

    example = row(json.dumps(values), kind="json")
    everything = {"input": example["input"], **values}
    filled = ""
    for part in flatten(prompt, LABELS):
        if isinstance(part, str):
            filled += part
            continue
        value: Any = everything
        for key in part:
            value = value[key]
        plain = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
        filled += fence(plain, prompt.sha256)
    assert filled == render(prompt, example, labels=LABELS)[-1]["content"]


@pytest.mark.parametrize(
    "text",
    [
        "{{ input | upper }}",
        "{{ input | default('x') }}",
        "{{ input | trim }}",
        "{{ 'see ' ~ input }}",
        "{% if input %}x{% endif %}",
        "{% if not input %}x{% endif %}",
        "{% if input is defined %}x{% endif %}",
        "{% if input is none %}x{% endif %}",
        "{% if input is sameas labels %}x{% endif %}",
        "{% if input == 'x' %}x{% endif %}",
        "{% if [input] == ['x'] %}x{% endif %}",
        "{% if input in labels %}x{% endif %}",
        "{% if 'a' in input %}x{% endif %}",
        "{% if input > 3 %}x{% endif %}",
        "{{ input or 'x' }}",
        "{{ input + 1 }}{{ -input }}",
        "{% for c in choices %}{{ c }}{% endfor %}",
        "{{ [input] | string }}{{ {'a': input} }}",
        "{{ [input, 'b'] | sort | first }}",
        "{{ [input, 'b'] | unique | list }}",
        "{{ labels | join(input) }}",
        "{{ labels[input] }}",
        "{{ input[:9] }}",
        "{{ a.items }}",
        "{{ a[input] }}",
    ],
)
def test_a_prompt_that_looks_at_the_row_is_refused(text):
    with pytest.raises(ExperimentError, match="of the row") as caught:
        flatten(make_prompt(text, "p.md"), LABELS)
    assert caught.value.where == "p.md: line 1"


def test_a_label_that_looks_like_a_gap_is_text():
    assert flatten(make_prompt("{{ labels[0] }} {{ input }}"), ("<field-0-0>",)) == ["<field-0-0> ", ["input"]]
