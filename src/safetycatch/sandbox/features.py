"""Texts as sparse vectors: hashed words, pairs and characters of words, weighted by a fixed list of small words."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import OrderedDict
from functools import lru_cache
from zlib import crc32

Vector = dict[int, float]

MAX_CHARACTERS = 20_000
KEPT_TEXTS = 50_000
SMALL_WORD_WEIGHT = 0.15
PAIR_WEIGHT = 0.6
GRAM_LENGTHS = (3, 4, 5)
# What a reader of English, German and Spanish knows before seeing any data: words that carry grammar, not topic.
_SMALL_WORDS = """
    a about after again all also am an and any are as at be because been before being but by can could did do does
    doing done for from get give go got had has have having he hello her here hi him his how i if in into is it its just
    know let like ll m make many may me more most much must my need no not now of on one only or other our out over
    please re s same see she should since so some still such t tell thank thanks than that the their them then there
    these they thing this those through to too try under until up us use ve very want was we were what when where
    which who why will with would yet you your
    aber als am an auch auf aus bei bin bis bitte danke das dass dem den der des die dies diese diesen doch ein eine
    einem einen einer er es fur gibt guten habe haben hallo hat hatte hier ich ihr ihre im in ist ja jetzt kann keine
    kein man mehr mein meine meinem meinen meiner mich mir mit mochte nach nicht noch nun nur oder schon sehr seit sich
    sie sind so tag um und uns unser unsere vom von vor war warum was wenn werden wie wieder wir wird wo zu zum zur
    al algo aun ayuda buenas buenos como con cuando de del desde dias donde el ella ellos en entre era es esta este esto
    estoy favor fue gracias ha hace hasta hay he hola la las le les lo los me mi mis muy ni no nos o para pero por
    porque puede puedo que quiero saludos se ser si sin sobre solo son su sus tambien te tengo tiene todo un una uno
    usted y ya yo
"""
SMALL_WORDS = frozenset(_SMALL_WORDS.split())
_WORD = re.compile(r"[^\W_]+")


def normal_words(text: str) -> list[str]:
    """Return the words of `text` in lower case without accents; underscores and punctuation separate words."""
    head = text[:MAX_CHARACTERS].casefold()
    if not head.isascii():
        head = "".join(c for c in unicodedata.normalize("NFKD", head) if not unicodedata.combining(c))
    return _WORD.findall(head)


@lru_cache(maxsize=65_536)
def _grams(word: str, columns: int) -> tuple[int, ...]:
    padded = f" {word} "
    return tuple(
        crc32(b"c" + padded[start : start + length].encode()) % columns
        for length in GRAM_LENGTHS
        for start in range(len(padded) - length + 1)
    )


class Features:
    """Turns texts into unit vectors `{column: weight}`; the last texts are kept, since shots and labels repeat.

    Nothing is learned here: two servers give one text the same vector.
    """

    def __init__(self, columns: int = 2**16, *, pairs: bool = True, characters: bool = True) -> None:
        self.columns, self.pairs, self.characters = columns, pairs, characters
        self._kept: OrderedDict[str, Vector] = OrderedDict()

    def __call__(self, text: str) -> Vector:
        """Return the unit vector of `text`; a text without words gives an empty one."""
        kept = self._kept.get(text)
        if kept is None:
            kept = self._kept[text] = self._vector(text)
            if len(self._kept) > KEPT_TEXTS:
                self._kept.popitem(last=False)
        return kept

    def _vector(self, text: str) -> Vector:
        words: Vector = {}
        characters: Vector = {}
        columns = self.columns
        before, weight_before = "", 0.0
        for word in normal_words(text):
            weight = SMALL_WORD_WEIGHT if word in SMALL_WORDS else 1.0
            column = crc32(b"w" + word.encode()) % columns
            words[column] = words.get(column, 0.0) + weight
            if self.pairs and before:
                column = crc32(f"p{before} {word}".encode()) % columns
                words[column] = words.get(column, 0.0) + PAIR_WEIGHT * math.sqrt(weight * weight_before)
            if self.characters:
                for column in _grams(word, columns):
                    characters[column] = characters.get(column, 0.0) + weight
            before, weight_before = word, weight
        if not self.characters:
            return unit(words)
        both = unit(words)
        for column, value in unit(characters).items():
            both[column] = both.get(column, 0.0) + value
        return unit(both)


def unit(vector: Vector) -> Vector:
    """Return `vector` scaled to length 1; an empty one stays empty."""
    length = math.sqrt(sum(value * value for value in vector.values()))
    return {column: value / length for column, value in vector.items()} if length else {}


def similarity(left: Vector, right: Vector) -> float:
    """Return the cosine of two unit vectors, in [0, 1]."""
    if len(left) > len(right):
        left, right = right, left
    return sum(value * right[column] for column, value in left.items() if column in right)


def embedding(text: str, dimensions: int) -> list[float]:
    """Return a unit vector of `dimensions` numbers: hashed characters of words, signed so that collisions cancel."""
    numbers = [0.0] * dimensions
    for word in normal_words(text):
        weight = SMALL_WORD_WEIGHT if word in SMALL_WORDS else 1.0
        for column in _grams(word, 2**31):
            numbers[column % dimensions] += weight if column & 2**30 else -weight
    length = math.sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers] if length else numbers
