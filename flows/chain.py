"""The chain of stages behind every verb: what `check` and `plan` preview, and what the flows run as Prefect tasks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow.compute as pc

from flows.watching import StageError, quietly
from safetycatch.catches import Policy, judge, refuse
from safetycatch.catches.results import store_is_sound
from safetycatch.errors import DataError, ExperimentError, StoreError
from safetycatch.experiment import Candidate, max_tokens
from safetycatch.identity import keyed_fraction
from safetycatch.project import address_of, require_key
from safetycatch.sandbox.settings import ANSWERS_VERSION
from safetycatch.scoring import default_scorers, infer_task, scorer
from safetycatch.store import Ref as StoreRef
from safetycatch.store.health import probe
from safetycatch.tables import with_ids
from tasks.calling import read_table
from tasks.check import observe_before
from tasks.evaluate import evaluate
from tasks.fewshot import fewshot
from tasks.leakage import leakage
from tasks.load import load
from tasks.plan import highest_cost_of_a_row, plan
from tasks.prepared import Prepared, Ref
from tasks.recorded import recorded
from tasks.session import WATCHER, ceiling, make_importable, prices_of
from tasks.split import split, split_key
from tasks.stage import CacheKey

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from safetycatch.experiment import Experiment
    from safetycatch.store import Store
    from tasks.stage import Place
    from tasks.start import Inputs

MAX_TASK_RUNS = 150
SHARD_ROWS = 1000


class Call(Protocol):
    """How a stage is called: as a Prefect task, or its plain function in a preview."""

    def __call__(self, task: Any, /, **parameters: Any) -> Ref:
        """Return the stage's reference."""
        ...


def as_task(task: Any, /, **parameters: Any) -> Ref:
    """Call a stage as a Prefect task, which is `Cached` while its artifact is there and whole.

    Prefect learns what kind of error it ended with, the caller gets the error itself.
    """
    key, options = task.cache_key_fn, {}
    if isinstance(key, CacheKey):
        options = {"cache_key_fn": key.always, "refresh_cache": key(None, parameters) is None}
    quiet = task.with_options(**options)
    quiet.fn = quietly(task.fn)
    try:
        return quiet(**parameters)
    except StageError as told:
        raise told.error from None


def as_function(task: Any, /, **parameters: Any) -> Ref:
    """Call a stage's plain function, without Prefect."""
    return task.fn(**parameters)


def sound_store(place: Place, policy: Policy) -> Store:
    """Return the store of a run.

    Raises: RefusedError with SC1201 where it cannot be trusted, since nothing can then be kept.
    """
    try:
        return place.open_store()
    except StoreError:
        root = Path(place.store)
        found = probe(root)
        observed = store_is_sound(
            writable=found.writable,
            locks_work=found.locks_work,
            free_bytes=found.free_bytes,
            reason=found.reason,
            place=root.name,
        )
        refuse(judge([observed], policy))
        raise


