"""The rows of a stored run, indexed: numbers and codes in memory, texts decoded when they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from safetycatch.errors import UsageError
from safetycatch.results.matrix import WHOLE_SET
from safetycatch.review.browser import offered
from safetycatch.review.browser.facets import Choice, Facet, narrowed
from safetycatch.review.browser.offered import JUDGE
from safetycatch.review.browser.query import FIELDS
from safetycatch.review.browser.texts import Held, Texts, holding, places, whole_numbers
from safetycatch.store import Ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from safetycatch.review.browser.labelled import Labelled
    from safetycatch.review.browser.query import Query
    from safetycatch.review.browser.texts import Integers, Mask
    from safetycatch.store import Store, StoredRun

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

PAGE_ROWS = 50
MAX_SELECTIONS = 16  # remembered orders of rows, for the next page and the next row
AMOUNTS = frozenset({"usd", "s", "tokens"})
UNPARSABLE = "unparsable"
_NUMBERS = ("n_tokens_out", "cost_usd", "latency_s")


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows that a query keeps, in its order, its choices by facet, and the same rows' items, each once."""

    rows: Integers
    choices: dict[str, list[Choice]]
    items: Integers


class RowIndex:
    """A run's rows (one a candidate, item and repeat); `metrics` the main one first, `shares` those within 0 and 1.

    Made of a finished run's tables; what it lacks (inputs of a run by an older version, verdicts) is None or empty.
    """

    def __init__(self, run: StoredRun, store: Store) -> None:
        """Read what filters and orders need. Raises: UsageError for a run without rows; StoreError when damaged."""
        import pyarrow as pa

        if "rows" not in run.table_names:
            raise UsageError(
                f"run {run.run_id} is {run.status}: it has no rows to show", fix=f"safetycatch show {run.run_id}"
            )
        self.run, self.run_id = run, run.run_id
        self._held, self._lock = Held(), threading.RLock()
        self._files = {name: run.open_table(name) for name in ("rows", "scores", "verdicts") if name in run.table_names}
        table = self._files["rows"].read(["candidate", "example_id", "replicate", "status", *_NUMBERS])
        self.n_rows = table.num_rows
        self.numbers: dict[str, Floats] = {name: _floats(table[name]) for name in _NUMBERS}
        names = table["candidate"].combine_chunks().dictionary_encode()
        self.candidates: tuple[str, ...] = tuple(names.dictionary.to_pylist())
        self.candidate = whole_numbers(names.indices)
        self.items_table = run.table("items") if "items" in run.table_names else None
        given = table["example_id"].combine_chunks()
        known = [self.items_table["example_id"].combine_chunks()] if self.items_table is not None else []
        ids = pa.concat_arrays([*known, given]).unique()
        self.ids: pa.Array = ids
        self.item = places(given, ids)
        self.n_items = len(ids)
        self.replicate: Integers = table["replicate"].to_numpy().astype(np.int64)
        self.n_replicates = int(self.replicate.max(initial=0)) + 1
        self._keys = self._key(self.candidate, self.item, self.replicate)
        self._by_key = np.argsort(self._keys, kind="stable")
        self._status(table["status"].combine_chunks())
        self._scores: dict[str, Floats] = {}
        self._selections: OrderedDict[tuple[object, ...], Selection] = OrderedDict()
        summary: dict[str, Any] = run.summary.get("summary") or {}
        self.metric: dict[str, Any] = summary.get("metric") or {}
        self.units: dict[str, str] = {**(summary.get("units") or {}), **_main_unit(self.metric)}
        self.metrics = self._metric_names(summary)
        self.baseline = summary.get("baseline") if summary.get("baseline") in self.candidates else None
        self.headline = summary.get("headline") if summary.get("headline") in self.candidates else None
        made: dict[str, Any] = run.summary.get("made_of") or {}
        self._examples = Texts(store.open_table(Ref.from_dict(made["examples"])), self._held) if made else None
        self._leaks_ref = Ref.from_dict(made["leaks"]) if made.get("leaks") else None
        self.store = store
        self.leak_facts: dict[str, Any] = store.facts(self._leaks_ref) if self._leaks_ref is not None else {}
        self.outputs = Texts(self._files["rows"], self._held)

    def _status(self, status: pa.Array) -> None:
        """Codes of how each row ended; an answer that could not be read is `unparsable`."""
        names = status.dictionary_encode()
        values: list[str] = names.dictionary.to_pylist()
        codes = whole_numbers(names.indices)
        answer = values.index("answer") if "answer" in values else -1
        unread = (codes == answer) & self._unparsed()
        # A run that only measures cost or time reads nothing: then nothing is unreadable.
        if unread.any() and not np.array_equal(unread, codes == answer):
            codes[unread] = len(values)
            values.append(UNPARSABLE)
        self.statuses, self.status = tuple(values), codes

    def _unparsed(self) -> Mask:

        file, parts = self._files["rows"], []
        for number, size in enumerate(file.sizes):
            if file.n_missing("parsed", number) == 0:
                parts.append(np.zeros(size, dtype=bool))
            else:
                column = file.read(["parsed"], number)["parsed"]
                parts.append(column.is_null().to_numpy())
        return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)

    def _key(self, candidate: Integers, item: Integers, replicate: Integers) -> Integers:
        return (candidate * self.n_items + item) * self.n_replicates + replicate

    def _place(self, table: pa.Table) -> Integers:
        """Return the row that each row of another table belongs to, by candidate, item and repeat; -1 for none."""
        import pyarrow as pa

        candidate, item = (
            places(table[column].combine_chunks(), known)
            for column, known in (("candidate", pa.array(self.candidates, pa.string())), ("example_id", self.ids))
        )
        replicate = table["replicate"].to_numpy().astype(np.int64)
        there = (candidate >= 0) & (item >= 0) & (replicate >= 0) & (replicate < self.n_replicates)
        if not self.n_rows:
            return np.full(len(candidate), -1, dtype=np.int64)
        keys = self._key(candidate, item, replicate)
        at = np.minimum(np.searchsorted(self._keys, keys, sorter=self._by_key), self.n_rows - 1)
        rows = self._by_key[at]
        return np.where(there & (self._keys[rows] == keys), rows, -1)

    def _metric_names(self, summary: dict[str, Any]) -> tuple[str, ...]:
        found = [self.metric["name"]] if self.metric else []
        found += [*self.units, *(row["metric"] for row in summary.get("estimates") or [])]
        file = self._files.get("scores")
        if not found and file is not None:
            found += file.read(["metric"])["metric"].unique().to_pylist()
        return tuple(dict.fromkeys(found))

    def scores(self, metric: str) -> Floats:
        """Return one metric's value for each row; NaN where there is none."""
        with self._lock:
            if metric not in self._scores:
                self._scores[metric] = self._read_scores(metric)
            return self._scores[metric]

    def _read_scores(self, metric: str) -> Floats:
        import pyarrow as pa
        import pyarrow.compute as pc

        values = np.full(self.n_rows, np.nan)
        file = self._files.get("scores")
        names = ["candidate", "example_id", "replicate", "metric", "value"]
        parts = [file.read(names, number) for number in file.may_hold("metric", metric)] if file is not None else []
        if parts:
            found = pa.concat_tables(parts)
            found = found.filter(pc.field("metric") == metric)
            rows = self._place(found)
            values[rows[rows >= 0]] = _floats(found["value"])[rows >= 0]
        return values

    def shown_metric(self, asked: str) -> str:
        """Return the metric that scores are shown of: the one asked for, else the first whose values are shares."""
        if asked in self.metrics:
            return asked
        return next((name for name in self.metrics if self.is_share(name)), next(iter(self.metrics), ""))

    def is_share(self, metric: str) -> bool:
        """Whether a metric's values lie within 0 and 1, so that rows are right, wrong or between."""
        if metric in WHOLE_SET or self.units.get(metric) in AMOUNTS:
            return False
        values = self.scores(metric)
        seen = values[~np.isnan(values)]
        return bool(seen.size) and bool(((seen >= 0) & (seen <= 1)).all())

    def lower_is_better(self, metric: str) -> bool:
        """Whether less of a metric is better; known of the main one only."""
        return metric == self.metric.get("name") and not self.metric.get("higher_is_better", True)

    def means(self, metric: str) -> Floats:
        """Return a metric's mean over the repeats that are there, shape (candidates, items)."""
        values = self.scores(metric)
        seen = ~np.isnan(values)
        place = self.candidate * self.n_items + self.item
        size = len(self.candidates) * self.n_items
        counts = np.bincount(place[seen], minlength=size)
        sums = np.bincount(place[seen], weights=values[seen], minlength=size)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return means.reshape(len(self.candidates), self.n_items)

    @property
    def inputs_known(self) -> bool:
        """Whether the run knows the inputs and targets of its items."""
        return self._examples is not None

    @cached_property
    def _fixed_facets(self) -> list[Facet]:
        return offered.of_rows(self)

    def facets(self, query: Query, labelled: Labelled | None = None) -> list[Facet]:
        """Return what rows can be filtered by, in the order in which it is offered."""
        metric = self.shown_metric(query.metric)
        first, *others = self._fixed_facets
        more = labelled.facets(self._judged) if labelled is not None else []
        return [first, *offered.of_metric(self, metric), *others, *more]

    @property
    def _judged(self) -> Floats | None:
        return self.scores(JUDGE) if JUDGE in self.metrics else None

    def select(self, query: Query, labelled: Labelled | None = None) -> Selection:
        """Return the rows that a query keeps, in its order; the last few answers are remembered."""
        key = (*query.key, labelled.version if labelled is not None else None)
        with self._lock:
            if key in self._selections:
                self._selections.move_to_end(key)
                return self._selections[key]
        base = np.ones(self.n_rows, dtype=bool)
        facets = self.facets(query, labelled)
        if query.words:
            base = self._searched(query, labelled, base)
        kept, choices = narrowed(facets, query.chosen, base)
        rows = self._ordered(np.flatnonzero(kept), query)
        items = self.item[rows]
        _, first = np.unique(items, return_index=True)
        found = Selection(rows, choices, items[np.sort(first)])
        with self._lock:
            self._selections[key] = found
            while len(self._selections) > MAX_SELECTIONS:
                self._selections.popitem(last=False)
        return found

    def _searched(self, query: Query, labelled: Labelled | None, among: Mask) -> Mask:
        """Return the rows of `among` in which every word occurs in one of the query's fields."""
        found = among
        for word in query.words:
            found = found & self._holding(word, query.within or FIELDS, labelled, found)
        return found

    def _holding(self, word: str, within: Sequence[str], labelled: Labelled | None, among: Mask) -> Mask:

        found = np.zeros(self.n_rows, dtype=bool)
        if "id" in within:
            found |= holding(self.ids, word)[self.item]
        for column in ("input", "target"):
            if column in within and self._examples is not None:
                held = self._examples.matching(column, word)
                found |= self._by_example(held)[self.item]
        if "output" in within:
            found |= self.outputs.matching("output", word, among)
        if "critique" in within:
            file = self._files.get("verdicts")
            if file is not None:
                rows = self._verdict_rows[self.verdict_texts.matching("critique", word)]
                found[rows[rows >= 0]] = True
            if labelled is not None:
                found[labelled.mentioning(word)] = True
        return found

    def _by_example(self, held: Mask) -> Mask:
        """Return a mask over the items from one over the rows of the examples' table."""
        found = np.zeros(self.n_items, dtype=bool)
        places = self._example_places
        there = places >= 0
        found[there] = held[places[there]]
        return found

    @cached_property
    def _example_places(self) -> Integers:
        """The row of each item in the examples' table; -1 for none."""
        if self._examples is None:
            return np.full(self.n_items, -1, dtype=np.int64)
        known = self._examples.file.read(["example_id"])["example_id"].combine_chunks()
        return places(self.ids, known)

    @cached_property
    def verdict_texts(self) -> Texts:
        """The judges' verdicts."""
        return Texts(self._files["verdicts"], self._held)

    @cached_property
    def _verdict_rows(self) -> Integers:
        """The row that each verdict is about; -1 for none."""
        return self._place(self._files["verdicts"].read(["candidate", "example_id", "replicate"]))

    def verdicts_of(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what the judges said of these rows, each with its `row`."""
        if "verdicts" not in self._files:
            return []
        places = np.flatnonzero(np.isin(self._verdict_rows, rows)).tolist()
        names = ("judge", "criterion", "order", "status", "verdict", "critique", "error_class")
        columns = [self.verdict_texts.take(name, places) for name in names]
        return [
            {"row": int(self._verdict_rows[place]), **dict(zip(names, cells, strict=True))}
            for place, cells in zip(places, zip(*columns, strict=True), strict=True)
        ]

    def _ordered(self, rows: Integers, query: Query) -> Integers:
        name, down = query.sort.removeprefix("-"), query.sort.startswith("-")
        by_item = np.lexsort((self.replicate[rows], self.candidate[rows], self.item[rows]))
        rows = rows[by_item]
        if name == "item":
            return rows[::-1] if down else rows
        if name == "id":
            values: Floats = self._id_ranks[self.item[rows]].astype(float)
        elif name == "score":
            metric = self.shown_metric(query.metric)
            values = self.scores(metric)[rows] if metric else np.full(len(rows), np.nan)
        else:
            column = {"latency": "latency_s", "cost": "cost_usd", "length": "n_tokens_out"}[name]
            values = self.numbers[column][rows]
        # NaN sorts last either way.
        return rows[np.argsort(-values if down else values, kind="stable")]

    @cached_property
    def _id_ranks(self) -> Integers:
        import pyarrow.compute as pc

        ranks = np.empty(self.n_items, dtype=np.int64)
        ranks[pc.call_function("array_sort_indices", [self.ids]).to_numpy()] = np.arange(self.n_items)
        return ranks

    def code(self, example_id: str) -> int:
        """Return an item's code. Raises: UsageError for an id that is not there."""
        import pyarrow.compute as pc

        found = pc.index(self.ids, example_id).as_py()
        if found < 0:
            raise UsageError(f"no item {example_id[:80]!r}", where=f"run {self.run_id}")
        return found

    def names_of(self, items: Sequence[int]) -> list[str]:
        """Return the ids of items."""
        import pyarrow as pa

        return self.ids.take(pa.array(items, pa.int64())).to_pylist()

    def rows_of(self, item: int) -> list[int]:
        """Return an item's rows, by candidate and repeat."""
        rows = np.flatnonzero(self.item == item)
        return rows[np.lexsort((self.replicate[rows], self.candidate[rows]))].tolist()

    def texts_of(self, items: Sequence[int]) -> list[dict[str, str]]:
        """Return `input`, `input_kind` and `target` of items; {} where the run does not know them any more."""
        found: list[dict[str, str]] = [{} for _ in items]
        if self._examples is None:
            return found
        places = self._example_places[np.asarray(items, dtype=np.int64)].tolist()
        there = [number for number, place in enumerate(places) if place >= 0]
        for column in ("input", "input_kind", "target"):
            texts = self._examples.take(column, [places[number] for number in there])
            for number, text in zip(there, texts, strict=True):
                found[number][column] = text or ""
        return found

    def values_of(self, name: str, item: int) -> list[str]:
        """Return the values that an item's rows have of a facet of items, such as a slice; each once."""
        facet = next((facet for facet in self._fixed_facets if facet.name == name), None)
        rows = self.rows_of(item)
        return list(dict.fromkeys(value for row in rows for value in facet.of(row))) if facet is not None else []

    def shares_cluster(self, item: int) -> bool:
        """Whether other items are in an item's cluster."""
        facet = next((facet for facet in self._fixed_facets if facet.name == "cluster"), None)
        rows = self.rows_of(item)
        return facet is not None and bool(rows) and int((facet.codes == facet.codes[rows[0]]).sum()) > len(rows)

    def leaks_of(self, item: int) -> list[dict[str, Any]]:
        """Return the leaked pairs that an item is part of, with the other row's text where it is known."""
        import pyarrow.compute as pc

        if self._leaks_ref is None:
            return []
        table = self.store.read(self._leaks_ref)
        name = self.ids[item].as_py()
        return table.filter((pc.field("left_id") == name) | (pc.field("right_id") == name)).to_pylist()

    def example_text(self, example_id: str) -> str | None:
        """Return the input of any example of the run's data, scored or not; None where it is not known."""
        import pyarrow.compute as pc

        if self._examples is None:
            return None
        known = self._examples.file.read(["example_id"])["example_id"].combine_chunks()
        place = pc.index(known, example_id).as_py()
        return self._examples.take("input", [place])[0] if place >= 0 else None

    def close(self) -> None:
        """Close the run's files."""
        for file in [*self._files.values(), *([self._examples.file] if self._examples else [])]:
            file.close()


def _floats(column: pa.ChunkedArray) -> Floats:
    return column.cast("float64").to_numpy().astype(np.float64)


def _main_unit(metric: dict[str, Any]) -> dict[str, str]:
    return {metric["name"]: metric.get("unit", "points")} if metric else {}
