"""The paired mean-e race: which of k candidates can still be the best, judged after every block of shared items.

For each ordered pair a bettor starts with 1 and wagers, item by item, that the rival scores higher than the candidate.
If it does not, no way to bet and no moment to look makes the capital likely to grow; so a capital of 20 is evidence at
the level 1/20. The bettor spreads the capital evenly over all fixed wagers from nothing to everything, the uniform
mixture of stakes: nothing is tuned, and for right/wrong scores it has a closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from safetycatch.errors import StatisticsError
from safetycatch.stats.clusters import Floats, Values, as_numbers, cluster_codes

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

# With 64 stakes log e differs from the integral over all by less than 1e-5 at 10,000 items, .03 at 100,000. Any number
# of fixed stakes is a valid bet.
N_STAKES = 64
BETS_A_LOGARITHM = 32  # products of so many factors, each between 3e-4 and 2, neither overflow nor vanish
LARGEST_E = 1e300  # larger e-values are shown as this

Places: TypeAlias = NDArray[np.intp]
Status = Literal["running", "eliminated", "pruned"]


@dataclass(frozen=True)
class Eliminated:
    """A candidate that left on evidence after `look` looks and `n_items` scores of its own.

    `e_value` is its mean over all rivals, at least 1/alpha; `against` the rival with the strongest evidence.
    """

    candidate: str
    against: str
    e_value: float
    n_items: int
    look: int


@dataclass(frozen=True)
class Pruned:
    """A candidate that left to save calls, with its `mean` over `n_items` scores by then: no claim that it is worse."""

    candidate: str
    mean: float
    n_items: int
    look: int


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands: its `mean` over `n_items` scores (NaN without any), `n_missing` beside them.

    `e_value` (from 0, at the start 1) is the evidence that it is not the best; the baseline's is shown, never acted on.
    `look` says when it left, `against` which rival's evidence was strongest when it was eliminated.
    """

    candidate: str
    n_items: int
    n_missing: int
    mean: float
    e_value: float
    status: Status
    look: int | None
    against: str | None


@dataclass(frozen=True)
class PairEvidence:
    """Two candidates on the `n_items` items that both answered; `n_missing` more were put to both and are left out.

    `difference` is mean(candidate) - mean(against), NaN without an item; `e_value` says how much speaks for `against`.
    """

    candidate: str
    against: str
    difference: float
    e_value: float
    n_items: int
    n_missing: int


