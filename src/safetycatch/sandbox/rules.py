"""Rules about an answer that a sandbox judge can read and check: what it mentions, its length, its form, its reference.

Read in the bullets of a rubric and in the text of a criterion: `mentions "X"` (several joined by `or`: any of them;
by `and` or commas: each), `does not mention "X"`, `at most N words`, `at least N words`, `at most N sentences`, `in one
sentence`, `valid JSON`, `equals the reference`, `agrees with the reference` (contains its words in order). Also with
contain, include, say, name; "X" in straight, curly or code quotes; case and spaces do not count.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from safetycatch.sandbox.features import normal_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_RULES = 50
MAX_CRITIQUE_CHARACTERS = 300

Kind = Literal["mentions", "omits", "most_words", "least_words", "most_sentences", "json", "equals", "agrees"]

Patterns = tuple[tuple[Kind, re.Pattern[str]], ...]


class Rule(NamedTuple):
    """One rule: its `kind`, the texts it speaks of (any of them will do), the number it names."""

    kind: Kind
    texts: tuple[str, ...] = ()
    number: int = 0

    @property
    def text(self) -> str:
        """The rule as a bullet that `read_rules` reads."""
        quoted = " or ".join(f'"{text}"' for text in self.texts)
        return {
            "mentions": f"mentions {quoted}",
            "omits": f"does not mention {quoted}",
            "most_words": f"has at most {self.number} words",
            "least_words": f"has at least {self.number} words",
            "most_sentences": "is one sentence" if self.number == 1 else f"has at most {self.number} sentences",
            "json": "is valid JSON",
            "equals": "equals the reference",
            "agrees": "agrees with the reference",
        }[self.kind]

    def broken_by(self, output: str, reference: str | None) -> str | None:
        """Return in words how `output` breaks the rule; None where it keeps it, or where no reference is shown."""
        quoted = " or ".join(f'"{text}"' for text in self.texts)
        if self.kind == "mentions":
            return (
                None if any(map(_plain(output).__contains__, map(_plain, self.texts))) else f"should mention {quoted}"
            )
        if self.kind == "omits":
            found = next((text for text in self.texts if _plain(text) in _plain(output)), None)
            return None if found is None else f'should not mention "{found}"'
        if self.kind in {"most_words", "least_words"}:
            words = len(output.split())
            if self.kind == "most_words":
                return f"is longer than {self.number} words ({words})" if words > self.number else None
            return f"is shorter than {self.number} words ({words})" if words < self.number else None
        if self.kind == "most_sentences":
            sentences = len(_SENTENCE.findall(output))
            named = "one sentence" if self.number == 1 else f"{self.number} sentences"
            return f"has more than {named} ({sentences})" if sentences > self.number else None
        if self.kind == "json":
            return None if _is_json(output) else "is not valid JSON"
        if reference is None or agrees(output, reference, exactly=self.kind == "equals"):
            return None
        return "does not equal the reference" if self.kind == "equals" else "does not agree with the reference"


_QUOTED = r"(?:\"[^\"\n]{1,200}\"|“[^”\n]{1,200}”|`[^`\n]{1,200}`)"
_LIST = rf"(?P<texts>{_QUOTED}(?:(?:\s*,\s*(?:or\s+|and\s+)?|\s+or\s+|\s+and\s+){_QUOTED})*)"
_SAYS = (
    r"(?:mention|contain|include|say|name|use)(?:s|ing|ed|d)?(?: of)?"
    r"(?: the words?| the phrase| an?| the| any of| either)?"
)
_NOT = r"(?:(?:does|do|must|should|may|can|shall|will)(?: not|n.t)|cannot|never|without|avoids?|no)"
_NUMBER = r"(?P<number>\d{1,6}|one|two|three|four|five|six|seven|eight|nine|ten|twenty|thirty|forty|fifty|a hundred)"
_NUMBERS = dict(
    zip(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], range(1, 11), strict=True)
) | {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "a hundred": 100}
_MOST = r"(?:at most|no more than|not more than|not longer than|no longer than|up to|a maximum of|within)"
_OVER = r"(?:longer than|more than|over|exceeds|above)"
_LEAST = r"(?:at least|no fewer than|not fewer than|no less than|a minimum of|no shorter than)"
_UNDER = r"(?:shorter than|fewer than|less than|under|below)"
_REFERENCE = r"(?:the |its |with |to )*(?:reference|expected) ?(?:answer|output)?"
_SENTENCE = re.compile(r"[^.!?\s][^.!?]*(?:[.!?]+(?=\s|$)|$|[.!?](?=\S))")


def _compiled(patterns: Sequence[tuple[Kind, str]]) -> Patterns:
    return tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in patterns)


_RULES = _compiled(
    (
        ("omits", rf"{_NOT}\s+{_SAYS}\s+{_LIST}"),
        ("mentions", rf"(?<!\w){_SAYS}\s+{_LIST}"),
        ("most_words", rf"{_MOST}\s+{_NUMBER}\s+words?\b"),
        ("least_words", rf"{_LEAST}\s+{_NUMBER}\s+words?\b"),
        ("most_sentences", rf"{_MOST}\s+{_NUMBER}\s+sentences?\b"),
        ("most_sentences", r"\b(?P<number>one|a single|only one|exactly one)\s+sentence\b"),
        ("json", r"\bvalid\s+JSON\b"),
        ("equals", rf"\b(?:equals?|is the same as|identical)\s+{_REFERENCE}"),
        ("agrees", rf"\b(?:agrees?|match(?:es)?|consistent|in line)\s+{_REFERENCE}"),
    )
)
# A person's critique of an answer that should have failed names what is wrong with it, so its sense is turned round.
_NAMED = _compiled(
    (
        ("omits", rf"(?:should|must|may|can|shall)(?: not|n.t)\s+{_SAYS}\s+{_LIST}"),
        ("omits", rf"(?:never|avoid(?: \w+ing)?)\s+{_SAYS}?\s*{_LIST}"),
        (
            "mentions",
            rf"(?:does not|doesn.t|did not|didn.t|without|no|fails to|forgets to|is not)\s+{_SAYS}\s+{_LIST}",
        ),
        ("mentions", rf"(?:should|must|has to|needs to|ought to)\s+{_SAYS}\s+{_LIST}"),
        ("mentions", rf"(?:missing|lacks?|leaves out|omits)\s+(?:the )?{_LIST}"),
        ("mentions", rf"{_LIST}\s+(?:is|are)\s+(?:missing|absent|not mentioned|left out)"),
        ("omits", rf"(?<!\w)(?:mentions|contains|includes|says|names|uses)\s+{_LIST}"),
        ("most_words", rf"(?:should|must)(?: \w+){{0,4}}\s+{_UNDER}\s+{_NUMBER}\s+words?\b"),
        ("most_words", rf"(?:{_OVER}|{_MOST})\s+{_NUMBER}\s+words?\b"),
        ("least_words", rf"(?:{_UNDER}|{_LEAST})\s+{_NUMBER}\s+words?\b"),
        ("most_sentences", rf"(?:{_OVER}|{_MOST})\s+{_NUMBER}\s+sentences?\b"),
        ("most_sentences", r"\b(?:should|must)(?: \w+)*\s+(?P<number>one|a single)\s+sentence\b"),
        ("json", r"\bvalid\s+JSON\b"),
        ("equals", rf"\b(?:does not|doesn.t|should|must)\s+equal\s+{_REFERENCE}"),
        ("agrees", rf"\b(?:agree|match|consistent|contradicts|differs)(?: from)?\s+{_REFERENCE}"),
    )
)


def read_rules(text: str) -> tuple[Rule, ...]:
    """Return the rules in one bullet or criterion, in the order of the kinds, without repeats."""
    return _read(text, _RULES)


def rules_named(critique: str) -> tuple[Rule, ...]:
    """Return the rules that a person's critique says were broken: `should mention "X"`, `longer than 40 words`."""
    return _read(critique, _NAMED)


