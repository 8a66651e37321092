"""The form in which two texts are the same text, and the ways in which nearly equal texts differ."""

from __future__ import annotations

import difflib
import html
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

MAX_ENTITY_WORDS = 6
MIN_SYMBOLS = 3
SAME_WORD_RATIO = 0.75
LONG_RUN_WORDS = 4
COMMON_GRAMS = 0.4
MIN_FRAME_TEXTS = 20
MIN_FRAME_WORDS = 3
FRAME_SHARE = 0.95

_TAG = re.compile(
    r"<!--.*?-->|<!doctype[^<>]*>|</?(?:a|abbr|article|b|big|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|"
    r"font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|meta|nav|ol|option|"
    r"p|pre|q|s|samp|script|section|select|small|span|strike|strong|style|sub|sup|table|tbody|td|textarea|tfoot|th|"
    r"thead|title|tr|tt|u|ul|var|wbr)(?:\s[^<>]*)?/?>",
    re.IGNORECASE | re.DOTALL,
)
_ACCENTS = (
    (0x0300, 0x036F),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0xFE00, 0xFE0F),
    (0xFE20, 0xFE2F),
    (0xE0100, 0xE01EF),
)


# A bracket or operator between spaces, no bullet or quotation mark of a line; and an operator between two numbers.
_SYMBOL = r"[-+*/=<>\[\](){}^%~]{1,2}"
_FREE_SYMBOL = re.compile(rf"(?<!\S)(?!(?<![^\n])[-*>+]){_SYMBOL}(?!\S)")
_ONLY_SYMBOL = re.compile(_SYMBOL)
_OPERATION = re.compile(r"(?<=\d)(?:\s*([+*=<>^])\s*|\s+([-/])\s+)(?=[-(]?\d)")


_NUMBERS = re.compile(r"\d+(?: \d+)*")
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")


