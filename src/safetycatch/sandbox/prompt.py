"""What a model can read in a chat request: the labels it may answer with, the examples shown, and the query."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LABELS = 1_000
MAX_LABEL_CHARACTERS = 80
MAX_LABEL_WORDS = 8
FEWEST_IN_A_LIST = 3


class Label(NamedTuple):
    """A label's exact text and what the instructions say about it."""

    name: str
    description: str = ""


class Example(NamedTuple):
    """An input shown in the prompt with the answer it was given."""

    input: str
    answer: str


class ReadPrompt(NamedTuple):
    """The parts of a chat request: labels without repeats, examples in order, the query last."""

    labels: tuple[Label, ...]
    examples: tuple[Example, ...]
    query: str


# `<input>` or `<input-9f2c>`; shorter tokens stand in rules that speak about fences.
_FENCED = re.compile(
    r"<((?:input|text|query|document|ticket|message|data)(?:-\w{4,64})?)>\n?(.*?)\n?</\1>", re.DOTALL | re.IGNORECASE
)
_ANSWER = re.compile(r"\s*(?:answer|label|output|category|class|intent|response)\s*:[ \t]*(\S[^\n]*)", re.IGNORECASE)
_FIELD = re.compile(
    r"^[ \t]*(?:input|text|ticket|message|query|question|sentence|utterance|document)[ \t]*:[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER_LINE = re.compile(
    r"^[ \t]*(?:answer|label|output|category|class|intent|response)[ \t]*:[ \t]*(.*)$", re.IGNORECASE | re.MULTILINE
)
_BULLET = re.compile(r"[ \t]*(?:[-*\u2022]|\d{1,3}[.)])[ \t]+(\S.*)")
_ASKS = r"(?:labels?|categor(?:y|ies)|class(?:es)?|intents?|options?|queues?|topics?|one of|choose|among)"
_LEAD = re.compile(rf"\b{_ASKS}\b[^:\n]{{0,80}}:[ \t]*$", re.IGNORECASE)
_INLINE = re.compile(rf"\b{_ASKS}\b[^:\n]{{0,80}}:[ \t]*(\S[^\n]*)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?:\s|$)")
_SEPARATOR = re.compile(r"\s*[,;|]\s*(?:(?:or|and)\s+)?|\s+(?:or|and)\s+", re.IGNORECASE)
_DESCRIBED = re.compile(r"\s*(?::|\s[-\u2013\u2014])\s+")
_MARKS = " \t\r\"'`*[](){}"


def read_prompt(messages: Sequence[dict[str, Any]]) -> ReadPrompt:
    """Return the labels, examples and query of chat `messages` (`role` and text `content`).

    Labels come from instructions only, never from fenced text, which is data; then from the examples' answers.
    """
    turns = [(str(message.get("role", "")), content_text(message.get("content"))) for message in messages]
    last = max((index for index, (role, _) in enumerate(turns) if role == "user"), default=-1)
    told = [text for role, text in turns if role in {"system", "developer"}]
    examples: list[Example] = []
    beside: list[str] = []
    for index in range(last):
        (role, text), (next_role, answer) = turns[index], turns[index + 1]
        if role == "user" and next_role == "assistant":
            parts = _parts(text)
            examples.append(Example(parts.query, answer.strip()))
            beside.append(parts.instructions)
    query = ""
    if last >= 0:
        final = _parts(turns[last][1])
        beside.append(final.instructions)
        examples.extend(final.examples)
        query = final.query
    # A user's words may hold a list by chance: they count as instructions only where the system gave no labels.
    labels = _named(told) or _named(beside)
    for example in examples:
        labels.setdefault(example.answer, Label(example.answer))
    return ReadPrompt(tuple(labels.values())[:MAX_LABELS], tuple(examples), query)


def query_of(text: str) -> str:
    """Return the query in one user message, without fences and instructions."""
    return _parts(text).query


