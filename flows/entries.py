"""What is asked of every candidate: labels, metrics, prompts, shots, and how many rows the ceiling pays for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.ceilings import UNITS, round_up
from safetycatch.catches.cost import budget_text
from safetycatch.errors import DataError, UsageError
from safetycatch.experiment import Candidate, max_tokens
from safetycatch.identity import keyed_fraction
from safetycatch.scoring import default_scorers, reading, scorer
from safetycatch.scoring.judged import judged_metrics
from tasks.calling import endpoint_name
from tasks.fewshot import fewshot
from tasks.plan import highest_cost_of_a_row, highest_judging_of_a_row
from tasks.session import ceiling

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.ceilings import Unit
    from flows.chain import Call
    from safetycatch.experiment import Experiment
    from tasks.prepared import Ref
    from tasks.stage import Place
    from tasks.start import Inputs


def labels_of(experiment: Experiment, table: pa.Table, task: str) -> tuple[str, ...]:
    """Return the labels of a classification, sorted. Raises: DataError for one in the data that is not declared."""
    if task != "classify":
        return ()
    seen = sorted(set(table["target"].to_pylist()))
    if experiment.labels is None:
        return tuple(seen)
    declared = list(experiment.labels)
    missing = [label for label in seen if label not in declared]
    if missing:
        raise DataError(
            f"the data has the label {missing[0]!r}, which 'labels' does not list",
            where=f"{experiment.name}: labels",
            expected=", ".join(declared[:20]),
            fix=f"add {missing[0]!r}, or correct the data",
        )
    return tuple(sorted(declared))


def scorer_names(experiment: Experiment, table: pa.Table, task: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the metrics to compute, the claimed or first one first, costs and latencies last."""
    own = judged_metrics(experiment.judge)
    if experiment.scorers:
        named = list(experiment.scorers)
    else:
        named = [*(() if own and task == "generate" else default_scorers(task, table["target"].to_pylist())), *own]
    claim = experiment.claim
    wanted = ([claim.metric] if claim else []) + named
    wanted += [guardrail.metric for guardrail in claim.guardrails] if claim else []
    wanted += own if "judge" in wanted else ()
    if task == "classify" and "accuracy" in wanted:
        wanted += ["balanced_accuracy", "macro_f1"]
    wanted += ["cost_usd", "latency_s", "latency_p50", "latency_p95"]
    ordered = tuple(dict.fromkeys(wanted))
    for name in ordered:
        scorer(name, task=task, labels=labels, aliases=experiment.label_aliases, judge=experiment.judge)
    return ordered


def entries_of(
    inputs: Inputs,
    place: Place,
    call: Call,
    task: Any,
    labels: tuple[str, ...],
    scorers: tuple[str, ...],
    examples: Ref,
    splits: Ref,
    pool: Ref | None,
    scored_split: str,
) -> tuple[list[dict[str, Any]], list[Ref]]:
    """Return one settings entry a candidate, and the shots they share."""
    shots: list[Ref] = []
    at: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    for candidate in inputs.experiment.candidates:
        place_of_shots = None
        if candidate.shots.k:
            settings = candidate.shots.model_dump(mode="json")
            # What a model answers right is its own.
            own = candidate.id if candidate.shots.select == "bootstrapped" else ""
            key = f"{candidate.shots.name} {own}"
            if key not in at:
                at[key] = len(shots)
                shots.append(
                    call(
                        fewshot,
                        place=place,
                        settings={"shots": settings, "split": scored_split},
                        examples=examples,
                        splits=splits,
                        pool=pool,
                    )
                )
            place_of_shots = at[key]
        entries.append(entry_of(inputs, candidate, task, labels, scorers, place_of_shots))
    return entries, shots


def entry_of(
    inputs: Inputs,
    candidate: Candidate,
    task: Any,
    labels: tuple[str, ...],
    scorers: tuple[str, ...],
    shots_at: int | None = None,
) -> dict[str, Any]:
    """Return what a stage needs to ask one candidate; `shots_at` is where its shots stand in a list of them."""
    prompt = inputs.prompts.get(candidate.prompt or "")
    return {
        "candidate": candidate.model_dump(mode="json"),
        "prompt_text": prompt.text if prompt else "",
        "source_sha256": inputs.source_of(candidate) if candidate.call else "",
        "endpoint": endpoint_name(candidate, inputs.project),
        "max_tokens": max_tokens(candidate, task),
        "shots_at": shots_at,
        "task": task,
        "labels": list(labels),
        "aliases": inputs.experiment.label_aliases,
        "scorers": [reading(scorers)],
    }


def affordable(
    inputs: Inputs,
    place: Place,
    available: list[str],
    entries: list[dict[str, Any]],
    examples: Ref,
    shots: list[Ref],
    pool: Ref | None,
    n_before: int = 0,
    judging: dict[str, Any] | None = None,
) -> list[str]:
    """Return the rows to score: all when claiming; while exploring a keyed sample that fits the ceiling.

    `n_before` calls are made before those, each of them about as dear. `judging` says what judges are asked of a row.
    Raises: UsageError where fewer rows fit than `inputs` says at least, with the sums that all of them fit.
    """
    if inputs.experiment.claiming:
        return available
    limits, replicates = ceiling(inputs.experiment), inputs.experiment.runs.replicates
    callers = [entry for entry in entries if not entry["candidate"]["outputs"]]
    usd, tokens = highest_cost_of_a_row(place, callers, available, examples, shots, pool)
    a_row: dict[Unit, float] = {"usd": usd, "tokens": tokens, "calls": len(callers)}
    if judging is not None:
        judged = highest_judging_of_a_row(place, judging, available, examples)
        a_row = {unit: value + judged[unit] for unit, value in a_row.items()}
        n_before += judging["n_canary_questions"]
    before = n_before / max(1, a_row["calls"] * replicates)
    bounds: dict[Unit, float] = {unit: limit for unit in UNITS if (limit := getattr(limits, unit)) is not None}
    fits: dict[Unit, int] = {
        unit: int(limit / (a_row[unit] * replicates) - before + 1e-9) for unit, limit in bounds.items() if a_row[unit]
    }
    n, n_fit = len(available), max(0, min(fits.values(), default=len(available)))
    if n_fit >= n:
        return available
    if n_fit < min(inputs.fewest_rows, n):
        needed = {unit: round_up((n + before) * a_row[unit] * replicates, unit) for unit in fits if fits[unit] < n}
        enough = ", ".join(f"{unit}: {value:.12g}" for unit, value in {**bounds, **needed}.items())
        raise UsageError(
            f"the ceiling of {budget_text(limits)} has room for {n_fit} of {n} rows, at their highest cost",
            where=f"{inputs.shown}: budget",
            expected=f"room for {min(inputs.fewest_rows, n)} rows at least: fewer tell candidates apart by luck only",
            fix=f"budget: {{{enough}}}   (room for all rows)",
        )
    seed = inputs.experiment.split.seed
    kept = set(sorted(available, key=lambda example_id: keyed_fraction(seed, "sample", example_id))[: max(n_fit, 1)])
    return [example_id for example_id in available if example_id in kept]