def prepare(inputs: Inputs, place: Place, policy: Policy, call: Call, *, unattended: bool) -> Prepared:
    """Load, split, look for leaks, choose shots, plan, and let every catch that needs no answer speak.

    Raises: nothing for findings; `stop_if_refused` does.
    """
    say, experiment = WATCHER.get().say or _quiet, inputs.experiment
    make_importable((place.folder, inputs.project.root))
    data = experiment.data
    examples = call(load, place=place, settings=inputs.data_settings(data.path))
    pool = call(load, place=place, settings=inputs.data_settings(data.pool, pool=True)) if data.pool else None
    table = read_table(place, examples)
    task, reason = (experiment.task, "as the file says") if experiment.task else infer_task(table)
    thresholds = {name: policy.threshold("SC501", name) for name in ("near", "similar", "prompt")}
    splits = call(
        split,
        place=place,
        settings={
            "split": experiment.split.model_dump(mode="json"),
            "derive_dev": not experiment.claiming,
            "key": split_key(inputs),
            "leaks": thresholds,
        },
        examples=examples,
    )
    facts = place.open_store().facts(_ref(splits))
    say("split", facts["told"])
    scored_split = "test" if experiment.claiming else "dev"
    available = _ids_of(place, table, splits, scored_split)
    if not available:
        raise DataError(
            f"the split leaves no {scored_split} rows",
            where=str(inputs.path),
            expected=f"rows to score: {facts['told']}",
            fix="add a claim to score test" if scored_split == "dev" else "split: {test: 1} scores every row",
        )
    labels = _labels(experiment, table, task)
    scorers = _scorers(experiment, table, task, labels)
    leaks = call(
        leakage,
        place=place,
        settings={
            "prompts": {name: prompt.text for name, prompt in inputs.prompts.items()},
            "scored": scored_split,
            "given": facts["variant"] == "given",
            "group": bool(data.group),
            "time": data.time is not None,
            "classify": task == "classify",
            "exclude": [*data.group_columns, *([data.time] if data.time else []), *([data.id] if data.id else [])],
            "thresholds": thresholds,
            "shortcuts": {name: policy.threshold("SC511", name) for name in ("token", "field")},
        },
        examples=examples,
        splits=splits,
        pool=pool,
    )
    leak_facts = place.open_store().facts(_ref(leaks))
    notes = [f"task: {task} ({reason})", *facts["notes"]]
    leaked = {*leak_facts["leaked_ids"], *leak_facts["crossed_ids"]} & set(available)
    exclude = () if experiment.claiming else tuple(sorted(leaked))
    if exclude:
        notes.append(f"{len(exclude)} leaked rows are left out of the scores; the report shows both figures")
    entries, shots = _entries(inputs, place, call, task, labels, scorers, examples, splits, pool, scored_split)
    ids = _affordable(inputs, place, available, entries, examples, shots, pool)
    if len(ids) < len(available):
        notes.append(f"a keyed sample of {len(ids)} of {len(available)} {scored_split} rows fits the ceiling")
    main = scorer(scorers[0], task=task, labels=labels, aliases=experiment.label_aliases)
    claim = experiment.claim
    effect = claim.smallest_effect if claim else None
    planned = call(
        plan,
        place=place,
        settings={
            "candidates": entries,
            "ids": list(ids),
            "split": scored_split,
            "replicates": experiment.runs.replicates,
            "task": task,
            "is_rate": main.is_rate,
            "n_compared": max(1, len(entries) - (0 if experiment.baseline_is_run else 1)),
            "discordance": policy.threshold("SC202", "discordance"),
            "smallest_effect": effect.value if effect and not effect.relative else None,
            "power": policy.threshold("SC202", "power"),
            "prices": {name: price.model_dump(exclude_none=True) for name, price in prices_of(inputs).items()},
            "price_list": version("litellm"),
        },
        examples=examples,
        splits=splits,
        parts=list(shots),
        pool=pool,
    )
    _check_guardrails(experiment, place.open_store().facts(_ref(planned))["unknown_prices"])
    found = Prepared(
        place,
        inputs,
        examples,
        splits,
        leaks,
        planned,
        pool,
        tuple(shots),
        scored_split,
        tuple(ids),
        len(available),
        task,
        reason,
        labels,
        scorers,
        tuple(entries),
        (),
        tuple(notes),
        exclude,
    )
    findings = judge(observe_before(found, policy, unattended=unattended), policy)
    say("check", next(finding.saw for finding in findings if finding.code == "SC501"))
    for line in plan_lines(found):
        say("plan", line)
    if (expect := WATCHER.get().expect) is not None:
        expect(sum(row["n_calls"] for row in read_table(place, planned).to_pylist()))
    return replace(found, findings=findings)


