"""Tool calls and structured answers in OpenAI's shape."""

import json

import pytest

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME = {"type": "function", "function": {"name": "time"}}
HELLO = ("user", "Paris")


def call_of(body):
    choice = body["choices"][0]
    (found,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"], found["type"]) == ("tool_calls", None, "function")
    return found["function"]["name"], json.loads(found["function"]["arguments"])


def test_the_first_tool_is_called_with_arguments_that_fit(plain, chat):
    body = chat(plain, "echo", HELLO, tools=[WEATHER, TIME])[1]
    assert call_of(body) == ("weather", {"city": "Paris"})
    assert body == chat(plain, "echo", HELLO, tools=[WEATHER, TIME])[1] | {"id": body["id"]} | {
        "created": body["created"],
        "choices": body["choices"],
    }


def test_the_forced_tool_is_called(plain, chat):
    forced = {"type": "function", "function": {"name": "time"}}
    assert call_of(chat(plain, "echo", HELLO, tools=[WEATHER, TIME], tool_choice=forced)[1])[0] == "time"
    assert call_of(chat(plain, "echo", HELLO, tools=[WEATHER], tool_choice="required")[1])[0] == "weather"


def test_no_tool_is_called_where_none_may_be(plain, chat):
    body = chat(plain, "echo", HELLO, tools=[WEATHER], tool_choice="none")[1]
    assert body["choices"][0]["message"]["content"] == "Paris"


@pytest.mark.parametrize(
    "wrong",
    [
        {"tools": [1]},
        {"tools": [{"function": {}}]},
        {"tools": [WEATHER], "tool_choice": {"function": {"name": "x"}}},
        {"tools": [WEATHER], "tool_choice": "sometimes"},
        {"response_format": {"type": "xml"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
    ],
)
def test_wrong_tools_and_formats_are_400(plain, chat, wrong):
    assert chat(plain, "echo", HELLO, **wrong)[0] == 400


def test_a_structured_answer_fits_its_schema(plain, chat):
    schema = {"type": "object", "properties": {"label": {"enum": ["Rome", "Paris"]}}, "required": ["label"]}
    asked = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema}}
    content = [
        chat(plain, "echo", HELLO, response_format=wanted)[1]["choices"][0]["message"]["content"]
        for wanted in (asked, {"type": "json_object"}, {"type": "text"})
    ]
    assert (json.loads(content[0]), json.loads(content[1]), content[2]) == (
        {"label": "Paris"},
        {"answer": "Paris"},
        "Paris",
    )


def test_a_violation_of_the_schema_can_be_scripted(faulty, chat):
    schema = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
    asked = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema}}
    with faulty({"kind": "off_schema"}) as server:
        structured, loose, called = (
            chat(server, "echo", HELLO, **wanted)[1]["choices"][0]["message"]
            for wanted in (
                {"response_format": asked},
                {"response_format": {"type": "json_object"}},
                {"tools": [WEATHER]},
            )
        )
    assert json.loads(structured["content"]) == {"unexpected": "Paris"}
    assert loose["content"] == "Paris"
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"unexpected": "Paris"}


def test_arguments_beyond_max_tokens_are_cut(plain, chat):
    choice = chat(plain, "echo", HELLO, tools=[WEATHER], max_tokens=2)[1]["choices"][0]
    assert (choice["finish_reason"], choice["message"]["tool_calls"][0]["function"]["arguments"]) == (
        "length",
        '{"city":',
    )
