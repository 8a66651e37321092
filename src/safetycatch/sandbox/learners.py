"""Three real learners, small enough for a laptop: one reads only the prompt, two are fitted on rows.

All compare texts by the vectors of `features`; no learner knows any data set.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

from safetycatch.errors import DataError
from safetycatch.sandbox.features import Features, similarity, unit
from safetycatch.sandbox.prompt import Label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safetycatch.sandbox.features import Vector
    from safetycatch.sandbox.prompt import ReadPrompt

NAME_WEIGHT = 0.5
# How many examples of a label make its name count half (`LinearLearner`).
NAME_HALF_LIFE = 20
# Rows of a label that make what was learnt about it count half.
DOUBT = 1
LINEAR_SEED = 7
LINEAR_PASSES = 40
NOTHING_TO_SAY = "The prompt lists no labels and shows no examples."


class Learner(Protocol):
    """Anything that answers a read prompt with one text."""

    def answer(self, prompt: ReadPrompt) -> str:
        """Return one label, or a sentence that says why there is none."""
        ...


class PromptLearner:
    """Nearest neighbours over the examples in the prompt, plus likeness of the query to each label's name.

    A label's score is half the cosine to its name and description plus the sum of squared cosines to its examples.
    """

    def __init__(self, features: Features) -> None:
        self.features = features

    def answer(self, prompt: ReadPrompt) -> str:
        """Return the best-scored label of the prompt, whatever the order of labels and examples."""
        if not prompt.labels:
            return NOTHING_TO_SAY
        query = self.features(prompt.query)
        scores = name_scores(query, prompt.labels, self.features)
        for example in prompt.examples:
            scores[example.answer] += similarity(query, self.features(example.input)) ** 2
        return best_label(scores, prompt.query)


class CentroidLearner:
    """Small: the mean vector of each label's rows, plus likeness to the label's name at a constant weight."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self._centroids: dict[str, Vector] = {}
        self._counts: Counter[str] = Counter()

    def fit(self, inputs: Sequence[str], targets: Sequence[str]) -> None:
        """Learn one centroid a label from `inputs` and `targets` of equal length.

        Raises: DataError when there is nothing to learn from.
        """
        _check_rows(inputs, targets)
        self._counts = Counter(targets)
        sums: dict[str, Vector] = {}
        for text, target in zip(inputs, targets, strict=True):
            total = sums.setdefault(target, {})
            for column, value in self.features(text).items():
                total[column] = total.get(column, 0.0) + value
        self._centroids = {target: unit(total) for target, total in sums.items()}

    def answer(self, prompt: ReadPrompt) -> str:
        """Return the label whose centroid and name are nearest to the query; examples in the prompt are not read."""
        query = self.features(prompt.query)
        scores = name_scores(query, _with_trained(prompt.labels, self._centroids), self.features)
        for label, centroid in self._centroids.items():
            count = self._counts[label]
            scores[label] += similarity(query, centroid) * count / (count + DOUBT)
        return best_label(scores, prompt.query)


class LinearLearner:
    """Large: logistic regression by stochastic gradient, plus likeness to the label's name, fading with more rows."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self._counts: Counter[str] = Counter()
        self._classes: list[str] = []
        self._weights: Any = None
        self._offsets: Any = None

    def fit(self, inputs: Sequence[str], targets: Sequence[str]) -> None:
        """Learn one weight vector a label from `inputs` and `targets` of equal length.

        Raises: DataError when there is nothing to learn from.
        """
        # Only a fitted model needs these 0.6 s of imports.
        import numpy as np
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import SGDClassifier

        _check_rows(inputs, targets)
        self._counts = Counter(targets)
        self._classes = sorted(self._counts)
        if len(self._classes) == 1:
            return
        rows = [self.features(text) for text in inputs]
        ends = np.cumsum([0, *(len(row) for row in rows)])
        columns = [column for row in rows for column in row]
        values = [value for row in rows for value in row.values()]
        matrix = csr_matrix((values, columns, ends), shape=(len(rows), self.features.columns))
        model: Any = SGDClassifier(
            loss="log_loss", alpha=1e-5, max_iter=LINEAR_PASSES, tol=1e-3, random_state=LINEAR_SEED
        )
        model.fit(matrix, [self._classes.index(target) for target in targets])
        two = len(self._classes) == 2
        weights = np.vstack([-model.coef_, model.coef_]) if two else model.coef_
        self._offsets = np.concatenate([-model.intercept_, model.intercept_]) if two else model.intercept_
        # A query touches about 300 of 65,536 columns: with one row a column they are gathered in one step.
        self._weights = np.ascontiguousarray(weights.T)

    def answer(self, prompt: ReadPrompt) -> str:
        """Return the most probable label, names counted in; examples in the prompt are not read."""
        query = self.features(prompt.query)
        scores = name_scores(query, _with_trained(prompt.labels, self._classes), self.features)
        for label in scores:
            scores[label] *= NAME_HALF_LIFE / (NAME_HALF_LIFE + self._counts[label])
        for label, probability in zip(self._classes, self._probabilities(query), strict=True):
            count = self._counts[label]
            scores[label] += probability * count / (count + DOUBT)
        return best_label(scores, prompt.query)

    def _probabilities(self, query: Vector) -> list[float]:
        if self._weights is None:
            return [1.0] * len(self._classes)
        import numpy as np

        margins = np.array(list(query.values())) @ self._weights[list(query)] + self._offsets
        each = 1.0 / (1.0 + np.exp(-margins))
        return (each / each.sum()).tolist()


def name_scores(query: Vector, labels: Sequence[Label], features: Features) -> dict[str, float]:
    """Return for each label half the cosine of the query to its name and description."""
    return {
        label.name: NAME_WEIGHT * similarity(query, features(f"{label.name} {label.description}")) for label in labels
    }


def best_label(scores: dict[str, float], query: str) -> str:
    """Return the label with the highest score; equal scores are settled by a hash of query and label."""
    return max(scores, key=lambda label: (scores[label], crc32(f"{query}|{label}".encode())))


def _with_trained(labels: Sequence[Label], trained: Iterable[str]) -> list[Label]:
    known = {label.name for label in labels}
    return [*labels, *(Label(name) for name in trained if name not in known)]


def _check_rows(inputs: Sequence[str], targets: Sequence[str]) -> None:
    if not inputs or len(inputs) != len(targets):
        raise DataError(
            f"{len(inputs)} inputs and {len(targets)} targets", where="training rows", expected="one target an input"
        )
