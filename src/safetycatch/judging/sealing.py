"""Labelled items in parts: few to show a judge, some to tune it on, and a sealed test that nothing may learn from.

Who is in which part is decided once an item, whatever experiment asks; items that are labelled later join, and move
nobody.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from safetycatch.data.clusters import components, duplicates, group_edges, near_duplicate_clusters
from safetycatch.identity import fingerprint, keyed_fraction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Part = Literal["few_shot", "dev", "sealed", "left_out"]
FEW_SHOT, DEV, SEALED, LEFT_OUT = "few_shot", "dev", "sealed", "left_out"
PARTS: tuple[Part, ...] = ("few_shot", "dev", "sealed", "left_out")

FEW_SHOT_SHARE, MOST_FEW_SHOT = 0.1, 24
DEV_SHARE, MOST_DEV = 0.25, 100
SEED = 5
# Shorter texts occur in a rubric by chance.
SHORTEST_QUOTE = 20


class ItemKey(NamedTuple):
    """What names an item: whose output on which row."""

    example_id: str
    candidate: str
    output_hash: str

    @property
    def text(self) -> str:
        """The key as one text, for JSON: 40 digits of its fingerprint."""
        return fingerprint(*self)[:40]


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """An item with its one human label; `drawn`: it came by chance, not by being picked."""

    key: ItemKey
    label: str
    texts: tuple[str, ...]
    drawn: bool = True

    @property
    def names(self) -> tuple[str, str]:
        """By what its part is known: its key, and its content, which has the same part under another id."""
        return self.key.text, fingerprint("content", *self.texts)[:40]


@dataclass(frozen=True, slots=True)
class Sealing:
    """Which part every item is in; `clusters` names its near-duplicates, `why` says why items are left out."""

    parts: dict[ItemKey, Part]
    clusters: dict[ItemKey, int]
    why: dict[str, int] = field(default_factory=dict[str, int])

    def of(self, part: Part) -> list[ItemKey]:
        """Return the items of a part, in their order."""
        return [key for key, own in self.parts.items() if own == part]

    @property
    def sizes(self) -> dict[str, int]:
        """How many items each part has."""
        counts = Counter(self.parts.values())
        return {part: counts[part] for part in PARTS}


def part_before(item: LabelledItem, before: Mapping[str, Part]) -> Part | None:
    """Return the part that an item has among those dealt `before`, by its key, else by its content; None for a new one.

    What was picked here, though it was drawn elsewhere, is no sealed item of this label material.
    """
    for name in item.names:
        if name in before:
            found = before[name]
            return "left_out" if found == SEALED and not item.drawn else found
    return None


def merged(*dealt: Mapping[str, Part]) -> dict[str, Part]:
    """Return the parts that several deals agree on; what is sealed in one and not in another is left out for good."""
    found: dict[str, Part] = {}
    for parts in dealt:
        for name, part in parts.items():
            both: set[Part] = {found.get(name, part), part}
            found[name] = part if len(both) == 1 else "few_shot" if both == {FEW_SHOT, DEV} else "left_out"
    return found


def recorded(items: Sequence[LabelledItem], sealing: Sealing) -> dict[str, Part]:
    """Return the parts of a deal by every name of its items, as they are kept; a content in two parts is none's."""
    parts: list[dict[str, Part]] = [{name: sealing.parts[item.key]} for item in items for name in item.names]
    return merged(*parts)


def seal(items: Sequence[LabelledItem], before: Mapping[str, Part] | None = None) -> Sealing:
    """Return the part of every item: `before` (by `LabelledItem.names`) as it was, new items by label in keyed order.

    A tenth (at most 24) to show, a quarter (at most 100) to tune on, the rest sealed, of each label alike. Items that
    answer one row, and near-duplicates (`data.duplicates`), go together. What was picked rather than
    drawn is never sealed: it stands for nothing; and a new item that resembles both a sealed one and another part's is
    left out. The sealed part stands for all labelled items only as far as they were drawn.
    """
    known: dict[ItemKey, Part] = {
        item.key: part for item in items if (part := part_before(item, before or {})) is not None
    }
    clusters = clusters_of(items)
    members: dict[int, list[LabelledItem]] = defaultdict(list)
    for item in items:
        members[clusters[item.key]].append(item)
    parts: dict[ItemKey, Part] = {}
    why: Counter[str] = Counter()
    by_label: dict[str, list[list[LabelledItem]]] = defaultdict(list)
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for of_cluster in members.values():
        seen: set[Part] = {known[item.key] for item in of_cluster if item.key in known}
        seen.discard(LEFT_OUT)
        fresh = [item for item in of_cluster if item.key not in known]
        for item in of_cluster:
            if item.key in known:
                parts[item.key] = known[item.key]
                held[item.label][known[item.key]] += 1
        if not fresh:
            continue
        if not seen:
            by_label[_stratum(fresh)].append(fresh)
            continue
        for item in fresh:
            parts[item.key], reason = _joined(item, seen)
            held[item.label][parts[item.key]] += 1
            if reason:
                why[reason] += 1
    totals = Counter(item.label for item in items)
    shares = _targets(len(items))
    for label, groups in by_label.items():
        _fill(groups, parts, held[label], totals[label] / len(items), shares)
    return Sealing({item.key: parts[item.key] for item in items}, clusters, dict(why))


