"""An ensemble in a run: what it asks besides its members, and their answers as those of one more candidate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from flows.entries import entries_of, entry_of
from safetycatch.errors import ExperimentError, TooManyErrorsError, UsageError
from safetycatch.experiment import no_votes
from safetycatch.results.matrix import hash_of
from safetycatch.scoring import reading, scorer
from safetycatch.scoring.judged import is_judged
from safetycatch.store import Ref as StoreRef
from safetycatch.store import Runs
from safetycatch.tables import with_ids
from tasks.aggregate import aggregate
from tasks.calling import read_table
from tasks.counts import FAILED
from tasks.gain import gain
from tasks.prepared import Besides, Ensemble
from tasks.session import current

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.chain import Call
    from safetycatch.aggregate import AggregateSettings
    from tasks.prepared import Prepared, Ref
    from tasks.stage import Place
    from tasks.start import Inputs

# Of the items, what a plan expects to be tied: a guess until votes are there.
TIED_SHARE = 0.1
MOST_NAMED = 20  # candidates of a stored run, in a message


def make_ensemble(
    inputs: Inputs,
    place: Place,
    call: Call,
    *,
    task: Any,
    labels: tuple[str, ...],
    scorers: tuple[str, ...],
    examples: Ref,
    splits: Ref,
    pool: Ref | None,
    scored_split: str,
    ids: Sequence[str],
    dev: Sequence[str],
    besides: Sequence[Besides],
) -> Ensemble | None:
    """Return how the experiment's ensemble is made; None without one.

    `dev` are the dev rows that may be asked, `besides` who else is asked about the scored ones.

    Raises: ExperimentError for a rule that the task has no votes for, or weights without rows to fit them on;
    UsageError for a stored run that is not there.
    """
    experiment = inputs.experiment
    found, where = experiment.aggregate, f"{experiment.name}: aggregate"
    if found is None:
        return None
    if task == "generate" or (found.rule == "dawid_skene" and task != "classify"):
        raise no_votes(task, found, where)
    judge = experiment.judge_of_ties
    made = Ensemble(
        found,
        judge=entry_of(inputs, judge, task, labels, scorers) if judge else None,
        n_dev=len(dev),
        besides=tuple(besides),
    )
    if found.weights_run:
        made = _with_run(made, place, examples, list(ids), "accuracy" if task == "classify" else scorers[0], found)
    if not (found.fits_dev or found.asks_best):
        return made
    if task != "classify":
        right_by(task, labels, scorers, where)
    if found.fits_dev and not dev:
        raise ExperimentError(
            "no dev rows to fit weights on",
            where=f"{where}.weights",
            expected="a dev split",
            fix="split: {dev: 0.2, test: 0.8}, or weights: {member: number}",
        )
    if scored_split == "dev" or not dev:
        return made
    entries, shots = entries_of(inputs, place, call, task, labels, scorers, examples, splits, pool, "dev")
    members = tuple(entry for entry in entries if entry["candidate"]["id"] in found.members)
    learned = next((one for one in members if one["candidate"]["shots"]["select"] == "bootstrapped"), None)
    if learned is not None:
        raise ExperimentError(
            f"the member {learned['candidate']['id']!r} has bootstrapped shots: not built for dev answers yet",
            where=where,
            expected="members with other shots, where dev decides weights or ties",
            fix="tie: MEMBER and weights: {member: number}",
        )
    return replace(made, dev_entries=members, dev_shots=tuple(shots), dev_ids=tuple(dev))


def asked_besides(
    inputs: Inputs, entries: Sequence[dict[str, Any]], task: Any, labels: tuple[str, ...], scorers: tuple[str, ...]
) -> list[Besides]:
    """Return who is asked about scored items besides the candidates."""
    experiment = inputs.experiment
    found, judge = experiment.aggregate, experiment.judge_of_ties
    asked: list[Besides] = []
    if found is not None and found.samples:
        member = next(entry for entry in entries if entry["candidate"]["id"] == found.members[0])
        named = {**member, "candidate": {**member["candidate"], "id": found.id}}
        # So many that half agree with the member's own, or all that are left.
        fewest, most = found.samples // 2, found.samples - 1
        asked.append(Besides(named, most, (fewest + most) / 2 / most))
    if judge is not None:
        entry = entry_of(inputs, judge, task, labels, scorers)
        asked.append(Besides(entry, experiment.runs.replicates, TIED_SHARE))
    return asked


def planned_besides(
    made: Ensemble | None, ids: Sequence[str], split: str, replicates: int, n_shots: int
) -> list[dict[str, Any]]:
    """Return what is asked besides the candidates as the plan sees it; dev shots stand behind `n_shots` others."""
    if made is None:
        return []
    dev = [
        {**entry, "shots_at": None if entry["shots_at"] is None else n_shots + entry["shots_at"]}
        for entry in made.dev_entries
    ]
    return [
        *({"entry": one, "split": "dev", "ids": list(made.dev_ids), "times": replicates, "share": 1.0} for one in dev),
        *({**one._asdict(), "split": split, "ids": list(ids)} for one in made.besides),
    ]


def ensemble_lines(made: Ensemble | None) -> list[str]:
    """Return what the ensemble is and asks, in words."""
    if made is None:
        return []
    parts = [f"{made.settings.id}: {made.settings.description}"]
    if made.dev_ids:
        parts.append(f"{len(made.dev_ids)} dev rows a member first, for weights and ties")
    if made.judge:
        parts.append("a judge for ties")
    return [" · ".join(parts)]


def _with_run(
    made: Ensemble, place: Place, examples: Ref, ids: list[str], metric: str, found: AggregateSettings
) -> Ensemble:
    """Return the ensemble with the members' records in the stored run, and the scored items that the run holds."""
    runs = Runs(place.open_store())
    name = found.weights_run or ""
    run = next((one for one in runs.ls(limit=10_000) if one.run_id == name and one.status == "done"), None)
    if run is None:
        raise UsageError(
            f"no finished run {name!r}", where="aggregate.weights", expected="dev, a run's id, or {member: number}"
        )
    scores = run.table("scores").filter(pc.field("metric") == metric)
    records: dict[str, list[int]] = {}
    for member in found.members:
        values = scores.filter(pc.field("candidate") == member)["value"].to_pylist()
        known = [value for value in values if value is not None]
        if not known or not set(known) <= {0.0, 1.0}:
            raise UsageError(
                f"{name} has no {metric} of 0 and 1 of the candidate {member!r}",
                where="aggregate.weights",
                expected=f"a run that scored each member as right or wrong; {name} has "
                + (", ".join(sorted(set(scores["candidate"].to_pylist()))[:MOST_NAMED]) or f"no {metric} at all"),
                fix="weights: {member: number}, or name the members as that run does",
            )
        records[member] = [int(sum(known)), len(known), len(known)]
    held = set(run.table("items")["content"].to_pylist())
    table = with_ids(read_table(place, examples), ids)
    columns = [table[column].to_pylist() for column in ("example_id", "input", "target")]
    shared = [example_id for example_id, text, target in zip(*columns, strict=True) if hash_of(text, target) in held]
    return replace(made, records=records, overlap=tuple(shared))


