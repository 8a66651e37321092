"""Long texts of stored tables: decoded a row group at a time, searched there, the last used groups kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from safetycatch.store.parquet import TableFile

    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]

MAX_HELD_BYTES = 384 << 20  # decoded texts in memory, over all tables of a run; beyond it groups are decoded again


def holding(texts: pa.Array, word: str) -> Mask:
    """Return which texts hold `word`, whatever its case; a missing text holds nothing."""
    import pyarrow.compute as pc

    options = pc.MatchSubstringOptions(word, ignore_case=True)
    return pc.call_function("match_substring", [texts], options).fill_null(False).to_numpy(zero_copy_only=False)


def places(values: pa.Array, known: pa.Array) -> Integers:
    """Return where in `known` each value stands; -1 where it does not."""
    import pyarrow.compute as pc

    return whole_numbers(pc.call_function("index_in", [values], pc.SetLookupOptions(value_set=known)))


def whole_numbers(found: pa.Array) -> Integers:
    """Return whole numbers as an array, -1 where one is missing."""
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


class Held:
    """Decoded columns of row groups, the least recently used given up beyond `MAX_HELD_BYTES`."""

    def __init__(self, limit: int = MAX_HELD_BYTES) -> None:
        self._limit, self._size, self._lock = limit, 0, threading.Lock()
        self._kept: OrderedDict[tuple[int, int, str], pa.Array] = OrderedDict()

    def get(self, file: TableFile, number: int, column: str) -> pa.Array:
        """Return one column of a row group. Raises: StoreError when the file is damaged."""
        key = (id(file), number, column)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        whole = file.read([column], number)[column]
        # One chunk is the rule; combining would copy it.
        found = whole.chunk(0) if whole.num_chunks == 1 else whole.combine_chunks()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = found
                self._size += found.nbytes
            while self._size > self._limit and len(self._kept) > 1:
                self._size -= self._kept.popitem(last=False)[1].nbytes
        return found


class Texts:
    """The text columns of one table."""

    def __init__(self, file: TableFile, held: Held) -> None:
        self.file, self._held = file, held
        self._starts = np.concatenate([[0], np.cumsum(file.sizes)]).astype(np.int64)

    def take(self, column: str, rows: Sequence[int]) -> list[str | None]:
        """Return the texts of these rows, in their order."""
        found: list[str | None] = [None] * len(rows)
        groups = np.searchsorted(self._starts, np.asarray(rows, dtype=np.int64), side="right") - 1
        for number in sorted(set(groups.tolist())):
            array = self._held.get(self.file, number, column)
            for place in np.flatnonzero(groups == number).tolist():
                found[place] = array[rows[place] - int(self._starts[number])].as_py()
        return found

    def matching(self, column: str, word: str, among: Mask | None = None) -> Mask:
        """Return the rows whose text holds `word`, whatever its case; groups without a row of `among` are not read."""
        found = np.zeros(int(self._starts[-1]), dtype=bool)
        for number in range(len(self.file.sizes)):
            part = slice(int(self._starts[number]), int(self._starts[number + 1]))
            if among is not None and not among[part].any():
                continue
            found[part] = holding(self._held.get(self.file, number, column), word)
        return found
