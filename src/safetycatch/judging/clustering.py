"""What clusters do to an estimate that rests on judged rows and on labels: its variance summed by cluster."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safetycatch.stats.clusters import Floats, Values, cluster_codes, degrees_of_freedom, steady_design_effect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from safetycatch.stats.clusters import Sample


class Clustering(NamedTuple):
    """The factor by which clusters raise a variance, and the degrees of freedom that the labels' clusters leave."""

    design_effect: float
    df: float


INDEPENDENT = Clustering(1.0, math.inf)


def joined_clusters(*clusters: Values) -> list[NDArray[np.intp]]:
    """Return columns of cluster names as numbers: equal for equal names, across the columns too."""
    columns = [np.asarray(cluster, dtype=object) for cluster in clusters]
    codes = cluster_codes(np.concatenate(columns), sum(len(column) for column in columns))
    return np.split(codes, np.cumsum([len(column) for column in columns])[:-1])


def clustering(
    influences: list[Floats], codes: list[NDArray[np.intp]], labels: Sample, label_codes: NDArray[Any], events: float
) -> Clustering:
    """Return how clusters raise the variance of an estimate to which each row adds its influence.

    `influences` and the cluster numbers `codes` come in the same parts (judged rows, labels). `labels` is the sample of
    labels with `label_codes`; their clusters are the fewer, so they give the degrees of freedom, and each squared sum
    is divided by 1 less its share of the labels, as in CR2. `events` counts labels of the rarer kind: with few, the
    design effect leans to the worst case. Source: Bell & McCaffrey 2002; Binder 1983 (linearised variances).
    """
    size = 1 + max(int(part.max(initial=0)) for part in [*codes, label_codes])
    sums = np.zeros(size)
    for influence, part in zip(influences, codes, strict=True):
        sums += np.bincount(part, weights=influence, minlength=size)
    share = np.bincount(label_codes, minlength=size) / len(label_codes)
    independent = sum(float(np.square(influence).sum()) for influence in influences)
    clustered = float((np.square(sums) / (1 - share)).sum())
    observed = clustered / independent if independent > 0 else 1.0
    effect = steady_design_effect(observed, 1 / (1 + events**2), labels, least=1.0)
    return Clustering(effect, degrees_of_freedom(labels.sizes))
