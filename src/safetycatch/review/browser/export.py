"""The rows of a query as CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from safetycatch.data.spreadsheet import defused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safetycatch.review.browser.labelled import Labelled
    from safetycatch.review.browser.query import Query
    from safetycatch.review.browser.rows import RowIndex

BATCH_ROWS = 1_000
COLUMNS = (
    *("example_id", "candidate", "replicate", "status", "input", "target", "output", "parsed", "metric", "score"),
    *("flip", "judge_says", "people_say", "failure_modes", "critiques", "cost_usd", "latency_s", "n_tokens_out"),
)


def csv_lines(index: RowIndex, query: Query, labelled: Labelled | None, rows: Sequence[int]) -> Iterator[bytes]:
    """Yield a CSV file of these rows piece by piece: UTF-8, a `'` before what a spreadsheet would take for a formula.

    Numbers stay numbers; what is missing is an empty cell.
    """
    line = io.StringIO(newline="")
    writer = csv.writer(line, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    metric = index.shown_metric(query.metric)
    facets = {facet.name: facet for facet in index.facets(query, labelled)}
    for start in range(0, len(rows), BATCH_ROWS):
        for cells in _batch(index, metric, facets, labelled, rows[start : start + BATCH_ROWS]):
            writer.writerow([defused(cell) if isinstance(cell, str) else cell for cell in cells])
        yield line.getvalue().encode()
        line.seek(0)
        line.truncate()
    yield line.getvalue().encode()


def _batch(
    index: RowIndex, metric: str, facets: dict[str, Any], labelled: Labelled | None, rows: Sequence[int]
) -> Iterator[tuple[str | float | int | None, ...]]:
    items = index.item[list(rows)].tolist()
    ids, texts = index.names_of(items), index.texts_of(items)
    outputs, parsed = (index.outputs.take(column, rows) for column in ("output", "parsed"))
    scores = index.scores(metric) if metric else np.full(index.n_rows, np.nan)
    critiques: dict[int, list[str]] = {row: [] for row in rows}
    for said in index.verdicts_of(rows):
        critiques[said["row"]] += [f"{said['judge']}: {said['critique']}"] if said["critique"] else []
    people = labelled.said if labelled is not None else {}
    for row in rows:
        critiques[row] += [f"{one.annotator}: {one.critique}" for one in people.get(row, []) if one.critique]
    for place, row in enumerate(rows):
        told = {
            name: "; ".join(facets[name].of(row)) if name in facets else None
            for name in ("status", "flip", "verdict", "label", "mode")
        }
        yield (
            ids[place],
            index.candidates[index.candidate[row]],
            int(index.replicate[row]),
            told["status"],
            texts[place].get("input"),
            texts[place].get("target"),
            outputs[place],
            parsed[place],
            metric,
            _number(scores[row]),
            told["flip"],
            told["verdict"],
            told["label"],
            told["mode"],
            "\n".join(critiques[row]),
            *(_number(index.numbers[name][row]) for name in ("cost_usd", "latency_s", "n_tokens_out")),
        )


def _number(value: float) -> float | int | None:
    if np.isnan(value):
        return None
    return int(value) if float(value).is_integer() else float(value)