def broken(rules: Iterable[Rule], output: str, reference: str | None) -> list[str]:
    """Return in words how `output` breaks each of the rules that it breaks."""
    return [how for rule in rules if (how := rule.broken_by(output, reference))]


def agrees(output: str, reference: str, *, exactly: bool = False) -> bool:
    """Return whether the words of `output` are those of `reference`, or contain them in one piece."""
    said, expected = normal_words(output), normal_words(reference)
    if exactly or not expected:
        return said == expected
    return f" {' '.join(expected)} " in f" {' '.join(said)} "


def _read(text: str, patterns: Patterns) -> tuple[Rule, ...]:
    found: dict[Rule, None] = {}
    for kind, pattern in patterns:
        for match in pattern.finditer(text):
            found.update(dict.fromkeys(_rules_of(kind, match)))
        # What one pattern has read, such as a denial, another must not read again.
        text = pattern.sub(" ; ", text)
    return tuple(found)[:MAX_RULES]


def _rules_of(kind: Kind, match: re.Match[str]) -> list[Rule]:
    named = match.groupdict()
    if named.get("texts"):
        texts = tuple(quoted[1:-1].strip() for quoted in re.findall(_QUOTED, named["texts"]))
        either = kind == "mentions" and re.search(rf"{_QUOTED}\s*,?\s+or\s+", named["texts"], re.IGNORECASE)
        return [Rule(kind, texts)] if either else [Rule(kind, (text,)) for text in texts]
    if named.get("number"):
        number = named["number"].lower()
        return [Rule(kind, (), int(number) if number.isdigit() else _NUMBERS.get(number, 1))]
    return [Rule(kind)]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
