"""Reading labels, numbers, JSON and final answers out of replies: strict, so that no answer is ever guessed.

What cannot be read without a guess is unparsable (None). Negations are not understood: "it is not spam" mentions the
label `spam`.
"""

from __future__ import annotations

import json
import re
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from safetycatch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_REPLY_CHARACTERS = 100_000
MAX_DIGITS = 100
MIN_MENTION = 4  # shorter labels ("no", "A") are words of running text too
_WRAPPING = " \t\r\n\"'`*_~#>()[]{}<>.,;:!?\u00ab\u00bb\u2018\u2019\u201c\u201d"
_MARKER = re.compile(
    r"(?:^|[^\w])(label|answer|category|class|classification|intent|prediction|output|result)"
    r"[\"'*_`]*\s*(?P<sign>:|=|\bis\b)[ \t*_`\"']*([^\n]*)",
    re.IGNORECASE,
)
_BULLET = re.compile(r"\s*(?:[-*+\u2022]|\d{1,3}[.)])\s+")
_LABEL_KEYS = ("label", "answer", "category", "class", "classification", "intent", "prediction", "output", "result")
_LEAD = re.compile(r"([^\n]*?)(?:[,.;:!?](?:\s|$)|\s[-\u2013\u2014]\s|\n|$)")


def parse_label(text: str, labels: Sequence[str], aliases: Mapping[str, str] | None = None) -> str | None:
    """Return the one label that a reply gives, or None when it gives none or several.

    Read in this order, and the first that is there decides: the whole reply; `Label: x` or JSON `{"label": "x"}`; lines
    that are a label; a reply that starts with a label ("Yes, because ..."); labels of 4 characters or more mentioned in
    the text, the longest where they overlap. Case, quotes, Markdown, punctuation, and `_`, `-` or blank between words
    do not matter, unless they alone tell two labels apart. `aliases` maps further names to labels.

    Raises: InputError when an alias stands for something that is no label, or for two things.
    """
    return label_reader(tuple(labels), tuple(sorted((aliases or {}).items()))).read(text)


@lru_cache(maxsize=64)
def label_reader(labels: tuple[str, ...], aliases: tuple[tuple[str, str], ...] = ()) -> LabelReader:
    """Return the reader of one vocabulary; equal vocabularies share one."""
    return LabelReader(labels, aliases)


