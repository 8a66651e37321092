"""The rows of a pool that are like a query, in bounded memory: by TF-IDF cosine, by BM25, or near but not alike.

TF-IDF: word 1-2-grams beside character 3-5-grams inside words, sublinear counts. On Banking77 (3,080 queries, 8
neighbours) the pair had the query's label among the neighbours most often: .904 of queries with a pool of 1,000 and
.966 with 10,003, against .901 and .956 for characters alone and .851 and .942 for words alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetycatch.fewshot.ranking import AMONG, CUT_CHARACTERS, K1, B

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from scipy.sparse import csr_matrix

    from safetycatch.settings import ShotSettings

    Found = Iterator[tuple[list[int], list[float]]]

MAX_CELLS, MAX_QUERIES = 1_000_000, 256  # similarities (8 MB) and queries held as vectors at a time
WORD = r"(?u)\w+"  # one letter is a word too
SCORE_DIGITS = 9  # differences beyond are rounding, and must not order shots


def retrieved(
    settings: ShotSettings, pool: Sequence[str], queries: Sequence[str], k: int, excluded: Sequence[Sequence[int]]
) -> Found:
    """Yield for each query `k` pool positions, the best first, and their scores, by `settings.retrieval`.

    `excluded[i]` are pool positions query i may not get; at least `k` others must remain. Scores are rounded to nine
    digits; equal ones go by position in the pool, so the caller's order of the pool is the tie rule.
    """
    if settings.retrieval == "bm25":
        return bm25(pool, queries, k, excluded)
    if settings.retrieval == "mmr":
        return diversified(pool, queries, k, excluded, settings.weight)
    return nearest(pool, queries, k, excluded)


def nearest(pool: Sequence[str], queries: Sequence[str], k: int, excluded: Sequence[Sequence[int]]) -> Found:
    """Yield the `k` rows of the highest TF-IDF cosine (0-1) for each query; see `retrieved`."""
    rows, vectors = _tfidf(pool)
    across = rows.T.tocsr()
    found = _best(lambda asked: vectors(asked) @ across, len(pool), queries, [k] * len(queries), excluded)
    return ((positions, [min(score, 1.0) for score in scores]) for positions, scores in found)


def bm25(pool: Sequence[str], queries: Sequence[str], k: int, excluded: Sequence[Sequence[int]]) -> Found:
    """Yield the `k` rows of the highest Okapi BM25 score (0 or more) for each query; see `retrieved`.

    Words of any length, k1 1.2, b .75, every occurrence in the query counts. Source: Robertson and Zaragoza 2009, The
    Probabilistic Relevance Framework, section 3.4; the weight of a word, log(1 + (N - n + .5) / (n + .5)), is never
    negative, as in Lucene.
    """
    weights, counts = _bm25(pool)
    return _best(lambda asked: counts(asked) @ weights, len(pool), queries, [k] * len(queries), excluded)


def diversified(
    pool: Sequence[str], queries: Sequence[str], k: int, excluded: Sequence[Sequence[int]], balance: float
) -> Found:
    """Yield `k` rows by maximal marginal relevance, first picks first, with their cosine to the query; see `retrieved`.

    Each pick maximises balance x (cosine to the query) - (1 - balance) x (highest cosine to an earlier pick), among the
    100 (or `k`) nearest rows. Source: Carbonell and Goldstein 1998, The Use of MMR, section 2.
    """
    import numpy as np

    rows, vectors = _tfidf(pool)
    across = rows.T.tocsr()
    among = [min(max(k, AMONG), len(pool) - len(out)) for out in excluded]
    for positions, scores in _best(lambda asked: vectors(asked) @ across, len(pool), queries, among, excluded):
        at = np.argsort(positions)  # so that ties go by position in the pool
        candidates, relevance = np.array(positions, dtype=int)[at], np.array(scores)[at]
        own: Any = rows[candidates]
        like = np.round((own @ own.T).toarray(), SCORE_DIGITS)
        closest, left = np.zeros(len(at)), np.ones(len(at), dtype=bool)
        picked: list[int] = []
        for _ in range(k):
            value = np.round(balance * relevance - (1 - balance) * closest, SCORE_DIGITS)
            best = int(np.argmax(np.where(left, value, -np.inf)))
            picked.append(best)
            left[best] = False
            closest = np.maximum(closest, like[best])
        yield candidates[picked].tolist(), np.minimum(relevance[picked], 1.0).tolist()


def cosines(texts: Sequence[str]) -> np.ndarray:
    """Return the TF-IDF cosine (0-1) of every text with every other, as a square of 64-bit floats."""
    import numpy as np

    rows, _ = _tfidf(texts)
    product: Any = rows @ rows.T
    return np.round(product.toarray(), SCORE_DIGITS)


def _best(
    similarity: Callable[[Sequence[str]], csr_matrix],
    n_pool: int,
    queries: Sequence[str],
    wanted: Sequence[int],
    excluded: Sequence[Sequence[int]],
) -> Found:
    """Yield for each query its `wanted` best pool positions, best first, and their rounded scores."""
    import numpy as np

    step = max(1, min(MAX_QUERIES, MAX_CELLS // n_pool))
    for start in range(0, len(queries), step):
        product: Any = similarity(queries[start : start + step])
        block = product.toarray()
        np.round(block, SCORE_DIGITS, out=block)
        own = zip(block, wanted[start : start + step], excluded[start : start + step], strict=True)
        for row, k, barred in own:
            row[list(barred)] = -1.0
            bound = np.partition(row, len(row) - k)[len(row) - k]
            candidates = np.flatnonzero(row >= bound)
            chosen = candidates[np.argsort(-row[candidates], kind="stable")[:k]]
            yield chosen.tolist(), row[chosen].tolist()


def _tfidf(pool: Sequence[str]) -> tuple[csr_matrix, Callable[[Sequence[str]], csr_matrix]]:
    """Return the pool as rows of unit length, and what makes such rows of queries."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    shown = [text[:CUT_CHARACTERS] for text in pool]
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORD, sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    # A vectorizer refuses a pool without any gram of its kind (only symbols, only blanks).
    usable = [
        vectorizer for vectorizer in (words, characters) if any(vectorizer.build_analyzer()(text) for text in shown)
    ]
    if not usable:
        return csr_matrix((len(shown), 1)), lambda asked: csr_matrix((len(asked), 1))
    scale = len(usable) ** -0.5

    def vectors(asked: Sequence[str]) -> csr_matrix:
        cut = [text[:CUT_CHARACTERS] for text in asked]
        return hstack([vectorizer.transform(cut) for vectorizer in usable], format="csr") * scale

    return hstack([vectorizer.fit_transform(shown) for vectorizer in usable], format="csr") * scale, vectors


def _bm25(pool: Sequence[str]) -> tuple[csr_matrix, Callable[[Sequence[str]], csr_matrix]]:
    """Return the weight of every word (rows) in every text of the pool (columns), and what counts a query's words."""
    import numpy as np
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer

    shown = [text[:CUT_CHARACTERS] for text in pool]
    counter: Any = CountVectorizer(token_pattern=WORD)
    if not any(map(counter.build_analyzer(), shown)):
        return csr_matrix((1, len(shown))), lambda asked: csr_matrix((len(asked), 1))
    counts = counter.fit_transform(shown).astype(np.float64)
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    n_with = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log1p((len(shown) - n_with + 0.5) / (n_with + 0.5))
    norm = K1 * (1 - B + B * lengths / lengths.mean())
    of_row = np.repeat(norm, np.diff(counts.indptr))
    weights = counts.copy()
    weights.data = idf[counts.indices] * counts.data * (K1 + 1) / (counts.data + of_row)
    return weights.T.tocsr(), lambda asked: counter.transform([text[:CUT_CHARACTERS] for text in asked])
