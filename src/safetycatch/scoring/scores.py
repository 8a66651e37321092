"""From replies to the `scores` table, with what could not be read counted apart."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from safetycatch import tables
from safetycatch.errors import DataError
from safetycatch.scoring.scorer import MISSING, row_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from safetycatch.scoring.scorer import Scorer


class Outcomes(NamedTuple):
    """How one candidate's rows ended; all but `n_missing` are scored, and all but `n_parsed` of those as wrong."""

    n: int
    n_parsed: int
    n_unparsable: int
    n_refusals: int
    n_cut: int
    n_filtered: int
    n_missing: int


def parse_rows(rows: pa.Table, scorer: Scorer) -> pa.Table:
    """Return `rows` with the column `parsed` as `scorer` reads it; null where it is unparsable or no answer."""
    import pyarrow as pa

    pairs = zip(rows["status"].to_pylist(), rows["output"].to_pylist(), strict=True)
    parsed = [scorer.parse(output) if status == "answer" and output is not None else None for status, output in pairs]
    return rows.set_column(
        rows.column_names.index("parsed"), rows.schema.field("parsed"), pa.array(parsed, pa.string())
    )


def count_outcomes(rows: pa.Table) -> dict[str, Outcomes]:
    """Return how the rows of each candidate ended, after `parse_rows`."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    columns = (rows[name].to_pylist() for name in ("candidate", "status", "parsed"))
    for candidate, status, parsed in zip(*columns, strict=True):
        counts[candidate]["unparsable" if status == "answer" and parsed is None else status] += 1
    return {
        candidate: Outcomes(
            sum(by.values()),
            by["answer"],
            by["unparsable"],
            by["refusal"],
            by["length"],
            by["filtered"],
            sum(by[status] for status in MISSING),
        )
        for candidate, by in counts.items()
    }


def score_rows(rows: pa.Table, examples: pa.Table, scorers: Sequence[Scorer]) -> pa.Table:
    """Return the `scores` of every row under every scorer; values are null where undefined or infrastructure failed.

    `rows` may hold several runs and candidates; metrics that need the whole set are taken over one candidate's rows of
    one run, replicates together. Raises: DataError for a row without its example.
    """
    import pyarrow as pa

    known: dict[str, dict[str, Any]] = {row["example_id"]: row for row in examples.to_pylist()}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows.to_pylist():
        if row["example_id"] not in known:
            raise DataError(f"no example {row['example_id']!r}", where=f"rows of {row['candidate']}")
        groups[row["run_id"], row["candidate"]].append({**known[row["example_id"]], **row})
    names = tables.CONTRACTS["scores"].names
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for group in groups.values():
        targets = [row["target"] for row in group]
        for scorer in scorers:
            values = row_values(scorer, group, targets).value.tolist()
            for name in ("run_id", "candidate", "example_id", "replicate"):
                columns[name].extend(row[name] for row in group)
            columns["metric"].extend([scorer.name] * len(group))
            columns["value"].extend(None if math.isnan(value) else value for value in values)
    return pa.table(columns, schema=tables.schema("scores"))