def _folded(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


class LabelReader:
    """The names of one vocabulary, prepared for reading replies (`parse_label`)."""

    def __init__(self, labels: tuple[str, ...], aliases: tuple[tuple[str, str], ...] = ()) -> None:
        known = set(labels)
        names = {label.strip(): label for label in labels}
        for alias, label in aliases:
            if label not in known:
                raise InputError(f"the alias {alias!r} stands for {label!r}, which is no label")
            if names.setdefault(alias.strip(), label) != label:
                raise InputError(f"the alias {alias!r} stands for {label!r} and is another label itself")
        self._exact = names
        # What a name itself starts or ends with ("C#", "(A)") is no wrapping.
        self._wrapping = "".join(set(_WRAPPING) - {end for name in names if name for end in (name[0], name[-1])})
        # Each form looser than the one before; a form that two labels share tells nothing, and is left out.
        self._cased = _unambiguous((name.casefold(), label) for name, label in names.items())
        self._folded = _unambiguous((_folded(name), label) for name, label in names.items())
        self._mention = _mention_pattern(self._folded)

    def read(self, text: str) -> str | None:
        """Return the reply's label; None when it has none or several."""
        if len(text) > MAX_REPLY_CHARACTERS:
            return None
        whole = self._is_label(text)
        if whole is not None:
            return whole
        lines = {label for line in text.splitlines() if (label := self._is_label(_BULLET.sub("", line, 1))) is not None}
        marked = self._marked(text)
        if marked is not None:
            last = self._is_label(text.strip().rpartition("\n")[2])
            return _only(marked | ({last} if last is not None else set()))
        if lines:
            return _only(lines)
        mentioned = self._mentioned(text)
        lead = _LEAD.match(text.lstrip())
        led = self._is_label(lead[1]) if lead else None
        if led is not None:
            return _only({*mentioned, led})
        label = _only(set(mentioned))
        return label if label is not None and len(mentioned[label]) >= MIN_MENTION else None

    def _is_label(self, text: str) -> str | None:
        """Return the label that `text` is as a whole."""
        for piece in (text.strip(), text.strip(self._wrapping)):
            for names, form in ((self._exact, piece), (self._cased, piece.casefold())):
                if form in names:
                    return names[form]
        return self._folded.get(_folded(text)) if _reads_as_name(text) else None

    def _marked(self, text: str) -> set[str] | None:
        """Return the labels after `Label:` or in a JSON object; None when the reply has neither."""
        try:
            value = parse_json(text)
        except ValueError:
            value = None
        if isinstance(value, dict):
            by_key = {str(key).casefold(): item for key, item in value.items()}
            given = [by_key[key] for key in _LABEL_KEYS if key in by_key] or (
                list(value.values()) if len(value) == 1 else []
            )
            read = [self._is_label(str(item)) if isinstance(item, (str, int, float)) else None for item in given]
            return set() if None in read else {label for label in read if label is not None}
        found: set[str] | None = None
        for match in _MARKER.finditer(text):
            rest = match[3].strip() or text[match.end() :].strip().partition("\n")[0]
            label = self._is_label(_BULLET.sub("", rest, 1))
            named = {label} if label is not None else set(self._mentioned(rest))
            if named or (match[3].strip() and _starts_line(text, match.start(1)) and match["sign"] != "is"):
                found = named | (found or set())
        return found

    def _mentioned(self, text: str) -> dict[str, str]:
        """Return the labels that occur in `text`, each with the words it was seen as, contained ones left out."""
        spans: list[tuple[int, int, str, str]] = []
        end = -1
        for match in self._mention.finditer(text.casefold()):
            start, stop = match.span(1)
            if stop <= end:
                continue
            end = stop
            words = _folded(match[1])
            label = self._folded.get(words)
            if label is not None:
                spans.append((start, stop, label, words))
        return {label: words for _, _, label, words in spans}


def _only(labels: set[str]) -> str | None:
    return next(iter(labels)) if len(labels) == 1 else None


def _unambiguous(pairs: Any) -> dict[str, str]:
    seen: dict[str, set[str]] = {}
    for form, label in pairs:
        seen.setdefault(form, set()).add(label)
    return {form: next(iter(owners)) for form, owners in seen.items() if form and len(owners) == 1}


def _starts_line(text: str, at: int) -> bool:
    return not text[:at].rpartition("\n")[2].strip(_WRAPPING)


def _reads_as_name(text: str) -> bool:
    """Whether `text` is one phrase: sentence marks inside it would join what the reply keeps apart."""
    return not re.search(r"[\n.,;:!?|/&+]", text.strip(_WRAPPING))


def _mention_pattern(names: Mapping[str, str]) -> re.Pattern[str]:
    """Return a pattern that finds at every position the longest name, whole words only (`_` and `-` join words)."""
    ordered = sorted(names, key=lambda name: (-len(name), name))
    words = ("[\\s_-]+".join(map(re.escape, name.split())) for name in ordered)
    return re.compile(rf"(?<![\w-])(?=({'|'.join(words) or '(?!)'})(?!\w|-\w))")


_NUMBER = re.compile(
    r"(?<![\w.,/])(?P<sign>[-+\u2212]\s?)?(?:[$\u20ac\u00a3\u00a5]\s?)?(?P<inner>[-+\u2212])?"
    r"(?P<digits>\.?\d(?:[\d.,/'_\u00a0\u202f]*\d)?)(?P<exponent>[eE][-+]?\d{1,3}(?!\w))?"
)
_PLAIN = re.compile(r"(?:\d+|\d{1,3}(?:[,'_\u00a0\u202f]\d{3})+)?(?:\.\d+)?")
_SEPARATORS = re.compile(r"[,'_\u00a0\u202f]")
_HASHES = re.compile(r"####\s*([^\n]*)")
_ANSWER_LINE = re.compile(r"^[ \t]*A:[ \t]*([^\n]*)", re.MULTILINE)
_BOXED = re.compile(r"\\boxed\s*\{([^{}\n]*)\}")
_ANSWER_IS = re.compile(r"\banswer\b[*_]*(?:\s+is\b|\s*[:=])[*_]*\s*:?([^\n]*)", re.IGNORECASE)


def parse_number(text: str) -> str | None:
    r"""Return the final number of a reply as plain digits (`-1234.5`, `2/3`), or None.

    Read after the last `####`, else the last line `A:`, else the last `\boxed{}`, else the last "answer is" or
    "answer:" (the first number there, after its last `=`), else the last number of the text. `$`, `%` and units
    ("billion" too) are ignored, commas must group thousands, `7/14` is a fraction; a number that cannot be read for
    certain (`3,5`, `1.2.3`) is none.
    """
    if len(text) > MAX_REPLY_CHARACTERS:
        return None
    for form in (_HASHES, _ANSWER_LINE, _BOXED, _ANSWER_IS):
        marked = form.findall(text)
        if marked:
            first = _NUMBER.search(marked[-1].rpartition("=")[2])
            # "the answer is:" with the number on the next line falls through to the last number.
            if first or marked[-1].strip(_WRAPPING):
                return _canonical(first) if first else None
    found = list(_NUMBER.finditer(text))
    return _canonical(found[-1]) if found else None


def _canonical(match: re.Match[str]) -> str | None:
    if len(match["digits"]) > MAX_DIGITS:
        return None
    parts = match["digits"].split("/")
    if len(parts) > 2 or not all(part and _PLAIN.fullmatch(part) for part in parts):
        return None
    above, below = (*(Fraction(_SEPARATORS.sub("", part)) for part in parts), Fraction(1))[:2]
    power = int(match["exponent"][1:]) if match["exponent"] else 0
    if below == 0 or abs(power) > MAX_DIGITS:
        return None
    value = above / below * Fraction(10) ** power
    negative = any(match[part] and match[part].strip() in {"-", "\u2212"} for part in ("sign", "inner"))
    return _written(-value if negative else value)


def _written(value: Fraction) -> str:
    """Return a number in its one form: digits where they end, a reduced fraction where not."""
    twos_and_fives = value.denominator
    places = 0
    for factor in (2, 5):
        count = 0
        while twos_and_fives % factor == 0:
            twos_and_fives //= factor
            count += 1
        places = max(places, count)
    if twos_and_fives != 1:
        return f"{value.numerator}/{value.denominator}"
    whole = abs(value.numerator) * 10**places // value.denominator
    shown = str(whole).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{shown[:-places]}.{shown[-places:]}" if places else f"{sign}{shown}"


_CODE_BLOCK = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL | re.IGNORECASE)


def parse_json(text: str) -> Any:
    """Return the JSON value that a reply is, alone or as its only content in a code block.

    Raises: ValueError for repeated keys, NaN, text before or after, unpaired surrogates and nesting too deep.
    """
    if len(text) > MAX_REPLY_CHARACTERS:
        raise ValueError(f"more than {MAX_REPLY_CHARACTERS:,} characters")
    block = _CODE_BLOCK.fullmatch(text.strip())
    try:
        value = json.loads(block[1] if block else text, object_pairs_hook=_distinct, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def parse_answer(text: str) -> str | None:
    """Return what follows the last "answer is", its final full stop removed; without one, the first line."""
    _, marker, rest = text.strip().rpartition("answer is")
    answer = rest.strip().removesuffix(".").strip() if marker else text.strip().partition("\n")[0].strip()
    return answer or None


def parse_normalised(text: str) -> str | None:
    """Return `text` without case, punctuation and doubled blanks (symbols stay when there is nothing else)."""
    import unicodedata

    plain = unicodedata.normalize("NFKC", text).strip()
    return _folded(plain) or plain or None
