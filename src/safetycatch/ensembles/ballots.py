"""Votes in long form, checked and numbered: who said what about which example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safetycatch.errors import StatisticsError

if TYPE_CHECKING:
    from collections.abc import Sequence

Ints = np.ndarray[tuple[int, ...], np.dtype[np.intp]]
COLUMNS = ("example_id", "annotator", "label")


@dataclass(frozen=True)
class Ballots:
    """The votes that were cast, as positions in `examples` (in order of appearance), `annotators` and `classes`."""

    examples: tuple[str, ...]
    annotators: tuple[str, ...]
    classes: tuple[str, ...]
    example: Ints
    annotator: Ints
    label: Ints

    @property
    def n_votes(self) -> Ints:
        """How many votes each example has."""
        return np.bincount(self.example, minlength=len(self.examples))


def read_ballots(labels: Any) -> Ballots:
    """Return the votes of a frame, or mapping, with the columns `example_id`, `annotator` and `label`.

    A label of None or NaN is a vote that was not cast: its example and annotator are known all the same.
    Raises: StatisticsError for a missing column, a label that is not text, or two votes of one annotator.
    """
    columns = [_column(labels, name) for name in COLUMNS]
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in zip(COLUMNS, columns, strict=True))
        raise StatisticsError(f"votes in columns of different length: {lengths}")
    examples, annotators, given = columns
    example, example_names = _numbered(examples)
    annotator, annotator_names = _numbered(annotators)
    cast = np.array(
        [not (label is None or (isinstance(label, float) and math.isnan(label))) for label in given], dtype=bool
    )
    stray = next(
        (label for label, there in zip(given, cast, strict=True) if there and not isinstance(label, str)), None
    )
    if stray is not None:
        raise StatisticsError(f"the vote {str(stray)[:80]!r} is a {type(stray).__name__}, not text or nothing")
    # Sorted, so that the order in which votes come changes nothing.
    classes = tuple(sorted({str(label) for label, there in zip(given, cast, strict=True) if there}))
    at = {name: number for number, name in enumerate(classes)}
    label = np.array([at[str(one)] for one, there in zip(given, cast, strict=True) if there], dtype=np.intp)
    found = Ballots(example_names, annotator_names, classes, example[cast], annotator[cast], label)
    keys = found.example * max(1, len(annotator_names)) + found.annotator
    if len(np.unique(keys)) < len(keys):
        order = np.sort(keys)
        twice = divmod(int(order[np.flatnonzero(np.diff(order) == 0)[0]]), len(annotator_names))
        raise StatisticsError(f"two votes of {annotator_names[twice[1]]!r} on {example_names[twice[0]]!r}, not one")
    return found


def _column(labels: Any, name: str) -> Sequence[Any]:
    try:
        column = labels[name]
    except (KeyError, IndexError, TypeError):
        raise StatisticsError(f"the votes have no column {name!r}; expected {', '.join(COLUMNS)}") from None
    for reader in ("to_pylist", "tolist"):
        if hasattr(column, reader):
            return getattr(column, reader)()
    return list(column)


def _numbered(names: Sequence[Any]) -> tuple[Ints, tuple[str, ...]]:
    at: dict[str, int] = {}
    numbers = [at.setdefault(str(name), len(at)) for name in names]
    return np.array(numbers, dtype=np.intp), tuple(at)
