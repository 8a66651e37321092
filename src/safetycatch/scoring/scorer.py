"""What a scorer is, and the value it gives each row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

Unit = Literal["points", "usd", "s", "tokens", "score"]
Kind = Literal["item", "corpus", "resource"]

# A refusal, a reply cut off at the token limit and a filtered one are what a user would get: wrong, and counted apart.
# A cut reply is not parsed: it may hold half a label or half a number.
WRONG = frozenset({"refusal", "length", "filtered"})
MISSING = frozenset({"error", "invalid"})


@dataclass(frozen=True, slots=True)
class Scorer:
    """One metric: `parse` reads a reply (None: unparsable), `score` gives one row's value (NaN: undefined).

    `kind`: `item` scores stand alone; `corpus` metrics need all rows of a candidate, and `resource` metrics read what
    a call took. With `whole`, rows get contributions: values whose mean is the metric (see `contributions`). Without
    it, the metric is the mean of the scores. `is_rate`: all values are 0 or 1. `raw`: scores refusals and cut replies
    too, from the output as it is.
    """

    name: str
    unit: Unit
    higher_is_better: bool
    kind: Kind
    is_rate: bool
    parse: Callable[[str], str | None]
    score: Callable[[str | None, str, Mapping[str, Any]], float]
    whole: Callable[[Sequence[str | None], Sequence[str], np.ndarray], np.ndarray] | None = None
    raw: bool = False


class RowValues(NamedTuple):
    """What a scorer read in each row and the value it gave: NaN where infrastructure failed or it is undefined."""

    parsed: list[str | None]
    value: np.ndarray


def row_values(scorer: Scorer, rows: Sequence[Mapping[str, Any]], targets: Sequence[str]) -> RowValues:
    """Return the values of one candidate's rows (`status`, `output`, costs) against their targets, in order.

    Answers are parsed and scored, an unparsable one like any other reading. Refusals, cut and filtered replies score as
    unparsable. Errors and invalid replies are NaN. The mean of the values that are numbers is the metric of those rows;
    a part of the rows (a slice, a pairing) needs a call of its own where the scorer has `whole`.
    """
    import numpy as np

    parsed = [_parsed(scorer, row) for row in rows]
    value = np.array(
        [
            math.nan if row["status"] in MISSING else scorer.score(read, target, row)
            for read, target, row in zip(parsed, targets, rows, strict=True)
        ],
        dtype=float,
    )
    if scorer.whole is not None:
        there = [at for at, one in enumerate(value) if not math.isnan(one)]
        if there:
            value[there] = scorer.whole([parsed[at] for at in there], [targets[at] for at in there], value[there])
    return RowValues(parsed, value)


def _parsed(scorer: Scorer, row: Mapping[str, Any]) -> str | None:
    if scorer.kind == "resource" or row["output"] is None or (row["status"] != "answer" and not scorer.raw):
        return None
    return scorer.parse(row["output"])
