"""The rows that may be shown, and for each query those that may not: itself, its cluster, the same text."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from safetycatch.errors import DataError
from safetycatch.fewshot.plain import plain_text, text_key
from safetycatch.identity import keyed_fraction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from safetycatch.settings import ShotSettings


class Row(NamedTuple):
    """An example as selection sees it: `text` is what is compared, `key` what equal texts share."""

    example_id: str
    target: str
    text: str
    key: str
    cluster: str


def rows_of(examples: pa.Table, clusters: Mapping[str, str] | None) -> list[Row]:
    """Return the rows of an `examples` table; without `clusters` each is its own. Raises: DataError for one without."""
    columns = (examples[name].to_pylist() for name in ("example_id", "input", "input_kind", "target"))
    rows: list[Row] = []
    for example_id, source, kind, target in zip(*columns, strict=True):
        cluster = example_id if clusters is None else clusters.get(example_id)
        if cluster is None:
            raise DataError("no cluster is known", where=f"example {example_id}", expected="one cluster_id an example")
        text = plain_text(source, kind)
        rows.append(Row(example_id, target, text, text_key(text), cluster))
    return rows


def seeded(rows: list[Row], seed: int) -> list[Row]:
    """Return the rows in an order that depends on seed and ids only, one of each text."""
    ordered = sorted(rows, key=lambda row: (keyed_fraction(seed, "shot", row.example_id), row.example_id))
    return list({row.key: row for row in reversed(ordered)}.values())[::-1]


class Barred:
    """Positions in a list of rows that a query may not be shown."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._at: dict[tuple[str, str], list[int]] = defaultdict(list)
        for position, row in enumerate(rows):
            for name in _identities(row):
                self._at[name].append(position)

    def of(self, query: Row) -> set[int]:
        """Return the positions that `query` may not see."""
        return {position for name in _identities(query) for position in self._at.get(name, ())}


def _identities(row: Row) -> tuple[tuple[str, str], ...]:
    return ("id", row.example_id), ("cluster", row.cluster), ("text", row.key)


def too_few(query: Row, left: int, settings: ShotSettings) -> DataError:
    """Return the error of a query that is left with `left` rows to be shown."""
    return DataError(
        f"the pool has {left} rows outside the cluster of this query, {settings.name} needs {settings.k}",
        where=f"query {query.example_id}",
        fix=f"k: {left}, or a larger train split" if left else "a train split of other clusters",
    )
