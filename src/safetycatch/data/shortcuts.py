"""Ways to get the target without reading: one word, the label's own text, or one field that decides it."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.data.crossings import group_keys
from safetycatch.data.normalisation import comparison_texts, normalise
from safetycatch.errors import UsageError
from safetycatch.identity import keyed_fraction
from safetycatch.tables import CONTRACTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow as pa

CERTAIN = 0.98
MIN_SUPPORT = 20
MIN_SUPPORT_SHARE = 0.01
NORMAL_95 = 1.959963984540054
MAX_DISTINCT_SHARE = 0.5
MIN_ROWS = 20
FOLDS = 5
LEFT_MISTAKES = 0.25  # a field "decides" only if it leaves a quarter of the majority class's mistakes at most
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class TokenShortcut:
    """A word (or a label's text, `is_label`) after which the target is nearly always `label`.

    `n_agree` of the `n_rows` distinct texts with it have this label; `low` is the Wilson lower bound of that share;
    `example_id` is one such row.
    """

    token: str
    label: str
    is_label: bool
    n_rows: int
    n_agree: int
    low: float
    example_id: str


@dataclass(frozen=True, slots=True)
class FieldShortcut:
    """How well one field alone gives the target: cross-validated `accuracy` beside the `majority` class's share.

    `decides` when the accuracy is .98 or more and at most a quarter of the majority's mistakes are left.
    """

    field: str
    accuracy: float
    majority: float
    n_rows: int
    decides: bool


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """`tokens`: words and label texts that predict a label. `fields`: every field tried. `not_checked`: why not."""

    tokens: tuple[TokenShortcut, ...]
    fields: tuple[FieldShortcut, ...]
    not_checked: tuple[str, ...]
    n_rows: int
    n_labels: int

    @property
    def deciding(self) -> tuple[FieldShortcut, ...]:
        """The fields that decide the target."""
        return tuple(field for field in self.fields if field.decides)


def find_shortcuts(
    examples: pa.Table, *, cluster_ids: Sequence[str] | None = None, leave_out: Iterable[str] = (), seed: int = 0
) -> Shortcuts:
    """Return what gives the target away in an `examples` table with its slice columns.

    Fields are the slice columns, the members of JSON inputs, the input's length and its last words. Left out: the
    columns in `leave_out` (the target's own, ids, groups, times, splits), and fields with more than 50 % distinct
    values. `cluster_ids` keep the rows of a cluster in one fold (default: the groups, else equal texts).

    Raises: UsageError when `cluster_ids` has another length than the table.
    """
    n_rows, targets = examples.num_rows, examples["target"].to_pylist()
    if cluster_ids is not None and len(cluster_ids) != n_rows:
        raise UsageError(f"{len(cluster_ids)} cluster ids for {n_rows} rows")
    texts = comparison_texts(examples)
    normals = [normalise(text) for text in texts]
    labels = Counter(targets)
    fields: list[FieldShortcut] = []
    if n_rows < MIN_ROWS:
        return Shortcuts((), (), (f"{n_rows} rows are too few (20)",), n_rows, len(labels))
    verbal = {label: normalise(_CAMEL.sub(" ", label)) for label in labels}
    majority = max(labels.values()) / n_rows
    appended = sum(
        bool(verbal[target]) and f" {normal}".endswith(f" {verbal[target]}") and normal != verbal[target]
        for normal, target in zip(normals, targets, strict=True)
    )
    fields.append(_judged("appended target", appended / n_rows, majority, n_rows))
    if len(labels) < 2 or len(labels) > MAX_DISTINCT_SHARE * n_rows:
        why = f"{len(labels)} different targets in {n_rows} rows are no classes: words and fields were not tried"
        return Shortcuts((), tuple(fields), (why,), n_rows, len(labels))
    folds = _folds(cluster_ids or _clusters(examples, normals), seed)
    left_out: list[str] = []
    for name, values in _fields(examples, set(leave_out)).items():
        if len(set(values)) > MAX_DISTINCT_SHARE * n_rows:
            left_out.append(f"{name}: more than half of its values differ")
        else:
            fields.append(_judged(name, _accuracy(values, targets, folds, _exact_rule), majority, n_rows))
    lengths = [len(text) for text in texts]
    fields.append(_judged("input length", _accuracy(lengths, targets, folds, _nearest_rule), majority, n_rows))
    endings = [normal.rpartition(" ")[2] for normal in normals]
    if len(set(endings)) <= MAX_DISTINCT_SHARE * n_rows and any(" " in normal for normal in normals):
        fields.append(_judged("last word", _accuracy(endings, targets, folds, _exact_rule), majority, n_rows))
    tokens = _tokens(examples["example_id"].to_pylist(), normals, targets, verbal)
    return Shortcuts(tokens, tuple(fields), tuple(left_out), n_rows, len(labels))


def _judged(field: str, accuracy: float, majority: float, n_rows: int) -> FieldShortcut:
    decides = accuracy >= CERTAIN and 1 - accuracy <= LEFT_MISTAKES * (1 - majority) and majority < 1
    return FieldShortcut(field, accuracy, majority, n_rows, decides)


def _clusters(examples: pa.Table, normals: Sequence[str]) -> list[str]:
    return [keys[0] if keys else normal for keys, normal in zip(group_keys(examples), normals, strict=True)]


def _folds(clusters: Sequence[str], seed: int) -> list[int]:
    ordered = sorted(set(clusters), key=lambda name: keyed_fraction(seed, "fold", name))
    fold = {name: place % FOLDS for place, name in enumerate(ordered)}
    return [fold[name] for name in clusters]


def _fields(examples: pa.Table, leave_out: set[str]) -> dict[str, list[str | None]]:
    contract = {*CONTRACTS["examples"].names}
    fields = {
        name: examples[name].to_pylist()
        for name in examples.column_names
        if name not in contract and name not in leave_out
    }
    kinds, inputs = examples["input_kind"].to_pylist(), examples["input"].to_pylist()
    if set(kinds) == {"json"}:
        rows = [json.loads(text) for text in inputs]
        if all(isinstance(row, dict) for row in rows):
            for name in sorted({name for row in rows for name in row} - leave_out):
                fields[f"input.{name}"] = [json.dumps(row.get(name), sort_keys=True) for row in rows]
    return fields


def _accuracy(
    values: Sequence[object],
    targets: Sequence[str],
    folds: Sequence[int],
    learn: Callable[[Sequence[object], Sequence[str]], Callable[[object], str]],
) -> float:
    """Return the share of rows whose target a rule learned from the other folds gets right."""
    right = 0
    for fold in set(folds):
        known = [place for place, other in enumerate(folds) if other != fold]
        if not known:
            continue
        rule = learn([values[place] for place in known], [targets[place] for place in known])
        right += sum(rule(values[place]) == targets[place] for place, other in enumerate(folds) if other == fold)
    return right / len(values)


def _most(targets: Iterable[str]) -> str:
    counts = Counter(targets)
    return min(counts, key=lambda label: (-counts[label], label))


def _exact_rule(values: Sequence[object], targets: Sequence[str]) -> Callable[[object], str]:
    by_value: dict[object, list[str]] = defaultdict(list)
    for value, target in zip(values, targets, strict=True):
        by_value[value].append(target)
    usual = _most(targets)
    best = {value: _most(group) for value, group in by_value.items()}
    return lambda value: best.get(value, usual)


def _nearest_rule(values: Sequence[object], targets: Sequence[str]) -> Callable[[object], str]:
    numbers = [int(str(value)) for value in values]
    exact = _exact_rule(numbers, targets)
    known = sorted(set(numbers))

    def rule(value: object) -> str:
        number = int(str(value))
        place = bisect_left(known, number)
        return exact(min(known[max(0, place - 1) : place + 1], key=lambda other: (abs(other - number), other)))

    return rule


def _tokens(
    ids: Sequence[str], normals: Sequence[str], targets: Sequence[str], verbal: dict[str, str]
) -> tuple[TokenShortcut, ...]:
    """Return the words and label texts that predict a label far beyond its share; equal texts of a label count once."""
    support = max(MIN_SUPPORT, MIN_SUPPORT_SHARE * len(ids))
    counts: dict[tuple[str, bool], Counter[str]] = defaultdict(Counter)
    example: dict[tuple[str, bool, str], str] = {}
    phrases = {text for text in verbal.values() if text}
    lengths = {phrase.count(" ") + 1 for phrase in phrases}
    shares = {label: count / len(targets) for label, count in Counter(targets).items()}
    seen: set[tuple[str, str]] = set()
    for name, normal, target in zip(ids, normals, targets, strict=True):
        if (normal, target) in seen:
            continue
        seen.add((normal, target))
        words = set(normal.split())
        found = [(word, False) for word in words - phrases]
        found += [(phrase, True) for phrase in _runs(normal.split(), lengths) & phrases]
        for key in found:
            counts[key][target] += 1
            example.setdefault((*key, target), name)
    shortcuts: list[TokenShortcut] = []
    for (token, is_label), by_target in counts.items():
        total = by_target.total()
        label, agree = max(by_target.items(), key=lambda item: (item[1], item[0]))
        low = wilson_low(agree, total)
        if total >= support and low >= CERTAIN and 1 - low <= LEFT_MISTAKES * (1 - shares[label]):
            shortcuts.append(TokenShortcut(token, label, is_label, total, agree, low, example[token, is_label, label]))
    return tuple(sorted(shortcuts, key=lambda shortcut: (-shortcut.n_rows, shortcut.token)))


def _runs(words: Sequence[str], lengths: Iterable[int]) -> set[str]:
    return {" ".join(words[place : place + length]) for length in lengths for place in range(len(words) - length + 1)}


def wilson_low(successes: int, total: int) -> float:
    """Return the lower end of the two-sided 95 % Wilson interval of a rate (Wilson 1927)."""
    rate, z2 = successes / total, NORMAL_95**2
    spread = NORMAL_95 * (rate * (1 - rate) / total + z2 / (4 * total**2)) ** 0.5
    return (rate + z2 / (2 * total) - spread) / (1 + z2 / total)
