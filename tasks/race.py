"""Stage `race`: one rung of the ladder; candidates answer the same shuffled dev items while nothing is decided."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from prefect import task

from safetycatch.errors import ExperimentError
from safetycatch.identity import keyed_fraction
from safetycatch.scoring import row_values
from safetycatch.stats.racing import MeanERace
from safetycatch.store import Ref
from tasks.calling import read_table, requests_of, scorers_of, shard_rows
from tasks.counts import answer_all
from tasks.evaluate import keep_rows, key_of, row_of
from tasks.stage import CacheKey, Place, parents_of, stage_fingerprint, transient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from safetycatch.calls import Reply, Request

STAGE, VERSION = "race", "1"
LOOK_ITEMS = 25
ALPHA = 0.05
# The baseline and one challenger.
ENOUGH = 2
# Small looks would leave places in flight empty: the next one is sent before the last one is decided.
AHEAD_BELOW_CALLS = 256


def blocks_of(ids: Sequence[str], clusters: dict[str, str], seed: int, rungs: Sequence[float]) -> list[list[list[str]]]:
    """Return, a rung, the items of each look: whole clusters in an order that only `seed` and names decide.

    `rungs` are the sizes that the items asked so far reach. A look holds 25 items or the rest of the rung, and ends
    with a cluster.
    """
    by_cluster: dict[str, list[str]] = {}
    for example_id in ids:
        by_cluster.setdefault(clusters[example_id], []).append(example_id)
    order = sorted(by_cluster, key=lambda name: (keyed_fraction(seed, "race", name), name))
    result: list[list[list[str]]] = []
    n_before, at = 0, 0
    for size in rungs:
        blocks: list[list[str]] = []
        while at < len(order) and n_before < size:
            block: list[str] = []
            while at < len(order) and len(block) < LOOK_ITEMS and n_before < size:
                block += by_cluster[order[at]]
                n_before += len(by_cluster[order[at]])
                at += 1
            blocks.append(block)
        if blocks:
            result.append(blocks)
    return result


@task(
    name=STAGE,
    task_run_name="race rung {settings[rung]}/{settings[rungs]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=1,
    retry_condition_fn=transient,
)
def race(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    parts: list[dict[str, Any]],
    pool: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the reference of the dev `rows` of one rung; who goes on is among its facts.

    `settings[blocks]` holds the looks of this rung and of those before it, `parts` the shots, to which the entries of
    `settings[candidates]` point, and then the earlier rungs' rows: the race is rebuilt from them.
    Raises: BudgetReachedError, ProviderUnusableError, StoppedError after everything answered is in the journal.
    """
    parents = parents_of({"examples": examples, "parts": parts, "pool": pool})
    store = place.open_store()
    found = store.find(STAGE, stage_fingerprint(STAGE, VERSION, settings, parents))
    if found is not None:
        return found.as_dict()
    with store.lock(STAGE, stage_fingerprint(STAGE, VERSION, settings, parents)):
        rung = _Rung(place, settings, examples, parts, pool or examples)
        counts = answer_all(place, rung.entries, f"rung {settings['rung']}", rung.requests(), rung.keep)
        rung.end()
        rows = rung.ordered_rows()
        facts = {"calls": counts, **rung.facts(rows)}
    return keep_rows(STAGE, VERSION, place, settings, parents, rows, facts)


@dataclass(slots=True)
class _Look:
    """One block of items: who is asked, and how many replies are still to come."""

    ids: list[str]
    asked: tuple[str, ...] = ()
    left: int = -1
    decided: asyncio.Event = field(default_factory=asyncio.Event)


