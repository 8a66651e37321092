"""Rows that appear on two sides of a boundary: the same text, a near-duplicate, or a row quoted in a prompt.

Kinds, strongest first; a pair of rows has one:
exact       the texts are equal
normalised  equal after case, HTML, accents, punctuation and spaces (`normalise`)
bag         the same words in another order
near        Jaccard similarity of `near` (.8) or more
template    as near, but the texts differ only in numbers and one run of words that is a name, a code or other content:
            the same form about something else (`same_form`)
similar     similarity of `similar` (.6) or more
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from safetycatch import tables
from safetycatch.data.normalisation import (
    Frame,
    comparison_texts,
    normalise,
    same_form,
    token_bag,
    without_digits,
)
from safetycatch.data.similarity import grams, similar_normals, similarity
from safetycatch.errors import DataError
from safetycatch.settings import LeakSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

DUPLICATE_KINDS = ("exact", "normalised", "bag", "near")
SCORED_FIRST = ("test", "dev", "judge")
FULL_CROSS = 64  # beyond so many pairs of one repeated text, each row is paired once instead of with every other
FULL_SHUFFLES = 4096
SHORT_QUOTE_CHARACTERS = 20
DEFAULT = LeakSettings()


class TextPair(NamedTuple):
    """Two different normal forms, by number, and how they are alike."""

    left: int
    right: int
    kind: str
    similarity: float


@dataclass(frozen=True, slots=True)
class TextIndex:
    """The distinct normal forms of texts: `rows[k]` are the rows, `spellings[k]` the distinct texts of `normals[k]`."""

    normals: list[str]
    rows: list[list[int]]
    spellings: list[list[str]]

    @classmethod
    def of(cls, texts: Sequence[str]) -> TextIndex:
        """Return the index of `texts`."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row, text in enumerate(texts):
            rows[normalise(text)].append(row)
        spellings = [list(dict.fromkeys(texts[row] for row in group)) for group in rows.values()]
        return cls(list(rows), list(rows.values()), spellings)


def alike(
    left: TextIndex, right: TextIndex | None, settings: LeakSettings, threshold: float, frame: Frame
) -> Iterator[TextPair]:
    """Yield every pair of different normal forms that are bag-equal or have a similarity of `threshold` or more.

    `right=None` pairs `left` with itself; the `frame` is left out of the similarity. A pair is a template only if
    every two spellings say so.
    """
    other = right or left
    left_forms = [(token_bag(normal), without_digits(normal)) for normal in left.normals]
    right_forms = left_forms if right is None else [(token_bag(n), without_digits(n)) for n in right.normals]
    inner = [frame.strip(normal) for normal in left.normals]
    other_inner = inner if right is None else [frame.strip(normal) for normal in right.normals]
    joined = similar_normals(inner, None if right is None else other_inner, threshold)
    shuffled = _shuffled(left_forms, right_forms, itself=right is None)
    for i, j, value in zip(joined.left.tolist(), joined.right.tolist(), joined.similarity.tolist(), strict=True):
        if left.normals[i] == other.normals[j]:
            continue
        (bag, form), (other_bag, other_form) = left_forms[i], right_forms[j]
        shuffled.discard((i, j))
        if value < settings.near and bag != other_bag:
            yield TextPair(i, j, "similar", value)
        elif form == other_form or (
            bag != other_bag and all(same_form(x, y) for x in left.spellings[i] for y in other.spellings[j])
        ):
            yield TextPair(i, j, "template", value)
        else:
            yield TextPair(i, j, "bag" if bag == other_bag else "near", value)
    for i, j in sorted(shuffled):
        if left.normals[i] != other.normals[j]:
            kind = "template" if left_forms[i][1] == right_forms[j][1] else "bag"
            yield TextPair(i, j, kind, similarity(inner[i], other_inner[j]))


def _shuffled(left: list[tuple[str, str]], right: list[tuple[str, str]], *, itself: bool) -> set[tuple[int, int]]:
    """Return pairs with the same words; where there are thousands, each text with one that is no mere template of it.

    `left` and `right` are word bags and forms without digits; `itself` joins a list to itself, left < right.
    """
    places: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, forms in enumerate((left, right)):
        for place, (bag, _) in enumerate(forms):
            places[bag][side].append(place)
    pairs: set[tuple[int, int]] = set()
    for lefts, rights in places.values():
        if len(lefts) * len(rights) <= FULL_SHUFFLES:
            pairs.update((i, j) for i in lefts for j in rights)
            continue
        left_anchors = list({left[i][1]: i for i in reversed(lefts)}.items())[-2:]
        right_anchors = list({right[j][1]: j for j in reversed(rights)}.items())[-2:]
        pairs.update((i, j) for i in lefts for form, j in right_anchors if form != left[i][1])
        pairs.update((i, j) for j in rights for form, i in left_anchors if form != right[j][1])
    return {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]} if itself else pairs


