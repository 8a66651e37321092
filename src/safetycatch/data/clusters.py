"""Rows that belong together: duplicates of one text, and rows of one group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safetycatch.data.leakage import DEFAULT, DUPLICATE_KINDS, TextIndex, alike
from safetycatch.data.normalisation import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from safetycatch.settings import LeakSettings

    Ints = NDArray[np.int64]

MERGED_ROWS = 10
COMMON_TEXT_GROUPS = 3


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Which text each row has (`text_of_row`), and which pairs of these texts are duplicates (`edges`, n x 2)."""

    text_of_row: Ints
    edges: Ints
    first_rows: Ints

    @property
    def row_edges(self) -> Ints:
        """Pairs of rows (n x 2) that connect every row with its duplicates."""
        import numpy as np

        rows = np.arange(len(self.text_of_row))
        same = np.column_stack((self.first_rows[self.text_of_row], rows))
        return np.concatenate((same[same[:, 0] != same[:, 1]], self.first_rows[self.edges].reshape(-1, 2)))

    def reached(self, marks: Ints) -> Ints:
        """Return for each row the bitwise or of `marks` (a bit set for each row) over all rows that duplicate it."""
        import numpy as np

        own = np.zeros(len(self.first_rows), np.int64)
        np.bitwise_or.at(own, self.text_of_row, marks)
        reached = own.copy()
        np.bitwise_or.at(reached, self.edges[:, 0], own[self.edges[:, 1]])
        np.bitwise_or.at(reached, self.edges[:, 1], own[self.edges[:, 0]])
        return reached[self.text_of_row]


def duplicates(texts: Sequence[str], settings: LeakSettings = DEFAULT) -> Duplicates:
    """Return the duplicates among texts: equal, bag-equal and near, not templates; `find_leaks` names the same."""
    import numpy as np

    index = TextIndex.of(texts)
    text_of_row = np.zeros(len(texts), np.int64)
    for place, rows in enumerate(index.rows):
        text_of_row[rows] = place
    pairs = alike(index, None, settings, settings.near, Frame.of(index.normals))
    edges = [(pair.left, pair.right) for pair in pairs if pair.kind in DUPLICATE_KINDS]
    first_rows = np.array([rows[0] for rows in index.rows], np.int64)
    return Duplicates(text_of_row, np.array(edges, np.int64).reshape(-1, 2), first_rows)


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
    return clusters_of(duplicates(texts, settings), groups)


def clusters_of(same: Duplicates, groups: Sequence[Sequence[str]] | None) -> Ints:
    """Return the labels of `near_duplicate_clusters` from duplicates that are already known."""
    n_rows = len(same.text_of_row)
    if groups is None or not any(groups):
        return components(same.row_edges, n_rows)
    return joined_groups(components(group_edges(groups), n_rows), same.row_edges)


def joined_groups(labels: Ints, edges: Ints) -> Ints:
    """Return `labels` after duplicates joined groups, none of them beyond the limit of `near_duplicate_clusters`."""
    import numpy as np

    n_rows = len(labels)
    sizes = np.bincount(labels, minlength=n_rows)
    limit = max(MERGED_ROWS, int(sizes.max(initial=0)))
    same_text = components(edges, n_rows)
    text_in_group = np.unique(np.column_stack((same_text, labels)), axis=0)[:, 0]
    n_groups = np.bincount(text_in_group, minlength=n_rows)[same_text]
    parent = np.arange(n_rows)

    def root(label: int) -> int:
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = int(parent[label])
        return label

    for left, right in edges[n_groups[edges[:, 0]] <= COMMON_TEXT_GROUPS].tolist():
        a, b = sorted((root(int(labels[left])), root(int(labels[right]))))
        if a != b and sizes[a] + sizes[b] <= limit:
            parent[b] = a
            sizes[a] += sizes[b]
    return np.array([root(int(label)) for label in labels], np.int64)