def right_by(task: str, labels: Sequence[str], scorers: Sequence[str], where: str) -> str:
    """Return the metric that says of one answer whether it is right.

    Raises: ExperimentError where none does.
    """
    for name in scorers:
        if ":" not in name and not is_judged(name):
            found = scorer(name, task=task, labels=labels)
            if found.kind == "item" and found.unit == "points":
                return name
    raise ExperimentError(
        f"no metric of {', '.join(scorers[:3])} says of one answer whether it is right",
        where=where,
        expected="a metric such as exact, normalised or numeric among the scorers, from which dev decides",
        fix="tie: MEMBER and weights: {member: number}",
    )


def asked_of_dev(prepared: Prepared) -> Prepared | None:
    """Return the part of a run that asks the members about dev rows; None where nothing is asked."""
    made = prepared.ensemble
    if made is None or not made.dev_ids:
        return None
    return replace(prepared, entries=made.dev_entries, shots=made.dev_shots, ids=made.dev_ids, ensemble=None)


def check_dev(prepared: Prepared, dev: dict[str, list[Ref]]) -> list[str]:
    """Return what is to be said of members that lack answers to dev rows, from which weights and the best member come.

    Raises: TooManyErrorsError where more of them failed than SC207 allows, or all; the same command asks those again.
    """
    store, limit, notes = prepared.place.open_store(), prepared.place.error_limit, list[str]()
    for name, parts in dev.items():
        if name in prepared.unrecorded:
            continue
        tables = [store.read(StoreRef.from_dict(part), ["status"]) for part in parts]
        failed = [status in FAILED for table in tables for status in table["status"].to_pylist()]
        n_failed, n = sum(failed), len(failed)
        if not n_failed:
            continue
        told = f"the member {name!r} has no answer to {n_failed} of {n} dev rows, from which weights and ties come"
        last = current().last_error.get(name, "no reason given")
        if n_failed == n or (limit is not None and n_failed > limit * n):
            allowed = "" if limit is None else f", more than the {limit:.1%} of SC207"
            raise TooManyErrorsError(
                f"{told}{allowed}; the last: {last}"
                "\n  fix      mend it and run the same command again: only the missing calls are sent; "
                "or: tie: MEMBER and weights: {member: number}"
            )
        notes.append(f"{told}; the last: {last}")
    return notes