def _check_guardrails(experiment: Experiment, unknown_prices: list[str]) -> None:
    """Refuse a guardrail on cost where a price is not known: after all calls it could not be measured."""
    for number, guardrail in enumerate(experiment.claim.guardrails if experiment.claim else []):
        if guardrail.metric == "cost_usd" and unknown_prices:
            raise ExperimentError(
                f"cost_usd cannot be measured: the price of {', '.join(unknown_prices)} is not known",
                where=f"{experiment.name}: claim.guardrails[{number}]",
                fix=f"prices: {{{unknown_prices[0]}: {{input_per_m: …, output_per_m: …}}}}, or leave the guardrail out",
            )


def plan_lines(prepared: Prepared) -> list[str]:
    """Return what the run will cost and what difference it can show, in words."""
    place = prepared.place
    rows, facts = read_table(place, prepared.plan).to_pylist(), place.open_store().facts(_ref(prepared.plan))
    n_calls = sum(row["n_calls"] for row in rows)
    costs = [row["expected_usd"] for row in rows]
    cost = "price unknown" if None in costs else f"about ${sum(costs):.2f}"
    several = "s" if len(rows) > 1 else ""
    what = f"{len(rows)} candidate{several} x {len(prepared.ids)} rows"
    lines = [f"{prepared.scored_split}: {what} · {n_calls:,} calls · {cost}"]
    if facts["detectable"] is not None:
        claim = prepared.experiment.claim
        effect = claim.smallest_effect if claim else None
        asked = f"; the claim asks for {100 * effect.value:g}" if effect and not effect.relative else ""
        power = f"({100 * facts['power']:g} % power)"
        lines.append(f"a difference of {100 * facts['detectable']:.1f} points or more can be shown {power}{asked}")
    return lines


def _quiet(_stage: str, _text: str) -> None:
    pass


def _ref(reference: Ref) -> StoreRef:
    return StoreRef.from_dict(reference)


def stop_if_refused(prepared: Prepared) -> None:
    """Raise RefusedError when a catch refuses, InputError without a provider's key; nothing was sent yet."""
    refuse(prepared.findings)
    for candidate in prepared.experiment.candidates:
        if candidate.model is not None:
            require_key(address_of(candidate.model, prepared.inputs.project))


def _ids_of(place: Place, table: pa.Table, splits: Ref, name: str) -> list[str]:
    wanted = read_table(place, splits).filter(pc.field("split") == name)["example_id"].to_pylist()
    return with_ids(table, wanted)["example_id"].to_pylist()


def _labels(experiment: Experiment, table: pa.Table, task: str) -> tuple[str, ...]:
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


