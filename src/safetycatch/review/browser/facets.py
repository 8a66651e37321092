"""Facets: what rows can be filtered by, and how many rows each choice leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from safetycatch.review.browser.texts import Integers, Mask


@dataclass(frozen=True, slots=True)
class Facet:
    """One property of rows: `codes` point into `values`, -1 is none of them.

    A code is a row's own, or that of the row at the same place in `rows` where a row may have several. `listed` facets
    are offered for a choice; the others are reached by links.
    """

    name: str
    title: str
    values: tuple[str, ...]
    codes: Integers
    rows: Integers | None = None
    listed: bool = True

    def holding(self, wanted: Collection[str], n_rows: int) -> Mask:
        """Return the rows that have one of the `wanted` values."""
        codes = [number for number, value in enumerate(self.values) if value in wanted]
        held = np.isin(self.codes, codes)
        if self.rows is None:
            return held
        found = np.zeros(n_rows, dtype=bool)
        found[self.rows[held]] = True
        return found

    def counts(self, among: Mask) -> list[int]:
        """Return how many rows of `among` have each value."""
        codes = self.codes[among] if self.rows is None else self.codes[among[self.rows]]
        return np.bincount(codes[codes >= 0], minlength=len(self.values)).tolist()

    def of(self, row: int) -> list[str]:
        """Return the values of one row."""
        codes = [self.codes[row]] if self.rows is None else self.codes[self.rows == row].tolist()
        return [self.values[int(code)] for code in codes if code >= 0]


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of a facet: the rows that it would leave beside the other filters, and whether it is chosen."""

    value: str
    n: int
    chosen: bool


def one_of(name: str, title: str, values: Sequence[str], codes: Integers, *, listed: bool = True) -> Facet:
    """Return a facet of which a row has one value at most."""
    return Facet(name, title, tuple(values), codes, listed=listed)


def some_of(name: str, title: str, found: Mapping[str, Integers | Mask]) -> Facet:
    """Return a facet of which a row may have several values: rows, as numbers or a mask, by value."""
    places = [np.flatnonzero(rows) if rows.dtype == bool else rows for rows in found.values()]
    codes = [np.full(len(rows), number, dtype=np.int64) for number, rows in enumerate(places)]
    nothing = np.zeros(0, dtype=np.int64)
    return Facet(
        name,
        title,
        tuple(found),
        np.concatenate([nothing, *codes]),
        np.concatenate([nothing, *places]).astype(np.int64),
    )


def narrowed(
    facets: Sequence[Facet], chosen: Mapping[str, Collection[str]], base: Mask
) -> tuple[Mask, dict[str, list[Choice]]]:
    """Return the rows of `base` that every chosen facet keeps, and the choices of each listed facet.

    Values of one facet are alternatives, different facets must all agree; a choice is counted over the rows that the
    *other* facets keep. A facet that is not there keeps no row.
    """
    n_rows = len(base)
    by_name = {facet.name: facet for facet in facets}
    nothing = np.zeros(n_rows, dtype=bool)
    kept = {
        name: by_name[name].holding(values, n_rows) if name in by_name else nothing for name, values in chosen.items()
    }
    together = base.copy()
    for mask in kept.values():
        together &= mask
    choices: dict[str, list[Choice]] = {}
    for facet in facets:
        if not facet.listed:
            continue
        others = together
        if facet.name in kept:
            others = base.copy()
            for name, mask in kept.items():
                if name != facet.name:
                    others &= mask
        wanted = chosen.get(facet.name, ())
        choices[facet.name] = [
            Choice(value, n, value in wanted) for value, n in zip(facet.values, facet.counts(others), strict=True)
        ]
    return together, choices