def content_text(content: Any) -> str:
    """Return a message's text: a string, or the text parts of a list joined by line ends; anything else is empty."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def _named(texts: Sequence[str]) -> dict[str, Label]:
    labels: dict[str, Label] = {}
    for text in dict.fromkeys(texts):
        for label in _labels(text):
            labels.setdefault(label.name, label)
    return labels


class _Parts(NamedTuple):
    instructions: str
    examples: tuple[Example, ...]
    query: str


def _parts(text: str) -> _Parts:
    """Split a user's message into instructions, written-out examples and the query."""
    fenced = list(_FENCED.finditer(text))
    if fenced:
        return _fenced_parts(text, fenced)
    fields = list(_FIELD.finditer(text))
    if not fields:
        # Instructions, a blank line, the query: the plainest prompt there is.
        head, _, tail = text.rpartition("\n\n")
        return _Parts(head, (), tail) if _labels(head) else _Parts("", (), text)
    examples: list[Example] = []
    query = ""
    for field, following in zip(fields, [*fields[1:], None], strict=True):
        body = text[field.end() : following.start() if following else len(text)]
        answer = _ANSWER_LINE.search(body)
        if answer and answer[1].strip():
            examples.append(Example(body[: answer.start()].strip(), answer[1].strip()))
        else:
            query = (body[: answer.start()] if answer else body).strip()
    return _Parts(text[: fields[0].start()], tuple(examples), query)


def _fenced_parts(text: str, fenced: list[re.Match[str]]) -> _Parts:
    outside: list[str] = []
    examples: list[Example] = []
    # An input may have several fields, each in a fence; an answer ends the example they make.
    fields: list[str] = []
    at = 0
    for fence in fenced:
        outside.append(text[at : fence.start()])
        fields.append(fence[2].strip())
        at = fence.end()
        answer = _ANSWER.match(text, at)
        if answer:
            examples.append(Example("\n".join(fields), answer[1].strip()))
            fields, at = [], answer.end()
    outside.append(text[at:])
    return _Parts("\n".join(outside), tuple(examples), "\n".join(fields))


@lru_cache(maxsize=256)
def _labels(text: str) -> tuple[Label, ...]:
    """Return the labels an instruction lists: lines below a sentence that asks for one, after its colon, or bullets."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if _LEAD.search(line):
            listed = _listed_lines(lines[index + 1 :])
            if len(listed) > 1:
                return tuple(listed)
        inline = _INLINE.search(line)
        if inline:
            listed = [_label(part) for part in _SEPARATOR.split(_SENTENCE_END.split(inline[1].strip())[0])]
            named = tuple(label for label in listed if label)
            if len(named) > 1:
                return named
    best: list[Label] = []
    block: list[Label] = []
    for line in [*lines, ""]:
        bullet = _BULLET.fullmatch(line)
        label = _label(bullet[1]) if bullet else None
        if label:
            block.append(label)
        else:
            best, block = max(best, block, key=len), []
    return tuple(best) if len(best) > 1 else _after_a_colon(lines)


def _after_a_colon(lines: list[str]) -> tuple[Label, ...]:
    """Return a list of short items at the end of a line, as in "Name the team: billing, delivery, refund"."""
    for line in lines:
        _, colon, rest = line.rpartition(":")
        parts = [_label(part) for part in _SEPARATOR.split(rest.strip().removesuffix("."))] if colon else []
        named = tuple(label for label in parts if label)
        if len(named) >= FEWEST_IN_A_LIST and len(named) == len(parts):
            return named
    return ()


def _listed_lines(lines: list[str]) -> list[Label]:
    listed: list[Label] = []
    bulleted = False
    for line in lines:
        if not line.strip():
            if listed:
                break
            continue
        bullet = _BULLET.fullmatch(line)
        label = _label(bullet[1] if bullet else line)
        if not label or (listed and bool(bullet) != bulleted):
            break
        bulleted = bool(bullet)
        listed.append(label)
    return listed


def _label(text: str) -> Label | None:
    described = _DESCRIBED.split(text.strip(), maxsplit=1)
    name = described[0].strip(_MARKS)
    if not name or len(name) > MAX_LABEL_CHARACTERS or len(name.split()) > MAX_LABEL_WORDS or name.endswith((".", ":")):
        return None
    return Label(name, described[1].strip(_MARKS) if len(described) > 1 else "")
