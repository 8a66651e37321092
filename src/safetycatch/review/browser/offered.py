"""What rows can be filtered by, whatever people said: candidate, outcome, flip, status, verdict, catch, slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safetycatch.results.health import changed_sides
from safetycatch.results.matrix import SLICE
from safetycatch.review.browser.facets import one_of, some_of
from safetycatch.review.browser.texts import places, whole_numbers

if TYPE_CHECKING:
    from safetycatch.review.browser.facets import Facet
    from safetycatch.review.browser.rows import RowIndex
    from safetycatch.review.browser.texts import Mask

RIGHT, WRONG, BETWEEN, MISSING = "right", "wrong", "between", "missing"
JUDGE = "judge"
LEAK_FACTS = (("leaked_ids", "leaked"), ("crossed_ids", "crossed"), ("similar_ids", "similar"))


def of_metric(index: RowIndex, metric: str) -> list[Facet]:
    """Return the facets that a metric decides: the outcome of a row, and whether its item changed sides."""
    return [_outcome(index, metric), *_flips(index, metric)]


def of_rows(index: RowIndex) -> list[Facet]:
    """Return the facets that depend on neither metric nor labels, the candidate first."""
    return [
        one_of("candidate", "candidate", index.candidates, index.candidate),
        one_of("status", "status", index.statuses, index.status),
        *_verdicts(index),
        *_catches(index),
        *_of_items(index),
    ]


def _outcome(index: RowIndex, metric: str) -> Facet:
    values = index.scores(metric) if metric else np.full(index.n_rows, np.nan)
    if metric and not index.is_share(metric):
        codes = np.where(np.isnan(values), 1, 0)
        return one_of("score", "score", ("measured", MISSING), codes)
    values = 1 - values if index.lower_is_better(metric) else values
    codes = np.select([np.isnan(values), values >= 1, values <= 0], [3, 0, 1], 2)
    # What a judge says has a facet of its own, and is no right or wrong.
    return one_of("score", "score", (RIGHT, WRONG, BETWEEN, MISSING), codes, listed=metric != JUDGE)


def _flips(index: RowIndex, metric: str) -> list[Facet]:
    """Return the facet of items that changed sides against the baseline, decided over an item's repeats."""
    if index.baseline is None or len(index.candidates) < 2 or not metric or not index.is_share(metric):
        return []
    means = index.means(metric)
    base = index.candidates.index(index.baseline)
    better = not index.lower_is_better(metric)
    codes = np.full(index.n_rows, -1, dtype=np.int64)
    for number in range(len(index.candidates)):
        if number == base:
            continue
        fixed, broken, both, neither = changed_sides(means[number], means[base], higher_is_better=better)
        of_item = np.select([fixed, broken, both, neither], [0, 1, 2, 3], -1)
        mine = index.candidate == number
        codes[mine] = of_item[index.item[mine]]
    names = ("fixed", "broken", "both right", "both wrong")
    return [one_of("flip", f"against {index.baseline}", names, codes)]


def _verdicts(index: RowIndex) -> list[Facet]:
    if JUDGE not in index.metrics:
        return []
    values = index.scores(JUDGE)
    settings: dict[str, Any] = index.run.manifest.get("config", {}).get("judge") or {}
    pairwise, seen = settings.get("scale") == "pairwise", ~np.isnan(values)
    if np.isin(values[seen], (0.0, 0.5, 1.0) if pairwise else (0.0, 1.0)).all():
        names = ("win", "loss", "tie") if pairwise else ("pass", "fail")
        codes = np.select([~seen, values >= 1, values <= 0], [len(names), 0, 1], 2)
    else:
        grades = np.unique(values[seen]).tolist()
        names = tuple(f"{grade:g}" for grade in grades)
        codes = np.where(seen, np.searchsorted(grades, np.nan_to_num(values)), len(names))
    return [one_of("verdict", "judge says", (*names, "no verdict"), codes)]


def _catches(index: RowIndex) -> list[Facet]:
    import pyarrow as pa

    found: dict[str, Mask] = {}
    for fact, name in LEAK_FACTS:
        ids = pa.array(index.leak_facts.get(fact) or [], pa.string())
        found[name] = (places(index.ids, ids) >= 0)[index.item]
    if index.items_table is not None:
        content = index.items_table["content"].combine_chunks().dictionary_encode().indices.to_numpy()
        twice = np.zeros(index.n_items, dtype=bool)
        twice[: len(content)] = np.bincount(content)[content] > 1
        found["duplicate"] = twice[index.item]
    there = {name: mask for name, mask in found.items() if mask.any()}
    return [some_of("catch", "named by a catch", there)] if there else []


def _of_items(index: RowIndex) -> list[Facet]:
    if index.items_table is None:
        return []
    facets: list[Facet] = []
    for column in index.items_table.column_names:
        if column != "cluster_id" and not column.startswith(SLICE):
            continue
        encoded = index.items_table[column].combine_chunks().cast("string").fill_null("(none)").dictionary_encode()
        codes = np.full(index.n_items, -1, dtype=np.int64)
        codes[: len(encoded)] = whole_numbers(encoded.indices)
        values = encoded.dictionary.to_pylist()
        if column == "cluster_id":
            facets.append(one_of("cluster", "cluster", values, codes[index.item], listed=False))
        else:
            facets.append(one_of(column, column.removeprefix(SLICE), values, codes[index.item]))
    return facets
