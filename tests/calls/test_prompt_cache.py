"""Marks for the provider's prompt cache, and what the prompts of a candidate share."""

from __future__ import annotations

import datetime as dt
import json
import random
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.calls import Endpoint, Request
from safetycatch.calls.prompt_cache import floor_tokens, marked, sharing_of, takes_marks

HERE = Endpoint("gpu", "direct", "http://gpu/v1")
RULES = "\n".join(f"Rule {number}: route what is about thing {number} to team {number}." for number in range(120))
QUERIES = [f"ticket {number}: the {number * 7919 % 1000}th thing is broken" for number in range(20)]


def ask(*contents: str, **more: Any) -> Request:
    roles = ["system", *["user", "assistant"] * len(contents)]
    messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
    return Request(HERE, {"model": "m", "messages": messages, **more}, "c", "1")


def sharing(requests: list[Request]):
    found = sharing_of(requests)
    assert found is not None
    return found


# -- marks ------------------------------------------------------------------------------------------------------------


def test_the_floor_is_the_models_own() -> None:
    assert floor_tokens("anthropic/claude-sonnet-4-5") == 1_024
    assert floor_tokens("anthropic/claude-haiku-4-5") == 4_096
    assert floor_tokens("openai/gpt-4o-mini") == floor_tokens("gpu/unknown") == 1_024


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("anthropic/claude-sonnet-4-5", True),
        ("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", True),
        ("vertex_ai/claude-sonnet-4-5", True),
        ("anthropic/claude-unknown", False),
        ("openai/gpt-4o-mini", False),
        ("gemini/gemini-2.5-pro", False),
        ("openrouter/anthropic/claude-sonnet-4.5", False),
    ],
)
def test_only_claudes_that_the_list_knows_are_marked(model: str, takes: bool) -> None:
    assert takes_marks(Endpoint("x", "litellm"), model) is takes
    assert not takes_marks(HERE, model)


def test_the_end_of_the_stable_start_is_marked() -> None:
    messages = [{"role": role, "content": text} for role, text in [("system", "p" * 3072), ("user", "q")]]
    found = marked(messages, 1, 1_024)
    block = {"type": "text", "text": "p" * 3072, "cache_control": {"type": "ephemeral"}}
    assert found == [{"role": "system", "content": [block]}, messages[1]]
    assert marked(messages, 1, 1_025) == marked(messages, 0, 1) == messages


def test_an_empty_end_takes_no_mark() -> None:
    turns = [("system", "p" * 99), ("user", "q"), ("assistant", "")]
    messages = [{"role": role, "content": text} for role, text in turns]
    assert isinstance(marked(messages, 3, 1)[1]["content"], list)
    assert marked(messages, 3, 1)[2] == messages[2]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6), st.integers(0, 6), st.integers(0, 40))
def test_a_mark_changes_no_text(texts: list[str], n_stable: int, floor: int) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    found = marked(messages, n_stable, floor)
    said = [
        message["content"] if isinstance(message["content"], str) else message["content"][0]["text"]
        for message in found
    ]
    assert said == texts
    assert sum(isinstance(message["content"], list) for message in found) <= 1


# -- what prompts share -----------------------------------------------------------------------------------------------


def test_a_stable_start_is_shared_whole() -> None:
    found = sharing([ask(RULES, query) for query in QUERIES])
    assert found.start >= len(RULES) // 4
    assert found.common <= found.start
    assert found.n_prompts == 20


def test_rules_after_the_query_are_common_and_not_shared() -> None:
    found = sharing([ask("Route it.", f"{query}\n\n{RULES}") for query in QUERIES])
    assert found.start < 20
    assert found.common >= 0.95 * len(RULES) // 4


@pytest.mark.parametrize(
    ("stamp", "kind"),
    [
        (lambda i: (dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=i)).isoformat(), "a time"),
        (lambda i: str(uuid.UUID(int=random.Random(i).getrandbits(128))), "an identifier"),
        (lambda i: (dt.date(2026, 1, 1) + dt.timedelta(days=i)).isoformat(), "a date"),
        (lambda i: f"customer{i}", "text that differs from row to row"),
    ],
)
def test_what_breaks_the_start_is_told_without_being_shown(stamp, kind: str) -> None:
    requests = [ask(f"Asked {stamp(i)}. Answer with one word. {RULES}", query) for i, query in enumerate(QUERIES)]
    found = sharing(requests)
    assert found.start < 20
    assert found.common >= 0.9 * len(RULES) // 4
    assert found.parts_at == kind


def test_shots_in_another_order_for_every_query_are_common_and_not_shared() -> None:
    shots = [(f"example {i} " + "word " * 80, f"label{i}") for i in range(12)]

    def shuffled(i: int) -> Request:
        mixed = random.Random(i).sample(shots, len(shots))
        return ask("Route it.", *(text for shot in mixed for text in shot), QUERIES[i])

    found = sharing([shuffled(i) for i in range(20)])
    same = sharing([ask("Route it.", *(text for shot in shots for text in shot), query) for query in QUERIES])
    assert found.common > 4 * found.start
    assert same.start >= found.common


def test_tools_come_first_in_the_cache() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": RULES}}]
    assert sharing([ask("x", query, tools=tools) for query in QUERIES]).start >= len(json.dumps(tools)) // 4


def test_marks_do_not_change_what_is_shared() -> None:
    plain = [ask(RULES, query) for query in QUERIES]
    cached = [Request(HERE, {**one.body, "messages": marked(one.body["messages"], 1, 1)}, "c", "1") for one in plain]
    assert sharing(plain) == sharing(cached)


def test_one_prompt_shares_nothing() -> None:
    assert sharing_of([ask(RULES, "x")] * 3) is None
    assert sharing_of([]) is None


@given(st.lists(st.text(max_size=60), min_size=2, max_size=8, unique=True))
def test_a_share_is_never_more_than_the_prompt(texts: list[str]) -> None:
    found = sharing_of([ask("x", text) for text in texts])
    assert found is None or 0 <= found.start <= found.tokens + 1
