"""The chain of stages behind every verb: what `check` and `plan` preview, and what the flows run as Prefect tasks."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow.compute as pc

from flows.approval import outstanding
from flows.bootstrap import as_known, bootstraps_of
from flows.ceilings import ceilings_of
from flows.ensemble import asked_besides, ensemble_lines, make_ensemble, planned_besides
from flows.entries import affordable, entries_of, labels_of, scorer_names
from flows.judging import check_judging, judging_lines, judging_of, planned_judging
from flows.ladder import make_ladder, race_metric, raceable
from flows.recordings import recordings, unrecorded
from flows.watching import StageError, quietly
from safetycatch.calls.transports.litellm_keys import check_provider, require_litellm_key
from safetycatch.catches import Policy, judge, refuse
from safetycatch.catches.results import store_is_sound
from safetycatch.errors import DataError, ExperimentError, StoreError
from safetycatch.project import address_of, require_key
from safetycatch.report.numbers import money, spent
from safetycatch.scoring import infer_task, scorer
from safetycatch.scoring.judged import is_judged
from safetycatch.store import Ref as StoreRef
from safetycatch.store.health import probe
from safetycatch.tables import with_ids
from tasks.calling import read_table
from tasks.check import observe_before
from tasks.design import measured_noise, temperatures
from tasks.judge_errors import judge_facts
from tasks.judge_plan import n_questions
from tasks.leakage import leakage
from tasks.load import load
from tasks.looks import look_ahead
from tasks.plan import plan
from tasks.prepared import Ladder, Prepared, Ref
from tasks.session import WATCHER, ceiling, make_importable, prices_of
from tasks.split import split, split_key
from tasks.stage import CacheKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from safetycatch.experiment import Candidate, Experiment
    from safetycatch.store import Store
    from tasks.session import Session
    from tasks.stage import Place
    from tasks.start import Inputs

COUNTED = ("sent", "answered", "from_journal", "perhaps_paid", "errors", "retried")


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


def prepare(
    inputs: Inputs, place: Place, policy: Policy, call: Call, *, unattended: bool, purpose: str = "claim"
) -> Prepared:
    """Load, split, look for leaks, choose shots, plan, and let every catch that needs no answer speak.

    Raises: nothing for findings; `stop_if_refused` does.
    """
    say, experiment = WATCHER.get().say or _quiet, inputs.experiment
    make_importable((place.folder, inputs.project.root))
    _check_providers(inputs)
    data = experiment.data
    examples = call(load, place=place, settings=inputs.data_settings(data.path))
    pool = call(load, place=place, settings=inputs.data_settings(data.pool, pool=True)) if data.pool else None
    table = read_table(place, examples)
    answered = recordings(inputs, place, dict.fromkeys(table["example_id"].to_pylist()))
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
    labels = labels_of(experiment, table, task)
    scorers = scorer_names(experiment, table, task, labels)
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
    judging = judging_of(inputs, scorers)
    check_judging(experiment, place, judging, dict.fromkeys(table["example_id"].to_pylist()))
    if experiment.judge and judging is None:
        notes.append(f"the judge is not asked: no scorer of {', '.join(scorers[:3])} is its own (scorers: [judge])")
    entries, shots = entries_of(inputs, place, call, task, labels, scorers, examples, splits, pool, scored_split)
    bootstraps = bootstraps_of(place, entries, scorers, examples, splits, pool)
    n_before = sum(len(one.ids) for one in bootstraps)
    besides = asked_besides(inputs, entries, task, labels, scorers)
    # Exploring has no replicates beside samples, and a judge is asked about a replicate at most once.
    asked = [*entries, *(entry for entry, times, _ in besides for _ in range(-(-times // experiment.runs.replicates)))]
    asking = planned_judging(inputs, place, judging, entries, task)
    ids = affordable(inputs, place, available, asked, examples, shots, pool, n_before, asking)
    if len(ids) < len(available):
        notes.append(f"a keyed sample of {len(ids)} of {len(available)} {scored_split} rows fits the ceiling")
        say("sample", notes[-1])
    ladder = None
    dev = list(ids) if scored_split == "dev" else _ids_of(place, table, splits, "dev")
    passed_over = {*leak_facts["leaked_ids"], *leak_facts["crossed_ids"]}
    dev = [example_id for example_id in dev if example_id not in passed_over]
    ensemble = make_ensemble(
        inputs,
        place,
        call,
        task=task,
        labels=labels,
        scorers=scorers,
        examples=examples,
        splits=splits,
        pool=pool,
        scored_split=scored_split,
        ids=ids,
        dev=dev,
        besides=besides,
    )
    missing = unrecorded(answered, ids, experiment.runs.replicates, ensemble, f"{experiment.name}: aggregate")
    if experiment.runs.ladder:
        why = "the metric is judged" if is_judged(scorers[0]) else raceable(experiment, entries, dev)
        if why:
            notes.append(f"runs.ladder: no race, all candidates go to {scored_split}: {why}")
        else:
            racing, dev_shots = entries, shots
            if scored_split != "dev":
                racing, dev_shots = entries_of(
                    inputs, place, call, task, labels, scorers, examples, splits, pool, "dev"
                )
            read = [name for name in scorers if not is_judged(name)]
            metrics = [scorer(name, task=task, labels=labels, aliases=experiment.label_aliases) for name in read]
            ladder = make_ladder(
                experiment, racing, dev_shots, dev, _clusters_of(place, splits, dev), race_metric(metrics)
            )
    main = scorer(scorers[0], task=task, labels=labels, aliases=experiment.label_aliases, judge=experiment.judge)
    claim = experiment.claim
    effect = claim.smallest_effect if claim else None
    n_shots = len(shots) + (len(ladder.shots) if ladder else 0)
    more = planned_besides(ensemble, ids, scored_split, experiment.runs.replicates, n_shots)
    degrees = temperatures(experiment.candidates).values()
    n_rivals = len(entries) - (0 if experiment.baseline_is_run else 1)
    n_rivals = max(1, min([n_rivals, *(keep for keep in ladder.keeps if keep)] if ladder else [n_rivals]))
    n_paid = experiment.budget.calls if experiment.budget else None
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
            "n_compared": n_rivals + bool(ensemble),
            "unit": main.unit,
            "discordance": policy.threshold("SC202", "discordance"),
            "icc": policy.threshold("SC202", "icc"),
            "noise": policy.threshold("SC206", "noise"),
            "sampled": any(value != 0 for value in degrees),
            "warm": any(value is not None and value > 0 for value in degrees),
            "measured": measured_noise(place, experiment, main.name, examples),
            **({"judge": known} if (known := judge_facts(place, experiment, main.name, judging)) else {}),
            "smallest_effect": effect.value if effect and not effect.relative else None,
            "power": policy.threshold("SC202", "power"),
            **({"pair_calls": 2 * n_paid / len(entries) / (1 + n_questions(asking))} if n_paid else {}),
            "race": _race_settings(ladder, experiment.baseline, len(shots)),
            **(
                {"bootstraps": [{"entry": one.entry, "ids": list(one.ids)} for one in bootstraps]} if bootstraps else {}
            ),
            "prices": {name: price.model_dump(exclude_none=True) for name, price in prices_of(inputs).items()},
            "price_list": version("litellm"),
            **({"besides": more} if more else {}),
            **({"judging": asking} if asking else {}),
        },
        examples=examples,
        splits=splits,
        parts=[*shots, *(ladder.shots if ladder else []), *(ensemble.dev_shots if ensemble else [])],
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
        ladder,
        unrecorded=missing,
        judging=judging,
    )
    found = as_known(replace(found, bootstraps=bootstraps, ensemble=ensemble))
    if ceiling(experiment).ask_above is not None:
        found = replace(found, estimate=outstanding(found))
    found = replace(found, look=look_ahead(found, purpose))
    findings = judge(observe_before(found, policy, unattended=unattended), policy)
    say("check", next(finding.saw for finding in findings if finding.code == "SC501"))
    for line in plan_lines(found):
        say("plan", line)
    for line in ceilings_of(found).lines() if WATCHER.get().say else ():
        say("ceiling", line)
    if (expect := WATCHER.get().expect) is not None:
        expect(math.ceil(sum(row["expected_calls"] for row in read_table(place, planned).to_pylist())))
    return replace(found, findings=findings)


def _check_providers(inputs: Inputs) -> None:
    """Refuse a model at an endpoint that nothing names, or of a provider that nobody knows."""
    for candidate in _asked(inputs.experiment):
        if candidate.model is not None and address_of(candidate.model, inputs.project).transport == "litellm":
            check_provider(candidate.model.model, f"{inputs.experiment.name}: candidate {candidate.id}: model")


def _asked(experiment: Experiment) -> list[Candidate]:
    """Return the candidates, the judge of an ensemble's ties, and those of answers."""
    judge = experiment.judge_of_ties
    return [*experiment.candidates, *([judge] if judge else []), *experiment.judges]


