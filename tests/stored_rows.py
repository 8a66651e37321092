"""Runs written through the store's own interface, row by row, for what shows them."""

from datetime import UTC, datetime

import pyarrow as pa

from safetycatch.identity import output_hash
from safetycatch.store import Runs, Store
from safetycatch.tables import schema

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
METRIC = {"name": "accuracy", "unit": "points", "higher_is_better": True, "rate": True, "corpus": False}


def row(candidate, item, output="an answer", score=1.0, **more):
    """One row: `status`, `parsed`, `replicate`, `verdict`, `critique` and numbers may be said."""
    return {"candidate": candidate, "example_id": item, "output": output, "score": score, **more}


def fitted(name, rows):
    """A table of the contract, columns that are not said left empty."""
    blank = {
        field.name: None if field.nullable else 0 if pa.types.is_integer(field.type) else "" for field in schema(name)
    }
    return pa.Table.from_pylist(
        [{**blank, **{key: value for key, value in one.items() if key in blank}} for one in rows], schema=schema(name)
    )


def write_run(root, rows, *, examples=None, baseline="a", slices=None, leaks=(), metric=None, config=None):
    """Write a finished run; `examples` are texts (or input, target) by item, `slices` values by item and column.

    Returns the store and the run.
    """
    metric = {**METRIC, **(metric or {})}
    store = Store.open(root / "store")
    ids = list(dict.fromkeys(one["example_id"] for one in rows))
    texts = {name: text if isinstance(text, tuple) else (text, "yes") for name, text in (examples or {}).items()}
    known = [(name, *texts.get(name, (f"question {name}", "yes"))) for name in [*ids, *(set(texts) - set(ids))]]
    table = fitted(
        "examples",
        [{"example_id": name, "input": text, "input_kind": "text", "target": to} for name, text, to in known],
    )
    made = {"settings": {}, "parents": [], "version": "1"}
    of_examples = store.write("load", "1" * 40, table, **made)
    facts = {
        "leaked_ids": [pair["left_id"] for pair in leaks if pair["kind"] == "exact"],
        "crossed_ids": [],
        "similar_ids": [pair["left_id"] for pair in leaks if pair["kind"] == "similar"],
    }
    of_leaks = store.write("leakage", "2" * 40, fitted("leaks", leaks), **made, facts=facts)
    with Runs(store).begin("rows", "3" * 40, config=config or {}, now=NOW) as run:
        rows = [{"status": "answer", "parsed": one["output"], "replicate": 0, **one} for one in rows]
        run.write_table("rows", fitted("rows", [{"run_id": run.run_id, **one} for one in rows]))
        scores = [{"run_id": run.run_id, **one, "metric": metric["name"], "value": one["score"]} for one in rows]
        judged = [one for one in rows if "verdict" in one]
        points = {"pass": 1.0, "fail": 0.0, "win": 1.0, "tie": 0.5, "loss": 0.0}
        scores += [
            {"run_id": run.run_id, **one, "metric": "judge", "value": points.get(one["verdict"])} for one in judged
        ]
        run.write_table("scores", fitted("scores", scores))
        if judged:
            told = [
                {**one, "judge": "judge", "order": "as", "output_hash": output_hash(one["output"]), "output": None}
                for one in judged
            ]
            run.write_table("verdicts", fitted("verdicts", told))
        items = {
            "example_id": pa.array(ids, pa.string()),
            "cluster_id": pa.array([f"c-{name}" for name in ids], pa.string()),
            "content": pa.array([str(texts.get(name, name)) for name in ids], pa.string()),
        }
        items |= {
            f"slice:{name}": pa.array([by[item] for item in ids], pa.string()) for name, by in (slices or {}).items()
        }
        run.write_table("items", pa.table(items))
        units = {metric["name"]: metric["unit"], **({"judge": "points"} if judged else {})}
        summary = {"baseline": baseline, "headline": None, "metric": metric, "units": units}
        refs = {"examples": of_examples.as_dict(), "leaks": of_leaks.as_dict()}
        run.finish("done", {"summary": summary, "result": {}, "made_of": refs}, now=NOW)
    return store, Runs(store).load(run.run_id)


def label(item, output, said="pass", who="ann", **more):
    """One label of an answer."""
    return {
        "example_id": item, "candidate": "", "output_hash": output_hash(output), "annotator": who, "criterion": "",
        "label": said, **more,
    }  # fmt: skip


def labels(*said):
    """A table of labels."""
    return fitted("labels", said)