def _joined(item: LabelledItem, seen: set[Part]) -> tuple[Part, str]:
    """Return the part of a new item that resembles items of the parts `seen`."""
    if SEALED not in seen:
        return (DEV if DEV in seen else FEW_SHOT), ""
    if len(seen) > 1:
        return LEFT_OUT, "resembles a sealed item and one of another part"
    if not item.drawn:
        return LEFT_OUT, "was picked, and resembles a sealed item"
    return SEALED, ""


def _stratum(group: Sequence[LabelledItem]) -> str:
    return Counter(item.label for item in group).most_common(1)[0][0]


def _targets(n: int) -> tuple[float, float]:
    """Return how many items are to be shown and to be tuned on."""
    return min(MOST_FEW_SHOT, FEW_SHOT_SHARE * n), min(MOST_DEV, DEV_SHARE * n)


def _fill(
    groups: list[list[LabelledItem]],
    parts: dict[ItemKey, Part],
    held: Counter[str],
    share: float,
    targets: tuple[float, float],
) -> None:
    """Give each cluster of a label a part, in keyed order: to show, to tune on, then sealed."""
    wanted = {FEW_SHOT: round(targets[0] * share), DEV: round(targets[1] * share)}

    def order(group: list[LabelledItem]) -> tuple[bool, float]:
        # Picked items first: they cannot be sealed, so they take the places that need no draw.
        first = min(item.key for item in group)
        return all(item.drawn for item in group), keyed_fraction(SEED, "", *first)

    for group in sorted(groups, key=order):
        drawn = all(item.drawn for item in group)
        part: Part = SEALED
        for open_part in (FEW_SHOT, DEV):
            if held[open_part] + len(group) <= wanted[open_part]:
                part = open_part
                break
        if part == SEALED and not drawn:
            part = DEV
        for item in group:
            parts[item.key] = part
        held[part] += len(group)


def clusters_of(items: Sequence[LabelledItem]) -> dict[ItemKey, int]:
    """Return a cluster for each item: items of one row, and items whose output (or whole text) nearly repeats."""
    import numpy as np

    if not items:
        return {}
    texts = ["\n".join(item.texts) for item in items]
    groups = [[item.key.example_id] for item in items]
    edges = np.concatenate((group_edges(groups), duplicates(texts).row_edges))
    labels = components(edges, len(items)).tolist()
    return {item.key: int(label) for item, label in zip(items, labels, strict=True)}


class Overlap(NamedTuple):
    """A sealed item found where a judge could learn it: `where` is few_shot, dev, rubric …; `kind` how it matches."""

    key: ItemKey
    where: str
    kind: str


def overlaps(
    sealed: Iterable[LabelledItem], seen: Mapping[str, Sequence[str]], *, prompts: Mapping[str, str] | None = None
) -> list[Overlap]:
    """Return the sealed items whose text, or nearly that text, is among the texts `seen` by where, or in a prompt.

    Source of the measure: `data.near_duplicate_clusters` (character 5-gram Jaccard at least .8).
    """
    own = list(sealed)
    found: list[Overlap] = []
    for where, texts in seen.items():
        if not texts or not own:
            continue
        labels = near_duplicate_clusters([*("\n".join(item.texts) for item in own), *texts]).tolist()
        there = set(labels[len(own) :])
        found += [
            Overlap(item.key, where, "near-duplicate")
            for item, label in zip(own, labels[: len(own)], strict=True)
            if label in there
        ]
    for where, prompt in (prompts or {}).items():
        words = _squeezed(prompt)
        found += [
            Overlap(item.key, where, "in the text")
            for item in own
            if any(len(text) >= SHORTEST_QUOTE and text in words for text in map(_squeezed, item.texts))
        ]
    return found


def _squeezed(text: str) -> str:
    return " ".join(text.casefold().split())