def _crossed(left: Sequence[int], right: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of two groups of rows; of large groups only so many that every row is in one."""
    if len(left) * len(right) <= FULL_CROSS:
        yield from ((i, j) for i in left for j in right)
        return
    yield from ((i, right[0]) for i in left)
    yield from ((left[0], j) for j in right[1:])


@dataclass(frozen=True, slots=True)
class _Side:
    split: str
    ids: list[str]
    texts: list[str]
    index: TextIndex

    @classmethod
    def of(cls, examples: pa.Table, split: str) -> _Side:
        for column in ("example_id", "input", "input_kind"):
            if column not in examples.column_names:
                raise DataError(f"no column {column!r}", where=f"the {split} set", expected="an `examples` table")
        texts = comparison_texts(examples)
        return cls(split, examples["example_id"].to_pylist(), texts, TextIndex.of(texts))


def find_leaks(
    left: pa.Table,
    right: pa.Table,
    settings: LeakSettings = DEFAULT,
    *,
    left_split: str = "test",
    right_split: str = "train",
) -> pa.Table:
    """Return the rows of `left` (the scored side) whose text is also in `right`, as a `leaks` table.

    Both are `examples` tables. Exact: equal to comparing every pair of rows. A text repeated on both sides more than
    64 times over gives one pair for each of its rows, not every pair. Paraphrases without common words and
    translations are not found.

    Raises: DataError when a table lacks example_id, input or input_kind.
    """
    a, b = _Side.of(left, left_split), _Side.of(right, right_split)
    return _leaks(a, b, settings, Frame.of([*a.index.normals, *b.index.normals]))


def _leaks(left: _Side, right: _Side, settings: LeakSettings, frame: Frame) -> pa.Table:
    a, b = left.index, right.index
    found: list[tuple[int, int, str, float]] = []
    place_of = {normal: place for place, normal in enumerate(b.normals)}
    for place, normal in enumerate(a.normals):
        if normal in place_of:
            found += _equal_rows(left.texts, right.texts, a.rows[place], b.rows[place_of[normal]])
    for pair in alike(a, b, settings, settings.similar, frame):
        found += ((i, j, pair.kind, pair.similarity) for i, j in _crossed(a.rows[pair.left], b.rows[pair.right]))
    found.sort()
    return leak_table(
        [(left.ids[i], right.ids[j], left.split, right.split, kind, value) for i, j, kind, value in found]
    )


def _equal_rows(
    left_texts: list[str], right_texts: list[str], left: list[int], right: list[int]
) -> Iterator[tuple[int, int, str, float]]:
    pairs = dict.fromkeys(_crossed(left, right))
    if len(left) * len(right) > FULL_CROSS:  # a row with an equal text is to be shown with it
        first_right = {right_texts[j]: j for j in reversed(right)}
        first_left = {left_texts[i]: i for i in reversed(left)}
        pairs = dict.fromkeys((i, first_right.get(left_texts[i], right[0])) for i in left)
        pairs |= dict.fromkeys((first_left.get(right_texts[j], left[0]), j) for j in right)
    for i, j in pairs:
        yield i, j, "exact" if left_texts[i] == right_texts[j] else "normalised", 1.0


def leak_table(rows: Sequence[tuple[str, str, str, str, str, float | None]]) -> pa.Table:
    """Return a `leaks` table of (left_id, right_id, left_split, right_split, kind, similarity)."""
    import pyarrow as pa

    names = tables.CONTRACTS["leaks"].names
    columns = list(zip(*dict.fromkeys(rows), strict=True)) or [()] * len(names)
    schema = tables.schema("leaks")
    return pa.table(
        {name: pa.array(column, schema.field(name).type) for name, column in zip(names, columns, strict=True)},
        schema=schema,
    )


def boundaries(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of sets that must share no row, the more scored one first.

    Scored are test, dev and judge, in this order; the others (train, pool, a fine-tune file) feed models and may
    share rows with each other.
    """
    ranks = {name: place for place, name in enumerate(SCORED_FIRST)}
    ordered = sorted(names, key=lambda name: ranks.get(name, len(ranks)))
    for place, name in enumerate(ordered):
        if name in ranks:
            yield from ((name, other) for other in ordered[place + 1 :])


def leak_matrix(
    sets: Mapping[str, pa.Table], settings: LeakSettings = DEFAULT, *, prompts: Mapping[str, str] | None = None
) -> pa.Table:
    """Return the leaks between every two `examples` tables that must share no row, and from scored rows into prompts.

    `sets` are named train, pool, dev, test, judge or otherwise; `prompts` are texts by name. See `boundaries`.
    """
    import pyarrow as pa

    sides = {name: _Side.of(table, name) for name, table in sets.items()}
    frame = Frame.of(normal for side in sides.values() for normal in side.index.normals)
    found = [_leaks(sides[left], sides[right], settings, frame) for left, right in boundaries(list(sets))]
    found += [prompt_leaks(sets[name], prompts or {}, settings, split=name) for name in SCORED_FIRST if name in sets]
    return pa.concat_tables([tables.empty("leaks"), *found])


def prompt_leaks(
    examples: pa.Table, prompts: Mapping[str, str], settings: LeakSettings = DEFAULT, *, split: str = "test"
) -> pa.Table:
    """Return the rows that a prompt quotes: at least `settings.prompt` of a row's grams lie together in the prompt.

    Rows below 20 characters are found only where a line of the prompt is that row: a short answer or label is in many
    prompts by right.
    """
    ids, texts = examples["example_id"].to_pylist(), [normalise(text) for text in comparison_texts(examples)]
    found: list[tuple[str, str, str, str, str, float | None]] = []
    for name, prompt in prompts.items():
        lines = {normalise(line) for line in prompt.splitlines()}
        whole = normalise(prompt)
        known = grams(whole)
        for row, text in enumerate(texts):
            if len(text) < SHORT_QUOTE_CHARACTERS:
                share = float(text in lines)
            else:
                own = grams(text)
                share = len(own & known) / len(own)
                share = _largest_quote(own, len(text), whole) if share >= settings.prompt else share
            if share >= settings.prompt:
                found.append((ids[row], name, split, "prompt", "prompt", share))
    return leak_table(found)


def _largest_quote(own: frozenset[str], length: int, prompt: str) -> float:
    """Return the largest share of a text's grams within any stretch of the prompt of twice its length."""
    starts = range(0, max(1, len(prompt) - length), length)
    return max(len(own & grams(prompt[start : start + 2 * length + 2])) / len(own) for start in starts)
