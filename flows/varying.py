"""Other seeds and other orders of a strategy's examples, on part of the dev rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flows.answers import answer
from flows.bootstrap import bootstrapped, bootstraps_of
from flows.entries import entries_of
from safetycatch.catches import Policy
from safetycatch.catches.fewshot import Move
from safetycatch.results.bench import FILE, difference
from safetycatch.results.spread import spread
from tasks.bench import SIMPLEST
from tasks.benched import by_item, read_replies
from tasks.plan import highest_cost_of_a_row
from tasks.race import blocks_of
from tasks.session import WATCHER, ceiling, current

if TYPE_CHECKING:
    from typing import Any, Literal

    from flows.chain import Call
    from safetycatch.settings import ShotSettings
    from tasks.benched import Benched
    from tasks.prepared import Prepared, Ref

# Dev rows on which seeds and orders are tried, and with fewer than which they are not.
MOST_ITEMS, FEWEST_ITEMS = 300, 25


class Varied(NamedTuple):
    """What other seeds and orders move; `reason` says why nothing was tried, or less than asked for."""

    moves: tuple[Move, ...] = ()
    reason: str = ""
    n_calls: int = 0
    parts: tuple[Ref, ...] = ()


def variants(shots: ShotSettings, n: int) -> list[tuple[Literal["seed", "order"], ShotSettings]]:
    """Return `n` other seeds, where a seed chooses examples, and `n` other orders, where there are two to order."""
    seeds = [shots.model_copy(update={"seed": shots.seed + step}) for step in range(1, n + 1)] if shots.n_core else []
    orders = [shots.model_copy(update={"order": step}) for step in range(1, n + 1)] if shots.k > 1 else []
    return [*(("seed", one) for one in seeds), *(("order", one) for one in orders)]


def vary(found: Benched, n: int, call: Call, n_before: int) -> Varied:
    """Ask the recommended strategy, and the best fixed one, with `n` other seeds and orders of their examples.

    Both are asked the first dev rows in the order of the race. What is left of the budget, and of what may be spent
    without asking, bounds how many: a bench never ends because of this. `n_before` answers were expected so far.
    """
    advice = found.advice
    if not n:
        return Varied(reason="not asked for (--seeds 0)")
    if advice is None or advice.candidate == SIMPLEST:
        return Varied(reason="no examples are recommended" if advice else "no strategy has a score")
    fixed = next((row.candidate for row in found.rows if row.complete and row.moving == (FILE,)), None)
    names = [advice.candidate, *([fixed] if fixed is not None and fixed != advice.candidate else [])]
    asked = [(name, what, shots) for name in names for what, shots in variants(found.one(name).shots, n)]
    if not asked:
        return Varied(reason=f"{advice.candidate} shows one example, found by nearness: no seed and no order")
    prepared = _prepared(found, [shots for _, _, shots in asked], call)
    ids, reason = _items(found, prepared)
    if not ids:
        return Varied(reason=reason)
    n_asked = len(asked) * len(ids) * prepared.experiment.runs.replicates
    n_asked += sum(len(one.ids) for one in prepared.bootstraps)
    if (say := WATCHER.get().say) is not None:
        say(
            "plan",
            f"seeds and orders of {' and '.join(names)}: {len(asked)} x {len(ids)} rows · up to {n_asked:,} calls",
        )
    if (expect := WATCHER.get().expect) is not None:
        expect(n_before + n_asked)
    prepared, first = bootstrapped(prepared, Policy(claiming=False), call)
    references = list(chain.from_iterable(answer(replace(prepared, ids=ids), call, lambda _count: None).values()))
    replies = read_replies(prepared, references)
    at = [found.ids.index(example_id) for example_id in ids]
    clusters = None if found.clusters is None else found.clusters[at]
    moves: list[Move] = []
    for name in names:
        gain, against = _gain(found, name)
        for what in ("seed", "order"):
            own = [shots.name for one, kind, shots in asked if (one, kind) == (name, what)]
            if own:
                scores = [by_item(prepared, found.scorer, replies.get(one, []), ids)[0] for one in own]
                moved = spread(name, what, np.stack([found.one(name).scores[at], *scores]), clusters)
                moves.append(Move(moved, gain, against))
    n_calls = sum(len(rows) for rows in replies.values()) + sum(len(one.ids) for one in prepared.bootstraps)
    return Varied(tuple(moves), reason, n_calls, (*first, *references))


def _gain(found: Benched, name: str) -> tuple[float, str]:
    """Return the gain that the choice of examples may hide: over none at all, or the recommended one's over `name`."""
    advice = found.advice
    assert advice is not None  # noqa: S101 - vary returned before
    if name == advice.candidate:
        return difference(found.one(name), found.one(SIMPLEST), found.metric, found.clusters).estimate, SIMPLEST
    other = found.one(advice.candidate)
    return difference(other, found.one(name), found.metric, found.clusters).estimate, advice.candidate


