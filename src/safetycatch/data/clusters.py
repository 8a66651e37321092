"""Rows that belong together: duplicates of one text, and rows of one group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetycatch.data.leakage import DEFAULT, DUPLICATE_KINDS, TextIndex, alike

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from safetycatch.data.settings import LeakSettings

    Ints = NDArray[np.int64]

MERGED_ROWS = 10
COMMON_TEXT_GROUPS = 3


def duplicate_edges(texts: Sequence[str], settings: LeakSettings = DEFAULT) -> Ints:
    """Return pairs of rows (shape n x 2) that connect all duplicates: equal, bag-equal and near, not templates.

    Each distinct text is connected through its first row. Verified pairs only, the same that `find_leaks` would name.
    """
    import numpy as np

    index = TextIndex.of(texts)
    edges = [(rows[0], row) for rows in index.rows for row in rows[1:]]
    edges += [
        (index.rows[pair.left][0], index.rows[pair.right][0])
        for pair in alike(index, None, settings, settings.near)
        if pair.kind in DUPLICATE_KINDS
    ]
    return np.array(edges, np.int64).reshape(-1, 2)


def group_edges(groups: Sequence[Sequence[str]]) -> Ints:
    """Return pairs of rows (shape n x 2) that connect the rows sharing any group key."""
    import numpy as np

    first: dict[str, int] = {}
    edges = [
        (other, row) for row, keys in enumerate(groups) for key in keys if (other := first.setdefault(key, row)) != row
    ]
    return np.array(edges, np.int64).reshape(-1, 2)


def components(edges: Ints, n_rows: int) -> Ints:
    """Return the smallest row number of each row's connected component."""
    import numpy as np
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    graph = csr_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(n_rows, n_rows))
    _, labels = connected_components(graph, directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first[inverse]


def near_duplicate_clusters(
    texts: Sequence[str], groups: Sequence[Sequence[str]] | None = None, settings: LeakSettings = DEFAULT
) -> Ints:
    """Return a cluster label for each row: the smallest row number among its duplicates, and theirs in turn.

    With `groups` (the keys of each row) rows of one group belong together, and duplicates join groups only while a
    text is in 3 groups at most and the result has 10 rows at most (or as many as the largest group): otherwise a common
    "thanks" would join all conversations. Templates (`leakage`) are not joined: they are different questions.
    """
    duplicates = duplicate_edges(texts, settings)
    if groups is None or not any(groups):
        return components(duplicates, len(texts))
    return joined_groups(components(group_edges(groups), len(texts)), duplicates)


def joined_groups(labels: Ints, duplicates: Ints) -> Ints:
    """Return `labels` after duplicates joined groups, none of them beyond the limit of `near_duplicate_clusters`."""
    import numpy as np

    n_rows = len(labels)
    sizes = np.bincount(labels, minlength=n_rows)
    limit = max(MERGED_ROWS, int(sizes.max(initial=0)))
    same_text = components(duplicates, n_rows)
    text_in_group = np.unique(np.column_stack((same_text, labels)), axis=0)[:, 0]
    n_groups = np.bincount(text_in_group, minlength=n_rows)[same_text]
    parent = np.arange(n_rows)

    def root(label: int) -> int:
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = int(parent[label])
        return label

    for left, right in duplicates[n_groups[duplicates[:, 0]] <= COMMON_TEXT_GROUPS].tolist():
        a, b = sorted((root(int(labels[left])), root(int(labels[right]))))
        if a != b and sizes[a] + sizes[b] <= limit:
            parent[b] = a
            sizes[a] += sizes[b]
    return np.array([root(int(label)) for label in labels], np.int64)