def _scorers(experiment: Experiment, table: pa.Table, task: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the metrics to compute, the claimed or first one first, costs and latencies last."""
    named = list(experiment.scorers) or list(default_scorers(task, table["target"].to_pylist()))
    claim = experiment.claim
    wanted = ([claim.metric] if claim else []) + named
    wanted += [guardrail.metric for guardrail in claim.guardrails] if claim else []
    if task == "classify" and "accuracy" in wanted:
        wanted += ["balanced_accuracy", "macro_f1"]
    wanted += ["cost_usd", "latency_s", "latency_p50", "latency_p95"]
    ordered = tuple(dict.fromkeys(wanted))
    for name in ordered:
        scorer(name, task=task, labels=labels, aliases=experiment.label_aliases)
    return ordered


def _entries(
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
            key = f"{candidate.shots.name}-{candidate.shots.seed}"
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
        prompt = inputs.prompts.get(candidate.prompt or "")
        entries.append(
            {
                "candidate": candidate.model_dump(mode="json"),
                "prompt_text": prompt.text if prompt else "",
                "source_sha256": inputs.source_of(candidate) if candidate.call else "",
                "endpoint": _endpoint_name(candidate, inputs),
                "max_tokens": max_tokens(candidate, task),
                "shots_at": place_of_shots,
                "task": task,
                "labels": list(labels),
                "aliases": inputs.experiment.label_aliases,
                "scorers": [scorers[0]],
            }
        )
    return entries, shots


def _endpoint_name(candidate: Candidate, inputs: Inputs) -> str:
    """Return where a candidate's model answers, so that another address is another artifact."""
    if candidate.model is None:
        return ""
    address = address_of(candidate.model, inputs.project)
    own = f"sandbox-{ANSWERS_VERSION}" if address.name == "sandbox" else address.name
    return f"{address.transport}:{address.base_url or own}"


def _affordable(
    inputs: Inputs,
    place: Place,
    available: list[str],
    entries: list[dict[str, Any]],
    examples: Ref,
    shots: list[Ref],
    pool: Ref | None,
) -> list[str]:
    """Return the rows to score: all when claiming; while exploring a keyed sample that fits the ceiling."""
    if inputs.experiment.claiming:
        return available
    limits, replicates = ceiling(inputs.experiment), inputs.experiment.runs.replicates
    callers = [entry for entry in entries if not entry["candidate"]["outputs"]]
    fits = len(available)
    if callers and limits.calls is not None:
        fits = min(fits, limits.calls // (len(callers) * replicates))
    usd, tokens = highest_cost_of_a_row(place, callers, available, examples, shots, pool)
    if limits.usd is not None and usd:
        fits = min(fits, int(limits.usd / (usd * replicates)))
    if limits.tokens is not None and tokens:
        fits = min(fits, int(limits.tokens / (tokens * replicates)))
    if fits >= len(available):
        return available
    seed = inputs.experiment.split.seed
    kept = set(sorted(available, key=lambda example_id: keyed_fraction(seed, "sample", example_id))[: max(fits, 1)])
    return [example_id for example_id in available if example_id in kept]


def answer(prepared: Prepared, call: Call, done: Callable[[int], None]) -> dict[str, list[Ref]]:
    """Return every candidate's shards of replies, in order; the only step that spends money.

    `done` gets the number of replies of every finished shard.
    """
    place, replicates = prepared.place, prepared.experiment.runs.replicates
    ids = list(prepared.ids)
    size = max(SHARD_ROWS, -(-len(ids) * len(prepared.entries) // MAX_TASK_RUNS))
    shards = [ids[start : start + size] for start in range(0, len(ids), size)]
    parts: dict[str, list[Ref]] = {}
    for entry in prepared.entries:
        candidate = entry["candidate"]
        if candidate["outputs"]:
            settings = {
                **entry,
                "ids": ids,
                "sha256": prepared.inputs.sha256[candidate["outputs"]],
                "replicates": replicates,
            }
            parts[candidate["id"]] = [call(recorded, place=place, settings=settings, examples=prepared.examples)]
            continue
        shots = prepared.shots[entry["shots_at"]] if entry["shots_at"] is not None else None
        parts[candidate["id"]] = []
        for number, shard in enumerate(shards, 1):
            reference = call(
                evaluate,
                place=place,
                settings={
                    **{key: value for key, value in entry.items() if key != "shots_at"},
                    "ids": shard,
                    "shard": number,
                    "shards": len(shards),
                    "replicates": replicates,
                },
                examples=prepared.examples,
                shots=shots,
                pool=prepared.pool,
            )
            parts[candidate["id"]].append(reference)
            done(len(shard) * replicates)
    return parts


def calls_of(prepared: Prepared, parts: dict[str, list[Ref]], made: set[str]) -> dict[str, Any]:
    """Return the call counts of a run; what an artifact already held counts as from the journal."""
    store = prepared.place.open_store()
    total: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    spent = 0.0
    for refs in parts.values():
        for reference in refs:
            counts = store.facts(_ref(reference)).get("calls")
            if counts is None:
                continue
            if reference["sha256"] not in made:
                total["from_journal"] += counts["answered"] + counts["from_journal"]
                continue
            for name in ("sent", "answered", "from_journal", "perhaps_paid", "errors", "retried"):
                total[name] += counts[name]
            classes.update(counts["by_error_class"])
            spent += counts["spent_usd"]
    names = ("sent", "answered", "from_journal", "perhaps_paid", "errors", "retried")
    return {**{name: total[name] for name in names}, "by_error_class": dict(classes), "spent_usd": spent}