def _check_guardrails(experiment: Experiment, unknown_prices: list[str]) -> None:
    """Refuse a guardrail on cost where a price is not known: after all calls it could not be measured."""
    for number, guardrail in enumerate(experiment.claim.guardrails if experiment.claim else []):
        if guardrail.metric == "cost_usd" and unknown_prices:
            raise ExperimentError(
                f"cost_usd cannot be measured: the price of {', '.join(unknown_prices)} is not known",
                where=f"{experiment.name}: claim.guardrails[{number}]",
                fix=f"prices: {{{unknown_prices[0]}: {{input_per_m: …, output_per_m: …}}}}, or leave the guardrail out",
            )


def _race_settings(ladder: Ladder | None, baseline: str, n_shots: int) -> dict[str, Any] | None:
    """Return the race as the plan sees it; its entries point behind the `n_shots` shots of the scored split."""
    if ladder is None:
        return None
    shifted = [
        entry if entry["shots_at"] is None else {**entry, "shots_at": n_shots + entry["shots_at"]}
        for entry in ladder.entries
    ]
    return {
        "candidates": shifted,
        "ids": [example_id for rung in ladder.blocks for block in rung for example_id in block],
        "looks": [
            [list(Counter(ladder.clusters[name] for name in block).values()) for block in rung]
            for rung in ladder.blocks
        ],
        "keeps": list(ladder.keeps),
        "baseline": baseline,
    }


