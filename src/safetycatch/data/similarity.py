"""How alike two texts are: the normal form, character 5-gram sets, and exact joins over their Jaccard similarity.

The Jaccard similarity of two texts is that of the *sets* of character 5-grams of `" " + normalise(text) + " "`. Two
texts of more than 200 words each are compared by sets of word 5-grams instead: long English documents share most of
their character 5-grams whatever they say. A normal form below 5 characters is one gram of its own.

Grams are 48-bit hashes: two different grams of a pair of 200-character texts collide once in 10^10 pairs. For the
prefix filter the hash's upper bits are replaced by the frequency rank of their bucket, so that ascending order is
"rarest first" and a text's prefix is simply its first grams (Chaudhuri et al. 2006; Bayardo et al. 2007). Every pair
returned was verified on the full sets.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from safetycatch.data.normalisation import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

GRAM = 5
LONG_TEXT_WORDS = 200
BLOCK_TEXTS = 1 << 14  # a text's place in its block and a 48-bit gram share one 64-bit sort key
BLOCK_CHARACTERS = 1 << 17
BUCKET_BITS = 20
HASH_BITS = 48
LOW_BITS = HASH_BITS - BUCKET_BITS
BLOCK_GRAMS = 1 << 18
TILE_CHARACTERS = 1 << 21  # of texts joined at a time: memory stays the same whatever the number of texts
BLOCK_WORK = 1 << 18
VERIFY_GRAMS = 1 << 18
SHARED_PREFIX = 6  # candidates share this many grams of prefixes that are as much longer: less to verify


class Pairs(NamedTuple):
    """Pairs of row numbers and their similarity, 0-1; sorted by `left`, then `right`."""

    left: Ints
    right: Ints
    similarity: Floats


@dataclass(frozen=True, slots=True)
class GramSets:
    """The gram sets of texts, concatenated: text i holds `grams[start[i]:start[i + 1]]`, ascending."""

    grams: Ints
    start: Ints

    @property
    def sizes(self) -> Ints:
        """Number of distinct grams of each text."""
        import numpy as np

        return np.diff(self.start)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread the bits of `values` (the finaliser of splitmix64), in place."""
    import numpy as np

    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _window_hashes(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the 48-bit hash of every window of five consecutive codes."""
    import numpy as np

    multipliers = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
    n_windows = len(codes) - GRAM + 1
    total = np.zeros(n_windows, np.uint64)
    for offset, multiplier in enumerate(multipliers):
        total += codes[offset : offset + n_windows] * np.uint64(multiplier)
    return _mixed(total) >> np.uint64(64 - HASH_BITS)


def _blocks(lengths: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    first, characters = 0, 0
    for place, length in enumerate(lengths):
        if place > first and (characters + length > most or place - first >= BLOCK_TEXTS):
            yield first, place
            first, characters = place, 0
        characters += length
    if first < len(lengths):
        yield first, len(lengths)


def _gram_sets(codes_of_blocks: Iterator[tuple[NDArray[np.uint64], Ints]], normals: Sequence[str]) -> GramSets:
    """Return the gram sets of blocks of concatenated codes, each with the lengths of its texts."""
    import numpy as np

    # Room for more grams than there can be: what is not written to costs no memory, pieces joined would cost it twice.
    grams = np.empty(sum(len(text) + GRAM for text in normals), np.int64)
    sizes = np.zeros(len(normals), np.int64)
    done = n_grams = 0
    for codes, lengths in codes_of_blocks:
        # A text shorter than a gram is one window, padded to five codes by its caller.
        ends = np.cumsum(lengths)
        hashes = _window_hashes(codes)
        windows = lengths - GRAM + 1
        owner = np.repeat(np.arange(len(lengths), dtype=np.uint64), windows)
        firsts = ends - lengths
        inside = np.arange(len(owner)) - np.repeat(np.cumsum(windows) - windows, windows) + np.repeat(firsts, windows)
        keys = (owner << np.uint64(HASH_BITS)) | hashes[inside]
        keys.sort()
        keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))]
        sizes[done : done + len(lengths)] = np.bincount(
            (keys >> np.uint64(HASH_BITS)).astype(np.int64), minlength=len(lengths)
        )
        grams[n_grams : n_grams + len(keys)] = keys & np.uint64((1 << HASH_BITS) - 1)
        n_grams += len(keys)
        done += len(lengths)
    return GramSets(grams[:n_grams], np.concatenate(([0], np.cumsum(sizes))))


def _padded(normal: str) -> str:
    # U+10FFFF never occurs in a normal form, so a short text's one gram equals no gram of a longer text.
    return f" {normal} " if len(normal) >= GRAM else normal + "\U0010ffff" * (GRAM - len(normal))


def character_grams(normals: Sequence[str]) -> GramSets:
    """Return the character 5-gram sets of normal forms."""
    import numpy as np

    def coded() -> Iterator[tuple[NDArray[np.uint64], Ints]]:
        for first, last in _blocks([len(text) for text in normals], BLOCK_CHARACTERS):
            padded = [_padded(text) for text in normals[first:last]]
            codes = np.frombuffer("".join(padded).encode("utf-32-le"), np.uint32).astype(np.uint64)
            yield codes, np.array([len(text) for text in padded], np.int64)

    return _gram_sets(coded(), normals)


def word_grams(normals: Sequence[str], vocabulary: dict[str, int] | None = None) -> GramSets:
    """Return the word 5-gram sets of normal forms; pass one `vocabulary` for sets that are to be compared."""
    import numpy as np

    known = {} if vocabulary is None else vocabulary

    def coded() -> Iterator[tuple[NDArray[np.uint64], Ints]]:
        for first, last in _blocks([len(text) for text in normals], BLOCK_CHARACTERS):
            numbers: list[int] = []
            lengths: list[int] = []
            for text in normals[first:last]:
                words = [known.setdefault(word, len(known) + 1) for word in text.split()]
                words += [0] * (GRAM - len(words))
                numbers += words
                lengths.append(len(words))
            yield np.array(numbers, np.uint64), np.array(lengths, np.int64)

    return _gram_sets(coded(), normals)


def _ranks(*sets: GramSets) -> NDArray[np.int32]:
    """Return the place of every bucket of grams, the rarest first."""
    import numpy as np

    counts = np.zeros(1 << BUCKET_BITS, np.int32)
    for one in sets:
        for first in range(0, len(one.grams), BLOCK_GRAMS):
            np.add.at(counts, one.grams[first : first + BLOCK_GRAMS] >> LOW_BITS, 1)
    rank = np.empty(1 << BUCKET_BITS, np.int32)
    rank[np.argsort(counts, kind="stable")] = np.arange(1 << BUCKET_BITS, dtype=np.int32)
    return rank


def _prefixes(sets: GramSets, threshold: float, rank: NDArray[np.int32]) -> tuple[Ints, Ints]:
    """Return the length and the grams of every prefix, a text's rarest grams, renamed into the order of `rank`.

    Two texts at `threshold` share SHARED_PREFIX grams of their prefixes. Equal grams stay equal.
    """
    import numpy as np

    sizes = sets.sizes
    needed = np.ceil(threshold * sizes - 1e-9).astype(np.int64)
    lengths = np.minimum(sizes - needed + SHARED_PREFIX, sizes)
    prefixes = np.empty(int(lengths.sum()), np.int64)
    done = 0
    for first, last in _blocks(sizes.tolist(), BLOCK_CHARACTERS):
        part = sets.grams[sets.start[first] : sets.start[last]]
        owner = np.repeat(np.arange(last - first, dtype=np.int64), sizes[first:last])
        keys = (owner << HASH_BITS) | (part & ((1 << LOW_BITS) - 1))
        keys |= rank[part >> LOW_BITS].astype(np.int64) << LOW_BITS
        keys.sort()
        starts, own = sets.start[first:last] - sets.start[first], lengths[first:last]
        ends = np.cumsum(own)
        kept = keys[np.arange(ends[-1]) + np.repeat(starts - ends + own, own)]
        prefixes[done : done + len(kept)] = kept & ((1 << HASH_BITS) - 1)
        done += len(kept)
    return lengths, prefixes


def _rows(sets: GramSets) -> csr_array:
    """Return the sets as rows of a matrix of ones."""
    import numpy as np
    from scipy.sparse import csr_array

    ones = np.ones(len(sets.grams), np.int8)
    matrix = csr_array((ones, sets.grams, sets.start), shape=(len(sets.start) - 1, 1 << HASH_BITS))
    matrix.has_canonical_format = True
    return matrix


def _shared(left: csr_array, right: csr_array, i: Ints, j: Ints) -> Ints:
    """Return the number of common grams of each pair of rows (i, j), exactly."""
    import numpy as np

    work = np.cumsum(np.diff(left.indptr)[i] + np.diff(right.indptr)[j])
    counts = np.zeros(len(i), np.int64)
    first = 0
    while first < len(i):
        already = work[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(work, already + VERIFY_GRAMS)))
        counts[first:last] = left[i[first:last]].multiply(right[j[first:last]]).sum(axis=1)
        first = last
    return counts


def _common_prefixes(left: GramSets, right: GramSets | None, threshold: float) -> tuple[csr_array, csr_array]:
    """Return matrices whose product counts the common grams of the prefixes of every left and right text."""
    import numpy as np
    from scipy.sparse import csr_array

    rank = _ranks(left) if right is None else _ranks(left, right)
    lengths, grams = _prefixes(right or left, threshold, rank)
    columns, counts = np.unique(grams, return_counts=True)
    columns = columns[counts > 1] if right is None else columns

    def matrix(lengths: Ints, grams: Ints) -> csr_array:
        place = np.zeros(len(grams), np.int32)
        keep = np.zeros(len(grams), bool)
        for first in range(0, len(grams) if len(columns) else 0, BLOCK_GRAMS):
            part = slice(first, first + BLOCK_GRAMS)
            found = np.minimum(np.searchsorted(columns, grams[part]), len(columns) - 1)
            place[part], keep[part] = found, columns[found] == grams[part]
        kept = np.add.reduceat(keep, np.cumsum(lengths) - lengths, dtype=np.int32) if len(lengths) else lengths
        starts = np.concatenate(([0], np.cumsum(kept))).astype(np.int32)
        place = place[keep]
        return csr_array((np.ones(len(place), np.int32), place, starts), shape=(len(lengths), len(columns)))

    b = matrix(lengths, grams)
    a = b if right is None else matrix(*_prefixes(left, threshold, rank))
    return a, b.T.tocsr()


def jaccard_pairs(left: GramSets, right: GramSets | None, threshold: float) -> Pairs:
    """Return every pair of texts with a Jaccard similarity of `threshold` or more; `right=None` joins left to itself.

    Exact: equal to comparing every pair. A self-join returns each pair once, left < right.
    """
    import numpy as np

    itself = right is None
    a, across = _common_prefixes(left, right, threshold)
    left_rows, left_sizes = _rows(left), left.sizes
    right_rows, right_sizes = (left_rows, left_sizes) if right is None else (_rows(right), right.sizes)
    work = np.concatenate(([0], np.cumsum(a @ np.diff(across.indptr).astype(np.int64))))
    found: list[tuple[Ints, Ints, Floats]] = []
    first = 0
    while first < len(left_sizes):
        last = max(first + 1, int(np.searchsorted(work, work[first] + BLOCK_WORK, side="right")) - 1)
        product = (a[first:last] @ across).tocoo()
        i, j = product.row.astype(np.int64) + first, product.col.astype(np.int64)
        small = np.minimum(left_sizes[i], right_sizes[j])
        large = np.maximum(left_sizes[i], right_sizes[j])
        keep = product.data >= np.minimum(SHARED_PREFIX, np.ceil(threshold * large - 1e-9))
        keep &= small >= threshold * large - 1e-9
        if itself:
            keep &= i < j
        i, j = i[keep], j[keep]
        both = _shared(left_rows, right_rows, i, j)
        similarity = both / (left_sizes[i] + right_sizes[j] - both)
        enough = similarity >= threshold - 1e-9
        found.append((i[enough], j[enough], similarity[enough]))
        first = last
    return _joined(found)


def grams(normal: str, *, by_word: bool = False) -> frozenset[str]:
    """Return the gram set of one normal form, as text: the definition that the hashed sets must equal."""
    if by_word:
        words = normal.split()
        words += [""] * (GRAM - len(words))
        return frozenset("\n".join(words[place : place + GRAM]) for place in range(len(words) - GRAM + 1))
    padded = _padded(normal)
    return frozenset(padded[place : place + GRAM] for place in range(len(padded) - GRAM + 1))


def similarity(left: str, right: str) -> float:
    """Return the Jaccard similarity of two normal forms, 0-1."""
    by_word = min(left.count(" "), right.count(" ")) >= LONG_TEXT_WORDS
    a, b = grams(left, by_word=by_word), grams(right, by_word=by_word)
    return len(a & b) / len(a | b)


def similar_normals(left: Sequence[str], right: Sequence[str] | None, threshold: float) -> Pairs:
    """Return every pair of normal forms with a similarity of `threshold` or more; `right=None` joins left to itself."""
    others = left if right is None else right
    tiles = [list(_blocks([len(text) for text in texts], TILE_CHARACTERS)) for texts in (left, others)]
    found: list[tuple[Ints, Ints, Floats]] = []
    for (first, last), (other, end) in itertools.product(*tiles):
        if right is None and other < first:
            continue
        one = None if right is None and other == first else others[other:end]
        pairs = _tile_pairs(left[first:last], one, threshold)
        found.append((pairs.left + first, pairs.right + other, pairs.similarity))
    return _joined(found)


def _tile_pairs(left: Sequence[str], right: Sequence[str] | None, threshold: float) -> Pairs:
    import numpy as np

    long_left = np.array([text.count(" ") >= LONG_TEXT_WORDS for text in left], bool)
    long_right = long_left if right is None else np.array([text.count(" ") >= LONG_TEXT_WORDS for text in right], bool)
    left_grams = character_grams(left)
    right_grams = None if right is None else character_grams(right)
    if not (long_left.any() and long_right.any()):
        return jaccard_pairs(left_grams, right_grams, threshold)
    # A long text can only be similar to a short one whose set is hardly smaller; the others need no character join.
    largest = max(
        (
            one.sizes[~long].max(initial=0)
            for one, long in ((left_grams, long_left), (right_grams or left_grams, long_right))
        ),
        default=0,
    )
    keep_left = np.flatnonzero(~long_left | (left_grams.sizes <= largest / threshold))
    keep_right = np.flatnonzero(~long_right | ((right_grams or left_grams).sizes <= largest / threshold))
    by_character = _renumbered(
        jaccard_pairs(
            _subset(left_grams, keep_left), None if right_grams is None else _subset(right_grams, keep_right), threshold
        ),
        keep_left,
        keep_right,
    )
    mixed = ~(long_left[by_character.left] & long_right[by_character.right])
    places_left, places_right = np.flatnonzero(long_left).tolist(), np.flatnonzero(long_right).tolist()
    vocabulary: dict[str, int] = {}
    by_word = _renumbered(
        jaccard_pairs(
            word_grams([left[place] for place in places_left], vocabulary),
            None if right is None else word_grams([right[place] for place in places_right], vocabulary),
            threshold,
        ),
        np.flatnonzero(long_left),
        np.flatnonzero(long_right),
    )
    return _joined([(by_character.left[mixed], by_character.right[mixed], by_character.similarity[mixed]), by_word])


def _subset(sets: GramSets, places: Ints) -> GramSets:
    import numpy as np

    sizes = sets.sizes[places]
    start = np.concatenate(([0], np.cumsum(sizes)))
    inside = np.arange(start[-1]) - np.repeat(start[:-1], sizes)
    return GramSets(sets.grams[np.repeat(sets.start[places], sizes) + inside], start)


def _renumbered(pairs: Pairs, left: Ints, right: Ints) -> Pairs:
    return Pairs(left[pairs.left], right[pairs.right], pairs.similarity)


def near_pairs(texts: Sequence[str], threshold: float) -> Pairs:
    """Return every pair of texts with a similarity of `threshold` or more, each once, left < right."""
    return similar_normals([normalise(text) for text in texts], None, threshold)


def near_pairs_between(left: Sequence[str], right: Sequence[str], threshold: float) -> Pairs:
    """Return every pair of a left and a right text with a similarity of `threshold` or more.

    Equal to comparing every pair (Jaccard similarity of the sets described at the top of this file).
    """
    return similar_normals([normalise(text) for text in left], [normalise(text) for text in right], threshold)


def _joined(found: Sequence[tuple[Ints, Ints, Floats]]) -> Pairs:
    import numpy as np

    left = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in found)])
    right = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in found)])
    similarity = np.concatenate([np.zeros(0), *(part[2] for part in found)])
    order = np.lexsort((right, left))
    return Pairs(left[order], right[order], similarity[order])
