"""Bootstrapped shots: the model is asked about pool rows without examples, and is shown those that it answers right."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from flows.approval import NotStoredError, as_stored
from safetycatch.catches import judge
from safetycatch.errors import ExperimentError
from safetycatch.fewshot.selection import sample
from safetycatch.scoring import scorer
from safetycatch.scoring.judged import is_judged
from safetycatch.settings import ShotSettings
from safetycatch.store import Ref as StoreRef
from safetycatch.tables import with_ids
from tasks.calling import read_table
from tasks.check import observe_shots
from tasks.evaluate import evaluate
from tasks.fewshot import fewshot
from tasks.prepared import Bootstrap
from tasks.session import WATCHER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.chain import Call
    from safetycatch.catches import Policy
    from tasks.prepared import Prepared, Ref
    from tasks.stage import Place


def bootstraps_of(
    place: Place,
    entries: Sequence[dict[str, Any]],
    scorers: Sequence[str],
    examples: Ref,
    splits: Ref,
    pool: Ref | None,
) -> tuple[Bootstrap, ...]:
    """Return what is asked before the shots of `entries` are known; empty without a bootstrapped candidate.

    Raises: ExperimentError where no metric says of a single reply whether it is right.
    """
    found: list[Bootstrap] = []
    for entry in entries:
        shots = ShotSettings.model_validate(entry["candidate"]["shots"])
        if shots.select != "bootstrapped":
            continue
        if pool is None:
            ids = read_table(place, splits).filter(pc.field("split") == "train")["example_id"].to_pylist()
            rows = with_ids(read_table(place, examples), ids)
        else:
            rows = read_table(place, pool)
        asked = {**entry, "candidate": {**entry["candidate"], "shots": ShotSettings().model_dump(mode="json")}}
        metric = _right_metric(entry, scorers)
        plain = {key: value for key, value in asked.items() if key != "shots_at"} | {"scorers": [metric]}
        found.append(Bootstrap(plain, tuple(sample(rows, shots)), entry["shots_at"], shots))
    return tuple(found)


def _right_metric(entry: dict[str, Any], scorers: Sequence[str]) -> str:
    if entry["task"] == "classify":
        return "accuracy"
    for name in scorers:
        if ":" not in name and not is_judged(name):
            found = scorer(name, task=entry["task"], labels=entry["labels"], aliases=entry["aliases"])
            if found.kind == "item" and found.unit == "points":
                return name
    raise ExperimentError(
        f"no metric of {', '.join(scorers[:3])} says of one reply whether it is right",
        where=f"candidate {entry['candidate']['id']}: shots",
        expected="a metric such as exact, normalised or numeric among the scorers",
        fix="select: static",
    )


def bootstrapped(prepared: Prepared, policy: Policy, call: Call) -> tuple[Prepared, list[Ref]]:
    """Return `prepared` with its bootstrapped shots chosen, noted and checked, and the references of the replies."""
    if not prepared.bootstraps:
        return prepared, []
    chosen, replies = _with_shots(prepared, call)
    say = WATCHER.get().say
    for note in chosen.notes[len(prepared.notes) :]:
        if say is not None:
            say("fewshot", note)
    (checked,) = judge(list(observe_shots(chosen)), policy)
    findings = tuple(checked if finding.code == checked.code else finding for finding in prepared.findings)
    return replace(chosen, findings=findings), replies


def as_known(prepared: Prepared) -> Prepared:
    """Return `prepared` with the bootstrapped shots of an earlier run, where all replies for them are stored."""
    try:
        known, _ = _with_shots(prepared, as_stored)
    except NotStoredError:
        return prepared
    return replace(known, notes=prepared.notes)


def _with_shots(prepared: Prepared, call: Call) -> tuple[Prepared, list[Ref]]:
    shots, notes = list(prepared.shots), list(prepared.notes)
    replies: list[Ref] = []
    ladder = prepared.ladder
    racing = list(ladder.shots) if ladder else []
    for one in prepared.bootstraps:
        settings = {**one.entry, "ids": list(one.ids), "shard": 1, "shards": 1, "replicates": 1}
        replies.append(
            call(evaluate, place=prepared.place, settings=settings, examples=prepared.pool or prepared.examples)
        )
        shots[one.at] = _chosen(prepared, one, prepared.scored_split, replies[-1], call)
        if ladder:
            dev = prepared.scored_split == "dev"
            racing[one.at] = shots[one.at] if dev else _chosen(prepared, one, "dev", replies[-1], call)
        notes.append(_told(one, prepared.place.open_store().facts(StoreRef.from_dict(shots[one.at]))))
    ladder = replace(ladder, shots=tuple(racing)) if ladder else None
    return replace(prepared, shots=tuple(shots), ladder=ladder, notes=tuple(notes)), replies


def _chosen(prepared: Prepared, one: Bootstrap, split: str, replies: Ref, call: Call) -> Ref:
    scoring = {key: one.entry[key] for key in ("task", "labels", "aliases", "scorers")}
    return call(
        fewshot,
        place=prepared.place,
        settings={"shots": one.shots.model_dump(mode="json"), "split": split, **scoring},
        examples=prepared.examples,
        splits=prepared.splits,
        pool=prepared.pool,
        answered=replies,
    )


def _told(one: Bootstrap, facts: dict[str, Any]) -> str:
    name, k = one.entry["candidate"]["id"], one.shots.k
    right, filled = facts["n_right"], facts["n_filled"]
    found = f"{name}: the model answers {right} of {facts['n_asked']} pool rows right without examples"
    if not filled:
        return f"{found}; shown are {k} of them"
    return f"{found}; {k} were wanted, so {filled} others are shown besides (shots: {{sample: …}} asks about more)"