def voted(prepared: Prepared, call: Call, parts: dict[str, list[Ref]], dev: dict[str, list[Ref]]) -> list[Ref]:
    """Return the ensemble's rows, of its members' rows in `parts` and their answers to dev rows; [] without one."""
    made, experiment = prepared.ensemble, prepared.experiment
    if made is None:
        return []
    found, members = made.settings, made.settings.members
    entries = {entry["candidate"]["id"]: entry for entry in prepared.entries}
    sampled = entries[members[0]] if found.samples else None
    tie = "judge" if made.judge else "first" if found.rule == "self_consistency" else found.tie or "best"
    fits = (found.fits_dev or found.asks_best) and bool(made.n_dev)
    settings = {
        "id": found.id,
        "rule": found.rule,
        "members": members,
        "tie": tie,
        "samples": found.samples,
        "weights": found.weights if isinstance(found.weights, dict) else None,
        "records": made.records,
        "fits": fits,
        "cross_fit": fits and not made.dev_ids,
        "exclude": [] if made.dev_ids else list(prepared.exclude),
        "right_by": None if prepared.task == "classify" or not fits else _right_by(prepared),
        "seed": experiment.split.seed,
        "shards": [len(parts[name]) for name in members],
        "dev_shards": [len(dev[name]) for name in members] if dev else [],
        "ids": list(prepared.ids),
        "replicates": experiment.runs.replicates,
        "judge": made.judge,
        "member": sampled,
        "task": prepared.task,
        "labels": list(prepared.labels),
        "aliases": experiment.label_aliases,
        "scorers": [reading(prepared.scorers)],
    }
    shots_at = sampled["shots_at"] if sampled else None
    return [
        call(
            aggregate,
            place=prepared.place,
            settings=settings,
            examples=prepared.examples,
            splits=prepared.splits,
            parts=[part for answered in (parts, dev) for name in members for part in answered.get(name, [])],
            shots=prepared.shots[shots_at] if shots_at is not None else None,
            pool=prepared.pool if sampled else None,
        )
    ]


def vote_lines(prepared: Prepared, vote: list[Ref]) -> list[str]:
    """Return how the vote went, in words."""
    made = prepared.ensemble
    if made is None:
        return []
    facts = prepared.place.open_store().facts(StoreRef.from_dict(vote[0]))
    ties = ", ".join(f"{count} {by}" for by, count in facts["ties"].items())
    told = f"{facts['n_ties']} of {facts['n']} tied" + (f" ({ties})" if ties else "")
    return [f"{made.settings.description} · {told}"]


def _right_by(prepared: Prepared) -> str:
    return right_by(prepared.task, prepared.labels, prepared.scorers, f"{prepared.experiment.name}: aggregate")


def measured(
    prepared: Prepared, call: Call, parts: dict[str, list[Ref]], scores: dict[str, Ref], settings: dict[str, Any]
) -> dict[str, Any] | None:
    """Return what the vote was worth: the ensemble's facts, its gain over the best member, the members' errors.

    `parts` and `scores` are those of all candidates, `settings` those of the score stage. None without an ensemble.
    """
    made = prepared.ensemble
    if made is None:
        return None
    found, store = made.settings, prepared.place.open_store()
    facts = store.facts(StoreRef.from_dict(parts[found.id][0]))
    # The calls that made the artifact, perhaps an earlier run's: this run's own are counted in its session.
    facts = {name: value for name, value in facts.items() if name != "calls"}
    reference = call(
        gain,
        place=prepared.place,
        settings={
            **settings,
            "id": found.id,
            "members": found.members,
            "samples": bool(found.samples),
            "best": facts["best"],
            "chosen_on": "dev" if facts["best"] and made.dev_ids else "the scored rows",
            "split": prepared.scored_split,
            "ids": list(prepared.ids),
            "replicates": prepared.experiment.runs.replicates,
            "right_by": None if prepared.task == "classify" else reading(prepared.scorers),
            "shards": [len(parts[name]) for name in found.members],
        },
        examples=prepared.examples,
        splits=prepared.splits,
        parts=[
            *(scores[name] for name in (found.id, *found.members)),
            *(part for name in found.members for part in parts[name]),
        ],
    )
    return {
        "id": found.id,
        "rule": found.rule,
        "members": list(found.members),
        "samples": found.samples,
        "n_dev": len(made.dev_ids),
        **facts,
        **store.facts(StoreRef.from_dict(reference)),
    }
