"""`review RUN --rows --csv FILE`: a run's filtered rows as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from safetycatch.cli.output import Output
    from safetycatch.store import Store, StoredRun
    from safetycatch.store.label_sets import LabelSet


def write_rows(store: Store, run: StoredRun, labels: LabelSet | None, asked: str, path: Path, output: Output) -> None:
    """Write the rows that a query keeps to a new CSV file.

    Raises: UsageError for a missing folder, an existing file, a run without rows, or a filter that is not there.
    """
    from safetycatch.cli.exporting import new_file
    from safetycatch.errors import UsageError
    from safetycatch.review.browser.export import csv_lines
    from safetycatch.review.browser.labelled import Labelled
    from safetycatch.review.browser.query import Query
    from safetycatch.review.browser.rows import RowIndex

    query, index = Query.parse(asked), RowIndex(run, store)
    labelled = Labelled(index, labels.labels(), 0) if labels is not None else None
    known = [facet.name for facet in index.facets(query, labelled)]
    stray = next((name for name in query.chosen if name not in known), None)
    if stray is not None:
        raise UsageError(f"no filter {stray[:80]!r}", where=f"run {run.run_id}", expected=", ".join(known))
    rows = index.select(query, labelled).rows.tolist()
    with new_file(path) as file:
        for piece in csv_lines(index, query, labelled, rows):
            file.write(piece)
    output.document({"file": str(path.absolute()), "rows": len(rows), "run": run.run_id, "filter": query.url()})
    output.line(f"{len(rows):,} of {index.n_rows:,} rows")
    output.field("file", str(path))
