"""What people said of a run's rows: labels found by item and output, whoever's answer it was."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safetycatch.identity import output_hash
from safetycatch.judge_settings import FAIL, PAIRWISE, PASS, JudgeSettings
from safetycatch.judging.people import consensus
from safetycatch.judging.sealing import SEALED, ItemKey, LabelledItem
from safetycatch.review.browser.facets import one_of, some_of
from safetycatch.review.browser.offered import JUDGE
from safetycatch.review.browser.texts import places
from safetycatch.store.sealings import parts_before

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from safetycatch.review.browser.facets import Facet
    from safetycatch.review.browser.rows import Floats, RowIndex
    from safetycatch.review.browser.texts import Integers

DISPUTED, UNLABELLED, WITHHELD = "disputed", "unlabelled", "sealed"
MODES = "; "


@dataclass(frozen=True, slots=True)
class Said:
    """What one person said of an answer; `criterion` is empty for the whole."""

    annotator: str
    criterion: str
    label: str
    critique: str
    modes: tuple[str, ...]


def sealed_now(index: RowIndex) -> frozenset[str]:
    """Return the items, by `LabelledItem.names`, whose labels are a judge's test; none of a run without a judge.

    Raises: StoreError when the list of them is damaged.
    """
    if JUDGE not in index.metrics:
        return frozenset()
    parts = parts_before(index.store)
    return frozenset(key for key, part in parts.items() if part == SEALED)


class Labelled:
    """Labels (contract `labels`) and the rows of a run that they are about; `version` tells one state from another.

    What people said of `withheld` rows is not kept: who reads it beside the judge's word tunes the judge on its test.
    """

    def __init__(self, index: RowIndex, table: pa.Table, version: int) -> None:
        """Raises: StoreError when the list of sealed items is damaged."""
        self.version, self._n_rows = version, index.n_rows
        self.sealed = sealed_now(index)
        self._judge = _settings(index)
        self.said: dict[int, list[Said]] = defaultdict(list)
        told = _once(table)
        rows = _rows_of(index, {(row["example_id"], row["output_hash"]) for row in told})
        hidden = _hidden(index, table, rows, self.sealed) if self.sealed else set[tuple[str, str]]()
        self.withheld = frozenset(row for key in hidden for row in rows.get(key, ()))
        told = [row for row in told if (row["example_id"], row["output_hash"]) not in hidden]
        for row in told:
            modes = tuple(mode for mode in (row["failure_mode"] or "").split(MODES) if mode)
            one = Said(row["annotator"], row["criterion"], row["label"], row["critique"] or "", modes)
            for place in rows.get((row["example_id"], row["output_hash"]), ()):
                self.said[place].append(one)
        self.label: dict[int, str] = {}
        for key, label in _settled(told, table).items():
            for place in rows.get(key, ()):
                self.label[place] = label

    def mentioning(self, word: str) -> Integers:
        """Return the rows of which somebody's critique or failure mode holds `word`, whatever its case."""
        word = word.casefold()
        found = [
            row
            for row, said in self.said.items()
            if any(word in f"{one.critique}\n{MODES.join(one.modes)}".casefold() for one in said)
        ]
        return np.array(found, dtype=np.int64)

    def facets(self, judged: Floats | None) -> list[Facet]:
        """Return the facets of people's labels; `judged` is the judge's score of each row, where there is a judge."""
        withheld = np.array(sorted(self.withheld), dtype=np.int64)
        values = [*dict.fromkeys(self.label.values()), WITHHELD, UNLABELLED]
        codes = np.full(self._n_rows, len(values) - 1, dtype=np.int64)
        codes[withheld] = len(values) - 2
        for row, label in self.label.items():
            codes[row] = values.index(label)
        modes: dict[str, set[int]] = defaultdict(set)
        for row, said in self.said.items():
            for one in said:
                for mode in one.modes:
                    modes[mode].add(row)
        places = {
            mode: np.array(sorted(rows), dtype=np.int64)
            for mode, rows in sorted(modes.items(), key=lambda found: (-len(found[1]), found[0]))
        }
        return [
            one_of("label", "people say", values, codes),
            *([some_of("mode", "failure mode", places)] if places else []),
            *self._agreement(judged),
        ]

    def _agreement(self, judged: Floats | None) -> list[Facet]:
        if judged is None or (self._judge is not None and self._judge.scale == PAIRWISE):
            return []
        found: dict[str, list[int]] = {"agree": [], "disagree": [], WITHHELD: sorted(self.withheld)}
        for row, label in self.label.items():
            value = float(judged[row])
            if label != DISPUTED and not np.isnan(value):
                found["agree" if self._same(label, value) else "disagree"].append(row)
        return [
            some_of("judge", "judge and people", {name: np.array(rows, dtype=np.int64) for name, rows in found.items()})
        ]

    def _same(self, label: str, value: float) -> bool:
        if label in {PASS, FAIL}:
            return (label == PASS) == (value >= 1)
        if self._judge is not None and self._judge.is_rate:
            return (label in self._judge.verdict_labels and self._judge.passed(label)) == (value >= 1)
        return label == f"{value:g}"


def _hidden(
    index: RowIndex, table: pa.Table, rows: Mapping[tuple[str, str], list[int]], sealed: frozenset[str]
) -> set[tuple[str, str]]:
    """Return the labelled answers that are sealed: by their key, or under another id by their input and output."""
    said = {ItemKey(row["example_id"], row["candidate"], row["output_hash"]) for row in table.to_pylist()}
    keys = [key for key in said if rows.get((key.example_id, key.output_hash))]
    first = [rows[key.example_id, key.output_hash][0] for key in keys]
    inputs = [texts.get("input", "") for texts in index.texts_of(index.item[first].tolist())]
    outputs = [output or "" for output in index.outputs.take("output", first)]
    return {
        (key.example_id, key.output_hash)
        for key, *texts in zip(keys, inputs, outputs, strict=True)
        if not sealed.isdisjoint(LabelledItem(key, "", tuple(texts)).names)
    }


def _settings(index: RowIndex) -> JudgeSettings | None:
    given = index.run.manifest.get("config", {}).get("judge")
    return JudgeSettings.model_validate(given) if given else None


def _once(table: pa.Table) -> list[dict[str, Any]]:
    """Return the labels without candidates: what several candidates answered alike is one answer."""
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    for row in table.to_pylist():
        found[tuple(row[name] for name in ("example_id", "output_hash", "annotator", "criterion"))] = row
    return list(found.values())


def _settled(told: list[dict[str, Any]], table: pa.Table) -> dict[tuple[str, str], str]:
    import pyarrow as pa

    alike = pa.Table.from_pylist([{**row, "candidate": ""} for row in told], schema=table.schema)
    return {(key.example_id, key.output_hash): label or DISPUTED for key, label in consensus(alike).items()}


def _rows_of(index: RowIndex, keys: set[tuple[str, str]]) -> Mapping[tuple[str, str], list[int]]:
    """Return the rows of each labelled answer, found by the hash of their outputs."""
    import pyarrow as pa

    items = places(index.ids, pa.array({name for name, _ in keys}, pa.string())) >= 0
    rows = np.flatnonzero(items[index.item]).tolist()
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    ids = index.ids.take(pa.array(index.item[rows], pa.int64())).to_pylist()
    for row, example_id, output in zip(rows, ids, index.outputs.take("output", rows), strict=True):
        if output is not None:
            found[example_id, output_hash(output)].append(row)
    return found