class _Rung:
    """The looks of one rung. Who is asked which item depends on scores only, never on which reply came first."""

    def __init__(
        self,
        place: Place,
        settings: dict[str, Any],
        examples: dict[str, Any],
        parts: list[dict[str, Any]],
        shown: dict[str, Any],
    ) -> None:
        self._place, self._settings, self._shown = place, settings, shown
        self._n_replicates: int = settings["replicates"]
        self._scorer = scorers_of(place, settings)[0]
        self._shots, earlier = parts[: settings["n_shots"]], parts[settings["n_shots"] :]
        ids = [example_id for blocks in settings["blocks"] for block in blocks for example_id in block]
        items = shard_rows(read_table(place, examples), ids)
        self._items = {item["example_id"]: item for item in items}
        self._by_id = {entry["candidate"]["id"]: entry for entry in settings["candidates"]}
        self._race = MeanERace(
            list(self._by_id), settings["baseline"], alpha=ALPHA, largest_cluster=settings["largest_cluster"]
        )
        self._rows: dict[tuple[str, str, int], dict[str, Any]] = {}
        self._cache_saved_usd = 0.0
        for reference, blocks, keep in zip(earlier, settings["blocks"], settings["keeps"], strict=False):
            self._replay(reference, blocks)
            self._cut(keep)
        self._looks = [_Look(block) for block in settings["blocks"][-1]]
        self._look_of = {example_id: look for look in self._looks for example_id in look.ids}
        self._alive = [self._race.survivors]  # after so many looks of this rung
        self.entries = [self._by_id[name] for name in self._race.survivors]

    def _replay(self, reference: dict[str, Any], blocks: list[list[str]]) -> None:
        """Bring the race to where an earlier rung left it."""
        rows = {key_of(row): row for row in self._place.open_store().read(Ref.from_dict(reference)).to_pylist()}
        asked: dict[str, dict[str, None]] = {}
        for candidate, example_id, _ in rows:
            asked.setdefault(example_id, {})[candidate] = None
        for block in blocks:
            if block[0] in asked and not self._over:
                self._look(block, tuple(asked[block[0]]), rows)

    @property
    def _over(self) -> bool:
        """Whether one challenger is left: more dev items decide nothing, its verdict comes from the scored split."""
        return len(self._race.survivors) <= ENOUGH

    def _cut(self, keep: int | None) -> None:
        if keep is not None and not self._over:
            self._race.prune(keep)

    # -- asking ---------------------------------------------------------------------------------------------------

    async def requests(self) -> AsyncGenerator[Request]:
        """Yield the requests of each look once it is known who is still in the race."""
        for number, look in enumerate(self._looks):
            alive = await self._alive_after(max(0, number - 1))
            if len(look.ids) * len(alive) * self._n_replicates >= AHEAD_BELOW_CALLS:
                alive = await self._alive_after(number)
            if len(alive) <= ENOUGH:
                return
            look.asked, look.left = alive, len(look.ids) * len(alive) * self._n_replicates
            # Item by item, so that candidates at different endpoints are asked at the same time.
            for requests in zip(*(self._of(name, look.ids) for name in alive), strict=True):
                for request in requests:
                    yield request

    async def _alive_after(self, n_looks: int) -> tuple[str, ...]:
        if n_looks:
            await self._looks[n_looks - 1].decided.wait()
        return self._alive[n_looks]

    def _of(self, candidate: str, ids: list[str]) -> Iterable[Request]:
        entry = self._by_id[candidate]
        shots = self._shots[entry["shots_at"]] if entry["shots_at"] is not None else None
        rows = [self._items[example_id] for example_id in ids]
        return requests_of(self._place, entry, rows, shots, self._shown, self._n_replicates)

    # -- deciding -------------------------------------------------------------------------------------------------

    def keep(self, request: Request, reply: Reply) -> None:
        """Take one reply; a look is decided when all of its replies and all looks before it are there."""
        row = row_of(request, reply, self._scorer.parse)
        self._rows[key_of(row)] = row
        self._cache_saved_usd += reply.cache_saved_usd or 0.0
        self._look_of[request.example_id].left -= 1
        while len(self._alive) <= len(self._looks) and (look := self._looks[len(self._alive) - 1]).left == 0:
            if not self._over:
                self._look(look.ids, look.asked, self._rows)
            self._alive.append(self._race.survivors)
            look.decided.set()

    def _look(self, ids: list[str], asked: Sequence[str], rows: dict[tuple[str, str, int], dict[str, Any]]) -> None:
        scores = {name: self._scores(name, ids, rows) for name in asked if name in self._race.survivors}
        clusters = [self._settings["clusters"][example_id] for example_id in ids]
        self._race.look(scores, clusters)

    def _scores(self, name: str, ids: list[str], rows: dict[tuple[str, str, int], dict[str, Any]]) -> np.ndarray:
        """Return one value an item, the mean over its replicates, higher is better; NaN where no reply came."""
        n = self._n_replicates
        found = [{**self._items[one], **rows[name, one, replicate]} for one in ids for replicate in range(n)]
        values = row_values(self._scorer, found, [row["target"] for row in found]).value.reshape(len(ids), n)
        seen = ~np.isnan(values)
        sums = np.where(seen, values, 0.0).sum(axis=1)
        means = np.where(seen.any(axis=1), sums / np.maximum(seen.sum(axis=1), 1), np.nan)
        if (off := means[(means < 0) | (means > 1)]).size:
            raise ExperimentError(
                f"{self._scorer.name} of candidate {name} is {off[0]:g}",
                where="runs.ladder",
                expected="a metric between 0 and 1 to race on",
                fix="leave the ladder out, or claim a metric between 0 and 1",
            )
        return means if self._scorer.higher_is_better else 1 - means

    # -- what is kept -----------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Apply the rung's cap; called once every reply is there."""
        self._cut(self._settings["keeps"][-1])

    def ordered_rows(self) -> list[dict[str, Any]]:
        """Return the rows of this rung in the order in which they were asked for."""
        return [
            self._rows[name, example_id, replicate]
            for look in self._looks
            for name in look.asked
            for example_id in look.ids
            for replicate in range(self._n_replicates)
        ]

    def facts(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return who stands where, and what the rung took."""
        sign = 1 if self._scorer.higher_is_better else -1
        return {
            "metric": self._scorer.name,
            "survivors": list(self._race.survivors),
            "over": self._over,
            "standing": [
                {
                    "candidate": one.candidate,
                    "status": one.status,
                    "n": one.n_items,
                    "n_missing": one.n_missing,
                    "estimate": None if np.isnan(one.mean) else one.mean if sign > 0 else 1 - one.mean,
                    "e_value": one.e_value,
                    "look": one.look,
                    "against": one.against,
                }
                for one in self._race.standing()
            ],
            "higher_is_better": self._scorer.higher_is_better,
            "n_rows": len(rows),
            "cost_usd": sum(row["cost_usd"] or 0.0 for row in rows),
            "cache_saved_usd": self._cache_saved_usd,
            "took": self._took(rows),
            "failed": {name: self._failed(rows, name) for name in self._by_id},
            "errors": dict(Counter(row["error_class"] for row in rows if row["status"] == "error")),
            "tokens": {name: sum(row[name] or 0 for row in rows) for name in ("n_tokens_in", "n_tokens_cached")},
            "returned": dict(
                Counter(row["model_returned"] for row in rows if row["status"] == "invalid" and row["model_returned"])
            ),
        }

    @staticmethod
    def _took(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return calls and US dollars of each candidate in this rung."""
        took: dict[str, dict[str, Any]] = {}
        for row in rows:
            own = took.setdefault(row["candidate"], {"n_calls": 0, "cost_usd": 0.0})
            own["n_calls"] += 1
            own["cost_usd"] += row["cost_usd"] or 0.0
        return took

    @staticmethod
    def _failed(rows: list[dict[str, Any]], name: str) -> list[int]:
        """Return how many of a candidate's rows have no reply, and how many there are."""
        own = [row["status"] in {"error", "invalid"} for row in rows if row["candidate"] == name]
        return [sum(own), len(own)]
