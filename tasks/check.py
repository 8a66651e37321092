"""The catches of one run: facts from store, plan, leaks and scores become observations."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from safetycatch.catches import Observation, aggregation, cost, fewshot, harness, illusory, lockin, statistics
from safetycatch.catches import results as results_catches
from safetycatch.catches.judges import adds_something
from safetycatch.fewshot.selection import verify_shots
from safetycatch.scoring import majority_share
from safetycatch.store import Ref, Runs
from safetycatch.store.environment import environment
from safetycatch.store.records import RUN_ID
from safetycatch.tables import with_ids
from tasks.calling import read_table
from tasks.design import temperatures
from tasks.judge_catches import observe_judge
from tasks.looks import looks_so_far, observe_looks
from tasks.sending import parameter_facts, sharing_facts, shutdown_facts
from tasks.session import ceiling
from tasks.split import POOL_PREFIX, clusters_with_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safetycatch.calls.budget import Spent
    from safetycatch.catches import Policy
    from tasks.prepared import Climbed, Prepared

MOST_RUNS = 10_000
RATES = frozenset({"accuracy", "exact", "normalised", "numeric", "contains", "final_answer", "json_fields"})


def observe_before(prepared: Prepared, policy: Policy, *, unattended: bool) -> Iterator[Observation]:
    """Yield what can be seen before the first call is sent."""
    experiment, store = prepared.experiment, prepared.place.open_store()
    plan = store.facts(Ref.from_dict(prepared.plan))
    leaks = store.facts(Ref.from_dict(prepared.leaks))
    split = store.facts(Ref.from_dict(prepared.splits))
    claim = experiment.claim
    effect = claim.smallest_effect if claim else None
    health = store.health
    yield results_catches.store_is_sound(
        writable=health.writable,
        locks_work=health.locks_work,
        free_bytes=health.free_bytes,
        reason=health.reason,
        place=str(store.root.name),
    )
    yield statistics.smallest_effect(claiming=experiment.claiming, effect=effect.value if effect else None)
    yield statistics.power(
        effect=effect.value if effect and not effect.relative else None,
        detectable=plan["detectable"],
        impossible=plan["impossible"],
        n=plan["n"],
        n_needed=plan["n_needed"],
        assumption=plan["assumption"],
        wanted=plan["power"],
        unit=plan["unit"],
    )
    by = "group" if experiment.data.group else "near-duplicate text"
    yield statistics.repeats(
        n=plan["n"], n_clusters=plan["n_clusters"], largest=plan["largest"], example=plan["largest_example"], by=by
    )
    yield statistics.clusters(n_clusters=plan["n_clusters"], policy=policy)
    yield _sampling_noise(prepared, plan)
    sends = any(candidate.kind != "outputs" for candidate in experiment.candidates)
    yield cost.budget_is_set(budget=experiment.budget, sends=sends, claiming=experiment.claiming, unattended=unattended)
    run_id = prepared.place.run_id
    yield cost.estimate_is_approved(
        estimate=prepared.estimate, budget=ceiling(experiment), run_id=run_id if RUN_ID.fullmatch(run_id) else ""
    )
    yield cost.price_is_known(unknown=plan["unknown_prices"], budget=ceiling(experiment))
    yield cost.prompts_are_cached(sharing_facts(plan["sent"]), policy)
    yield lockin.parameters_are_seen(parameter_facts(plan["sent"]))
    listed = sum(one["listed"] for one in plan["sent"])
    yield lockin.models_stay(shutdown_facts(plan["sent"]), asked=listed, today=dt.datetime.now(dt.UTC).date())
    yield _first_runs(prepared, policy)
    given = split["variant"] == "given"
    yield illusory.leaked_rows(
        illusory.LeakFacts(
            given_split=given,
            n_scored=leaks["n_scored"],
            rows=leaks["rows"],
            example=leaks["example"],
            n_similar=leaks["rows"].get("similar", 0),
            n_template=leaks["rows"].get("template", 0),
            near=policy.threshold("SC501", "near"),
            similar=policy.threshold("SC501", "similar"),
        ),
        experiment=prepared.inputs.shown,
    )
    yield illusory.crossings(
        illusory.CrossingFacts(
            given_split=given,
            has_group=bool(experiment.data.group),
            has_time=experiment.data.time is not None,
            n_groups=leaks["n_groups"],
            n_rows=leaks["n_group_rows"],
            example=leaks["group_example"],
            n_future=leaks["n_future"],
            future_example=leaks["future_example"],
        )
    )
    yield from observe_shots(prepared)
    yield illusory.slices_named(claiming=experiment.claiming, slices=experiment.data.slices)
    yield from observe_looks(prepared.look, looks_so_far(prepared), policy)
    found = leaks["shortcuts"]
    yield illusory.shortcuts(None if found is None else illusory.ShortcutFacts(**found))
    here = environment(prepared.inputs.path.parent)["git"]
    yield harness.git_tree(commit=here.get("commit"), dirty=here.get("dirty", False), n_files=here.get("changed", 0))
    # A named endpoint is the user's own server: what its model names mean is in their hands.
    named = [candidate.model for candidate in experiment.candidates if candidate.model]
    models = [model.full for model in named if model.endpoint is None]
    yield harness.floating_names(models=models)
    yield fewshot.pool_is_apart(
        declared=prepared.pool is not None, ids=_pool_overlap(prepared), pool=experiment.data.pool or "train"
    )
    yield from _vote(prepared)
    yield from observe_judge(prepared, policy)
    yield from _unrecorded(prepared, policy)
    yield _run_id(prepared)


def _unrecorded(prepared: Prepared, policy: Policy) -> Iterator[Observation]:
    """Yield that recorded answers lack too many rows; else the answers of all candidates tell it together."""
    found = prepared.unrecorded
    n_missing = sum(missing for missing, _ in found.values())
    seen = statistics.errors(failed=found, policy=policy, classes={"not_recorded": n_missing})
    if seen.seen == "fired":
        yield replace(seen, fix="record the missing answers, or leave the candidate out")


def _vote(prepared: Prepared) -> Iterator[Observation]:
    """Yield what is known of an ensemble before its members answer."""
    made = prepared.ensemble
    if made is None:
        for code in ("SC1002", "SC1004"):
            yield Observation(code, "not_applicable", "there is no ensemble")
        return
    found = made.settings
    tie = found.tie if found.tie is None or isinstance(found.tie, str) else found.tie.model.full
    if found.rule == "self_consistency":
        tie = tie or "the first sample"
    yield aggregation.ties_are_settled(tie=tie, n_members=len(found.members), n_dev=made.n_dev)
    if found.rule != "weighted":
        yield Observation("SC1004", "not_applicable", "no weights")
    elif isinstance(found.weights, dict):
        yield Observation("SC1004", "not_checked", "weights are given: nobody can see which rows they were fitted on")
    else:
        across = "cross-fitted: no row informs its own vote" if not made.dev_ids else f"{len(made.dev_ids)} dev rows"
        source = f"the run {found.weights_run}" if found.weights_run else across
        yield aggregation.weights_are_foreign(source=source, overlap=made.overlap, n=len(prepared.ids))


def observe_ensemble(prepared: Prepared, facts: dict[str, Any] | None) -> Iterator[Observation]:
    """Yield what the answers show of an ensemble, of its `facts`."""
    claim = prepared.experiment.claim
    effect = claim.smallest_effect if claim else None
    names = aggregation.Gain.__dataclass_fields__
    gain = aggregation.Gain(**{name: facts[name] for name in names}) if facts else None
    yield aggregation.gain_is_worth_it(found=gain, effect=effect.value if effect and not effect.relative else None)


def _sampling_noise(prepared: Prepared, plan: dict[str, Any]) -> Observation:
    """Return whether items are asked once although answers vary; measured noise counts where a run of this data did."""
    replicates, candidates = plan["replicates"], prepared.experiment.candidates
    return statistics.sampling_noise(
        replicates=prepared.experiment.runs.replicates,
        sends=any(candidate.kind != "outputs" for candidate in candidates),
        temperatures=temperatures(candidates),
        functions=[candidate.id for candidate in candidates if candidate.kind == "call"],
        share=replicates["share_of_noise"] if replicates and replicates["measured"] else None,
        measured_in=plan["measured_in"],
        trade=replicates["told"] if replicates else "",
    )


def _first_runs(prepared: Prepared, policy: Policy) -> Observation:
    """Return whether candidates that no stored run has seen would take many calls at once."""
    answering = [
        (entry["candidate"]["id"], key)
        for entry, key in zip(prepared.entries, prepared.candidate_keys(), strict=True)
        if not entry["candidate"]["outputs"]
    ]
    seen: set[str] = set()
    for run in Runs(prepared.place.open_store()).ls(limit=MOST_RUNS):
        seen.update([*run.summary.get("candidates", ()), *run.summary.get("raced", ())])
    new = [name for name, key in answering if key not in seen]
    n_calls = len(new) * len(prepared.ids) * prepared.experiment.runs.replicates
    return cost.first_run_climbs(
        new=new,
        n_calls=n_calls,
        raced=prepared.ladder is not None,
        n_racing=len(answering),
        policy=policy,
        asked=bool(prepared.experiment.runs.ladder),
    )


def _run_id(prepared: Prepared) -> Observation:
    """Return whether what is stored under this run's id is this run; a preview has none."""
    runs, run_id = Runs(prepared.place.open_store()), prepared.place.run_id
    if not RUN_ID.fullmatch(run_id):
        return harness.no_run_id()
    return harness.run_id_free(run_id=run_id, other=runs.load(run_id).identity != prepared.inputs.identity())


