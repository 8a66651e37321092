"""Stage `split`: train, dev and test, frozen at the first run; a declared pool gets its clusters here too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from safetycatch.data.splitting import derive_dev
from safetycatch.data.splitting import split as split_rows
from safetycatch.identity import fingerprint
from safetycatch.settings import LeakSettings, SplitSettings
from safetycatch.store import Ref
from safetycatch.store.frozen import FrozenSplit, read_frozen, write_frozen
from safetycatch.tables import checked
from tasks.calling import read_table
from tasks.stage import Place, Produced, parents_of, run_stage, transient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safetycatch.data.splitting import SplitResult
    from tasks.start import Inputs

STAGE, LEDGER, VERSION = "split", "split-ledger", "2"
POOL_PREFIX = "pool:"


@task(
    name=STAGE,
    task_run_name="split",
    # Never from Prefect's cache: a kill between the artifact and the ledger's pointer must be noticed here.
    cache_policy=NO_CACHE,
    retries=2,
    retry_condition_fn=transient,
)
def split(place: Place, settings: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """Return the reference of the `splits`; what to tell about them, counts and variant are its facts.

    `settings[key]` names the ledger: rows that it holds keep their split, new rows are added to it.
    """
    store = place.open_store()
    key = settings["key"]
    with store.lock(LEDGER, key):
        frozen = read_frozen(store, key)
        if frozen is not None and frozen.examples_sha256 == examples["sha256"]:
            return frozen.table.as_dict()
        made: list[SplitResult] = []

        def produce() -> Produced:
            table = read_table(place, examples)
            before = store.read(frozen.ledger) if frozen is not None else None
            wanted = SplitSettings.model_validate(settings["split"])
            result = split_rows(table, wanted, frozen=before, leaks=LeakSettings.model_validate(settings["leaks"]))
            if settings["derive_dev"] and result.variant == "given" and not result.rows["dev"] and result.rows["train"]:
                result = derive_dev(result, seed=wanted.seed)
            made.append(result)
            return Produced(result.table, facts=_facts(result, table["target"].to_pylist()))

        reference = run_stage(STAGE, VERSION, place, settings, parents_of({"examples": examples}), produce)
        if not made:
            made.append(_remade(place, settings, examples, frozen))
        if made[0].variant != "given":
            ledger = run_stage(
                LEDGER,
                VERSION,
                place,
                {"key": key},
                [reference, *([frozen.ledger.as_dict()] if frozen else [])],
                lambda: Produced(made[0].frozen),
            )
            write_frozen(store, key, FrozenSplit(Ref.from_dict(ledger), Ref.from_dict(reference), examples["sha256"]))
        return reference


def _remade(
    place: Place, settings: dict[str, Any], examples: dict[str, Any], frozen: FrozenSplit | None
) -> SplitResult:
    """Return the result behind an artifact that was written before its ledger was (a kill in between)."""
    before = place.open_store().read(frozen.ledger) if frozen is not None else None
    leaks = LeakSettings.model_validate(settings["leaks"])
    wanted = SplitSettings.model_validate(settings["split"])
    return split_rows(read_table(place, examples), wanted, frozen=before, leaks=leaks)


def _facts(result: SplitResult, targets: Sequence[str | None]) -> dict[str, Any]:
    counts = {name: result.rows.get(name, 0) for name in ("train", "dev", "test")}
    n_clusters = len(set(result.table["cluster_id"].to_pylist()))
    told = " · ".join(f"{name} {count}" for name, count in counts.items() if count)
    how = {
        "given": "as the file says",
        "time": "cut by time",
        "hash": "by keyed hash",
        "balanced": "balanced by label" if _are_labels(targets) else "balanced in size",
    }[result.variant]
    if result.quarantined:
        told += f" · {len(result.quarantined)} set aside"
    return {
        "variant": result.variant,
        "counts": counts,
        "n_clusters": n_clusters,
        "n_quarantined": len(result.quarantined),
        "told": f"{told} ({how}; {n_clusters} clusters kept together)",
        "notes": list(result.notes),
    }


def _are_labels(targets: Sequence[str | None]) -> bool:
    """Whether targets repeat, as labels do: free texts and the one target of answers without any balance nothing."""
    distinct = len(set(targets))
    return 1 < distinct <= len(targets) / 2


def split_key(inputs: Inputs) -> str:
    """Return the name of the ledger of a data file: its place in the project, the split settings, what groups rows.

    Other groups or ids make another split: rows frozen without knowing a group could stand on two sides of it.
    """
    data, root = inputs.experiment.data, inputs.project.root.resolve()
    path = inputs.files[data.path].resolve()
    place = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    columns = data.model_dump(mode="json", include={"id", "input", "target", "group", "time"})
    return fingerprint(place, columns, inputs.experiment.split.model_dump(mode="json"))


def clusters_with_pool(splits: pa.Table, pool: pa.Table, examples: pa.Table) -> dict[str, str]:
    """Return the cluster of every row of the data and of a declared pool, whose ids get a prefix.

    A pool row that repeats a row of the data, exactly or nearly, is in that row's cluster: it is never its shot.
    """
    from safetycatch.data.leakage import DUPLICATE_KINDS, find_leaks

    clusters = dict(zip(splits["example_id"].to_pylist(), splits["cluster_id"].to_pylist(), strict=True))
    if not pool.num_rows:
        return clusters
    ids = pool["example_id"].to_pylist()
    found = {example_id: example_id for example_id in ids}
    for pair in find_leaks(pool, examples).to_pylist():
        if pair["kind"] in DUPLICATE_KINDS:
            found[pair["left_id"]] = clusters[pair["right_id"]]
    return {**found, **clusters}


def prefixed(pool: pa.Table) -> pa.Table:
    """Return the pool with ids that cannot collide with those of the data."""
    ids = pa.array([POOL_PREFIX + example_id for example_id in pool["example_id"].to_pylist()], pa.string())
    return checked(pool.set_column(pool.column_names.index("example_id"), "example_id", ids), "examples", "pool")
