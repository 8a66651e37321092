"""Stage `compare`: estimates, paired comparisons and the verdict."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import task

from safetycatch.errors import UsageError
from safetycatch.experiment import Claim
from safetycatch.results.corrected import Judging
from safetycatch.results.matrix import build_matrix, items_of
from safetycatch.results.noise import noise_of
from safetycatch.results.summary import MetricTable, summarise
from safetycatch.store import Ref
from safetycatch.store.runs import Runs
from safetycatch.tables import checked, schema
from tasks.calling import read_table, scorers_of
from tasks.report import JUDGING
from tasks.stage import CacheKey, Place, Produced, parents_of, run_stage, transient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.results.matrix import Items, ScoreMatrix

STAGE, VERSION = "compare", "10"


@task(
    name=STAGE,
    task_run_name="compare {settings[split]}",
    cache_key_fn=CacheKey(STAGE, VERSION),
    persist_result=True,
    result_serializer="json",
    retries=2,
    retry_condition_fn=transient,
)
def compare(
    place: Place,
    settings: dict[str, Any],
    examples: dict[str, Any],
    splits: dict[str, Any],
    parts: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the reference of the `comparisons`; estimates, verdicts and item health are its facts.

    `parts` are the candidates' `scores`; `settings[stored]` names a stored run whose scores are the baseline,
    `settings[judging]` what is known of the judge's errors, where there is a judge.
    """

    def produce() -> Produced:
        store = place.open_store()
        items = items_of(
            read_table(place, examples),
            read_table(place, splits),
            settings["split"],
            settings["slices"],
            settings["ids"],
        )

        def batches() -> Iterator[pa.RecordBatch]:
            for part in parts:
                yield from store.batches(Ref.from_dict(part))

        matrix = build_matrix(items, batches(), settings["replicates"])
        if settings["stored"]:
            matrix = matrix.joined(_stored(place, settings["stored"], items), settings["stored"]["run_id"])
        scorers = scorers_of(place, settings)
        if settings["stored"] and not matrix.has(settings["baseline"], scorers[0].name):
            raise UsageError(
                f"{scorers[0].name} is a metric of the whole set, and only some items are shared with the stored run",
                where="claim.metric",
                fix="claim accuracy, or run both on the same data",
            )
        claim = Claim.model_validate(settings["claim"]) if settings["claim"] else None
        judging = Judging.of(_with_stored(place, settings.get("judging"), settings["stored"]))
        summary = summarise(matrix, MetricTable.of(scorers), claim, settings, judging)
        rows = [comparison.row() for comparison in (*summary.outcome.comparisons, *summary.pairs)]
        table = checked(pa.Table.from_pylist(rows, schema=schema("comparisons")), "comparisons")
        kept = matrix.without(set(settings["exclude"]))
        noise = {
            "metric": scorers[0].name,
            "examples": examples["sha256"],
            "pairs": noise_of(kept, settings["baseline"], settings["candidates"], scorers[0].name),
        }
        return Produced(table, facts=summary.facts() | {"noise": noise})

    parents = parents_of({"examples": examples, "splits": splits, "parts": parts})
    return run_stage(STAGE, VERSION, place, settings, parents, produce)


def _with_stored(place: Place, judging: dict[str, Any] | None, stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what is known of the judge, with the stored side's answers that needed none."""
    if judging is None or not stored:
        return judging
    before = json.loads(Runs(place.open_store()).load(stored["run_id"]).text(JUDGING))
    known = {metric: dict(found) for metric, found in judging.get("known", {}).items()}
    for metric, found in before.get("known", {}).items():
        if stored["candidate"] in found:
            name = f"{stored['run_id']}:{stored['candidate']}"
            known.setdefault(metric, {})[name] = found[stored["candidate"]]
    return judging | {"known": known}


def _stored(place: Place, stored: dict[str, Any], items: Items) -> ScoreMatrix:
    """Return the scores of one candidate of a stored run, over the items that it shares with this one."""
    run = Runs(place.open_store()).load(stored["run_id"])
    shared = set(items.ids)
    scores = run.table("scores")
    columns = {name: scores[name].to_pylist() for name in scores.column_names}
    picked = [
        row
        for row, (candidate, example_id) in enumerate(zip(columns["candidate"], columns["example_id"], strict=True))
        if candidate == stored["candidate"] and example_id in shared
    ]
    table = scores.take(picked)
    return build_matrix(items, table.to_batches(), max([*table["replicate"].to_pylist(), 0]) + 1)