def _pool_overlap(prepared: Prepared) -> list[str]:
    """Return the ids that the declared pool shares with dev or test."""
    if prepared.pool is None:
        return []
    splits = read_table(prepared.place, prepared.splits)
    scored = splits.filter(pc.field("split").isin(["dev", "test"]))["example_id"].to_pylist()
    pool = {
        name.removeprefix(POOL_PREFIX) for name in read_table(prepared.place, prepared.pool)["example_id"].to_pylist()
    }
    return sorted(pool & set(scored))


def observe_shots(prepared: Prepared) -> Iterator[Observation]:
    """Yield whether a shot gives its query's answer away."""
    place = prepared.place
    if not prepared.shots:
        yield fewshot.shots_are_foreign(offending=[], n_shots=0)
        return
    table, splits = read_table(place, prepared.examples), read_table(place, prepared.splits)
    queries = with_ids(table, list(prepared.ids))
    if prepared.pool is None:
        train = splits.filter(pc.field("split") == "train")["example_id"].to_pylist()
        pool = with_ids(table, train)
    else:
        pool = read_table(place, prepared.pool)
    clusters = clusters_with_pool(splits, pool if prepared.pool else pool.slice(0, 0), table)
    offending: list[tuple[str, str]] = []
    n_shots = 0
    for reference in prepared.shots:
        shots = read_table(place, reference)
        n_shots += shots.num_rows
        faults = verify_shots(shots, pool, queries, clusters=clusters)
        offending += [(fault.example_id or "every query", fault.shot_id) for fault in faults]
    yield fewshot.shots_are_foreign(offending=offending, n_shots=n_shots)


