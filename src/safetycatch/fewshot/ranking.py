"""Retrieval with the standard library alone: what `retrieval` finds with sparse matrices, term by term.

A pinned prompt carries this source with it. Scores are sums in another order, so both sides round them to nine digits
before they rank.
"""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

ROUNDING = 1e9  # nine digits
CUT_CHARACTERS = 20_000  # of one text that are compared
K1, B = 1.2, 0.75  # of BM25
AMONG = 100  # the nearest rows, among which MMR chooses


def rounded(score: float) -> float:
    """Return a score as it is compared."""
    return round(score * ROUNDING) / ROUNDING


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; one letter is a word too."""
    return re.findall(r"(?u)\w+", text[:CUT_CHARACTERS].lower())


def word_grams(text: str) -> list[str]:
    """Return words and pairs of neighbouring words."""
    found = words(text)
    return found + [f"{left} {right}" for left, right in pairwise(found)]


def character_grams(text: str) -> list[str]:
    """Return the runs of 3 to 5 characters inside words, a blank before and after each word."""
    grams: list[str] = []
    for word in text[:CUT_CHARACTERS].lower().split():
        padded = f" {word} "
        for size in (3, 4, 5):
            grams += [padded[start : start + size] for start in range(max(1, len(padded) - size + 1))]
            if len(padded) <= size:
                break  # a short word counts once
    return grams


class Tfidf:
    """The TF-IDF vectors of a pool: sublinear counts, smooth idf, unit length, words beside characters."""

    def __init__(self, pool: Sequence[str]) -> None:
        self._n = len(pool)
        grams: tuple[Callable[[str], list[str]], ...] = (word_grams, character_grams)
        self._kinds = [kind for kind in grams if any(kind(text) for text in pool)]
        self._scale = len(self._kinds) ** -0.5 if self._kinds else 0.0
        counted = [[Counter(kind(text)) for text in pool] for kind in self._kinds]
        self._idf: list[dict[str, float]] = []
        for counts in counted:
            n_with = Counter(gram for count in counts for gram in count)
            self._idf.append({gram: math.log((1 + self._n) / (1 + n)) + 1 for gram, n in n_with.items()})
        self.rows = [self._vector([counts[at] for counts in counted]) for at in range(self._n)]
        self._at: dict[tuple[int, str], list[tuple[int, float]]] = defaultdict(list)
        for position, row in enumerate(self.rows):
            for gram, weight in row.items():
                self._at[gram].append((position, weight))

    def _vector(self, counts: Sequence[Counter[str]]) -> dict[tuple[int, str], float]:
        vector: dict[tuple[int, str], float] = {}
        for kind, (count, idf) in enumerate(zip(counts, self._idf, strict=True)):
            own = {gram: (math.log(n) + 1) * idf[gram] for gram, n in count.items() if gram in idf}
            length = math.sqrt(sum(weight * weight for weight in own.values()))
            for gram, weight in own.items():
                vector[kind, gram] = weight / length * self._scale
        return vector

    def scores(self, query: str) -> list[float]:
        """Return the cosine of a text with every row of the pool, rounded."""
        sums = [0.0] * self._n
        for gram, weight in self._vector([Counter(kind(query)) for kind in self._kinds]).items():
            for position, other in self._at[gram]:
                sums[position] += weight * other
        return [rounded(score) for score in sums]

    def likeness(self, left: int, right: int) -> float:
        """Return the cosine of two rows of the pool, rounded."""
        one, other = sorted((self.rows[left], self.rows[right]), key=len)
        return rounded(sum(weight * other.get(gram, 0.0) for gram, weight in one.items()))


class Okapi:
    """The BM25 weights of a pool's words."""

    def __init__(self, pool: Sequence[str]) -> None:
        counts = [Counter(words(text)) for text in pool]
        lengths = [count.total() for count in counts]
        mean = sum(lengths) / len(lengths)
        n_with = Counter(word for count in counts for word in count)
        self._n = len(pool)
        self._at: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for position, (count, length) in enumerate(zip(counts, lengths, strict=True)):
            for word, n in count.items():
                idf = math.log1p((self._n - n_with[word] + 0.5) / (n_with[word] + 0.5))
                norm = K1 * (1 - B + B * length / mean)
                self._at[word].append((position, idf * n * (K1 + 1) / (n + norm)))

    def scores(self, query: str) -> list[float]:
        """Return the score of every row of the pool for a text, rounded."""
        sums = [0.0] * self._n
        for word, n in Counter(words(query)).items():
            for position, weight in self._at.get(word, ()):
                sums[position] += n * weight
        return [rounded(score) for score in sums]


def best(scores: Sequence[float], k: int, excluded: Collection[int]) -> list[int]:
    """Return the positions of the `k` highest scores, highest first, equal ones by position."""
    left = (position for position in range(len(scores)) if position not in excluded)
    return heapq.nsmallest(k, left, key=lambda position: (-scores[position], position))


def spread(index: Tfidf, scores: Sequence[float], k: int, excluded: Collection[int], balance: float) -> list[int]:
    """Return `k` positions by maximal marginal relevance among the nearest, first picks first."""
    left = sorted(best(scores, max(k, AMONG), excluded))
    closest = dict.fromkeys(left, 0.0)
    picked: list[int] = []
    for _ in range(k):
        value = {at: rounded(balance * scores[at] - (1 - balance) * closest[at]) for at in left}
        # The first of equal ones: `left` is in order of position.
        at = max(left, key=value.__getitem__)
        picked.append(at)
        left.remove(at)
        for other in left:
            closest[other] = max(closest[other], index.likeness(at, other))
    return picked


@lru_cache(maxsize=4)
def index_of(pool: tuple[str, ...], retrieval: str) -> Tfidf | Okapi:
    """Return the index of a pool, made once."""
    return Okapi(pool) if retrieval == "bm25" else Tfidf(pool)
