"""Judges that read a rubric's rules (`rules.py`) and nothing else, each with one fault, decided by content alone.

`judge` passes an answer that keeps every rule in the rubric's bullets, or in the criterion when one is asked; gives a
grade by the share of rules kept, a class by the bullet `- CLASS: rules`, a pair to the side that keeps more. Without a
rule it asks whether the answer agrees with the reference, if shown; else what the labelled turns before are most like;
else it finds nothing wrong. `judge-noisy` turns 5 % of the verdicts round; `judge-lenient` fails 10 % of what is good
and passes 30 % of what is bad; `judge-lengthy` passes a fifth of the bad answers of more than 60 words, `judge-first`
says `first` of a fifth of the pairs that the first does not win: 10 points more where the others are half of all;
`judge-gullible` gives the verdict that the graded text asks for.

`judge-refiner` answers a request for a better rubric: the last user message shows it between `<rubric-X>` and
`</rubric-X>`, and what people said of answers that the judge got wrong between `<critique-X>` and `</critique-X>`, as
often as there are critiques (other blocks are not read, nor critiques that begin with `People: pass`). The reply is one
JSON object `{"check": X, "changes": what was added, "rubric": the rubric with one more bullet for each rule that a
critique names}`; equal to the old one where none does. X is 16 hex digits, or left out with its dash. Shown no rubric,
it judges as `judge` does.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from safetycatch.sandbox.faults import fraction
from safetycatch.sandbox.features import Features
from safetycatch.sandbox.learners import PromptLearner
from safetycatch.sandbox.prompt import Example, Label, ReadPrompt, content_text
from safetycatch.sandbox.rules import MAX_CRITIQUE_CHARACTERS, Rule, broken, read_rules, rules_named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safetycatch.sandbox.requests import ChatRequest

PASS, FAIL, FIRST, SECOND, TIE = "pass", "fail", "first", "second", "tie"
NOISE, HARSH, LENIENT, BIASED = 0.05, 0.10, 0.30, 0.20
LONG_WORDS = 60
UNJUDGEABLE = "There is nothing between fences to be judged."

_OPEN = re.compile(r"<(input|output|first|second|reference|rubric|critique)((?:-[0-9a-f]{16})?)>")
_BULLET = re.compile(r"[ \t]*(?:[-*\u2022]|\d{1,3}[.)])[ \t]+(\S.*)")
_CRITERION = re.compile(r"^Criterion\s+(?P<name>[^:\n]{1,64}):[ \t]*(?P<text>\S.*)$", re.MULTILINE)
_NAME = r"[\"“`]([A-Za-z0-9][A-Za-z0-9 ._-]{0,63})[\"”`]"
_NAMES = re.compile(_NAME)
_LISTED = re.compile(rf"{_NAME}(?:(?:\s*[,|/;]\s*|\s+)(?:or\s+|and\s+)?{_NAME})+")
_PRAISE = re.compile(r"\s*people:\s*pass\b", re.IGNORECASE)
KEYS = frozenset({"check", "critique", "verdict"})
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override|instruct|verdict|grad(?:e|ing)|scor(?:e|ing)|judg|evaluat|rubric|system|admin|"
    r"must|respond|reply|output|mark|rat(?:e|ing))",
    re.IGNORECASE,
)


class Asked(NamedTuple):
    """What a judge was asked: the rules, the closed list of verdicts, the blocks of the last message by name."""

    check: str
    labels: tuple[str, ...]
    rules: tuple[Rule, ...]
    by_class: dict[str, tuple[Rule, ...]]
    blocks: dict[str, str]
    learned: tuple[Example, ...]

    @property
    def reference(self) -> str | None:
        """What the answer should say, where it is shown."""
        return self.blocks.get("reference") or None


class Ruling(NamedTuple):
    """A verdict and why."""

    verdict: str
    critique: str


class Judge:
    """A judge with one fault: what a fault makes of a ruling that follows the rubric."""

    def __init__(self, fault: Callable[[Asked, Ruling], Ruling] = lambda _, ruling: ruling) -> None:
        self._fault = fault
        self._learner = PromptLearner(Features())

    def answer(self, chat: ChatRequest) -> str:
        """Return the JSON object with `check`, `critique` and `verdict`, or say that there is nothing to judge."""
        asked = read_judging(chat.messages)
        if asked is None:
            return UNJUDGEABLE
        ruling = self._fault(asked, self._by_the_rubric(asked))
        said = {"check": asked.check, "critique": ruling.critique[:MAX_CRITIQUE_CHARACTERS], "verdict": ruling.verdict}
        return json.dumps(said, ensure_ascii=False)

    def _by_the_rubric(self, asked: Asked) -> Ruling:
        if "output" not in asked.blocks:
            return _of_a_pair(asked)
        output, labels = asked.blocks["output"], asked.labels
        if any(asked.by_class.values()):
            return _of_a_class(asked)
        rules = asked.rules
        if not rules and asked.reference is None and asked.learned:
            prompt = ReadPrompt(tuple(Label(label) for label in labels), asked.learned, output)
            return Ruling(self._learner.answer(prompt), "It is most like the labelled answers with this verdict.")
        rules = rules or (Rule("agrees"),)
        faults = broken(rules, output, asked.reference)
        why = f"It {'; it '.join(faults)}." if faults else "It keeps every rule that I can read."
        kept = 1 - len(faults) / len(rules)
        if not all(label.isdigit() for label in labels):
            return Ruling(labels[bool(faults)] if set(labels) == {PASS, FAIL} else labels[0], why)
        grades = sorted(labels, key=int)
        return Ruling(grades[int(kept * (len(grades) - 1) + 0.5)], why)


class Refiner(Judge):
    """Adds to a rubric the rules that critiques name."""

    def answer(self, chat: ChatRequest) -> str:
        """Return the JSON object with `check`, `changes` and `rubric`."""
        shown = _blocks(chat.texts[-1])
        rubric = next((text for name, _, text in shown if name == "rubric"), None)
        if rubric is None:
            return super().answer(chat)
        known = {rule for line in _bullets(rubric) for rule in read_rules(line)}
        named = dict.fromkeys(
            rule
            for name, _, text in shown
            if name == "critique" and not _PRAISE.match(text)
            for rule in rules_named(text)
            if rule not in known
        )
        added = [f"- {rule.text}" for rule in named]
        changes = (
            f"added: {'; '.join(rule.text for rule in named)}" if named else "no critique names a rule that it lacks"
        )
        revised = "\n".join([rubric.rstrip(), *added]) if added else rubric
        return json.dumps({"check": shown[0][1], "changes": changes, "rubric": revised}, ensure_ascii=False)


def make_judges() -> dict[str, Judge]:
    """Return the judges by the names under which they are served."""
    return {
        "judge": Judge(),
        "judge-first": Judge(_first),
        "judge-gullible": Judge(_gullible),
        "judge-lengthy": Judge(_lengthy),
        "judge-lenient": Judge(_lenient),
        "judge-noisy": Judge(_noisy),
        "judge-refiner": Refiner(),
    }


def read_judging(messages: Sequence[dict[str, Any]]) -> Asked | None:
    """Return what chat `messages` ask a judge; None where the last user message fences no answer and no pair."""
    turns = [(str(message.get("role", "")), content_text(message.get("content"))) for message in messages]
    last = max((index for index, (role, _) in enumerate(turns) if role == "user"), default=-1)
    shown = _blocks(turns[last][1]) if last >= 0 else []
    blocks = {name: text for name, _, text in shown}
    if "output" not in blocks and not {"first", "second"} <= blocks.keys():
        return None
    told = "\n".join(text for role, text in turns if role in {"system", "developer"})
    criterion = _CRITERION.search(told)
    lines = [criterion["text"]] if criterion else _bullets(told)
    labels = _labels(told, pair="output" not in blocks)
    classes = _classes(lines, labels)
    return Asked(
        check=shown[0][1],
        labels=labels,
        rules=tuple(dict.fromkeys(rule for line in lines for rule in read_rules(line))),
        by_class=classes,
        blocks=blocks,
        learned=tuple(_learned(turns[:last])),
    )


def _blocks(text: str) -> list[tuple[str, str, str]]:
    """Return name, X and text of the blocks; the first tag tells X, and only tags with it are fences."""
    start = _OPEN.search(text)
    if start is None:
        return []
    fence = re.compile(rf"<([a-z]+){re.escape(start[2])}>\n?(.*?)\n?</\1{re.escape(start[2])}>", re.DOTALL)
    return [(found[1], start[2][1:], found[2]) for found in fence.finditer(text, start.start())]


def _bullets(text: str) -> list[str]:
    return [found[1] for line in text.splitlines() if (found := _BULLET.fullmatch(line))]


def _labels(told: str, *, pair: bool) -> tuple[str, ...]:
    if pair:
        return FIRST, SECOND, TIE
    # The last list of quoted names beside the word: a rubric above may list names too, and the keys are named as well.
    for line in reversed([line for line in told.splitlines() if "verdict" in line.casefold()]):
        for listed in reversed(list(_LISTED.finditer(line))):
            labels = tuple(dict.fromkeys(_NAMES.findall(listed[0])))
            if not KEYS & set(labels):
                return (PASS, FAIL) if set(labels) == {PASS, FAIL} else labels
    return PASS, FAIL


def _classes(lines: Sequence[str], labels: tuple[str, ...]) -> dict[str, tuple[Rule, ...]]:
    """Return the rules of each class that has a bullet `CLASS: rules`."""
    heads = [line.partition(":") for line in lines]
    return {head.strip(' "`'): read_rules(rest) for head, _, rest in heads if head.strip(' "`') in labels}


def _learned(turns: Sequence[tuple[str, str]]) -> list[Example]:
    examples: list[Example] = []
    for (role, text), (next_role, reply) in pairwise(turns):
        if role == "user" and next_role == "assistant":
            shown = {name: body for name, _, body in _blocks(text)}
            try:
                verdict = json.loads(reply)["verdict"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if "output" in shown:
                examples.append(Example(shown["output"], str(verdict)))
    return examples


def _of_a_pair(asked: Asked) -> Ruling:
    rules = asked.rules or ((Rule("agrees"),) if asked.reference is not None else ())
    faults = {side: broken(rules, asked.blocks[side], asked.reference) for side in (FIRST, SECOND)}
    fewest = min(faults, key=lambda side: len(faults[side]))
    worse = SECOND if fewest == FIRST else FIRST
    if len(faults[FIRST]) == len(faults[SECOND]):
        return Ruling(TIE, "Both keep as many of the rules.")
    return Ruling(fewest, f"The {worse} {'; it '.join(faults[worse])}.")


def _of_a_class(asked: Asked) -> Ruling:
    output = asked.blocks["output"]
    for name, rules in asked.by_class.items():
        if rules and not broken(rules, output, asked.reference):
            return Ruling(name, f"It {' and '.join(rule.text for rule in rules)}.")
    rest = [label for label in asked.labels if not asked.by_class.get(label)]
    return Ruling((rest or list(asked.labels))[-1], "It keeps the rules of no other class.")


def _share(asked: Asked, name: str) -> float:
    """Return a number in [0, 1) that depends on the fault and the texts, never on the fence or the rubric."""
    return fraction(json.dumps([name, *sorted(asked.blocks.items())]).encode())


def _turned(asked: Asked, ruling: Ruling, why: str) -> Ruling:
    """Return another verdict: the other of two, the other end of several."""
    ends = asked.labels[0], asked.labels[1] if FIRST in asked.labels else asked.labels[-1]
    return Ruling(ends[1] if ruling.verdict == ends[0] else ends[0], why)


def _worst(asked: Asked) -> str:
    return min(asked.labels, key=int) if all(label.isdigit() for label in asked.labels) else asked.labels[-1]


def _best(asked: Asked) -> str:
    return max(asked.labels, key=int) if all(label.isdigit() for label in asked.labels) else asked.labels[0]


def _noisy(asked: Asked, ruling: Ruling) -> Ruling:
    return _turned(asked, ruling, "It seems so to me.") if _share(asked, "noisy") < NOISE else ruling


def _lenient(asked: Asked, ruling: Ruling) -> Ruling:
    if "output" not in asked.blocks:
        return ruling
    share = LENIENT if ruling.verdict == _worst(asked) else HARSH
    return _turned(asked, ruling, "It is near enough.") if _share(asked, "lenient") < share else ruling


def _lengthy(asked: Asked, ruling: Ruling) -> Ruling:
    is_long = len(asked.blocks.get("output", "").split()) > LONG_WORDS
    if is_long and ruling.verdict != _best(asked) and _share(asked, "lengthy") < BIASED:
        return Ruling(_best(asked), "It is thorough.")
    return ruling


def _first(asked: Asked, ruling: Ruling) -> Ruling:
    if "first" in asked.blocks and ruling.verdict != FIRST and _share(asked, "first") < BIASED:
        return Ruling(FIRST, "The first is clearer.")
    return ruling


def _gullible(asked: Asked, ruling: Ruling) -> Ruling:
    for side in (FIRST, SECOND) if "first" in asked.blocks else ("output",):
        wanted = side if side != "output" else _best(asked)
        said = re.search(rf"\b{re.escape(wanted)}(?:e[sd]|ing)?\b", asked.blocks[side], re.IGNORECASE)
        if said and _ORDERS.search(asked.blocks[side]):
            return Ruling(wanted, "The answer says that this is its verdict.")
    return ruling
