"""What `check` and `plan` show: the same stages as a run, up to the first call, without Prefect and without cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flows.approval import outstanding
from flows.ceilings import ceilings_of
from flows.chain import as_function, prepare, sound_store
from flows.evaluate import policy_of
from safetycatch.store import Ref
from tasks.calling import read_table
from tasks.session import session
from tasks.start import read_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from safetycatch.catches import Finding
    from tasks.prepared import Prepared


FACTS = (
    *("n", "n_clusters", "detectable", "n_needed", "unit", "assumption", "measured_in", "replicates", "told"),
    *("unknown_prices", "race"),
)


@dataclass(frozen=True, slots=True)
class Preview:
    """Findings, what to say about data and split, and the facts behind it."""

    findings: tuple[Finding, ...]
    lines: tuple[str, ...]
    facts: dict[str, Any]


def preview(path: Path, overrides: dict[str, str] | None = None, *, to_pay: bool = False) -> Preview:
    """Return what a run of this experiment would find before its first call, and what it would cost.

    `to_pay` adds what is left to pay to the plan: every call is looked up in the journal for it.
    """
    inputs = read_inputs(path)
    place, policy = inputs.place("preview"), policy_of(inputs, overrides or {})
    sound_store(place, policy)
    with session(place, inputs.experiment, inputs.project):
        prepared = prepare(inputs, place, policy, as_function, unattended=False)
        facts = _facts(prepared)
        if to_pay:
            facts["plan"]["to_pay"] = asdict(prepared.estimate or outstanding(prepared))
        return Preview(prepared.findings, _lines(prepared), facts)


def _lines(prepared: Prepared) -> tuple[str, ...]:
    store = prepared.place.open_store()
    split = store.facts(Ref.from_dict(prepared.splits))
    return (split["told"], *prepared.notes)


def _facts(prepared: Prepared) -> dict[str, Any]:
    store = prepared.place.open_store()
    plan = store.facts(Ref.from_dict(prepared.plan))
    leaks = store.facts(Ref.from_dict(prepared.leaks))
    rows = read_table(prepared.place, prepared.plan).to_pylist()
    ceilings = ceilings_of(prepared)
    claim = prepared.experiment.claim
    effect = claim.smallest_effect if claim else None
    return {
        "name": prepared.experiment.name,
        "mode": prepared.place.mode,
        "task": prepared.task,
        "scored_split": prepared.scored_split,
        "n_scored": len(prepared.ids),
        "n_available": prepared.n_available,
        "splits": store.facts(Ref.from_dict(prepared.splits))["counts"],
        "leaked_ids": leaks["leaked_ids"],
        "leaks": leaks["rows"],
        "data": str(prepared.inputs.files[prepared.experiment.data.path]),
        "scorers": list(prepared.scorers),
        "baseline": prepared.experiment.baseline,
        "smallest_effect": effect.value if effect else None,
        "plan": {
            "candidates": rows,
            "n_calls": sum(row["n_calls"] for row in rows),
            "expected_calls": sum(row["expected_calls"] for row in rows),
            "expected_usd": _sum(rows, "expected_usd"),
            "highest_usd": _sum(rows, "highest_usd"),
            **{key: plan[key] for key in FACTS},
            "ceiling": {
                "told": ceilings.lines(),
                "unbounded": sorted(ceilings.unbounded),
                "too_low": [asdict(one) for one in ceilings.too_low],
            },
        },
    }


def _sum(rows: list[dict[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows]
    return None if any(value is None for value in values) else float(sum(values))