def _prepared(found: Benched, wanted: list[ShotSettings], call: Call) -> Prepared:
    """Return the bench with these candidates instead of its own."""
    prepared = found.prepared
    source = prepared.experiment.candidates[0]
    candidates = [source.model_copy(update={"id": shots.name, "shots": shots}) for shots in wanted]
    inputs = replace(prepared.inputs, experiment=prepared.experiment.model_copy(update={"candidates": candidates}))
    task: Any = prepared.task
    entries, shots = entries_of(
        inputs,
        prepared.place,
        call,
        task,
        prepared.labels,
        prepared.scorers,
        prepared.examples,
        prepared.splits,
        prepared.pool,
        prepared.scored_split,
    )
    bootstraps = bootstraps_of(
        prepared.place, entries, prepared.scorers, prepared.examples, prepared.splits, prepared.pool
    )
    return replace(
        prepared, inputs=inputs, entries=tuple(entries), shots=tuple(shots), bootstraps=bootstraps, ladder=None
    )


def _items(found: Benched, prepared: Prepared) -> tuple[tuple[str, ...], str]:
    """Return the dev rows to ask, whole clusters, and why they are fewer than they could be."""
    limits, spent, replicates = (
        ceiling(prepared.experiment),
        current().budget.spent,
        prepared.experiment.runs.replicates,
    )
    entries, ids = list(prepared.entries), list(found.ids)
    usd, tokens = highest_cost_of_a_row(
        prepared.place, entries, ids, prepared.examples, list(prepared.shots), prepared.pool
    )
    wanted = min(MOST_ITEMS, len(ids))
    # Asked before the examples are known: so many rows' worth of all entries.
    first = sum(len(one.ids) for one in prepared.bootstraps) / (len(entries) * replicates)
    room: dict[str, float] = {}
    if limits.calls is not None:
        room["budget.calls"] = (limits.calls - spent.calls) / (len(entries) * replicates)
    if limits.tokens is not None and tokens:
        room["budget.tokens"] = (limits.tokens - spent.tokens) / (tokens * replicates)
    by, said, estimate = "budget.ask_above", limits.ask_above, prepared.estimate
    if said is not None and estimate is not None and not estimate.below(said):
        # Somebody was asked, and said yes to at most this.
        by, said = "the approved sum", estimate.highest_usd
    for name, most in (("budget.usd", limits.usd), (by, said)):
        if most is not None and usd:
            room[name] = (most - spent.usd) / (usd * replicates)
    room = {name: rows - first for name, rows in room.items()}
    tight = min(room, key=room.__getitem__, default="")
    if not room or room[tight] >= wanted:
        chosen, reason = wanted, ""
    else:
        fits = max(0, int(room[tight]))
        chosen, reason = fits, f"{tight} leaves room for {fits} rows"
    if chosen < FEWEST_ITEMS:
        return (), reason or f"{len(ids)} dev rows, fewer than {FEWEST_ITEMS}"
    blocks = blocks_of(ids, found.cluster_of, prepared.experiment.split.seed, [chosen])
    return tuple(chain.from_iterable(chain.from_iterable(blocks))), reason