def plan_lines(prepared: Prepared) -> list[str]:
    """Return what the run will cost and what difference it can show, in words."""
    place = prepared.place
    rows, facts = read_table(place, prepared.plan).to_pylist(), place.open_store().facts(_ref(prepared.plan))
    costs = [row["expected_usd"] for row in rows]
    known = sum(cost or 0.0 for cost in costs)
    cost = spent(None, known) if None in costs else f"about {money(known)}"
    k = len(prepared.entries)
    race = facts["race"]
    if race is None:
        judges = {juror.id for juror in prepared.experiment.judges} if prepared.judging else set[str]()
        besides = sum(row["n_calls"] for row in rows if row["candidate"] in judges)
        n_calls = sum(row["n_calls"] for row in rows) - besides
        told = f"{n_calls:,} calls" + (f", and {besides:,} of the judge" if besides else "")
        what = f"{k} candidate{'s' if k > 1 else ''} x {len(prepared.ids)} rows"
        lines = [f"{prepared.scored_split}: {what} · {told} · {cost}"]
    else:
        n_calls = sum(row["expected_calls"] for row in rows)
        who = "survivors and the baseline" if prepared.scored_split != "dev" else "survivors to the end"
        racing = len(prepared.ladder.entries) if prepared.ladder else k
        rungs = " → ".join(str(size) for size in accumulate(race["rungs"]))
        expected, full = f"{race['n_expected']:,}", f"{race['n_full']:,}"
        by = prepared.ladder.metric if prepared.ladder else ""
        what = f"race of {racing} candidates by {by} over {rungs} rows"
        lines = [
            f"dev: {what} · about {expected} calls ({full} without the race)",
            f"{prepared.scored_split}: {who} x {len(prepared.ids)} rows · in all about {n_calls:,.0f} calls · {cost}",
        ]
    return [*lines, *ensemble_lines(prepared.ensemble), *judging_lines(prepared, rows), *facts["told"]]


def _quiet(_stage: str, _text: str) -> None:
    pass


def _ref(reference: Ref) -> StoreRef:
    return StoreRef.from_dict(reference)


def stop_if_refused(prepared: Prepared) -> None:
    """Raise RefusedError when a catch refuses, InputError without a provider's key; nothing was sent yet."""
    refuse(prepared.findings)
    idle = {juror.id for juror in prepared.experiment.judges} if prepared.judging is None else set[str]()
    for candidate in _asked(prepared.experiment):
        if candidate.model is not None and candidate.id not in idle:
            address = address_of(candidate.model, prepared.inputs.project)
            require_key(address)
            require_litellm_key(address)


def calls_of(prepared: Prepared, answered: Sequence[Ref], shared: Session) -> dict[str, Any]:
    """Return the call counts of a run in this process; what an artifact already held counts as from the journal.

    What was sent is the session's own count: an artifact made again may be an earlier one, with that one's facts.
    """
    store = prepared.place.open_store()
    total: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
    classes: Counter[str] = Counter()
    for counts in shared.counts:
        total.update({name: counts[name] for name in COUNTED})
        classes.update(counts["by_error_class"])
    saved = 0.0
    for reference in answered:
        facts = store.facts(_ref(reference))
        counts = facts.get("calls")
        if counts is None:
            continue
        saved += facts["cache_saved_usd"]
        if reference["sha256"] not in shared.made:
            total["from_journal"] += counts["answered"] + counts["from_journal"]
    spent_usd = sum(counts["spent_usd"] for counts in shared.counts)
    counted = {**total, "by_error_class": dict(classes), "spent_usd": spent_usd}
    return {**counted, "saved_by_prompt_cache_usd": saved}


def _ids_of(place: Place, table: pa.Table, splits: Ref, name: str) -> list[str]:
    wanted = read_table(place, splits).filter(pc.field("split") == name)["example_id"].to_pylist()
    return with_ids(table, wanted)["example_id"].to_pylist()


def _clusters_of(place: Place, splits: Ref, ids: list[str]) -> dict[str, str]:
    table = with_ids(read_table(place, splits), ids)
    return dict(zip(table["example_id"].to_pylist(), table["cluster_id"].to_pylist(), strict=True))