def log_e_value(wins: Values, losses: Values) -> Floats:
    """Return the natural logarithm of the e-value for "the rival is better" from right/wrong answers, by element.

    `wins` counts items where only the rival is right, `losses` those where only the candidate is. Of the discordant
    items a rival that is not better wins at most half; the e-value is the likelihood ratio of a uniform prior on
    (1/2, 1] for that share to 1/2: 2^(w+l+1) B(w+1, l+1) P(Beta(w+1, l+1) > 1/2). Assumes independent items; then it
    is valid at any moment. Source: Robbins 1970, Ann. Math. Stat. 41(5); Ramdas et al. 2023, Statistical Science 38(4).
    """
    from scipy.special import betainc, betaln, hyp2f1

    won, lost = np.asarray(wins, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    above_half = betainc(lost + 1, won + 1, 0.5)
    vanished = above_half < 1e-290
    with np.errstate(divide="ignore"):
        found = (won + lost + 1) * math.log(2) + betaln(won + 1, lost + 1) + np.log(above_half)
    if vanished.any():
        # So many losses that the probability has no digits left; as a series its terms are positive and fall quickly.
        series = hyp2f1(1.0, -np.where(vanished, won, 0.0), lost + 2, -1.0)
        found = np.where(vanished, np.log(series) - np.log1p(lost), found)
    return np.asarray(found)


def log_mean_e_value(log_e: Floats) -> Floats:
    """Return, for each candidate, the logarithm of its mean e-value over all k - 1 rivals.

    `log_e[i, j]` is the evidence that i is better than j (the diagonal is ignored).
    """
    others = np.where(np.eye(len(log_e), dtype=bool), -np.inf, log_e)
    return np.logaddexp.reduce(others, axis=0) - math.log(len(log_e) - 1)


@cache
def _stakes() -> tuple[Floats, Floats]:
    """Return the stakes in (0, 1) and the logarithms of their shares of the capital: Gauss and Legendre's rule."""
    places, shares = np.polynomial.legendre.leggauss(N_STAKES)
    return (places + 1) / 2, np.log(shares / 2)


class _State:
    """What the looks so far add up to; rows and columns are candidates in their order."""

    def __init__(self, k: int) -> None:
        self.n_looks = 0
        self.n_scored, self.n_missing, self.total = np.zeros((3, k))
        # [i, j]: items both answered; sum of score i - score j on them; those that only i got right; log e-value of i.
        self.n_both, self.lead, self.wins, self.log_e = np.zeros((4, k, k))
        # [i, j, stake]: log capital from the blocks that are not counted in `wins`.
        self.capital: Floats | None = None
        self.clusters: set[Hashable] = set()
        self.left: dict[str, Eliminated | Pruned] = {}


@dataclass(frozen=True, eq=False)
class MeanERace:
    """A race of `candidates` over the same items in one shuffled order, block by block; higher scores are better.

    At each look a candidate is eliminated when the mean of its e-values over the k - 1 rivals of the start reaches
    1/`alpha`; a rival that left keeps its last e-value. By Ville's inequality a best candidate (of equally good ones:
    each) is ever eliminated with probability at most `alpha`, whenever one looks or prunes on what was seen. `baseline`
    never leaves, yet is a rival (None: nobody is exempt). No randomness: the same blocks rebuild the same race.
    Assumes an order of items that ignores the scores; independent items, or independent clusters of at most
    `largest_cluster` items, a size known before any score; scores missing for reasons unrelated to the item.
    Raises: StatisticsError for unusable settings. Source: Vovk & Wang 2021, Annals of Statistics 49(3) (means of
    e-values); Waudby-Smith & Ramdas 2024, JRSS B 86(1) (betting on bounded means).
    """

    candidates: Sequence[str]
    baseline: str | None
    alpha: float = 0.05
    largest_cluster: int = 1
    _state: _State = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        k = len(self.candidates)
        if isinstance(self.candidates, str) or k < 2:
            raise StatisticsError(f"candidates is {self.candidates!r}: a race needs at least two names")
        if len(set(self.candidates)) < k:
            raise StatisticsError(f"candidates {list(self.candidates)} are not distinct")
        if self.baseline is not None and self.baseline not in self.candidates:
            raise StatisticsError(f"the baseline {self.baseline!r} is not among the candidates {list(self.candidates)}")
        if not 0 < self.alpha < 1:
            raise StatisticsError(f"alpha is {self.alpha}, expected a fraction between 0 and 1, such as 0.05")
        if not isinstance(self.largest_cluster, (int, np.integer)) or self.largest_cluster < 1:
            raise StatisticsError(
                f"largest_cluster is {self.largest_cluster}, expected a whole number of items, from 1"
            )
        object.__setattr__(self, "candidates", tuple(self.candidates))
        object.__setattr__(self, "_state", _State(k))

    @property
    def survivors(self) -> tuple[str, ...]:
        """Candidates neither eliminated nor pruned, in their order."""
        return tuple(name for name in self.candidates if name not in self._state.left)

    def look(self, scores: Mapping[str, Values], clusters: Values | None = None) -> tuple[Eliminated, ...]:
        """Take one block of items and return who is eliminated by all items so far, in the order of the candidates.

        `scores` holds a column for each survivor, same items in one order, values in [0, 1], NaN = missing (left out of
        its pairs, counted, never 0); columns of candidates that left are not read. `clusters` names the cluster of each
        item; a cluster lies in one block. On an error nothing has been taken.
        Raises: StatisticsError for another column set, unequal lengths, values outside [0, 1], a cluster that is larger
        than said or was in an earlier block.
        """
        state, running = self._state, self.survivors
        block = self._block(scores, running)
        codes = self._codes(clusters, len(block))
        alive = np.array([self.candidates.index(name) for name in running])
        pairs = np.ix_(alive, alive)
        seen = ~np.isnan(block)
        points, present = np.where(seen, block, 0.0), seen.astype(np.float64)
        state.n_looks += 1
        state.n_scored[alive] += present.sum(axis=0)
        state.n_missing[alive] += (1 - present).sum(axis=0)
        state.total[alive] += points.sum(axis=0)
        state.n_both[pairs] += present.T @ present
        both = points.T @ present
        state.lead[pairs] += both - both.T
        if self.largest_cluster == 1 and np.isin(points, (0.0, 1.0)).all():
            state.wins[pairs] += both - points.T @ points
        else:
            self._bet(points, present, codes, alive)
        state.log_e[pairs] = self._log_e(alive)
        return self._eliminate(running)

    def prune(self, keep: int) -> tuple[Pruned, ...]:
        """Let only the best `keep` survivors by mean so far go on, the baseline besides; return who leaves.

        Of equal means the earlier candidate goes on; one without any score comes last. This saves calls and claims
        nothing: alpha does not cover it.
        Raises: StatisticsError when `keep` is below 1.
        """
        if keep < 1:
            raise StatisticsError(f"keep is {keep}: at least one candidate goes on")
        running = [row for row in self.standing() if row.status == "running"]
        # Equal means, also if rounding tells them apart, stay in the order of the candidates.
        challengers = [row for row in running if row.candidate != self.baseline]
        ranked = sorted(challengers, key=lambda row: -round(row.mean, 12) if row.n_items else math.inf)
        kept = {row.candidate for row in ranked[:keep]} | {self.baseline}
        found = tuple(
            Pruned(row.candidate, row.mean, row.n_items, self._state.n_looks)
            for row in running
            if row.candidate not in kept
        )
        self._state.left.update({one.candidate: one for one in found})
        return found

    def standing(self) -> tuple[Standing, ...]:
        """Return a row for each candidate, in their order."""
        state, e_values = self._state, _shown(log_mean_e_value(self._state.log_e))
        rows: list[Standing] = []
        for place, name in enumerate(self.candidates):
            n, gone = int(state.n_scored[place]), state.left.get(name)
            status = "running" if gone is None else "eliminated" if isinstance(gone, Eliminated) else "pruned"
            rows.append(
                Standing(
                    name,
                    n,
                    int(state.n_missing[place]),
                    float(state.total[place]) / n if n else math.nan,
                    e_values[place],
                    status,
                    gone.look if gone else None,
                    gone.against if isinstance(gone, Eliminated) else None,
                )
            )
        return tuple(rows)

    def pair(self, candidate: str, against: str) -> PairEvidence:
        """Return what the items that both answered say for "`against` is better than `candidate`".

        Raises: StatisticsError for an unknown name, or one and the same.
        """
        if candidate == against or not {candidate, against} <= set(self.candidates):
            raise StatisticsError(f"{candidate!r} against {against!r}: expected two of {list(self.candidates)}")
        state, place, rival = self._state, self.candidates.index(candidate), self.candidates.index(against)
        n = int(state.n_both[place, rival])
        given = (state.n_scored + state.n_missing)[[place, rival]].min()
        difference = float(state.lead[place, rival]) / n if n else math.nan
        return PairEvidence(candidate, against, difference, _shown(state.log_e[rival, [place]])[0], n, int(given) - n)

    def _block(self, scores: Mapping[str, Values], running: tuple[str, ...]) -> Floats:
        """Return the survivors' scores, a row for each item."""
        if unknown := [name for name in scores if name not in self.candidates]:
            raise StatisticsError(f"scores of {unknown[0]!r}, who is not in the race: {list(self.candidates)}")
        if absent := [name for name in running if name not in scores]:
            raise StatisticsError(
                f"no scores of {absent[0]!r}, which is still in the race; a candidate whose calls failed has NaN"
            )
        columns: list[Floats] = []
        for name in running:
            column = as_numbers(scores[name], f"scores[{name!r}]")
            if len(column) != len(first := (columns or [column])[0]):
                raise StatisticsError(
                    f"{running[0]!r} has {len(first)} scores and {name!r} {len(column)}: a block needs one score an "
                    "item, NaN where it is missing"
                )
            if (outside := np.flatnonzero((column < 0) | (column > 1))).size:
                raise StatisticsError(
                    f"scores[{name!r}][{outside[0]}] is {column[outside[0]]:g}: a race needs scores between 0 and 1; "
                    "rescale by limits that were known before the run, such as rating / 5"
                )
            columns.append(column)
        return np.stack(columns, axis=1)

    def _codes(self, clusters: Values | None, n: int) -> Places:
        """Return the cluster of each item as an integer from 0, and remember the names."""
        if clusters is None:
            if self.largest_cluster > 1:
                raise StatisticsError(
                    f"largest_cluster is {self.largest_cluster}, and this block names no clusters: pass clusters="
                )
            return np.arange(n)
        codes = cluster_codes(clusters, n)
        _, first, codes, sizes = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
        given = list(clusters)
        names = [given[place] for place in first]
        if sizes.max() > self.largest_cluster:
            raise StatisticsError(
                f"cluster {names[int(sizes.argmax())]!r} holds {sizes.max()} items of this block, largest_cluster is "
                f"{self.largest_cluster}: give the size of the largest cluster when the race is made"
            )
        if again := self._state.clusters.intersection(names):
            raise StatisticsError(
                f"cluster {min(again, key=names.index)!r} was in an earlier block: its items belong in one look"
            )
        self._state.clusters.update(names)
        return codes

    def _bet(self, points: Floats, present: Floats, codes: Places, alive: Places) -> None:
        """Add each cluster's bet to the capital of every stake, for all pairs of `alive`."""
        state, k = self._state, len(self.candidates)
        stakes, _ = _stakes()
        if state.capital is None:
            state.capital = np.zeros((k, k, N_STAKES))
        upper, lower = np.triu_indices(len(alive), 1)
        signed = np.concatenate([stakes, -stakes])
        order = np.argsort(codes, kind="stable")
        gain, n_bets = np.ones((len(upper), 2 * N_STAKES)), codes.max() + 1
        starts = np.searchsorted(codes[order], np.arange(n_bets + 1))
        for bet in range(n_bets):
            rows = order[starts[bet] : starts[bet + 1]]
            both = points[rows].T @ present[rows]
            gain *= 1 + (both - both.T)[upper, lower, None] / self.largest_cluster * signed
            if (bet + 1) % BETS_A_LOGARITHM == 0 or bet + 1 == n_bets:
                grown = np.log(gain)
                state.capital[alive[upper], alive[lower]] += grown[:, :N_STAKES]
                state.capital[alive[lower], alive[upper]] += grown[:, N_STAKES:]
                gain[:] = 1

    def _log_e(self, alive: Places) -> Floats:
        """Return the log e-values of all pairs of `alive`."""
        state, pairs = self._state, np.ix_(alive, alive)
        wins = state.wins[pairs]
        if state.capital is None:
            return log_e_value(wins, wins.T)
        stakes, shares = _stakes()
        counted = wins[..., None] * np.log1p(stakes) + wins.T[..., None] * np.log1p(-stakes)
        return np.logaddexp.reduce(state.capital[pairs] + counted + shares, axis=-1)

    def _eliminate(self, running: tuple[str, ...]) -> tuple[Eliminated, ...]:
        state = self._state
        log_e = log_mean_e_value(state.log_e)
        found: list[Eliminated] = []
        for name in running:
            place = self.candidates.index(name)
            if name != self.baseline and log_e[place] >= -math.log(self.alpha):
                column = state.log_e[:, place].copy()
                column[place] = -np.inf
                against = self.candidates[int(column.argmax())]
                n = int(state.n_scored[place])
                found.append(Eliminated(name, against, _shown(log_e[[place]])[0], n, state.n_looks))
        state.left.update({one.candidate: one for one in found})
        return tuple(found)


def _shown(log_e: Floats) -> list[float]:
    return np.exp(np.minimum(log_e, math.log(LARGEST_E))).tolist()
