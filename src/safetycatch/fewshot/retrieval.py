"""The nearest rows of a pool by exact TF-IDF cosine, in bounded memory.

Word 1-2-grams beside character 3-5-grams inside words, sublinear counts. On Banking77 (3,080 queries, 8 neighbours)
the pair had the query's label among the neighbours most often: .904 of queries with a pool of 1,000 and .966 with
10,003, against .901 and .956 for characters alone and .851 and .942 for words alone.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scipy.sparse import csr_matrix

MAX_CELLS, MAX_QUERIES = 1_000_000, 256  # similarities (8 MB) and queries held as vectors at a time
MAX_CHARACTERS = 20_000  # of one text that are compared
WORD = r"(?u)\w+"  # one letter is a word too
SCORE_DIGITS = 9  # differences beyond are rounding, and must not order shots


def plain_text(text: str, kind: str) -> str:
    """Return what an input says, without the field names of JSON and the roles of chats."""
    return text if kind == "text" else "\n".join(_leaves(json.loads(text), chat=kind == "messages"))


def _leaves(value: Any, *, chat: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if not (chat and key == "role"):
                yield from _leaves(item, chat=chat)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, chat=chat)
    elif value is not None:
        yield str(value)


def text_key(text: str) -> str:
    """Return what equal texts share: compatibility form, no case, letters and digits only (or the text without any)."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[^\W_]+", folded)) or folded.strip()


def nearest(
    pool: Sequence[str], queries: Sequence[str], k: int, excluded: Sequence[Sequence[int]]
) -> Iterator[tuple[list[int], list[float]]]:
    """Yield for each query the `k` most similar pool positions, most similar first, and their cosines (0-1).

    `excluded[i]` are pool positions query i may not get; at least `k` others must remain. Equal cosines go by position
    in the pool, so the caller's order of the pool is the tie rule.
    """
    import numpy as np

    across, vectors = _index(pool)
    step = max(1, min(MAX_QUERIES, MAX_CELLS // len(pool)))
    for start in range(0, len(queries), step):
        product: Any = vectors(queries[start : start + step]) @ across
        block = product.toarray()
        np.round(block, SCORE_DIGITS, out=block)
        for row, barred in zip(block, excluded[start : start + step], strict=True):
            row[list(barred)] = -1.0
            bound = np.partition(row, len(row) - k)[len(row) - k]
            candidates = np.flatnonzero(row >= bound)
            chosen = candidates[np.argsort(-row[candidates], kind="stable")[:k]]
            yield chosen.tolist(), np.clip(row[chosen], 0, 1).tolist()


def _index(pool: Sequence[str]) -> tuple[csr_matrix, Callable[[Sequence[str]], csr_matrix]]:
    """Return the pool as columns, and what makes rows of queries: their product holds the cosines."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    shown = [text[:MAX_CHARACTERS] for text in pool]
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    # A vectorizer refuses a pool without any gram of its kind (only symbols, only blanks).
    usable = [
        vectorizer for vectorizer in (words, characters) if any(vectorizer.build_analyzer()(text) for text in shown)
    ]
    if not usable:
        return csr_matrix((1, len(shown))), lambda asked: csr_matrix((len(asked), 1))
    scale = len(usable) ** -0.5

    def vectors(asked: Sequence[str]) -> csr_matrix:
        cut = [text[:MAX_CHARACTERS] for text in asked]
        return hstack([vectorizer.transform(cut) for vectorizer in usable], format="csr") * scale

    rows = hstack([vectorizer.fit_transform(shown) for vectorizer in usable], format="csr") * scale
    return rows.T.tocsr(), vectors
