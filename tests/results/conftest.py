"""Items and score matrices from a few arrays."""

import numpy as np
import pytest

from safetycatch.results.matrix import Items, ScoreMatrix


@pytest.fixture(scope="session")
def items():
    def build(n, clusters=None, slices=None):
        ids = tuple(f"e{number}" for number in range(n))
        return Items(
            ids=ids,
            clusters=np.array(ids if clusters is None else clusters, dtype=object),
            slices={name: np.array(values, dtype=object) for name, values in (slices or {}).items()},
            targets=np.array(["x"] * n, dtype=object),
            content=np.array(ids, dtype=object),
        )

    return build


@pytest.fixture(scope="session")
def matrix(items):
    """Build a matrix of `{candidate: values}` on accuracy, or of `{(candidate, metric): values}`."""

    def build(values, clusters=None, slices=None):
        arrays = {
            key if isinstance(key, tuple) else (key, "accuracy"): np.asarray(column, float).reshape(len(column), -1)
            for key, column in values.items()
        }
        n = len(next(iter(arrays.values())))
        candidates = tuple(dict.fromkeys(candidate for candidate, _ in arrays))
        metrics = tuple(dict.fromkeys(metric for _, metric in arrays))
        return ScoreMatrix(items(n, clusters, slices), candidates, metrics, arrays)

    return build


@pytest.fixture(scope="session")
def answers():
    """Draw right and wrong answers: `{candidate: rate}` on `n` items."""

    def draw(n=400, seed=1, **rates):
        rng = np.random.default_rng(seed)
        return {name: (rng.random(n) < rate).astype(float) for name, rate in rates.items()}

    return draw
