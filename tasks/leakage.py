"""Stage `leakage`: what crosses the splits, over all pairs of the sets in play, and what trivially predicts a label."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task

from safetycatch.data.crossings import group_crossings, group_keys, time_crossings
from safetycatch.data.leakage import leak_matrix
from safetycatch.data.shortcuts import LEFT_MISTAKES, find_shortcuts
from safetycatch.settings import LeakSettings
from safetycatch.tables import with_ids
from tasks.calling import read_table
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, transient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safetycatch.data.shortcuts import Shortcuts

STAGE, VERSION = "leakage", "3"
GRAVEST_FIRST = ("exact", "normalised", "bag", "near", "prompt", "template", "similar")
DUPLICATES = frozenset({"exact", "normalised", "bag", "near", "prompt"})


@task(
    name=STAGE,
    task_run_name="leakage {settings[scored]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=2,
    retry_condition_fn=transient,
)
def leakage(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    splits: dict[str, Any],
    pool: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the reference of the `leaks`; counts by kind, leaked ids and shortcuts are its facts."""

    def produce() -> Produced:
        table = read_table(place, examples)
        split_of = read_table(place, splits)
        sets: dict[str, pa.Table] = {}
        for name in ("test", "dev", "train"):
            ids = split_of.filter(pc.field("split") == name)["example_id"].to_pylist()
            if ids:
                sets[name] = with_ids(table, ids)
        if pool is not None:
            sets["pool"] = read_table(place, pool)
        found = leak_matrix(sets, LeakSettings.model_validate(settings["thresholds"]), prompts=settings["prompts"])
        crossed = [group_crossings(sets)] if settings["group"] else []
        crossed += [time_crossings(sets)] if settings["time"] else []
        leaks = pa.concat_tables([found, *crossed])
        facts = _facts(leaks, sets, settings)
        if settings["classify"]:
            found_shortcuts = find_shortcuts(
                table, cluster_ids=split_of["cluster_id"].to_pylist(), leave_out=settings["exclude"]
            )
            facts["shortcuts"] = _shortcuts(found_shortcuts, settings["shortcuts"])
        return Produced(leaks, facts=facts)

    parents = parents_of({"examples": examples, "splits": splits, "pool": pool})
    return run_stage(STAGE, VERSION, place, settings, parents, produce)


def _facts(leaks: pa.Table, sets: Mapping[str, pa.Table], settings: dict[str, Any]) -> dict[str, Any]:
    """Return what the catches need: distinct scored rows by their gravest kind, examples, and which ids leaked.

    Our own split starts without any, but frozen rows stay where they are when their texts or thresholds change.
    """
    scored = settings["scored"]
    gravest: dict[str, tuple[int, dict[str, Any]]] = {}
    groups: dict[str, dict[str, Any]] = {}
    future: dict[str, dict[str, Any]] = {}
    for pair in leaks.filter(pc.field("left_split") == scored).to_pylist():
        if pair["kind"] == "group":
            groups.setdefault(pair["left_id"], pair)
        elif pair["kind"] == "time":
            future.setdefault(pair["left_id"], pair)
        else:
            rank = GRAVEST_FIRST.index(pair["kind"])
            before = gravest.get(pair["left_id"])
            if before is None or rank < before[0]:
                gravest[pair["left_id"]] = (rank, pair)
    kinds = Counter(GRAVEST_FIRST[rank] for rank, _ in gravest.values())
    worst = min(gravest.values(), key=lambda item: (item[0], item[1]["left_id"]), default=None)
    leaked = [example_id for example_id, (_, pair) in gravest.items() if pair["kind"] in DUPLICATES]
    crossed = {*groups, *future} if settings["given"] else {*groups}
    similar = [example_id for example_id, (_, pair) in gravest.items() if pair["right_split"] in {"train", "pool"}]
    return {
        "n_scored": sets[scored].num_rows if scored in sets else 0,
        "rows": {kind: kinds[kind] for kind in GRAVEST_FIRST if kinds[kind]},
        "example": _shown(worst[1]) if worst else "",
        "n_groups": _n_groups(sets[scored], groups) if scored in sets else 0,
        "n_group_rows": len(groups),
        "group_example": _shown(next(iter(groups.values()))) if groups else "",
        "n_future": len(future),
        "future_example": _shown(next(iter(future.values()))) if future else "",
        "leaked_ids": sorted(set(leaked)),
        "crossed_ids": sorted(crossed),
        "similar_ids": sorted(set(similar)),
        "pairs": dict(Counter(leaks["kind"].to_pylist())),
        "shortcuts": None,
    }


def _n_groups(scored: pa.Table, crossing: Mapping[str, Any]) -> int:
    """Return how many different groups the crossing rows belong to."""
    keys = zip(scored["example_id"].to_pylist(), group_keys(scored), strict=True)
    return len({key for example_id, own in keys if example_id in crossing for key in own})


def _shortcuts(found: Shortcuts, thresholds: dict[str, float]) -> dict[str, Any]:
    """Return the facts of SC511: a field decides when it is nearly always right and beats the majority by far."""
    tokens = [one for one in found.tokens if one.low >= thresholds["token"]]
    return {
        "tokens": [[t.token, t.label, t.n_agree / t.n_rows, t.n_rows] for t in tokens if not t.is_label],
        "label_in_text": [[t.label, t.n_agree / t.n_rows, t.n_rows] for t in tokens if t.is_label],
        "fields": [
            [one.field, one.accuracy]
            for one in found.fields
            if one.accuracy >= thresholds["field"] and 1 - one.accuracy <= LEFT_MISTAKES * (1 - one.majority)
        ],
        "n": found.n_rows,
    }


def _shown(pair: dict[str, Any]) -> str:
    return f"{pair['left_split']} {pair['left_id']} ~ {pair['right_split']} {pair['right_id']}"