def observe_after(
    prepared: Prepared,
    policy: Policy,
    summary: dict[str, Any],
    scored: dict[str, dict[str, Any]],
    spent: Spent,
    changed: list[str],
    climbed: Climbed | None,
    k_history: int,
) -> Iterator[Observation]:
    """Yield what the answers show; `scored` holds the score stage's facts by candidate, `climbed` the race before.

    `k_history` candidates were ever scored on these items.
    """
    experiment = prepared.experiment
    claim = experiment.claim
    effect = claim.smallest_effect if claim else None
    metric = summary["metric"]
    main = {found["candidate"]: found for found in summary["estimates"] if found["metric"] == metric["name"]}
    if claim and effect and not effect.relative and summary["detectable"] is not None:
        needed = [v["n_to_settle"] for v in summary["verdicts"].values() if v["n_to_settle"]]
        yield statistics.power(
            effect=effect.value,
            detectable=summary["detectable"],
            n=max(f["n"] for f in main.values()),
            n_needed=max(needed, default=None),
            assumption="as observed",
            wanted=policy.threshold("SC202", "power"),
            unit="points" if metric["unit"] == "points" else metric["unit"],
        )
    yield adds_something(summary["judged"]["rates"] if "judged" in summary else None, policy)
    n_compared = len(main) - 1
    luck = summary["health"]["luck"] if summary["health"] else None
    yield statistics.family(
        n_compared=n_compared,
        n_scored=len(main),
        k_history=max(k_history, len(main)),
        luck=luck,
        metric=metric["name"],
        correction=claim.correction if claim else "holm",
        claiming=experiment.claiming,
    )
    # An ensemble makes no calls of its own: its rows fail with its members'.
    scored = {name: facts for name, facts in scored.items() if name not in prepared.ensemble_ids}
    failed = {
        name: (sum(facts["statuses"].get(status, 0) for status in ("error", "invalid")), facts["n"])
        for name, facts in scored.items()
    }
    classes: Counter[str] = Counter(climbed.errors if climbed else {})
    for facts in scored.values():
        classes.update(facts["errors"])
    for name, (n_failed, n) in (climbed.failed if climbed else {}).items():
        n_scored_failed, n_scored = failed.get(name, (0, 0))
        failed[name] = (n_failed + n_scored_failed, n + n_scored)
    yield statistics.errors(failed=failed, policy=policy, classes=classes)
    budget = ceiling(experiment) if any(c.kind != "outputs" for c in experiment.candidates) else None
    yield cost.ceiling_held(spent_usd=spent.usd, n_unpriced=spent.unpriced, budget=budget)
    rates = {name: f["estimate"] for name, f in main.items() if metric["rate"] and f["estimate"] is not None}
    similar = {
        found["candidate"]: (
            round(found["near"] * found["n_near"]),
            found["n_near"],
            round(found["far"] * found["n_far"]),
            found["n_far"],
        )
        for found in summary["leaks"]
        if found["kind"] == "similar" and metric["rate"]
    }
    yield illusory.too_good(rates=rates, similar=similar, policy=policy)
    health = summary["health"]
    yield illusory.saturated(
        best=max(rates.values(), default=None),
        detectable=summary["detectable"],
        solved_by_all=health["solved_by_all"] if health else 0,
        n=health["n"] if health else 0,
        policy=policy,
    )
    yield _metric_choice(prepared, policy, summary, main)
    yield harness.inputs_unchanged(changed=changed)
    others: Counter[str] = Counter()
    asked: list[str] = []
    others.update(climbed.returned if climbed else {})
    for candidate in experiment.candidates:
        if candidate.model and candidate.id in scored and scored[candidate.id]["returned"]:
            others.update(scored[candidate.id]["returned"])
            asked.append(candidate.model.full)
    if others:
        yield harness.answered_by(others=others, asked=", ".join(dict.fromkeys(asked)))


