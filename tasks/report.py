"""Stage `report`: the run's own folder, with its tables, findings, HTML and Markdown report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import task

from safetycatch.catches.finding import findings_table
from safetycatch.identity import canonical_json
from safetycatch.report.html import render_html
from safetycatch.report.markdown import render_markdown
from safetycatch.store import Ref
from safetycatch.tables import CONTRACTS, schema
from tasks.filling import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.store import Run, Store
    from tasks.result import Result

NAME = "report"
JUDGING = "judging.json"  # what was known of the judge's errors, for gate and compare


@task(name=NAME, task_run_name="report {result.run_id}", persist_result=False)
def report(result: Result, run: Run, parts: dict[str, list[dict[str, Any]]], scores: list[dict[str, Any]]) -> list[str]:
    """Write the tables and the report of a run into its folder; return the files' names.

    `parts` are the candidates' shards of rows, `scores` their scores; both are copied batch by batch.
    """
    store = result.prepared.place.open_store()
    rows = [reference for shards in parts.values() for reference in shards]
    run.write_table("rows", _with_run(store, rows, "rows", run.run_id), schema=schema("rows"))
    run.write_table("scores", _with_run(store, scores, "scores", run.run_id), schema=schema("scores"))
    run.write_table("comparisons", store.read(Ref.from_dict(result.comparisons)))
    run.write_table("findings", findings_table(result.findings))
    run.write_table("items", result.items_table())
    if result.climbed is not None:
        run.write_table("ladder", pa.Table.from_pylist(list(result.climbed.standing), schema=schema("ladder")))
        rungs = list(result.climbed.rungs)
        run.write_table("dev_rows", _with_run(store, rungs, "rows", run.run_id), schema=schema("rows"))
    if result.verdicts:
        batches = (batch for reference in result.verdicts for batch in store.batches(Ref.from_dict(reference)))
        run.write_table("verdicts", batches, schema=schema("verdicts"))
    content = fill(result, parts)
    run.write_text("report.html", render_html(content))
    run.write_text("report.md", render_markdown(content))
    if result.judging is not None:
        run.write_text(JUDGING, canonical_json(result.judging).decode())
    raced = ["ladder", "dev_rows"] if result.climbed else []
    judged = ["verdicts"] if result.verdicts else []
    return ["rows", "scores", "comparisons", "findings", "items", *raced, *judged]


def _with_run(store: Store, references: list[dict[str, Any]], name: str, run_id: str) -> Iterator[pa.RecordBatch]:
    contract = CONTRACTS[name]
    for reference in references:
        for batch in store.batches(Ref.from_dict(reference)):
            column = pa.array([run_id] * batch.num_rows, pa.string())
            arrays = [column if field == "run_id" else batch.column(field) for field in contract.names]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema(name))