class _Fold(dict[int, str]):
    """Translation of folded characters: other than letters, digits and vowel signs, they become a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        # Vowel signs of Thai, Devanagari and others are combining marks, yet part of their words.
        self[code] = character if character.isalnum() or unicodedata.category(character)[0] == "M" else " "
        return self[code]


class _Strip(dict[int, str]):
    """Translation of decomposed characters: accents and format characters (zero-width and others) vanish."""

    def __missing__(self, code: int) -> str:
        accent = any(low <= code <= high for low, high in _ACCENTS)
        self[code] = "" if accent or unicodedata.category(chr(code)) == "Cf" else chr(code)
        return self[code]


_FOLD, _STRIP = _Fold(), _Strip()
_ASCII = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}


def normalise(text: str) -> str:
    """Return the form in which equal texts are the same text.

    HTML is unescaped and its tags dropped, then NFKC, case folding, accents and zero-width characters dropped, every
    run of other characters than letters, digits and vowel signs one space. Where symbols carry the meaning they stay:
    operators between numbers, three and more free-standing brackets or operators, and texts without any letter.
    """
    plain = text
    if "&" in plain:
        plain = html.unescape(plain)
    if "<" in plain:
        plain = _TAG.sub(" ", plain)
    if not plain.isascii():
        folded = unicodedata.normalize("NFKC", plain).casefold()
        plain = unicodedata.normalize("NFC", unicodedata.normalize("NFD", folded).translate(_STRIP))
    if _OPERATION.search(plain) or len(_FREE_SYMBOL.findall(plain)) >= MIN_SYMBOLS:
        spaced = _OPERATION.sub(lambda match: f" {match[1] or match[2]} ", plain)
        return " ".join(
            filter(None, (part if _ONLY_SYMBOL.fullmatch(part) else _words(part) for part in spaced.split()))
        )
    return _words(plain) or " ".join(plain.casefold().split())


def _words(plain: str) -> str:
    return " ".join(plain.translate(_ASCII if plain.isascii() else _FOLD).split())


def token_bag(normal: str) -> str:
    """Return the words of a normal form in sorted order: equal for texts whose words were shuffled."""
    return " ".join(sorted(normal.split()))


@dataclass(frozen=True, slots=True)
class Frame:
    """The words with which nearly all texts begin and end (an instruction around each input): no sign of a leak."""

    before: str = ""
    after: str = ""

    @classmethod
    def of(cls, normals: Iterable[str]) -> Frame:
        """Return the frame that 95 % of at least 20 different normal forms share."""
        distinct = sorted(set(normals))
        if len(distinct) < MIN_FRAME_TEXTS:
            return cls()
        before = _shared_start(distinct)
        mirrored = sorted(" ".join(reversed(text.removeprefix(before).split())) for text in distinct)
        return cls(before, " ".join(reversed(_shared_start(mirrored).split())))

    def strip(self, normal: str) -> str:
        """Return a normal form without the frame; whole when nothing else is in it."""
        return normal.removeprefix(self.before).removesuffix(self.after).strip() or normal


def _shared_start(ordered: list[str]) -> str:
    """Return the longest run of whole words that starts 95 % of sorted texts; empty below 3 words."""
    words = ordered[len(ordered) // 2].split()
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        start = " ".join(words[:middle]) + " "
        if sum(f"{text} ".startswith(start) for text in ordered) >= FRAME_SHARE * len(ordered):
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low]) if low >= MIN_FRAME_WORDS else ""


def without_digits(normal: str) -> str:
    """Return a normal form with every number as `0`: equal for texts that differ only in numbers."""
    return _NUMBERS.sub("0", normal)


def same_form(left: str, right: str) -> bool:
    """Return whether two texts are equal but for numbers and one run of words: the same form about something else.

    The runs must differ in substance: each holds a digit, or is a name (capital letters where the text around it has
    none, and no second spelling of the other), or both are four and more words with little in common.
    """
    a, b = _WORD.findall(left), _WORD.findall(right)
    x, y = ([_DIGITS.sub("0", word.casefold()) for word in words] for words in (a, b))
    shorter = min(len(x), len(y))
    before = next((place for place in range(shorter) if x[place] != y[place]), shorter)
    after = next((place for place in range(shorter - before) if x[-1 - place] != y[-1 - place]), shorter - before)
    run_a, run_b = a[before : len(a) - after], b[before : len(b) - after]
    if not (run_a and run_b):
        return False
    spelled = " ".join(run_a).casefold(), " ".join(run_b).casefold()
    if min(len(run_a), len(run_b)) >= LONG_RUN_WORDS and _common(*spelled) < COMMON_GRAMS:
        return True
    if not (_is_entity(run_a, a, before) and _is_entity(run_b, b, before)):
        return False
    return all(_DIGITS.search(text) for text in spelled) or (
        difflib.SequenceMatcher(None, *spelled, autojunk=False).ratio() < SAME_WORD_RATIO
    )


def _common(left: str, right: str) -> float:
    """Return the Jaccard similarity of the character trigrams of two short texts."""
    a, b = ({text[place : place + 3] for place in range(max(1, len(text) - 2))} for text in (left, right))
    return len(a & b) / len(a | b)


def _is_entity(run: list[str], words: list[str], before: int) -> bool:
    if len(run) > MAX_ENTITY_WORDS:
        return False
    if any(_DIGITS.search(word) for word in run):
        return True
    around = [word for word in (*words[1:before], *words[before + len(run) :]) if word[0].isalpha()]
    if 2 * sum(word[0].isupper() for word in around) >= len(around):
        return False  # a text in capitals, or a title: capitals say nothing
    inner = run if before else run[1:]  # every sentence starts with a capital
    return bool(inner) and all(word[0].isupper() for word in inner)


def comparison_texts(examples: pa.Table) -> list[str]:
    """Return the text by which each row of an `examples` table is compared: values of a JSON input, what users said."""
    kinds, inputs = examples["input_kind"].to_pylist(), examples["input"].to_pylist()
    return [
        text
        if kind == "text"
        else "\n".join(_leaves(_user_parts(json.loads(text)) if kind == "messages" else json.loads(text)))
        for kind, text in zip(kinds, inputs, strict=True)
    ]


def _user_parts(messages: list[dict[str, Any]]) -> list[Any]:
    said = [message.get("content") for message in messages if message.get("role") == "user"]
    return said or [message.get("content") for message in messages]


def _leaves(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [] if value is None else [json.dumps(value)]