def _metric_choice(
    prepared: Prepared, policy: Policy, summary: dict[str, Any], main: dict[str, dict[str, Any]]
) -> Observation:
    claimed = summary["metric"]["name"]
    balanced = {
        found["candidate"]: found["estimate"]
        for found in summary["estimates"]
        if found["metric"] == "balanced_accuracy" and found["estimate"] is not None
    }
    rates = {name: found["estimate"] for name, found in main.items() if found["estimate"] is not None}
    orders = None
    if set(balanced) == set(rates) and _reversed(rates, balanced, policy.threshold("SC512", "rank_margin")):
        orders = (_ranked(rates), _ranked(balanced))
    table = read_table(prepared.place, prepared.examples)
    targets = with_ids(table, list(prepared.ids))["target"].to_pylist()
    share = majority_share(targets).share if prepared.task == "classify" else None
    return illusory.right_metric(
        claimed=claimed, best=max(rates.values(), default=None), majority=share, orders=orders, policy=policy
    )


def _reversed(rates: dict[str, float], balanced: dict[str, float], margin: float) -> bool:
    """Whether a candidate leads another by more than `margin` under one metric and trails by it under the other."""
    return any(
        rates[left] - rates[right] > margin and balanced[right] - balanced[left] > margin
        for left, right in permutations(rates, 2)
    )


def _ranked(values: dict[str, float]) -> list[str]:
    return sorted(values, key=lambda name: (-values[name], name))
